//! Thousands of random faults, while containers end and are made all the time. No exit is wrong,
//! lost or reported twice, and nothing is left.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{Call, Client};
use rustix::process::{Signal, kill_process};

use crate::Options;
use crate::containerd::Containerd;
use crate::ground::plot::{Plot, keeps_stopped_tasks, the_kernel_tells, within};
use crate::ground::proxy::Proxy;
use crate::ground::{Ground, Holdings, descriptors, processes_naming, threads};
use crate::pool::{Known, Pool, Told};
use crate::random::Random;
use crate::report::{Report, millis};

const FAULTS: usize = 10_000;

/// The number of faults for a client that holds no descriptors of processes.
const UNSEEN: usize = 2_000;

/// The number of faults before anything is counted. After them, everything that is made once and
/// kept exists.
const FIRST: usize = 60;

/// The program ends one container for about this many faults. Some faults end containers too.
const FAULTS_PER_END: usize = 4;

/// The promise: the longest time after a fault until a call works.
const BACK: Duration = Duration::from_millis(1500);

/// How long to wait for things that go away by themselves.
const SETTLE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The connection is cut. Another one can be made at once.
    Cut,
    /// The connection is cut, and no other can be made for a while.
    CutLong,
    /// containerd is stopped for a while.
    Stop,
    /// containerd is killed and started again.
    Kill,
    /// A shim is killed.
    Shim,
    /// A shim is stopped for a while.
    ShimStop,
    /// Another client destroys a container and makes it again.
    Anew,
    /// The same while the connection is cut.
    AnewUnseen,
}

/// How many of a hundred faults have each kind.
const SHARES: [(Fault, usize, &str); 8] = [
    (Fault::Cut, 46, "connection cut"),
    (Fault::CutLong, 18, "connection cut for 50 to 300 ms"),
    (Fault::Stop, 20, "containerd stopped for 50 to 300 ms"),
    (Fault::Kill, 3, "containerd killed"),
    (Fault::Shim, 4, "shim killed"),
    (Fault::ShimStop, 4, "shim stopped for 50 to 300 ms"),
    (Fault::Anew, 2, "container made anew by another client"),
    (Fault::AnewUnseen, 3, "the same with the connection cut"),
];

impl Fault {
    fn choose(random: &mut Random) -> Fault {
        let mut number = random.below(SHARES.iter().map(|(_, share, _)| share).sum());
        for (fault, share, _) in SHARES {
            match number.checked_sub(share) {
                Some(rest) => number = rest,
                None => return fault,
            }
        }
        unreachable!("the number is below the sum")
    }
}

/// When a container ends that the program ends besides a fault.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Never,
    Before,
    During,
    After,
}

impl When {
    fn choose(random: &mut Random) -> When {
        match random.below(3 * FAULTS_PER_END) {
            0 => When::Before,
            1 => When::During,
            2 => When::After,
            _ => When::Never,
        }
    }
}

/// The objects of the faults.
struct Scene<'a> {
    pool: Pool<'a>,
    proxy: &'a Proxy,
    client: &'a Client,
    containerd: Containerd,
    /// How long each fault kept calls from working.
    back: Vec<Duration>,
    counts: [usize; SHARES.len()],
}

/// The things that are left when nothing should exist.
#[derive(Debug)]
struct Left {
    holdings: Holdings,
    descriptors: usize,
    threads: usize,
    /// Shims that containerd has lost. They are not counted among its objects. containerd reports
    /// one in its log if the connection broke between the deletion of a task and the end of its
    /// shim. It does not know of a shim that it was starting when it was killed.
    cut: usize,
    killed: usize,
}

pub fn run(options: &Options, report: &mut Report) {
    run_some(options.share_of(FAULTS), true, options, report);
}

/// The same as on a kernel that does not report how a process ended.
pub fn run_unseen(options: &Options, report: &mut Report) {
    run_some(options.share_of(UNSEEN), false, options, report);
}

fn run_some(faults: usize, seen: bool, options: &Options, report: &mut Report) {
    // The guardian cleans it up after the end of the program.
    let ground = Ground::raise_with(|config| config.restart(false));
    let ground: &'static Ground = Box::leak(Box::new(ground));
    let plot = Plot::with_image(ground, ground.image());
    let start = if seen { Proxy::start } else { Proxy::start_unseen };
    let proxy = start(ground.address().as_ref(), &ground.dir().join("proxy"));
    let config = plot.client_config().address(proxy.address());
    let client = Client::open(&config, &Call::new()).unwrap();
    let told = Told::default();
    client.on_exit(told.hook()).unwrap();
    let told_by_kernel = seen && the_kernel_tells();
    let known = Known {
        always: told_by_kernel,
        after_an_outage: told_by_kernel || keeps_stopped_tasks(&plot.client),
    };
    let mut scene = Scene {
        pool: Pool::new(&client, &plot.client, &plot.image, told, known),
        proxy: &proxy,
        client: &client,
        containerd: Containerd::of(ground.daemon()),
        back: Vec::new(),
        counts: [0; SHARES.len()],
    };
    let mut random = Random::new(options.seed);

    scene.inject(FIRST, &mut random);
    let before = settled(|| scene.left(&plot), |_| true);
    scene.counts = Default::default();
    scene.back.clear();
    let start = Instant::now();
    scene.inject(faults, &mut random);
    let time = start.elapsed();
    let after = settled(|| scene.left(&plot), |now| now.is_within(&before));

    report.note("faults", faults);
    for ((.., name), count) in SHARES.iter().zip(scene.counts) {
        report.note(&format!("... {name}"), count);
    }
    let tally = &scene.pool.tally;
    let number = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    report.note("exits", number(&tally.exits));
    report.note("... whose code no source held", number(&tally.unknown));
    report.note("creations that a fault broke", number(&tally.failed_creates));
    report.note("destructions that a fault broke", number(&tally.failed_destroys));
    report.count("false exits", tally.false_exits.count(), 0);
    report.count("lost exits", tally.lost.count(), 0);
    report.count("exits told twice", tally.doubled.count(), 0);
    report.count("wrong codes", tally.codes.count(), 0);
    report.count("anything else", tally.other.count(), 0);
    report.count("left behind", usize::from(!after.is_within(&before)), 0);
    report.note("shims that containerd lost as a call was cut", after.cut);
    // Some kills come while containerd creates a task. 2.1 loses the shim in nearly each of these
    // cases.
    let kills = SHARES.iter().zip(scene.counts).find(|((fault, ..), _)| *fault == Fault::Kill);
    let most = kills.map_or(0, |(_, count)| count) + 2;
    report.at_most("shims that containerd lost as it was killed", after.killed, most);
    if !after.is_within(&before) {
        eprintln!("faults: before {before:?}\nfaults: after {after:?}");
        for what in [&["tasks", "ls"], &["containers", "ls"], &["leases", "ls"]] {
            eprintln!("{}", ground.ctr(&[&["-n", &plot.namespace], &what[..]].concat()));
        }
        let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let files: Vec<_> = files.filter_map(|file| std::fs::read_link(file.path()).ok()).collect();
        eprintln!("{files:?}");
        for (_, id) in scene.shims(&plot) {
            eprintln!("{id}:\n{}", scene.pool.journal_of(&id).join("\n"));
        }
    }
    report.note("watches left", client.counters().outstanding());
    scene.back.sort_unstable();
    let [middle, last] = [scene.back.len() / 2, scene.back.len() - 1].map(|i| scene.back[i]);
    report.note("until a call works again: median", millis(middle));
    report.figure("... longest", millis(last), "at most 1.5 s", last <= BACK);
    report.note("time", format!("{:.0} s", time.as_secs_f64()));
}

impl Left {
    /// Whether no objects are left, and this process uses no more than before. The number of gRPC's
    /// threads varies.
    fn is_within(&self, before: &Left) -> bool {
        self.holdings.only_images()
            && self.descriptors <= before.descriptors
            && self.threads <= before.threads + 2
    }
}

/// Looks until `is_settled` is true, or until the time for that is over.
fn settled(mut look: impl FnMut() -> Left, is_settled: impl Fn(&Left) -> bool) -> Left {
    let start = Instant::now();
    loop {
        let now = look();
        if is_settled(&now) || start.elapsed() > SETTLE {
            return now;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

impl Scene<'_> {
    fn left(&self, plot: &Plot) -> Left {
        // This makes sure that both connections exist.
        self.client.version(&within(10)).unwrap();
        plot.client.version(&within(10)).unwrap();
        let mut holdings = plot.holdings();
        let (mut cut, mut killed) = (0, 0);
        for (shim, id) in self.shims(plot) {
            match self.containerd.has_lost_the_shim(shim, &id) {
                true => cut += 1,
                false => killed += usize::from(self.pool.was_killed_at(&id)),
            }
        }
        holdings.shims -= cut + killed;
        Left { holdings, descriptors: descriptors(), threads: threads(), cut, killed }
    }

    /// The shims, and the containers that they serve.
    fn shims(&self, plot: &Plot) -> Vec<(u32, String)> {
        let id = |line: &str| {
            line.split(' ').skip_while(|word| *word != "-id").nth(1).map(str::to_owned)
        };
        let processes = processes_naming(plot.ground.dir());
        processes.iter().filter_map(|(shim, line)| Some((*shim, id(line)?))).collect()
    }

    /// Injects this many faults while the pool is full.
    fn inject(&mut self, faults: usize, random: &mut Random) {
        let Scene { pool, proxy, client, containerd, back, counts } = self;
        pool.run(random, |random| {
            for number in 0..faults {
                let fault = Fault::choose(random);
                let index = SHARES.iter().position(|(other, ..)| *other == fault);
                counts[index.unwrap()] += 1;
                inject(fault, pool, proxy, containerd, random);
                back.push(until_a_call_works(client));
                // The other client has a connection of its own.
                until_a_call_works(pool.other);
                thread::sleep(random.millis(0, 20));
                if (number + 1) % 500 == 0 {
                    eprintln!("faults: {} of {faults}", number + 1);
                }
            }
        });
    }
}

fn inject(
    fault: Fault,
    pool: &Pool<'_>,
    proxy: &Proxy,
    containerd: &mut Containerd,
    random: &mut Random,
) {
    let when = When::choose(random);
    if when == When::Before {
        pool.ask_one(random);
    }
    // A fault lasts this long, and a container may end in the middle of it.
    let last = |random: &mut Random, time: Duration| {
        let first = time.mul_f64(random.below(100) as f64 / 100.0);
        thread::sleep(first);
        if when == When::During {
            pool.ask_one(random);
        }
        thread::sleep(time - first);
    };
    match fault {
        Fault::Cut => {
            proxy.cut();
            last(random, Duration::ZERO);
            proxy.mend();
        }
        Fault::CutLong => {
            proxy.cut();
            let time = random.millis(50, 300);
            last(random, time);
            proxy.mend();
        }
        Fault::Stop => {
            containerd.signal(Signal::STOP);
            let time = random.millis(50, 300);
            last(random, time);
            containerd.signal(Signal::CONT);
        }
        Fault::Kill => {
            let from = Instant::now();
            containerd.kill();
            let time = random.millis(0, 100);
            last(random, time);
            containerd.start();
            pool.note_outage(from, Instant::now());
        }
        Fault::Shim => {
            last(random, Duration::ZERO);
            pool.kill_shim(random);
        }
        Fault::ShimStop => {
            let shim = pool.stop_shim(random);
            let time = random.millis(50, 300);
            last(random, time);
            shim.into_iter().for_each(|shim| kill_process(shim, Signal::CONT).unwrap());
        }
        Fault::Anew => {
            last(random, Duration::ZERO);
            pool.make_anew(random);
        }
        Fault::AnewUnseen => {
            proxy.cut();
            last(random, Duration::ZERO);
            pool.make_anew(random);
            proxy.mend();
        }
    }
    if when == When::After {
        pool.ask_one(random);
    }
}

/// How long it takes until a call works.
fn until_a_call_works(client: &Client) -> Duration {
    let start = Instant::now();
    while let Err(e) = client.version(&within(10)) {
        assert!(start.elapsed() < SETTLE, "the server is not found again: {e}");
        thread::sleep(Duration::from_millis(1));
    }
    start.elapsed()
}

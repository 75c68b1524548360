//! A program is killed again and again, often while it makes or destroys a container, and started
//! again. No exit of its containers is wrong, lost or reported twice by one run, and nothing is
//! left.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{Call, Client, ClientConfig, ContainerConfig, Message, Stdio, Stream};
use rustix::process::{Signal, kill_process};

use crate::Options;
use crate::containerd::{Containerd, pid};
use crate::ground::plot::{Plot, gently, pipe, within};
use crate::ground::{Holdings, processes_naming, unique};
use crate::job::{Job, told};
use crate::pool::Tally;
use crate::random::Random;
use crate::report::Report;

const KILLS: usize = 300;

/// How many containers the program has.
const CONTAINERS: usize = 5;

/// How long something may take that nothing should prevent.
const LONG: Duration = Duration::from_secs(60);

pub fn run(options: &Options, report: &mut Report) {
    let plot = Plot::new();
    let mut random = Random::new(options.seed);
    let mut scene = Scene {
        plot: &plot,
        job: None,
        told: HashSet::new(),
        containers: HashMap::new(),
        running: Vec::new(),
        codes: 0,
        tally: Tally::default(),
    };
    scene.start();
    let kills = options.share_of(KILLS);
    for _ in 0..kills {
        scene.kill_once(&mut random);
    }
    scene.end_all();
    let left = left(&plot);

    let tally = &scene.tally;
    report.note("kills of a program", kills);
    report.note("... while it made or destroyed a container", number(&tally.failed_creates));
    report.note("exits", number(&tally.exits));
    report.count("false exits", tally.false_exits.count(), 0);
    report.count("lost exits", tally.lost.count(), 0);
    report.count("exits told twice by one run", tally.doubled.count(), 0);
    report.count("wrong codes", tally.codes.count(), 0);
    report.count("anything else", tally.other.count(), 0);
    report.count("left behind", usize::from(!left.only_images()), 0);
    if !left.only_images() {
        eprintln!("programs: left: {left:?}");
    }
}

fn number(count: &AtomicUsize) -> usize {
    count.load(Ordering::SeqCst)
}

/// The objects that are left once the leases have expired, which takes a day without this. Shims
/// that containerd reports as lost do not count.
fn left(plot: &Plot) -> Holdings {
    for id in plot.ground.ctr(&["-n", &plot.namespace, "leases", "ls", "-q"]).lines() {
        plot.ground.ctr(&["-n", &plot.namespace, "leases", "rm", "--sync", id]);
    }
    let containerd = Containerd::of(plot.ground.daemon());
    let start = Instant::now();
    loop {
        let mut left = plot.holdings();
        let lost = |shim: u32, line: &str| {
            let mut words = line.split(' ').skip_while(|word| *word != "-id");
            words.nth(1).is_some_and(|id| containerd.has_lost_the_shim(shim, id))
        };
        let of_ours = format!(" -namespace {} ", plot.namespace);
        let processes = processes_naming(plot.ground.dir());
        let shims = processes.iter().filter(|(_, line)| line.contains(&of_ours));
        left.shims = shims.filter(|(shim, line)| !lost(*shim, line)).count();
        if left.only_images() || start.elapsed() > LONG {
            return left;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The knowledge of this program about a container.
struct Known {
    /// The exit codes that may be reported. There is one, unless it is not known how far the
    /// creation came.
    may_be: Vec<Option<u32>>,
    /// Whether the container was asked to end.
    ends: bool,
}

struct Scene<'a> {
    plot: &'a Plot,
    job: Option<Job>,
    /// The exits that the present run has reported.
    told: HashSet<String>,
    containers: HashMap<String, Known>,
    /// The running containers, and their processes.
    running: Vec<(String, u32)>,
    codes: u32,
    tally: Tally,
}

impl Scene<'_> {
    /// Starts the program, and waits until it has recovered its containers.
    fn start(&mut self) {
        self.told.clear();
        let state = self.plot.ground.state_dir();
        let (address, state) = (self.plot.ground.address(), state.to_str().unwrap());
        let arguments = [address, &self.plot.namespace, state, &self.plot.image];
        self.job = Some(Job::start("program", &arguments));
        self.answer();
    }

    fn tell(&mut self, what: &str) {
        self.job.as_mut().unwrap().tell(what);
    }

    /// The program's next answer. Checks the exits that it reports before that.
    fn answer(&mut self) -> String {
        loop {
            let line = self.job.as_mut().unwrap().line();
            if !self.is_exit(&line) {
                return line;
            }
        }
    }

    fn kill(&mut self) {
        for line in self.job.take().unwrap().kill() {
            self.is_exit(&line);
        }
    }

    /// Whether the line is about an exit. If so, checks it.
    fn is_exit(&mut self, line: &str) -> bool {
        let [what, id, code] = line.split(' ').collect::<Vec<_>>()[..] else { return false };
        if what != "exit" {
            return false;
        }
        self.tally.exits.fetch_add(1, Ordering::SeqCst);
        if !self.containers.get(id).is_some_and(|known| known.ends) {
            self.tally.false_exits.note(line);
        }
        if !self.told.insert(id.to_owned()) {
            self.tally.doubled.note(line);
        }
        self.check_code(id, code.parse().ok());
        true
    }

    fn check_code(&self, id: &str, code: Option<u32>) {
        let known = &self.containers[id];
        if !known.may_be.contains(&code) {
            self.tally.codes.note(format_args!("{id}: {code:?}, not of {:?}", known.may_be));
        }
    }

    /// Tells the program to make a container. `may_be` has the codes that may be reported besides
    /// the container's own.
    fn tell_to_make(&mut self, may_be: &[Option<u32>]) -> String {
        self.codes = self.codes % 120 + 1;
        let (id, code) = (unique("soak"), self.codes);
        let may_be = may_be.iter().copied().chain([Some(code)]).collect();
        self.containers.insert(id.clone(), Known { may_be, ends: false });
        self.tell(&format!("make {id} {code}"));
        id
    }

    fn make(&mut self) {
        let id = self.tell_to_make(&[]);
        match self.answer().parse() {
            Ok(process) => self.running.push((id, process)),
            Err(_) => self.tally.other.note(format_args!("{id} was not made")),
        }
    }

    /// Makes one container end.
    fn end_one(&mut self, random: &mut Random) -> String {
        let (id, process) = self.running.swap_remove(random.below(self.running.len()));
        self.containers.get_mut(&id).unwrap().ends = true;
        kill_process(pid(process), Signal::TERM).unwrap();
        id
    }

    /// Kills the program once, and starts it again.
    fn kill_once(&mut self, random: &mut Random) {
        while self.running.len() < CONTAINERS {
            self.make();
        }
        let mut ending = vec![self.end_one(random)];
        let mut broken = Vec::new();
        match random.below(3) {
            0 => {
                // A process without a trap is killed. Before the start it has no code.
                let id = self.tell_to_make(&[None, Some(137)]);
                self.containers.get_mut(&id).unwrap().ends = true;
                broken.push(id);
            }
            1 => {
                let id = self.end_one(random);
                self.tell(&format!("destroy {id}"));
                broken.push(id);
            }
            _ => {}
        }
        self.tally.failed_creates.fetch_add(broken.len(), Ordering::SeqCst);
        thread::sleep(random.millis(0, 150));
        self.kill();
        ending.push(self.end_one(random));
        thread::sleep(random.millis(0, 50));
        self.start();
        // Destroy these first, because a shim may wait for a reader of its output, and containerd
        // waits 5 s for the shim.
        broken.iter().for_each(|id| self.destroy(id, true));
        ending.push(self.end_one(random));
        for id in ending {
            self.tell(&format!("await {id}"));
            let answer = self.answer();
            self.check_code(&id, answer.parse().ok());
            if !self.told.contains(&id) {
                self.tally.lost.note(format_args!("{id}: {answer}"));
            }
            self.destroy(&id, false);
        }
    }

    /// `may_be_gone` means that an earlier run may have destroyed it, or may not have made it.
    fn destroy(&mut self, id: &str, may_be_gone: bool) {
        self.tell(&format!("destroy {id}"));
        let answer = self.answer();
        match answer.as_str() {
            "NotFound" if may_be_gone => {}
            "-" => self.check_code(id, None),
            code => match code.parse() {
                Ok(code) => self.check_code(id, Some(code)),
                Err(_) => self.tally.other.note(format_args!("{id} is not destroyed: {answer}")),
            },
        }
    }

    /// Destroys every running container. A last run removes the FIFOs that are left.
    fn end_all(&mut self) {
        for (id, _) in std::mem::take(&mut self.running) {
            self.containers.get_mut(&id).unwrap().ends = true;
            self.destroy(&id, false);
        }
        self.kill();
        self.start();
        self.job.take().unwrap().end();
    }
}

/// The job: recovers all its containers, prints that, and reports exits. Told to make a container,
/// it prints the container's process. Told to wait for the end of one or to destroy one, it prints
/// the exit code, or `-` if there is none. If that fails, it prints the error's kind.
pub fn job(arguments: &[String]) {
    let [address, namespace, state_dir, image] = arguments else { panic!("{arguments:?}") };
    let config = ClientConfig::new().address(address).namespace(namespace).state_dir(state_dir);
    let client = Client::open(&config, &Call::new()).unwrap();
    let said = Arc::<Mutex<HashSet<String>>>::default();
    let hook = {
        let said = said.clone();
        move |message: &Message| {
            println!("exit {} {}", message.container_id(), code(message));
            said.lock().unwrap().insert(message.container_id().to_owned());
        }
    };
    client.on_exit(hook).unwrap();
    client.recover_all(&mut |_| Ok(Stdio::new()), &within(60)).unwrap();
    println!("recovered");
    while let Some(line) = told() {
        let result = match line.split(' ').collect::<Vec<_>>()[..] {
            ["make", id, code] => make(&client, image, id, code).map(|pid| pid.to_string()),
            ["await", id] => client.probe(id, &Call::new().timeout(LONG)).map(|message| {
                let start = Instant::now();
                while !said.lock().unwrap().contains(id) && start.elapsed() < LONG {
                    thread::sleep(Duration::from_millis(1));
                }
                code(&message)
            }),
            ["destroy", id] => {
                client.destroy_container(id, &gently(), &Call::new()).map(|message| code(&message))
            }
            _ => panic!("{line}"),
        };
        println!("{}", result.unwrap_or_else(|e| format!("{:?}", e.kind())));
    }
}

fn code(message: &Message) -> String {
    message.exit_code().map_or("-".into(), |code| code.to_string())
}

/// Makes a container, and waits until its process can be asked to end.
fn make(client: &Client, image: &str, id: &str, code: &str) -> ctrd::Result<u32> {
    let script = format!("trap 'exit {code}' TERM; echo; sleep 100000 & wait");
    let (mut output, stdout) = pipe();
    let config = ContainerConfig::new(id)
        .image(image)
        .args(["/bin/sh", "-c", &script])
        .stdio(Stdio::new().stdout(Stream::fd(stdout)));
    let process = client.create_container(&config, &Call::new())?;
    drop(config);
    output.read_exact(&mut [0]).expect("its output");
    Ok(process.pid())
}

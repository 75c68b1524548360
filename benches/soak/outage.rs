//! A long outage: the client waits for its end and uses almost no CPU time.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use ctrd::{
    Call, Client, ClientConfig, ErrorKind, MessageKind, Queue, QueueConfig, SubscriptionConfig,
};
use rustix::process::{Signal, kill_process};

use crate::containerd::pid;
use crate::ground::plot::{Plot, at_once, create, within};
use crate::ground::proxy::Proxy;
use crate::ground::unique;
use crate::job::{Job, told};
use crate::report::{Report, millis};
use crate::{Options, usage};

const SECONDS: usize = 600;
const WATCHES: usize = 100;

/// The promise: the CPU time is below this share of a core, and a call works within this time.
const CPU: f64 = 0.01;
const BACK: Duration = Duration::from_millis(1500);

/// The state of the socket during the outage.
#[derive(Clone, Copy)]
enum Socket {
    /// The socket's file exists, and nobody listens.
    Refuses,
    /// There is no file.
    Absent,
    /// Somebody listens and closes each connection.
    HangsUp,
}

const SOCKETS: [(Socket, &str); 3] = [
    (Socket::Refuses, "connections refused"),
    (Socket::Absent, "no socket"),
    (Socket::HangsUp, "connections cut"),
];

/// A path to the server that can be closed.
struct Way {
    proxy: Proxy,
    path: PathBuf,
    aside: PathBuf,
}

impl Way {
    fn open(plot: &Plot) -> Way {
        let path = plot.ground.dir().join(unique("way"));
        let proxy = Proxy::start(plot.ground.address().as_ref(), &path);
        Way { proxy, aside: path.with_extension("aside"), path }
    }

    fn close(&self, socket: Socket) {
        match socket {
            Socket::HangsUp => {}
            Socket::Refuses | Socket::Absent => fs::rename(&self.path, &self.aside).unwrap(),
        }
        if let Socket::Refuses = socket {
            drop(UnixListener::bind(&self.path).unwrap());
        }
        self.proxy.cut();
    }

    fn reopen(&self, socket: Socket) {
        self.proxy.mend();
        match socket {
            Socket::HangsUp => {}
            Socket::Refuses | Socket::Absent => fs::rename(&self.aside, &self.path).unwrap(),
        }
    }
}

pub fn run(options: &Options, report: &mut Report) {
    let plot = Plot::new();
    let seconds = options.share_of(SECONDS) as u64;
    let script = "trap 'exit 7' TERM; sleep 100000 & wait";
    let containers: Vec<(String, u32)> =
        (0..WATCHES).map(|_| create(&plot.client, plot.shell(script))).collect();
    let ids: Vec<&str> = containers.iter().map(|(id, _)| id.as_str()).collect();
    let mut jobs: Vec<_> = SOCKETS
        .into_iter()
        .map(|(socket, name)| {
            let way = Way::open(&plot);
            let address = way.proxy.address();
            let arguments = [&[address.as_str(), plot.namespace.as_str()], ids.as_slice()].concat();
            let mut job = Job::start("outage", &arguments);
            assert_eq!(job.line(), "watching");
            (socket, name, way, job)
        })
        .collect();
    report.note("watches", WATCHES);
    report.note("outage", format!("{seconds} s"));

    for (socket, _, way, _) in &jobs {
        way.close(*socket);
    }
    let cpu = |job: &mut Job| {
        job.tell("cpu");
        Duration::from_nanos(job.number())
    };
    let before: Vec<Duration> = jobs.iter_mut().map(|(.., job)| cpu(job)).collect();
    thread::sleep(Duration::from_secs(seconds) / 2);
    let (ended, process) = &containers[0];
    kill_process(pid(*process), Signal::TERM).unwrap();
    thread::sleep(Duration::from_secs(seconds) / 2);
    for ((_, name, _, job), before) in jobs.iter_mut().zip(before) {
        let share = (cpu(job) - before).as_secs_f64() / seconds as f64;
        let text = format!("{:.2} %", share * 100.0);
        report.figure(&format!("CPU, {name}"), text, "below 1 %", share < CPU);
    }
    for (socket, name, way, job) in &mut jobs {
        way.reopen(*socket);
        job.tell(&format!("back {} {ended}", usage::clock().as_nanos()));
        let call = Duration::from_nanos(job.number());
        report.figure(&format!("a call, {name}"), millis(call), "within 1.5 s", call <= BACK);
        let exit = Duration::from_nanos(job.number());
        report.note(&format!("the exit meanwhile, {name}"), millis(exit));
        report.count(&format!("its code, {name}"), job.number(), 7);
        report.count(&format!("exits told, {name}"), job.number(), 1);
    }
    jobs.into_iter().for_each(|(.., job)| job.end());
    for id in ids {
        plot.client.destroy_container(id, &at_once(), &Call::new()).unwrap();
    }
}

/// The job: watches containers and events. Asked for its CPU time, it prints it. When it receives
/// the time at which the outage ended and the container that ended meanwhile, it prints four
/// numbers: how long after that time a call worked, how long after that time it knew the exit, the
/// code, and how many exits it received in all.
pub fn job(arguments: &[String]) {
    let [address, namespace, ids @ ..] = arguments else { panic!("{arguments:?}") };
    let config = ClientConfig::new().address(address).namespace(namespace);
    let client = Client::open(&config, &Call::new()).unwrap();
    let exits = Queue::new(&QueueConfig::new()).unwrap();
    let config = SubscriptionConfig::new([MessageKind::Exit]);
    let _exits = client.subscribe(&exits, &config, &Call::new()).unwrap();
    let events = Queue::new(&QueueConfig::new()).unwrap();
    let config = SubscriptionConfig::new([MessageKind::Event]);
    let _events = client.subscribe(&events, &config, &Call::new()).unwrap();
    for id in ids {
        client.watch_container(id, &Call::new()).unwrap();
        let error = client.probe(id, &Call::new().poll()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    }
    println!("watching");
    while let Some(line) = told() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, back, ended] = words.as_slice() else {
            println!("{}", usage::cpu().as_nanos());
            continue;
        };
        let back = Duration::from_nanos(back.parse().unwrap());
        while client.version(&within(10)).is_err() {
            thread::sleep(Duration::from_millis(5));
        }
        println!("{}", (usage::clock() - back).as_nanos());
        let message = client.probe(ended, &within(60));
        println!("{}", (usage::clock() - back).as_nanos());
        // 999 means that there was no report, or that the code is not known.
        println!("{}", message.ok().and_then(|message| message.exit_code()).unwrap_or(999));
        let mut count = 0;
        while exits.next(&Call::new().timeout(Duration::from_millis(500))).is_ok() {
            count += 1;
        }
        println!("{count}");
    }
}

//! Very many watches: they need no thread, and little memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{Call, Client, ClientConfig, ErrorKind, Message};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ground::plot::within;
use crate::ground::{descriptors, library_threads, threads, unique};
use crate::job::{Job, told};
use crate::report::{Report, millis};
use crate::{Options, server, usage};

const WATCHES: usize = 10_000;

/// How long a process rests before its memory is measured.
const SETTLE: Duration = Duration::from_secs(1);

pub fn run(options: &Options, report: &mut Report) {
    let count = options.share_of(WATCHES);
    let path = format!("/tmp/ctrd-{}.sock", unique("soak"));
    let mut server = Job::start("server", &[&path]);
    assert_eq!(server.line(), "listening");
    let mut client = Job::start("watch", &[&path, &count.to_string()]);
    let [one, many] = [(); 2].map(|()| [(); 4].map(|()| client.number::<u64>()));
    let call = Duration::from_nanos(client.number());
    report.note("watches of one client", count);
    report.count(
        "threads of the library (to be: with one watch)",
        many[3] as usize,
        one[3] as usize,
    );
    // gRPC's core has one or two more threads under a sudden load.
    report.note("threads of the process; with one watch", format!("{}; {}", many[0], one[0]));
    let bytes = (many[1] - one[1]) as f64 * 1024.0 / (count - 1) as f64;
    report.note("memory for each watch", format!("{bytes:.0} bytes"));
    report.note("descriptors for each watch", (many[2] - one[2]) as usize / (count - 1));
    report.note("a call with all of them (99th of 100)", millis(call));
    server.tell("answer");
    report.count("waits at the server", server.number(), count);
    client.tell("answered");
    report.count("exits with their own codes", client.number(), count);
    report.count("exits told to a hook", client.number(), count);
    client.end();
    server.end();
    // gRPC removes the socket if the server ends normally.
    let _ = std::fs::remove_file(path);
}

/// The job: prints threads, memory in KiB and descriptors with one watch and with COUNT, and then
/// the time of a call. When it receives the line that all have ended, it prints how many ends it
/// knows, and how many exits a hook received.
pub fn job(arguments: &[String]) {
    let [address, count] = arguments else { panic!("{arguments:?}") };
    let count = count.parse().unwrap();
    // Each watch has a descriptor of its process.
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let config = ClientConfig::new().address(address);
    let client = Client::open(&config, &Call::new()).unwrap();
    let exits = Arc::new(AtomicUsize::new(0));
    let hook = {
        let exits = exits.clone();
        move |_: &Message| {
            exits.fetch_add(1, Ordering::SeqCst);
        }
    };
    client.on_exit(hook).unwrap();
    let ids: Vec<String> = (0..count).map(|i| format!("c-{i}")).collect();
    let watch = |id: &String| {
        client.watch_container(id, &Call::new()).unwrap();
        let error = client.probe(id, &Call::new().poll()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    };
    let usage = || {
        thread::sleep(SETTLE);
        println!("{}\n{}\n{}\n{}", threads(), usage::memory(), descriptors(), library_threads());
    };
    watch(&ids[0]);
    usage();
    ids[1..].iter().for_each(watch);
    usage();
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            let start = Instant::now();
            client.version(&Call::new()).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("{}", times[98].as_nanos());
    told();
    let ended = |id: &&String| {
        let told = client.probe(id, &within(30));
        told.is_ok_and(|message| message.exit_code() == Some(server::code(id)))
    };
    println!("{}", ids.iter().filter(ended).count());
    thread::sleep(SETTLE);
    println!("{}", exits.load(Ordering::SeqCst));
}

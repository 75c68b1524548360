//! Containers that end and are replaced all the time, and the reports about them.
//!
//! Each place of the pool has a thread. It makes a container, waits for its end with a probe,
//! checks the report, destroys the container, and makes the next one. Whoever ends a container
//! records that first, so an exit that nobody has caused is wrong.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{Call, Client, ContainerConfig, ErrorKind, Message, Origin, Stdio, Stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::containerd::{pid, shim_of};
use crate::ground::plot::{gently, pipe, stop, within};
use crate::ground::{unique, wait_until};
use crate::random::Random;

/// How many containers run at once.
const PLACES: usize = 20;

/// How long something may take that no fault should prevent.
const LONG: Duration = Duration::from_secs(60);

/// The longest time between an exit and an absence of containerd for the exit to count as near it.
const NEAR: Duration = Duration::from_secs(2);

/// The pause before another attempt.
const PAUSE: Duration = Duration::from_millis(20);

pub struct Pool<'a> {
    /// The client whose reports are checked. The faults are between it and the server.
    pub client: &'a Client,
    /// Another client, with a direct connection to the server.
    pub other: &'a Client,
    pub image: &'a str,
    known: Known,
    places: [Mutex<Option<Running>>; PLACES],
    over: AtomicBool,
    codes: AtomicU32,
    told: Told,
    /// The containers whose creation failed. Their exits may be reported or not.
    failed: Mutex<HashSet<String>>,
    /// When containerd was absent.
    outages: Mutex<Vec<(Instant, Instant)>>,
    /// The creations of tasks that broke off: the container, and the time from beginning to end.
    broken: Mutex<Vec<(String, Instant, Instant)>>,
    journal: Mutex<Vec<String>>,
    start: Instant,
    pub tally: Tally,
}

/// In which cases the exit code must be known.
#[derive(Clone, Copy)]
pub struct Known {
    /// For every process that ends.
    pub always: bool,
    /// For a process that ends while containerd is absent, if its task still exists.
    pub after_an_outage: bool,
}

/// The reports to a hook: the numbers of the messages, by container.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<HashMap<String, Vec<u64>>>>);

impl Told {
    /// The hook.
    pub fn hook(&self) -> impl Fn(&Message) + Send + Sync + 'static {
        let told = self.0.clone();
        move |message: &Message| {
            let mut told = told.lock().unwrap();
            told.entry(message.container_id().to_owned()).or_default().push(message.seq());
        }
    }

    fn take(&self, id: &str) -> Option<Vec<u64>> {
        self.0.lock().unwrap().remove(id)
    }
}

/// The counts of what happened.
#[derive(Default)]
pub struct Tally {
    pub exits: AtomicUsize,
    /// Exits whose code no source had.
    pub unknown: AtomicUsize,
    pub failed_creates: AtomicUsize,
    pub failed_destroys: AtomicUsize,
    pub false_exits: Wrong,
    pub lost: Wrong,
    pub doubled: Wrong,
    pub codes: Wrong,
    pub other: Wrong,
}

/// A fault of the library. Each one is also printed.
#[derive(Default)]
pub struct Wrong(AtomicUsize);

impl Wrong {
    pub fn note(&self, what: impl Display) {
        eprintln!("soak: {what}");
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A container of the pool.
#[derive(Clone, Debug)]
struct Running {
    id: String,
    process: u32,
    /// The exit code of the process when it is asked to end.
    code: u32,
    ending: Option<Ending>,
    /// The container that another client has made with the same id.
    successor: Option<Box<Running>>,
}

/// How a container was ended.
#[derive(Clone, Copy, Debug)]
struct Ending {
    how: How,
    at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// Its process was asked to end.
    Asked,
    /// Its process was asked to end while its shim could not see it, and then the shim was killed.
    Unseen,
    /// Its shim was killed.
    ShimKilled,
    /// Another client has destroyed it and made another container with the same id.
    MadeAnew,
}

impl<'a> Pool<'a> {
    pub fn new(
        client: &'a Client,
        other: &'a Client,
        image: &'a str,
        told: Told,
        known: Known,
    ) -> Self {
        Pool {
            client,
            other,
            image,
            known,
            places: Default::default(),
            over: AtomicBool::new(false),
            codes: AtomicU32::new(0),
            told,
            failed: Mutex::default(),
            outages: Mutex::default(),
            broken: Mutex::default(),
            journal: Mutex::default(),
            start: Instant::now(),
            tally: Tally::default(),
        }
    }

    /// Fills the pool, runs `faults` meanwhile, and then ends every container in the pool.
    pub fn run(&self, random: &mut Random, faults: impl FnOnce(&mut Random)) {
        self.over.store(false, Ordering::SeqCst);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..PLACES)
                .map(|place| {
                    let random = random.fork();
                    scope.spawn(move || self.live(place, random))
                })
                .collect();
            wait_until("a full pool", || self.places.iter().all(|p| p.lock().unwrap().is_some()));
            faults(random);
            self.over.store(true, Ordering::SeqCst);
            while threads.iter().any(|thread| !thread.is_finished()) {
                for place in 0..PLACES {
                    self.ask(place);
                }
                thread::sleep(PAUSE);
            }
        });
        // Wait for late messages.
        thread::sleep(Duration::from_millis(500));
        let failed = std::mem::take(&mut *self.failed.lock().unwrap());
        for (id, told) in self.told.0.lock().unwrap().drain() {
            if told.len() == 1 && failed.contains(&id) {
                continue;
            }
            self.tally.doubled.note(format_args!("{id}: a hook was told too much: {told:?}"));
        }
    }

    /// Records an action, to help find out why something is left.
    pub fn write(&self, what: impl Display) {
        let line = format!("{:10.3} {what}", self.start.elapsed().as_secs_f64());
        self.journal.lock().unwrap().push(line);
    }

    /// Whether containerd was killed while it created the task of this container.
    pub fn was_killed_at(&self, id: &str) -> bool {
        let outages = self.outages.lock().unwrap();
        let broken = self.broken.lock().unwrap();
        let mut creations = broken.iter().filter(|(other, ..)| other == id);
        creations.any(|(_, begin, end)| outages.iter().any(|(at, _)| begin <= at && at <= end))
    }

    /// The records of a container.
    pub fn journal_of(&self, id: &str) -> Vec<String> {
        let journal = self.journal.lock().unwrap();
        let about = |line: &&String| line.contains(&format!(" {id}: "));
        journal.iter().filter(about).cloned().collect()
    }

    /// Records that containerd was absent.
    pub fn note_outage(&self, from: Instant, to: Instant) {
        self.outages.lock().unwrap().push((from, to));
    }

    // The functions that end containers. Each returns whether there was one to end.

    /// Asks one container to end.
    pub fn ask_one(&self, random: &mut Random) -> bool {
        self.any(random, |place| self.ask(place))
    }

    fn ask(&self, place: usize) -> bool {
        let running = self.note_ending(place, How::Asked);
        let found = running.is_some();
        running.into_iter().for_each(|running| self.signal(&running, Signal::TERM));
        found
    }

    /// Kills the shim of one container. Half of the processes end before that, unknown to the shim.
    pub fn kill_shim(&self, random: &mut Random) -> bool {
        let unseen = random.one_in(2);
        self.any(random, |place| {
            let how = if unseen { How::Unseen } else { How::ShimKilled };
            let Some(running) = self.note_ending(place, how) else { return false };
            let shim = shim_of(running.process);
            if unseen {
                stop(shim);
                self.signal(&running, Signal::TERM);
                wait_until("the end of a process", || !crate::ground::runs(running.process));
            }
            kill_process(shim, Signal::KILL).unwrap();
            true
        })
    }

    /// Stops the shim of one container, and returns the shim. Half of the processes are then asked
    /// to end.
    pub fn stop_shim(&self, random: &mut Random) -> Option<Pid> {
        let asks = random.one_in(2);
        let mut stopped = None;
        self.any(random, |place| {
            stopped = self.places[place]
                .lock()
                .unwrap()
                .as_ref()
                // The processes of the other containers may have ended.
                .filter(|running| running.ending.is_none())
                .map(|running| {
                    self.write(format_args!("{}: its shim is stopped", running.id));
                    shim_of(running.process)
                });
            let Some(shim) = stopped else { return false };
            stop(shim);
            if asks {
                self.ask(place);
            }
            true
        });
        stopped
    }

    /// Makes another client destroy one container and make another with the same id.
    pub fn make_anew(&self, random: &mut Random) -> bool {
        self.any(random, |place| {
            let Some(running) = self.note_ending(place, How::MadeAnew) else { return false };
            let id = &running.id;
            if let Err(e) = self.other.destroy_container(id, &gently(), &Call::new()) {
                self.tally.other.note(format_args!("{id} by another client: {e}"));
            }
            let successor = match self.create(self.other, id) {
                Ok(successor) => successor,
                // The thread of the place goes on with another container.
                Err(e) => {
                    self.tally.other.note(format_args!("{id} anew by another client: {e}"));
                    Running { process: 0, ..running.clone() }
                }
            };
            let mut place = self.places[place].lock().unwrap();
            if let Some(running) = &mut *place {
                running.successor = Some(Box::new(successor));
            }
            true
        })
    }

    /// Tries `find` at one place after the other until it succeeds.
    fn any(&self, random: &mut Random, mut find: impl FnMut(usize) -> bool) -> bool {
        let first = random.below(PLACES);
        (0..PLACES).any(|i| find((first + i) % PLACES))
    }

    /// Records how a container will end, unless it is ending already.
    fn note_ending(&self, place: usize, how: How) -> Option<Running> {
        let mut place = self.places[place].lock().unwrap();
        let running = place.as_mut().filter(|running| running.ending.is_none())?;
        running.ending = Some(Ending { how, at: Instant::now() });
        self.write(format_args!("{}: {how:?}", running.id));
        Some(running.clone())
    }

    fn signal(&self, running: &Running, signal: Signal) {
        if let Err(e) = kill_process(pid(running.process), signal) {
            self.tally.other.note(format_args!("{}: not there to be ended: {e}", running.id));
        }
    }

    // The work of a place's thread.

    fn live(&self, place: usize, mut random: Random) {
        let mut next = None;
        while let Some(running) = next.take().or_else(|| self.make(&mut random)) {
            *self.places[place].lock().unwrap() = Some(running);
            let message = self.await_exit(place);
            let running = self.take(place);
            if let Some(message) = &message {
                self.check(&running, message);
            }
            next = match running.successor {
                // The new container was made. The client that watched the old one watches it.
                Some(successor) if successor.process != 0 => {
                    self.adopt(&successor.id, message.map(|m| m.seq()));
                    Some(*successor)
                }
                _ => {
                    self.destroy(&running.id, message.as_ref());
                    None
                }
            };
        }
    }

    /// Makes a container with either client. `None` once the run is over.
    fn make(&self, random: &mut Random) -> Option<Running> {
        while !self.over.load(Ordering::SeqCst) {
            let id = unique("soak");
            let ours = random.one_in(2);
            match self.create(if ours { self.client } else { self.other }, &id) {
                Ok(running) => {
                    if !ours {
                        self.adopt(&id, None);
                    }
                    return Some(running);
                }
                Err(_) => {
                    self.tally.failed_creates.fetch_add(1, Ordering::SeqCst);
                    self.failed.lock().unwrap().insert(id.clone());
                    self.destroy(&id, None);
                    thread::sleep(PAUSE);
                }
            }
        }
        None
    }

    /// Makes a container, and waits until its process can be asked to end. Before that, the first
    /// process of a pid namespace ignores SIGTERM.
    fn create(&self, client: &Client, id: &str) -> Result<Running, String> {
        let code = 1 + self.codes.fetch_add(1, Ordering::SeqCst) % 120;
        let script = format!("trap 'exit {code}' TERM; echo ready; sleep 100000 & wait");
        let (mut output, stdout) = pipe();
        let config = ContainerConfig::new(id)
            .image(self.image)
            .args(["/bin/sh", "-c", &script])
            .stdio(Stdio::new().stdout(Stream::fd(stdout)));
        self.write(format_args!("{id}: create"));
        let begin = Instant::now();
        let created = client.create_container(&config, &within(30));
        drop(config);
        match &created {
            Ok(_) => self.write(format_args!("{id}: created")),
            Err(e) => {
                self.write(format_args!("{id}: not created: {e}"));
                if e.failed_step() == Some("create the task") {
                    let mut broken = self.broken.lock().unwrap();
                    broken.push((id.to_owned(), begin, Instant::now()));
                }
            }
        }
        let process = created.map_err(|e| e.to_string())?;
        let mut text = [0; 6];
        let time = Timespec { tv_sec: 30, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&time));
        if ready != Ok(1) || output.read_exact(&mut text).is_err() || &text != b"ready\n" {
            self.tally.other.note(format_args!("{id}: its output has not come"));
            return Err("not ready".into());
        }
        let id = id.to_owned();
        Ok(Running { id, process: process.pid(), code, ending: None, successor: None })
    }

    /// Makes the client watch a container that the other client has made. `before` is the number of
    /// the message about an earlier container with the id. The client returns that message if it
    /// cannot ask the server.
    fn adopt(&self, id: &str, before: Option<u64>) {
        let start = Instant::now();
        loop {
            let watched = self.client.watch_container(id, &within(1));
            match watched.and_then(|()| self.client.probe(id, &Call::new().poll())) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Ok(message) if before != Some(message.seq()) => {
                    return self.tally.false_exits.note(format_args!("{id}: {message:?}"));
                }
                last if start.elapsed() > LONG => {
                    return self.tally.lost.note(format_args!("{id} cannot be watched: {last:?}"));
                }
                _ => thread::sleep(PAUSE),
            }
        }
    }

    /// Waits for the exit of the container at a place. `None` if it does not come.
    fn await_exit(&self, place: usize) -> Option<Message> {
        let id = self.places[place].lock().unwrap().as_ref().unwrap().id.clone();
        loop {
            let error = match self.client.probe(&id, &within(2)) {
                Ok(message) => return Some(message),
                Err(error) => error,
            };
            let ending = self.places[place].lock().unwrap().as_ref().unwrap().ending;
            let late = ending.is_some_and(|ending| ending.at.elapsed() > LONG);
            if error.kind() != ErrorKind::Timeout || late {
                self.tally.lost.note(format_args!("{id}: {ending:?}: {error}"));
                return None;
            }
        }
    }

    /// Takes the container from its place, so that nobody ends it any more. Waits for a client that
    /// is making it again.
    fn take(&self, place: usize) -> Running {
        let anew = |running: &Running| running.ending.is_some_and(|e| e.how == How::MadeAnew);
        let start = Instant::now();
        loop {
            let running = self.places[place]
                .lock()
                .unwrap()
                .take_if(|running| !anew(running) || running.successor.is_some());
            match running {
                Some(running) => return running,
                None => assert!(start.elapsed() < LONG, "nothing was made anew"),
            }
            thread::sleep(PAUSE);
        }
    }

    /// Checks the report about a container that has ended.
    fn check(&self, running: &Running, message: &Message) {
        let Running { id, code, .. } = running;
        self.tally.exits.fetch_add(1, Ordering::SeqCst);
        let Some(ending) = running.ending else {
            return self.tally.false_exits.note(format_args!("{id}: {message:?}"));
        };
        let right = match (ending.how, message.exit_code()) {
            (How::Asked | How::Unseen, Some(told)) => told == *code,
            (How::ShimKilled, Some(told)) => told == 137,
            (How::MadeAnew, Some(told)) => told == *code || told == 137,
            (How::Asked, None) => {
                message.origin() == Origin::Gap
                    && !self.known.after_an_outage
                    && self.was_outage(ending.at)
            }
            (How::Unseen | How::ShimKilled | How::MadeAnew, None) => {
                message.origin() == Origin::Gap && !self.known.always
            }
        };
        if message.exit_code().is_none() {
            self.tally.unknown.fetch_add(1, Ordering::SeqCst);
        }
        if !right {
            self.tally.codes.note(format_args!("{running:?}: {message:?}"));
        }
        self.check_hook(id, message);
    }

    fn was_outage(&self, at: Instant) -> bool {
        let outages = self.outages.lock().unwrap();
        outages.iter().any(|(from, to)| *from - NEAR <= at && at <= *to + NEAR)
    }

    /// Checks that the hook receives the same message once. Later surplus messages are found at the
    /// end.
    fn check_hook(&self, id: &str, message: &Message) {
        let start = Instant::now();
        loop {
            let told = self.told.take(id);
            match told.as_deref() {
                Some([seq]) if *seq == message.seq() => return,
                Some(told) => {
                    return self.tally.doubled.note(format_args!("{id}: {told:?}: {message:?}"));
                }
                None if start.elapsed() > LONG => {
                    return self
                        .tally
                        .lost
                        .note(format_args!("{id}: no hook was told: {message:?}"));
                }
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Destroys a container, and tries again if that fails. The exit that this reports must be the
    /// one that was reported before.
    fn destroy(&self, id: &str, before: Option<&Message>) {
        let start = Instant::now();
        let key = |message: &Message| (message.seq(), message.exit_code());
        loop {
            let destroyed = self.client.destroy_container(id, &gently(), &within(30));
            // While the server cannot be reached, every attempt fails in the same way.
            match &destroyed {
                Ok(_) => self.write(format_args!("{id}: destroyed")),
                Err(e) if e.failed_step() == Some("look the record up") => {}
                Err(e) => self.write(format_args!("{id}: not destroyed: {e}")),
            }
            match destroyed {
                Ok(message) => {
                    if let Some(before) = before.filter(|before| key(before) != key(&message)) {
                        self.tally.codes.note(format_args!("{id}: {before:?}, then {message:?}"));
                    }
                    return;
                }
                Err(e) if e.kind() == ErrorKind::NotFound => return,
                Err(e) if start.elapsed() > LONG => {
                    return self.tally.other.note(format_args!("{id} is not destroyed: {e}"));
                }
                Err(_) => {
                    self.tally.failed_destroys.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(PAUSE);
                }
            }
        }
    }
}

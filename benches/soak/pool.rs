//! Containers that end and are replaced all the time, and what is told of them.
//!
//! Each place of the pool has a thread, which makes a container, waits for its end with a probe, looks
//! at what it was told, destroys it and makes the next. Who ends one notes so first: an exit that nobody
//! has brought about is false.

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
use crate::ground::plot::{gently, pipe, within};
use crate::ground::{unique, wait_until};
use crate::random::Random;

/// How many containers run at once.
const PLACES: usize = 20;

/// How long something may take that no fault should keep from happening.
const LONG: Duration = Duration::from_secs(60);

/// How close to a containerd that is not there an exit may have come.
const NEAR: Duration = Duration::from_secs(2);

/// Before what failed is tried again.
const PAUSE: Duration = Duration::from_millis(20);

pub struct Pool<'a> {
    /// The client whose messages count; what is between it and the server breaks.
    pub client: &'a Client,
    /// Another client, straight at the server.
    pub other: &'a Client,
    pub image: &'a str,
    known: Known,
    places: [Mutex<Option<Running>>; PLACES],
    over: AtomicBool,
    codes: AtomicU32,
    told: Told,
    /// Those whose creation failed: that they have ended may be told or not.
    failed: Mutex<HashSet<String>>,
    /// When containerd was not there.
    outages: Mutex<Vec<(Instant, Instant)>>,
    /// The creations of tasks that broke off: of what, and from when to when.
    broken: Mutex<Vec<(String, Instant, Instant)>>,
    journal: Mutex<Vec<String>>,
    start: Instant,
    pub tally: Tally,
}

/// Of what a code is known.
#[derive(Clone, Copy)]
pub struct Known {
    /// Of whatever ends.
    pub always: bool,
    /// Of what ends while containerd is not there, as long as its task stands.
    pub after_an_outage: bool,
}

/// What a hook was told: the numbers of its messages, by the container.
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

/// What happened.
#[derive(Default)]
pub struct Tally {
    pub exits: AtomicUsize,
    /// Exits whose code no source held.
    pub unknown: AtomicUsize,
    pub failed_creates: AtomicUsize,
    pub failed_destroys: AtomicUsize,
    pub false_exits: Wrong,
    pub lost: Wrong,
    pub doubled: Wrong,
    pub codes: Wrong,
    pub other: Wrong,
}

/// What must not happen; each is also printed.
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
    /// What its process exits with when it is asked to end.
    code: u32,
    ending: Option<Ending>,
    /// The one that another client has made under its id.
    successor: Option<Box<Running>>,
}

/// What was done to end one.
#[derive(Clone, Copy, Debug)]
struct Ending {
    how: How,
    at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// Its process was asked to.
    Asked,
    /// Its process was asked to while its shim could not see it, and then the shim was killed.
    Unseen,
    /// Its shim was killed.
    ShimKilled,
    /// Another client has destroyed it and made another one of the same id.
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

    /// Fills the pool, does this meanwhile, and ends all that is in it.
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
        // What is still on its way.
        thread::sleep(Duration::from_millis(500));
        let failed = std::mem::take(&mut *self.failed.lock().unwrap());
        for (id, told) in self.told.0.lock().unwrap().drain() {
            if told.len() == 1 && failed.contains(&id) {
                continue;
            }
            self.tally.doubled.note(format_args!("{id}: a hook was told too much: {told:?}"));
        }
    }

    /// Writes down what is done, for whoever has to find out why something is left.
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

    /// What was written down of a container.
    pub fn journal_of(&self, id: &str) -> Vec<String> {
        let journal = self.journal.lock().unwrap();
        let about = |line: &&String| line.contains(&format!(" {id}: "));
        journal.iter().filter(about).cloned().collect()
    }

    /// Notes that containerd was not there.
    pub fn note_outage(&self, from: Instant, to: Instant) {
        self.outages.lock().unwrap().push((from, to));
    }

    // What ends containers. Each says whether there was one to be ended.

    /// Asks one for its end.
    pub fn ask_one(&self, random: &mut Random) -> bool {
        self.any(random, |place| self.ask(place))
    }

    fn ask(&self, place: usize) -> bool {
        let running = self.note_ending(place, How::Asked);
        let found = running.is_some();
        running.into_iter().for_each(|running| self.signal(&running, Signal::TERM));
        found
    }

    /// Kills the shim of one; half of their processes end before, without its knowledge.
    pub fn kill_shim(&self, random: &mut Random) -> bool {
        let unseen = random.one_in(2);
        self.any(random, |place| {
            let how = if unseen { How::Unseen } else { How::ShimKilled };
            let Some(running) = self.note_ending(place, how) else { return false };
            let shim = shim_of(running.process);
            if unseen {
                kill_process(shim, Signal::STOP).unwrap();
                self.signal(&running, Signal::TERM);
                wait_until("the end of a process", || !crate::ground::runs(running.process));
            }
            kill_process(shim, Signal::KILL).unwrap();
            true
        })
    }

    /// Stops the shim of one, and gives it. Half of their processes are then asked to end.
    pub fn stop_shim(&self, random: &mut Random) -> Option<Pid> {
        let asks = random.one_in(2);
        let mut stopped = None;
        self.any(random, |place| {
            stopped = self.places[place]
                .lock()
                .unwrap()
                .as_ref()
                // The others' processes may be gone by now.
                .filter(|running| running.ending.is_none())
                .map(|running| {
                    self.write(format_args!("{}: its shim is stopped", running.id));
                    shim_of(running.process)
                });
            let Some(shim) = stopped else { return false };
            kill_process(shim, Signal::STOP).unwrap();
            if asks {
                self.ask(place);
            }
            true
        });
        stopped
    }

    /// Has another client destroy one and make another of the same id.
    pub fn make_anew(&self, random: &mut Random) -> bool {
        self.any(random, |place| {
            let Some(running) = self.note_ending(place, How::MadeAnew) else { return false };
            let id = &running.id;
            if let Err(e) = self.other.destroy_container(id, &gently(), &Call::new()) {
                self.tally.other.note(format_args!("{id} by another client: {e}"));
            }
            let successor = match self.create(self.other, id) {
                Ok(successor) => successor,
                // Its thread goes on with another.
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

    /// Tries this at one place after the other until it finds something.
    fn any(&self, random: &mut Random, mut find: impl FnMut(usize) -> bool) -> bool {
        let first = random.below(PLACES);
        (0..PLACES).any(|i| find((first + i) % PLACES))
    }

    /// Notes how one is going to end, unless it is ending already.
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

    // What the thread of a place does.

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
                // Made, and now watched by who watched the one before.
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

    /// Makes one, by either client; none once it is over.
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

    /// Makes one, and waits until its process can be asked to end: until then the first process of a pid
    /// namespace is deaf to SIGTERM.
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
        Ok(Running { id, process, code, ending: None, successor: None })
    }

    /// Has the client watch a container that the other has made. `before` is the message about an
    /// earlier one of the id, which is given where the server cannot be asked.
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

    /// Waits for the exit of the container at a place; none where it does not come.
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

    /// Takes the container from its place, so that nobody ends it any more. Whoever makes it anew is
    /// waited for.
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

    /// Looks at what was told of a container that has ended.
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

    /// The hook is told of the same message, once. What it is told later is found in the end.
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

    /// Destroys a container, however often that fails; what it says of the exit is what was told before.
    fn destroy(&self, id: &str, before: Option<&Message>) {
        let start = Instant::now();
        let key = |message: &Message| (message.seq(), message.exit_code());
        loop {
            let destroyed = self.client.destroy_container(id, &gently(), &within(30));
            // While it cannot be reached, every attempt says the same.
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

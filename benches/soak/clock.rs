//! Steps the machine's clock while calls wait. The library counts time by a clock that nobody sets.

use std::thread;
use std::time::{Duration, Instant};

use ctrd::{Call, ErrorKind};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::Options;
use crate::ground::plot::{Plot, gently, within};
use crate::report::Report;

const HOUR: i64 = 3_600;

/// The machine's clock with a step. The drop sets it back.
struct Stepped(i64);

impl Stepped {
    fn by(seconds: i64) -> Stepped {
        step(seconds);
        Stepped(seconds)
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        step(-self.0);
    }
}

fn step(seconds: i64) {
    let now = clock_gettime(ClockId::Realtime);
    let then = Timespec { tv_sec: now.tv_sec + seconds, ..now };
    clock_settime(ClockId::Realtime, then).expect("setting the clock needs root");
}

pub fn run(_options: &Options, report: &mut Report) {
    let plot = Plot::new();
    let id = plot.create(plot.config(&["/bin/sleep", "100000"]));
    let mut changed = 0;
    for seconds in [HOUR, -HOUR] {
        thread::scope(|scope| {
            let bounded = scope.spawn(|| {
                let start = Instant::now();
                let error = plot.client.probe(&id, &within(1)).unwrap_err();
                (error.kind(), start.elapsed())
            });
            thread::sleep(Duration::from_millis(300));
            let stepped = Stepped::by(seconds);
            let answers = plot.client.version(&within(5)).is_ok();
            let polled = plot.client.probe(&id, &Call::new().poll()).unwrap_err().kind();
            let (ended, time) = bounded.join().unwrap();
            drop(stepped);
            let as_ever = answers
                && polled == ErrorKind::WouldBlock
                && ended == ErrorKind::Timeout
                && time >= Duration::from_secs(1)
                && time < Duration::from_secs(20);
            if !as_ever {
                eprintln!("clock: {seconds} s: {answers} {polled:?} {ended:?} {time:?}");
            }
            changed += usize::from(!as_ever);
        });
    }
    report.count("steps of an hour that changed anything", changed, 0);
    let alive = plot.client.container_pid(&id, &within(5)).is_ok();
    report.count("containers that ran on", usize::from(alive), 1);
    plot.client.destroy_container(&id, &gently(), &Call::new()).unwrap();
}

//! One stream: bytes that are passed from a descriptor to another as far as both are ready, without
//! ever waiting for either.

use std::io::IsTerminal;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, major, minor, open};
use rustix::io::{Errno, ioctl_fionread, read, write};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::pipe::{SpliceFlags, splice};

use crate::error::{Error, Result};

/// How much is read at once: what the shim writes at once.
pub(super) const BUFFER: usize = 32 * 1024;

/// What must be there for a splice to be tried. However little is spliced takes one of the sixteen
/// slots of the target's pipe, where a write fills up the page before it. So a host that reads only
/// after the exit finds this much, half of what a pipe can hold, for certain.
const SPLICE_MIN: u64 = BUFFER as u64;

/// How much is spliced at once.
const SPLICE_MAX: usize = 64 * 1024;

/// How often a stream is read before it is another's turn.
const TURNS: usize = 8;

/// How much goes, byte by byte, to a device that cannot be written in any other way.
const ASKED_MAX: usize = 4096;

pub(super) type IoResult<T> = std::result::Result<T, Errno>;

/// How a descriptor is read or written without waiting, and without touching the flags of the open
/// file that it shares with the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// As any file: it was opened non-blocking by us, or it is of a kind that never waits.
    Plain,
    /// `MSG_DONTWAIT` with each call.
    Socket,
    /// A pipe whose open file may be blocking: splicing alone can be told for a single call.
    Splice,
    /// A device that cannot be opened anew: it is polled first, and written byte by byte, for
    /// "writable" promises room for one.
    Asked,
}

/// One end of a stream. Dropped, it is closed and no longer watched.
#[derive(Debug)]
pub(super) struct End {
    fd: OwnedFd,
    way: Way,
    watched_by: Option<Arc<OwnedFd>>,
}

impl End {
    /// An end of a FIFO that was opened non-blocking.
    pub(super) fn fifo(fd: OwnedFd) -> End {
        End { fd, way: Way::Plain, watched_by: None }
    }

    /// A descriptor of the host's that is to be read.
    pub(super) fn source(argument: &str, fd: OwnedFd) -> Result<End> {
        End::of_host(argument, fd, OFlags::RDONLY)
    }

    /// A descriptor of the host's that is to be written.
    pub(super) fn target(argument: &str, fd: OwnedFd) -> Result<End> {
        End::of_host(argument, fd, OFlags::WRONLY)
    }

    fn of_host(argument: &str, fd: OwnedFd, access: OFlags) -> Result<End> {
        let flags = fcntl_getfl(&fd).map_err(|e| Error::io(argument, e))?;
        let stat = fstat(&fd).map_err(|e| Error::io(argument, e))?;
        let mode = flags & OFlags::RWMODE;
        if flags.contains(OFlags::PATH) || (mode != OFlags::RDWR && mode != access) {
            let what = if access == OFlags::RDONLY { "reading" } else { "writing" };
            return Err(Error::invalid(argument, format!("the descriptor is not open for {what}")));
        }
        let (fd, way) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                return Err(Error::invalid(argument, "the descriptor is a directory's"));
            }
            FileType::Socket => (fd, Way::Socket),
            // Opened anew, a file would lose its position and its appending. It never waits.
            FileType::RegularFile | FileType::BlockDevice => (fd, Way::Plain),
            // What is read ends in a FIFO, so it can be spliced always.
            FileType::Fifo if access == OFlags::RDONLY => (fd, Way::Splice),
            // Small writes must be joined in it, which splicing does not do.
            FileType::Fifo => reopen(fd, access, Way::Splice),
            FileType::CharacterDevice if flags.contains(OFlags::NONBLOCK) => (fd, Way::Plain),
            // Opened anew, the master of a terminal (5:2) would be another terminal's.
            FileType::CharacterDevice
                if fd.is_terminal() && (major(stat.st_rdev), minor(stat.st_rdev)) != (5, 2) =>
            {
                reopen(fd, access, Way::Asked)
            }
            _ => (fd, Way::Asked),
        };
        Ok(End { fd, way, watched_by: None })
    }

    /// Has `epoll` report `data` whenever the end becomes ready. Files that are ready always are
    /// not watched.
    pub(super) fn watch(
        &mut self,
        epoll: &Arc<OwnedFd>,
        data: u64,
        flags: EventFlags,
    ) -> Result<()> {
        match epoll::add(epoll, &self.fd, EventData::new_u64(data), flags | EventFlags::ET) {
            Ok(()) => self.watched_by = Some(epoll.clone()),
            Err(Errno::PERM) => self.way = Way::Plain,
            Err(e) => return Err(Error::io("epoll_ctl", e)),
        }
        Ok(())
    }

    /// Whether it is ready always, which files are and `/dev/null`.
    fn is_file(&self) -> bool {
        self.watched_by.is_none()
    }

    fn is_ready(&self, events: PollFlags) -> bool {
        let mut fds = [PollFd::new(&self.fd, events)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&at_once)), Ok(1..))
    }

    /// How many bytes could be read.
    fn available(&self) -> u64 {
        ioctl_fionread(&self.fd).unwrap_or(0)
    }

    fn read(&self, buffer: &mut [u8]) -> IoResult<usize> {
        match self.way {
            Way::Plain => read(&self.fd, buffer),
            Way::Socket => recv(&self.fd, buffer, RecvFlags::DONTWAIT).map(|(read, _)| read),
            Way::Splice | Way::Asked if !self.is_ready(PollFlags::IN) => Err(Errno::AGAIN),
            Way::Splice | Way::Asked => read(&self.fd, buffer),
        }
    }

    fn write(&self, data: &[u8]) -> IoResult<usize> {
        match self.way {
            Way::Plain => write(&self.fd, data),
            Way::Socket => send(&self.fd, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Splice | Way::Asked => {
                let mut written = 0;
                for byte in data.iter().take(ASKED_MAX) {
                    let result = if self.is_ready(PollFlags::OUT) {
                        write(&self.fd, std::slice::from_ref(byte))
                    } else {
                        Err(Errno::AGAIN)
                    };
                    match result {
                        Ok(n) => written += n,
                        // An error that stays is met again by the next write.
                        Err(_) if written > 0 => break,
                        Err(e) => return Err(e),
                    }
                }
                Ok(written)
            }
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // Closing would not end the watch where the host holds the same open file.
        if let Some(epoll) = &self.watched_by {
            let _ = epoll::delete(epoll, &self.fd);
        }
    }
}

/// The same file, opened anew so that it can be non-blocking for us alone; where that cannot be
/// (another user's pipe, a FIFO without a reader, no `/proc`) the descriptor itself and `otherwise`.
fn reopen(fd: OwnedFd, access: OFlags, otherwise: Way) -> (OwnedFd, Way) {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match open(path, flags, Mode::empty()) {
        Ok(own) => (own, Way::Plain),
        Err(_) => (fd, otherwise),
    }
}

/// Where the bytes go.
#[derive(Debug)]
enum Target {
    To(End),
    /// The host wants none of it.
    Nowhere,
    /// The host's descriptor failed; what is dropped since is counted.
    Broken,
}

/// What is left to do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// One of the ends is not ready.
    Idle,
    /// There is more, and others are to have their turn first.
    Again,
    /// The stream is at its end.
    Done,
}

/// What one turn of a step came to.
enum Turn {
    Moved,
    Waits,
    Done,
}

/// A stream. Its ends are watched edge-triggered: each is taken for ready until a call says that
/// it is not, and then until it is reported again.
#[derive(Debug)]
pub(super) struct Flow {
    source: End,
    target: Target,
    /// Whether it leads to a process, whose end is the stream's. Output is drained to its end
    /// whatever becomes of its target.
    input: bool,
    source_ready: bool,
    target_ready: bool,
    /// Whether splicing is worth a try.
    splices: bool,
    /// What was read and could not be written yet.
    pending: Vec<u8>,
    /// Whether the source ended, and not only the stream.
    ended: bool,
    dropped: u64,
}

impl Flow {
    /// From the host to a process.
    pub(super) fn input(source: End, fifo: End) -> Flow {
        let splices = source.way == Way::Splice;
        Flow::new(source, Target::To(fifo), true, splices)
    }

    /// From a process to the host, or to nowhere.
    pub(super) fn output(fifo: End, target: Option<End>) -> Flow {
        let splices = target.as_ref().is_some_and(|t| matches!(t.way, Way::Plain | Way::Splice));
        Flow::new(fifo, target.map_or(Target::Nowhere, Target::To), false, splices)
    }

    fn new(source: End, target: Target, input: bool, splices: bool) -> Flow {
        Flow {
            source,
            target,
            input,
            source_ready: true,
            target_ready: true,
            splices,
            pending: Vec::new(),
            ended: false,
            dropped: 0,
        }
    }

    /// Has `epoll` report both ends.
    pub(super) fn watch(&mut self, epoll: &Arc<OwnedFd>, source: u64, target: u64) -> Result<()> {
        self.source.watch(epoll, source, EventFlags::IN | EventFlags::RDHUP)?;
        match &mut self.target {
            Target::To(end) => end.watch(epoll, target, EventFlags::OUT),
            Target::Nowhere | Target::Broken => Ok(()),
        }
    }

    /// Takes note that the source can be read.
    pub(super) fn source_is_ready(&mut self) {
        self.source_ready = true;
    }

    /// Takes note that the target can be written. Says whether the stream goes on: not where it
    /// leads to a process that reads no more, for nothing more must be taken from the host.
    pub(super) fn target_is_ready(&mut self, events: EventFlags) -> bool {
        self.target_ready = true;
        !(self.input && events.contains(EventFlags::ERR))
    }

    /// Whether the source ended, rather than what reads it.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// How many bytes the host did not get; with `cut`, those that were still on their way too.
    pub(super) fn dropped(&self, cut: bool) -> u64 {
        let on_the_way = match self.target {
            Target::Nowhere => 0,
            _ if cut && !self.input => self.pending.len() as u64 + self.source.available(),
            _ => 0,
        };
        self.dropped + on_the_way
    }

    /// Passes on what it can, within bounds. `buffer` holds nothing between steps.
    pub(super) fn step(&mut self, buffer: &mut [u8]) -> Step {
        for _ in 0..TURNS {
            match self.turn(buffer) {
                Turn::Moved => {}
                Turn::Waits => return Step::Idle,
                Turn::Done => return Step::Done,
            }
        }
        Step::Again
    }

    fn turn(&mut self, buffer: &mut [u8]) -> Turn {
        if !self.target_ready {
            return Turn::Waits;
        }
        if !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            return self.pass(&pending);
        }
        if !self.source_ready {
            return Turn::Waits;
        }
        if let Target::To(target) = &self.target {
            let only = self.source.way == Way::Splice || target.way == Way::Splice;
            if self.splices && (only || self.source.available() >= SPLICE_MIN) {
                return self.splice(only);
            }
        }
        match self.source.read(buffer) {
            Ok(0) => self.end(),
            Ok(n) => self.pass(buffer.get(..n).unwrap_or_default()),
            Err(Errno::INTR) => Turn::Moved,
            Err(Errno::AGAIN) => {
                self.source_ready = false;
                Turn::Waits
            }
            // A terminal that hung up, a connection that was reset: nothing more will come.
            Err(_) => self.end(),
        }
    }

    fn end(&mut self) -> Turn {
        self.ended = true;
        Turn::Done
    }

    /// Moves pages from the one pipe to the other. `only` says that there is no other way.
    fn splice(&mut self, only: bool) -> Turn {
        let Target::To(target) = &self.target else { return Turn::Moved };
        let flags = SpliceFlags::NONBLOCK;
        match splice(&self.source.fd, None, &target.fd, None, SPLICE_MAX, flags) {
            Ok(0) => self.end(),
            Ok(_) | Err(Errno::INTR) => Turn::Moved,
            // It does not say which end is meant, and to blame a ready one would be to wait for a
            // report that never comes. A source at its end is ready, empty as it is.
            Err(Errno::AGAIN) => {
                if !self.source.is_ready(PollFlags::IN) {
                    self.source_ready = false;
                } else if !target.is_ready(PollFlags::OUT) {
                    self.target_ready = false;
                }
                if self.source_ready && self.target_ready { Turn::Moved } else { Turn::Waits }
            }
            Err(_) if only => self.fail(0),
            // Such as a file that is appended to. A write will tell of an error that stays.
            Err(_) => {
                self.splices = false;
                Turn::Moved
            }
        }
    }

    /// Writes `data`, and keeps what the target does not take now.
    fn pass(&mut self, data: &[u8]) -> Turn {
        let target = match &self.target {
            Target::To(target) => target,
            Target::Nowhere => return Turn::Moved,
            Target::Broken => {
                self.dropped += data.len() as u64;
                return Turn::Moved;
            }
        };
        match target.write(data) {
            Ok(n) if n > 0 => {
                self.pending = data.get(n..).unwrap_or_default().to_vec();
                Turn::Moved
            }
            Err(Errno::AGAIN) => {
                self.pending = data.to_vec();
                self.target_ready = false;
                Turn::Waits
            }
            Err(Errno::INTR) => {
                self.pending = data.to_vec();
                Turn::Moved
            }
            Ok(_) | Err(_) => self.fail(data.len() as u64),
        }
    }

    /// The target failed, and so many bytes are lost.
    fn fail(&mut self, lost: u64) -> Turn {
        if self.input {
            return Turn::Done;
        }
        self.dropped += lost;
        // A full disk may have room again.
        if !matches!(&self.target, Target::To(target) if target.is_file()) {
            self.target = Target::Broken;
        }
        Turn::Moved
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Write};
    use std::thread;

    use rustix::io::ioctl_fionbio;
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn pipe() -> (File, File) {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        (reader.into(), writer.into())
    }

    /// The reading end of a process's output, and the writing end.
    fn fifo() -> (End, File) {
        let (reader, writer) = pipe();
        ioctl_fionbio(&reader, true).unwrap();
        (End::fifo(reader.into()), writer)
    }

    /// An end as it is where the descriptor cannot be opened anew.
    fn end(fd: impl Into<OwnedFd>, way: Way) -> End {
        // Watched, as everything that is not ready always; by nobody here.
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        End { fd: fd.into(), way, watched_by: Some(Arc::new(epoll)) }
    }

    /// Steps with both ends reported again and again, as they may be for no reason.
    fn step_to_the_end(flow: &mut Flow) {
        let mut buffer = vec![0; BUFFER];
        loop {
            flow.source_is_ready();
            assert!(flow.target_is_ready(EventFlags::OUT));
            match flow.step(&mut buffer) {
                Step::Done => return,
                Step::Again => {}
                Step::Idle => thread::yield_now(),
            }
        }
    }

    /// The host's open file is blocking in all of these: a step that waited would wait for ever.
    #[test]
    fn never_waits_for_a_target_that_cannot_be_opened_anew() {
        let data: Vec<u8> = (0..250_000u32).flat_map(u32::to_le_bytes).collect();
        for way in [Way::Splice, Way::Asked] {
            let (source, mut process) = fifo();
            let (mut host, target) = pipe();
            let mut flow = Flow::output(source, Some(end(target, way)));
            let of_process = data.clone();
            let writing = thread::spawn(move || process.write_all(&of_process).unwrap());
            let mut buffer = vec![0; BUFFER];
            while flow.target_ready {
                flow.source_is_ready();
                flow.step(&mut buffer);
            }
            assert_eq!(flow.step(&mut buffer), Step::Idle);
            let reading = thread::spawn(move || {
                let mut read = Vec::new();
                host.read_to_end(&mut read).unwrap();
                read
            });
            step_to_the_end(&mut flow);
            assert!(flow.has_ended());
            assert_eq!(flow.dropped(true), 0);
            drop(flow);
            writing.join().unwrap();
            assert!(reading.join().unwrap() == data, "{way:?}");
        }
    }

    #[test]
    fn the_master_of_a_terminal_is_not_taken_for_another_ones() {
        let master = OpenOptions::new().read(true).write(true).open("/dev/ptmx").unwrap();
        let kept = master.try_clone().unwrap();
        let (source, mut process) = fifo();
        let target = End::target("stdout", master.into()).unwrap();
        assert_eq!(target.way, Way::Asked);
        let mut flow = Flow::output(source, Some(target));
        // Watched, or it would be taken for a file.
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap());
        flow.watch(&epoll, 1, 2).unwrap();
        process.write_all(b"typed\n").unwrap();
        drop(process);
        step_to_the_end(&mut flow);
        assert_eq!(flow.dropped(true), 0);
        assert!(!fcntl_getfl(&kept).unwrap().contains(OFlags::NONBLOCK));
        // The terminal echoes what is typed.
        let mut echo = [0; 7];
        (&kept).read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"typed\r\n");
    }

    #[test]
    fn a_pipe_that_lost_its_reader_is_drained_and_counted() {
        for way in [Way::Plain, Way::Splice, Way::Asked] {
            let (source, mut process) = fifo();
            let mut flow = Flow::output(source, Some(end(pipe().1, way)));
            process.write_all(&[b'x'; 50_000]).unwrap();
            drop(process);
            step_to_the_end(&mut flow);
            assert_eq!(flow.dropped(false), 50_000, "{way:?}");
        }
    }
}

//! One stream: passes bytes from one descriptor to another as far as both are ready, and never waits
//! for either.

use std::io::IsTerminal;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, major, minor, open};
use rustix::io::{Errno, ioctl_fionread, read, write};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::pipe::{SpliceFlags, splice};

use super::lost::LostCounter;
use crate::error::{Error, Result};

/// How many bytes one read takes: as many as the shim writes at once.
pub(super) const BUFFER: usize = 32 * 1024;

/// How many bytes must be available before a splice is tried. A splice takes one of the sixteen
/// slots of the target's pipe, however few bytes it moves, but a write first fills the last page in
/// the pipe. So a host that reads only after the exit surely finds as many bytes as this, which is
/// half of what a pipe can hold.
const SPLICE_MIN: u64 = BUFFER as u64;

/// How many bytes one splice moves at most.
const SPLICE_MAX: usize = 64 * 1024;

/// How often one step reads before other streams get their turn.
const READS_PER_STEP: usize = 8;

/// How many bytes one write passes to a device that is written byte by byte.
const POLLED_MAX: usize = 4096;

pub(super) type IoResult<T> = std::result::Result<T, Errno>;

/// How a descriptor is read or written without waiting, and without changing the flags of the open
/// file, which the host shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IoMode {
    /// `read` and `write`: the library opened it non-blocking, or files of its kind never block.
    Plain,
    /// A socket: `MSG_DONTWAIT` with each call.
    Socket,
    /// A pipe whose open file may be blocking. Only `splice` has a flag that keeps one call from
    /// blocking.
    Splice,
    /// A device that cannot be opened again. It is polled first, and written byte by byte, because
    /// "writable" promises room for only one byte.
    Polled,
}

/// A registration with an epoll instance.
#[derive(Debug)]
struct Registration {
    epoll: Arc<OwnedFd>,
    data: u64,
    flags: EventFlags,
}

/// One of the two descriptors of a stream. The drop closes it and removes it from epoll.
#[derive(Debug)]
pub(super) struct Endpoint {
    fd: OwnedFd,
    mode: IoMode,
    /// `None` for files that are always ready: epoll refuses them.
    registration: Option<Registration>,
}

impl Endpoint {
    /// One end of a FIFO that was opened non-blocking.
    pub(super) fn fifo(fd: OwnedFd) -> Endpoint {
        Endpoint { fd, mode: IoMode::Plain, registration: None }
    }

    /// A descriptor of the host that the library reads.
    pub(super) fn source(argument: &str, fd: Arc<OwnedFd>) -> Result<Endpoint> {
        Endpoint::of_host(argument, fd, OFlags::RDONLY)
    }

    /// A descriptor of the host that the library writes.
    pub(super) fn target(argument: &str, fd: Arc<OwnedFd>) -> Result<Endpoint> {
        Endpoint::of_host(argument, fd, OFlags::WRONLY)
    }

    fn of_host(argument: &str, fd: Arc<OwnedFd>, access: OFlags) -> Result<Endpoint> {
        let flags = fcntl_getfl(&fd).map_err(|e| Error::io(argument, e))?;
        let stat = fstat(&fd).map_err(|e| Error::io(argument, e))?;
        let access_mode = flags & OFlags::RWMODE;
        if flags.contains(OFlags::PATH) || (access_mode != OFlags::RDWR && access_mode != access) {
            let what = if access == OFlags::RDONLY { "reading" } else { "writing" };
            return Err(Error::invalid(argument, format!("the descriptor is not open for {what}")));
        }
        // Epoll does not accept the same descriptor twice, and another stream may have this one
        // too.
        let fd = match Arc::try_unwrap(fd) {
            Ok(fd) => fd,
            Err(shared) => shared.try_clone().map_err(|e| Error::io(argument, e))?,
        };
        let (fd, mode) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                return Err(Error::invalid(argument, "the descriptor is a directory's"));
            }
            FileType::Socket => (fd, IoMode::Socket),
            // If a file were opened again, it would lose its position and `O_APPEND`. A file never
            // blocks.
            FileType::RegularFile | FileType::BlockDevice => (fd, IoMode::Plain),
            // The target of a source is a FIFO, so splicing is always possible.
            FileType::Fifo if access == OFlags::RDONLY => (fd, IoMode::Splice),
            // Small writes must share pages of the pipe, which splicing does not do.
            FileType::Fifo => reopen(fd, access, IoMode::Splice),
            FileType::CharacterDevice if flags.contains(OFlags::NONBLOCK) => (fd, IoMode::Plain),
            // If the master of a terminal (5:2) were opened again, that would be a new terminal.
            FileType::CharacterDevice
                if fd.is_terminal() && (major(stat.st_rdev), minor(stat.st_rdev)) != (5, 2) =>
            {
                reopen(fd, access, IoMode::Polled)
            }
            _ => (fd, IoMode::Polled),
        };
        Ok(Endpoint { fd, mode, registration: None })
    }

    /// Makes `epoll` report `data` each time the endpoint becomes ready. Files that are always
    /// ready are not registered.
    pub(super) fn register(
        &mut self,
        epoll: &Arc<OwnedFd>,
        data: u64,
        flags: EventFlags,
    ) -> Result<()> {
        let flags = flags | EventFlags::ET;
        match epoll::add(epoll, &self.fd, EventData::new_u64(data), flags) {
            Ok(()) => self.registration = Some(Registration { epoll: epoll.clone(), data, flags }),
            Err(Errno::PERM) => self.mode = IoMode::Plain,
            Err(e) => return Err(Error::io("epoll_ctl", e)),
        }
        Ok(())
    }

    /// Makes epoll report the endpoint once more if it is ready now.
    fn report_again(&self) {
        if let Some(Registration { epoll, data, flags }) = &self.registration {
            let _ = epoll::modify(epoll, &self.fd, EventData::new_u64(*data), *flags);
        }
    }

    /// Whether it is always ready, as files and `/dev/null` are.
    fn is_file(&self) -> bool {
        self.registration.is_none()
    }

    fn is_ready(&self, events: PollFlags) -> bool {
        !self.poll(events).is_empty()
    }

    /// Whether nobody has the other end of the pipe open.
    fn has_hung_up(&self) -> bool {
        self.poll(PollFlags::IN).contains(PollFlags::HUP)
    }

    fn poll(&self, events: PollFlags) -> PollFlags {
        let mut fds = [PollFd::new(&self.fd, events)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut fds, Some(&at_once)) {
            Ok(1..) => fds[0].revents(),
            _ => PollFlags::empty(),
        }
    }

    /// How many bytes can be read.
    fn available(&self) -> u64 {
        ioctl_fionread(&self.fd).unwrap_or(0)
    }

    fn read(&self, buffer: &mut [u8]) -> IoResult<usize> {
        match self.mode {
            IoMode::Plain => read(&self.fd, buffer),
            IoMode::Socket => recv(&self.fd, buffer, RecvFlags::DONTWAIT).map(|(read, _)| read),
            IoMode::Splice | IoMode::Polled if !self.is_ready(PollFlags::IN) => Err(Errno::AGAIN),
            IoMode::Splice | IoMode::Polled => read(&self.fd, buffer),
        }
    }

    fn write(&self, data: &[u8]) -> IoResult<usize> {
        match self.mode {
            IoMode::Plain => write(&self.fd, data),
            IoMode::Socket => send(&self.fd, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            IoMode::Splice | IoMode::Polled => {
                let mut written = 0;
                for byte in data.iter().take(POLLED_MAX) {
                    let result = if self.is_ready(PollFlags::OUT) {
                        write(&self.fd, std::slice::from_ref(byte))
                    } else {
                        Err(Errno::AGAIN)
                    };
                    match result {
                        Ok(n) => written += n,
                        // If this error lasts, the next write returns it.
                        Err(_) if written > 0 => break,
                        Err(e) => return Err(e),
                    }
                }
                Ok(written)
            }
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // If the host has the same open file, closing the descriptor does not end the registration.
        if let Some(registration) = &self.registration {
            let _ = epoll::delete(&registration.epoll, &self.fd);
        }
    }
}

/// Opens the same file again, so that only the library's open file is non-blocking. If that fails
/// (another user's pipe, a FIFO without a reader, no `/proc`), returns the descriptor itself with the
/// mode `otherwise`.
fn reopen(fd: OwnedFd, access: OFlags, otherwise: IoMode) -> (OwnedFd, IoMode) {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match open(path, flags, Mode::empty()) {
        Ok(own) => (own, IoMode::Plain),
        Err(_) => (fd, otherwise),
    }
}

/// The destination of the bytes.
#[derive(Debug)]
enum Target {
    To(Endpoint),
    /// Nowhere: the host does not want them.
    Unwanted,
    /// Nowhere: the host's descriptor failed, or the time for the output has passed. The bytes
    /// count as lost.
    Lost,
}

/// What is left to do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// One of the endpoints is not ready.
    Idle,
    /// More bytes can be passed on, after the other streams had their turn.
    Again,
    /// The stream has ended.
    Done,
}

/// The result of one read with its write.
enum Transfer {
    Moved,
    WouldBlock,
    Done,
}

/// A stream. Its endpoints are registered edge-triggered: each counts as ready until a call would
/// block, and then until epoll reports it again.
#[derive(Debug)]
pub(super) struct Flow {
    source: Endpoint,
    target: Target,
    /// Counts the output that the host does not get. `None` for input. Input ends when its target,
    /// the process, ends. Output is read to its end even if its target fails.
    lost: Option<Arc<LostCounter>>,
    source_ready: bool,
    target_ready: bool,
    /// Whether splicing may work.
    splices: bool,
    /// Bytes that were read and are not written yet.
    pending: Vec<u8>,
    /// Whether the source has ended. Otherwise only the stream has.
    source_ended: bool,
}

impl Flow {
    /// A stream from the host to a process.
    pub(super) fn input(source: Endpoint, fifo: Endpoint) -> Flow {
        let splices = source.mode == IoMode::Splice;
        Flow::new(source, Target::To(fifo), None, splices)
    }

    /// A stream from a process to the host, or to nowhere.
    pub(super) fn output(fifo: Endpoint, target: Option<Endpoint>, lost: Arc<LostCounter>) -> Flow {
        let splices =
            target.as_ref().is_some_and(|t| matches!(t.mode, IoMode::Plain | IoMode::Splice));
        Flow::new(fifo, target.map_or(Target::Unwanted, Target::To), Some(lost), splices)
    }

    fn new(
        source: Endpoint,
        target: Target,
        lost: Option<Arc<LostCounter>>,
        splices: bool,
    ) -> Flow {
        Flow {
            source,
            target,
            lost,
            source_ready: true,
            target_ready: true,
            splices,
            pending: Vec::new(),
            source_ended: false,
        }
    }

    fn is_input(&self) -> bool {
        self.lost.is_none()
    }

    /// Makes `epoll` report both endpoints.
    pub(super) fn register(
        &mut self,
        epoll: &Arc<OwnedFd>,
        source: u64,
        target: u64,
    ) -> Result<()> {
        self.source.register(epoll, source, EventFlags::IN | EventFlags::RDHUP)?;
        match &mut self.target {
            Target::To(endpoint) => endpoint.register(epoll, target, EventFlags::OUT),
            Target::Unwanted | Target::Lost => Ok(()),
        }
    }

    /// Notes that the source can be read.
    pub(super) fn source_is_ready(&mut self) {
        self.source_ready = true;
    }

    /// Notes that the target can be written. Returns whether the stream goes on. If a process has
    /// closed its input, the stream ends, because no more bytes may be taken from the host.
    pub(super) fn target_is_ready(&mut self, events: EventFlags) -> bool {
        self.target_ready = true;
        !(self.is_input() && events.contains(EventFlags::ERR))
    }

    /// Whether the stream ended because its source did.
    pub(super) fn source_has_ended(&self) -> bool {
        self.source_ended
    }

    /// From now on drops the output instead of passing it on, and counts it as lost.
    pub(super) fn discard(&mut self) {
        if self.is_input() || !matches!(self.target, Target::To(_)) {
            return;
        }
        self.count_lost(self.pending.len() as u64);
        self.pending = Vec::new();
        self.target = Target::Lost;
        self.target_ready = true;
        // If the stream waited for its target, epoll has reported the source already.
        self.source.report_again();
    }

    /// Ends the stream before its source has ended, and counts the output that this loses. If the
    /// FIFO stays, its bytes are not lost, because another program can read them. But if nobody
    /// else has the FIFO open, because the process has ended, the kernel drops them.
    pub(super) fn cut(self, fifo_stays: bool) {
        if self.is_input() || matches!(self.target, Target::Unwanted) {
            return;
        }
        let in_fifo = match fifo_stays && !self.source.has_hung_up() {
            true => 0,
            false => self.source.available(),
        };
        self.count_lost(self.pending.len() as u64 + in_fifo);
    }

    fn count_lost(&self, bytes: u64) {
        if let Some(lost) = &self.lost {
            lost.add(bytes);
        }
    }

    /// Passes on as many bytes as it can, within bounds. `buffer` holds nothing between steps.
    pub(super) fn step(&mut self, buffer: &mut [u8]) -> Step {
        for _ in 0..READS_PER_STEP {
            match self.transfer(buffer) {
                Transfer::Moved => {}
                Transfer::WouldBlock => return Step::Idle,
                Transfer::Done => return Step::Done,
            }
        }
        Step::Again
    }

    fn transfer(&mut self, buffer: &mut [u8]) -> Transfer {
        if !self.target_ready {
            return Transfer::WouldBlock;
        }
        if !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            return self.pass(&pending);
        }
        if !self.source_ready {
            return Transfer::WouldBlock;
        }
        if let Target::To(target) = &self.target {
            let only = self.source.mode == IoMode::Splice || target.mode == IoMode::Splice;
            if self.splices && (only || self.source.available() >= SPLICE_MIN) {
                return self.splice(only);
            }
        }
        match self.source.read(buffer) {
            Ok(0) => self.end(),
            Ok(n) => self.pass(buffer.get(..n).unwrap_or_default()),
            Err(Errno::INTR) => Transfer::Moved,
            Err(Errno::AGAIN) => {
                self.source_ready = false;
                Transfer::WouldBlock
            }
            // A terminal has hung up or a connection was reset. Nothing more will come.
            Err(_) => self.end(),
        }
    }

    fn end(&mut self) -> Transfer {
        self.source_ended = true;
        Transfer::Done
    }

    /// Moves pages from one pipe to the other. `only` means that no other way exists.
    fn splice(&mut self, only: bool) -> Transfer {
        let Target::To(target) = &self.target else { return Transfer::Moved };
        let flags = SpliceFlags::NONBLOCK;
        match splice(&self.source.fd, None, &target.fd, None, SPLICE_MAX, flags) {
            Ok(0) => self.end(),
            Ok(_) | Err(Errno::INTR) => Transfer::Moved,
            // The error does not say which end would block. A wrong guess would wait for a report that
            // never comes. A source at its end counts as ready, though it is empty.
            Err(Errno::AGAIN) => {
                if !self.source.is_ready(PollFlags::IN) {
                    self.source_ready = false;
                } else if !target.is_ready(PollFlags::OUT) {
                    self.target_ready = false;
                }
                if self.source_ready && self.target_ready {
                    Transfer::Moved
                } else {
                    Transfer::WouldBlock
                }
            }
            Err(_) if only => self.fail(0),
            // For example, a file that is opened for appending. If the error lasts, a write returns
            // it.
            Err(_) => {
                self.splices = false;
                Transfer::Moved
            }
        }
    }

    /// Writes `data`, and keeps what the target does not accept now.
    fn pass(&mut self, data: &[u8]) -> Transfer {
        let target = match &self.target {
            Target::To(target) => target,
            Target::Unwanted => return Transfer::Moved,
            Target::Lost => {
                self.count_lost(data.len() as u64);
                return Transfer::Moved;
            }
        };
        match target.write(data) {
            Ok(n) if n > 0 => {
                self.pending = data.get(n..).unwrap_or_default().to_vec();
                Transfer::Moved
            }
            Err(Errno::AGAIN) => {
                self.pending = data.to_vec();
                self.target_ready = false;
                Transfer::WouldBlock
            }
            Err(Errno::INTR) => {
                self.pending = data.to_vec();
                Transfer::Moved
            }
            Ok(_) | Err(_) => self.fail(data.len() as u64),
        }
    }

    /// Handles a target that failed. `lost` bytes are lost by it.
    fn fail(&mut self, lost: u64) -> Transfer {
        if self.is_input() {
            return Transfer::Done;
        }
        self.count_lost(lost);
        // A full disk may have room later.
        if !matches!(&self.target, Target::To(target) if target.is_file()) {
            self.target = Target::Lost;
        }
        Transfer::Moved
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

    /// The read end of a process's output, and its write end.
    fn fifo() -> (Endpoint, File) {
        let (reader, writer) = pipe();
        ioctl_fionbio(&reader, true).unwrap();
        (Endpoint::fifo(reader.into()), writer)
    }

    /// An endpoint of a descriptor that cannot be opened again.
    fn endpoint(fd: impl Into<OwnedFd>, mode: IoMode) -> Endpoint {
        let fd = fd.into();
        // Only files are not registered. Nobody waits on this epoll.
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap());
        let registration = Registration { epoll, data: 0, flags: EventFlags::OUT };
        Endpoint { fd, mode, registration: Some(registration) }
    }

    fn output(fifo: Endpoint, target: Endpoint) -> (Flow, Arc<LostCounter>) {
        let lost = Arc::<LostCounter>::default();
        (Flow::output(fifo, Some(target), lost.clone()), lost)
    }

    /// Steps until the end. Before each step it reports both endpoints as ready, as epoll may do
    /// for no reason.
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

    /// The host's open file is blocking in each case: a step that blocked would block for ever.
    #[test]
    fn a_step_never_blocks_on_a_target_that_cannot_be_opened_again() {
        let data: Vec<u8> = (0..250_000u32).flat_map(u32::to_le_bytes).collect();
        for mode in [IoMode::Splice, IoMode::Polled] {
            let (source, mut process) = fifo();
            let (mut host, target) = pipe();
            let (mut flow, lost) = output(source, endpoint(target, mode));
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
            assert!(flow.source_has_ended());
            flow.cut(false);
            assert_eq!(lost.bytes(), 0);
            writing.join().unwrap();
            assert!(reading.join().unwrap() == data, "{mode:?}");
        }
    }

    #[test]
    fn the_master_of_a_terminal_is_not_opened_again() {
        let master = OpenOptions::new().read(true).write(true).open("/dev/ptmx").unwrap();
        let kept = master.try_clone().unwrap();
        let (source, mut process) = fifo();
        let target = Endpoint::target("stdout", Arc::new(master.into())).unwrap();
        assert_eq!(target.mode, IoMode::Polled);
        let (mut flow, lost) = output(source, target);
        // An endpoint that is not registered counts as a file.
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap());
        flow.register(&epoll, 1, 2).unwrap();
        process.write_all(b"typed\n").unwrap();
        drop(process);
        step_to_the_end(&mut flow);
        flow.cut(false);
        assert_eq!(lost.bytes(), 0);
        assert!(!fcntl_getfl(&kept).unwrap().contains(OFlags::NONBLOCK));
        // The terminal echoes what is typed.
        let mut echo = [0; 7];
        (&kept).read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"typed\r\n");
    }

    #[test]
    fn output_for_a_pipe_that_lost_its_reader_is_read_to_the_end_and_counted() {
        for mode in [IoMode::Plain, IoMode::Splice, IoMode::Polled] {
            let (source, mut process) = fifo();
            let (mut flow, lost) = output(source, endpoint(pipe().1, mode));
            process.write_all(&[b'x'; 50_000]).unwrap();
            drop(process);
            step_to_the_end(&mut flow);
            assert_eq!(lost.bytes(), 50_000, "{mode:?}");
        }
    }

    /// A stream whose target is full: the flow holds some bytes, and the FIFO the rest of them.
    fn blocked() -> (Flow, Arc<LostCounter>, File, File, u64) {
        let (source, process) = fifo();
        let (host, target) = pipe();
        let target = Endpoint::target("stdout", Arc::new(target.into())).unwrap();
        let (mut flow, lost) = output(source, target);
        let mut buffer = vec![0; BUFFER];
        let mut written = 0;
        // Each piece is too small for a splice, so that the flow has to hold one.
        for _ in 0..10 {
            written += (&process).write(&[b'x'; 10_000]).unwrap() as u64;
            flow.source_is_ready();
            flow.step(&mut buffer);
        }
        assert!(!flow.pending.is_empty() && flow.source.available() > 0);
        let unread = written - ioctl_fionread(&host).unwrap();
        (flow, lost, process, host, unread)
    }

    #[test]
    fn a_cut_counts_what_the_flow_and_the_fifo_hold() {
        let (flow, lost, _process, _host, unread) = blocked();
        flow.cut(false);
        assert_eq!(lost.bytes(), unread);

        // What is in a FIFO that stays can still be read, as long as the process has it open.
        let (flow, lost, process, _host, _) = blocked();
        let held = flow.pending.len() as u64;
        flow.cut(true);
        assert_eq!(lost.bytes(), held);
        drop(process);
        let (flow, lost, process, _host, unread) = blocked();
        drop(process);
        flow.cut(true);
        assert_eq!(lost.bytes(), unread);
    }

    #[test]
    fn a_discarded_stream_is_read_to_its_end_and_counted() {
        let (mut flow, lost, mut process, host, unread) = blocked();
        flow.discard();
        flow.discard();
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            (&host).read_to_end(&mut read).unwrap();
            read.len() as u64
        });
        // More than the FIFO has room for.
        let late = thread::spawn(move || process.write_all(&[b'x'; 100_000]).unwrap());
        step_to_the_end(&mut flow);
        late.join().unwrap();
        assert_eq!(lost.bytes(), unread + 100_000);
        // The host's descriptor is closed at once.
        assert_eq!(reading.join().unwrap() + unread, 100_000);
    }
}

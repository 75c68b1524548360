//! Streams of processes. The test itself is the shim.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio as Piped};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::pipe::{PipeFlags, pipe_with};
use sha2::{Digest, Sha256};

use super::*;
use crate::error::ErrorKind;
use crate::wait::block_on;

/// More than any test takes: it ends one that hangs.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);
const MIB: usize = 1 << 20;

pub(super) fn fifo_dir(state_dir: &Path) -> FifoDir<'_> {
    FifoDir { state_dir, server: "server", namespace: "ns" }
}

/// A directory. The drop removes it.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Scratch {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("ctrd-stdio-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn prepare(&self, pump: &Pump, stdio: Stdio) -> Result<Prepared> {
        prepare(pump, fifo_dir(&self.0), "id", None, stdio)
    }

    /// How many FIFO sets there are.
    fn left(&self) -> usize {
        fs::read_dir(self.0.join("fifo")).map_or(0, Iterator::count)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a test in a process of its own, because other tests open descriptors and start threads.
fn alone(name: &str, test: impl FnOnce()) {
    const CHILD: &str = "CTRD_TEST_ALONE";
    if env::var_os(CHILD).is_some() {
        return test();
    }
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--test-threads=1", "--nocapture", &format!("stdio::tests::{name}")])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("test result: ok. 1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

/// What the shim has open: its ends of the FIFOs, and the other ends, so that the FIFOs keep their
/// bytes while no client is there.
struct Shim {
    stdin: Option<File>,
    stdin_kept: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
    kept: Vec<File>,
}

impl Shim {
    fn open(paths: &Paths) -> Shim {
        let mut kept = Vec::new();
        let mut output = |path: &str| {
            if path.is_empty() {
                return None;
            }
            let writer = OpenOptions::new().write(true).open(path).unwrap();
            kept.push(File::open(path).unwrap());
            Some(writer)
        };
        let (stdout, stderr) = (output(&paths.stdout), output(&paths.stderr));
        let both = |path| OpenOptions::new().read(true).write(true).open(path).unwrap();
        let stdin_kept = (!paths.stdin.is_empty()).then(|| both(&paths.stdin));
        let stdin = (!paths.stdin.is_empty()).then(|| File::open(&paths.stdin).unwrap());
        Shim { stdin, stdin_kept, stdout, stderr, kept }
    }
}

fn pipe() -> (File, File) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    (reader.into(), writer.into())
}

fn stdout_to(fd: impl Into<OwnedFd>) -> Stdio {
    Stdio { stdout: Stream::fd(fd), ..Stdio::default() }
}

fn stdin_from(fd: impl Into<OwnedFd>) -> Stdio {
    Stdio { stdin: Stream::fd(fd), ..Stdio::default() }
}

/// Attaches, with a shim that opens its ends first.
fn attach(prepared: Prepared) -> (Shim, Attached, Receiver<()>) {
    let shim = Shim::open(prepared.paths());
    let (sender, closed) = channel();
    let attached = prepared.attach(LONG, Box::new(move || sender.send(()).unwrap())).unwrap();
    (shim, attached, closed)
}

/// Whether all of the output reaches the host within this time.
fn drained(attached: &Attached, time: Duration) -> bool {
    attached.drain(&Limits::within(time)).is_ok() && attached.lost().total() == 0
}

/// Closes the streams, and returns how many bytes of output are lost.
fn close(attached: &Attached) -> u64 {
    attached.close();
    attached.lost().total()
}

/// Bytes that no shift and no gap leaves alike.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(len).collect()
}

fn hash(data: &[u8]) -> Vec<u8> {
    Sha256::digest(data).to_vec()
}

/// Writes in pieces of many sizes.
fn write_pieces(mut to: &File, data: &[u8]) {
    let mut rest = data;
    for size in [1, 100, 4096, 5000, 32 * 1024, 65536, 7].into_iter().cycle() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        to.write_all(piece).unwrap();
        rest = after;
        if rest.is_empty() {
            return;
        }
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut data = Vec::new();
        from.read_to_end(&mut data).unwrap();
        data
    })
}

#[test]
fn output_arrives_whole_at_pipes_sockets_and_files() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let data = noise(10 * MIB);
    let pass = |fd: OwnedFd| {
        let kept = fd.try_clone().unwrap();
        let flags = fcntl_getfl(&kept).unwrap();
        let (shim, attached, _) = attach(scratch.prepare(&pump, stdout_to(fd)).unwrap());
        write_pieces(shim.stdout.as_ref().unwrap(), &data);
        drop(shim);
        assert!(drained(&attached, LONG));
        assert_eq!(close(&attached), 0);
        assert_eq!(fcntl_getfl(&kept).unwrap(), flags);
        assert_eq!(scratch.left(), 0);
    };

    let (reader, writer) = pipe();
    let reading = read_all(reader);
    pass(writer.into());
    assert_eq!(hash(&reading.join().unwrap()), hash(&data));

    let (ours, theirs) = UnixStream::pair().unwrap();
    let reading = read_all(ours);
    pass(theirs.into());
    assert_eq!(hash(&reading.join().unwrap()), hash(&data));

    // A file's position is shared with the host, which goes on behind what the process wrote.
    let path = scratch.path().join("file");
    let mut file = File::create_new(&path).unwrap();
    file.write_all(b"head").unwrap();
    pass(file.try_clone().unwrap().into());
    file.write_all(b"tail").unwrap();
    let written = fs::read(&path).unwrap();
    let inner = written.strip_prefix(b"head").unwrap().strip_suffix(b"tail").unwrap();
    assert_eq!(hash(inner), hash(&data));

    pass(File::create("/dev/null").unwrap().into());
}

#[test]
fn a_file_that_is_opened_for_appending_is_appended_to() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let path = scratch.path().join("log");
    fs::write(&path, b"before").unwrap();
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    let kept = file.try_clone().unwrap();
    let (shim, attached, _) = attach(scratch.prepare(&pump, stdout_to(file)).unwrap());
    let data = noise(MIB);
    write_pieces(shim.stdout.as_ref().unwrap(), &data);
    // Another's writes do not get lost between.
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"other").unwrap();
    drop(shim);
    assert!(drained(&attached, LONG));
    assert_eq!(fs::metadata(&path).unwrap().len() as usize, MIB + "before".len() + "other".len());
    assert!(fs::read(&path).unwrap().starts_with(b"before"));
    assert!(fcntl_getfl(&kept).unwrap().contains(OFlags::APPEND));
    assert!(!fcntl_getfl(&kept).unwrap().contains(OFlags::NONBLOCK));
}

#[test]
fn input_and_its_end_arrive_every_time() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    for round in 0..200 {
        let (input, mut host) = pipe();
        let (mut echo, output) = pipe();
        let stdio = Stdio { stdin: Stream::fd(input), ..stdout_to(output) };
        let (mut shim, attached, closed) = attach(scratch.prepare(&pump, stdio).unwrap());
        let said = format!("round {round}\n");
        if round % 2 == 0 {
            host.write_all(said.as_bytes()).unwrap();
        }
        attached.start_input().unwrap();
        if round % 2 == 1 {
            host.write_all(said.as_bytes()).unwrap();
        }
        drop(host);
        closed.recv_timeout(LONG).unwrap();
        // As CloseIO would.
        shim.stdin_kept = None;
        let mut heard = String::new();
        shim.stdin.take().unwrap().read_to_string(&mut heard).unwrap();
        shim.stdout.as_ref().unwrap().write_all(heard.as_bytes()).unwrap();
        drop(shim);
        assert!(drained(&attached, LONG));
        drop(attached);
        heard.clear();
        echo.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, said);
    }
    assert_eq!(scratch.left(), 0);
}

#[test]
fn bulk_input_arrives_whole_from_pipes_sockets_and_files() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let data = noise(4 * MIB);
    let pass = |fd: OwnedFd| {
        let kept = fd.try_clone().unwrap();
        let flags = fcntl_getfl(&kept).unwrap();
        let (mut shim, attached, closed) = attach(scratch.prepare(&pump, stdin_from(fd)).unwrap());
        attached.start_input().unwrap();
        let reading = read_all(shim.stdin.take().unwrap());
        closed.recv_timeout(LONG).unwrap();
        assert_eq!(fcntl_getfl(&kept).unwrap(), flags);
        drop(shim);
        assert_eq!(hash(&reading.join().unwrap()), hash(&data));
    };

    let (reader, mut writer) = pipe();
    thread::scope(|scope| {
        scope.spawn(|| pass(reader.into()));
        writer.write_all(&data).unwrap();
        drop(writer);
    });

    let (mut ours, theirs) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| pass(theirs.into()));
        ours.write_all(&data).unwrap();
        drop(ours);
    });

    let mut file = File::create_new(scratch.path().join("file")).unwrap();
    file.write_all(b"read before").unwrap();
    file.write_all(&data).unwrap();
    let mut file = File::open(scratch.path().join("file")).unwrap();
    file.seek(SeekFrom::Start("read before".len() as u64)).unwrap();
    pass(file.into());
}

#[test]
fn one_socket_serves_both_directions() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let input = Stream::fd(theirs.try_clone().unwrap());
    let stdio = Stdio { stdin: input, ..stdout_to(theirs) };
    let (shim, attached, _) = attach(scratch.prepare(&pump, stdio).unwrap());
    attached.start_input().unwrap();
    let data = noise(4 * MIB);
    let (mut stdin, mut stdout) = (shim.stdin.unwrap(), shim.stdout.unwrap());
    drop(shim.stdin_kept);
    let cat = thread::spawn(move || std::io::copy(&mut stdin, &mut stdout).unwrap());
    let reading = read_all(ours.try_clone().unwrap());
    ours.write_all(&data).unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(cat.join().unwrap(), data.len() as u64);
    drop((shim.kept, shim.stderr));
    assert!(drained(&attached, LONG));
    assert_eq!(hash(&reading.join().unwrap()), hash(&data));
}

#[test]
fn a_stuck_reader_does_not_delay_other_streams() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let data = noise(10 * MIB);
    for socket in [false, true] {
        let (stuck_reader, stuck_writer): (OwnedFd, OwnedFd) = if socket {
            let (ours, theirs) = UnixStream::pair().unwrap();
            (ours.into(), theirs.into())
        } else {
            let (reader, writer) = pipe();
            (reader.into(), writer.into())
        };
        let (stuck, stuck_attached, _) =
            attach(scratch.prepare(&pump, stdout_to(stuck_writer)).unwrap());
        let Shim { stdout, stderr, kept, .. } = stuck;
        let of_stuck = data.clone();
        let writing = thread::spawn(move || stdout.unwrap().write_all(&of_stuck));

        let (reader, writer) = pipe();
        let reading = read_all(reader);
        let (shim, attached, _) = attach(scratch.prepare(&pump, stdout_to(writer)).unwrap());
        write_pieces(shim.stdout.as_ref().unwrap(), &data);
        drop(shim);
        assert!(drained(&attached, LONG));
        assert_eq!(hash(&reading.join().unwrap()), hash(&data));

        assert!(!drained(&stuck_attached, SHORT));
        assert!(close(&stuck_attached) > 0);
        assert!(!drained(&stuck_attached, Duration::ZERO));
        drop((kept, stderr));
        assert!(writing.join().unwrap().is_err(), "nobody reads any more");
        drop(stuck_reader);
    }
    assert_eq!(scratch.left(), 0);
}

#[test]
fn output_is_drained_and_counted_when_its_target_has_gone() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let targets: [fn() -> OwnedFd; 3] = [
        || pipe().1.into(),
        || UnixStream::pair().unwrap().1.into(),
        || OpenOptions::new().write(true).open("/dev/full").unwrap().into(),
    ];
    for target in targets {
        let (shim, attached, _) = attach(scratch.prepare(&pump, stdout_to(target())).unwrap());
        write_pieces(shim.stdout.as_ref().unwrap(), &noise(MIB));
        drop(shim);
        assert!(!drained(&attached, LONG), "not all of it arrived");
        assert_eq!(close(&attached), MIB as u64);
        assert_eq!(close(&attached), MIB as u64);
    }
}

#[test]
fn a_host_that_reads_after_the_exit_finds_half_of_what_a_pipe_holds() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let (mut reader, writer) = pipe();
    let (shim, attached, _) = attach(scratch.prepare(&pump, stdout_to(writer)).unwrap());
    let lines: String = (0..3300).map(|n| format!("line {n}\n")).collect();
    assert!(lines.len() > 31_000 && lines.len() <= 32 << 10, "{}", lines.len());
    for line in lines.split_inclusive('\n') {
        shim.stdout.as_ref().unwrap().write_all(line.as_bytes()).unwrap();
    }
    drop(shim);
    assert!(drained(&attached, LONG));
    drop(attached);
    let mut read = String::new();
    reader.read_to_string(&mut read).unwrap();
    assert_eq!(read, lines);
}

#[test]
fn draining_ends_while_somebody_still_writes() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let (reader, writer) = pipe();
    let (shim, attached, _) = attach(scratch.prepare(&pump, stdout_to(writer)).unwrap());
    let began = Instant::now();
    assert!(!drained(&attached, SHORT));
    assert!(began.elapsed() >= SHORT && began.elapsed() < LONG);
    shim.stdout.as_ref().unwrap().write_all(b"late").unwrap();
    drop(shim);
    assert!(drained(&attached, LONG));
    drop(attached);
    assert_eq!(read_all(reader).join().unwrap(), b"late");
}

/// A process that has written more to each stream than the host's pipes hold.
fn with_unread_output(scratch: &Scratch, pump: &Pump) -> ([File; 2], Shim, Attached) {
    let ((reader, stdout), (error_reader, stderr)) = (pipe(), pipe());
    let stdio = Stdio { stderr: Stream::fd(stderr), ..stdout_to(stdout) };
    let (shim, attached, _) = attach(scratch.prepare(pump, stdio).unwrap());
    shim.stdout.as_ref().unwrap().write_all(&noise(120_000)).unwrap();
    shim.stderr.as_ref().unwrap().write_all(&noise(100_000)).unwrap();
    ([reader, error_reader], shim, attached)
}

fn len_to_end(mut reader: &File) -> u64 {
    let mut data = Vec::new();
    reader.read_to_end(&mut data).unwrap();
    data.len() as u64
}

#[test]
fn discarded_output_is_counted_by_stream_and_in_total() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let ([stdout, stderr], shim, attached) = with_unread_output(&scratch, &pump);
    assert!(attached.drain(&Limits::within(SHORT)).is_err());
    assert_eq!(attached.lost().total(), 0);
    attached.discard();
    // Before the end of the output: a descendant of the process may have it open still.
    let read = [&stdout, &stderr].map(len_to_end);
    drop(shim);
    attached.drain(&Limits::within(LONG)).unwrap();
    let lost = attached.lost();
    assert_eq!([lost.stdout(), lost.stderr()], [120_000 - read[0], 100_000 - read[1]]);
    assert!(lost.stdout() > 0 && lost.stderr() > 0, "{lost}");
    assert_eq!(pump.output_lost(), lost.total());
    attached.close();
    assert_eq!(attached.lost(), lost);
}

#[test]
fn a_close_counts_the_output_that_was_not_passed_on() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    for by_pump in [false, true] {
        let ([stdout, stderr], _shim, attached) = with_unread_output(&scratch, &pump);
        assert!(attached.drain(&Limits::within(SHORT)).is_err());
        let before = pump.output_lost();
        if by_pump {
            pump.close();
        }
        attached.close();
        let (lost, read) = (attached.lost(), [&stdout, &stderr].map(len_to_end));
        assert_eq!([lost.stdout() + read[0], lost.stderr() + read[1]], [120_000, 100_000]);
        assert_eq!(pump.output_lost() - before, lost.total());
    }
}

#[test]
fn output_in_fifos_that_are_kept_is_not_lost() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let ([stdout, stderr], shim, attached) = with_unread_output(&scratch, &pump);
    assert!(attached.drain(&Limits::within(SHORT)).is_err());
    attached.keep_fifos();
    pump.close();
    let lost = attached.lost();
    drop(attached);
    // What another client finds there.
    let in_fifo = |file: &File| rustix::io::ioctl_fionread(file).unwrap();
    let [first, second] = &shim.kept[..] else { panic!() };
    assert_eq!(len_to_end(&stdout) + lost.stdout() + in_fifo(first), 120_000);
    assert_eq!(len_to_end(&stderr) + lost.stderr() + in_fifo(second), 100_000);
    assert!(in_fifo(first) > 0);
    assert_eq!(scratch.left(), 1);
}

#[test]
fn the_end_of_output_can_be_waited_for_without_blocking() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let (reader, writer) = pipe();
    let (shim, attached, _) = attach(scratch.prepare(&pump, stdout_to(writer)).unwrap());
    let limits = Limits::within(LONG);
    thread::scope(|scope| {
        let two = [(); 2].map(|()| scope.spawn(|| block_on(&limits, attached.drained())));
        shim.stdout.as_ref().unwrap().write_all(b"late").unwrap();
        drop(shim);
        two.into_iter().for_each(|waiting| waiting.join().unwrap().unwrap());
    });
    block_on(&limits, attached.drained()).unwrap();
    drop(attached);
    assert_eq!(read_all(reader).join().unwrap(), b"late");
}

#[test]
fn clones_of_a_stream_share_its_descriptor() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let sockets = || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (File::from(OwnedFd::from(ours)), Stream::fd(theirs))
    };
    let pipes = || {
        let (reader, writer) = pipe();
        (reader, Stream::fd(writer))
    };
    for (mut reader, stream) in [sockets(), pipes()] {
        let stdio = Stdio { stdout: stream.clone(), stderr: stream, ..Stdio::default() };
        // As for an operation that is begun again.
        drop(scratch.prepare(&pump, stdio.clone()).unwrap());
        let (shim, attached, _) = attach(scratch.prepare(&pump, stdio.clone()).unwrap());
        shim.stdout.as_ref().unwrap().write_all(b"out").unwrap();
        let mut three = [0; 3];
        reader.read_exact(&mut three).unwrap();
        assert_eq!(&three, b"out");
        shim.stderr.as_ref().unwrap().write_all(b"err").unwrap();
        drop(shim);
        assert!(drained(&attached, LONG));
        // The last owner closes it.
        drop(stdio);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "err");
    }
}

#[test]
fn output_that_the_host_does_not_want_is_read_and_is_no_loss() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let (reader, writer) = pipe();
    let (shim, attached, _) = attach(scratch.prepare(&pump, stdout_to(writer)).unwrap());
    shim.stderr.as_ref().unwrap().write_all(&noise(MIB)).unwrap();
    shim.stdout.as_ref().unwrap().write_all(b"wanted").unwrap();
    drop(shim);
    assert!(drained(&attached, LONG));
    assert_eq!(close(&attached), 0);
    assert_eq!(read_all(reader).join().unwrap(), b"wanted");
}

#[test]
fn nothing_is_read_from_the_host_for_a_process_that_reads_no_more() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    // Gone before the start, gone after it, and exited.
    for when in 0..3 {
        let (mut reader, mut writer) = pipe();
        let input = reader.try_clone().unwrap();
        let (shim, attached, closed) = attach(scratch.prepare(&pump, stdin_from(input)).unwrap());
        match when {
            0 => {
                drop(shim);
                attached.start_input().unwrap();
            }
            1 => {
                attached.start_input().unwrap();
                drop(shim);
            }
            _ => {
                attached.start_input().unwrap();
                assert!(!drained(&attached, Duration::ZERO));
                drop(shim);
            }
        }
        // The callback is dropped and not called.
        assert!(closed.recv_timeout(LONG).is_err());
        writer.write_all(b"for the next").unwrap();
        assert!(drained(&attached, LONG));
        drop(writer);
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "for the next");
    }
}

#[test]
fn the_shim_gets_paths_that_it_can_open() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let path = |p: &str| Stream::Path(p.into());
    let told = |stdio| scratch.prepare(&pump, stdio).unwrap().paths().clone();

    assert_eq!(told(Stdio::default()), Paths::default());
    let terminal = told(Stdio { terminal: true, ..Stdio::default() });
    assert!(terminal.stdout.ends_with("/id-stdout") && terminal.terminal);
    assert_eq!((terminal.stdin.as_str(), terminal.stderr.as_str()), ("", ""));
    let binary = told(Stdio { terminal: true, stdout: path("binary:///log"), ..Stdio::default() });
    assert_eq!(binary.stdout, "binary:///log");

    let both = told(Stdio { stdout: path("file:///log"), ..Stdio::default() });
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("file:///log", "file:///log"));
    let one = told(Stdio { stderr: path("/a/fifo"), ..Stdio::default() });
    assert!(one.stdout.ends_with("/id-stdout"));
    assert_eq!(one.stderr, "/a/fifo");
    let input = told(stdin_from(pipe().0));
    assert!(input.stdin.ends_with("/id-stdin"));
    assert!(input.stdout.ends_with("/id-stdout") && input.stderr.ends_with("/id-stderr"));
    let exec =
        prepare(&pump, fifo_dir(scratch.path()), "id", Some("exec"), stdout_to(pipe().1)).unwrap();
    assert!(exec.paths().stdout.ends_with("/exec-stdout"), "{:?}", exec.paths());
    drop(exec);
    assert_eq!(scratch.left(), 0);
}

#[test]
fn the_fifos_of_an_exec_are_removed_alone_and_those_of_its_container_with_it() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let dir = fifo_dir(scratch.path());
    let make = |id, exec| prepare(&pump, dir, id, exec, stdout_to(pipe().1)).unwrap();
    let exists = |prepared: &Prepared| Path::new(&prepared.paths().stdout).exists();
    let (first, other) = (make("id", None), make("other", Some("a")));
    let execs = ["a", "b", "a-b"].map(|exec| make("id", Some(exec)));
    remove_fifo_sets_of(dir, "id", Some("a"));
    assert_eq!(execs.each_ref().map(exists), [false, true, true]);
    assert!(exists(&first) && exists(&other));
    remove_fifo_sets_of(dir, "id", None);
    assert_eq!(execs.each_ref().map(exists), [false; 3]);
    assert!(!exists(&first) && exists(&other));
}

#[test]
fn a_stream_that_cannot_be_used_is_refused_by_its_name_and_leaves_nothing() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let path = |p: &str| Stream::Path(p.into());
    let long = format!("/{}", "x".repeat(5000));
    let directory = File::open(scratch.path()).unwrap();
    let bad: Vec<(&str, Stdio)> = vec![
        ("stdin", Stdio { stdin: path("relative"), ..Stdio::default() }),
        ("stdin", Stdio { stdin: path("file:///in"), ..Stdio::default() }),
        ("stdin", stdin_from(pipe().1)),
        ("stdin", stdin_from(directory)),
        ("stdout", stdout_to(pipe().0)),
        ("stdout", Stdio { stdout: path(""), ..Stdio::default() }),
        ("stdout", Stdio { stdout: path("/a\0b"), ..Stdio::default() }),
        ("stdout", Stdio { stdout: path("file://relative"), ..Stdio::default() }),
        ("stdout", Stdio { stdout: path(&long), ..Stdio::default() }),
        ("stdout", Stdio { stdout: path("file:///a"), terminal: true, ..Stdio::default() }),
        ("stderr", Stdio { stderr: path("fifo:///a"), ..stdout_to(pipe().1) }),
        ("stderr", Stdio { stderr: path("file:///a"), ..stdout_to(pipe().1) }),
        ("stderr", Stdio { stderr: path("/b"), stdout: path("file:///a"), ..Stdio::default() }),
        ("stderr", Stdio { stderr: Stream::fd(pipe().0), ..stdout_to(pipe().1) }),
    ];
    for (argument, stdio) in bad {
        let shown = format!("{stdio:?}");
        let error = scratch.prepare(&pump, stdio).err().expect(&shown);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().starts_with(&format!("{argument}: ")), "{error}: {shown}");
        assert_eq!(scratch.left(), 0, "{shown}");
    }
    for (id, exec) in [("..", None), ("a/b", None), ("", None), ("id", Some("../x"))] {
        assert!(prepare(&pump, fifo_dir(scratch.path()), id, exec, stdout_to(pipe().1)).is_err());
    }

    // A failure half-way: the second FIFO's path is too long.
    let mut state_dir = scratch.path().to_owned();
    let rest =
        MAX_PATH - state_dir.as_os_str().len() - "/fifo/ns+id+server+0123456789abcdef/id-std".len();
    let (mut rest, last) = (rest - "in".len(), "x".repeat(100));
    while rest > 200 {
        state_dir.push(&last);
        rest -= last.len() + 1;
    }
    state_dir.push("x".repeat(rest - 1));
    let error =
        prepare(&pump, fifo_dir(&state_dir), "id", None, stdin_from(pipe().0)).err().unwrap();
    assert!(error.message().starts_with("state_dir: "), "{error}");
    let mut find = Command::new("find");
    let left = find.arg(scratch.path()).args(["-name", "ns-*"]).output().unwrap();
    assert!(left.status.success());
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn closing_from_the_callback_does_not_wait_for_itself() {
    let scratch = Scratch::new();
    let pump = Arc::new(Pump::default());
    let (reader, writer) = pipe();
    let prepared = scratch.prepare(&pump, stdin_from(reader)).unwrap();
    let _shim = Shim::open(prepared.paths());
    let attached = Arc::new(Mutex::new(None::<Attached>));
    let (sender, closed) = channel();
    let callback = {
        let (pump, attached) = (pump.clone(), attached.clone());
        move || {
            drop(attached.lock().unwrap().take());
            pump.close();
            sender.send(()).unwrap();
        }
    };
    let value = prepared.attach(LONG, Box::new(callback)).unwrap();
    value.start_input().unwrap();
    *attached.lock().unwrap() = Some(value);
    drop(writer);
    closed.recv_timeout(LONG).unwrap();
    assert_eq!(scratch.left(), 0);
    let error = scratch.prepare(&pump, stdout_to(pipe().1)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn a_panic_of_the_callback_does_not_stop_other_streams() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let prepared = scratch.prepare(&pump, stdin_from(pipe().0)).unwrap();
    let _shim = Shim::open(prepared.paths());
    let (sender, ran) = channel();
    let callback = move || {
        sender.send(()).unwrap();
        std::panic::resume_unwind(Box::new("on purpose"));
    };
    let attached = prepared.attach(LONG, Box::new(callback)).unwrap();
    attached.start_input().unwrap();
    ran.recv_timeout(LONG).unwrap();
    let (reader, writer) = pipe();
    let (shim, attached, _) = attach(scratch.prepare(&pump, stdout_to(writer)).unwrap());
    shim.stdout.as_ref().unwrap().write_all(b"on").unwrap();
    drop(shim);
    assert!(drained(&attached, LONG));
    assert_eq!(read_all(reader).join().unwrap(), b"on");
}

#[test]
fn the_close_of_the_pump_closes_attached_streams() {
    let scratch = Scratch::new();
    let pump = Pump::default();
    let (reader, writer) = pipe();
    let ready = scratch.prepare(&pump, stdout_to(pipe().1)).unwrap();
    let (_shim, attached, _) = attach(scratch.prepare(&pump, stdout_to(writer)).unwrap());
    thread::scope(|scope| {
        let draining = scope.spawn(|| attached.drain(&Limits::within(LONG)));
        thread::sleep(SHORT);
        pump.close();
        draining.join().unwrap().unwrap();
    });
    assert_eq!(read_all(reader).join().unwrap(), b"", "the host's descriptor is closed");
    assert_eq!(ready.attach(LONG, Box::new(|| ())).err().unwrap().kind(), ErrorKind::Closed);
    drop(attached);
    assert_eq!(scratch.left(), 0);
    pump.close();
}

fn count(directory: &str) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn nothing_is_left_after_many_cycles() {
    alone("nothing_is_left_after_many_cycles", || {
        let scratch = Scratch::new();
        let pump = Pump::default();
        let cycle = |how: usize| {
            let input = Stream::fd(pipe().0);
            let stderr = Stream::fd(UnixStream::pair().unwrap().1);
            let stdio = Stdio { stdin: input, stderr, ..stdout_to(pipe().1) };
            let prepared = scratch.prepare(&pump, stdio).unwrap();
            match how % 4 {
                0 => drop(prepared),
                1 => drop(attach(prepared)),
                2 => {
                    let (shim, attached, _) = attach(prepared);
                    attached.start_input().unwrap();
                    drop(shim);
                    assert!(drained(&attached, LONG));
                }
                _ => {
                    let (_shim, attached, _) = attach(prepared);
                    attached.start_input().unwrap();
                    attached.close();
                    attached.close();
                }
            }
            let _ = scratch.prepare(&pump, stdout_to(pipe().0)).err().unwrap();
        };
        cycle(3);
        let before = (count("/proc/self/fd"), count("/proc/self/task"));
        (0..200).for_each(cycle);
        assert_eq!((count("/proc/self/fd"), count("/proc/self/task")), before);
        assert_eq!(scratch.left(), 0);
        // The thread, epoll and its eventfd.
        drop(pump);
        assert_eq!(count("/proc/self/fd"), before.0 - 2);
        assert_eq!(count("/proc/self/task"), before.1 - 1);
    });
}

/// A field of the status of the pump's thread.
fn status_of_thread(field: &str) -> String {
    let mut tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let is_pump = |task: &PathBuf| fs::read(task.join("comm")).is_ok_and(|c| c == b"ctrd-io\n");
    let thread = tasks.find(is_pump).expect("a thread ctrd-io");
    let status = fs::read_to_string(thread.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

#[test]
fn the_thread_sleeps_while_nothing_can_be_passed_on() {
    alone("the_thread_sleeps_while_nothing_can_be_passed_on", || {
        let scratch = Scratch::new();
        let pump = Pump::default();
        // Output for a stuck target whose writer has gone, and input for a process that reads none.
        let (_reader, writer) = pipe();
        let (input, host) = pipe();
        let stdio = Stdio { stdin: Stream::fd(input), ..stdout_to(writer) };
        let (shim, attached, _) = attach(scratch.prepare(&pump, stdio).unwrap());
        attached.start_input().unwrap();
        let full = |file: File| {
            thread::spawn(move || { &file }.write_all(&noise(100 << 10)).map(|()| file))
        };
        let writing = full(shim.stdout.unwrap());
        drop(writing.join().unwrap().unwrap());
        let writing = full(host);
        drop(writing.join().unwrap().unwrap());
        drop((shim.kept, shim.stderr));
        // It may be busy with the rest for a while, and then never again.
        let seen = || (status_of_thread("voluntary_ctxt_switches"), status_of_thread("State"));
        let deadline = Instant::now() + LONG;
        loop {
            let before = seen();
            thread::sleep(5 * SHORT);
            let after = seen();
            if before == after && after.1.starts_with('S') {
                break;
            }
            assert!(Instant::now() < deadline, "{before:?}, then {after:?}");
        }

        // It blocks every signal that can be blocked: all but SIGKILL and SIGSTOP, and the two that
        // the C library keeps to itself.
        let blocked = u64::from_str_radix(&status_of_thread("SigBlk"), 16).unwrap();
        let unblockable =
            [9, 19, 32, 33].iter().fold(0u64, |mask, signal| mask | 1 << (signal - 1));
        assert_eq!(blocked | unblockable, u64::MAX);
        drop(attached);
    });
}

#[test]
fn a_terminal_is_read_and_written_and_keeps_its_flags() {
    const CHILD: &str = "CTRD_TEST_TERMINAL";
    if env::var_os(CHILD).is_some() {
        let scratch = Scratch::new();
        let pump = Pump::default();
        let terminal = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let flags = fcntl_getfl(&terminal).unwrap();
        let stdio = Stdio {
            stdin: Stream::fd(terminal.try_clone().unwrap()),
            terminal: true,
            ..stdout_to(terminal.try_clone().unwrap())
        };
        let (mut shim, attached, _) = attach(scratch.prepare(&pump, stdio).unwrap());
        attached.start_input().unwrap();
        shim.stdout.as_ref().unwrap().write_all(b"what is it?\n").unwrap();
        let mut typed = [0; 6];
        shim.stdin.as_mut().unwrap().read_exact(&mut typed).unwrap();
        let answer = format!("it is {}", String::from_utf8_lossy(&typed).to_uppercase());
        shim.stdout.as_ref().unwrap().write_all(answer.as_bytes()).unwrap();
        // More than a terminal takes at once.
        let rows: String = (0..20_000).map(|n| format!("row {n}\n")).collect();
        shim.stdout.as_ref().unwrap().write_all(rows.as_bytes()).unwrap();
        drop(shim);
        assert!(drained(&attached, LONG));
        assert_eq!(fcntl_getfl(&terminal).unwrap(), flags);
        return;
    }
    let exe = env::current_exe().unwrap();
    let name = "stdio::tests::a_terminal_is_read_and_written_and_keeps_its_flags";
    let command = format!("{} --exact --nocapture {name}", exe.display());
    let mut script = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env(CHILD, "1")
        .stdin(Piped::piped())
        .stdout(Piped::piped())
        .spawn()
        .unwrap();
    let mut input = script.stdin.take().unwrap();
    let mut output = script.stdout.take().unwrap();
    let mut shown = Vec::new();
    let mut buffer = [0; 4096];
    let mut asked = false;
    loop {
        let n = output.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        shown.extend_from_slice(&buffer[..n]);
        if !asked && String::from_utf8_lossy(&shown).contains("what is it?") {
            asked = true;
            input.write_all(b"a tty\n").unwrap();
        }
    }
    let shown = String::from_utf8_lossy(&shown).replace('\r', "");
    assert!(script.wait().unwrap().success(), "{shown}");
    assert!(shown.contains("it is A TTY\n"), "{shown}");
    assert!(shown.contains("test result: ok. 1 passed"), "{shown}");
    let rows: String = (0..20_000).map(|n| format!("row {n}\n")).collect();
    assert!(shown.contains(&rows));
}

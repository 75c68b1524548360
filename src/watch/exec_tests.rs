//! The watches of execs, with a real containerd and without the operation.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::pidfd::Pidfd;
use super::watches::FoundProcess;
use super::{IdOwner, Watch};
use crate::call::{Call, Limits};
use crate::client_config::ClientConfig;
use crate::container::{self, ContainerConfig, DestroyConfig};
use crate::daemon::{Daemon, DaemonConfig};
use crate::delivery::HookConfig;
use crate::error::ErrorKind;
use crate::inner::Inner;
use crate::message::{Message, MessageKind, Origin};
use crate::rpc::{Any, Ctx, tasks};
use crate::stdio::Paths;

/// Longer than any test takes. It ends a test that hangs.
const LONG: Duration = Duration::from_secs(60);

/// A containerd with one container, which runs until it is killed.
struct Server {
    /// The container's id. Unique, because runc has one directory for all daemons.
    id: String,
    daemon: Daemon,
    client: Arc<Inner>,
    /// The exits that the hooks got.
    exits: Receiver<Message>,
    directory: Directory,
}

/// A directory that is removed when this is dropped.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.client.close(&Limits::within(LONG));
        let _ = self.daemon.stop(&Call::new());
    }
}

impl Server {
    fn start() -> Server {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ctrd-execs-{}-{number}", std::process::id());
        let directory = Directory(std::env::temp_dir().join(&name));
        let root = directory.0.join("root");
        for part in ["bin", "proc", "dev", "sys", "run"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
        let daemon_config = DaemonConfig::new(directory.0.join("d"));
        let daemon = Daemon::start(&daemon_config, &Call::new()).unwrap();
        let config = ClientConfig::new().owner("us").state_dir(directory.0.join("client"));
        let client = Arc::new(Inner::new(config, Path::new(daemon.address()), true));
        let (sender, exits) = channel();
        let hook = Arc::new(move |message: &Message| drop(sender.send(message.clone())));
        let kinds = [MessageKind::Exit, MessageKind::ExecExit];
        client.bus.add_hook(&HookConfig::new(kinds), hook).unwrap();
        let sleep = ["/bin/sh", "-c", "while :; do sleep 1; done"];
        let config = ContainerConfig::new(&name).rootfs(&root).args(sleep);
        container::create(&client, &config, &Call::new()).unwrap();
        Server { id: name, daemon, client, exits, directory }
    }

    fn ctx(&self) -> Ctx {
        Ctx::new(&self.client.connection, &self.client.config.namespace, Limits::within(LONG))
    }

    fn find(&self, exec: Option<&str>) -> Option<Arc<Watch>> {
        self.client.watches.find(&self.client.config.namespace, &self.id, exec)
    }

    /// Executes a script in the container, and watches its process.
    fn exec(&self, exec: &str, script: &str) -> Arc<Watch> {
        self.create_exec(exec, script);
        let pid = tasks::start(&self.ctx(), &self.id, exec).unwrap();
        self.watch(exec, pid, self.client.watches.pidfd(pid))
    }

    fn create_exec(&self, exec: &str, script: &str) {
        let process = json!({
            "args": ["/bin/sh", "-c", script],
            "cwd": "/",
            "env": ["PATH=/bin"],
            "user": { "uid": 0, "gid": 0 },
        });
        let spec = Any::process(process.to_string().into_bytes());
        let request =
            tasks::Exec { id: self.id.clone(), exec: exec.into(), spec, ..Default::default() };
        tasks::exec(&self.ctx(), request).unwrap();
    }

    /// Watches the process of an exec that was started.
    fn watch(&self, exec: &str, pid: u32, pidfd: Option<Pidfd>) -> Arc<Watch> {
        let first = self.find(None).unwrap();
        let found = FoundProcess {
            process: first.exec(exec, pid, pidfd),
            paths: Some(Paths::default()),
            stdio: None,
            started: true,
            after_exit: None,
            outcome: None,
        };
        self.client.watches.adopt(&self.ctx(), &self.id, found).unwrap()
    }

    /// Lets the scripts end that wait for this file.
    fn touch(&self, file: &str) {
        fs::write(self.directory.0.join("root").join(file), "").unwrap();
    }

    /// Its supervisor starts it again.
    fn kill_containerd(&self) {
        kill(self.daemon.pid());
    }

    /// The one message that the hooks got about a process.
    fn next(&self) -> Message {
        self.exits.recv_timeout(LONG).unwrap()
    }
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

fn wait(watch: &Arc<Watch>) -> Message {
    watch.wait(&Limits::within(LONG)).unwrap()
}

/// A script that ends with this code when the file exists.
fn until(file: &str, code: u32) -> String {
    format!("while [ ! -e /{file} ]; do sleep 0.02; done; exit {code}")
}

#[test]
fn the_exit_of_an_exec_is_its_own_and_its_id_can_be_used_again() {
    let server = Server::start();
    let first = server.find(None).unwrap();
    for code in [7, 8] {
        let watch = server.exec("e", &until("go", code));
        let pid = watch.pid;
        assert!(Arc::ptr_eq(&server.find(Some("e")).unwrap(), &watch) && watch.exit().is_none());
        server.touch("go");
        let message = wait(&watch);
        assert_eq!((message.kind(), message.exec_id()), (MessageKind::ExecExit, Some("e")));
        assert_eq!((message.container_id(), message.pid()), (server.id.as_str(), Some(pid)));
        assert_eq!((message.exit_code(), message.origin()), (Some(code), Origin::Live));
        assert!(message.exit_time().is_some() && message.generation().is_some());
        assert_eq!(server.next().seq(), message.seq());
        let (deleted, exit) = tasks::delete_exec(&server.ctx(), &server.id, "e").unwrap();
        assert_eq!((deleted, exit.code), (pid, code));
        watch.close_stdio(server.client.fifo_dir(&server.client.config.namespace));
        server.client.watches.retire(&watch);
        fs::remove_file(server.directory.0.join("root/go")).unwrap();
    }
    // The container runs on, and its exit is another message of the same generation.
    assert!(first.exit().is_none());
    let last = server.find(Some("e")).unwrap().exit().unwrap();
    let config = DestroyConfig::new().grace(Duration::ZERO);
    let message = container::destroy(&server.client, &server.id, &config, &Call::new()).unwrap();
    assert_eq!((message.kind(), message.exec_id()), (MessageKind::Exit, None));
    assert_eq!(message.generation(), last.generation());
    assert_eq!(server.next().seq(), message.seq());
    assert!(server.exits.try_recv().is_err());
}

#[test]
fn the_exit_of_an_exec_is_kept_while_containerd_is_killed() {
    let server = Server::start();
    let during = server.exec("during", &until("now", 5));
    let after = server.exec("after", &until("later", 6));
    server.kill_containerd();
    server.touch("now");
    let message = wait(&during);
    assert_eq!((message.exit_code(), message.exec_id()), (Some(5), Some("during")));
    assert_eq!(server.next().seq(), message.seq());
    assert!(after.exit().is_none() && server.find(None).unwrap().exit().is_none());
    server.touch("later");
    let message = wait(&after);
    assert_eq!((message.exit_code(), message.exec_id()), (Some(6), Some("after")));
    assert_eq!(server.next().seq(), message.seq());
    assert!(server.exits.try_recv().is_err());
}

#[test]
fn an_exec_ends_once_when_its_shim_or_its_container_ends() {
    for shim in [true, false] {
        let server = Server::start();
        let first = server.find(None).unwrap();
        let exec = server.exec("e", &until("never", 5));
        kill(if shim { shim_of(first.pid) } else { first.pid });
        // Without the shim only the kernel may know the code.
        for (watch, kind) in [(&exec, MessageKind::ExecExit), (&first, MessageKind::Exit)] {
            let message = wait(watch);
            assert_eq!(message.kind(), kind);
            match message.exit_code() {
                Some(code) => assert_eq!(code, 137),
                None => assert_eq!(message.error().unwrap().kind(), ErrorKind::DataLoss),
            }
            assert!(shim || message.exit_code().is_some(), "{message:?}");
        }
        let mut kinds = [server.next().kind(), server.next().kind()];
        kinds.sort_by_key(|kind| *kind == MessageKind::Exit);
        assert_eq!(kinds, [MessageKind::ExecExit, MessageKind::Exit]);
        assert!(server.exits.recv_timeout(Duration::from_millis(100)).is_err());
    }
}

#[test]
fn an_exec_of_a_container_without_a_record_is_followed_to_its_end() {
    let server = Server::start();
    let exec = server.exec("e", &until("go", 5));
    crate::rpc::containers::delete(&server.ctx(), &server.id).unwrap();
    server.kill_containerd();
    let began = Instant::now();
    // It is not taken for ended: the list has its container's task.
    while server.client.watches.reconciled().0 == 0 || !server.daemon.is_running() {
        assert!(began.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(500));
    assert!(exec.exit().is_none());
    server.touch("go");
    let first = server.find(None).unwrap();
    let message = wait(&exec);
    match message.exit_code() {
        Some(code) => assert_eq!(code, 5),
        None => assert_eq!(message.error().unwrap().kind(), ErrorKind::DataLoss),
    }
    assert!(first.exit().is_none());
    kill(first.pid);
    wait(&first);
}

#[test]
fn an_exec_is_not_taken_for_another_one_that_was_not_started() {
    let server = Server::start();
    server.create_exec("e", "exit 5");
    // As if the first exec with this id had ended unnoticed.
    let watch = server.watch("e", server.find(None).unwrap().pid, None);
    let owner = server.client.watches.find_id_owner(&watch, &Limits::within(LONG));
    assert!(matches!(owner, IdOwner::Exited));
    let message = watch.exit().unwrap();
    assert_eq!((message.exit_code(), message.origin()), (None, Origin::Gap));
}

/// The parent of a process.
fn shim_of(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}

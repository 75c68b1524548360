//! Output whose reader is behind when the process ends: how long it is waited for, and how a loss is
//! reported.

mod ground;

use std::fs::File;
use std::io::Read;
use std::thread;
use std::time::Duration;

use ctrd::{
    Call, Cleanup, Client, ContainerConfig, DestroyConfig, ErrorKind, Message, Stdio, Stream,
};
use ground::plot::{Plot, at_once, client_of, create, gently, pid, pipe, until_it_traps, within};
use ground::wait_until;

/// More than the pipes between process and host hold without the shim's part, and less than they hold
/// with it: the process can end while nobody reads.
const WRITTEN: u64 = 200_000;

/// Longer than the time for which output is waited for by default.
const LATE: Duration = Duration::from_millis(2500);

/// The bytes that the pipe of the host and the FIFO hold together: the shim has nothing left.
const WRITTEN_TO_FIFO: u64 = 120_000;

/// A container that writes, and ends; and the other end of its output.
fn writer(plot: &Plot) -> (ContainerConfig, File) {
    running(plot, &writing(WRITTEN))
}

/// A container that runs a script, and the other end of its output.
fn running(plot: &Plot, script: &str) -> (ContainerConfig, File) {
    let (reader, stdout) = pipe();
    (plot.shell(script).stdio(Stdio::new().stdout(Stream::fd(stdout))), reader)
}

fn writing(bytes: u64) -> String {
    format!("head -c {bytes} /dev/zero; exit 3")
}

/// Reads to the end. Returns how many bytes there were.
fn read(mut reader: &File) -> u64 {
    let mut data = Vec::new();
    reader.read_to_end(&mut data).unwrap();
    data.len() as u64
}

fn lost(message: &Message) -> u64 {
    assert_eq!(message.exit_code(), Some(3), "{message:?}");
    message.output_lost().map_or(0, |lost| {
        assert_eq!(lost.stderr(), 0, "{lost}");
        lost.stdout()
    })
}

#[test]
fn a_destroy_reports_the_output_that_was_lost() {
    let plot = Plot::new();
    for config in [DestroyConfig::new(), at_once().drain(Duration::ZERO)] {
        let (container, reader) = writer(&plot);
        let id = plot.create(container);
        assert_eq!(lost(&plot.probe(&id)), 0, "it is waited for");
        let before = plot.client.counters().output_lost();
        let message = plot.client.destroy_container(&id, &config, &Call::new()).unwrap();
        assert!(lost(&message) > 0, "{message:?}");
        assert_eq!(lost(&message) + read(&reader), WRITTEN);
        assert_eq!(plot.client.counters().output_lost() - before, lost(&message));
    }
    assert!(plot.holdings().only_images());
}

#[test]
fn output_for_a_reader_that_has_gone_is_reported() {
    let plot = Plot::new();
    let (container, reader) = writer(&plot);
    drop(reader);
    let id = plot.create(container);
    plot.probe(&id);
    assert_eq!(lost(&plot.destroy(&id)), WRITTEN);

    // Nothing is lost of what the host does not want.
    let (_reader, stderr) = pipe();
    let stdio = Stdio::new().stderr(Stream::fd(stderr));
    let id = plot.create(plot.shell(&writing(WRITTEN)).stdio(stdio));
    plot.probe(&id);
    assert_eq!(lost(&plot.destroy(&id)), 0);
    assert_eq!(plot.client.counters().output_lost(), WRITTEN);
}

#[test]
fn a_destroy_waits_for_a_late_reader_as_long_as_its_drain_says() {
    let plot = Plot::new();
    for drain in [Duration::from_secs(30), Duration::MAX] {
        let (container, reader) = writer(&plot);
        let id = plot.create(container);
        plot.probe(&id);
        let message = thread::scope(|scope| {
            let config = gently().drain(drain);
            let (client, id) = (&plot.client, &id);
            let destroying =
                scope.spawn(move || client.destroy_container(id, &config, &within(60)));
            thread::sleep(LATE);
            assert_eq!(read(&reader), WRITTEN);
            destroying.join().unwrap().unwrap()
        });
        assert_eq!(lost(&message), 0);
        assert_eq!(message.output_lost(), None);
    }
    assert_eq!(plot.client.counters().output_lost(), 0);
}

#[test]
fn a_destroy_whose_own_time_ends_first_drops_nothing() {
    let plot = Plot::new();
    let (container, reader) = writer(&plot);
    let id = plot.create(container);
    plot.probe(&id);
    for drain in [Duration::from_secs(30), Duration::MAX] {
        let (config, short) = (gently().drain(drain), within(2));
        let error = plot.client.destroy_container(&id, &config, &short).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert_eq!(error.failed_step(), Some("wait for the output"), "{error}");
        assert!(error.is_outcome_unknown(), "{error}");
    }
    // The output goes on as before.
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(read(&reader), WRITTEN));
        assert_eq!(lost(&plot.destroy(&id)), 0);
    });
}

#[test]
fn a_clean_up_reports_the_output_that_was_lost_to_probes() {
    let plot = Plot::new();
    for (cleanup, drain) in [
        (Cleanup::All, None),
        (Cleanup::All, Some(Duration::ZERO)),
        (Cleanup::Task, Some(Duration::from_millis(10))),
    ] {
        let (mut container, reader) = writer(&plot);
        if let Some(drain) = drain {
            container = container.drain(drain);
        }
        let before = plot.client.counters().output_lost();
        let id = plot.create(container.cleanup(cleanup));
        plot.probe(&id);
        wait_until("the clean-up", || plot.holdings().tasks == 0 && plot.holdings().fifos == 0);
        let message = plot.client.probe(&id, &Call::new().poll()).unwrap();
        assert!(lost(&message) > 0, "{message:?}");
        assert_eq!(lost(&message) + read(&reader), WRITTEN);
        assert_eq!(plot.client.counters().output_lost() - before, lost(&message));
        // A call that destroys it, or finds it destroyed, reports the same.
        assert_eq!(lost(&plot.destroy(&id)), lost(&message));
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_clean_up_waits_for_a_late_reader_as_long_as_the_container_says() {
    let plot = Plot::new();
    let (container, reader) = writer(&plot);
    let id = plot.create(container.cleanup(Cleanup::All).drain(Duration::MAX));
    plot.probe(&id);
    thread::sleep(LATE);
    assert_eq!(plot.holdings().containers, 1);
    assert_eq!(read(&reader), WRITTEN);
    wait_until("the clean-up", || plot.holdings().only_images());
    assert_eq!(plot.client.probe(&id, &Call::new().poll()).unwrap().output_lost(), None);
}

#[test]
fn a_clean_up_takes_no_output_from_a_destroy_that_waits_longer() {
    let plot = Plot::new();
    let (container, reader) = writer(&plot);
    let id = plot.create(container.cleanup(Cleanup::All).drain(Duration::from_secs(3)));
    plot.probe(&id);
    let message = thread::scope(|scope| {
        let destroying = scope.spawn(|| {
            let config = gently().drain(Duration::MAX);
            plot.client.destroy_container(&id, &config, &within(60))
        });
        // The time of the clean-up is over then.
        thread::sleep(Duration::from_secs(4));
        assert_eq!(read(&reader), WRITTEN);
        destroying.join().unwrap().unwrap()
    });
    assert_eq!(lost(&message), 0);
    assert_eq!(plot.client.counters().output_lost(), 0);
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn many_clean_ups_that_wait_for_readers_delay_no_other() {
    let plot = Plot::new();
    let stuck: Vec<(String, File)> = (0..20)
        .map(|_| {
            let (container, reader) = writer(&plot);
            (plot.create(container.cleanup(Cleanup::All).drain(Duration::MAX)), reader)
        })
        .collect();
    stuck.iter().for_each(|(id, _)| drop(plot.probe(id)));
    let other = plot.create(plot.shell("exit 3").cleanup(Cleanup::All));
    plot.probe(&other);
    wait_until("the clean-up of the other", || plot.holdings().containers == stuck.len());
    for (_, reader) in &stuck {
        assert_eq!(read(reader), WRITTEN);
    }
    wait_until("the other clean-ups", || plot.holdings().only_images());
}

#[test]
fn a_client_that_recovers_a_container_keeps_to_its_time_for_the_output() {
    let plot = Plot::new();
    let first = client_of(&plot);
    let script = format!("trap '{}' TERM; while :; do sleep 0.01; done", writing(WRITTEN));
    let (container, _before) = running(&plot, &script);
    let (id, process) = create(&first, container.cleanup(Cleanup::All).drain(Duration::MAX));
    until_it_traps(process, &script);
    drop(first);

    let second = client_of(&plot);
    let (reader, stdout) = pipe();
    let stdio = Stdio::new().stdout(Stream::fd(stdout));
    second.recover_container(&id, &stdio, &within(10)).unwrap();
    drop(stdio);
    rustix::process::kill_process(pid(process), rustix::process::Signal::TERM).unwrap();
    second.probe(&id, &within(30)).unwrap();
    thread::sleep(LATE);
    assert_eq!(plot.holdings().containers, 1);
    assert_eq!(read(&reader), WRITTEN);
    wait_until("the clean-up", || plot.holdings().only_images());
    assert_eq!(second.counters().output_lost(), 0);
}

#[test]
fn output_of_a_container_that_another_client_removes_is_waited_for_and_counted() {
    let plot = Plot::new();
    let remove = |client: &Client, id: &str| {
        client.destroy_container(id, &gently(), &within(30)).unwrap();
    };
    for late in [false, true] {
        // The bytes that the shim still holds are lost with it, and nobody can count them.
        let (mut container, reader) = running(&plot, &writing(WRITTEN_TO_FIFO));
        if late {
            container = container.drain(Duration::MAX);
        }
        let id = plot.create(container);
        plot.probe(&id);
        remove(&client_of(&plot), &id);
        // Another container of the id takes its place.
        plot.create(plot.shell_of(&id, "exit 4"));
        let before = plot.client.counters().output_lost();
        if late {
            thread::sleep(LATE);
            assert_eq!(read(&reader), WRITTEN_TO_FIFO);
            assert_eq!(plot.client.counters().output_lost(), before);
        } else {
            // The descriptor is closed when the time for the output is over.
            wait_until("the loss", || plot.client.counters().output_lost() > before);
            let read = read(&reader);
            wait_until("all of it", || {
                plot.client.counters().output_lost() - before + read == WRITTEN_TO_FIFO
            });
        }
        plot.destroy(&id);
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn the_close_of_a_client_loses_only_what_the_fifo_does_not_keep() {
    let plot = Plot::new();
    let first = client_of(&plot);
    // It runs on, and says when it has written.
    let script = format!("head -c {WRITTEN} /dev/zero; echo done >&2; sleep 1000");
    let ((before, stdout), (mut errors, stderr)) = (pipe(), pipe());
    let stdio = Stdio::new().stdout(Stream::fd(stdout)).stderr(Stream::fd(stderr));
    let (id, _) = create(&first, plot.shell(&script).stdio(stdio));
    errors.read_exact(&mut [0; 5]).unwrap();
    wait_until("full pipes", || {
        rustix::io::ioctl_fionread(&before).is_ok_and(|unread| unread >= 65_536)
    });
    first.close(&within(10)).unwrap();
    let lost = first.counters().output_lost();
    drop(first);
    let (after, stdout) = pipe();
    let second = client_of(&plot);
    let stdio = Stdio::new().stdout(Stream::fd(stdout));
    second.recover_container(&id, &stdio, &within(10)).unwrap();
    drop(stdio);
    let rest = thread::scope(|scope| {
        let reading = scope.spawn(|| read(&after));
        second.destroy_container(&id, &at_once().drain(Duration::MAX), &within(30)).unwrap();
        reading.join().unwrap()
    });
    assert_eq!(read(&before) + lost + rest, WRITTEN);
    assert!(rest > 0 && lost < WRITTEN / 2, "{rest} {lost}");
}

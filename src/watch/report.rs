//! Reporting how a process ended: to the callers that wait for the exit, to hooks and to queues.

use std::sync::Arc;

use super::pidfd;
use super::process::Watch;
use super::watches::Watches;
use crate::error::{Error, ErrorKind};
use crate::message::{Body, Message, MessageKind, Origin};
use crate::record::{ProcessOutcome, SIGKILL_CODE, generation};
use crate::rpc::tasks::Exit;

impl Watches {
    /// Reports an exit, or why its code is not known.
    pub(super) fn report_exit(
        &self,
        watch: &Arc<Watch>,
        origin: Origin,
        exit: Option<Exit>,
        error: Option<Error>,
    ) {
        let body = Body {
            origin,
            exit_code: exit.map(|exit| exit.code),
            exit_time: exit.and_then(|exit| exit.at),
            error,
            ..self.0.bus.body(kind(watch))
        };
        self.publish(watch, body);
    }

    /// Reports that the process was created and never started.
    pub(super) fn report_never_started(&self, watch: &Arc<Watch>, origin: Origin) {
        let whose = if watch.key.is_first() { "the container's process" } else { "the exec" };
        let why = Error::new(ErrorKind::NotFound, format!("{whose} never ran"));
        let body = Body {
            origin,
            error: Some(why.clone()),
            start_error: Some(why),
            ..self.0.bus.body(kind(watch))
        };
        self.publish(watch, body);
    }

    /// Reports what was found out afterwards.
    pub(super) fn report_recovered(&self, watch: &Arc<Watch>, outcome: ProcessOutcome) {
        self.report(watch, Origin::Recovered, outcome);
    }

    /// Reports how a process ended.
    pub(crate) fn report(&self, watch: &Arc<Watch>, origin: Origin, outcome: ProcessOutcome) {
        match outcome {
            ProcessOutcome::Exited(exit) => self.report_exit(watch, origin, Some(exit), None),
            ProcessOutcome::NeverStarted => self.report_never_started(watch, origin),
            ProcessOutcome::Unknown => {
                let what = "the exit code is not known: the record says that nobody has seen it";
                self.report_exit(watch, Origin::Gap, None, Some(no_code(what)));
            }
        }
    }

    /// Reports the end of a process that containerd does not know any more. What containerd says
    /// about it in events is a guess, so only the kernel may know the code.
    pub(super) fn report_unknown_to_containerd(&self, watch: &Arc<Watch>, how: &str, why: Error) {
        if watch.is_over() {
            return;
        }
        let started = watch.is_started();
        match watch.kernel_state() {
            pidfd::State::Exited(code) if started || code != SIGKILL_CODE => {
                self.report_exit(watch, Origin::Recovered, Some(Exit { code, at: None }), None);
            }
            _ => {
                let not = if started { "" } else { ", nor whether it was started" };
                let error = no_code(&format!("the exit code is not known{not}: {how}"));
                self.report_exit(watch, Origin::Gap, None, Some(error.caused_by(why)));
            }
        }
    }

    /// Gives the message to the callers that wait, then to hooks and queues. Only the first message
    /// of a watch counts: a process exits once.
    fn publish(&self, watch: &Arc<Watch>, body: Body) {
        let message = Message::new(Body {
            namespace: watch.key.namespace.clone(),
            container_id: watch.key.container.clone(),
            exec_id: watch.key.exec.clone(),
            pid: Some(watch.pid),
            generation: generation::number(&watch.generation()),
            ..body
        });
        if watch.set_exit(&message) {
            let message = watch.with_output_lost(message);
            self.0.bus.publish(&message, Some(watch.take_after_exit(&self.0.bus)));
            self.drop_displaced(watch);
            if watch.key.is_first() {
                self.count_report();
            }
        }
    }
}

/// The kind of the message that reports its exit.
fn kind(watch: &Watch) -> MessageKind {
    if watch.key.is_first() { MessageKind::Exit } else { MessageKind::ExecExit }
}

fn no_code(what: &str) -> Error {
    Error::new(ErrorKind::DataLoss, what)
}

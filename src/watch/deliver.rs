//! Telling how a process ended: to those who wait for it, to hooks and queues.

use std::sync::Arc;

use super::pidfd::Sight;
use super::process::Watch;
use super::watches::Watches;
use crate::error::{Error, ErrorKind};
use crate::message::{Body, Message, MessageKind, Origin};
use crate::record::{End, KILLED, generation_number};
use crate::rpc::tasks::Exit;

impl Watches {
    /// Tells an exit, or why its code is not known.
    pub(super) fn deliver(
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
            ..self.0.bus.body(MessageKind::Exit)
        };
        self.tell(watch, body);
    }

    /// Tells that the process was created and never ran.
    pub(super) fn never_ran(&self, watch: &Arc<Watch>, origin: Origin) {
        let why = Error::new(ErrorKind::NotFound, "the container's process never ran");
        let body = Body {
            origin,
            error: Some(why.clone()),
            start_error: Some(why),
            ..self.0.bus.body(MessageKind::Exit)
        };
        self.tell(watch, body);
    }

    /// Tells what was found out afterwards.
    pub(super) fn recovered(&self, watch: &Arc<Watch>, end: End) {
        self.tell_end(watch, Origin::Recovered, end);
    }

    /// Tells how a process has ended.
    pub(crate) fn tell_end(&self, watch: &Arc<Watch>, origin: Origin, end: End) {
        match end {
            End::Exit(exit) => self.deliver(watch, origin, Some(exit), None),
            End::NeverRan => self.never_ran(watch, origin),
            End::Unknown => {
                let what = "the exit code is not known: nobody saw it, says the record";
                self.deliver(watch, Origin::Gap, None, Some(lost(what)));
            }
        }
    }

    /// Gives the message to all who wait, then to hooks and queues. The first one counts: a process
    /// ends once.
    fn tell(&self, watch: &Arc<Watch>, body: Body) {
        let message = Message::new(Body {
            namespace: watch.key.namespace.clone(),
            container_id: watch.key.container.clone(),
            pid: Some(watch.process.pid),
            generation: generation_number(&watch.process.generation()),
            ..body
        });
        if watch.set_exit(&message) {
            let message = watch.with_output_lost(message);
            self.0.bus.publish(&message, Some(watch.take_after(&self.0.bus)));
            self.end_displaced(watch);
            self.count_told();
        }
    }

    /// Tells of a process that containerd knows nothing of any more. What it says of the end in events
    /// is then a guess of its own: only the kernel may know.
    pub(super) fn tell_gone(&self, watch: &Arc<Watch>, how: &str, why: Error) {
        if watch.is_over() {
            return;
        }
        let started = watch.is_started();
        match watch.process.look() {
            Sight::Ended(code) if started || code != KILLED => {
                self.deliver(watch, Origin::Recovered, Some(Exit { code, at: None }), None);
            }
            _ => {
                let not = if started { "" } else { ", nor whether it was started" };
                let error = lost(&format!("the exit code is not known{not}: {how}")).caused_by(why);
                self.deliver(watch, Origin::Gap, None, Some(error));
            }
        }
    }
}

fn lost(what: &str) -> Error {
    Error::new(ErrorKind::DataLoss, what)
}

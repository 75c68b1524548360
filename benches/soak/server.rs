//! A server of our own. It has every container that a client asks for, running, and answers their
//! Waits only when it is told to.

use std::sync::{Arc, Mutex};

use grpcio::{EnvBuilder, RpcContext, ServerBuilder, ServerCredentials, ServiceBuilder, UnarySink};

use crate::job::told;
use crate::wire::{Raw, bytes, first_text, message, number, unary};

static VERSION: Raw = unary("/containerd.services.version.v1.Version/Version");
static CONTAINER: Raw = unary("/containerd.services.containers.v1.Containers/Get");
static TASK: Raw = unary("/containerd.services.tasks.v1.Tasks/Get");
static WAIT: Raw = unary("/containerd.services.tasks.v1.Tasks/Wait");

/// containerd's number for a task that runs.
const RUNNING: u64 = 2;

/// A Wait without an answer yet, and its container.
type Waiter = (String, UnarySink<Vec<u8>>);

/// The exit code of a container: the number at the end of its id.
pub fn code(id: &str) -> u32 {
    let number = id.rsplit('-').next().and_then(|number| number.parse::<u32>().ok());
    number.map_or(255, |number| number % 251)
}

/// The job: listens at a path and prints that. When it receives a line, it answers every Wait with
/// an exit, and prints how many there were.
pub fn run(arguments: &[String]) {
    let [path] = arguments else { panic!("{arguments:?}") };
    let waits = Arc::<Mutex<Vec<Waiter>>>::default();
    let service = ServiceBuilder::new()
        .add_unary_handler(&VERSION, |cx, _, sink| answer(&cx, sink, bytes(1, "soak")))
        .add_unary_handler(&CONTAINER, |cx, request: Vec<u8>, sink| {
            let id = first_text(&request);
            let label = message(2, &[bytes(1, "io.ctrd.generation"), bytes(2, "soak")]);
            answer(&cx, sink, message(1, &[bytes(1, id), label]));
        })
        .add_unary_handler(&TASK, |cx, request: Vec<u8>, sink| {
            let id = first_text(&request);
            // The id of an existing process, so that the client can hold a descriptor of it.
            let pid = number(3, u64::from(std::process::id()));
            answer(&cx, sink, message(1, &[bytes(2, id), pid, number(4, RUNNING)]));
        })
        .add_unary_handler(&WAIT, {
            let waits = waits.clone();
            move |_, request: Vec<u8>, sink| {
                waits.lock().unwrap().push((first_text(&request), sink));
            }
        })
        .build();
    let environment = Arc::new(EnvBuilder::new().cq_count(1).build());
    let mut server = ServerBuilder::new(environment).register_service(service).build().unwrap();
    server.add_listening_port(format!("unix:{path}"), ServerCredentials::insecure()).unwrap();
    server.start();
    println!("listening");
    let mut answers = Vec::new();
    while told().is_some() {
        let waits = std::mem::take(&mut *waits.lock().unwrap());
        println!("{}", waits.len());
        // Without a time it would not be an exit.
        let at = message(2, &[number(1, 1_764_000_000)]);
        answers.extend(waits.into_iter().map(|(id, sink)| {
            sink.success([number(1, u64::from(code(&id))), at.clone()].concat())
        }));
    }
}

fn answer(context: &RpcContext<'_>, sink: UnarySink<Vec<u8>>, message: Vec<u8>) {
    let sent = sink.success(message);
    context.spawn(async move { drop(sent.await) });
}

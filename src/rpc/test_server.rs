//! A server of our own for tests within the crate: for tests that look at the requests, and for
//! tests with many containers that need not run.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::SinkExt;
use grpcio::{
    EnvBuilder, Marshaller, Method, MethodType, RpcStatus, RpcStatusCode, Server, ServerBuilder,
    ServerCredentials, ServiceBuilder, WriteFlags,
};
use protobuf::well_known_types::any::Any;
use protobuf::well_known_types::timestamp::Timestamp;
use protobuf::{Message, MessageField};

use super::wire::containers::{
    Container, GetContainerRequest, GetContainerResponse, ListContainerMessage,
    ListContainersRequest,
};
use super::wire::task_types::{Process, Status};
use super::wire::tasks::{GetRequest, GetResponse, ListTasksRequest, ListTasksResponse};
use crate::call::Limits;
use crate::wait::block_on;

/// A server that listens until it is dropped.
pub(crate) struct TestServer {
    directory: PathBuf,
    server: Server,
}

impl TestServer {
    pub(super) fn new(service: ServiceBuilder) -> TestServer {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(format!("ctrd-server-{process}-{number}"));
        fs::create_dir(&directory).unwrap();
        let socket = directory.join("socket");
        let environment = Arc::new(EnvBuilder::new().cq_count(1).build());
        let mut server =
            ServerBuilder::new(environment).register_service(service.build()).build().unwrap();
        let address = format!("unix:{}", socket.display());
        server.add_listening_port(address, ServerCredentials::insecure()).unwrap();
        server.start();
        TestServer { directory, server }
    }

    /// A server that has the records and the tasks with these ids, in each namespace.
    pub(crate) fn of(records: Vec<String>, tasks: Vec<String>) -> TestServer {
        let service = serve(
            with_records(records),
            "/containerd.services.tasks.v1.Tasks/List",
            move |_: ListTasksRequest| {
                let task = |id: &String| Process { id: id.clone(), ..Default::default() };
                let tasks = tasks.iter().map(task).collect();
                Ok(ListTasksResponse { tasks, ..Default::default() })
            },
        );
        TestServer::new(service)
    }

    /// A server that has this many containers, with ids from `c0` on and running processes. The
    /// records together are larger than a message may be.
    pub(crate) fn of_many(count: usize) -> TestServer {
        let spec = || Any { value: vec![b' '; 4096], ..Any::default() };
        let record = move |n: usize| ListContainerMessage {
            container: MessageField::some(Container {
                id: format!("c{n}"),
                spec: MessageField::some(spec()),
                ..Container::default()
            }),
            ..ListContainerMessage::default()
        };
        let service = serve_stream(
            ServiceBuilder::new(),
            "/containerd.services.containers.v1.Containers/ListStream",
            move |_: ListContainersRequest| (0..count).map(record),
        );
        let service = serve(
            service,
            "/containerd.services.tasks.v1.Tasks/List",
            move |_: ListTasksRequest| {
                let task = |n: usize| Process {
                    id: format!("c{n}"),
                    pid: 1,
                    status: Status::RUNNING.into(),
                    ..Process::default()
                };
                let tasks = (0..count).map(task).collect();
                Ok(ListTasksResponse { tasks, ..ListTasksResponse::default() })
            },
        );
        TestServer::new(service)
    }

    /// A server with a container whose process was created. The first request sees it so; every
    /// later one sees it killed.
    pub(crate) fn of_killed(id: &str) -> TestServer {
        let looks = Arc::new(AtomicU32::new(0));
        let service = serve(
            with_records(vec![id.into()]),
            "/containerd.services.tasks.v1.Tasks/Get",
            move |_: GetRequest| {
                let mut process =
                    Process { pid: 1, status: Status::CREATED.into(), ..Default::default() };
                if looks.fetch_add(1, Ordering::SeqCst) > 0 {
                    process.status = Status::STOPPED.into();
                    process.exit_status = 137;
                    let at = Timestamp { seconds: 1_764_000_000, ..Default::default() };
                    process.exited_at = MessageField::some(at);
                }
                Ok(GetResponse { process: MessageField::some(process), ..Default::default() })
            },
        );
        TestServer::new(service)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let limits = Limits::within(Duration::from_secs(30));
        let _ = block_on(&limits, self.server.shutdown());
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn with_records(ids: Vec<String>) -> ServiceBuilder {
    let get = "/containerd.services.containers.v1.Containers/Get";
    serve(ServiceBuilder::new(), get, move |request: GetContainerRequest| {
        if !ids.contains(&request.id) {
            return Err(RpcStatus::new(RpcStatusCode::NOT_FOUND));
        }
        let container = Container { id: request.id, ..Default::default() };
        let container = MessageField::some(container);
        Ok(GetContainerResponse { container, ..Default::default() })
    })
}

/// Makes the server answer a method with many messages.
fn serve_stream<Q: Message, R: Message, I>(
    service: ServiceBuilder,
    name: &'static str,
    answer: impl Fn(Q) -> I + Clone + Send + 'static,
) -> ServiceBuilder
where
    I: Iterator<Item = R> + Send + 'static,
{
    let method: Method<Q, R> = Method {
        ty: MethodType::ServerStreaming,
        name,
        req_mar: Marshaller { ser: grpcio::pb_ser, de: grpcio::pb_de },
        resp_mar: Marshaller { ser: grpcio::pb_ser, de: grpcio::pb_de },
    };
    service.add_server_streaming_handler(&method, move |client, request: Q, mut sink| {
        let messages = answer(request);
        client.spawn(async move {
            for message in messages {
                if sink.send((message, WriteFlags::default())).await.is_err() {
                    return;
                }
            }
            let _ = sink.close().await;
        });
    })
}

/// Makes the server answer a method.
pub(super) fn serve<Q: Message, R: Message>(
    service: ServiceBuilder,
    name: &'static str,
    answer: impl Fn(Q) -> Result<R, RpcStatus> + Clone + Send + 'static,
) -> ServiceBuilder {
    let method: Method<Q, R> = Method {
        ty: MethodType::Unary,
        name,
        req_mar: Marshaller { ser: grpcio::pb_ser, de: grpcio::pb_de },
        resp_mar: Marshaller { ser: grpcio::pb_ser, de: grpcio::pb_de },
    };
    service.add_unary_handler(&method, move |client, request: Q, sink| {
        let sent = match answer(request) {
            Ok(response) => sink.success(response),
            Err(status) => sink.fail(status),
        };
        client.spawn(async move { drop(sent.await) });
    })
}

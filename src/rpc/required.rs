//! Tests that no sub-message is ever omitted. containerd and its shims dereference some without a
//! check, so a missing one ends the daemon or the container (containerd 1.6 to 2.1).
//!
//! A server of our own receives the requests over a socket and checks them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grpcio::ServiceBuilder;
use protobuf::Message;
use protobuf::well_known_types::empty::Empty;

use super::content::Descriptor;
use super::test_server::{TestServer, serve};
use super::wire::containers::{
    CreateContainerRequest, CreateContainerResponse, UpdateContainerRequest,
    UpdateContainerResponse,
};
use super::wire::content::{UpdateRequest, UpdateResponse};
use super::wire::diff::{ApplyRequest, ApplyResponse};
use super::wire::events::PublishRequest;
use super::wire::images::{
    CreateImageRequest, CreateImageResponse, UpdateImageRequest, UpdateImageResponse,
};
use super::wire::leases::AddResourceRequest;
use super::wire::sandbox::{StoreCreateRequest, StoreCreateResponse};
use super::wire::tasks::{ExecProcessRequest, UpdateTaskRequest};
use super::{
    Any, Connection, Ctx, containers, content, diff, events, images, leases, sandboxes, tasks,
};
use crate::call::Limits;
use crate::wait::block_on;

/// The methods whose request must have a sub-message.
const REQUIRING: [&str; 15] = [
    "/containerd.services.containers.v1.Containers/Create",
    "/containerd.services.containers.v1.Containers/Update",
    "/containerd.services.content.v1.Content/Update",
    "/containerd.services.diff.v1.Diff/Apply",
    "/containerd.services.events.v1.Events/Forward",
    "/containerd.services.events.v1.Events/Publish",
    "/containerd.services.images.v1.Images/Create",
    "/containerd.services.images.v1.Images/Update",
    "/containerd.services.leases.v1.Leases/AddResource",
    "/containerd.services.namespaces.v1.Namespaces/Create",
    "/containerd.services.namespaces.v1.Namespaces/Update",
    "/containerd.services.sandbox.v1.Store/Create",
    "/containerd.services.snapshots.v1.Snapshots/Update",
    "/containerd.services.tasks.v1.Tasks/Exec",
    "/containerd.services.tasks.v1.Tasks/Update",
];

/// For each method that was called: whether every request was complete.
type Seen = Arc<Mutex<BTreeMap<&'static str, bool>>>;

/// Makes the server accept a method, and record whether its requests are complete.
fn take<Q: Message, R: Message>(
    service: ServiceBuilder,
    seen: &Seen,
    name: &'static str,
    is_whole: fn(&Q) -> bool,
) -> ServiceBuilder {
    let seen = seen.clone();
    serve(service, name, move |request: Q| {
        *seen.lock().unwrap().entry(name).or_insert(true) &= is_whole(&request);
        Ok(R::new())
    })
}

fn server(seen: &Seen) -> TestServer {
    let mut service = ServiceBuilder::new();
    service = take::<CreateContainerRequest, CreateContainerResponse>(
        service,
        seen,
        "/containerd.services.containers.v1.Containers/Create",
        |request| request.container.spec.is_some() && request.container.runtime.is_some(),
    );
    service = take::<UpdateContainerRequest, UpdateContainerResponse>(
        service,
        seen,
        "/containerd.services.containers.v1.Containers/Update",
        |request| request.container.is_some() && !request.update_mask.paths.is_empty(),
    );
    service = take::<UpdateRequest, UpdateResponse>(
        service,
        seen,
        "/containerd.services.content.v1.Content/Update",
        |request| request.info.is_some(),
    );
    service = take::<ApplyRequest, ApplyResponse>(
        service,
        seen,
        "/containerd.services.diff.v1.Diff/Apply",
        |request| request.diff.is_some(),
    );
    service = take::<PublishRequest, Empty>(
        service,
        seen,
        "/containerd.services.events.v1.Events/Publish",
        |request| request.event.is_some(),
    );
    service = take::<CreateImageRequest, CreateImageResponse>(
        service,
        seen,
        "/containerd.services.images.v1.Images/Create",
        |request| request.image.target.is_some(),
    );
    service = take::<UpdateImageRequest, UpdateImageResponse>(
        service,
        seen,
        "/containerd.services.images.v1.Images/Update",
        |request| request.image.target.is_some(),
    );
    service = take::<AddResourceRequest, Empty>(
        service,
        seen,
        "/containerd.services.leases.v1.Leases/AddResource",
        |request| request.resource.is_some(),
    );
    service = take::<StoreCreateRequest, StoreCreateResponse>(
        service,
        seen,
        "/containerd.services.sandbox.v1.Store/Create",
        |request| request.sandbox.spec.is_some() && request.sandbox.runtime.is_some(),
    );
    service = take::<ExecProcessRequest, Empty>(
        service,
        seen,
        "/containerd.services.tasks.v1.Tasks/Exec",
        |request| request.spec.is_some(),
    );
    service = take::<UpdateTaskRequest, Empty>(
        service,
        seen,
        "/containerd.services.tasks.v1.Tasks/Update",
        |request| request.resources.is_some(),
    );
    TestServer::new(service)
}

/// Sends every request that needs a sub-message, with as little in it as the functions allow.
fn call_all(ctx: &Ctx) {
    // The answers are empty, so some calls fail.
    drop(containers::create(ctx, containers::Container::default()));
    drop(containers::set_labels(ctx, "", &[("k".into(), "v".into())]));
    drop(content::set_labels(ctx, "", &[]));
    drop(diff::apply(ctx, &Descriptor::default(), &[]));
    let image = images::Image::new("", Descriptor::default(), HashMap::new());
    drop(images::create(ctx, image.clone()));
    drop(images::update(ctx, image, &[]));
    drop(leases::add_snapshot(ctx, "", "", ""));
    drop(events::publish(ctx, "", Any::default()).and_then(|answer| block_on(&ctx.limits, answer)));
    drop(sandboxes::create(ctx, "", "", Any::default()));
    drop(tasks::exec(ctx, tasks::Exec::default()));
    drop(containers::set_spec(ctx, "", Any::default()));
    drop(tasks::update(ctx, "", Vec::new()));
}

/// The methods that the files of this folder declare.
fn declared() -> BTreeSet<String> {
    let mut declared = BTreeSet::new();
    for entry in fs::read_dir("src/rpc").unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let Some((_, table)) = text.split_once("\nmethods! { \"") else { continue };
        let (service, table) = table.split_once('"').unwrap();
        let (table, _) = table.split_once("\n}").unwrap();
        for line in table.lines().filter(|line| line.contains(" = ")) {
            declared.insert(format!("/{service}/{}", line.split('"').nth(1).unwrap()));
        }
    }
    declared
}

#[test]
fn no_sub_message_is_omitted() {
    let seen = Seen::default();
    let server = server(&seen);
    let limits = Limits::within(Duration::from_secs(30));
    call_all(&Ctx::new(&Arc::new(Connection::new(&server.socket())), "default", limits));
    drop(server);

    let seen = seen.lock().unwrap();
    for (method, whole) in &*seen {
        assert!(whole, "{method} was sent without a sub-message");
    }
    // Every method that the crate can call was called here. A new method has to be added here.
    let declared = declared();
    assert!(declared.contains("/containerd.services.version.v1.Version/Version"));
    let expected: Vec<&str> =
        REQUIRING.into_iter().filter(|method| declared.contains(*method)).collect();
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), expected);
}

//! Images: pulled from a real registry into a real containerd, also through a proxy that damages the
//! registry's answers; looked up by name; applied to the specifications of containers.

mod ground;

use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{
    Call, Cancel, Client, ContainerConfig, Credentials, Error, ErrorKind, Image, Progress,
    ProgressStatus, PullConfig, RemoveImageConfig, default_spec,
};
use serde_json::{Value, json};

use ground::faulty_proxy::{BIG, BlobFault, FaultyProxy};
use ground::image::{Recipe, architecture, foreign_architecture};
use ground::plot::{Plot, client_behind, proxy_of, within};
use ground::proxy::Fault;
use ground::registry::{PASSWORD, USER};
use ground::{Ground, Holdings, unique, wait_until};

fn config(reference: &str) -> PullConfig {
    PullConfig::new(reference)
}

fn pull(client: &Client, config: &PullConfig, call: &Call) -> Result<Image, Error> {
    client.pull_image(config, &mut |_| {}, call)
}

/// A call in a namespace of its own.
fn call(namespace: &str) -> Call {
    Call::new().namespace(namespace).timeout(Duration::from_secs(120))
}

/// Pushes an image with big layers that no other test uses, because namespaces share content.
fn push(ground: &Ground, layers: usize) -> String {
    static SIZES: Mutex<usize> = Mutex::new(BIG);
    let mut size = SIZES.lock().unwrap();
    let mut next = || {
        *size += 4096;
        *size
    };
    let more_layers = (0..layers).map(|_| next()).collect();
    let name = unique("image");
    let recipe = Recipe { more_layers, env: vec![name.clone()], ..Recipe::default() };
    ground.registry().push(&name, "latest", &recipe)
}

/// Collects the garbage of a namespace, and checks that nothing is left in it.
#[track_caller]
fn assert_empty(ground: &Ground, namespace: &str) {
    let lease = unique("collect");
    ground.ctr(&["-n", namespace, "leases", "create", "--id", &lease]);
    ground.ctr(&["-n", namespace, "leases", "rm", "--sync", &lease]);
    let Holdings { images, blobs, ingests, leases, snapshots, active_snapshots, .. } =
        ground.holdings(namespace);
    assert_eq!([images, blobs, ingests, leases, snapshots, active_snapshots], [0; 6]);
}

#[test]
fn other_clients_can_use_what_is_pulled() {
    let ground = Ground::get();
    let client = ground.client();
    let namespace = unique("pull");
    let call = call(&namespace);
    let recipe = Recipe {
        labels: vec![
            ("containerd.io/gc.root".into(), "x".into()),
            ("io.cri-containerd.image".into(), "managed".into()),
        ],
        ..Recipe::default()
    };
    let reference = ground.registry().push(&unique("pull"), "v1", &recipe);

    let mut seen: Vec<Vec<Progress>> = Vec::new();
    let caller = thread::current().id();
    let image = client
        .pull_image(
            &config(&reference),
            &mut |progress| {
                assert_eq!(thread::current().id(), caller);
                seen.push(progress.to_vec());
            },
            &call,
        )
        .unwrap();
    assert_eq!(image.name(), reference);
    assert_eq!(format!("sha256:{}", image.id()), image.digest()[.."sha256:".len() + 12]);
    assert!(image.labels().is_empty(), "{:?}", image.labels());

    let last = seen.last().unwrap();
    let kinds: Vec<&str> =
        last[1..].iter().map(|item| item.reference().split('-').next().unwrap()).collect();
    assert_eq!(last[0].reference(), reference);
    assert_eq!(last[0].status(), ProgressStatus::Resolved);
    assert_eq!(kinds, ["index", "manifest", "config", "layer", "layer", "layer"]);
    for item in &last[1..] {
        assert!(matches!(item.status(), ProgressStatus::Done | ProgressStatus::Exists), "{item:?}");
        assert!(item.offset() == item.total() && item.total() > 0, "{item:?}");
    }
    // The size of an image does not include its index.
    let total: u64 = last[2..].iter().map(|item| item.total()).sum();
    assert_eq!(image.size(), total);

    let listed = ground.ctr(&["-n", &namespace, "images", "check"]);
    let row = listed.lines().find(|row| row.starts_with(&reference)).unwrap();
    assert!(row.contains("complete (4/4)") && row.trim_end().ends_with("true"), "{listed}");
    let holdings = ground.holdings(&namespace);
    assert!(holdings.leases == 0 && holdings.active_snapshots == 0, "{holdings:?}");
    assert_eq!((holdings.images, holdings.snapshots, holdings.ingests), (1, 3, 0));

    let again = pull(&client, &config(&reference), &call).unwrap();
    assert_eq!((again.digest(), again.size()), (image.digest(), image.size()));
    let got = client.get_image(&reference, &call).unwrap();
    assert_eq!((got.digest(), got.size()), (image.digest(), image.size()));
    // Another client, which has not pulled the image, sees the same.
    let listed = ground.client().list_images(&[], &call).unwrap();
    assert_eq!((listed.len(), listed[0].size(), listed[0].id()), (1, image.size(), image.id()));

    client.remove_image(&reference, &RemoveImageConfig::new().sync(true), &call).unwrap();
    assert_empty(ground, &namespace);
    for error in [
        client.get_image(&reference, &call).unwrap_err(),
        client.remove_image(&reference, &RemoveImageConfig::new().sync(true), &call).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(&reference), "{error}");
    }
}

#[test]
fn many_pulls_of_one_image_fetch_it_once() {
    let ground = Ground::get();
    let proxy = FaultyProxy::start(ground.registry().host(), BlobFault::None);
    let namespace = unique("many");
    let call = call(&namespace);
    let reference = proxy.reference(&push(ground, 3));
    let config = config(&reference);
    let client = ground.client();
    thread::scope(|scope| {
        let pulls: Vec<_> =
            (0..20).map(|_| scope.spawn(|| pull(&client, &config, &call))).collect();
        for pull in pulls {
            pull.join().unwrap().unwrap();
        }
    });
    let requests = proxy.requests();
    let mut gets: Vec<_> = requests.iter().filter(|request| request.starts_with("GET")).collect();
    let all = gets.len();
    gets.sort();
    gets.dedup();
    assert_eq!(gets.len(), all, "something was fetched twice");
    let holdings = ground.holdings(&namespace);
    assert_eq!((holdings.leases, holdings.ingests, holdings.active_snapshots), (0, 0, 0));
    client.remove_image(&reference, &RemoveImageConfig::new().sync(true), &call).unwrap();
    assert_empty(ground, &namespace);
}

#[test]
fn garbage_collection_leaves_a_pull_alone() {
    let ground = Ground::get();
    let client = ground.client();
    let (namespace, over) = (unique("collect"), AtomicBool::new(false));
    let call = call(&namespace);
    let (one, other) = (push(ground, 2), push(ground, 1));
    thread::scope(|scope| {
        let collecting = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                pull(&client, &config(&other), &call).unwrap();
                client.remove_image(&other, &RemoveImageConfig::new().sync(true), &call).unwrap();
            }
        });
        for _ in 0..10 {
            pull(&client, &config(&one), &call).unwrap();
            let check = ground.ctr(&["-n", &namespace, "images", "check", &format!("name=={one}")]);
            assert!(check.contains("complete ("), "{check}");
            client.remove_image(&one, &RemoveImageConfig::new().sync(true), &call).unwrap();
        }
        over.store(true, Ordering::SeqCst);
        collecting.join().unwrap();
    });
    assert_empty(ground, &namespace);
}

#[test]
fn pulls_from_a_private_registry_with_credentials() {
    let ground = Ground::get();
    let registry = ground.private_registry();
    let reference = registry.push("private", "latest", &Recipe::default());
    let client = ground.client();
    let namespace = unique("private");
    let as_user = |secret: &str| config(&reference).credentials(Credentials::new(USER, secret));
    for config in [config(&reference), as_user("wrong")] {
        let error = pull(&client, &config, &call(&namespace)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert_eq!(error.failed_step(), Some("resolve"));
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    pull(&client, &as_user(PASSWORD), &call(&namespace)).unwrap();
}

#[test]
fn chooses_the_platform_or_says_which_there_are() {
    let ground = Ground::get();
    let client = ground.client();
    let namespace = unique("platform");
    let call = call(&namespace);
    let name = unique("foreign");
    let recipe = Recipe { native: false, ..Recipe::default() };
    let in_index = ground.registry().push(&name, "index", &recipe);
    // The second tag refers to a manifest, so that only the configuration names the platform.
    let alone = {
        let mut image = recipe.make();
        let manifest = image.manifests.remove(0);
        ground.registry().push_manifest(&name, "alone", &manifest);
        format!("{}/{name}:alone", ground.registry().host())
    };
    for reference in [&in_index, &alone] {
        let error = pull(&client, &config(reference), &call).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().starts_with("platform: "), "{error}");
        assert!(error.message().contains(&format!("linux/{}", architecture())), "{error}");
        assert!(error.message().contains(&format!("linux/{}", foreign_architecture())), "{error}");
    }
    assert_empty(ground, &namespace);

    let foreign = config(&in_index).platform(format!("linux/{}", foreign_architecture()));
    let image = pull(&client, &foreign, &call).unwrap();
    assert_eq!(ground.holdings(&namespace).snapshots, 1);
    // It is listed although nothing of it is for this machine.
    let listed = client.list_images(&[], &call).unwrap();
    assert_eq!((listed.len(), listed[0].digest()), (1, image.digest()));
    assert!(listed[0].size() < image.size());
    for platform in ["linux", "linux/", "linux/amd64/v1/x"] {
        let error = pull(&client, &config(&in_index).platform(platform), &call).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().starts_with("platform: "), "{error}");
    }
}

#[test]
fn lists_damaged_images_too() {
    let ground = Ground::get();
    let client = ground.client();
    let namespace = unique("damaged");
    let call = call(&namespace);
    let reference = ground.registry().push(&unique("damaged"), "latest", &Recipe::default());
    let image = pull(&client, &config(&reference), &call).unwrap();
    ground.ctr(&["-n", &namespace, "content", "rm", image.digest()]);
    let listed = ground.client().list_images(&[], &call).unwrap();
    assert_eq!((listed.len(), listed[0].digest()), (1, image.digest()));
    // Another pull repairs it.
    pull(&client, &config(&reference), &call).unwrap();
    let listed = ground.client().list_images(&[], &call).unwrap();
    assert_eq!(listed[0].size(), image.size());
}

#[test]
fn fetches_without_unpacking_and_by_digest() {
    let ground = Ground::get();
    let client = ground.client();
    let namespace = unique("fetch");
    let call = call(&namespace);
    let name = unique("fetch");
    let reference = ground.registry().push(&name, "latest", &Recipe::default());
    let tagged = pull(&client, &config(&reference).unpack(false), &call).unwrap();
    let holdings = ground.holdings(&namespace);
    assert_eq!((holdings.snapshots, holdings.blobs), (0, 6));
    let by_digest = format!("{}/{name}@{}", ground.registry().host(), tagged.digest());
    let image = pull(&client, &config(&by_digest), &call).unwrap();
    assert_eq!((image.name(), image.digest()), (&*by_digest, tagged.digest()));
    assert_eq!(ground.holdings(&namespace).snapshots, 3);
}

#[test]
fn leaves_the_callers_lease_in_place() {
    let ground = Ground::get();
    let client = ground.client();
    let namespace = unique("lease");
    let lease = unique("mine");
    ground.ctr(&["-n", &namespace, "leases", "create", "--id", &lease]);
    let call = call(&namespace).lease(lease.as_str());
    let reference = push(ground, 1);
    pull(&client, &config(&reference), &call).unwrap();
    client
        .remove_image(
            &reference,
            &RemoveImageConfig::new().sync(true),
            &Call::new().namespace(namespace.as_str()),
        )
        .unwrap();
    let holdings = ground.holdings(&namespace);
    assert_eq!((holdings.leases, holdings.images, holdings.snapshots), (1, 0, 4));
    ground.ctr(&["-n", &namespace, "leases", "rm", "--sync", &lease]);
    assert_empty(ground, &namespace);
}

#[test]
fn commits_no_damaged_content() {
    let ground = Ground::get();
    let client = ground.client();
    for fault in [BlobFault::Altered, BlobFault::Longer, BlobFault::Shorter] {
        let proxy = FaultyProxy::start(ground.registry().host(), fault);
        let namespace = unique("damaged");
        let reference = proxy.reference(&push(ground, 1));
        let error = pull(&client, &config(&reference), &call(&namespace)).unwrap_err();
        let kind =
            if fault == BlobFault::Shorter { ErrorKind::Unavailable } else { ErrorKind::DataLoss };
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        assert_eq!(error.failed_step(), Some("fetch layer"));
        assert_empty(ground, &namespace);
    }
}

#[test]
fn resumes_a_broken_download() {
    let ground = Ground::get();
    let proxy = FaultyProxy::start(ground.registry().host(), BlobFault::CutOnce);
    let namespace = unique("cut");
    let reference = proxy.reference(&push(ground, 1));
    pull(&ground.client(), &config(&reference), &call(&namespace)).unwrap();
    let requests = proxy.requests();
    let resumed = requests.iter().filter(|request| request.contains("bytes=")).count();
    assert_eq!(resumed, 1, "{requests:?}");
}

#[test]
fn a_pull_ends_when_its_call_or_its_client_does() {
    let ground = Ground::get();
    let proxy = FaultyProxy::start(ground.registry().host(), BlobFault::Stall);
    let reference = proxy.reference(&push(ground, 4));
    let config = config(&reference);
    let client = ground.client();
    // gRPC's threads have been started before they are counted.
    client.list_images(&[], &Call::new()).unwrap();
    let in_pull = || {
        let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = names.filter_map(|t| std::fs::read_to_string(t.path().join("comm")).ok());
        names.filter(|name| name.trim() == "ctrd-pull").count()
    };
    let stalled = |progress: &[Progress]| {
        let half = |item: &&Progress| {
            item.status() == ProgressStatus::Downloading && item.offset() >= BIG as u64 / 2
        };
        progress.iter().filter(half).count() == 3
    };

    let namespace = unique("cancel");
    let cancel = Cancel::new();
    let mut fired = None;
    let mut workers = 0;
    let fire = &mut |progress: &[Progress]| {
        if fired.is_none() && stalled(progress) {
            workers = in_pull();
            cancel.fire();
            fired = Some(Instant::now());
        }
    };
    let bounded = call(&namespace).cancel(&cancel);
    let error = client.pull_image(&config, fire, &bounded).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    // The layers below may or may not be unpacked by then.
    assert!(matches!(error.failed_step(), Some("fetch layer" | "unpack layers")), "{error}");
    assert!(fired.unwrap().elapsed() < Duration::from_secs(5), "{:?}", fired.unwrap().elapsed());
    assert!(workers >= 4, "this pull alone has four threads");
    assert_empty(ground, &namespace);

    let namespace = unique("deadline");
    let error = pull(&client, &config, &call(&namespace).timeout(Duration::from_secs(1)));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_empty(ground, &namespace);

    let namespace = unique("close");
    let mut closing = None;
    let close = &mut |progress: &[Progress]| {
        if closing.is_none() && stalled(progress) {
            let client = client.clone();
            closing = Some(thread::spawn(move || client.close(&Call::new())));
        }
    };
    let error = client.pull_image(&config, close, &call(&namespace)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    closing.unwrap().join().unwrap().unwrap();
    assert_empty(ground, &namespace);
}

#[test]
fn an_error_says_what_is_wrong_with_a_reference() {
    let ground = Ground::get();
    let client = ground.client();
    let short = format!("{}/a@sha256:12", ground.registry().host());
    for reference in ["", "A/B", "a b", "a:", &short] {
        for error in [
            pull(&client, &config(reference), &Call::new()).unwrap_err(),
            client.get_image(reference, &Call::new()).unwrap_err(),
            client.remove_image(reference, &RemoveImageConfig::new(), &Call::new()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{reference}");
            assert!(error.message().starts_with("reference: "), "{error}");
        }
    }
    let missing = format!("{}/no/such:image", ground.registry().host());
    let namespace = unique("missing");
    let error = pull(&client, &config(&missing), &call(&namespace)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.failed_step(), Some("resolve"));
    assert_empty(ground, &namespace);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = pull(&client, &config(&format!("{nobody}/a")), &call(&namespace)).unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true), "{error}");
}

/// A namespace in which another client has given the image of `plot` these names.
fn tag(plot: &Plot, names: &[&str]) {
    for name in names {
        plot.ground.ctr(&["-n", &plot.namespace, "images", "tag", &plot.image, name]);
    }
}

#[test]
fn every_name_that_is_listed_can_be_used() {
    let plot = Plot::new();
    let client = &plot.client;
    let pulled = client.get_image(&plot.image, &Call::new()).unwrap();
    let full = "docker.io/library/busybox:9";
    tag(&plot, &["busybox:9", full, "corp/app:v1", "import-2026-01-01:v1", pulled.digest()]);
    let names: Vec<String> = client
        .list_images(&[], &Call::new())
        .unwrap()
        .into_iter()
        .map(|image| image.name().to_owned())
        .collect();
    assert_eq!(names.len(), 6, "{names:?}");
    for name in &names {
        assert_eq!(client.get_image(name, &Call::new()).unwrap().name(), name);
        let id = plot.create(plot.shell("exit 0").image(name));
        let record = plot.ground.ctr(&["-n", &plot.namespace, "containers", "info", &id]);
        let record: Value = serde_json::from_str(&record).unwrap();
        assert_eq!(record["Image"], name.as_str());
        plot.destroy(&id);
        client.image_spec(name, "c", &Call::new()).unwrap();
    }
    for (removed, name) in names.iter().enumerate() {
        client.remove_image(name, &RemoveImageConfig::new(), &Call::new()).unwrap();
        let left = client.list_images(&[], &Call::new()).unwrap();
        assert_eq!(left.len(), names.len() - removed - 1);
        assert!(left.iter().all(|image| image.name() != *name), "{name} is left: {left:?}");
    }
}

#[test]
fn the_exact_name_comes_before_the_completed_one() {
    let plot = Plot::new();
    let client = &plot.client;
    let full = "docker.io/library/busybox:9";
    tag(&plot, &["busybox:9", full]);
    let get = || client.get_image("busybox:9", &Call::new()).map(|image| image.name().to_owned());
    let image_of_a_new_container = || {
        let id = plot.create(plot.shell("exit 0").image("busybox:9").start(false));
        let record = plot.ground.ctr(&["-n", &plot.namespace, "containers", "info", &id]);
        plot.destroy(&id);
        serde_json::from_str::<Value>(&record).unwrap()["Image"].as_str().unwrap().to_owned()
    };
    assert_eq!(get().unwrap(), "busybox:9");
    assert_eq!(image_of_a_new_container(), "busybox:9");
    client.remove_image("busybox:9", &RemoveImageConfig::new(), &Call::new()).unwrap();
    assert_eq!(get().unwrap(), full);
    assert_eq!(image_of_a_new_container(), full);
    client.remove_image("busybox:9", &RemoveImageConfig::new(), &Call::new()).unwrap();
    for error in [
        get().unwrap_err(),
        client.remove_image("busybox:9", &RemoveImageConfig::new(), &Call::new()).unwrap_err(),
        client.image_spec("busybox:9", "c", &Call::new()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.message().contains("\"busybox:9\""), "{error}");
        assert!(error.message().contains(full), "{error}");
    }
}

#[test]
fn an_exact_name_takes_one_call() {
    let plot = Plot::new();
    tag(&plot, &["short", "docker.io/library/other:latest"]);
    let proxy = proxy_of(plot.ground);
    let client = client_behind(&plot, &proxy);
    for (name, get, remove) in [
        ("short", &["Images/Get"][..], &["Images/Delete"][..]),
        ("other", &["Images/Get", "Images/Get"], &["Images/Delete", "Images/Delete"]),
        (plot.image.as_str(), &["Images/Get"], &["Images/Delete"]),
    ] {
        // The first call reads the manifest for the image's size.
        client.get_image(name, &Call::new()).unwrap();
        proxy.take();
        client.get_image(name, &Call::new()).unwrap();
        assert_eq!(proxy.take(), get, "{name}");
        client.remove_image(name, &RemoveImageConfig::new(), &Call::new()).unwrap();
        assert_eq!(proxy.take(), remove, "{name}");
    }
}

/// An image with everything that a specification takes from an image.
fn recipe(user: &str) -> Recipe {
    Recipe {
        user: user.into(),
        entrypoint: vec!["/bin/sh".into(), "-c".into()],
        cmd: vec!["id -u; id -g; id -G; pwd; echo $A $B $IMAGE".into()],
        env: vec!["PATH=/bin".into(), "A=image".into(), "B=image".into(), unique("IMAGE=x")],
        working_dir: "/data".into(),
        ..Recipe::default()
    }
}

/// The specification of a container's record.
fn spec_of(plot: &Plot, id: &str) -> Value {
    let record = plot.ground.ctr(&["-n", &plot.namespace, "containers", "info", id]);
    serde_json::from_str::<Value>(&record).unwrap()["Spec"].clone()
}

/// How many read-only snapshots there are in a namespace.
fn views(plot: &Plot) -> usize {
    let snapshots = plot.ground.ctr(&["-n", &plot.namespace, "snapshots", "ls"]);
    snapshots.lines().filter(|row| row.trim_end().ends_with("View")).count()
}

#[test]
fn the_specification_of_an_image_is_the_one_that_a_create_makes() {
    for user in ["", "tester", "1000", "tester:staff", "1000:2000", "4242"] {
        let plot = Plot::with_recipe(&recipe(user));
        let before = plot.holdings();
        let id = unique("c");
        let json = plot.client.image_spec(&plot.image, &id, &Call::new()).unwrap();
        assert_eq!((plot.holdings(), views(&plot)), (before, 0), "{user:?}");
        plot.create(ContainerConfig::new(&id).image(&plot.image).start(false));
        let spec: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(spec_of(&plot, &id), spec, "{user:?}");
        plot.destroy(&id);
    }
}

#[test]
fn an_images_specification_can_be_edited_and_handed_back() {
    let plot = Plot::with_recipe(&recipe("tester"));
    let id = unique("c");
    let json = plot.client.image_spec(&plot.image, &id, &Call::new()).unwrap();
    let mut spec: Value = serde_json::from_str(&json).unwrap();
    spec["process"]["env"].as_array_mut().unwrap().push(json!("IMAGE=edited"));
    let config = ContainerConfig::new(id).image(&plot.image).spec_json(spec.to_string());
    let output = "1000\n1000\n1000 4 10 2000\n/data\nimage image edited\n";
    assert_eq!(plot.run(config), (Some(0), output.into()));
}

#[test]
fn an_image_is_applied_to_a_callers_specification() {
    let plot = Plot::with_recipe(&recipe("loner"));
    let id = unique("c");
    let mut spec: Value =
        serde_json::from_str(&default_spec(&plot.namespace, &id).unwrap()).unwrap();
    spec["process"]["env"] = json!(["B=caller", "IMAGE=caller"]);
    spec["hostname"] = json!("caller");
    let without_image = |args: &[&str]| {
        let config = ContainerConfig::new(&id).args(args.iter().copied());
        config.spec_json(spec.to_string()).apply_image(true)
    };
    let config = |args: &[&str]| without_image(args).image(&plot.image);
    let output = "1001\n2001\n2001 2000\n/data\nimage caller caller\n";
    assert_eq!(plot.run(config(&[])), (Some(0), output.into()));
    // The arguments follow the image's entry point.
    assert_eq!(plot.run(config(&["hostname; exit 3"])), (Some(3), "caller\n".into()));
    // Without the image, the specification is the caller's alone.
    let alone = config(&["/bin/sh", "-c", "id -u; pwd"]).apply_image(false);
    assert_eq!(plot.run(alone), (Some(0), "0\n/\n".into()));
    let no_image = without_image(&[]).rootfs("/");
    let error = plot.client.create_container(&no_image, &Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().starts_with("apply_image: "), "{error}");
}

#[test]
fn an_image_is_unpacked_for_its_specification_only_if_a_name_needs_its_files() {
    let ground = Ground::get();
    let client = ground.client();
    for (user, snapshots) in [("12:34", 0), ("tester", 3)] {
        let namespace = unique("fetched");
        let call = call(&namespace);
        let reference = ground.registry().push(&unique("fetched"), "latest", &recipe(user));
        pull(&client, &config(&reference).unpack(false), &call).unwrap();
        let json = client.image_spec(&reference, "c", &call).unwrap();
        let spec: Value = serde_json::from_str(&json).unwrap();
        let uid = if snapshots == 0 { 12 } else { 1000 };
        assert_eq!(spec["process"]["user"]["uid"], uid);
        assert_eq!(spec["linux"]["cgroupsPath"], format!("/{namespace}/c"));
        let holdings = ground.holdings(&namespace);
        assert_eq!((holdings.snapshots, holdings.active_snapshots), (snapshots, 0));
        client.remove_image(&reference, &RemoveImageConfig::new().sync(true), &call).unwrap();
        assert_empty(ground, &namespace);
    }
}

#[test]
fn an_image_without_a_command_has_a_specification_without_one() {
    let recipe = Recipe { cmd: Vec::new(), ..Recipe::default() };
    let plot = Plot::with_recipe(&recipe);
    let json = plot.client.image_spec(&plot.image, "c", &Call::new()).unwrap();
    let spec: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(spec["process"]["args"], Value::Null);
    assert_eq!(spec["process"]["env"][0], "PATH=/bin");
    for (argument, image, id) in [("image", "", "c"), ("id", "busybox", "a/b")] {
        let error = plot.client.image_spec(image, id, &Call::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().starts_with(&format!("{argument}: ")), "{error}");
    }
}

#[test]
fn a_specification_that_fails_leaves_no_snapshot_behind() {
    let plot = Plot::with_recipe(&recipe("no-such-user"));
    let before = plot.holdings();
    let error = plot.client.image_spec(&plot.image, "c", &Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert_eq!(error.failed_step(), Some("make the specification"));
    assert_eq!((plot.holdings(), views(&plot)), (before, 0));

    let proxy = proxy_of(plot.ground);
    let client = client_behind(&plot, &proxy);
    for fault in [Fault::Cut, Fault::CutAfter, Fault::Late(Duration::from_millis(300))] {
        let rule = proxy.at("Snapshots/View", fault);
        let error = client.image_spec(&plot.image, "c", &within(10)).unwrap_err();
        assert!(rule.has_fired());
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault:?}: {error}");
        assert_eq!(error.failed_step(), Some("view the image"));
        wait_until("the view is removed", || (plot.holdings(), views(&plot)) == (before, 0));
    }
}

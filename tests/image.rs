//! Pulling from a real registry into a real containerd, and through a proxy that spoils what the
//! registry sends.

mod ground;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{
    Call, Cancel, Client, Credentials, Error, ErrorKind, Image, Progress, ProgressStatus,
    PullConfig,
};

use ground::image::{Recipe, architecture, foreign_architecture};
use ground::registry::{PASSWORD, USER};
use ground::{Ground, Holdings, unique};

/// Blobs of at least this size are those that a [`Spoiler`] spoils.
const BIG: usize = 2 << 20;

fn config(reference: &str) -> PullConfig {
    PullConfig { reference: reference.into(), ..PullConfig::default() }
}

fn pull(client: &Client, config: &PullConfig, call: &Call) -> Result<Image, Error> {
    client.pull_image(config, &mut |_| {}, call)
}

/// A call in a namespace of its own.
fn call(namespace: &str) -> Call {
    Call::new().namespace(namespace).timeout(Duration::from_secs(120))
}

/// Pushes an image with big layers that no other test has, for content is shared by namespaces.
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

/// Has the garbage of a namespace collected, and makes sure that nothing else was there.
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
fn pulls_what_other_clients_take_for_an_image() {
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
    assert_eq!(image.name, reference);
    assert_eq!(format!("sha256:{}", image.id), image.digest[.."sha256:".len() + 12]);
    assert!(image.labels.is_empty(), "{:?}", image.labels);

    let last = seen.last().unwrap();
    let kinds: Vec<&str> =
        last[1..].iter().map(|item| item.reference.split('-').next().unwrap()).collect();
    assert_eq!(last[0].reference, reference);
    assert_eq!(last[0].status, ProgressStatus::Resolved);
    assert_eq!(kinds, ["index", "manifest", "config", "layer", "layer", "layer"]);
    for item in &last[1..] {
        assert!(matches!(item.status, ProgressStatus::Done | ProgressStatus::Exists), "{item:?}");
        assert!(item.offset == item.total && item.total > 0, "{item:?}");
    }
    // The index is no part of what the platform has.
    let total: u64 = last[2..].iter().map(|item| item.total).sum();
    assert_eq!(image.size, total);

    let listed = ground.ctr(&["-n", &namespace, "images", "check"]);
    let row = listed.lines().find(|row| row.starts_with(&reference)).unwrap();
    assert!(row.contains("complete (4/4)") && row.trim_end().ends_with("true"), "{listed}");
    let holdings = ground.holdings(&namespace);
    assert!(holdings.leases == 0 && holdings.active_snapshots == 0, "{holdings:?}");
    assert_eq!((holdings.images, holdings.snapshots, holdings.ingests), (1, 3, 0));

    let again = pull(&client, &config(&reference), &call).unwrap();
    assert_eq!((again.digest, again.size), (image.digest.clone(), image.size));
    let got = client.get_image(&reference, &call).unwrap();
    assert_eq!((got.digest, got.size), (image.digest.clone(), image.size));
    // One that has not seen the pull finds the same.
    let listed = ground.client().list_images(&[], &call).unwrap();
    assert_eq!((listed.len(), listed[0].size, &listed[0].id), (1, image.size, &image.id));

    client.remove_image(&reference, true, &call).unwrap();
    assert_empty(ground, &namespace);
    for error in [
        client.get_image(&reference, &call).unwrap_err(),
        client.remove_image(&reference, true, &call).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(&reference), "{error}");
    }
}

#[test]
fn many_pull_one_image_at_once() {
    let ground = Ground::get();
    let spoiler = Spoiler::start(ground.registry().host(), Fault::None);
    let namespace = unique("many");
    let call = call(&namespace);
    let config = config(&spoiler.instead(&push(ground, 3)));
    let client = ground.client();
    thread::scope(|scope| {
        let pulls: Vec<_> =
            (0..20).map(|_| scope.spawn(|| pull(&client, &config, &call))).collect();
        for pull in pulls {
            pull.join().unwrap().unwrap();
        }
    });
    let seen = spoiler.seen();
    let mut gets: Vec<_> = seen.iter().filter(|request| request.starts_with("GET")).collect();
    let all = gets.len();
    gets.sort();
    gets.dedup();
    assert_eq!(gets.len(), all, "something was fetched twice");
    let holdings = ground.holdings(&namespace);
    assert_eq!((holdings.leases, holdings.ingests, holdings.active_snapshots), (0, 0, 0));
    client.remove_image(&config.reference, true, &call).unwrap();
    assert_empty(ground, &namespace);
}

#[test]
fn stands_beside_a_collection_of_garbage() {
    let ground = Ground::get();
    let client = ground.client();
    let (namespace, over) = (unique("collect"), AtomicBool::new(false));
    let call = call(&namespace);
    let (one, other) = (push(ground, 2), push(ground, 1));
    thread::scope(|scope| {
        let collecting = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                pull(&client, &config(&other), &call).unwrap();
                client.remove_image(&other, true, &call).unwrap();
            }
        });
        for _ in 0..10 {
            pull(&client, &config(&one), &call).unwrap();
            let check = ground.ctr(&["-n", &namespace, "images", "check", &format!("name=={one}")]);
            assert!(check.contains("complete ("), "{check}");
            client.remove_image(&one, true, &call).unwrap();
        }
        over.store(true, Ordering::SeqCst);
        collecting.join().unwrap();
    });
    assert_empty(ground, &namespace);
}

#[test]
fn asks_a_private_registry_with_credentials() {
    let ground = Ground::get();
    let registry = ground.private_registry();
    let reference = registry.push("private", "latest", &Recipe::default());
    let client = ground.client();
    let namespace = unique("private");
    let user = |secret: &str| Some(Credentials { username: USER.into(), secret: secret.into() });
    for credentials in [None, user("wrong")] {
        let config = PullConfig { credentials, ..config(&reference) };
        let error = pull(&client, &config, &call(&namespace)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert_eq!(error.failed_step(), Some("resolve"));
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    let config = PullConfig { credentials: user(PASSWORD), ..config(&reference) };
    pull(&client, &config, &call(&namespace)).unwrap();
}

#[test]
fn chooses_the_platform_or_names_it() {
    let ground = Ground::get();
    let client = ground.client();
    let namespace = unique("platform");
    let call = call(&namespace);
    let name = unique("foreign");
    let recipe = Recipe { native: false, ..Recipe::default() };
    let in_index = ground.registry().push(&name, "index", &recipe);
    // The tag of the second is of the manifest: the configuration alone says for what it is.
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

    let platform = Some(format!("linux/{}", foreign_architecture()));
    let foreign = PullConfig { platform, ..config(&in_index) };
    let image = pull(&client, &foreign, &call).unwrap();
    assert_eq!(ground.holdings(&namespace).snapshots, 1);
    // Nothing of it is for this machine, and still it is listed.
    let listed = client.list_images(&[], &call).unwrap();
    assert_eq!((listed.len(), &listed[0].digest), (1, &image.digest));
    assert!(listed[0].size < image.size);
    for platform in ["linux", "linux/", "linux/amd64/v1/x"] {
        let config = PullConfig { platform: Some(platform.into()), ..config(&in_index) };
        let error = pull(&client, &config, &call).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().starts_with("platform: "), "{error}");
    }
}

#[test]
fn lists_what_is_damaged_as_well() {
    let ground = Ground::get();
    let client = ground.client();
    let namespace = unique("damaged");
    let call = call(&namespace);
    let reference = ground.registry().push(&unique("damaged"), "latest", &Recipe::default());
    let image = pull(&client, &config(&reference), &call).unwrap();
    ground.ctr(&["-n", &namespace, "content", "rm", &image.digest]);
    let listed = ground.client().list_images(&[], &call).unwrap();
    assert_eq!((listed.len(), &listed[0].digest), (1, &image.digest));
    // Pulled again, it is whole again.
    pull(&client, &config(&reference), &call).unwrap();
    let listed = ground.client().list_images(&[], &call).unwrap();
    assert_eq!(listed[0].size, image.size);
}

#[test]
fn fetches_without_unpacking_and_by_digest() {
    let ground = Ground::get();
    let client = ground.client();
    let namespace = unique("fetch");
    let call = call(&namespace);
    let name = unique("fetch");
    let reference = ground.registry().push(&name, "latest", &Recipe::default());
    let tagged =
        pull(&client, &PullConfig { no_unpack: true, ..config(&reference) }, &call).unwrap();
    let holdings = ground.holdings(&namespace);
    assert_eq!((holdings.snapshots, holdings.blobs), (0, 6));
    let by_digest = format!("{}/{name}@{}", ground.registry().host(), tagged.digest);
    let image = pull(&client, &config(&by_digest), &call).unwrap();
    assert_eq!((image.name, image.digest), (by_digest, tagged.digest));
    assert_eq!(ground.holdings(&namespace).snapshots, 3);
}

#[test]
fn leaves_the_callers_lease_to_the_caller() {
    let ground = Ground::get();
    let client = ground.client();
    let namespace = unique("lease");
    let lease = unique("mine");
    ground.ctr(&["-n", &namespace, "leases", "create", "--id", &lease]);
    let call = call(&namespace).lease(lease.as_str());
    let reference = push(ground, 1);
    pull(&client, &config(&reference), &call).unwrap();
    client.remove_image(&reference, true, &Call::new().namespace(namespace.as_str())).unwrap();
    let holdings = ground.holdings(&namespace);
    assert_eq!((holdings.leases, holdings.images, holdings.snapshots), (1, 0, 4));
    ground.ctr(&["-n", &namespace, "leases", "rm", "--sync", &lease]);
    assert_empty(ground, &namespace);
}

#[test]
fn commits_nothing_that_is_spoilt() {
    let ground = Ground::get();
    let client = ground.client();
    for fault in [Fault::Altered, Fault::Longer, Fault::Shorter] {
        let spoiler = Spoiler::start(ground.registry().host(), fault);
        let namespace = unique("spoilt");
        let reference = spoiler.instead(&push(ground, 1));
        let error = pull(&client, &config(&reference), &call(&namespace)).unwrap_err();
        let kind =
            if fault == Fault::Shorter { ErrorKind::Unavailable } else { ErrorKind::DataLoss };
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        assert_eq!(error.failed_step(), Some("fetch layer"));
        assert_empty(ground, &namespace);
    }
}

#[test]
fn goes_on_where_a_download_broke() {
    let ground = Ground::get();
    let spoiler = Spoiler::start(ground.registry().host(), Fault::CutOnce);
    let namespace = unique("cut");
    let reference = spoiler.instead(&push(ground, 1));
    pull(&ground.client(), &config(&reference), &call(&namespace)).unwrap();
    let seen = spoiler.seen();
    let resumed = seen.iter().filter(|request| request.contains("bytes=")).count();
    assert_eq!(resumed, 1, "{seen:?}");
}

#[test]
fn ends_when_it_is_told_to() {
    let ground = Ground::get();
    let spoiler = Spoiler::start(ground.registry().host(), Fault::Stall);
    let reference = spoiler.instead(&push(ground, 4));
    let config = config(&reference);
    let client = ground.client();
    // What gRPC starts, it has started.
    client.list_images(&[], &Call::new()).unwrap();
    let in_pull = || {
        let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = names.filter_map(|t| std::fs::read_to_string(t.path().join("comm")).ok());
        names.filter(|name| name.trim() == "ctrd-pull").count()
    };
    let stalled = |progress: &[Progress]| {
        let half = |item: &&Progress| {
            item.status == ProgressStatus::Downloading && item.offset >= BIG as u64 / 2
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
    // Whether the layers below are unpacked by then is a matter of luck.
    assert!(matches!(error.failed_step(), Some("fetch layer" | "unpack layers")), "{error}");
    assert!(fired.unwrap().elapsed() < Duration::from_secs(5), "{:?}", fired.unwrap().elapsed());
    assert!(workers >= 4, "other tests pull as well, but so many are of this one");
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
fn says_what_a_reference_lacks() {
    let ground = Ground::get();
    let client = ground.client();
    let short = format!("{}/a@sha256:12", ground.registry().host());
    for reference in ["", "A/B", "a b", "a:", &short] {
        for error in [
            pull(&client, &config(reference), &Call::new()).unwrap_err(),
            client.get_image(reference, &Call::new()).unwrap_err(),
            client.remove_image(reference, false, &Call::new()).unwrap_err(),
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

/// What is done to big blobs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// A byte is another.
    Altered,
    /// More comes than should, without a word on how much.
    Longer,
    /// Less comes than should, without a word on how much, whenever it is asked for.
    Shorter,
    /// The connection breaks in the middle, the first time.
    CutOnce,
    /// Nothing comes after the middle, and no end.
    Stall,
}

/// A proxy in front of the registry. It answers one request for each connection.
struct Spoiler {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Spoiler {
    fn start(upstream: &str, fault: Fault) -> Spoiler {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, ended) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (upstream, log, over) = (upstream.to_owned(), seen.clone(), ended.clone());
        let cut = AtomicBool::new(false);
        let thread = thread::spawn(move || {
            thread::scope(|scope| {
                for stream in listener.incoming() {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let (upstream, log, cut) = (&upstream, &log, &cut);
                    // The client may go whenever it likes.
                    scope.spawn(move || drop(relay(stream.unwrap(), upstream, fault, cut, log)));
                }
            });
        });
        Spoiler { address, seen, ended, thread: Some(thread) }
    }

    /// The same image by way of the proxy.
    fn instead(&self, reference: &str) -> String {
        format!("{}/{}", self.address, reference.split_once('/').unwrap().1)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Spoiler {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

fn relay(
    mut client: TcpStream,
    upstream: &str,
    fault: Fault,
    cut: &AtomicBool,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    for line in BufReader::new(client.try_clone()?).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let Some(first) = head.first() else { return Ok(()) };
    let range = head.iter().find(|line| line.to_lowercase().starts_with("range: "));
    log.lock().unwrap().push(format!("{first} {}", range.map_or("", String::as_str)));
    let is_head = first.starts_with("HEAD");

    let mut server = TcpStream::connect(upstream)?;
    let own = |line: &&String| {
        let line = line.to_lowercase();
        // Without a range, so that what is shorter does not come piece by piece.
        let whole = fault == Fault::Shorter && line.starts_with("range:");
        !(whole || line.starts_with("host:") || line.starts_with("connection:"))
    };
    let mut request: String = head.iter().filter(own).map(|line| format!("{line}\r\n")).collect();
    request.push_str(&format!("Host: {upstream}\r\nConnection: close\r\n\r\n"));
    server.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = answer.split_off(split);
    let mut head = String::from_utf8(answer).unwrap();
    if is_head || body.len() < BIG {
        client.write_all(head.as_bytes())?;
        return client.write_all(&body);
    }
    let middle = body.len() / 2;
    let without_length = |head: &str| -> String {
        let lines = head.split_inclusive("\r\n");
        lines.filter(|line| !line.to_lowercase().starts_with("content-length")).collect()
    };
    match fault {
        Fault::Altered => {
            let mut body = body;
            body[middle] ^= 1;
            client.write_all(head.as_bytes())?;
            client.write_all(&body)
        }
        Fault::Longer | Fault::Shorter => {
            head = without_length(&head);
            client.write_all(head.as_bytes())?;
            if fault == Fault::Shorter {
                return client.write_all(&body[..middle]);
            }
            client.write_all(&body)?;
            client.write_all(b"more")
        }
        Fault::CutOnce if !cut.swap(true, Ordering::SeqCst) => {
            client.write_all(head.as_bytes())?;
            client.write_all(&body[..middle])
        }
        Fault::Stall => {
            client.write_all(head.as_bytes())?;
            client.write_all(&body[..middle])?;
            // Until the client goes.
            let _ = client.read(&mut [0]);
            Ok(())
        }
        Fault::None | Fault::CutOnce => {
            client.write_all(head.as_bytes())?;
            client.write_all(&body)
        }
    }
}

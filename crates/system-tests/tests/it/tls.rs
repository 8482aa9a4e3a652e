//! TLS from end to end: who is trusted by which proof, and that nothing runs for those who come
//! without where it has to be.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use p2p_inner::{Inner, LinkState};
use p2p_router::Config;
use p2p_router::auth::certificate::{Certificate, CertificateFiles};
use p2p_router::auth::key_store::KeyStore;
use p2p_shared::key::{Fingerprint, Key, Role};
use p2p_shared::net::dialer::{self, DialError, RouterAddress};
use p2p_shared::net::tls;
use p2p_shared::protocol::LINK_PATH;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common;
use crate::common::program::{self, RunningProgram};
use crate::common::{World, elsewhere, inner_config, is_alone, router_config, soon, until};

/// A router with keys and this certificate, on this address.
fn world(bind: IpAddr, certificate: impl FnOnce(&Path) -> Config) -> World {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let keys = KeyStore::open(&state).unwrap();
    let config = Config {
        bind,
        keys: Some(keys),
        ..certificate(&state)
    };
    World::with(config, folder)
}

fn own(state: &Path) -> Config {
    Config {
        certificate: Some(Certificate::own(state).unwrap()),
        ..router_config()
    }
}

fn fingerprint(world: &World) -> Option<Fingerprint> {
    let own = Certificate::own(&world.folder.path().join("state"));
    own.unwrap().fingerprint()
}

fn at(host: &str, port: u16) -> RouterAddress {
    RouterAddress {
        host: host.to_owned(),
        port,
    }
}

async fn refusal(router: &RouterAddress, key: &Key) -> String {
    match dialer::dial(None, router, LINK_PATH, Some(key), false).await {
        Err(DialError::Untrusted(_, why)) => why,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was trusted"),
    }
}

/// A GET over TLS: status, `P2P-Executed` and body.
async fn get(
    address: SocketAddr,
    pin: Option<Fingerprint>,
    key: &Key,
    target: &str,
) -> (u16, String, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = tls::connect(stream, "localhost", pin.as_slice())
        .await
        .unwrap();
    ask(TokioIo::new(stream), Some(key), target).await
}

/// The same without TLS, and the header `Location`.
async fn get_plain(address: SocketAddr, key: Option<&Key>, target: &str) -> (u16, String, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    ask(TokioIo::new(stream), key, target).await
}

async fn ask<S>(stream: S, key: Option<&Key>, target: &str) -> (u16, String, String)
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::get(target).header("host", "car.test:9000");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {}", key.expose()));
    }
    let request = request.body(Full::<bytes::Bytes>::default()).unwrap();
    let answer: Response<_> = soon("an answer", sender.send_request(request))
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let header = |name: &str| {
        let value = answer.headers().get(name);
        value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    };
    let (executed, location) = (header("p2p-executed"), header("location"));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let said = if location.is_empty() {
        String::from_utf8_lossy(&body).into_owned()
    } else {
        location
    };
    (status, executed, said)
}

#[tokio::test]
async fn of_several_routers_a_key_takes_each_that_has_its_certificate_and_no_other() {
    let strange = world(Ipv4Addr::LOCALHOST.into(), own);
    let first = world(Ipv4Addr::LOCALHOST.into(), own);
    let car = first.key("car", Role::Link).await;
    let state = first.folder.path().join("state");
    let second = world(Ipv4Addr::LOCALHOST.into(), |copy| {
        std::fs::create_dir_all(copy).unwrap();
        for file in ["keys.toml", "tls.pem"] {
            std::fs::copy(state.join(file), copy.join(file)).unwrap();
        }
        own(copy)
    });
    let inner = Inner::start(p2p_inner::Config {
        routers: [&strange, &first, &second]
            .map(|world| at("127.0.0.1", world.main_port()))
            .to_vec(),
        key: Some(car.for_router(fingerprint(&first))),
        open: false,
        ..inner_config(&second)
    });
    let mut state = inner.as_ref().unwrap().link_state();
    let mut is_at = async |port: u16| {
        let is_there = |state: &LinkState| matches!(state, LinkState::Up { router, .. } if router.port == port);
        soon("the link is there", state.wait_for(is_there))
            .await
            .unwrap();
    };
    is_at(first.main_port()).await;
    first.router.shut_down().await;
    is_at(second.main_port()).await;
}

#[tokio::test]
async fn a_key_knows_its_router_by_its_public_key_and_takes_no_other() {
    let world = world(Ipv4Addr::LOCALHOST.into(), own);
    let pin = fingerprint(&world);
    let car = world.key("car", Role::Link).await.for_router(pin);
    let operator = world.key("desk", Role::Drive).await;
    world.script("hello", "echo hello");
    let mut config = inner_config(&world);
    config.key = Some(car.clone());
    let (_inner, port) = world.inner_with(config).await;
    let service = (Ipv4Addr::LOCALHOST, port).into();
    // By TLS and without, on the same port: this machine may do both.
    let answer = ("yes".to_owned(), "hello\n".to_owned());
    let (status, executed, body) = get(service, pin, &operator, "/cgi?command=hello").await;
    assert_eq!((status, (executed, body)), (200, answer.clone()));
    let (status, executed, body) = get_plain(service, Some(&operator), "/cgi?command=hello").await;
    assert_eq!((status, (executed, body)), (200, answer));

    let router = at("127.0.0.1", world.main_port());
    let other = tempfile::tempdir().unwrap();
    let other = Certificate::own(other.path()).unwrap().fingerprint();
    let why = refusal(&router, &car.clone().for_router(other)).await;
    assert!(
        why.contains("not the router that the key was made for"),
        "{why}"
    );
    assert!(why.contains(&other.unwrap().to_string()), "{why}");
    assert!(
        why.contains("listening") && why.contains("key add"),
        "{why}"
    );
}

#[tokio::test]
async fn the_certificate_is_made_once_and_kept_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let makers: Vec<_> = (0..8)
        .map(|_| {
            let state = state.clone();
            std::thread::spawn(move || Certificate::own(&state).unwrap().fingerprint().unwrap())
        })
        .collect();
    let made: Vec<Fingerprint> = makers.into_iter().map(|m| m.join().unwrap()).collect();
    assert!(made.iter().all(|one| *one == made[0]), "{made:?}");
    let file = state.join("tls.pem");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = Certificate::own(&state).unwrap_err().to_string();
    assert!(exposed.contains("chmod 600"), "{exposed}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let half = fs::read_to_string(&file).unwrap();
    fs::write(&file, &half[..half.len() / 2]).unwrap();
    let cut_off = Certificate::own(&state).unwrap_err().to_string();
    assert!(cut_off.contains("tls.pem can't be used"), "{cut_off}");
}

#[tokio::test]
async fn from_elsewhere_nothing_runs_without_tls() {
    let Some(here) = elsewhere() else {
        assert!(std::env::var_os("CI").is_none(), "no address but loopback");
        return;
    };
    let world = world(Ipv4Addr::UNSPECIFIED.into(), own);
    let pin = fingerprint(&world);
    let operator = world.key("desk", Role::Drive).await;
    let car = world.key("car", Role::Link).await;
    world.script("hello", "echo hello; echo ran >> ../ran");
    let mut config = inner_config(&world);
    config.key = Some(car.clone());
    let (_inner, port) = world.inner_with(config).await;
    let (status, executed, location) =
        get_plain((here, port).into(), None, "/cgi?command=hello&arg=1").await;
    assert_eq!((status, executed.as_str()), (308, "no"));
    assert_eq!(location, "https://car.test:9000/cgi?command=hello&arg=1");
    let main = SocketAddr::new(here, world.main_port());
    let (status, _, location) = get_plain(main, None, "/healthz").await;
    assert_eq!(
        (status, location.as_str()),
        (308, "https://car.test:9000/healthz")
    );
    // A key that came in the clear is known to whoever is on the way, however good it is.
    for (address, key, target) in [
        (main, &car, LINK_PATH),
        (main, &operator, "/healthz"),
        ((here, port).into(), &operator, "/cgi?command=hello"),
        ((here, port).into(), &operator, "/"),
    ] {
        let (status, _, said) = get_plain(address, Some(key), target).await;
        assert_eq!(status, 403, "{target}");
        assert!(said.contains("revoke it"), "{said}");
    }
    // And our own programs never send one so: this key has no fingerprint, and no authority
    // vouches for the router.
    let router = at(&here.to_string(), world.main_port());
    let why = refusal(&router, &car).await;
    assert!(why.contains("no authority vouches"), "{why}");
    assert!(matches!(
        dialer::dial(None, &router, LINK_PATH, None, true).await,
        Err(DialError::NoKey(_))
    ));
    assert!(!world.note("ran").exists());
    let (status, _, body) = get((here, port).into(), pin, &operator, "/cgi?command=hello").await;
    assert_eq!((status, body.as_str()), (200, "hello\n"));
}

#[tokio::test]
async fn plain_http_from_elsewhere_is_taken_where_it_is_allowed() {
    let Some(here) = elsewhere() else {
        assert!(std::env::var_os("CI").is_none(), "no address but loopback");
        return;
    };
    let world = world(Ipv4Addr::UNSPECIFIED.into(), |state| Config {
        allow_plain_http: true,
        ..own(state)
    });
    let operator = world.key("desk", Role::Drive).await;
    world.script("hello", "echo hello");
    let mut config = inner_config(&world);
    config.key = Some(world.key("car", Role::Link).await);
    let (_inner, port) = world.inner_with(config).await;
    let (status, _, body) =
        get_plain((here, port).into(), Some(&operator), "/cgi?command=hello").await;
    assert_eq!((status, body.as_str()), (200, "hello\n"));
    // The main port takes none all the same: inners and consoles can do better.
    let (status, ..) =
        get_plain((here, world.main_port()).into(), Some(&operator), LINK_PATH).await;
    assert_eq!(status, 403);
}

/// A certificate for this name, good for these days from now on, in files; and its authority's.
fn issue(folder: &Path, name: &str, days: std::ops::Range<i64>) -> CertificateFiles {
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Its own name, or it is taken for another of the same name whose signature is bad.
    let its_name = folder.display().to_string();
    authority
        .distinguished_name
        .push(DnType::CommonName, its_name);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let now = std::time::SystemTime::now().into();
    params.not_before = time::OffsetDateTime::saturating_add(now, time::Duration::days(days.start));
    params.not_after = time::OffsetDateTime::saturating_add(now, time::Duration::days(days.end));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let files = CertificateFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    fs::write(&files.certificate, certificate.pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    fs::write(folder.join("authority.pem"), authority.pem()).unwrap();
    files
}

/// What a key without a fingerprint thinks of a router with this certificate, by its name.
async fn by_authority(name: &str, days: std::ops::Range<i64>, trusted: bool) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let files = issue(folder.path(), name, days);
    if trusted {
        let trust = std::env::var_os("SSL_CERT_FILE").unwrap();
        fs::copy(folder.path().join("authority.pem"), trust).unwrap();
    }
    let world = world(Ipv4Addr::LOCALHOST.into(), |_| Config {
        certificate: Some(Certificate::of_authority(files).unwrap()),
        ..router_config()
    });
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, world.main_port()))
        .await
        .unwrap();
    match tls::connect(stream, "localhost", &[]).await {
        Ok(_) => Ok(()),
        Err(error) => Err(tls::explain(&error).unwrap()),
    }
}

#[tokio::test]
async fn without_a_fingerprint_an_authority_has_to_vouch_for_the_name_and_the_time() {
    let trust = tempfile::tempdir().unwrap();
    let file = trust.path().join("trusted.pem");
    if !is_alone(
        "tls::without_a_fingerprint_an_authority_has_to_vouch_for_the_name_and_the_time",
        &[
            ("SSL_CERT_FILE", file.to_str().unwrap()),
            ("SSL_CERT_DIR", trust.path().to_str().unwrap()),
        ],
    ) {
        return;
    }
    assert_eq!(by_authority("localhost", -1..90, true).await, Ok(()));
    let says = async |name, days, trusted, expected: &str| {
        let why = by_authority(name, days, trusted).await.unwrap_err();
        assert!(why.contains(expected), "{why}");
    };
    says("localhost", -1..90, false, "no authority vouches").await;
    says("elsewhere.test", -1..90, true, "for another name").await;
    says("localhost", -90..-1, true, "has expired").await;
    says("localhost", 1..90, true, "not valid yet").await;
}

#[tokio::test]
async fn a_certificate_is_changed_and_the_keys_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join(".local/state/p2prouter");
    let program = async |arguments: &str| {
        let mut router = program::router(folder.path());
        let ended = program::run(router.args(arguments.split(' '))).await;
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        ended
    };
    let old: Key = (program("key add car --role link").await.out)
        .parse()
        .unwrap();
    let keep = folder.path().join(".config/p2prouter");
    fs::create_dir_all(&keep).unwrap();
    // As an editor of Windows leaves it, and elsewhere.
    let kept = folder.path().join("kept");
    fs::write(&kept, format!("\u{feff}{}\r\n", old.expose())).unwrap();
    symlink(&kept, keep.join("key")).unwrap();
    // The printed line changes the key's file as it is.
    let shell = async |line: &str| {
        let mut shell = program::command(Path::new("sh"), folder.path());
        program::run(shell.args(["-c", line])).await
    };
    let change_key = async |line: &str| -> Key {
        let ended = shell(line).await;
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        let text = fs::read_to_string(&kept).unwrap();
        text.trim_start_matches('\u{feff}').parse().unwrap()
    };
    let next = program("certificate next").await;
    assert!(next.errors.contains("tls-next.pem"), "{}", next.errors);
    let key = change_key(&next.out).await;
    assert_eq!(key.fingerprints().len(), 2);
    assert_eq!(key.fingerprints()[..1], *old.fingerprints());
    assert_eq!(program("certificate next").await.out, next.out);
    let made = program("key add desk --role admin").await.out;
    let made: Key = made.parse().unwrap();
    assert_eq!(made.fingerprints(), key.fingerprints());

    let is_known = async |key: &Key| {
        let mut router = program::router(folder.path());
        let router = RunningProgram::start(router.args(["0", "--bind", "127.0.0.1"]));
        let address = at("127.0.0.1", router.main_port().await);
        match dialer::dial(None, &address, LINK_PATH, Some(key), false).await {
            Ok(_) => true,
            Err(DialError::Untrusted(_, why)) => {
                assert!(why.contains("p2p-router certificate show"), "{why}");
                false
            }
            Err(other) => panic!("another error: {other}"),
        }
    };
    assert!(is_known(&old).await && is_known(&key).await);
    fs::rename(state.join("tls-next.pem"), state.join("tls.pem")).unwrap();
    assert!(!is_known(&old).await && is_known(&key).await);
    let key = change_key(&program("certificate show").await.out).await;
    assert_eq!(key.fingerprints(), &made.fingerprints()[1..]);
    assert!(is_known(&key).await);
    assert!(keep.join("key").is_symlink());

    fs::write(&kept, "no key\n").unwrap();
    let ended = shell(&program("certificate show").await.out).await;
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    let next = state.join("tls-next.pem");
    fs::write(&next, "half").unwrap();
    fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
    let mut router = program::router(folder.path());
    let broken = program::run(router.args(["certificate", "next"])).await;
    assert_ne!(broken.code, Some(0));
    let expected = "without the file, `p2p-router certificate next` makes another";
    assert!(broken.errors.contains(expected), "{}", broken.errors);
}

#[tokio::test]
async fn with_a_fingerprint_no_clock_matters() {
    for days in [-90..-1, 1..90] {
        let folder = tempfile::tempdir().unwrap();
        let files = issue(folder.path(), "elsewhere.test", days);
        let key = fs::read_to_string(&files.key).unwrap();
        let key = KeyPair::from_pem(&key).unwrap();
        let pin = Fingerprint::of_public_key(&key.subject_public_key_info());
        let world = world(Ipv4Addr::LOCALHOST.into(), |_| Config {
            certificate: Some(Certificate::of_authority(files).unwrap()),
            ..router_config()
        });
        let main = (Ipv4Addr::LOCALHOST, world.main_port());
        let stream = TcpStream::connect(main).await.unwrap();
        tls::connect(stream, "localhost", &[pin]).await.unwrap();
    }
}

/// `Strict-Transport-Security` of this answer; empty: there is none.
async fn strict<S>(mut stream: S, target: &str) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    let mut lines = answer.lines();
    let strict = lines.find_map(|line| line.strip_prefix("strict-transport-security: "));
    strict.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn browsers_are_told_to_use_tls_alone_where_an_authority_has_signed_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let by_authority = issue(folder.path(), "localhost", -1..90);
    let pem = fs::read(&by_authority.key).unwrap();
    let key = KeyPair::from_pem(std::str::from_utf8(&pem).unwrap()).unwrap();
    let pin = Some(Fingerprint::of_public_key(&key.subject_public_key_info()));
    // Somebody's own certificate, in files as an authority's.
    let self_signed = CertificateFiles {
        certificate: folder.path().join("self.pem"),
        key: by_authority.key.clone(),
    };
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "home");
    let made = params.self_signed(&key).unwrap();
    fs::write(&self_signed.certificate, made.pem()).unwrap();
    let of = |files: CertificateFiles| Certificate::of_authority(files).unwrap();
    let state = folder.path().join("own");
    let ours = Certificate::own(&state).unwrap();
    let own_pin = ours.fingerprint();
    for (certificate, pin, expected) in [
        (of(by_authority), pin, "max-age=2592000"),
        (of(self_signed), pin, ""),
        (ours, own_pin, ""),
    ] {
        let world = world(Ipv4Addr::LOCALHOST.into(), |_| Config {
            certificate: Some(certificate),
            ..router_config()
        });
        let mut config = inner_config(&world);
        config.key = Some(world.key("car", Role::Link).await);
        let (_inner, port) = world.inner_with(config).await;
        // Also what is refused, is no path, or is no request.
        for (port, target) in [
            (port, "/"),
            (port, "/cgi?command=x"),
            (port, "/page/style.css"),
            (port, "/none"),
            (port, "no-path"),
            (world.main_port(), "/healthz"),
            (world.main_port(), LINK_PATH),
        ] {
            let dial = || async {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                    .await
                    .unwrap()
            };
            let stream = tls::connect(dial().await, "localhost", pin.as_slice())
                .await
                .unwrap();
            assert_eq!(strict(stream, target).await, expected, "{port} {target}");
            assert_eq!(strict(dial().await, target).await, "", "{port} {target}");
        }
    }
}

#[tokio::test]
async fn a_router_whose_certificate_has_expired_says_so_and_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let files = issue(folder.path(), "localhost", -90..-1);
    let mut router = program::router(folder.path());
    router.args(["0", "--bind", "127.0.0.1", "--tls-cert"]);
    router
        .arg(&files.certificate)
        .arg("--tls-key")
        .arg(&files.key);
    let router = RunningProgram::start(&mut router);
    router.says("the certificate has expired").await;
    let line = router.errors();
    let line = line.lines().find(|line| line.contains("has expired"));
    let file = files.certificate.display().to_string();
    assert!(line.unwrap().contains(&file), "{}", router.errors());
}

#[tokio::test]
async fn keys_are_made_for_the_certificate_that_the_router_showed_last() {
    let folder = tempfile::tempdir().unwrap();
    let files = issue(folder.path(), "localhost", -1..90);
    let state = folder.path().join(".local/state/p2prouter");
    let start = |authority: bool| {
        let mut router = program::router(folder.path());
        router.args(["0", "--bind", "127.0.0.1"]);
        if authority {
            router.arg("--tls-cert").arg(&files.certificate);
            router.arg("--tls-key").arg(&files.key);
        }
        RunningProgram::start(&mut router)
    };
    let add = async |name| {
        let mut add = program::router(folder.path());
        let added = program::run(add.args(["key", "add", name, "--role", "view"])).await;
        let key: Key = added.out.trim().parse().unwrap();
        (!key.fingerprints().is_empty(), added.errors)
    };
    let router = start(true);
    router.says("this router has no keys yet").await;
    let (pinned, said) = add("one").await;
    assert!(!pinned, "{said}");
    assert!(said.contains(files.certificate.to_str().unwrap()), "{said}");
    drop(router);
    let router = start(false);
    router.says("a new one was made").await;
    until("the note is gone", || !state.join("authority").exists()).await;
    let (pinned, said) = add("two").await;
    assert!(pinned && !said.contains("authority"), "{said}");
    drop(router);
    fs::remove_file(state.join("tls.pem")).unwrap();
    let (_, said) = add("three").await;
    assert!(said.contains("a new one was made"), "{said}");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_waited_for_5_seconds_on_every_port() {
    let world = world(Ipv4Addr::LOCALHOST.into(), own);
    let mut config = inner_config(&world);
    config.key = Some(world.key("car", Role::Link).await);
    let (_inner, service) = world.inner_with(config).await;
    let ends = async |port, words: &[u8]| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        stream.write_all(words).await.unwrap();
        let since = std::time::Instant::now();
        let _ = soon("the end", stream.read_to_end(&mut Vec::new())).await;
        assert!(since.elapsed().as_secs() < 9, "{:?}", since.elapsed());
    };
    let half = b"\x16\x03\x01\x02\x00\x01";
    let main = world.main_port();
    tokio::join!(
        ends(main, half),
        ends(main, b""),
        ends(service, half),
        ends(service, b"")
    );
}

#[tokio::test]
async fn files_that_are_no_certificate_and_its_key_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let (good, foreign) = (
        issue(folder.path(), "a.test", 0..9),
        issue(other.path(), "a.test", 0..9),
    );
    let refuse = |certificate: &Path, key: &Path| {
        let files = CertificateFiles {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        Certificate::of_authority(files).unwrap_err().to_string()
    };
    let mixed = refuse(&good.certificate, &foreign.key);
    assert!(mixed.contains("can't be used together"), "{mixed}");
    let exchanged = refuse(&good.key, &good.certificate);
    assert!(exchanged.contains("no certificate in PEM"), "{exchanged}");
    let no_key = refuse(&good.certificate, &good.certificate);
    assert!(no_key.contains("no private key in PEM"), "{no_key}");
    let missing = refuse(&folder.path().join("none.pem"), &good.key);
    assert!(
        missing.contains("none.pem") && missing.contains("No such file"),
        "{missing}"
    );
}

#[tokio::test]
async fn what_speaks_no_tls_is_told_from_an_attack() {
    let fake = common::peer::FakeRouter::start().await;
    let folder = tempfile::tempdir().unwrap();
    let pin = Certificate::own(folder.path()).unwrap().fingerprint();
    let key = Key::generate().unwrap().for_router(pin);
    let router = fake.address();
    let answering = async {
        let mut stream = fake.connection().await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        stream
    };
    let (why, _stream) = tokio::join!(refusal(&router, &key), answering);
    assert!(why.contains("it speaks no TLS"), "{why}");
}

#[tokio::test]
async fn old_tls_and_what_only_begins_like_it_is_turned_away_with_an_alert() {
    let world = world(Ipv4Addr::LOCALHOST.into(), own);
    // A client hello of TLS 1.0 (RFC 2246): version 3.1, a random, one cipher, no extensions.
    let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    for words in [hello, b"\x16garbage that is no record\r\n\r\n".to_vec()] {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, world.main_port()))
            .await
            .unwrap();
        stream.write_all(&words).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon("the end", stream.read_to_end(&mut answer)).await;
        // An alert record: 21, and fatal: 2.
        assert_eq!((answer[0], answer[5]), (21, 2), "{answer:?}");
    }
    // And others are served as before.
    let answer = common::get(world.main_port(), "/healthz").await;
    assert_eq!(answer.status, 200);
}

/// A link-local address of this machine, with its interface.
fn link_local() -> Option<String> {
    let addresses = fs::read_to_string("/proc/net/if_inet6").ok()?;
    addresses.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let digits = fields[0].strip_prefix("fe80")?;
        let address = u128::from_str_radix(&format!("fe80{digits}"), 16).ok()?;
        Some(format!("{}%{}", Ipv6Addr::from_bits(address), fields[5]))
    })
}

#[tokio::test]
async fn a_link_local_address_with_its_interface_works_with_a_key_and_another_interface_says_so() {
    let Some(host) = link_local() else {
        eprintln!("skipped: no interface has a link-local address");
        return;
    };
    let world = world(Ipv6Addr::UNSPECIFIED.into(), own);
    let car = world.key("car", Role::Link).await;
    let car = car.for_router(fingerprint(&world));
    let dial = async |host: &str| {
        let router = at(host, world.main_port());
        let dialled = dialer::dial(None, &router, LINK_PATH, Some(&car), false).await;
        dialled.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(dial(&host).await, Ok(()));
    let why = dial("fe80::1%nowhere0").await.unwrap_err();
    assert!(why.contains("no network interface"), "{why}");
}

/// Whoever answers there could be anybody.
#[tokio::test]
async fn without_a_key_a_router_elsewhere_is_obeyed_only_if_the_inner_is_open_too() {
    let Some(here) = elsewhere() else {
        assert!(std::env::var_os("CI").is_none(), "no address but loopback");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("command")).unwrap();
    let mut router = program::router(folder.path());
    router.args(["0", "--open", "--open-to-everyone", "--bind", "0.0.0.0"]);
    let router = RunningProgram::start(&mut router);
    let port = router.number_behind("listening on 0.0.0.0:").await;
    let (host, port) = (here.to_string(), port.to_string());
    let inner = || {
        let mut inner = program::inner(folder.path());
        inner.args([&host, &port, "0", "--name", "car"]);
        inner
    };
    let refusing = RunningProgram::start(&mut inner());
    refusing.says("there is no key to know it by").await;
    refusing.says("P2P_OPEN=1").await;
    assert!(!refusing.errors().contains("link up"));
    drop(refusing);
    let open = RunningProgram::start(inner().env("P2P_OPEN", "1"));
    open.says("link up").await;
    for (flag, code, says) in [
        (None, 5, "by --open (P2P_OPEN=1)"),
        (Some("--open"), 0, "car"),
    ] {
        let mut console = program::command(&program::path("p2p-console"), folder.path());
        console.args(["--router", &format!("{host}:{port}"), "list"]);
        let listed = program::run(console.args(flag)).await;
        assert_eq!(listed.code, Some(code), "{}", listed.errors);
        let said = listed.out + &listed.errors;
        assert!(said.contains(says), "{said}");
    }
}

#[tokio::test]
async fn a_key_without_a_fingerprint_is_sent_over_tls_to_this_machine_too() {
    let world = world(Ipv4Addr::LOCALHOST.into(), own);
    let car = world.key("car", Role::Link).await;
    let router = at("127.0.0.1", world.main_port());
    let why = refusal(&router, &car).await;
    assert!(why.contains("no authority vouches"), "{why}");
    let open = dialer::dial(None, &router, LINK_PATH, Some(&car), true).await;
    assert!(open.is_ok(), "{:?}", open.err());
}

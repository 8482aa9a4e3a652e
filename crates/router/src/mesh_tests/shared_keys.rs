//! Keys that are made or revoked at one router hold at every router, whichever of them hears of it, and when.

use std::time::{Duration, SystemTime};

use hyper::{HeaderMap, StatusCode, header};
use p2p_inner::LinkState;
use p2p_shared::key::{Key, Role};
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{ControlRequest, DriveCommand, RouterToConsole};
use p2p_shared::timing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::desk::Desk;
use super::keys::Keyed;
use super::world::{Passing, ReservedPort, config, read};
use super::{soon, until};
use crate::auth::access::Revoked;
use crate::auth::key_store::{HeardNote, KeyFile, KeyStore};
use crate::config::Config;
use crate::mesh::hub::Hub;
use crate::mesh::{MemberState, MeshConfig, MeshSecret};
use crate::ops::inherited_listeners::InheritedListeners;
use crate::ops::state_file::StateFile;
use crate::server::Router;

fn file(at: &Keyed) -> KeyFile {
    KeyFile::in_dir(at.state.path())
}

fn revoke(at: &Keyed, name: &str) -> String {
    file(at).revoke(&name.parse().unwrap()).unwrap();
    let digest = || file(at).digest();
    let note = HeardNote::wait_for(at.state.path(), HeardNote::WAIT, digest);
    note.map_or_else(String::new, |note| note.sentence(SystemTime::now()))
}

/// Revokes a key at a router, and returns what is said of it.
async fn revoked(at: &Keyed, name: &str) -> String {
    tokio::task::block_in_place(|| revoke(at, name))
}

async fn has_begun(mut stream: Transport) -> Transport {
    soon("output", stream.read_exact(&mut [0; 1000]))
        .await
        .unwrap();
    stream
}

/// Two routers that know each other.
pub(super) async fn two(hub: &Hub, shared: &tempfile::TempDir) -> [Keyed; 2] {
    let one = Keyed::start(2, shared.path(), hub).await;
    let other = Keyed::start(3, shared.path(), hub).await;
    one.place.knows(1).await;
    other.place.knows(1).await;
    [one, other]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_made_or_revoked_at_one_router_is_so_at_all() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let [here, there] = two(&hub, &shared).await;
    // Both are made at the router that does not have the car.
    let (link, runs) = (
        here.key("car", Role::Link).await,
        here.key("runs", Role::Drive).await,
    );
    until("they are known there", || {
        there.keys.is_live(&link.id()) && there.keys.is_live(&runs.id())
    })
    .await;
    let port = ReservedPort::new();
    let mut config = there.place.inner_config("one", port.port);
    (config.key, config.open) = (Some(link.clone()), false);
    let inner = there.place.inner_with(config).await;
    let more = "head -c 100000 /dev/zero | tr '\\0' x";
    there.place.long_script("long", more);
    here.place.serves(port.port).await;
    let path = "/cgi?command=long&stream=1";
    let directly = has_begun(there.call(port.port, path, &runs.expose()).await).await;
    let by_hop = has_begun(here.call(port.port, path, &runs.expose()).await).await;

    let other = there.place.line.address;
    let said = revoked(&here, "runs").await;
    assert_eq!(said, format!("revoked here and at {other}"));
    // It says so when the other has ended what was open, or is about to.
    for open in [directly, by_hop] {
        let rest = read(open).await;
        assert!(!rest.0.ends_with("0\r\n\r\n"), "{}", rest.0.len());
    }
    there.place.was_ended().await;
    for at in [&here, &there] {
        let said = at.get(port.port, "/commands", &runs.expose()).await;
        assert_eq!(said.header("www-authenticate"), Some("Bearer"), "{said:?}");
        assert_eq!(said.header("p2p-executed"), Some("no"));
    }
    let said = revoked(&here, "car").await;
    assert_eq!(said, format!("revoked here and at {other}"));
    let mut state = inner.link_state();
    let is_down = |state: &LinkState| !matches!(state, LinkState::Up { .. });
    drop(
        soon("the link ends", state.wait_for(is_down))
            .await
            .unwrap(),
    );
    // What is in the file there holds after a restart, too.
    assert_eq!(file(&there).list().unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_was_away_learns_what_was_revoked_and_brings_nothing_back() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let [here, away] = two(&hub, &shared).await;
    let key = here.key("car", Role::Link).await;
    until("it is known there", || away.keys.is_live(&key.id())).await;
    let start = away.place.context().mesh.as_ref().unwrap().start();
    hub.set_side(start, 1);
    for at in [&here, &away] {
        at.place.line.set(Passing::Refused);
    }
    let mesh = here.place.context().mesh.clone().unwrap();
    until("it is away", || {
        let members = mesh.members();
        members
            .iter()
            .all(|it| matches!(it.state, MemberState::Away { .. }))
    })
    .await;
    let said = revoked(&here, "car").await;
    let expected = format!(
        "revoked here; {} has not been heard of for ",
        away.place.line.address
    );
    assert!(said.starts_with(&expected), "{said}");
    // Meanwhile it makes one.
    let made = away.key("made", Role::View).await;
    assert!(away.keys.is_live(&key.id()));
    hub.set_side(start, 0);
    for at in [&here, &away] {
        at.place.line.set(Passing::Open);
    }
    until("both know the same", || {
        [&here, &away]
            .iter()
            .all(|at| at.keys.is_live(&made.id()) && !at.keys.is_live(&key.id()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bus_keys_are_told_from_router_to_router() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let [here, there] = two(&hub, &shared).await;
    for at in [&here, &there] {
        hub.set_connected(at.place.context().mesh.as_ref().unwrap().start(), false);
    }
    let key = here.key("car", Role::Link).await;
    until("it is known there", || there.keys.is_live(&key.id())).await;
    there.key("more", Role::View).await;
    until("both have both", || {
        [&here, &there]
            .iter()
            .all(|at| file(at).list().unwrap().len() == 2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_keys_that_get_a_name_at_the_same_time_are_both_good_and_told_apart_by_their_ids() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let [here, there] = two(&hub, &shared).await;
    let start = there.place.context().mesh.as_ref().unwrap().start();
    hub.set_side(start, 1);
    there.place.line.set(Passing::Refused);
    here.place.line.set(Passing::Refused);
    let keys = [
        here.key("desk", Role::Drive).await,
        there.key("desk", Role::Drive).await,
    ];
    hub.set_side(start, 0);
    there.place.line.set(Passing::Open);
    here.place.line.set(Passing::Open);
    for key in &keys {
        until("both are known at both", || {
            here.keys.is_live(&key.id()) && there.keys.is_live(&key.id())
        })
        .await;
    }
    let error = file(&here).revoke(&"desk".parse().unwrap()).unwrap_err();
    assert!(
        error.to_string().starts_with("2 keys are named `desk`"),
        "{error}"
    );
    revoked(&here, &keys[1].id().to_string()).await;
    until("it is revoked there", || !there.keys.is_live(&keys[1].id())).await;
    assert!(there.keys.is_live(&keys[0].id()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_is_good_at_all_routers_and_signed_out_at_all() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let [here, there] = two(&hub, &shared).await;
    let key = here.key("desk", Role::Drive).await;
    until("it is known there", || there.keys.is_live(&key.id())).await;
    let access = |at: &Keyed| at.place.context().access.clone();
    let pending = here.place.context().admit(([127, 0, 0, 1], 9).into());
    let (_, cookie) = access(&here).sign_in(&pending, &key, true).unwrap();
    let cookie = cookie.unwrap().to_str().unwrap().to_owned();
    let (cookie, _) = cookie.split_once(';').unwrap();
    let headers = HeaderMap::from_iter([(header::COOKIE, cookie.parse().unwrap())]);
    let caller = access(&there)
        .key_or_cookie(&pending, &headers, true)
        .unwrap();
    assert!(caller.check_revoked().is_ok());
    access(&here).sign_out(&headers, true).await.unwrap();
    assert!(matches!(
        soon("it is signed out there", caller.revoked()).await,
        Revoked::Session
    ));
    assert!(
        access(&there)
            .key_or_cookie(&pending, &headers, true)
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_all_cars_has_those_of_other_routers_by_its_cookie_and_stops_them() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let [here, there] = two(&hub, &shared).await;
    let (link, key) = (
        here.key("car", Role::Link).await,
        here.key("desk", Role::View).await,
    );
    until("they are known there", || {
        there.keys.is_live(&link.id()) && there.keys.is_live(&key.id())
    })
    .await;
    let port = ReservedPort::new();
    let mut config = there.place.inner_config("one", port.port);
    (config.key, config.open) = (Some(link), false);
    there.place.script("stop", ":");
    let _inner = there.place.inner_with(config).await;
    here.place.serves(port.port).await;
    let context = here.place.context();
    let pending = context.admit(([127, 0, 0, 1], 9).into());
    let (_, cookie) = context.access.sign_in(&pending, &key, false).unwrap();
    let cookie = cookie.unwrap().to_str().unwrap().to_owned();
    let (cookie, _) = cookie.split_once(';').unwrap();
    let host = here.place.address;
    let handshake = format!(
        "GET /cars HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: p2p.v1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let main_port = here.place.router.address().port();
    let mut page = here.place.call(main_port, &handshake).await;
    let mut said = String::new();
    let reading = async {
        while !said.contains("\"name\":\"car\"") {
            let mut bytes = [0; 4096];
            let count = page.read(&mut bytes).await.unwrap();
            assert!(count > 0, "{said}");
            said += &String::from_utf8_lossy(&bytes[..count]);
        }
    };
    soon("the page is told of the car", reading).await;
    assert!(said.starts_with("HTTP/1.1 101 "), "{said}");
    // Masked with zeros.
    let stop = format!("{{\"stop\":{}}}", port.port);
    let mut frame = vec![0x81, 0x80 | u8::try_from(stop.len()).unwrap(), 0, 0, 0, 0];
    frame.extend(stop.as_bytes());
    page.write_all(&frame).await.unwrap();
    let stopping = async {
        while !said.contains("\"stopped\":{\"cause\":\"asked\"") {
            let mut bytes = [0; 4096];
            let count = page.read(&mut bytes).await.unwrap();
            assert!(count > 0, "{said}");
            said += &String::from_utf8_lossy(&bytes[..count]);
        }
    };
    soon("the car has stopped", stopping).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_limit_keys_are_taken_only_while_another_router_says_that_it_knows_the_same() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let limit = Some(Duration::from_secs(2));
    let strict = Keyed::with(3, shared.path(), &hub, limit).await;
    let file = file(&strict);
    let key = file
        .add(&"desk".parse().unwrap(), Role::Drive, None)
        .unwrap();
    until("it is known", || strict.keys.is_live(&key.id())).await;
    let pending = strict.place.context().admit(([127, 0, 0, 1], 9).into());
    let bearer = format!("Bearer {}", key.expose()).parse().unwrap();
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
    let access = &strict.place.context().access;
    let main_port = strict.place.router.address().port();
    let health = || strict.place.get(main_port, "/healthz");
    let is_stale = || {
        let refused = access.allow(&pending, &headers, "watch", Role::may_view);
        refused.is_err_and(|problem| problem.status == StatusCode::SERVICE_UNAVAILABLE)
    };
    // It has only just started, and is alone.
    assert!(is_stale());
    assert_eq!(health().await.status(), 503);
    let text = || strict.place.context().metrics.text();
    until("it is counted", || {
        text().contains("p2p_router_mesh_keys_stale 1\n")
    })
    .await;

    let other = Keyed::start(2, shared.path(), &hub).await;
    until("keys are taken", || !is_stale()).await;
    assert_eq!(health().await.status(), 200);
    assert!(text().contains("p2p_router_mesh_keys_stale 0\n"));
    let caller = access.caller(&pending, &headers).unwrap();
    until("it is known there", || other.keys.is_live(&key.id())).await;
    // The bus still brings what the other knows, and nobody can ask it.
    for at in [&strict, &other] {
        at.place.line.set(Passing::Refused);
    }
    let why = soon("it ends", caller.revoked()).await;
    assert!(matches!(why, Revoked::Stale));
    assert!(is_stale() && strict.keys.is_live(&key.id()));
    assert!(other.keys.find(&key).is_ok());
    for at in [&strict, &other] {
        at.place.line.set(Passing::Open);
    }
    until("keys are taken again", || !is_stale()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_whose_keys_are_stale_lets_a_car_in_and_whom_it_knows_stop_it() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let limit = Some(Duration::from_secs(2));
    // As one that is started while the others can't be heard.
    let strict = Keyed::with(3, shared.path(), &hub, limit).await;
    let [link, runs, views, gone] = [
        ("car", Role::Link),
        ("runs", Role::Drive),
        ("views", Role::View),
        ("gone", Role::View),
    ]
    .map(|(name, role)| {
        file(&strict)
            .add(&name.parse().unwrap(), role, None)
            .unwrap()
    });
    file(&strict).revoke(&"gone".parse().unwrap()).unwrap();
    until("they are known", || {
        strict.keys.is_live(&views.id()) && !strict.keys.is_live(&gone.id())
    })
    .await;
    let port = ReservedPort::new().port;
    let stops = strict.place.note("stops");
    let note = format!("echo >> {}", stops.display());
    strict.place.script("stop", &note);
    strict.place.script("hello", "echo hello");
    let mut config = strict.place.inner_config("one", port);
    let link = link.for_router(strict.certificate.fingerprint());
    (config.key, config.open) = (Some(link), false);
    let _inner = strict.place.inner_with(config).await;
    let said = |path: &'static str, key: &Key| {
        let key = key.expose();
        let strict = &strict;
        async move { strict.get(port, path, &key).await.status() }
    };
    let (hello, stop) = ("/cgi?command=hello", "/cgi?command=stop");
    assert_eq!(said(stop, &views).await, 200);
    assert_eq!(said(stop, &gone).await, 401);
    for path in [
        hello,
        "/cgi?command=stop&arg=x",
        "/commands",
        "/frame.jpg",
        "/",
    ] {
        assert_eq!(said(path, &runs).await, 503, "{path}");
    }
    let count = || std::fs::read(&stops).map_or(0, |stops| stops.len());
    let runs_at = runs.clone().for_router(strict.certificate.fingerprint());
    let mut desk = Desk::with(&strict.place, Some(runs_at)).await;
    desk.asks(port, ControlRequest::Take);
    desk.until("it may only stop", |desk| !desk.refused.is_empty())
        .await;
    let before = count();
    desk.orders(port, DriveCommand::Stop);
    let heard = desk.until("never", |_| false);
    tokio::select! {
        () = heard => {}
        () = until("it is stopped", || count() > before) => {}
    }
    let _other = Keyed::start(2, shared.path(), &hub).await;
    let is_away = |it: &RouterToConsole| matches!(it, RouterToConsole::GoAway { .. });
    desk.until("the console is to come again", |desk| {
        desk.answers.iter().any(is_away)
    })
    .await;
    assert_eq!(said(hello, &runs).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_stay_fresh_over_a_restart_in_place() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let limit = Some(Duration::from_secs(60));
    let strict = Keyed::with(3, shared.path(), &hub, limit).await;
    let other = Keyed::start(2, shared.path(), &hub).await;
    until("keys are taken", || !strict.keys.in_force().is_stale).await;
    drop(other);
    let over = strict.place.router.hand_over(|| true).await;
    let keys = KeyStore::open(strict.state.path()).unwrap();
    let (secret, keys_stale) = (MeshSecret::new([7; 32]), limit);
    let next = Config {
        keys: Some(keys.clone()),
        mesh: Some(MeshConfig {
            servers: Vec::new(),
            credentials: None,
            address: None,
            secret,
            keys_stale,
        }),
        sockets: InheritedListeners::handed_over(over),
        ..config(3)
    };
    let _next = Router::start(next).unwrap();
    assert!(!keys.in_force().is_stale);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_can_not_write_makes_no_keys_stale() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let limit = Duration::from_secs(2);
    let all = [
        Keyed::with(2, shared.path(), &hub, Some(limit)).await,
        Keyed::with(3, shared.path(), &hub, Some(limit)).await,
    ];
    let are_stale = || all.iter().any(|at| at.keys.in_force().is_stale);
    until("keys are taken", || !are_stale()).await;
    let lock = StateFile::new(all[1].state.path(), "keys.toml").lock();
    let _lock = lock.unwrap();
    let key = all[0].key("desk", Role::View).await;
    until("it is known there", || all[1].keys.is_live(&key.id())).await;
    let known_at = timing::now();
    until("they agree for longer than that", || {
        let agreed = all
            .iter()
            .map(|at| at.place.context().mesh.as_ref().unwrap().keys_agreed_at());
        agreed.min().flatten() > Some(known_at + limit) && !are_stale()
    })
    .await;
    assert_ne!(
        file(&all[0]).digest().unwrap(),
        file(&all[1]).digest().unwrap()
    );
}

/// A key that is made at a router whose clock is wrong by so much.
async fn made_by(clock: i64, at: &Keyed, name: &str) -> Key {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = KeyFile::in_dir(elsewhere.path());
    let key = file.add(&name.parse().unwrap(), Role::Drive, None).unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    let made = file.list().unwrap()[0].created;
    let by_clock = match u64::try_from(clock) {
        Ok(ahead) => made + Duration::from_secs(ahead),
        Err(_) => made - Duration::from_secs(clock.unsigned_abs()),
    };
    let [made, by_clock] = [made, by_clock].map(humantime::format_rfc3339_seconds);
    let text = text.replace(&made.to_string(), &by_clock.to_string());
    at.keys.merge(&text).unwrap();
    key.for_router(at.certificate.fingerprint())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_works_nowhere_once_all_have_heard() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let [one, two] = two(&hub, &shared).await;
    let three = Keyed::start(4, shared.path(), &hub).await;
    let all = [&one, &two, &three];
    for at in all {
        at.place.knows(2).await;
    }
    let port = ReservedPort::new();
    let link = one.key("car", Role::Link).await;
    until("it is known", || {
        all.iter().all(|at| at.keys.is_live(&link.id()))
    })
    .await;
    let mut config = two.place.inner_config("one", port.port);
    (config.key, config.open) = (Some(link), false);
    let _inner = two.place.inner_with(config).await;
    two.place.script("hello", "echo hello");
    for at in all {
        at.place.serves(port.port).await;
    }
    for round in 0..6 {
        // Clocks are an hour apart.
        let (maker, revoker) = (round % 3, (round + round / 3 + 1) % 3);
        let clock = [-3600, 0, 3600][maker];
        let key = made_by(clock, all[maker], "runs").await;
        until("it is known", || {
            all.iter().all(|at| at.keys.is_live(&key.id()))
        })
        .await;
        let is_kept = || {
            file(all[revoker])
                .list()
                .unwrap()
                .iter()
                .any(|it| it.id == key.id())
        };
        until("it is in the file where it is revoked", is_kept).await;
        let used = all[maker]
            .get(port.port, "/cgi?command=hello", &key.expose())
            .await;
        assert_eq!(used.fate(), (200, "yes"), "{used:?}");
        let said = revoked(all[revoker], "runs").await;
        for at in all
            .iter()
            .filter(|at| at.state.path() != all[revoker].state.path())
        {
            assert!(said.contains(&at.place.line.address.to_string()), "{said}");
        }
        assert!(!said.contains("not"), "{said}");
        for at in all {
            assert!(at.keys.find(&key).is_err());
            let said = at.get(port.port, "/cgi?command=hello", &key.expose()).await;
            assert_eq!(said.header("www-authenticate"), Some("Bearer"), "{said:?}");
            assert_eq!(said.header("p2p-executed"), Some("no"));
        }
    }
    for at in all {
        assert_eq!(file(at).list().unwrap().len(), 1);
    }
}

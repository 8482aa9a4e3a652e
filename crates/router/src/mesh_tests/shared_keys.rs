//! Keys that are made or revoked at one router hold at all, whichever of them hears of it, and when.

use std::time::Duration;

use hyper::{HeaderMap, StatusCode, header};
use p2p_inner::LinkState;
use p2p_shared::key::Role;
use p2p_shared::net::transport::Transport;
use tokio::io::AsyncReadExt;

use super::keys::Keyed;
use super::world::{Passing, ReservedPort, read};
use super::{soon, until};
use crate::auth::access::Revoked;
use crate::auth::key_store::{HeardNote, KeyFile};
use crate::mesh::MemberState;
use crate::mesh::hub::Hub;

fn file(at: &Keyed) -> KeyFile {
    KeyFile::in_dir(at.state.path())
}

fn revoke(at: &Keyed, name: &str) -> String {
    file(at).revoke(&name.parse().unwrap()).unwrap();
    let digest = || file(at).digest();
    HeardNote::wait_for(at.state.path(), digest).map_or_else(String::new, |note| note.sentence())
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
    // Meanwhile it makes one, with a clock of its own.
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
async fn a_router_that_hears_of_no_other_for_too_long_takes_no_keys_until_it_does() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let one = Keyed::start(2, shared.path(), &hub).await;
    let limit = Some(Duration::from_secs(2));
    let other = Keyed::with(3, shared.path(), &hub, limit).await;
    let key = other.key("desk", Role::Drive).await;
    one.place.knows(1).await;
    other.place.knows(1).await;
    until("keys are taken", || {
        one.keys.find(&key).is_ok() && other.keys.find(&key).is_ok()
    })
    .await;
    let pending = other.place.context().admit(([127, 0, 0, 1], 9).into());
    let bearer = format!("Bearer {}", key.expose()).parse().unwrap();
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
    let access = &other.place.context().access;
    let caller = access.caller(&pending, &headers).unwrap();
    let start = other.place.context().mesh.as_ref().unwrap().start();
    hub.set_side(start, 1);
    for at in [&one, &other] {
        at.place.line.set(Passing::Refused);
    }
    assert!(matches!(
        soon("it ends", caller.revoked()).await,
        Revoked::Stale
    ));
    let refused = access.caller(&pending, &headers).unwrap_err();
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(other.keys.is_live(&key.id()));
    assert!(one.keys.find(&key).is_ok());
    hub.set_side(start, 0);
    for at in [&one, &other] {
        at.place.line.set(Passing::Open);
    }
    until("keys are taken again", || other.keys.find(&key).is_ok()).await;
}

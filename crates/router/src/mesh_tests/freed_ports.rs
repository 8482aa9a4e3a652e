//! Ports that are freed at one router, and stay so at all.

use p2p_shared::key::Role;

use super::claims::hello;
use super::keys::{Keyed, claim};
use super::shared_keys::two;
use super::until;
use super::world::{Passing, ReservedPort};
use crate::car::saved_ports::{PortState, SavedPort};
use crate::mesh::MemberState;
use crate::mesh::hub::Hub;
use crate::net::client_net::QuotaOwner;

fn saved(port: u16, owner: QuotaOwner, state: PortState) -> SavedPort {
    SavedPort {
        service_port: port,
        name: "car".parse().unwrap(),
        called: None,
        identity: "one".to_owned().try_into().unwrap(),
        owner,
        state,
        held_since: 0,
    }
}

fn has(at: &Keyed, port: u16) -> bool {
    let saved = at.place.context().registry.saved();
    saved.iter().any(|it| it.service_port == port)
}

fn free(at: &Keyed, port: u16, owner: QuotaOwner) {
    let freed = saved(port, owner, PortState::Freed);
    at.place.context().registry.exchange(&[freed]);
}

#[tokio::test]
async fn a_port_that_is_freed_at_one_router_is_free_at_all_and_stays_so() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let [here, there] = two(&hub, &shared).await;
    let owner = QuotaOwner::Key(here.key("car", Role::Link).await.id());
    let stranger = QuotaOwner::Key(here.key("stranger", Role::Link).await.id());
    until("the keys are known there", || {
        let registry = &there.place.context().registry;
        registry.knows(owner) && registry.knows(stranger)
    })
    .await;
    let (first, second) = (ReservedPort::new(), ReservedPort::new());
    let mesh = here.place.context().mesh.clone().unwrap();
    for port in [&first, &second] {
        let kept = saved(port.port, owner, PortState::Kept);
        there.place.context().registry.keep(kept);
        until("it is known here", || {
            mesh.holder_elsewhere(port.port).is_some()
        })
        .await;
    }
    let of_stranger = hello(first.port, "two", 2);
    let refused = claim(&here.place, stranger, &of_stranger)
        .await
        .unwrap_err();
    assert!(refused.1.contains("is kept for"), "{}", refused.1);
    free(&here, first.port, owner);
    until("it is free there", || !has(&there, first.port)).await;
    assert!(has(&there, second.port));
    claim(&here.place, stranger, &of_stranger).await.unwrap();

    // One that is away has it when it is back, and loses it then.
    let start = there.place.context().mesh.as_ref().unwrap().start();
    hub.set_side(start, 1);
    for at in [&here, &there] {
        at.place.line.set(Passing::Refused);
    }
    until("it is away", || {
        let members = mesh.members();
        members
            .iter()
            .all(|it| matches!(it.state, MemberState::Away { .. }))
    })
    .await;
    free(&here, second.port, owner);
    let of_stranger = hello(second.port, "two", 3);
    let granted = claim(&here.place, stranger, &of_stranger).await.unwrap();
    hub.set_side(start, 0);
    for at in [&here, &there] {
        at.place.line.set(Passing::Open);
    }
    until("it is free there", || !has(&there, second.port)).await;
    let holder = || {
        let mesh = there.place.context().mesh.as_ref().unwrap();
        mesh.holder_elsewhere(second.port)
    };
    until("the stranger has it", || {
        holder().is_some_and(|it| it.record.owner == stranger)
    })
    .await;
    assert!(granted.car.link().is_some());
}

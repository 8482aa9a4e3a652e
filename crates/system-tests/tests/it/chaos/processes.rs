//! Faults of the programs: killed, stopped, ended, restarted, doubled.

use std::sync::atomic::Ordering;

use rustix::process::Signal;

use super::fixture::{Fixture, pause, signal};
use super::round::Fault;

#[tokio::test]
async fn router_killed() {
    let fault = Fault::named("router killed").severs().router_dies();
    let strike = async |fixture: &mut Fixture| {
        fixture.strikes();
        fixture.router.kill().await;
        pause(1.0).await;
        fixture.start_router();
        fixture.heals();
    };
    fault.strikes(strike).await;
}

pub(crate) async fn stops_router(fixture: &mut Fixture) {
    fixture.strikes();
    fixture.router.signal(Signal::STOP);
    pause(10.0).await;
    fixture.router.signal(Signal::CONT);
    fixture.heals();
}

#[tokio::test]
async fn router_stopped() {
    Fault::named("router stopped, 10 s")
        .severs()
        .strikes(stops_router)
        .await;
}

#[tokio::test]
async fn router_ended() {
    let fault = Fault::named("router ended").severs().router_dies();
    let strike = async |fixture: &mut Fixture| {
        fixture.strikes();
        fixture.router.signal(Signal::TERM);
        fixture.router.end().await;
        fixture.start_router();
        fixture.heals();
    };
    fault.strikes(strike).await;
}

/// Its sockets stay, and so nobody is left without a status.
pub(crate) async fn restarts_router(fixture: &mut Fixture) {
    fixture.strikes();
    fixture.router.signal(Signal::USR2);
    fixture.router.says("service ports are open again").await;
    fixture.heals();
}

#[tokio::test]
async fn router_restarted() {
    Fault::named("router restarts itself")
        .severs()
        .strikes(restarts_router)
        .await;
}

#[tokio::test]
async fn inner_killed() {
    let fault = Fault::named("inner killed").severs();
    let strike = async |fixture: &mut Fixture| {
        fixture.strikes();
        fixture.inner.kill().await;
        pause(1.0).await;
        fixture.start_inner();
        fixture.heals();
    };
    fault.strikes(strike).await;
}

pub(crate) async fn stops_inner(fixture: &mut Fixture) {
    fixture.strikes();
    fixture.inner.signal(Signal::STOP);
    // Longer than a stop may take: it has to come from the other process.
    pause(10.0).await;
    fixture.inner.signal(Signal::CONT);
    fixture.heals();
}

#[tokio::test]
async fn inner_stopped() {
    Fault::named("inner stopped, 10 s")
        .severs()
        .strikes(stops_inner)
        .await;
}

#[tokio::test]
async fn inner_ended() {
    let fault = Fault::named("inner ended").severs();
    let strike = async |fixture: &mut Fixture| {
        fixture.strikes();
        fixture.inner.signal(Signal::TERM);
        fixture.inner.end().await;
        fixture.start_inner();
        fixture.heals();
    };
    fault.strikes(strike).await;
}

pub(crate) async fn kills_guardian(fixture: &mut Fixture) {
    let guardian = fixture.child_of_inner("p2p-guardian").await;
    fixture.strikes_once();
    signal(guardian, Signal::KILL);
    // There is another.
    fixture.child_of_inner("p2p-guardian").await;
}

#[tokio::test]
async fn guardian_killed() {
    Fault::named("guardian killed")
        .strikes(kills_guardian)
        .await;
}

pub(crate) async fn kills_worker(fixture: &mut Fixture) {
    let worker = fixture.child_of_inner("ask.worker").await;
    fixture.strikes_once();
    signal(worker, Signal::KILL);
    fixture.child_of_inner("ask.worker").await;
}

#[tokio::test]
async fn worker_killed() {
    Fault::named("worker killed").strikes(kills_worker).await;
}

pub(crate) async fn kills_console(fixture: &mut Fixture) {
    fixture.strikes();
    fixture.driver_faults.is_gone.store(true, Ordering::SeqCst);
    pause(1.5).await;
    fixture.driver_faults.is_gone.store(false, Ordering::SeqCst);
    fixture.heals();
}

#[tokio::test]
async fn console_killed() {
    Fault::named("console killed")
        .severs()
        .strikes(kills_console)
        .await;
}

#[tokio::test]
async fn console_silent() {
    let fault = Fault::named("console silent").severs();
    let strike = async |fixture: &mut Fixture| {
        fixture.strikes();
        fixture
            .driver_faults
            .is_silent
            .store(true, Ordering::SeqCst);
        pause(1.5).await;
        fixture
            .driver_faults
            .is_silent
            .store(false, Ordering::SeqCst);
        fixture.heals();
    };
    fault.strikes(strike).await;
}

/// Two live inners of one identity, of which one ends. The other was told that it is not alone, and
/// waits a minute, or until somebody tells it to look again.
#[tokio::test]
async fn twins() {
    let fault = Fault::named("twins, 2 s");
    let strike = async |fixture: &mut Fixture| {
        fixture.strikes();
        let mut twin = fixture.another_inner();
        pause(2.0).await;
        twin.signal(Signal::TERM);
        twin.end().await;
        fixture.inner.signal(Signal::HUP);
        fixture.heals();
    };
    fault.strikes(strike).await;
}

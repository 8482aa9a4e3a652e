//! Faults of the programs: killed, stopped, ended, restarted, doubled.

use std::sync::atomic::Ordering;

use rustix::process::Signal;

use super::round::Fault;
use super::stand::{Stand, pause, signal};

#[tokio::test]
async fn router_killed() {
    let fault = Fault::named("router killed").severs().router_dies();
    let strike = async |stand: &mut Stand| {
        stand.strikes();
        stand.router.kill().await;
        pause(1.0).await;
        stand.start_router();
        stand.heals();
    };
    fault.strikes(strike).await;
}

pub(crate) async fn stops_router(stand: &mut Stand) {
    stand.strikes();
    stand.router.signal(Signal::STOP);
    pause(10.0).await;
    stand.router.signal(Signal::CONT);
    stand.heals();
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
    let strike = async |stand: &mut Stand| {
        stand.strikes();
        stand.router.signal(Signal::TERM);
        stand.router.end().await;
        stand.start_router();
        stand.heals();
    };
    fault.strikes(strike).await;
}

/// Its sockets stay, and so nobody is left without a status.
pub(crate) async fn restarts_router(stand: &mut Stand) {
    stand.strikes();
    stand.router.signal(Signal::USR2);
    stand.router.says("service ports are open again").await;
    stand.heals();
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
    let strike = async |stand: &mut Stand| {
        stand.strikes();
        stand.inner.kill().await;
        pause(1.0).await;
        stand.start_inner();
        stand.heals();
    };
    fault.strikes(strike).await;
}

pub(crate) async fn stops_inner(stand: &mut Stand) {
    stand.strikes();
    stand.inner.signal(Signal::STOP);
    // Longer than a stop may take: it has to come from the other process.
    pause(10.0).await;
    stand.inner.signal(Signal::CONT);
    stand.heals();
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
    let strike = async |stand: &mut Stand| {
        stand.strikes();
        stand.inner.signal(Signal::TERM);
        stand.inner.end().await;
        stand.start_inner();
        stand.heals();
    };
    fault.strikes(strike).await;
}

pub(crate) async fn kills_guardian(stand: &mut Stand) {
    let guardian = stand.child_of_inner("p2p-guardian").await;
    stand.strikes_once();
    signal(guardian, Signal::KILL);
    // There is another.
    stand.child_of_inner("p2p-guardian").await;
}

#[tokio::test]
async fn guardian_killed() {
    Fault::named("guardian killed")
        .strikes(kills_guardian)
        .await;
}

pub(crate) async fn kills_worker(stand: &mut Stand) {
    let worker = stand.child_of_inner("ask.worker").await;
    stand.strikes_once();
    signal(worker, Signal::KILL);
    stand.child_of_inner("ask.worker").await;
}

#[tokio::test]
async fn worker_killed() {
    Fault::named("worker killed").strikes(kills_worker).await;
}

pub(crate) async fn kills_console(stand: &mut Stand) {
    stand.strikes();
    stand.reins.is_gone.store(true, Ordering::SeqCst);
    pause(1.5).await;
    stand.reins.is_gone.store(false, Ordering::SeqCst);
    stand.heals();
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
    let strike = async |stand: &mut Stand| {
        stand.strikes();
        stand.reins.is_silent.store(true, Ordering::SeqCst);
        pause(1.5).await;
        stand.reins.is_silent.store(false, Ordering::SeqCst);
        stand.heals();
    };
    fault.strikes(strike).await;
}

/// Two live inners of one identity, of which one ends. The other was told that it is not alone, and
/// waits a minute, or until somebody tells it to look again.
#[tokio::test]
async fn twins() {
    let fault = Fault::named("twins, 2 s");
    let strike = async |stand: &mut Stand| {
        stand.strikes();
        let mut twin = stand.another_inner();
        pause(2.0).await;
        twin.signal(Signal::TERM);
        twin.end().await;
        stand.inner.signal(Signal::HUP);
        stand.heals();
    };
    fault.strikes(strike).await;
}

//! Faults of the network between the inner and the router.

use std::time::Duration;

use super::fixture::{Fixture, pause};
use super::round::Fault;
use crate::common::proxy::{NetworkFaults, ProxyDirection};

/// For so many seconds, all that passes suffers this.
async fn faults(fixture: &mut Fixture, faults: NetworkFaults, seconds: f64) {
    fixture.strikes();
    fixture.proxy.faults(faults);
    pause(seconds).await;
    fixture.proxy.faults(NetworkFaults::default());
    fixture.heals();
}

pub(crate) async fn cuts(fixture: &mut Fixture) {
    fixture.strikes_once();
    fixture.proxy.cut();
}

#[tokio::test]
async fn cut() {
    Fault::named("link cut").severs().strikes(cuts).await;
}

pub(crate) async fn resets(fixture: &mut Fixture) {
    fixture.strikes_once();
    fixture.proxy.reset();
}

#[tokio::test]
async fn reset() {
    Fault::named("link reset").severs().strikes(resets).await;
}

/// As when a NAT has forgotten the connection: new ones pass at once.
pub(crate) async fn silences(fixture: &mut Fixture) {
    fixture.strikes_once();
    fixture.proxy.silence();
}

#[tokio::test]
async fn silence() {
    let fault = Fault::named("link silent").severs().tells_nobody();
    fault.strikes(silences).await;
}

/// The inner hears that it is driven, and nobody hears the inner.
#[tokio::test]
async fn silence_to_the_router() {
    let fault = Fault::named("link silent to the router");
    // The lease is renewed for as long as the car's clock, as the driver saw it last, is young.
    let fault = fault
        .severs()
        .tells_nobody()
        .delays(Duration::from_millis(600));
    let strike = async |fixture: &mut Fixture| {
        fixture.strikes_once();
        fixture.proxy.silence_way(ProxyDirection::ToRouter);
    };
    fault.strikes(strike).await;
}

#[tokio::test]
async fn silence_to_the_inner() {
    let fault = Fault::named("link silent to the inner")
        .severs()
        .tells_nobody();
    let strike = async |fixture: &mut Fixture| {
        fixture.strikes_once();
        fixture.proxy.silence_way(ProxyDirection::ToInner);
    };
    fault.strikes(strike).await;
}

/// All waits, and then all comes at once.
pub(crate) async fn stalls(fixture: &mut Fixture) {
    fixture.strikes();
    fixture.proxy.hold(ProxyDirection::ToRouter);
    fixture.proxy.hold(ProxyDirection::ToInner);
    pause(3.0).await;
    fixture.proxy.release();
    fixture.heals();
}

#[tokio::test]
async fn stall() {
    Fault::named("link stalled, 3 s")
        .severs()
        .strikes(stalls)
        .await;
}

pub(crate) async fn is_late(fixture: &mut Fixture) {
    let late = NetworkFaults {
        delay: Duration::from_millis(50),
        jitter: Duration::from_millis(200),
        ..NetworkFaults::default()
    };
    faults(fixture, late, 2.0).await;
}

#[tokio::test]
async fn delay_and_jitter() {
    let fault = Fault::named("50 to 250 ms late, 2 s").delays(Duration::from_millis(250));
    fault.strikes(is_late).await;
}

#[tokio::test]
async fn narrow() {
    let narrow = NetworkFaults {
        bytes_per_second: 4096,
        ..NetworkFaults::default()
    };
    let fault = Fault::named("4 KiB a second, 2 s").delays(Duration::from_secs(1));
    let strike = async |fixture: &mut Fixture| faults(fixture, narrow, 2.0).await;
    fault.strikes(strike).await;
}

#[tokio::test]
async fn garbage() {
    let garbled = NetworkFaults {
        is_garbled: true,
        ..NetworkFaults::default()
    };
    let fault = Fault::named("garbage, 1.5 s").severs();
    let strike = async |fixture: &mut Fixture| faults(fixture, garbled, 1.5).await;
    fault.strikes(strike).await;
}

/// What TCP's own sum does not find. Without TLS nothing else does: a flipped bit that leaves a
/// message whole is taken for what was said, and so neither what is put out nor what an answer says
/// of it can be promised, nor which car it is that says hello (which is spared). What is promised
/// all the same: nothing runs twice, each caller gets a status, the car never moves on without a
/// driver, nothing hangs or grows, and all is as before when the network is honest again. Who asked
/// for a run whose id was flipped waits for as long as its link lives, which is cut in the end.
#[tokio::test]
async fn bits_flip() {
    let flipped = NetworkFaults {
        flips_a_bit_in: 1000,
        spares: 2000,
        ..NetworkFaults::default()
    };
    let fault = Fault::named("bits flip, 3 s, then link cut").garbles();
    let strike = async |fixture: &mut Fixture| {
        faults(fixture, flipped, 3.0).await;
        fixture.proxy.cut();
    };
    fault.strikes(strike).await;
}

/// With TLS each of them is an alert and the link's end, from its first byte on: every promise holds.
#[tokio::test]
async fn bits_flip_under_tls() {
    let flipped = NetworkFaults {
        flips_a_bit_in: 3000,
        ..NetworkFaults::default()
    };
    // A handshake whose length was flipped waits for the rest until its 5 s are over.
    let mut fault = Fault::named("bits flip under TLS, 3 s").tells_nobody();
    fault.fixture_config.has_keys = true;
    let strike = async |fixture: &mut Fixture| faults(fixture, flipped, 3.0).await;
    fault.strikes(strike).await;
}

/// No network does this to TCP. What it shows is that a run that is asked for twice runs once.
#[tokio::test]
async fn doubled() {
    let doubled = NetworkFaults {
        is_doubled: true,
        ..NetworkFaults::default()
    };
    let fault = Fault::named("all to the inner twice, 2 s");
    let strike = async |fixture: &mut Fixture| faults(fixture, doubled, 2.0).await;
    fault.strikes(strike).await;
}

pub(crate) async fn refuses(fixture: &mut Fixture) {
    fixture.strikes();
    fixture.proxy.refuse(true);
    fixture.proxy.cut();
    pause(2.0).await;
    fixture.proxy.refuse(false);
    fixture.heals();
}

#[tokio::test]
async fn refused() {
    Fault::named("link cut, then refused, 2 s")
        .severs()
        .strikes(refuses)
        .await;
}

//! Faults of the network between the inner and the router.

use std::time::Duration;

use super::round::Fault;
use super::stand::{Stand, pause};
use crate::common::proxy::{Way, Weather};

/// For so many seconds, all that passes suffers this.
async fn weather(stand: &mut Stand, weather: Weather, seconds: f64) {
    stand.strikes();
    stand.proxy.weather(weather);
    pause(seconds).await;
    stand.proxy.weather(Weather::default());
    stand.heals();
}

pub(crate) async fn cuts(stand: &mut Stand) {
    stand.strikes_once();
    stand.proxy.cut();
}

#[tokio::test]
async fn cut() {
    Fault::named("link cut").severs().strikes(cuts).await;
}

pub(crate) async fn resets(stand: &mut Stand) {
    stand.strikes_once();
    stand.proxy.reset();
}

#[tokio::test]
async fn reset() {
    Fault::named("link reset").severs().strikes(resets).await;
}

/// As when a NAT has forgotten the connection: new ones pass at once.
pub(crate) async fn silences(stand: &mut Stand) {
    stand.strikes_once();
    stand.proxy.silence();
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
    let strike = async |stand: &mut Stand| {
        stand.strikes_once();
        stand.proxy.silence_way(Way::ToRouter);
    };
    fault.strikes(strike).await;
}

#[tokio::test]
async fn silence_to_the_inner() {
    let fault = Fault::named("link silent to the inner")
        .severs()
        .tells_nobody();
    let strike = async |stand: &mut Stand| {
        stand.strikes_once();
        stand.proxy.silence_way(Way::ToInner);
    };
    fault.strikes(strike).await;
}

/// All waits, and then all comes at once.
pub(crate) async fn stalls(stand: &mut Stand) {
    stand.strikes();
    stand.proxy.hold(Way::ToRouter);
    stand.proxy.hold(Way::ToInner);
    pause(3.0).await;
    stand.proxy.release();
    stand.heals();
}

#[tokio::test]
async fn stall() {
    Fault::named("link stalled, 3 s")
        .severs()
        .strikes(stalls)
        .await;
}

pub(crate) async fn is_late(stand: &mut Stand) {
    let late = Weather {
        delay: Duration::from_millis(50),
        jitter: Duration::from_millis(200),
        ..Weather::default()
    };
    weather(stand, late, 2.0).await;
}

#[tokio::test]
async fn delay_and_jitter() {
    let fault = Fault::named("50 to 250 ms late, 2 s").delays(Duration::from_millis(250));
    fault.strikes(is_late).await;
}

#[tokio::test]
async fn narrow() {
    let narrow = Weather {
        bytes_per_second: 4096,
        ..Weather::default()
    };
    let fault = Fault::named("4 KiB a second, 2 s").delays(Duration::from_secs(1));
    let strike = async |stand: &mut Stand| weather(stand, narrow, 2.0).await;
    fault.strikes(strike).await;
}

#[tokio::test]
async fn garbage() {
    let garbled = Weather {
        is_garbled: true,
        ..Weather::default()
    };
    let fault = Fault::named("garbage, 1.5 s").severs();
    let strike = async |stand: &mut Stand| weather(stand, garbled, 1.5).await;
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
    let flipped = Weather {
        flips_a_bit_in: 1000,
        spares: 2000,
        ..Weather::default()
    };
    let fault = Fault::named("bits flip, 3 s, then link cut").garbles();
    let strike = async |stand: &mut Stand| {
        weather(stand, flipped, 3.0).await;
        stand.proxy.cut();
    };
    fault.strikes(strike).await;
}

/// With TLS each of them is an alert and the link's end, from its first byte on: every promise holds.
#[tokio::test]
async fn bits_flip_under_tls() {
    let flipped = Weather {
        flips_a_bit_in: 3000,
        ..Weather::default()
    };
    // A handshake whose length was flipped waits for the rest until its 5 s are over.
    let mut fault = Fault::named("bits flip under TLS, 3 s").tells_nobody();
    fault.setting.has_keys = true;
    let strike = async |stand: &mut Stand| weather(stand, flipped, 3.0).await;
    fault.strikes(strike).await;
}

/// No network does this to TCP. What it shows is that a run that is asked for twice runs once.
#[tokio::test]
async fn doubled() {
    let doubled = Weather {
        is_doubled: true,
        ..Weather::default()
    };
    let fault = Fault::named("all to the inner twice, 2 s");
    let strike = async |stand: &mut Stand| weather(stand, doubled, 2.0).await;
    fault.strikes(strike).await;
}

pub(crate) async fn refuses(stand: &mut Stand) {
    stand.strikes();
    stand.proxy.refuse(true);
    stand.proxy.cut();
    pause(2.0).await;
    stand.proxy.refuse(false);
    stand.heals();
}

#[tokio::test]
async fn refused() {
    Fault::named("link cut, then refused, 2 s")
        .severs()
        .strikes(refuses)
        .await;
}

//! A link whose queue is held up: old motion is dropped and its driver told, and a stop overtakes
//! what waits.

use std::time::Duration;

use crate::common::console::FakeConsole;
use crate::common::peer::{self, FakeInner};
use crate::common::proxy::{Proxy, ProxyDirection};
use crate::common::{HttpAnswer, World, answered, asking, get, post};
use p2p_shared::protocol::{
    ControlRequest, InnerToRouter, PressId, RefusedReason, RouterToInner, RunInfo, RunSource,
};
use tokio::task::JoinHandle;

/// A car whose link takes nothing more, and a console that has control of it.
struct HeldUp {
    inner: FakeInner,
    proxy: Proxy,
    port: u16,
    driver: FakeConsole,
    /// The newest press that was refused.
    refused: PressId,
    /// What fills the link.
    filling: JoinHandle<HttpAnswer>,
}

impl HeldUp {
    /// The presses of this are the proof: one waited for a second and was refused.
    async fn new(world: &World) -> Self {
        let proxy = Proxy::narrow(world.main_port()).await;
        let mut inner = FakeInner::greeting(proxy.port(), &peer::hello("held", 0)).await;
        let (_, port) = inner.is_welcomed().await;
        let mut driver = FakeConsole::open(world.main_port()).await;
        let mut epoch = driver.takes(port).await;
        let is_stop = |message| matches!(message, RouterToInner::Stop { .. });
        while !is_stop(inner.receive().await.expect("closed")) {}
        proxy.hold(ProxyDirection::ToInner);
        let filling = tokio::spawn(post(port, "/cgi?command=fill", vec![0; 1 << 20]));
        driver.sees_run(|run| run.source == RunSource::Http).await;
        for number in 1.. {
            // It lives, and its clock goes on, by which no press is old.
            let clock_ms = number * 2000;
            inner.send(InnerToRouter::Clock { clock_ms }).await;
            let press = PressId { epoch, number };
            driver
                .presses(port, press, "forward", clock_ms + 3_600_000)
                .await;
            // The first may have come before the link was full.
            let told = tokio::time::timeout(Duration::from_secs(3), driver.is_refused_press());
            if let Ok(told) = told.await {
                assert_eq!(told, (RefusedReason::TooSlow, press));
                return Self {
                    inner,
                    proxy,
                    port,
                    driver,
                    refused: press,
                    filling,
                };
            }
            // It was silent with that press held, so it has no control any more.
            epoch = driver.takes(port).await;
        }
        unreachable!("numbers end")
    }

    /// What the car hears when the link goes on, up to what `is_last`.
    async fn hears_all(&mut self, is_last: impl Fn(&RouterToInner) -> bool) -> Vec<RouterToInner> {
        self.proxy.release();
        let mut heard = Vec::new();
        while !heard.last().is_some_and(&is_last) {
            heard.push(self.inner.receive().await.expect("closed"));
        }
        heard
    }
}

#[tokio::test]
async fn a_press_that_waited_for_a_second_is_refused_and_never_said() {
    let world = World::open();
    let mut held = HeldUp::new(&world).await;
    let refused = held.refused;
    let over = held
        .driver
        .sees_run(|run| run.source == RunSource::Drive && run.result.is_some())
        .await;
    assert_eq!(over.result.unwrap().status, 503);
    // Its renewals are nothing; the next press is.
    let next = PressId {
        number: refused.number + 1,
        ..refused
    };
    let heard = held.hears_all(|message| *message == RouterToInner::Release { press: refused });
    let heard = heard.await;
    let is_it = |message: &RouterToInner| matches!(message, RouterToInner::Press { press, .. } if *press == refused);
    assert!(!heard.iter().any(is_it));
    held.driver
        .presses(held.port, next, "forward", u64::MAX)
        .await;
    loop {
        match held.inner.receive().await.expect("closed") {
            RouterToInner::Press { press, .. } => return assert_eq!(press, next),
            message => assert!(!is_it(&message)),
        }
    }
}

#[tokio::test]
async fn a_stop_overtakes_motions_that_wait_and_none_of_them_runs_afterwards() {
    let world = World::open();
    let mut held = HeldUp::new(&world).await;
    held.driver
        .requests_control(held.port, ControlRequest::Release)
        .await;
    held.driver
        .sees_control(|control| control.driver.is_none())
        .await;
    let mut motions = Vec::new();
    for target in ["/cgi?command=forward", "/cgi?command=back&for=300"] {
        motions.push(asking(held.port, target));
        held.driver
            .sees_run(|run| run.source == RunSource::Http && run.command.as_str() != "fill")
            .await;
    }
    held.driver.stops(held.port).await;
    // Behind the stop in the console's order, and so in everyone's.
    held.driver
        .requests_control(held.port, ControlRequest::Take)
        .await;
    held.driver
        .sees_control(|control| control.driver.is_some())
        .await;
    let filled = |message: &RouterToInner| matches!(message, RouterToInner::Run(_));
    let mut heard = held.hears_all(filled).await;
    for motion in motions {
        assert_eq!(answered(motion).await.verdict(), (503, "no"));
    }
    // Whatever was to come has come before this answer.
    let marker = tokio::spawn(get(held.port, "/cgi?command=marker"));
    let asked = held.inner.is_asked_to_run().await;
    assert_eq!(asked.command.as_str(), "marker");
    held.inner.starts(asked.run).await;
    held.inner.finishes(asked.run).await;
    marker.await.unwrap();
    let stop = |message: &RouterToInner| matches!(message, RouterToInner::Stop { .. });
    assert!(heard.iter().any(stop), "{heard:?}");
    let Some(RouterToInner::Run(run)) = heard.pop() else {
        panic!("it filled")
    };
    assert_eq!(run.command.as_str(), "fill");
    held.inner.starts(run.run).await;
    held.inner.finishes(run.run).await;
    assert_eq!(answered(held.filling).await.verdict(), (200, "yes"));
}

#[tokio::test]
async fn a_stop_is_handed_over_though_its_caller_has_left() {
    let world = World::open();
    let mut held = HeldUp::new(&world).await;
    let caller = asking(held.port, "/cgi?command=stop");
    let is_stop = |run: &RunInfo| run.command.as_str() == "stop" && run.source == RunSource::Http;
    let stop = held.driver.sees_run(is_stop).await;
    caller.abort();
    held.driver
        .sees_run(|run| run.run == stop.run && run.result.is_some())
        .await;
    let is_it =
        |message: &RouterToInner| matches!(message, RouterToInner::Run(run) if run.run == stop.run);
    held.hears_all(is_it).await;
    // Nor is it ended for that, when it runs.
    held.inner
        .send(InnerToRouter::Started { run: stop.run })
        .await;
    let next = asking(held.port, "/cgi?command=hello");
    loop {
        match held.inner.receive().await.expect("closed") {
            RouterToInner::Cancel { run } => assert_ne!(run, stop.run),
            RouterToInner::Run(run) if run.command.as_str() == "hello" => break,
            _ => {}
        }
    }
    next.abort();
}

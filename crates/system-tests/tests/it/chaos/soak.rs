//! The soak: one fixture runs for long, with load, a driver and a camera viewer, and one fault strikes
//! after the other. Nothing may grow, and all promises hold.
//!
//! At the end the router restarts itself. In the suite it lasts for two faults. By hand, with a plot: `scripts/soak.sh 60`.

use std::time::{Duration, Instant};

use p2p_shared::protocol::ControlRequest;
use tokio_util::sync::CancellationToken;

use super::check::PromiseReport;
use super::driver::HoldingDriver;
use super::fixture::{Fixture, pause};
use super::fixture_config::{FixtureConfig, SETTINGS};
use super::load::CallTarget;
use super::samples::{ProcessSamples, RESTART, watches_camera};
use super::{load, network, processes};
use crate::common::program::path;
use crate::common::{local, until};

const CALLERS: usize = 8;
/// So many kinds of faults.
const FAULTS: usize = 11;

/// The fault of this number, and what it is called.
async fn strikes(number: usize, fixture: &mut Fixture) -> &'static str {
    match number % FAULTS {
        0 => named("link cut", network::cuts(fixture)).await,
        1 => named("worker killed", processes::kills_worker(fixture)).await,
        2 => named("link silent", network::silences(fixture)).await,
        3 => named("router stopped", processes::stops_router(fixture)).await,
        4 => named("guardian killed", processes::kills_guardian(fixture)).await,
        5 => named("link reset", network::resets(fixture)).await,
        6 => named("console killed", processes::kills_console(fixture)).await,
        7 => named("link late", network::is_late(fixture)).await,
        8 => named("inner stopped", processes::stops_inner(fixture)).await,
        9 => named("link refused", network::refuses(fixture)).await,
        _ => named("link stalled", network::stalls(fixture)).await,
    }
}

/// After which the router's memory begins anew, and is no longer measured against what it was.
async fn restarts(fixture: &mut Fixture) -> &'static str {
    named(RESTART, processes::restarts_router(fixture)).await
}

async fn named(name: &'static str, strike: impl Future<Output = ()>) -> &'static str {
    strike.await;
    name
}

/// Length of a soak, and of the quiet time between two faults, in seconds.
struct SoakLength {
    faults: Option<usize>,
    time: Duration,
    quiet: f64,
}

impl SoakLength {
    fn wanted() -> Self {
        let minutes = std::env::var("P2P_SOAK_MINUTES").ok();
        match minutes.map(|minutes| minutes.parse::<f64>().unwrap()) {
            Some(minutes) => Self {
                faults: None,
                time: Duration::from_secs_f64(minutes * 60.0),
                quiet: 20.0,
            },
            None => Self {
                faults: Some(2),
                time: Duration::MAX,
                quiet: 0.2,
            },
        }
    }

    fn is_over(&self, faults: usize, began: Instant) -> bool {
        self.faults.is_some_and(|most| faults >= most) || began.elapsed() >= self.time
    }
}

#[tokio::test]
async fn soak() {
    let length = SoakLength::wanted();
    let folder = tempfile::tempdir().unwrap();
    let camera = path("sim-car");
    let camera = format!("camera = \"{} camera --rate 15\"\n", camera.display());
    std::fs::write(folder.path().join(SETTINGS), camera).unwrap();
    let mut fixture = Fixture::start(folder, FixtureConfig::default()).await;
    let history = fixture.history.clone();
    let (main, service) = (local(fixture.main.port), fixture.service.port);
    let end = CancellationToken::new();
    let mut tasks: Vec<_> = (0..CALLERS)
        .map(|n| tokio::spawn(load::calls(n, fixture.car(), history.clone(), end.clone())))
        .collect();
    let looks = load::looks(
        CallTarget::main_port(fixture.main.port),
        history.clone(),
        end.clone(),
    );
    tasks.push(tokio::spawn(looks));
    let driver = HoldingDriver {
        main,
        service_port: service,
        key: None,
        history: history.clone(),
        driver_faults: fixture.driver_faults.clone(),
        motion: "forward",
        request: ControlRequest::Take,
    };
    tasks.push(tokio::spawn(driver.drives(end.clone())));
    let mut samples = ProcessSamples::default();
    let pictures = samples.pictures.clone();
    tasks.push(tokio::spawn(watches_camera(service, pictures, end.clone())));
    let began = Instant::now();
    let mut faults = 0;
    let mut is_last = false;
    while !is_last {
        fixture.moves().await;
        samples.take_for(&fixture, length.quiet).await;
        is_last = length.is_over(faults, began);
        let name = if is_last {
            restarts(&mut fixture).await
        } else {
            strikes(faults, &mut fixture).await
        };
        faults += 1;
        let is_back = || history.lock().unwrap().service().is_some();
        until("service is back", is_back).await;
        let took = history.lock().unwrap().service();
        samples.struck(name, took.unwrap_or_default());
    }
    samples.take_for(&fixture, length.quiet).await;
    until("a picture comes", || samples.pictures_seen() > 0).await;
    end.cancel();
    for task in tasks {
        task.await.unwrap();
    }
    pause(0.5).await;
    let mut history = std::mem::take(&mut *history.lock().unwrap());
    history.read_notes(fixture.path());
    let mut broken = history.broken(PromiseReport::of(false));
    broken.extend(samples.grown(history.witness.len()));
    eprintln!("{}", samples.told(&history, faults, broken.len()));
    if let Ok(file) = std::env::var("P2P_SOAK_CHART") {
        std::fs::write(file, samples.chart(&history)).unwrap();
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

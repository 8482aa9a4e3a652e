//! One round of three routers: load at each, a driver, a fault, healing, and a check of what is left over.

use std::time::Duration;

use p2p_shared::protocol::ControlRequest;
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::check::PromiseReport;
use super::driver::HoldingDriver;
use super::figures::RoundFigures;
use super::fixture::pause;
use super::history::{CallRecord, History, now};
use super::load;
use super::mesh_fixture::{HOSTS, MeshConfig, MeshFixture};
use super::round::{asks_what_became, nothing_left, rounds};
use crate::common::until;

/// A fault of a mesh, and what is promised all the same.
pub(crate) struct MeshFault {
    name: &'static str,
    pub(crate) promises: PromiseReport,
    /// How soon after it is over all routers agree.
    agree_within: Duration,
    /// Every command is answered as without it.
    is_unnoticed: bool,
    config: fn() -> Option<MeshConfig>,
}

impl MeshFault {
    pub(crate) fn named(name: &'static str) -> Self {
        let by_hand = rounds().is_some();
        Self {
            name,
            promises: PromiseReport::of(by_hand),
            agree_within: Duration::from_secs(if by_hand { 3 } else { 30 }),
            is_unnoticed: false,
            config: || Some(MeshConfig::default()),
        }
    }

    /// With what this makes for each round; `None` where it can't be made.
    pub(crate) fn with(mut self, config: fn() -> Option<MeshConfig>) -> Self {
        self.config = config;
        self
    }

    /// No proof of a driver reaches the car after it.
    pub(crate) fn severs(mut self) -> Self {
        self.promises.severs = true;
        self
    }

    /// Who talks to a router gets no answer.
    pub(crate) fn router_dies(mut self) -> Self {
        self.promises.router_dies = true;
        self
    }

    /// No answer changes for it.
    pub(crate) fn changes_nothing(mut self) -> Self {
        self.is_unnoticed = true;
        self
    }

    /// The dead connection is noticed only after this time.
    pub(crate) fn noticed_after(mut self, time: Duration) -> Self {
        self.promises.service_within += time;
        self
    }

    /// Lets it strike once, or as often as is wanted, and says the figures.
    pub(crate) async fn strikes(self, strike: impl AsyncFn(&mut MeshFixture)) {
        let rounds = rounds().unwrap_or(1);
        let mut broken = Vec::new();
        let mut figures = RoundFigures::default();
        for round in 1..=rounds {
            let Some(config) = (self.config)() else {
                return;
            };
            let history = self.round(config, &strike).await;
            let mut sentences = history.broken(self.promises);
            if self.is_unnoticed {
                sentences.extend(failures(&history));
            }
            broken.extend(
                sentences
                    .iter()
                    .map(|what| format!("round {round}: {what}")),
            );
            figures.add(&history, self.promises.severs);
        }
        eprintln!("{}", figures.row(self.name, rounds, broken.len()));
        assert!(broken.is_empty(), "{}: {broken:#?}", self.name);
    }

    async fn round(&self, config: MeshConfig, strike: &impl AsyncFn(&mut MeshFixture)) -> History {
        let mut fixture = MeshFixture::start(config).await;
        let (path, history) = (fixture.path().to_owned(), fixture.history.clone());
        let end = CancellationToken::new();
        let mut tasks: Vec<_> = HOSTS
            .map(|host| {
                let calls = load::calls(host, fixture.car(host), history.clone(), end.clone());
                tokio::spawn(calls)
            })
            .into();
        // At a router that does not have the car.
        let driver = HoldingDriver {
            main: fixture.main(2).at,
            service_port: fixture.service_port(),
            key: fixture.driver_key(),
            history: history.clone(),
            driver_faults: fixture.driver_faults.clone(),
            motion: "forward",
            request: ControlRequest::Take,
        };
        tasks.push(tokio::spawn(driver.clone().drives(end.clone())));
        fixture.moves().await;
        pause(0.3).await;
        fixture.moves().await;
        strike(&mut fixture).await;
        let over = now();
        let is_back = || history.lock().unwrap().service().is_some();
        until("service is back", is_back).await;
        let mut left_over = self.agree(&fixture, over).await;
        // And others drive, too, by another router.
        let rival = HoldingDriver {
            main: fixture.main(1).at,
            ..driver
        };
        rival.loses_control().await;
        pause(0.3).await;
        end.cancel();
        for task in tasks {
            task.await.unwrap();
        }
        fixture.agrees().await;
        asks_what_became(&fixture.car(2), &history).await;
        fixture.end().await;
        left_over.extend(nothing_left(&path).await);
        let mut history = std::mem::take(&mut *history.lock().unwrap());
        history.left_over.append(&mut left_over);
        history.read_notes(&path);
        history
    }

    /// Waits until one router has the car and all serve it; a sentence if that took too long.
    async fn agree(&self, fixture: &MeshFixture, over: Duration) -> Vec<String> {
        fixture.agrees().await;
        let took = now() - over;
        let is_late = took > self.agree_within;
        let late = is_late.then(|| format!("the routers agreed only after {took:?}"));
        late.into_iter().collect()
    }
}

/// A sentence for each command that failed.
fn failures(history: &History) -> Vec<String> {
    let failed = |call: &CallRecord| call.answer.as_ref().is_none_or(|it| it.status != 200);
    let failed = history.calls.iter().filter(|call| failed(call));
    failed.map(|call| format!("it failed: {call:?}")).collect()
}

impl MeshFixture {
    /// Ends all programs.
    async fn end(&mut self) {
        self.inner.signal(Signal::TERM);
        self.inner.end().await;
        for program in self.routers.iter_mut().chain(&mut self.nats) {
            program.signal(Signal::TERM);
            program.end().await;
        }
    }
}

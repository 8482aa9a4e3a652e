//! One round: load, driver, fault, healing, and a check of what is left over.

use std::path::{Path, PathBuf};
use std::time::Duration;

use p2p_shared::protocol::ControlRequest;
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::check::PromiseReport;
use super::driver::HoldingDriver;
use super::figures::RoundFigures;
use super::fixture::{Fixture, pause, processes_in};
use super::fixture_config::FixtureConfig;
use super::history::{History, ReportedOutcome, SharedHistory};
use super::load::{self, CallTarget};
use crate::common::{local, until, until_so};

const CALLERS: usize = 3;
/// Descriptors that may come and go without being lost: a file of the log, a connection on its way.
const FEW_DESCRIPTORS: usize = 8;
/// How long what was used may take to be given back.
const GIVEN_BACK: Duration = Duration::from_secs(30);

/// A fault, and what is promised all the same.
pub(crate) struct Fault {
    name: &'static str,
    promises: PromiseReport,
    pub(crate) fixture_config: FixtureConfig,
    /// Makes what the folder needs before anything runs there.
    pub(crate) prepare: fn(&Path),
    /// Takes it away.
    pub(crate) clear: fn(&Path),
}

impl Fault {
    pub(crate) fn named(name: &'static str) -> Self {
        Self {
            name,
            promises: PromiseReport::of(rounds().is_some()),
            fixture_config: FixtureConfig::default(),
            prepare: |_| {},
            clear: |_| {},
        }
    }

    /// No proof of a driver reaches the car after it.
    pub(crate) fn severs(mut self) -> Self {
        self.promises.severs = true;
        self
    }

    /// The router dies of it.
    pub(crate) fn router_dies(mut self) -> Self {
        self.promises.router_dies = true;
        self
    }

    /// What is said over the link may come as something else.
    pub(crate) fn garbles(mut self) -> Self {
        self.promises.garbles = true;
        self
    }

    /// It keeps a stop, or what is on its way to the car, from being there for so long.
    pub(crate) fn delays(mut self, time: Duration) -> Self {
        self.promises.stop_margin += time;
        self
    }

    /// Nobody is told that the connection is dead; silence tells, after 6 s.
    pub(crate) fn tells_nobody(self) -> Self {
        self.noticed_after(Duration::from_secs(6))
    }

    /// The dead connection is noticed only after this time.
    pub(crate) fn noticed_after(mut self, time: Duration) -> Self {
        self.promises.service_within += time;
        self
    }

    /// Lets it strike once, or as often as is wanted, and says the figures.
    pub(crate) async fn strikes(self, strike: impl AsyncFn(&mut Fixture)) {
        let rounds = rounds().unwrap_or(1);
        let mut broken = Vec::new();
        let mut figures = RoundFigures::default();
        for round in 1..=rounds {
            let history = self.round(&strike).await;
            let sentences = history.broken(self.promises);
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

    async fn round(&self, strike: &impl AsyncFn(&mut Fixture)) -> History {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        (self.prepare)(&path);
        let prepared = PreparedFolder(self.clear, path.clone());
        let mut fixture = Fixture::start(folder, self.fixture_config.clone()).await;
        let before = fixture.descriptors();
        let history = fixture.history.clone();
        let end = CancellationToken::new();
        let (main, service) = (local(fixture.main.port), fixture.car());
        let mut tasks: Vec<_> = (0..CALLERS)
            .map(|n| {
                let calls = load::calls(n, service.clone(), history.clone(), end.clone());
                tokio::spawn(calls)
            })
            .collect();
        tasks.push(tokio::spawn(load::looks(
            CallTarget::main_port(fixture.main.port),
            history.clone(),
            end.clone(),
        )));
        let driver = HoldingDriver {
            main,
            service_port: fixture.service.port,
            key: fixture.keys.as_ref().map(|keys| keys.driver.clone()),
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
        let is_back = || history.lock().unwrap().service().is_some();
        until("service is back", is_back).await;
        // And stays, when others drive, too.
        pause(0.1).await;
        driver.loses_control().await;
        pause(0.3).await;
        end.cancel();
        for task in tasks {
            task.await.unwrap();
        }
        fixture.serves().await;
        asks_what_became(&service, &history).await;
        let mut left_over: Vec<_> = quiet(&fixture, before).await.into_iter().collect();
        fixture.inner.signal(Signal::TERM);
        fixture.inner.end().await;
        fixture.router.signal(Signal::TERM);
        fixture.router.end().await;
        left_over.extend(nothing_left(&path).await);
        let mut history = std::mem::take(&mut *history.lock().unwrap());
        history.left_over.append(&mut left_over);
        history.read_notes(&path);
        drop(prepared);
        history
    }
}

/// How often, if it is told by hand.
pub(crate) fn rounds() -> Option<usize> {
    let wanted = std::env::var("P2P_CHAOS_ROUNDS").ok();
    wanted.map(|rounds| rounds.parse().unwrap())
}

/// Preparations in a folder. Dropping it undoes them, even if the round fails.
struct PreparedFolder(fn(&Path), PathBuf);

impl Drop for PreparedFolder {
    fn drop(&mut self) {
        (self.0)(&self.1);
    }
}

/// Asks the car for each run whose answer left it open.
pub(crate) async fn asks_what_became(car: &CallTarget, history: &SharedHistory) {
    let calls = history.lock().unwrap().calls.clone();
    for answer in calls.into_iter().filter_map(|call| call.answer) {
        if answer.executed != "unknown" {
            continue;
        }
        let target = format!("/run/{}", answer.run);
        let mut story = None;
        until_so("the run is over", async || {
            let Ok(Some(told)) = load::ask(car, &target).await else {
                return false;
            };
            if told.status == 404 {
                story = Some(ReportedOutcome::NotBegun);
                return true;
            }
            let Ok(told) = serde_json::from_str::<serde_json::Value>(&told.text()) else {
                return false;
            };
            let executed = told["executed"].as_str();
            story = executed.map(|it| ReportedOutcome::Executed(it.to_owned()));
            !["waiting", "running"].contains(&told["state"].as_str().unwrap_or("waiting"))
        })
        .await;
        let mut history = history.lock().unwrap();
        history
            .reported
            .extend(story.map(|story| (answer.run, story)));
    }
}

/// Waits until nothing runs and no more descriptors are open than before; what is left over.
async fn quiet(fixture: &Fixture, before: [usize; 2]) -> Option<String> {
    let mut left = String::new();
    let waiting = until_so("it is quiet", async || {
        let runs = load::metric(
            &CallTarget::main_port(fixture.main.port),
            "p2p_router_open_runs ",
        )
        .await;
        let now = fixture.descriptors();
        left = format!("open runs: {runs:?}; descriptors: {before:?}, then {now:?}");
        let is_few = |n: usize| now[n] <= before[n] + FEW_DESCRIPTORS;
        runs == Some(0) && is_few(0) && is_few(1)
    });
    let ended = tokio::time::timeout(GIVEN_BACK, waiting).await;
    ended.err().map(|_| left)
}

/// Waits until no process works in the folder; which still do.
pub(crate) async fn nothing_left(folder: &Path) -> Vec<String> {
    let waiting = until("no process is left", || processes_in(folder).is_empty());
    match tokio::time::timeout(GIVEN_BACK, waiting).await {
        Ok(()) => Vec::new(),
        Err(_) => processes_in(folder),
    }
}

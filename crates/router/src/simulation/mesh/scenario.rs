//! Runs one history of three routers from its seed to its end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::answers::AnswerLog;
use super::super::history::History;
use super::super::machine::Machine;
use super::super::operator::{ConsoleView, DiallingConsole, run_operator};
use super::super::rng::Rng;
use super::super::world::SimInner;
use super::ROUTERS;
use super::drivers;
use super::world::MeshWorld;

/// Number of the first console: pages have those below.
const FIRST_CONSOLE: u64 = 100;

/// The parts of one history.
pub(super) struct MeshScenario {
    pub rng: Rng,
    pub world: Arc<MeshWorld>,
    pub car_inner: Option<SimInner>,
    pub twin: Option<SimInner>,
    pub answers: AnswerLog,
    /// Number of consoles.
    pub consoles: u64,
    /// What the clock of each router shows as it starts next.
    pub clocks: [SystemTime; ROUTERS],
    /// True if a link may be lost silently: service then comes back later.
    pub was_lost: bool,
}

impl MeshScenario {
    pub(super) fn new(seed: u64, history: &History, commands: &Path) -> Self {
        let rng = Rng::new(seed);
        let world = MeshWorld::new(history.clone(), &rng, commands.to_owned());
        let base = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let off = rng.one_in(3);
        // An hour off, or some seconds; never the same for two.
        let clocks = std::array::from_fn(|router| {
            let most = if off { 3_600_000 } else { 5_000 };
            base + rng.ms(0..most) + Duration::from_millis(router as u64 * 7)
        });
        Self {
            world: Arc::new(world),
            car_inner: None,
            twin: None,
            answers: AnswerLog::default(),
            consoles: rng.number(0..3),
            clocks,
            was_lost: false,
            rng,
        }
    }

    pub(super) fn log(&self, what: impl Into<String>) {
        let what = what.into();
        self.world.history.log(|| format!("*** {what}"));
    }

    pub(super) async fn run(mut self) {
        for router in 0..ROUTERS {
            self.world
                .start_router(router, self.clocks[router], Vec::new());
        }
        self.car_inner = Some(self.world.start_inner(0, &self.rng));
        let mut others = JoinSet::new();
        for number in 0..self.rng.number(0..3) {
            others.spawn(drivers::drive(self.world.clone(), self.rng.fork(), number));
        }
        for number in 0..self.consoles {
            let dial = dial_consoles(self.world.clone(), self.rng.fork());
            let all = (self.world.shared.clone(), self.answers.clone());
            others.spawn(run_operator(
                all,
                dial,
                self.rng.fork(),
                FIRST_CONSOLE + number,
            ));
        }
        others.spawn(watch_invariants(self.world.clone()));
        let asking = self.answers.clone();
        others.spawn(asking.keep_asking_all(self.world.clone(), self.rng.fork()));
        sleep(self.rng.ms(500..2500)).await;
        for _ in 0..self.rng.number(1..7) {
            self.break_something().await;
            sleep(self.rng.ms(1..1500)).await;
        }
        self.heal().await;
        self.end().await;
        others.shutdown().await;
    }
}

/// Connects a console each time to a router of its choice, by a key of its choice.
fn dial_consoles(world: Arc<MeshWorld>, rng: Rng) -> Box<dyn Fn() -> DiallingConsole + Send> {
    Box::new(move || {
        let (world, router, key) = (world.clone(), rng.below(ROUTERS), world.keys.one_of(&rng));
        Box::pin(async move {
            let socket = world.dial_console(router, &key).await?;
            let key = Some(key);
            let view = ConsoleView {
                router,
                key,
                ..ConsoleView::default()
            };
            Some((socket, view))
        })
    })
}

/// Checks the promises that must hold at any time.
async fn watch_invariants(world: Arc<MeshWorld>) {
    let mut was_crowded = false;
    loop {
        let pause = if world.is_quiet() { 250 } else { 50 };
        sleep(Duration::from_millis(pause)).await;
        world.machines.iter().for_each(Machine::check_motion);
        world.check_keys();
        // While one link takes the place of another there are two.
        let links: usize = world.to_cars[0].iter().map(|line| line.path.live()).sum();
        if links > 1 && was_crowded {
            let how = format!("the car has {links} live links");
            world.history.violation(7, how);
        }
        was_crowded = links > 1;
        for router in 0..ROUTERS {
            let runs = world.with(router, |it| it.context.shutdown.open_runs.len());
            if runs.is_some_and(|runs| runs > 200) {
                world.history.violation(6, "more than 200 runs are open");
            }
        }
    }
}

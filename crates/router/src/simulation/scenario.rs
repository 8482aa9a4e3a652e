//! Runs one history from its seed to its end: its parts, its faults, and their times.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::answers::AnswerLog;
use super::history::{History, HistoryOutcome, in_history};
use super::machine::Machine;
use super::network::NetworkPath;
use super::operator::{self, ConsoleView, DiallingConsole};
use super::rng::Rng;
use super::shared::SharedWorld;
use super::world::{SimInner, SimWorld};

/// Runs the history of this seed.
pub(super) fn run(seed: u64, commands: &Path, is_verbose: bool) -> HistoryOutcome {
    let live = async |history: &History| Scenario::new(seed, history, commands).run().await;
    in_history(seed, is_verbose, Duration::from_secs(600), live)
}

/// The parts of one history.
pub(super) struct Scenario {
    pub rng: Rng,
    pub world: Arc<SimWorld>,
    /// Paths to the router: the car's, those of two consoles, and the second inner's.
    pub paths: Vec<NetworkPath>,
    pub car_inner: Option<SimInner>,
    pub other_inner: Option<SimInner>,
    pub answers: AnswerLog,
    pub wall_clock: SystemTime,
    /// True if connections were lost silently: service then comes back later.
    pub was_lost: bool,
    /// Time by which everything on a slow path has arrived.
    pub calm_at: Instant,
    /// Time until which there may be no guardian: one was killed, and the next starts.
    pub unguarded_until: Instant,
    /// Number of times that the inner was killed.
    pub kills: u32,
}

/// The car's identity.
pub(super) const CAR: &str = "identity1";

impl Scenario {
    fn new(seed: u64, history: &History, commands: &Path) -> Self {
        let rng = Rng::new(seed);
        let shared = SharedWorld::new(history.clone(), &rng, commands.to_owned());
        Self {
            paths: (0..4).map(|_| NetworkPath::new(rng.fork())).collect(),
            world: Arc::new(SimWorld::new(shared)),
            car_inner: None,
            other_inner: None,
            answers: AnswerLog::default(),
            wall_clock: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            was_lost: false,
            calm_at: Instant::now(),
            unguarded_until: Instant::now(),
            kills: 0,
            rng,
        }
    }

    pub(super) fn log(&self, what: impl Into<String>) {
        let what = what.into();
        self.world.history.log(|| format!("*** {what}"));
    }

    async fn run(mut self) {
        self.world.start_router(self.wall_clock);
        self.start_inner();
        let mut others = JoinSet::new();
        let consoles = usize::try_from(self.rng.number(1..3)).unwrap();
        for number in 0..consoles {
            let (path, world) = (self.paths[1 + number].clone(), self.world.clone());
            let dial = Box::new(move || -> DiallingConsole {
                let (path, world) = (path.clone(), world.clone());
                Box::pin(async move {
                    let view = ConsoleView::default();
                    Some((world.dial_console(&path).await?, view))
                })
            });
            let all = (self.world.shared.clone(), self.answers.clone());
            let number = number as u64;
            others.spawn(operator::run_operator(all, dial, self.rng.fork(), number));
        }
        others.spawn(watch_invariants(self.world.clone()));
        let asking = self.answers.clone();
        others.spawn(asking.keep_asking(self.world.clone(), self.rng.fork()));
        sleep(self.rng.ms(200..1000)).await;
        for _ in 0..self.rng.number(1..7) {
            self.break_something().await;
            sleep(self.rng.ms(1..600)).await;
        }
        self.heal().await;
        self.await_service().await;
        self.end(consoles).await;
        others.shutdown().await;
    }

    pub(super) fn start_inner(&mut self) {
        let machine = &self.world.machines[0];
        let inner = SimInner::start(&self.world, machine, (&self.paths[0], CAR), &self.rng);
        self.car_inner = Some(inner);
    }
}

/// Checks the promises that must hold at any time.
async fn watch_invariants(world: Arc<SimWorld>) {
    let mut is_crowded = false;
    loop {
        // A motion that ends too late is also found when it ends.
        let pause = if world.is_quiet() { 250 } else { 50 };
        sleep(Duration::from_millis(pause)).await;
        world.machines.iter().for_each(Machine::check_motion);
        let context = {
            let router = world.router.lock().unwrap();
            let awake = router.as_ref().filter(|router| !router.stall.is_set());
            awake.map(|router| router.context.clone())
        };
        let was_crowded = std::mem::take(&mut is_crowded);
        if let Some(context) = context {
            let links = context.metrics.links.get();
            let ports = context.registry.cars().len();
            // In the moment of a takeover a port has two links.
            is_crowded = links > i64::try_from(ports).unwrap();
            if is_crowded && was_crowded {
                let how = format!("{links} live links for {ports} service ports");
                world.history.violation(4, how);
            }
            world.check_known(&context.registry);
            let runs = context.shutdown.open_runs.len();
            if runs > 200 {
                world.history.violation(6, format!("{runs} runs are open"));
            }
        }
    }
}

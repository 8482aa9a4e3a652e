//! Runs one history from its seed to its end: its parts, its faults, and their times.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::callers::AnswerLog;
use super::history::{History, HistoryOutcome};
use super::machine::Machine;
use super::network::NetworkPath;
use super::operator;
use super::press_ledger::PressLedger;
use super::rng::Rng;
use super::world::{SimInner, SimWorld};

/// Runs the history of this seed.
pub(super) fn run(seed: u64, commands: &Path, is_verbose: bool) -> HistoryOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        p2p_inner::simulation::simulate_the_clock();
        p2p_shared::os::seed_jitter(seed);
        let history = History::new(is_verbose);
        let living = Scenario::new(seed, &history, commands).run();
        if timeout(Duration::from_secs(600), living).await.is_err() {
            history.violation(2, "the history does not end");
        }
        history.end()
    })
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
    /// Time for which the router was stopped in all.
    pub stalled: Duration,
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
        let presses = PressLedger::default();
        let machine = || Machine::new(rng.fork(), history.clone(), presses.clone());
        let machines = [machine(), machine()];
        let commands = commands.to_owned();
        let world = SimWorld::new(history.clone(), presses.clone(), machines, commands);
        Self {
            paths: (0..4).map(|_| NetworkPath::new(rng.fork())).collect(),
            world: Arc::new(world),
            car_inner: None,
            other_inner: None,
            answers: AnswerLog::default(),
            wall_clock: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            stalled: Duration::ZERO,
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
            let path = self.paths[1 + number].clone();
            let all = (self.world.clone(), self.answers.clone());
            others.spawn(operator::run_operator(all, path, self.rng.fork(), number));
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

//! Owns one history from its seed to its end: who is there, what breaks and when, and what must
//! hold at the end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::callers::Answers;
use super::desk;
use super::dice::Dice;
use super::history::{History, Outcome};
use super::machine::Machine;
use super::network::Way;
use super::presses::Presses;
use super::stage::{Agent, Stage};

/// Lives the history of this seed.
pub(super) fn live(seed: u64, commands: &Path, is_told: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        p2p_inner::simulation::simulate_the_clock();
        p2p_shared::os::seed_jitter(seed);
        let history = History::new(is_told);
        let living = Scenario::new(seed, &history, commands).live();
        if timeout(Duration::from_secs(600), living).await.is_err() {
            history.broken(2, "the history does not end");
        }
        history.end()
    })
}

/// One history: who and what is in it.
pub(super) struct Scenario {
    pub dice: Dice,
    pub stage: Arc<Stage>,
    /// The car's way to the router, those of the consoles, and its twin's.
    pub ways: Vec<Way>,
    pub agent: Option<Agent>,
    pub twin: Option<Agent>,
    pub answers: Answers,
    pub wall: SystemTime,
    /// How long the router was stalled in all.
    pub stalled: Duration,
    /// What was done that may take longer to get over.
    pub was_lost: bool,
    /// By then all has come that a slow way had taken up.
    pub calm: Instant,
    /// A guardian was killed, and the next is not there for sure, until then.
    pub unguarded: Instant,
    /// How often the inner was killed.
    pub kills: u32,
}

/// The car's identity.
pub(super) const CAR: &str = "identity1";

impl Scenario {
    fn new(seed: u64, history: &History, commands: &Path) -> Self {
        let dice = Dice::new(seed);
        let presses = Presses::default();
        let machine = || Machine::new(dice.fork(), history.clone(), presses.clone());
        let machines = [machine(), machine()];
        let commands = commands.to_owned();
        let stage = Stage::new(history.clone(), presses.clone(), machines, commands);
        Self {
            ways: (0..4).map(|_| Way::new(dice.fork())).collect(),
            stage: Arc::new(stage),
            agent: None,
            twin: None,
            answers: Answers::default(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            stalled: Duration::ZERO,
            was_lost: false,
            calm: Instant::now(),
            unguarded: Instant::now(),
            kills: 0,
            dice,
        }
    }

    pub(super) fn tell(&self, what: impl Into<String>) {
        let what = what.into();
        self.stage.history.tell(|| format!("*** {what}"));
    }

    async fn live(mut self) {
        self.stage.start_relay(self.wall);
        self.start_inner();
        let mut others = JoinSet::new();
        let consoles = usize::try_from(self.dice.number(1..3)).unwrap();
        for number in 0..consoles {
            let way = self.ways[1 + number].clone();
            let all = (self.stage.clone(), self.answers.clone());
            others.spawn(desk::sit(all, way, self.dice.fork(), number));
        }
        others.spawn(look_on(self.stage.clone()));
        let asking = self.answers.clone();
        others.spawn(asking.ask_on(self.stage.clone(), self.dice.fork()));
        sleep(self.dice.ms(200..1000)).await;
        for _ in 0..self.dice.number(1..7) {
            self.break_something().await;
            sleep(self.dice.ms(1..600)).await;
        }
        self.heal().await;
        self.await_service().await;
        self.end(consoles).await;
        others.shutdown().await;
    }

    pub(super) fn start_inner(&mut self) {
        let machine = &self.stage.machines[0];
        let agent = Agent::start(&self.stage, machine, (&self.ways[0], CAR), &self.dice);
        self.agent = Some(agent);
    }
}

/// Looks at what must hold at any time.
async fn look_on(stage: Arc<Stage>) {
    let mut is_crowded = false;
    loop {
        // What ends too late is seen when it ends.
        let pause = if stage.is_quiet() { 250 } else { 50 };
        sleep(Duration::from_millis(pause)).await;
        stage.machines.iter().for_each(Machine::look);
        let context = {
            let relay = stage.relay.lock().unwrap();
            let awake = relay.as_ref().filter(|relay| !relay.stall.is_set());
            awake.map(|relay| relay.context.clone())
        };
        let was_crowded = std::mem::take(&mut is_crowded);
        if let Some(context) = context {
            let links = context.metrics.links.get();
            let ports = context.registry.services().len();
            // In the moment of a takeover there are two.
            is_crowded = links > i64::try_from(ports).unwrap();
            if is_crowded && was_crowded {
                let how = format!("{links} live links for {ports} service ports");
                stage.history.broken(4, how);
            }
            stage.check_known(&context.registry);
            let runs = context.open_runs.len();
            if runs > 200 {
                stage.history.broken(6, format!("{runs} runs are open"));
            }
        }
    }
}

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
use super::stage::{Agent, Stage};

/// Service is back this long after everything is well again: the longest pause between two
/// attempts (1 s), the kernels' own (0.4 s), and the round trips of dialling and asking.
const BACK: Duration = Duration::from_millis(2000);
/// And where nobody was told that the connection is gone: silence tells, by the pace of an idle
/// link.
const BACK_UNTOLD: Duration = Duration::from_millis(62_000);

/// Lives the history of this seed.
pub(super) fn live(seed: u64, commands: &Path, is_told: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        p2p_inner::simulation::simulate_the_clock();
        p2p_shared::random::simulated::seed(seed);
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
    pub had_twin: bool,
    pub had_failing_stop: bool,
    /// A guardian was killed, and the next is not there for sure, until then.
    pub unguarded: Instant,
    /// How often the inner was killed.
    pub kills: u32,
}

/// How often it is asked whether service is back.
const ASK_EACH: Duration = Duration::from_millis(100);

impl Scenario {
    fn new(seed: u64, history: &History, commands: &Path) -> Self {
        let dice = Dice::new(seed);
        let machine = || Machine::new(dice.fork(), history.clone());
        let machines = [machine(), machine()];
        let stage = Stage::new(history.clone(), machines, commands.to_owned());
        Self {
            ways: (0..4).map(|_| Way::new(dice.fork())).collect(),
            stage: Arc::new(stage),
            agent: None,
            twin: None,
            answers: Answers::default(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            stalled: Duration::ZERO,
            was_lost: false,
            had_twin: false,
            had_failing_stop: false,
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
            others.spawn(desk::sit(self.stage.clone(), way, self.dice.fork(), number));
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
        let agent = Agent::start(&self.stage, machine, &self.ways[0], &self.dice);
        self.agent = Some(agent);
    }

    /// From now on all is well.
    async fn heal(&mut self) {
        self.tell("all is well from now on");
        self.twin = None;
        for way in &self.ways {
            way.set_delay(Duration::from_millis(20), Duration::from_millis(10));
        }
        if self.agent.is_none() {
            self.start_inner();
        }
        self.stage.machines[0].stop_fails_for(Duration::ZERO);
    }

    /// Promise 5.
    async fn await_service(&self) {
        let healed = Instant::now();
        let bound = if self.was_lost { BACK_UNTOLD } else { BACK };
        let (back, mut answered) = tokio::sync::mpsc::channel(1);
        let (stage, answers) = (self.stage.clone(), self.answers.clone());
        let mut asking = JoinSet::new();
        asking.spawn(async move {
            loop {
                let is_soon = healed.elapsed() < BACK;
                let (answers, stage, back) = (answers.clone(), stage.clone(), back.clone());
                tokio::spawn(async move {
                    if let Some(answer) = answers.ask(&stage, "command=hello", None).await
                        && answer.status == 200
                    {
                        let _ = back.try_send(());
                    }
                });
                sleep(if is_soon { ASK_EACH } else { ASK_EACH * 10 }).await;
            }
        });
        // A twin may have the port, or have the car kept out for a minute.
        let patience = match self.had_twin {
            true => Duration::from_secs(2),
            false => BACK_UNTOLD + BACK,
        };
        let is_back = timeout(patience, answered.recv()).await.is_ok();
        asking.shutdown().await;
        let time = healed.elapsed();
        self.tell(format!("service is back: {is_back}, after {time:?}"));
        if !self.had_twin {
            if !self.was_lost {
                self.stage.history.count(|counts| counts.back = Some(time));
            }
            if !is_back || time > bound {
                let how = format!("service is back after {time:?}");
                self.stage.history.broken(5, how);
            }
        }
    }

    /// What must hold when everybody has gone.
    async fn end(&mut self, consoles: usize) {
        sleep(self.dice.ms(0..400)).await;
        self.stage.be_quiet();
        let began = Instant::now();
        while self.answers.open() > 0 && began.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_millis(50)).await;
        }
        let (open, history) = (self.answers.open(), &self.stage.history);
        if open > 0 {
            history.broken(2, format!("{open} callers were not answered within 60 s"));
        }
        // A held key's last press, a motion's limit, and what is left running: seconds at most.
        let began = Instant::now();
        let may_move = self.had_failing_stop;
        let is_calm =
            |machine: &Machine| (may_move || !machine.moves()) && machine.processes() == 0;
        sleep(Duration::from_millis(700)).await;
        while !self.stage.machines.iter().all(is_calm) && began.elapsed() < Duration::from_secs(6) {
            sleep(Duration::from_millis(100)).await;
        }
        // After three that failed, it is for people to try again, if they can: a twin may have had
        // the car kept out for a minute.
        let is_reached = if self.had_failing_stop {
            let answer = self.answers.ask(&self.stage, "command=stop", None).await;
            !self.had_twin || answer.is_some_and(|answer| answer.status == 200)
        } else {
            true
        };
        for machine in &self.stage.machines {
            let (moves, processes) = (machine.moves(), machine.processes());
            if moves && is_reached {
                history.broken(3, "the car still moves at the end");
            }
            if processes > 0 {
                history.broken(6, format!("{processes} processes are left"));
            }
        }
        self.answers.ask_what_became(&self.stage).await;
        self.answers.check(&self.stage, self.stalled);
        let open: usize = self.ways.iter().map(Way::open).sum();
        if open > consoles + 1 {
            history.broken(6, format!("{open} connections are open"));
        }
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        if tasks > 40 {
            history.broken(6, format!("{tasks} tasks are left"));
        }
    }
}

/// Looks at what must hold at any time.
async fn look_on(stage: Arc<Stage>) {
    let mut is_crowded = false;
    loop {
        sleep(Duration::from_millis(25)).await;
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
            let runs = context.open_runs.len();
            if runs > 200 {
                stage.history.broken(6, format!("{runs} runs are open"));
            }
        }
    }
}

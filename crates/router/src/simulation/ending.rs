//! Owns the end of a history: all is well again, and what must hold then.

use std::time::Duration;

use p2p_shared::timing;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::machine::Machine;
use super::network::{CAPACITY, Way};
use super::scenario::Scenario;

/// Service is back this long after everything is well again: the longest pause between two
/// attempts (1 s), the kernels' own (0.4 s), and the round trips of dialling and asking.
const BACK: Duration = Duration::from_millis(2000);
/// And where nobody was told that the connection is gone: silence tells, by the pace of an idle
/// link.
const BACK_UNTOLD: Duration = Duration::from_millis(62_000);
/// How often it is asked whether service is back.
const ASK_EACH: Duration = Duration::from_millis(100);

impl Scenario {
    /// From now on all is well.
    pub(super) async fn heal(&mut self) {
        self.tell("all is well from now on");
        self.twin = None;
        for way in &self.ways {
            way.set_delay(Duration::from_millis(20), Duration::from_millis(10));
            way.set_room(CAPACITY);
        }
        if self.agent.is_none() {
            self.start_inner();
        }
        self.stage.machines[0].stop_fails_for(Duration::ZERO);
    }

    /// Promise 5.
    pub(super) async fn await_service(&self) {
        // What a slow way had taken up comes as late as it would have.
        let healed = Instant::now().max(self.calm);
        let bound = if self.was_lost { BACK_UNTOLD } else { BACK };
        let (back, mut answered) = tokio::sync::mpsc::channel(1);
        let (stage, answers) = (self.stage.clone(), self.answers.clone());
        let mut asking = JoinSet::new();
        asking.spawn(async move {
            loop {
                let is_soon = healed.elapsed() < BACK * 2;
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
        let patience = match self.stage.has_twin() {
            true => Duration::from_secs(2),
            false => BACK_UNTOLD + BACK,
        };
        let is_back = timeout(patience, answered.recv()).await.is_ok();
        asking.shutdown().await;
        let time = healed.elapsed();
        self.tell(format!("service is back: {is_back}, after {time:?}"));
        if !self.stage.has_twin() {
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
    pub(super) async fn end(&mut self, consoles: usize) {
        sleep(self.dice.ms(0..400)).await;
        self.stage.be_quiet();
        let began = Instant::now();
        while self.answers.open() > 0 && began.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_millis(50)).await;
        }
        let (open, history) = (self.answers.open(), self.stage.history.clone());
        if open > 0 {
            history.broken(2, format!("{open} callers were not answered within 60 s"));
        }
        // A held key's last press, a motion's limit, a stop that failed and is tried again by itself,
        // and what is left running: seconds at most.
        let began = Instant::now();
        let is_calm = |machine: &Machine| !machine.moves() && machine.processes() == 0;
        sleep(Duration::from_millis(700)).await;
        while !self.stage.machines.iter().all(is_calm) && began.elapsed() < Duration::from_secs(6) {
            sleep(Duration::from_millis(100)).await;
        }
        self.move_again().await;
        let began = Instant::now();
        while !self.stage.machines.iter().all(is_calm) && began.elapsed() < Duration::from_secs(6) {
            sleep(Duration::from_millis(100)).await;
        }
        for machine in &self.stage.machines {
            let (moves, processes) = (machine.moves(), machine.processes());
            if moves {
                history.broken(3, "the car still moves at the end");
            }
            if processes > 0 {
                history.broken(6, format!("{processes} processes are left"));
            }
        }
        self.answers.ask_what_became(&self.stage).await;
        self.answers.check(&self.stage, self.stalled);
        self.check_port_is_kept().await;
        let open: usize = self.ways.iter().map(Way::open).sum();
        // The router may not have noticed yet which were lost.
        if open > consoles + 1 && !self.was_lost {
            history.broken(6, format!("{open} connections are open"));
        }
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        if tasks > 40 {
            history.broken(6, format!("{tasks} tasks are left"));
        }
    }

    /// Promise 5, of motion too: nobody drives, so that anyone may move it.
    async fn move_again(&self) {
        // Who has another link's port, or none, moves another car or none.
        if self.stage.has_twin() {
            return;
        }
        let mut status = Some(409);
        let began = Instant::now();
        // Until consoles have given control back.
        while status == Some(409) && began.elapsed() < Duration::from_secs(20) {
            let query = "command=forward&for=50";
            let moved = self.answers.ask(&self.stage, query, None).await;
            status = moved.map(|answer| answer.status);
            sleep(ASK_EACH).await;
        }
        if status != Some(200) {
            let how = format!("a motion is answered {status:?} when all is well");
            self.stage.history.broken(5, how);
        }
    }

    /// Promise 4: the port of one that is away is kept for it, with an answer there, and given up
    /// in the end.
    async fn check_port_is_kept(&mut self) {
        if self.stage.has_twin() || !self.dice.one_in(6) {
            return;
        }
        self.tell("the inner is killed for good");
        self.agent = None;
        let early = timing::PORT_KEPT - Duration::from_millis(200);
        for (after, expected) in [(early, Some(503)), (Duration::from_millis(1000), None)] {
            sleep(after).await;
            let asked = self.answers.ask(&self.stage, "command=hello", None).await;
            let status = asked.map(|answer| answer.status);
            if status != expected {
                let how = format!("the port of one that is away answers {status:?}");
                self.stage.history.broken(4, how);
            }
        }
    }
}

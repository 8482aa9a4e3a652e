//! Ends a history: heals all faults, and checks the promises that must hold then.

use std::time::Duration;

use p2p_shared::timing;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::network::{CAPACITY, NetworkPath};
use super::scenario::Scenario;

/// Service is back this long after everything is well again: the longest pause between two
/// attempts (1 s), the kernels' own (0.4 s), and the round trips of dialling and asking.
const BACK: Duration = Duration::from_millis(2000);
/// The same where a connection was lost silently: only the keepalive of an idle link finds out.
const BACK_AFTER_SILENCE: Duration = Duration::from_millis(62_000);
/// Time within which everything ends once nobody asks for more.
const CALM: Duration = Duration::from_secs(6);
/// Time between two questions whether service is back.
const ASK_EACH: Duration = Duration::from_millis(100);

impl Scenario {
    /// Ends all faults.
    pub(super) async fn heal(&mut self) {
        self.log("all is well from now on");
        self.other_inner = None;
        for path in &self.paths {
            path.set_delay(Duration::from_millis(20), Duration::from_millis(10));
            path.set_room(CAPACITY);
        }
        if self.car_inner.is_none() {
            self.start_inner();
        }
        self.world.machines[0].stop_fails_for(Duration::ZERO);
    }

    /// Checks promise 5: service comes back in time.
    pub(super) async fn await_service(&self) {
        // The bytes on a slow path still arrive late.
        let healed = Instant::now().max(self.calm_at);
        let bound = if self.was_lost {
            BACK_AFTER_SILENCE
        } else {
            BACK
        };
        let (back, mut answered) = tokio::sync::mpsc::channel(1);
        let (world, answers) = (self.world.clone(), self.answers.clone());
        let mut asking = JoinSet::new();
        asking.spawn(async move {
            loop {
                let is_soon = healed.elapsed() < BACK * 2;
                let (answers, world, back) = (answers.clone(), world.clone(), back.clone());
                tokio::spawn(async move {
                    if let Some(answer) = answers.ask(&world, "command=hello", None).await
                        && answer.status == 200
                    {
                        let _ = back.try_send(());
                    }
                });
                sleep(if is_soon { ASK_EACH } else { ASK_EACH * 10 }).await;
            }
        });
        // A twin may hold the port, or keep the car out for a minute.
        let patience = match self.world.has_twin() {
            true => Duration::from_secs(2),
            false => BACK_AFTER_SILENCE + BACK,
        };
        let is_back = timeout(patience, answered.recv()).await.is_ok();
        asking.shutdown().await;
        let time = healed.elapsed();
        self.log(format!("service is back: {is_back}, after {time:?}"));
        if !self.world.has_twin() {
            if !self.was_lost {
                self.world.history.count(|counts| counts.back = Some(time));
            }
            if !is_back || time > bound {
                let how = format!("service is back after {time:?}");
                self.world.history.violation(5, how);
            }
        }
    }

    /// Checks the promises that must hold when all input has ended.
    pub(super) async fn end(&mut self, consoles: usize) {
        sleep(self.rng.ms(0..400)).await;
        self.world.be_quiet();
        let limit = Duration::from_secs(60);
        self.answers.all_answered(&self.world, limit).await;
        // The last press of a held key, a motion's limit, a stop that failed and is tried again, and
        // processes that still run: seconds at most.
        sleep(Duration::from_millis(700)).await;
        self.world.calm(CALM).await;
        self.move_again().await;
        self.world.calm(CALM).await;
        let history = self.world.history.clone();
        self.world.check_machines();
        for machine in &self.world.machines {
            self.world.presses.check(machine, &history);
        }
        self.answers.check_reports(&self.world).await;
        self.answers.check(&self.world);
        self.check_port_is_kept().await;
        let open: usize = self.paths.iter().map(NetworkPath::open_connections).sum();
        // The router may not have noticed yet which connections were lost silently.
        if open > consoles + 1 && !self.was_lost {
            history.violation(6, format!("{open} connections are open"));
        }
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        if tasks > 40 {
            history.violation(6, format!("{tasks} tasks are left"));
        }
    }

    /// Checks promise 5 for motion: nobody drives, so `/cgi` may move the car.
    async fn move_again(&self) {
        // With a twin it is not known which car holds the port.
        if self.world.has_twin() {
            return;
        }
        let began = Instant::now();
        let status = loop {
            let query = "command=forward&for=50";
            let moved = self.answers.ask(&self.world, query, None).await;
            sleep(ASK_EACH).await;
            // Until the consoles have given control back, and a stop that failed was tried again.
            let may_wait = moved.as_ref().is_some_and(|answer| answer.may_wait());
            if !may_wait || began.elapsed() > Duration::from_secs(20) {
                break moved.map(|answer| answer.status);
            }
        };
        if status != Some(200) {
            let how = format!("a motion is answered {status:?} when all is well");
            self.world.history.violation(5, how);
        }
    }

    /// Checks promise 4: the port of a car that is away answers and is kept for the car, and is given up
    /// in the end.
    async fn check_port_is_kept(&mut self) {
        if self.world.has_twin() || !self.rng.one_in(6) {
            return;
        }
        self.log("the inner is killed for good");
        self.car_inner = None;
        let early = timing::PORT_KEPT - Duration::from_millis(200);
        for (after, expected) in [(early, Some(503)), (Duration::from_millis(1000), None)] {
            sleep(after).await;
            let asked = self.answers.ask(&self.world, "command=hello", None).await;
            let status = asked.map(|answer| answer.status);
            if status != expected {
                let how = format!("the port of a car that is away answers {status:?}");
                self.world.history.violation(4, how);
            }
        }
    }
}

//! Ends a history of three routers: heals all faults, and checks the promises that must hold then.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::machine::Machine;
use super::super::network::CAPACITY;
use super::scenario::MeshScenario;
use super::world::MeshWorld;
use super::{NAMES, PORT, ROUTERS};
use crate::mesh::hub::Faults;
use crate::mesh::id::Start;

/// Time after which all routers agree on who has the car, once all is well.
const AGREED: Duration = Duration::from_secs(3);
/// Time for the news of a link that comes up just then.
const NEWS: Duration = Duration::from_millis(300);
/// Service is back everywhere this long after all agree: the longest pause between two attempts of the car, and
/// what routers wait after one was not reached.
const BACK: Duration = Duration::from_secs(3);
/// The same where a connection was lost silently: only the keepalive of an idle link finds out.
const BACK_AFTER_SILENCE: Duration = Duration::from_secs(62);
/// Time between two questions whether service is back.
const ASK_EACH: Duration = Duration::from_millis(100);

impl MeshScenario {
    /// Ends all faults.
    pub(super) async fn heal(&mut self) {
        self.log("all is well from now on");
        self.twin = None;
        let world = self.world.clone();
        let lines = world.lines.iter().chain(&world.to_cars).flatten();
        for line in lines {
            line.set_cut(false);
            line.path
                .set_delay(Duration::from_millis(20), Duration::from_millis(10));
            line.path.set_room(CAPACITY);
        }
        world.hub.set_faults(Faults::default());
        for router in 0..ROUTERS {
            if world.with(router, |_| ()).is_none() {
                self.start_again(router, Vec::new());
            }
        }
        if self.car_inner.is_none() {
            self.car_inner = Some(world.start_inner(0, &self.rng));
        }
        self.await_agreement().await;
        self.await_service().await;
    }

    /// Checks that all agree on who has the car.
    async fn await_agreement(&self) {
        sleep(AGREED).await;
        let began = Instant::now();
        while !self.world.agrees() && began.elapsed() < NEWS {
            sleep(Duration::from_millis(10)).await;
        }
        if !self.world.agrees() {
            let how = format!("the car is at {:?}", self.world.holders());
            self.world.history.violation(9, how);
        }
    }

    /// Checks that callers of every router are served in time.
    async fn await_service(&self) {
        if self.world.has_twin() {
            return;
        }
        let began = Instant::now();
        let bound = match self.was_lost {
            true => BACK_AFTER_SILENCE,
            false => BACK,
        };
        for (router, name) in NAMES.iter().enumerate() {
            loop {
                let asking = self.answers.ask(&self.world, router, "command=hello");
                if asking.await.is_some_and(|answer| answer.status == 200) {
                    break;
                }
                if began.elapsed() > bound {
                    let how = format!("callers of {name} are not served");
                    self.world.history.violation(5, how);
                    break;
                }
                sleep(ASK_EACH).await;
            }
        }
        let time = began.elapsed();
        self.log(format!("service is back after {time:?}"));
        if !self.was_lost {
            self.world.history.count(|counts| counts.back = Some(time));
        }
    }

    /// Checks the promises that must hold when all input has ended.
    pub(super) async fn end(&mut self) {
        sleep(self.rng.ms(0..400)).await;
        self.world.be_quiet();
        let history = self.world.history.clone();
        let began = Instant::now();
        while self.answers.open() > 0 && began.elapsed() < Duration::from_secs(120) {
            sleep(Duration::from_millis(50)).await;
        }
        if self.answers.open() > 0 {
            history.violation(2, "callers are not answered");
        }
        // The last press of a held key, a motion's limit, processes that still run: seconds at most.
        let is_calm = |machine: &Machine| !machine.is_moving() && machine.process_count() == 0;
        let began = Instant::now();
        sleep(Duration::from_millis(700)).await;
        while !self.world.machines.iter().all(is_calm) && began.elapsed() < Duration::from_secs(6) {
            sleep(Duration::from_millis(100)).await;
        }
        self.move_again().await;
        let began = Instant::now();
        while !self.world.machines.iter().all(is_calm) && began.elapsed() < Duration::from_secs(6) {
            sleep(Duration::from_millis(100)).await;
        }
        for machine in &self.world.machines {
            if machine.is_moving() {
                history.violation(3, "the car still moves at the end");
            }
            if machine.process_count() > 0 {
                history.violation(6, "processes are left");
            }
            for run in machine.executed_twice() {
                history.violation(1, format!("run {run} was executed more than once"));
            }
            self.world.presses.check_drivers(machine, &history);
        }
        self.answers.check(&self.world, self.stalled);
        if !self.world.has_twin() {
            if !self.world.agrees() {
                let how = format!("at the end the car is at {:?}", self.world.holders());
                history.violation(9, how);
            }
            if self.world.machines[1].executed_count() > 0 {
                history.violation(4, "something ran on another's machine");
            }
        }
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        if tasks > 150 {
            history.violation(6, format!("{tasks} tasks are left"));
        }
    }

    /// Checks that whoever may move the car can do so through every router, once nobody drives.
    async fn move_again(&self) {
        if self.world.has_twin() {
            return;
        }
        for (router, name) in NAMES.iter().enumerate() {
            let began = Instant::now();
            let status = loop {
                let query = "command=forward&for=50";
                let moved = self.answers.ask(&self.world, router, query).await;
                sleep(ASK_EACH).await;
                let may_wait = moved.as_ref().is_some_and(|answer| answer.may_wait());
                if !may_wait || began.elapsed() > Duration::from_secs(20) {
                    break moved.map(|answer| answer.status);
                }
            };
            if status != Some(200) {
                let how = format!("a motion at {name} is answered {status:?}");
                self.world.history.violation(5, how);
            }
        }
    }
}

impl MeshWorld {
    /// Of each router, the member that it takes for the holder of the car's port.
    fn holders(&self) -> [Option<Start>; ROUTERS] {
        std::array::from_fn(|router| {
            let holder = self.with(router, |it| {
                let mesh = it.context.mesh.as_ref().unwrap();
                let elsewhere = mesh.holder_elsewhere(PORT);
                match elsewhere {
                    Some(elsewhere) => Some(elsewhere.member.start),
                    None => mesh.held_since(PORT).map(|_| it.member()),
                }
            });
            holder.flatten()
        })
    }

    /// Returns true if all routers know the same holder; and, if the car has a link, that it is the router with
    /// that.
    fn agrees(&self) -> bool {
        let holders = self.holders();
        let at = self.car_at().and_then(|at| self.with(at, |it| it.member()));
        let is_known = holders[0].is_some() && holders.iter().all(|holder| *holder == holders[0]);
        is_known && (at.is_none() || self.has_twin() || holders[0] == at)
    }
}

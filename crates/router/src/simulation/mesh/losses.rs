//! Faults of a history of three routers that last longer than routers wait, and what must have ended meanwhile.

use std::convert::Infallible;
use std::time::Duration;

use p2p_shared::names::RunId;
use p2p_shared::timing::PORT_KEPT;
use tokio::time::sleep;

use super::super::answers::LONG;
use super::checks::CLOSED;
use super::scenario::MeshScenario;
use super::{NAMES, ROUTERS};

/// Time after which nothing goes on between two routers that don't hear each other: the silence after which a
/// page's connection ends, which is longer than that of a router, and the grace of a process that is ended.
const LOST: Duration = Duration::from_secs(9);
/// Time for which a bus is recorded, in which each member says that it lives.
const RECORDED: Duration = Duration::from_millis(1200);
/// Pause before all of it is said again.
const REPEATED: Duration = Duration::from_millis(800);

impl MeshScenario {
    /// Silences the line between the car's router and another for so long that what goes on over it ends: the runs
    /// of callers, and the control of drivers.
    pub(super) async fn lose_router_between(&mut self) {
        let Some(at) = self.world.car_at() else {
            return;
        };
        let from = (at + 1 + self.rng.below(ROUTERS - 1)) % ROUTERS;
        let (answers, world) = (self.answers.clone(), self.world.clone());
        tokio::spawn(async move { answers.ask_at(&world, from, LONG).await });
        sleep(self.rng.ms(100..1000)).await;
        let ways = [[true, true], [true, false], [false, true]];
        let (way, time) = (*self.rng.one_of(&ways), self.rng.ms(10_000..30_000));
        let names = (NAMES[from], NAMES[at]);
        self.log(format!(
            "the line of {names:?} is silent {way:?} for {time:?}"
        ));
        let lines = &self.world.lines;
        let there_and_back = [
            (&lines[from][at], way),
            (&lines[at][from], [way[1], way[0]]),
        ];
        let set = |is_silent: bool| {
            for (line, way) in there_and_back {
                line.path.set_silent(way.map(|way| way && is_silent));
            }
        };
        set(true);
        sleep(LOST).await;
        if self.world.car_at() == Some(at) && !self.was_lost {
            let broken = |how: &str| {
                let how = format!("{how} after {names:?} have not heard each other for {LOST:?}");
                self.world.history.violation(8, how);
            };
            if self.world.drives_by(from, at) {
                broken("a driver still has control");
            }
            let mut views = self.world.views().into_iter();
            if views.any(|view| view.router == from && view.is_up) {
                broken("a console shows the car up");
            }
            let id = self.world.member_id(from);
            let running = self.world.machines[0].running();
            let is_from = |run: &RunId| id.is_some_and(|id| *run == run.of_member(id));
            if running.iter().any(is_from) {
                broken("a run goes on for a caller");
            }
        }
        sleep(time - LOST).await;
        set(false);
        self.log("it is no longer silent");
    }

    /// Kills the car's inner and its router for longer than a port is kept: the other routers close it.
    pub(super) async fn lose_car_and_router(&mut self) {
        let Some(at) = self.world.car_at() else {
            return;
        };
        let is_repeated = self.rng.one_in(2);
        if is_repeated {
            self.world.hub.record();
            sleep(RECORDED).await;
        }
        self.log(format!(
            "the inner is killed, and {} with it; what it said comes again: {is_repeated}",
            NAMES[at]
        ));
        self.car_inner = None;
        self.twin = None;
        drop(self.world.take_router(at));
        // One of the others closes it 4 s after the other, and what either heard last was on its way for a while.
        let closed = sleep(PORT_KEPT + CLOSED * 2);
        match is_repeated {
            true => tokio::select! {
                biased;
                () = closed => {}
                never = self.repeat_all() => match never {},
            },
            false => closed.await,
        }
        if self.world.views().iter().any(|view| view.is_up) {
            self.world
                .history
                .violation(11, "a console shows a car that is gone");
        }
        for (router, name) in NAMES.iter().enumerate() {
            if self.world.has_port(router) {
                let how = format!("{name} keeps the port of a car and a router that are gone");
                self.world.history.violation(4, how);
            }
        }
        self.start_again(at, Vec::new());
        self.log("the inner starts");
        self.car_inner = Some(self.world.start_inner(0, &self.rng));
    }

    /// Whoever has the bus brings all that was recorded again and again.
    async fn repeat_all(&self) -> Infallible {
        let recorded = self.world.hub.record();
        let member = |router| self.world.with(router, |it| it.member());
        let members: Vec<_> = (0..ROUTERS).filter_map(member).collect();
        loop {
            for (_, message) in &recorded {
                for member in &members {
                    self.world.hub.inject(*member, message.clone());
                }
            }
            sleep(REPEATED).await;
        }
    }
}

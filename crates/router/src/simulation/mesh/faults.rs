//! The faults of a history of three routers, one at a time.

use std::time::Duration;

use tokio::time::sleep;

use super::scenario::MeshScenario;
use super::world::Line;
use super::{NAMES, ROUTERS};
use crate::mesh::hub::Faults;

impl MeshScenario {
    /// Injects one random fault.
    pub(super) async fn break_something(&mut self) {
        self.world.history.count(|counts| counts.faults += 1);
        let router = self.some_router();
        match self.rng.number(0..29) {
            0 | 1 => self.break_line_of_car().await,
            2..=4 => self.break_line(router).await,
            5..=7 => self.break_bus(router).await,
            8 | 9 => self.kill_router(router).await,
            10 | 11 => self.stop_router(router).await,
            12 => self.end_router(router, false).await,
            13 => self.end_router(router, true).await,
            14 | 15 => self.move_car().await,
            16 => self.break_inner().await,
            17 => self.storm().await,
            18 => self.lose_router_between().await,
            19 => self.lose_car_and_router().await,
            20 | 21 => self.change_keys().await,
            22 | 23 => self.break_callers(router).await,
            24 | 25 => self.move_unheard().await,
            26 | 27 => self.lose_power().await,
            _ if self.rng.one_in(2) && !self.world.has_twin() => self.start_twin(router).await,
            _ => self.replay().await,
        }
    }

    /// A router; mostly the one that has the car.
    fn some_router(&self) -> usize {
        let any = self.rng.below(ROUTERS);
        let at = self.world.car_at();
        at.filter(|_| self.rng.one_in(2)).unwrap_or(any)
    }

    fn short_or_long(&self) -> Duration {
        match self.rng.number(0..4) {
            0 => self.rng.ms(3000..12_000),
            1 => self.rng.ms(700..3000),
            _ => self.rng.ms(20..900),
        }
    }

    async fn break_line_of_car(&mut self) {
        let router = self.some_router();
        let line = self.world.to_cars[0][router].clone();
        let name = NAMES[router];
        match self.rng.number(0..4) {
            0 => {
                self.log(format!("the car's connections to {name} are reset"));
                line.path.reset();
            }
            1 => {
                self.log(format!("the car's connections to {name} are lost"));
                self.was_lost = true;
                line.path.lose_silently();
            }
            2 => {
                let (delay, jitter) = (self.rng.ms(1..300), self.rng.ms(1..60));
                self.log(format!(
                    "the car's line to {name} takes {delay:?} and up to {jitter:?}"
                ));
                line.path.set_delay(delay, jitter);
            }
            _ => {
                self.silence(&[line], &format!("the car's line to {name}"))
                    .await
            }
        }
    }

    /// Resets the connections of callers, pages and consoles, or makes their line slow.
    async fn break_callers(&self, router: usize) {
        let (path, name) = (&self.world.callers[router], NAMES[router]);
        if self.rng.one_in(2) {
            self.log(format!("connections of callers to {name} are reset"));
            path.reset();
        } else {
            let (delay, jitter) = (self.rng.ms(1..200), self.rng.ms(1..60));
            self.log(format!(
                "callers' lines to {name} take {delay:?} and up to {jitter:?}"
            ));
            path.set_delay(delay, jitter);
        }
    }

    /// Silences lines, in one direction or both, for a while.
    async fn silence(&self, lines: &[Line], what: &str) {
        let ways = [[true, true], [true, true], [true, false], [false, true]];
        let (way, time) = (*self.rng.one_of(&ways), self.short_or_long());
        self.log(format!("{what} is silent {way:?} for {time:?}"));
        lines.iter().for_each(|line| line.path.set_silent(way));
        sleep(time).await;
        lines
            .iter()
            .for_each(|line| line.path.set_silent([false; 2]));
        self.log("it is no longer silent");
    }

    /// Breaks the line from a router to another, or to both.
    async fn break_line(&mut self, from: usize) {
        let mut others: Vec<usize> = (0..ROUTERS).filter(|other| *other != from).collect();
        if !self.rng.one_in(4) {
            others.swap_remove(self.rng.below(2));
        }
        let there = others.iter().map(|to| self.world.lines[from][*to].clone());
        let there: Vec<Line> = there.collect();
        let back = others.iter().map(|to| self.world.lines[*to][from].clone());
        let back: Vec<Line> = back.collect();
        let what = format!("the line of {} to {others:?}", NAMES[from]);
        match self.rng.number(0..4) {
            0 => {
                let time = self.short_or_long();
                self.log(format!("{what} is cut for {time:?}"));
                there
                    .iter()
                    .chain(&back)
                    .for_each(|line| line.set_cut(true));
                sleep(time).await;
                there
                    .iter()
                    .chain(&back)
                    .for_each(|line| line.set_cut(false));
                self.log("it is no longer cut");
            }
            1 => {
                let (delay, jitter) = (self.rng.ms(1..250), self.rng.ms(1..60));
                self.log(format!("{what} takes {delay:?} and up to {jitter:?}"));
                let lines = there.iter().chain(&back);
                lines.for_each(|line| line.path.set_delay(delay, jitter));
            }
            // Bytes of one direction are silent, whoever has dialled.
            2 => {
                let time = self.short_or_long();
                self.log(format!("{what} is silent one way for {time:?}"));
                there
                    .iter()
                    .for_each(|line| line.path.set_silent([true, false]));
                back.iter()
                    .for_each(|line| line.path.set_silent([false, true]));
                sleep(time).await;
                let lines = there.iter().chain(&back);
                lines.for_each(|line| line.path.set_silent([false; 2]));
                self.log("it is no longer silent");
            }
            _ => {
                let lines: Vec<Line> = there.into_iter().chain(back).collect();
                self.silence(&lines, &what).await;
            }
        }
    }

    async fn break_bus(&mut self, router: usize) {
        let world = self.world.clone();
        let member = |router| world.with(router, |it| it.member());
        match self.rng.number(0..4) {
            0 => {
                let faults = Faults {
                    lost: self.rng.number(0..500),
                    repeated: self.rng.number(0..300),
                    delay: self.rng.ms(1..700),
                };
                self.log(format!("the bus is bad: {faults:?}"));
                world.hub.set_faults(faults);
                sleep(self.short_or_long()).await;
                if self.rng.one_in(2) {
                    world.hub.set_faults(Faults::default());
                    self.log("the bus is good");
                }
            }
            1 => {
                let time = match self.rng.one_in(8) {
                    true => self.rng.ms(55_000..75_000),
                    false => self.short_or_long() * 2,
                };
                self.log(format!(
                    "the bus is split from {} for {time:?}",
                    NAMES[router]
                ));
                if let Some(member) = member(router) {
                    world.hub.set_side(member, 1);
                    sleep(time).await;
                    world.hub.set_side(member, 0);
                }
                self.log("the bus is whole");
            }
            of => {
                let routers = if of == 2 {
                    router..router + 1
                } else {
                    0..ROUTERS
                };
                let time = self.short_or_long();
                self.log(format!("the bus is down for {routers:?} for {time:?}"));
                let members: Vec<_> = routers.filter_map(member).collect();
                for member in &members {
                    world.hub.set_connected(*member, false);
                }
                sleep(time).await;
                for member in &members {
                    world.hub.set_connected(*member, true);
                }
                self.log("the bus is up");
            }
        }
    }

    async fn kill_router(&mut self, router: usize) {
        self.log(format!("{} is killed", NAMES[router]));
        drop(self.world.take_router(router));
        sleep(self.short_or_long()).await;
        self.start_again(router, Vec::new());
    }

    async fn stop_router(&mut self, router: usize) {
        let Some(process) = self.world.with(router, |it| it.process.clone()) else {
            return;
        };
        let time = self.short_or_long();
        self.log(format!("{} is stopped for {time:?}", NAMES[router]));
        self.world.stalls_for(time);
        process.set_stopped(true);
        sleep(time).await;
        process.set_stopped(false);
        self.log(format!("{} goes on", NAMES[router]));
    }

    async fn end_router(&mut self, router: usize, in_place: bool) {
        self.log(format!("{} ends, in place: {in_place}", NAMES[router]));
        let others = (0..ROUTERS).filter(|it| *it != router && self.world.has_port(*it));
        let others: Vec<usize> = others.collect();
        let ending = async {
            let sockets = self.world.end_router(router, in_place).await;
            if !in_place {
                sleep(self.short_or_long()).await;
            }
            sockets
        };
        let sockets = tokio::select! {
            biased;
            sockets = ending => sockets,
            never = self.check_ports(&others) => match never {},
        };
        self.start_again(router, sockets);
    }

    /// Checks all the time that these routers have the car's port open.
    async fn check_ports(&self, routers: &[usize]) -> std::convert::Infallible {
        loop {
            sleep(Duration::from_millis(10)).await;
            if let Some(router) = routers.iter().find(|it| !self.world.has_port(**it)) {
                let how = format!("{} has closed the port", NAMES[*router]);
                self.world.history.violation(4, how);
                std::future::pending::<()>().await;
            }
        }
    }

    /// Starts a router again; its clock may have jumped.
    pub(super) fn start_again(&mut self, router: usize, sockets: Vec<std::os::fd::OwnedFd>) {
        let jump = match self.rng.one_in(4) {
            true => self.rng.ms(0..3_600_000),
            false => self.rng.ms(1..10),
        };
        let clock = self.clocks[router] + jump;
        self.clocks[router] = clock + Duration::from_secs(60);
        self.log(format!(
            "{} starts, its clock {jump:?} further",
            NAMES[router]
        ));
        self.world.start_router(router, clock, sockets);
    }

    /// Cuts the car's line to its router for so long that it goes to another.
    async fn move_car(&mut self) {
        let Some(router) = self.world.car_at() else {
            return;
        };
        let line = self.world.to_cars[0][router].clone();
        self.log(format!("the car does not reach {} any more", NAMES[router]));
        if self.rng.one_in(2) {
            line.set_cut(true);
            sleep(self.rng.ms(300..4000)).await;
            line.set_cut(false);
        } else {
            // The router does not hear of it.
            line.abandon();
            sleep(self.rng.ms(300..4000)).await;
            line.set_cut(false);
        }
    }

    async fn break_inner(&mut self) {
        let Some(inner) = &self.car_inner else {
            return;
        };
        if self.rng.one_in(2) {
            let time = self.rng.ms(5..2500);
            inner.stall_for(time, &self.world.history).await;
        } else {
            self.log("the inner is killed");
            self.car_inner = None;
            sleep(self.rng.ms(1..800)).await;
            self.log("the inner starts");
            self.car_inner = Some(self.world.start_inner(0, &self.rng));
        }
    }

    /// Starts a second inner with the car's key: anywhere, or on the other side of a split, where each has a
    /// router of its own.
    async fn start_twin(&mut self, router: usize) {
        self.world.set_twin();
        if self.rng.one_in(2) {
            self.log("a twin comes");
            self.twin = Some(self.world.start_inner(1, &self.rng));
            return;
        }
        let time = self.short_or_long() * 2;
        self.log(format!(
            "{} is alone for {time:?}, and a twin comes",
            NAMES[router]
        ));
        let world = self.world.clone();
        let others = (0..ROUTERS).filter(|other| *other != router);
        let others: Vec<usize> = others.collect();
        let lines = others.iter().flat_map(|other| {
            let between = [&world.lines[router][*other], &world.lines[*other][router]];
            between.into_iter().chain([&world.to_cars[0][*other]])
        });
        let cut: Vec<&Line> = lines.chain([&world.to_cars[1][router]]).collect();
        cut.iter().for_each(|line| line.set_cut(true));
        let member = world.with(router, |it| it.member());
        if let Some(member) = member {
            world.hub.set_side(member, 1);
        }
        self.twin = Some(world.start_inner(1, &self.rng));
        sleep(time).await;
        if let Some(member) = member {
            world.hub.set_side(member, 0);
        }
        cut.iter().for_each(|line| line.set_cut(false));
        self.log("nobody is alone");
    }

    /// Many callers at once while the car moves: none of their routers knows where it is.
    async fn storm(&mut self) {
        self.log("a storm of callers, as the car moves");
        for n in 0..40 {
            let (answers, world) = (self.answers.clone(), self.world.clone());
            let after = self.rng.ms(0..1500);
            tokio::spawn(async move {
                sleep(after).await;
                answers.ask_at(&world, n % ROUTERS, "command=hello").await;
            });
        }
        self.move_car().await;
    }

    /// Whoever has the bus brings what was said before once more, in another order.
    async fn replay(&mut self) {
        self.log("old messages come again");
        let world = self.world.clone();
        world.hub.record();
        sleep(self.rng.ms(500..4000)).await;
        let mut recorded = world.hub.record();
        let members: Vec<_> = (0..ROUTERS)
            .filter_map(|router| world.with(router, |it| it.member()))
            .collect();
        for _ in 0..40 {
            if recorded.is_empty() || members.is_empty() {
                break;
            }
            let at = self.rng.below(recorded.len());
            let (_, message) = recorded.swap_remove(at);
            world.hub.inject(*self.rng.one_of(&members), message);
            sleep(self.rng.ms(0..60)).await;
        }
    }
}

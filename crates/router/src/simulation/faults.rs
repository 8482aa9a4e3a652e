//! The faults of a history, one at a time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::scenario::{CAR, Scenario};
use super::world::SimInner;

impl Scenario {
    /// Injects one random fault.
    pub(super) async fn break_something(&mut self) {
        self.world.history.count(|counts| counts.faults += 1);
        let path = self.paths[usize::try_from(self.rng.number(0..3)).unwrap()].clone();
        let is_guarded = Instant::now() >= self.unguarded_until;
        match self.rng.number(0..16) {
            0 if self.rng.one_in(2) => {
                self.log("a path becomes slower and slower");
                let mut slow = Duration::from_millis(5);
                for _ in 1..60 {
                    slow += Duration::from_millis(22);
                    path.set_delay(slow, Duration::ZERO);
                    sleep(Duration::from_millis(25)).await;
                }
                sleep(self.rng.ms(1..1500)).await;
                path.set_delay(Duration::from_millis(5), Duration::ZERO);
                self.calm_at = Instant::now() + slow;
                self.log("it is no longer slow");
            }
            0 if self.rng.one_in(2) => {
                let most = usize::try_from(self.rng.number(100..4000)).unwrap();
                self.log(format!("a path takes {most} bytes at a time"));
                path.set_room(most);
            }
            0 => {
                let delay = self.rng.ms(1..if self.rng.one_in(4) { 700 } else { 150 });
                let jitter = self.rng.ms(1..60);
                self.log(format!("a path takes {delay:?} and up to {jitter:?}"));
                path.set_delay(delay, jitter);
            }
            1..=4 => {
                let silent =
                    *self
                        .rng
                        .one_of(&[[true, true], [true, true], [true, false], [false, true]]);
                let time = match self.rng.number(0..4) {
                    0 => self.rng.ms(3000..8000),
                    1 => self.rng.ms(700..3000),
                    _ => self.rng.ms(20..900),
                };
                self.log(format!("a path is silent {silent:?} for {time:?}"));
                path.set_silent(silent);
                sleep(time).await;
                path.set_silent([false; 2]);
                self.log("it is no longer silent");
            }
            5 => {
                self.log("connections are reset");
                path.reset();
            }
            6 => {
                self.log("connections are lost");
                self.was_lost = true;
                path.lose_silently();
            }
            7 | 8 if is_guarded => {
                if let Some(inner) = &self.car_inner {
                    let time = self.rng.ms(5..2500);
                    inner.stall_for(time, &self.world.history).await;
                }
            }
            9 => {
                let stall = {
                    let router = self.world.router.lock().unwrap();
                    router.as_ref().map(|router| router.stall.clone())
                };
                if let Some(stall) = stall {
                    let time = self.rng.ms(5..2500);
                    self.log(format!("the router is stopped for {time:?}"));
                    self.world.stalls_for(time);
                    stall.set(true);
                    sleep(time).await;
                    stall.set(false);
                    self.log("the router goes on");
                }
            }
            10 if is_guarded && self.kills < 2 => {
                self.log("the inner is killed");
                self.kills += 1;
                self.car_inner = None;
                sleep(self.rng.ms(1..800)).await;
                self.log("the inner starts");
                self.start_inner();
            }
            11 => {
                self.log("the router is killed");
                drop(self.world.take_router());
                sleep(self.rng.ms(1..800)).await;
                self.restart_router();
            }
            12 => {
                self.log("the router ends");
                if let Some(router) = self.world.take_router() {
                    let hands_over = self.rng.one_in(2);
                    router.shut_down(&self.world.known, hands_over).await;
                }
                sleep(self.rng.ms(1..300)).await;
                self.restart_router();
            }
            13 if is_guarded => {
                if let Some(inner) = &self.car_inner {
                    self.log("the guardian is killed");
                    self.unguarded_until = Instant::now() + Duration::from_millis(1500);
                    self.world
                        .presses
                        .allow_guardian_wait(Duration::from_millis(500));
                    inner.process.kill_guardian.notify_one();
                }
            }
            14 => {
                self.log("messages come twice, or stop fails");
                if self.rng.one_in(2) {
                    self.paths[0].repeat();
                } else {
                    let time = self.rng.ms(10..600);
                    self.world.machines[0].stop_fails_for(time);
                }
            }
            15 if self.rng.one_in(3) && !self.world.has_twin() => {
                self.log("a twin comes");
                self.world.set_twin();
                self.start_other(CAR);
            }
            15 if self.world.knows_port() => {
                self.log("another inner wants the car's port");
                self.start_other("identity2");
            }
            _ => self.log("nothing breaks"),
        }
    }

    /// Starts another inner on the second machine.
    fn start_other(&mut self, identity: &str) {
        let machine = &self.world.machines[1];
        let other = SimInner::start(&self.world, machine, (&self.paths[3], identity), &self.rng);
        self.other_inner = Some(other);
    }

    /// Starts the router again; its clock has jumped.
    fn restart_router(&mut self) {
        let jump = self.rng.ms(0..7_200_000);
        self.wall_clock = if self.rng.one_in(2) {
            self.wall_clock + jump
        } else {
            self.wall_clock - jump
        };
        self.log(format!(
            "the router starts, its clock having jumped by {jump:?}"
        ));
        self.world.start_router(self.wall_clock);
    }
}

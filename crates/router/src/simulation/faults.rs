//! Owns what breaks in a history: one fault at a time, and what it takes with it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::scenario::{CAR, Scenario};
use super::stage::Agent;

impl Scenario {
    /// One fault, of whatever kind.
    pub(super) async fn break_something(&mut self) {
        self.stage.history.count(|counts| counts.faults += 1);
        let way = self.ways[usize::try_from(self.dice.number(0..3)).unwrap()].clone();
        let is_guarded = Instant::now() >= self.unguarded;
        match self.dice.number(0..16) {
            0 if self.dice.one_in(2) => {
                self.tell("a way becomes slower and slower");
                let mut slow = Duration::from_millis(5);
                for _ in 1..60 {
                    slow += Duration::from_millis(22);
                    way.set_delay(slow, Duration::ZERO);
                    sleep(Duration::from_millis(25)).await;
                }
                sleep(self.dice.ms(1..1500)).await;
                way.set_delay(Duration::from_millis(5), Duration::ZERO);
                self.calm = Instant::now() + slow;
                self.tell("it is no longer slow");
            }
            0 if self.dice.one_in(2) => {
                let most = usize::try_from(self.dice.number(100..4000)).unwrap();
                self.tell(format!("a way takes {most} bytes at a time"));
                way.set_room(most);
            }
            0 => {
                let delay = self.dice.ms(1..if self.dice.one_in(4) { 700 } else { 150 });
                let jitter = self.dice.ms(1..60);
                self.tell(format!("a way takes {delay:?} and up to {jitter:?}"));
                way.set_delay(delay, jitter);
            }
            1..=4 => {
                let silent =
                    *self
                        .dice
                        .one_of(&[[true, true], [true, true], [true, false], [false, true]]);
                let time = match self.dice.number(0..4) {
                    0 => self.dice.ms(3000..8000),
                    1 => self.dice.ms(700..3000),
                    _ => self.dice.ms(20..900),
                };
                self.tell(format!("a way is silent {silent:?} for {time:?}"));
                way.set_silent(silent);
                sleep(time).await;
                way.set_silent([false; 2]);
                self.tell("it is no longer silent");
            }
            5 => {
                self.tell("connections are reset");
                way.reset();
            }
            6 => {
                self.tell("connections are lost");
                self.was_lost = true;
                way.lose();
            }
            7 | 8 if is_guarded => {
                if let Some(agent) = &self.agent {
                    let time = self.dice.ms(5..2500);
                    self.tell(format!("the inner is stopped for {time:?}"));
                    agent.stall.set(true);
                    sleep(time).await;
                    agent.stall.set(false);
                    self.tell("the inner goes on");
                }
            }
            9 => {
                let stall = {
                    let relay = self.stage.relay.lock().unwrap();
                    relay.as_ref().map(|relay| relay.stall.clone())
                };
                if let Some(stall) = stall {
                    let time = self.dice.ms(5..2500);
                    self.tell(format!("the router is stopped for {time:?}"));
                    self.stalled += time;
                    stall.set(true);
                    sleep(time).await;
                    stall.set(false);
                    self.tell("the router goes on");
                }
            }
            10 if is_guarded && self.kills < 2 => {
                self.tell("the inner is killed");
                self.kills += 1;
                self.agent = None;
                sleep(self.dice.ms(1..800)).await;
                self.tell("the inner starts");
                self.start_inner();
            }
            11 => {
                self.tell("the router is killed");
                drop(self.stage.take_relay());
                sleep(self.dice.ms(1..800)).await;
                self.restart_relay();
            }
            12 => {
                self.tell("the router ends");
                if let Some(relay) = self.stage.take_relay() {
                    let gets = self.dice.one_in(2);
                    relay.shut_down(&self.stage.known, gets).await;
                }
                sleep(self.dice.ms(1..300)).await;
                self.restart_relay();
            }
            13 if is_guarded => {
                if let Some(agent) = &self.agent {
                    self.tell("the guardian is killed");
                    self.unguarded = Instant::now() + Duration::from_millis(1500);
                    self.stage.presses.wait(Duration::from_millis(500));
                    agent.inner.kill_guardian.notify_one();
                }
            }
            14 => {
                self.tell("things are said twice, or stop fails");
                if self.dice.one_in(2) {
                    self.ways[0].repeat();
                } else {
                    let time = self.dice.ms(10..600);
                    self.stage.machines[0].stop_fails_for(time);
                }
            }
            15 if self.dice.one_in(3) && !self.stage.has_twin() => {
                self.tell("a twin comes");
                self.stage.set_twin();
                self.start_other(CAR);
            }
            15 if self.stage.knows_port() => {
                self.tell("another inner wants the car's port");
                self.start_other("identity2");
            }
            _ => self.tell("nothing breaks"),
        }
    }

    /// Another inner comes, on another machine.
    fn start_other(&mut self, identity: &str) {
        let machine = &self.stage.machines[1];
        let other = Agent::start(&self.stage, machine, (&self.ways[3], identity), &self.dice);
        self.twin = Some(other);
    }

    /// The router is there again; its machine may believe that it is another time.
    fn restart_relay(&mut self) {
        let jump = self.dice.ms(0..7_200_000);
        self.wall = if self.dice.one_in(2) {
            self.wall + jump
        } else {
            self.wall - jump
        };
        self.tell(format!(
            "the router starts, its clock having jumped by {jump:?}"
        ));
        self.stage.start_relay(self.wall);
    }
}

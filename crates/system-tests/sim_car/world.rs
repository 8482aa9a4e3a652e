//! Owns how the simulated car moves: its speed, its turning, and what it bumps into. Plain code that
//! is given the time; nothing here knows a clock, a socket or a picture.

use std::f64::consts::{PI, TAU};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::course;

/// The world moves on by this: so finely that neither how often it is looked at nor a long pause
/// changes where the car comes to, and that the fastest car is nowhere near passing through a wall.
const TICK: Duration = Duration::from_millis(5);
const TICK_S: f64 = 0.005;

/// Metres a second, forward: a lap of the track takes 25 s.
const TOP_SPEED: f64 = 4.0;
const BACK_SPEED: f64 = 2.0;
/// Metres a second, each second: full speed after a second.
const ACCELERATION: f64 = 4.0;
/// From full speed to a stand within 0.4 s.
const BRAKES: f64 = 10.0;
/// Radians a second: a quarter turn takes a second.
const TURN_RATE: f64 = PI / 2.0;
const TURN_ACCELERATION: f64 = 12.0;

/// What the car was told to do last, and does until it is told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Motion {
    /// It brakes, or stands.
    Stop,
    Forward,
    Back,
    /// It turns on the spot, as a car with two motors does.
    Left,
    Right,
}

/// Where the car is and what it does. Metres from the middle of the world, x to the east and y to
/// the north; the heading in radians, from the east over the north.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pose {
    pub x: f64,
    pub y: f64,
    pub heading: f64,
    /// Metres a second, less than 0 backwards.
    pub speed: f64,
    pub motion: Motion,
    /// It ran against something, and stands since.
    pub bumped: bool,
}

impl Pose {
    /// At the start, behind the line.
    pub(crate) const START: Self = Self {
        x: course::START.0,
        y: course::START.1,
        heading: 0.0,
        speed: 0.0,
        motion: Motion::Stop,
        bumped: false,
    };
}

/// The car in its world.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pose: Pose,
    /// Radians a second, to the left.
    turning: f64,
    /// The share of its speed that it was asked for.
    share: f64,
    ticks: u128,
}

impl World {
    /// The car at the start, at time 0.
    pub(crate) fn new() -> Self {
        Self {
            pose: Pose::START,
            turning: 0.0,
            share: 1.0,
            ticks: 0,
        }
    }

    /// Lets the world move on to this time since its start. Time never goes back.
    pub(crate) fn advance(&mut self, to: Duration) {
        let until = to.as_nanos() / TICK.as_nanos();
        while self.ticks < until && !self.is_at_rest() {
            self.tick();
            self.ticks += 1;
        }
        self.ticks = self.ticks.max(until);
    }

    /// Tells the car what to do from now on, at this share (0 to 1) of its speed.
    pub(crate) fn set(&mut self, motion: Motion, share: f64) {
        self.pose.motion = motion;
        self.pose.bumped &= motion == Motion::Stop;
        self.share = share.clamp(0.0, 1.0);
    }

    pub(crate) fn pose(&self) -> Pose {
        self.pose
    }

    fn is_at_rest(&self) -> bool {
        self.pose.motion == Motion::Stop && self.pose.speed == 0.0 && self.turning == 0.0
    }

    fn tick(&mut self) {
        let pose = &mut self.pose;
        let (speed, turning) = match pose.motion {
            Motion::Stop => (0.0, 0.0),
            Motion::Forward => (TOP_SPEED, 0.0),
            Motion::Back => (-BACK_SPEED, 0.0),
            Motion::Left => (0.0, TURN_RATE),
            Motion::Right => (0.0, -TURN_RATE),
        };
        let speed = speed * self.share;
        let is_faster = speed * pose.speed >= 0.0 && speed.abs() > pose.speed.abs();
        let change = if is_faster { ACCELERATION } else { BRAKES };
        pose.speed = approach(pose.speed, speed, change * TICK_S);
        self.turning = approach(
            self.turning,
            turning * self.share,
            TURN_ACCELERATION * TICK_S,
        );
        pose.heading = (pose.heading + self.turning * TICK_S).rem_euclid(TAU);
        let way = pose.speed * TICK_S;
        let (x, y) = (
            pose.x + way * pose.heading.cos(),
            pose.y + way * pose.heading.sin(),
        );
        if course::is_free(x, y) {
            (pose.x, pose.y) = (x, y);
        } else {
            (pose.speed, self.turning) = (0.0, 0.0);
            (pose.motion, pose.bumped) = (Motion::Stop, true);
        }
    }
}

fn approach(value: f64, target: f64, step: f64) -> f64 {
    value + (target - value).clamp(-step, step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Motion; 5] = [
        Motion::Stop,
        Motion::Forward,
        Motion::Back,
        Motion::Left,
        Motion::Right,
    ];

    fn after(motion: Motion, ms: u64) -> World {
        let mut world = World::new();
        world.set(motion, 1.0);
        world.advance(Duration::from_millis(ms));
        world
    }

    #[test]
    fn it_moves_until_it_is_told_to_stop_and_stands_soon_after() {
        let mut world = after(Motion::Forward, 2000);
        assert!(world.pose().x > Pose::START.x + 5.0, "{:?}", world.pose());
        assert_eq!(world.pose().speed, TOP_SPEED);
        world.set(Motion::Stop, 1.0);
        world.advance(Duration::from_millis(2450));
        let stands = world.pose();
        assert_eq!(stands.speed, 0.0);
        world.advance(Duration::from_secs(3600));
        assert_eq!(world.pose(), stands);
    }

    #[test]
    fn back_left_and_right_are_the_other_ways() {
        assert!(after(Motion::Back, 500).pose().x < Pose::START.x);
        let left = after(Motion::Left, 1000).pose();
        assert!((0.5..PI).contains(&left.heading), "{left:?}");
        assert_eq!((left.x, left.y), (Pose::START.x, Pose::START.y));
        let right = after(Motion::Right, 1000).pose();
        assert!((PI..TAU - 0.5).contains(&right.heading), "{right:?}");
    }

    #[test]
    fn half_the_speed_is_half_the_speed() {
        let mut world = World::new();
        world.set(Motion::Forward, 0.5);
        world.advance(Duration::from_secs(2));
        assert_eq!(world.pose().speed, TOP_SPEED / 2.0);
    }

    #[test]
    fn at_a_wall_it_bumps_and_stands_and_gets_away_again() {
        let mut world = after(Motion::Forward, 60_000);
        let at_wall = world.pose();
        assert!(at_wall.bumped && at_wall.speed == 0.0, "{at_wall:?}");
        assert_eq!(at_wall.motion, Motion::Stop);
        world.set(Motion::Stop, 1.0);
        assert!(world.pose().bumped, "a stop is no way out");
        world.set(Motion::Back, 1.0);
        world.advance(Duration::from_millis(61_000));
        assert!(world.pose().x < at_wall.x - 0.5);
        assert!(!world.pose().bumped);
    }

    #[test]
    fn time_does_not_go_back() {
        let mut world = after(Motion::Forward, 1000);
        let pose = world.pose();
        world.advance(Duration::ZERO);
        assert_eq!(world.pose(), pose);
    }

    proptest! {
        #[test]
        fn it_never_leaves_its_world_however_it_is_driven(
            told in prop::collection::vec((0..5usize, 0..3000u64, 0.0..1.0f64), 1..40),
        ) {
            let (mut world, mut now) = (World::new(), Duration::ZERO);
            for (motion, ms, share) in told {
                world.set(ALL[motion], share);
                for _ in 0..4 {
                    now += Duration::from_millis(ms / 4);
                    world.advance(now);
                    let pose = world.pose();
                    prop_assert!(course::is_free(pose.x, pose.y), "{pose:?}");
                    prop_assert!(pose.speed.abs() <= TOP_SPEED);
                }
            }
        }

        #[test]
        fn many_steps_and_one_come_to_the_same(
            motion in 0..5usize,
            steps in prop::collection::vec(0..40_000u64, 1..100),
        ) {
            let (mut often, mut once) = (World::new(), World::new());
            let mut now = Duration::ZERO;
            often.set(ALL[motion], 1.0);
            once.set(ALL[motion], 1.0);
            for micros in steps {
                now += Duration::from_micros(micros);
                often.advance(now);
            }
            once.advance(now);
            prop_assert_eq!(often.pose(), once.pose());
        }
    }
}

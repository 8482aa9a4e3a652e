//! Owns how the simulated car moves, and the file in which worker, camera and stop command share it.
//! The file says how the car was when it was last told something; whoever reads the file works out
//! from that how the car is now.

use std::f32::consts::{FRAC_PI_2, TAU};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io, process};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::course;

/// The car moves in steps of this: so fine that the fastest is nowhere near passing through a wall.
const TICK: Duration = Duration::from_millis(5);
/// Metres a second, forward: a lap of the track takes 25 s.
const TOP_SPEED: f32 = 4.0;
const BACK_SPEED: f32 = 2.0;
/// Metres a second, each second: full speed after a second.
const ACCELERATION: f32 = 4.0;
/// From full speed to a stand within 0.4 s.
const BRAKES: f32 = 10.0;
/// Radians a second: a quarter turn takes a second.
const TURN_RATE: f32 = FRAC_PI_2;
const TURN_ACCELERATION: f32 = 12.0;

/// What the car was told to do last, and does until it is told otherwise.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Motion {
    /// Brakes, or stands.
    #[default]
    Stop,
    Forward,
    Back,
    /// Turns on the spot, as a car with two motors does.
    Left,
    Right,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Car {
    pub x: f32,
    pub y: f32,
    /// Radians, from the east over the north.
    pub heading: f32,
    /// Metres a second, less than 0 backwards.
    pub speed: f32,
    /// Radians a second, to the left.
    turning: f32,
    pub motion: Motion,
    /// The share of its speed that the car was asked for.
    share: f32,
    /// The car ran against something, and stands since.
    pub bumped: bool,
    /// The worker's process: without it there is no car.
    worker: u32,
    /// The time, in ticks.
    now: u64,
}

impl Car {
    /// A new car of this process, behind the start line.
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            x: -6.0,
            y: -8.0,
            worker: process::id(),
            now: ticks(now),
            ..Self::default()
        }
    }

    /// Lets the car move on to this time. Time never goes back.
    pub(crate) fn advance(&mut self, to: Duration) {
        let until = ticks(to).max(self.now);
        // A car that stands needs no steps.
        while self.now < until
            && (self.motion, self.speed, self.turning) != (Motion::Stop, 0.0, 0.0)
        {
            self.tick();
            self.now += 1;
        }
        self.now = until;
    }

    /// Tells the car what to do from now on, at this share (0 to 1) of its speed.
    pub(crate) fn set(&mut self, motion: Motion, share: f32) {
        self.bumped &= motion == Motion::Stop;
        (self.motion, self.share) = (motion, share);
    }

    /// Returns a sign and a sentence for the present motion.
    pub(crate) fn says(&self) -> (&'static str, &'static str) {
        match self.motion {
            Motion::Forward => ("FORWARD", "goes forward, now"),
            Motion::Back => ("BACK", "goes back, now"),
            Motion::Left => ("LEFT", "turns left, now"),
            Motion::Right => ("RIGHT", "turns right, now"),
            Motion::Stop if self.bumped => ("BUMP", "stands"),
            Motion::Stop if self.speed != 0.0 => ("BRAKES", "comes to a stand, now"),
            Motion::Stop => ("STANDS", "stands"),
        }
    }

    fn tick(&mut self) {
        let (speed, turning) = match self.motion {
            Motion::Stop => (0.0, 0.0),
            Motion::Forward => (TOP_SPEED, 0.0),
            Motion::Back => (-BACK_SPEED, 0.0),
            Motion::Left => (0.0, TURN_RATE),
            Motion::Right => (0.0, -TURN_RATE),
        };
        let (speed, turning) = (speed * self.share, turning * self.share);
        let is_faster = speed * self.speed >= 0.0 && speed.abs() > self.speed.abs();
        let change = if is_faster { ACCELERATION } else { BRAKES };
        let seconds = TICK.as_secs_f32();
        let approach = |value: f32, target: f32, change: f32| {
            value + (target - value).clamp(-change * seconds, change * seconds)
        };
        self.speed = approach(self.speed, speed, change);
        self.turning = approach(self.turning, turning, TURN_ACCELERATION);
        self.heading = (self.heading + self.turning * seconds).rem_euclid(TAU);
        let (sin, cos) = self.heading.sin_cos();
        let way = self.speed * seconds;
        let (x, y) = (self.x + way * cos, self.y + way * sin);
        if course::is_free(x, y) {
            (self.x, self.y) = (x, y);
        } else {
            (self.speed, self.turning) = (0.0, 0.0);
            (self.motion, self.bumped) = (Motion::Stop, true);
        }
    }
}

fn ticks(time: Duration) -> u64 {
    (time.as_nanos() / TICK.as_nanos()) as u64
}

/// The file that worker, camera and stop command share.
#[derive(Debug, Clone)]
pub(crate) struct CarFile(pub PathBuf);

impl CarFile {
    /// Puts a new car at the start, which is there as long as this process lives.
    pub(crate) fn start(&self) -> io::Result<()> {
        self.write(&Car::new(now()))
    }

    /// The car as it is now.
    ///
    /// # Errors
    /// If there is none, or its worker has ended.
    pub(crate) fn car(&self) -> io::Result<Car> {
        let mut car: Car = serde_json::from_slice(&fs::read(&self.0)?)?;
        fs::metadata(Path::new("/proc").join(car.worker.to_string()))?;
        car.advance(now());
        Ok(car)
    }

    /// Tells the car what to do from now on, at this share of its speed.
    ///
    /// # Errors
    /// As [`car`](Self::car), and if the file can't be written.
    pub(crate) fn tell(&self, motion: Motion, share: f32) -> io::Result<Car> {
        let mut car = self.car()?;
        car.set(motion, share);
        self.write(&car)?;
        Ok(car)
    }

    /// Renames the file into place: whoever reads finds the old or the new one, whole.
    fn write(&self, car: &Car) -> io::Result<()> {
        let mut own = self.0.clone().into_os_string();
        own.push(format!(".{}", process::id()));
        fs::write(&own, serde_json::to_vec(car)?)?;
        fs::rename(&own, &self.0)
    }
}

fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Motion; 5] = {
        use Motion::{Back, Forward, Left, Right, Stop};
        [Stop, Forward, Back, Left, Right]
    };
    const START: Duration = Duration::ZERO;

    fn after(motion: Motion, ms: u64) -> Car {
        let mut car = Car::new(START);
        car.set(motion, 1.0);
        car.advance(Duration::from_millis(ms));
        car
    }

    #[test]
    fn it_moves_until_it_is_told_to_stop_and_stands_soon_after() {
        let mut car = after(Motion::Forward, 2000);
        assert!(car.x > Car::new(START).x + 5.0, "{car:?}");
        assert_eq!(car.speed, TOP_SPEED);
        car.set(Motion::Stop, 1.0);
        car.advance(Duration::from_millis(2450));
        let stands = car;
        assert_eq!(stands.speed, 0.0);
        car.advance(Duration::from_secs(3600));
        assert_eq!(
            (car.x, car.y, car.heading),
            (stands.x, stands.y, stands.heading)
        );
    }

    #[test]
    fn back_left_and_right_are_the_other_ways() {
        let start = Car::new(START);
        assert!(after(Motion::Back, 500).x < start.x);
        let (left, right) = (after(Motion::Left, 1000), after(Motion::Right, 1000));
        assert!((0.5..TAU / 2.0).contains(&left.heading), "{left:?}");
        assert_eq!((left.x, left.y), (start.x, start.y));
        assert!((TAU / 2.0..TAU - 0.5).contains(&right.heading), "{right:?}");
    }

    #[test]
    fn half_the_speed_is_half_the_speed() {
        let mut car = Car::new(START);
        car.set(Motion::Forward, 0.5);
        car.advance(Duration::from_secs(2));
        assert_eq!(car.speed, TOP_SPEED / 2.0);
    }

    #[test]
    fn at_a_wall_it_bumps_and_stands_and_gets_away_again() {
        let mut car = after(Motion::Forward, 60_000);
        let at_wall = car;
        assert!(at_wall.bumped && at_wall.speed == 0.0, "{at_wall:?}");
        assert_eq!(at_wall.motion, Motion::Stop);
        car.set(Motion::Stop, 1.0);
        assert!(car.bumped, "a stop is no way out");
        car.set(Motion::Back, 1.0);
        car.advance(Duration::from_millis(61_000));
        assert!(car.x < at_wall.x - 0.5 && !car.bumped);
    }

    #[test]
    fn time_does_not_go_back() {
        let mut car = after(Motion::Forward, 1000);
        let before = car;
        car.advance(START);
        assert_eq!(car, before);
    }

    proptest! {
        #[test]
        fn it_never_leaves_its_world_however_it_is_driven(
            told in prop::collection::vec((0..5usize, 0..3000u64, 0.0..1.0f32), 1..40),
        ) {
            let (mut car, mut now) = (Car::new(START), START);
            for (motion, ms, share) in told {
                car.set(ALL[motion], share);
                for _ in 0..4 {
                    now += Duration::from_millis(ms / 4);
                    car.advance(now);
                    prop_assert!(course::is_free(car.x, car.y), "{car:?}");
                    prop_assert!(car.speed.abs() <= TOP_SPEED);
                }
            }
        }

        #[test]
        fn many_steps_and_one_come_to_the_same(
            motion in 0..5usize,
            steps in prop::collection::vec(0..40_000u64, 1..100),
        ) {
            let (mut often, mut once, mut now) = (Car::new(START), Car::new(START), START);
            often.set(ALL[motion], 1.0);
            once.set(ALL[motion], 1.0);
            for micros in steps {
                now += Duration::from_micros(micros);
                often.advance(now);
            }
            once.advance(now);
            prop_assert_eq!(often, once);
        }
    }

    #[test]
    fn whoever_shares_the_file_sees_the_car_and_can_stop_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = CarFile(folder.path().join("car"));
        let other = file.clone();
        assert_eq!(other.car().unwrap_err().kind(), io::ErrorKind::NotFound);
        file.start().unwrap();
        assert_eq!(other.car().unwrap().x, Car::new(START).x);
        file.tell(Motion::Left, 1.0).unwrap();
        assert_eq!(other.car().unwrap().motion, Motion::Left);
        assert_eq!(other.tell(Motion::Stop, 0.0).unwrap().motion, Motion::Stop);
        assert_eq!(file.car().unwrap().motion, Motion::Stop);
    }

    #[test]
    fn a_new_worker_starts_anew_whatever_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = CarFile(folder.path().join("car"));
        for noise in [&b"\xff\x00\n"[..], &[b'x'; 5000], b"{}", b""] {
            fs::write(&file.0, noise).unwrap();
            assert!(file.car().is_err() && file.tell(Motion::Forward, 1.0).is_err());
        }
        file.start().unwrap();
        file.tell(Motion::Left, 1.0).unwrap();
        file.start().unwrap();
        assert_eq!(file.car().unwrap().motion, Motion::Stop);
    }

    #[test]
    fn without_its_worker_there_is_no_car() {
        let folder = tempfile::tempdir().unwrap();
        let file = CarFile(folder.path().join("car"));
        let mut worker = process::Command::new("true").spawn().unwrap();
        worker.wait().unwrap();
        let car = Car {
            worker: worker.id(),
            ..Car::new(now())
        };
        file.write(&car).unwrap();
        for result in [file.car(), file.tell(Motion::Forward, 1.0)] {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }
}

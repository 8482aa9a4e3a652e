//! Compares a car's clock with the clock of the program that listens, by the readings that arrive: none can arrive before
//! it was sent, so that of all differences the least has the least of the way in it. A reading that was held up on its
//! way, by a frozen router for example, does not count.

/// Time for which a difference counts, in nanoseconds: clocks drift, and are set.
const COUNTS: u64 = 10_000_000_000;

/// Clock of a car.
#[derive(Debug, Clone, Default)]
pub struct CarClock {
    /// Least differences (the time here less the car's, in nanoseconds) of this period and of the one before.
    least: Option<i128>,
    before: Option<i128>,
    began_ns: u64,
    /// The newest reading, in milliseconds.
    newest_ms: u64,
}

impl CarClock {
    /// Takes a reading of the car's clock in milliseconds, which came now. Readings come in the order in which they were
    /// sent: an earlier one is of another start of the machine.
    pub fn tick(&mut self, clock_ms: u64, now_ns: u64) {
        if clock_ms < self.newest_ms {
            *self = Self::default();
        }
        self.newest_ms = clock_ms;
        if now_ns.abs_diff(self.began_ns) > COUNTS {
            self.before = self.least.take();
            self.began_ns = now_ns;
        }
        let difference = i128::from(now_ns) - i128::from(clock_ms) * 1_000_000;
        self.least = Some(self.least.map_or(difference, |least| least.min(difference)));
    }

    /// Returns a time of the car in milliseconds as the time here, in nanoseconds: at most now, and now if no reading has
    /// come.
    #[must_use]
    pub fn here(&self, clock_ms: u64, now_ns: u64) -> u64 {
        let Some(least) = self.before.into_iter().chain(self.least).min() else {
            return now_ns;
        };
        let here = i128::from(clock_ms) * 1_000_000 + least;
        u64::try_from(here).map_or(now_ns, |here| here.min(now_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_tick_with_the_shortest_way_tells_and_old_ones_are_forgotten() {
        let mut clock = CarClock::default();
        assert_eq!(clock.here(5, 7), 7, "nothing is known");
        // The car's clock is 1 s behind.
        for (sent, way) in [(1000, 80), (1100, 30), (1200, 90)] {
            clock.tick(sent - 1000, (sent + way) * MS);
        }
        assert_eq!(clock.here(500, 9000 * MS), 1530 * MS);
        assert_eq!(clock.here(500, 1510 * MS), 1510 * MS, "not after now");
        // It is set.
        for at in [12_000, 24_000] {
            clock.tick(at, (at + 50) * MS);
        }
        assert_eq!(clock.here(24_100, 60_000 * MS), 24_150 * MS);
    }

    #[test]
    fn what_was_held_up_for_seconds_is_dated_by_what_came_at_once() {
        let mut clock = CarClock::default();
        for at in (0..2000).step_by(100) {
            clock.tick(at, (at + 20) * MS);
        }
        // All that was sent in three seconds comes at once.
        for at in (2000..5000).step_by(100) {
            clock.tick(at, 5010 * MS);
            assert_eq!(clock.here(at, 5010 * MS), ((at + 20) * MS).min(5010 * MS));
        }
    }

    #[test]
    fn a_machine_that_has_started_anew_has_another_clock() {
        let mut clock = CarClock::default();
        clock.tick(3_600_000, 10_000 * MS);
        clock.tick(5_000, 11_000 * MS);
        assert_eq!(clock.here(4_900, 11_500 * MS), 10_900 * MS);
    }
}

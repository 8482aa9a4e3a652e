//! Compares a car's clock with the router's, by the ticks that arrive: none can arrive before it was sent, so that of
//! all differences the least has the least of the way in it.

/// Time for which a difference counts, in nanoseconds: clocks drift, and are set.
const COUNTS: u64 = 10_000_000_000;

/// Clock of a car.
#[derive(Debug, Default)]
pub(super) struct CarClock {
    /// Least differences (the router's time less the car's, in nanoseconds) of this period and of the one before.
    least: Option<i128>,
    before: Option<i128>,
    began_ns: u64,
}

impl CarClock {
    /// Takes a tick with this time of the car in milliseconds, which came now.
    pub(super) fn tick(&mut self, clock_ms: u64, now_ns: u64) {
        if now_ns.abs_diff(self.began_ns) > COUNTS {
            self.before = self.least.take();
            self.began_ns = now_ns;
        }
        let difference = i128::from(now_ns) - i128::from(clock_ms) * 1_000_000;
        self.least = Some(self.least.map_or(difference, |least| least.min(difference)));
    }

    /// Returns a time of the car in milliseconds as the router's, in nanoseconds: at most now, and now if no clock was
    /// compared.
    pub(super) fn here(&self, clock_ms: u64, now_ns: u64) -> u64 {
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
}

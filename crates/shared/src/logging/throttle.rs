//! Decides which of many similar log lines are written: a few in a period, or each reason once.

use std::time::{Duration, Instant};

/// Allows a number of log lines in each period, and counts the others.
#[derive(Debug, Clone)]
pub struct LogThrottle {
    lines: u32,
    period: Duration,
    period_began: Option<Instant>,
    logged: u32,
    suppressed: u64,
}

impl LogThrottle {
    /// Allows `lines` log lines in each `period`, which begins with the first of them.
    #[must_use]
    pub const fn new(lines: u32, period: Duration) -> Self {
        Self {
            lines,
            period,
            period_began: None,
            logged: 0,
            suppressed: 0,
        }
    }

    /// Decides whether to log a line now. `Some`: log the line; the number is how many lines were
    /// suppressed since the last one that was logged. `None`: the line is suppressed and counted.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.is_over(now) {
            (self.period_began, self.logged) = (Some(now), 0);
        }
        if self.logged >= self.lines {
            self.suppressed += 1;
            return None;
        }
        self.logged += 1;
        Some(self.take_suppressed())
    }

    /// Returns true if no period goes on: the next line is logged.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        let is_over = |began| now.saturating_duration_since(began) >= self.period;
        self.period_began.is_none_or(is_over)
    }

    /// Returns how many lines were suppressed since the last one that was logged, and begins to
    /// count anew: for a last line at the end.
    pub fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

/// The reasons that were logged for one trouble, such as an outage: each is logged once. Reasons
/// that alternate are not new, nor is one in which only a number has changed.
#[derive(Debug, Clone, Default)]
pub struct LoggedReasons(Vec<String>);

impl LoggedReasons {
    /// More reasons than one trouble has. After this many, every reason counts as new again.
    const KEPT: usize = 16;

    /// Returns true if this reason is to be logged; from then on the reason is not new.
    pub fn is_new(&mut self, reason: &str) -> bool {
        let gist = reason.replace(|c: char| c.is_ascii_digit(), "");
        if self.0.contains(&gist) {
            return false;
        }
        if self.0.len() >= Self::KEPT {
            self.0.clear();
        }
        self.0.push(gist);
        true
    }

    /// Ends the trouble: every reason is new again. Returns whether any was logged.
    pub fn clear(&mut self) -> bool {
        !std::mem::take(&mut self.0).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_in_a_period_are_logged_and_the_others_counted() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut throttle = LogThrottle::new(2, Duration::from_secs(1));
        let asked = [0, 1, 2, 999].map(|ms| throttle.allow(at(ms)));
        assert_eq!(asked, [Some(0), Some(0), None, None]);
        assert_eq!(throttle.allow(at(1000)), Some(2));
        assert_eq!(throttle.allow(at(1001)), Some(0));
        assert_eq!(throttle.allow(at(1999)), None);
        assert_eq!(throttle.take_suppressed(), 1);
        assert_eq!(throttle.allow(at(5000)), Some(0));
    }

    #[test]
    fn each_reason_is_logged_once_whatever_its_numbers() {
        let mut reasons = LoggedReasons::default();
        assert!(!reasons.clear());
        assert!(reasons.is_new("port 9000 is kept: it is free in 60 s"));
        assert!(!reasons.is_new("port 9000 is kept: it is free in 9 s"));
        assert!(reasons.is_new("no connection"));
        assert!(!reasons.is_new("port 9000 is kept: it is free in 8 s"));
        assert!(!reasons.is_new("no connection"));
        assert!(reasons.clear());
        assert!(reasons.is_new("no connection"));
    }
}

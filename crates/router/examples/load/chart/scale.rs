//! Owns one logarithmic axis: where a value lies on it, and which values are written beside it.

use anyhow::Context;

/// From 10 to the power of `from`, which lies at `low`, to 10 to the power of `to`, at `high`.
pub(super) struct Scale {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
}

impl Scale {
    /// With room for all these values. What is nothing has no place on it, and lies at its low end.
    ///
    /// # Errors
    /// If all of them are nothing.
    pub(super) fn new(
        values: impl Iterator<Item = f64>,
        low: f64,
        high: f64,
    ) -> anyhow::Result<Self> {
        let logs: Vec<f64> = values
            .filter(|value| *value > 0.0)
            .map(f64::log10)
            .collect();
        let smallest = logs.iter().copied().reduce(f64::min).context("no points")?;
        let largest = logs.iter().copied().reduce(f64::max).context("no points")?;
        let room = 0.04 * (largest - smallest).max(1.0);
        Ok(Self {
            from: smallest - room,
            to: largest + room,
            low,
            high,
        })
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let share = (value.log10().max(self.from) - self.from) / (self.to - self.from);
        self.low + share * (self.high - self.low)
    }

    /// 1, 2, 5, 10, …; only 1, 10, … where from one to ten is no more than so many pixels.
    pub(super) fn ticks(&self, crowded: f64) -> Vec<f64> {
        let decade = (self.high - self.low).abs() / (self.to - self.from);
        let steps: &[f64] = if decade < crowded {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        (-9..9)
            .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
            .filter(|tick| (self.from..=self.to).contains(&tick.log10()))
            .collect()
    }
}

/// As people write it: 1,000 and 0.05.
pub(super) fn text(value: f64) -> String {
    if value < 10.0 {
        let short = format!("{value:.2}");
        return short.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

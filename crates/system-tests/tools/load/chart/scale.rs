//! Owns one axis, logarithmic or linear: where a value lies on it, and which values are written
//! beside it.

use anyhow::Context;

/// How values become places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Logarithmic,
    /// From 0 on.
    Linear,
}

impl Kind {
    /// What is nothing has no logarithm.
    fn of(self, value: f64) -> Option<f64> {
        match self {
            Self::Linear => Some(value),
            Self::Logarithmic => (value > 0.0).then(|| value.log10()),
        }
    }
}

/// From `from`, which lies at `low`, to `to`, at `high`: values, or their logarithms.
pub(super) struct Scale {
    kind: Kind,
    from: f64,
    to: f64,
    low: f64,
    high: f64,
}

impl Scale {
    /// With room for all these values. What has no place on it lies at its low end.
    ///
    /// # Errors
    /// If none of them has a place.
    pub(super) fn new(
        kind: Kind,
        values: impl Iterator<Item = f64>,
        low: f64,
        high: f64,
    ) -> anyhow::Result<Self> {
        let numbers: Vec<f64> = values.filter_map(|value| kind.of(value)).collect();
        let smallest = numbers.iter().copied().reduce(f64::min);
        let smallest = smallest.context("no points")?;
        let largest = numbers.iter().copied().fold(smallest, f64::max);
        let (from, to) = match kind {
            Kind::Linear => (smallest.min(0.0), largest.max(f64::MIN_POSITIVE) * 1.04),
            Kind::Logarithmic => {
                let room = 0.04 * (largest - smallest).max(1.0);
                (smallest - room, largest + room)
            }
        };
        Ok(Self {
            kind,
            from,
            to,
            low,
            high,
        })
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let number = self.kind.of(value).unwrap_or(self.from).max(self.from);
        let share = (number - self.from) / (self.to - self.from);
        self.low + share * (self.high - self.low)
    }

    /// 1, 2, 5, 10, …; only 1, 10, … where from one to ten is no more than so many pixels. Of a
    /// linear axis each step of which is one of those, and at least half so many pixels.
    pub(super) fn ticks(&self, crowded: f64) -> Vec<f64> {
        match self.kind {
            Kind::Logarithmic => self.decades(crowded),
            Kind::Linear => self.steps(crowded / 2.0),
        }
    }

    fn decades(&self, crowded: f64) -> Vec<f64> {
        let decade = (self.high - self.low).abs() / (self.to - self.from);
        let is_crowded = decade < crowded;
        let steps: &[f64] = if is_crowded { &[1.0] } else { &[1.0, 2.0, 5.0] };
        round_numbers(steps)
            .filter(|tick| (self.from..=self.to).contains(&tick.log10()))
            .collect()
    }

    fn steps(&self, crowded: f64) -> Vec<f64> {
        let pixels = (self.high - self.low).abs() / (self.to - self.from);
        let step = round_numbers(&[1.0, 2.0, 5.0]).find(|step| step * pixels >= crowded);
        let step = step.unwrap_or(self.to);
        std::iter::successors(Some(0.0), |tick| Some(tick + step))
            .take_while(|tick| *tick <= self.to)
            .collect()
    }
}

/// These times each power of ten, in order.
fn round_numbers(steps: &[f64]) -> impl Iterator<Item = f64> {
    (-9..9).flat_map(move |power| steps.iter().map(move |step| step * 10_f64.powi(power)))
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

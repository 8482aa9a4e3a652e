//! The figures of the rounds of a fault, as a row of a table.

use std::collections::BTreeMap;
use std::time::Duration;

use super::history::History;

/// What the rounds were like.
#[derive(Default)]
pub(crate) struct RoundFigures {
    service: Vec<Duration>,
    stopped: Vec<Duration>,
    answers: BTreeMap<(u16, String), usize>,
    none: usize,
}

impl RoundFigures {
    pub(crate) fn add(&mut self, history: &History, severs: bool) {
        self.service.extend(history.service());
        self.stopped.extend(history.stopped().filter(|_| severs));
        for call in &history.calls {
            let Some(answer) = &call.answer else {
                self.none += 1;
                continue;
            };
            let verdict = (answer.status, answer.executed.clone());
            *self.answers.entry(verdict).or_default() += 1;
        }
    }

    /// Fault, rounds, promises broken, median and 99th percentile of the time to service, median
    /// and most of the time from a fault that severs to the stop (all in ms), and the answers.
    pub(crate) fn row(&mut self, name: &str, rounds: usize, broken: usize) -> String {
        let [service_50, service_99] = percentiles(&mut self.service, [50, 99]);
        let [stop_50, stop_most] = percentiles(&mut self.stopped, [50, 100]);
        let mut answers: Vec<String> = (self.answers.iter())
            .map(|((status, executed), times)| format!("{status} {executed}: {times}"))
            .collect();
        if self.none > 0 {
            answers.push(format!("none: {}", self.none));
        }
        let answers = answers.join(", ");
        format!(
            "| {name} | {rounds} | {broken} | {service_50} | {service_99} | {stop_50} | \
             {stop_most} | {answers} |"
        )
    }
}

/// In milliseconds.
fn percentiles<const N: usize>(times: &mut [Duration], percents: [usize; N]) -> [String; N] {
    times.sort();
    percents.map(|percent| {
        let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
        let time = times.get(at);
        time.map_or("-".to_owned(), |it| it.as_millis().to_string())
    })
}

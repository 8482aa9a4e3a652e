//! Remembers the last runs: that each id ran at most once, and what became of it, for a caller that
//! lost its answer.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::time::Duration;

use p2p_shared::names::{CommandName, RunId, RunMap};
use p2p_shared::protocol::{
    End, InnerToRouter, Outcome, OutputPiece, Refusal, RunReport, StderrTail,
};
use p2p_shared::timing::millis;

/// Number of runs that are remembered (promised in docs/http.md).
const REMEMBERED: usize = 1000;
/// Most bytes of one run's output that are kept: the first ones.
const OUTPUT: usize = 4 * 1024;
/// Most bytes of output and standard error of all runs; then the oldest runs lose theirs, but not
/// their end.
const ALL_OUTPUT: usize = 256 * 1024;

#[derive(Debug, Default)]
pub(crate) struct RunHistory {
    order: VecDeque<RunId>,
    runs: RunMap<HistoryEntry>,
    kept: usize,
    /// Number of the oldest runs that have lost their output.
    silent: usize,
}

#[derive(Debug)]
struct HistoryEntry {
    asked: Duration,
    /// Report of the run, without its age.
    report: RunReport,
    /// True if the run is too old for its output to be kept.
    is_silent: bool,
}

impl RunHistory {
    /// Adds a run that was asked for at this time of any clock. Returns false if the id is known
    /// already.
    pub(crate) fn begin(&mut self, run: RunId, command: &CommandName, now: Duration) -> bool {
        let Entry::Vacant(place) = self.runs.entry(run) else {
            return false;
        };
        let report = RunReport {
            command: command.clone(),
            age_ms: 0,
            outcome: Outcome::Waiting,
            bytes: 0,
            output: OutputPiece::default(),
            stderr: StderrTail::default(),
        };
        place.insert(HistoryEntry {
            asked: now,
            report,
            is_silent: false,
        });
        self.order.push_back(run);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(gone) = self.runs.remove(&oldest) {
                self.kept -= gone.kept();
            }
            self.silent = self.silent.saturating_sub(1);
        }
        true
    }

    /// Records a report about a run, whether or not there is a link to send it on.
    pub(crate) fn record(&mut self, message: &InnerToRouter) {
        match message {
            InnerToRouter::Started { run } => {
                self.change(*run, |entry| entry.report.outcome = Outcome::Running);
            }
            InnerToRouter::Output { run, bytes } => self.change(*run, |entry| entry.says(bytes)),
            InnerToRouter::Finished {
                run,
                end,
                exec_us,
                stderr,
            } => self.change(*run, |entry| entry.ended(*end, *exec_us, stderr)),
            InnerToRouter::Answered {
                run,
                end,
                exec_us,
                output,
                stderr,
            } => self.change(*run, |entry| {
                entry.says(output);
                entry.ended(*end, *exec_us, stderr);
            }),
            // The refusal of a repeated request says nothing about the run itself.
            InnerToRouter::Refused {
                run,
                refusal,
                message,
            } if *refusal != Refusal::Repeated => self.change(*run, |entry| {
                entry.report.outcome = match refusal {
                    Refusal::WorkerLost => Outcome::Unknown(message.clone()),
                    _ => Outcome::Refused(message.clone()),
                };
            }),
            _ => {}
        }
    }

    /// Returns what became of a run, if it is one of the last.
    pub(crate) fn report(&self, run: RunId, now: Duration) -> Option<RunReport> {
        let entry = self.runs.get(&run)?;
        Some(RunReport {
            age_ms: millis(now.saturating_sub(entry.asked)),
            ..entry.report.clone()
        })
    }

    /// Changes an entry. Runs of a driver's presses have none.
    fn change(&mut self, run: RunId, change: impl FnOnce(&mut HistoryEntry)) {
        let Some(entry) = self.runs.get_mut(&run) else {
            return;
        };
        let before = entry.kept();
        change(entry);
        self.kept = self.kept + entry.kept() - before;
        self.forget_old_output();
    }

    fn forget_old_output(&mut self) {
        while self.kept > ALL_OUTPUT && self.silent < self.order.len() {
            if let Some(entry) = self.runs.get_mut(&self.order[self.silent]) {
                self.kept -= entry.kept();
                entry.report.output = OutputPiece::default();
                entry.report.stderr = StderrTail::default();
                entry.is_silent = true;
            }
            self.silent += 1;
        }
    }
}

impl HistoryEntry {
    fn says(&mut self, bytes: &[u8]) {
        let RunReport {
            bytes: total,
            output,
            ..
        } = &mut self.report;
        *total += bytes.len() as u64;
        let room = OUTPUT.saturating_sub(output.len()).min(bytes.len());
        if !self.is_silent && room > 0 {
            *output = match output.is_empty() {
                true => OutputPiece::first_of(&bytes[..room]),
                false => OutputPiece::first_of(&[output, &bytes[..room]].concat()),
            };
        }
    }

    fn ended(&mut self, end: End, exec_us: u64, stderr: &StderrTail) {
        self.report.outcome = Outcome::Ended { end, exec_us };
        if !self.is_silent {
            self.report.stderr = stderr.clone();
        }
    }

    fn kept(&self) -> usize {
        self.report.output.len() + self.report.stderr.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> RunId {
        RunId::from_number(n)
    }

    fn begin(history: &mut RunHistory, n: u64) -> bool {
        history.begin(id(n), &"hello".parse().unwrap(), Duration::from_secs(1))
    }

    fn output(history: &mut RunHistory, n: u64, bytes: &'static [u8]) {
        let bytes = OutputPiece::first_of(bytes);
        history.record(&InnerToRouter::Output { run: id(n), bytes });
    }

    #[test]
    fn an_id_is_new_once_and_forgotten_after_a_thousand_others() {
        let mut history = RunHistory::default();
        assert!(begin(&mut history, 0));
        for n in 1..1000 {
            assert!(begin(&mut history, n));
            assert!(!begin(&mut history, 0));
        }
        assert!(begin(&mut history, 1000));
        assert!(begin(&mut history, 0));
        assert_eq!(history.order.len(), history.runs.len());
    }

    #[test]
    fn what_became_of_a_run_is_told_as_it_happens() {
        let mut history = RunHistory::default();
        let report = |history: &RunHistory, n| history.report(id(n), Duration::from_millis(1500));
        assert_eq!(report(&history, 1), None);
        begin(&mut history, 1);
        assert_eq!(report(&history, 1).unwrap().outcome, Outcome::Waiting);
        history.record(&InnerToRouter::Started { run: id(1) });
        output(&mut history, 1, b"hello\n");
        let entry = report(&history, 1).unwrap();
        assert_eq!((entry.outcome, entry.age_ms), (Outcome::Running, 500));
        history.record(&InnerToRouter::Finished {
            run: id(1),
            end: End::Exit(3),
            exec_us: 9,
            stderr: StderrTail::last_of(b"no"),
        });
        history.record(&InnerToRouter::Refused {
            run: id(1),
            refusal: Refusal::Repeated,
            message: "twice".into(),
        });
        let entry = report(&history, 1).unwrap();
        let (end, exec_us) = (End::Exit(3), 9);
        assert_eq!(entry.outcome, Outcome::Ended { end, exec_us });
        assert_eq!((&entry.output[..], entry.bytes), (&b"hello\n"[..], 6));
        assert_eq!(&entry.stderr[..], b"no");
        begin(&mut history, 2);
        let refused = |refusal| InnerToRouter::Refused {
            run: id(2),
            refusal,
            message: "why".into(),
        };
        history.record(&refused(Refusal::NotFound));
        let outcome = Outcome::Refused("why".into());
        assert_eq!(report(&history, 2).unwrap().outcome, outcome);
        history.record(&refused(Refusal::WorkerLost));
        let outcome = Outcome::Unknown("why".into());
        assert_eq!(report(&history, 2).unwrap().outcome, outcome);
    }

    proptest! {
        /// Whatever is reported, kept bytes are counted and bounded, the newest kept longest.
        #[test]
        fn what_is_kept_has_a_bound(said in proptest::collection::vec((0..40_u64, 0..3_u8), 0..400)) {
            static LONG: [u8; 16 * 1024] = [b'x'; 16 * 1024];
            let mut history = RunHistory::default();
            for (n, what) in said {
                match what {
                    0 => { begin(&mut history, n); }
                    1 => output(&mut history, n, &LONG),
                    _ => history.record(&InnerToRouter::Finished {
                        run: id(n),
                        end: End::Exit(0),
                        exec_us: 1,
                        stderr: StderrTail::last_of(&LONG),
                    }),
                }
                let kept: usize = history.runs.values().map(HistoryEntry::kept).sum();
                prop_assert_eq!(kept, history.kept);
                prop_assert!(kept <= ALL_OUTPUT);
                prop_assert!(history.runs.values().all(|entry| entry.report.output.len() <= OUTPUT));
            }
        }
    }
}

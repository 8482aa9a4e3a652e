//! One execution of a command: its order, its events, its errors, and its record.

use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::names::{Argument, CommandName, RunId};
use p2p_shared::protocol::End;
use p2p_shared::timing;

pub(crate) mod error;
pub(crate) mod record;

use error::RunError;

/// A run that is to be sent to the inner.
#[derive(Debug)]
pub(crate) struct RunOrder {
    pub run: RunId,
    pub command: CommandName,
    pub arguments: Vec<Argument>,
    pub stdin: Bytes,
    pub remote_addr: String,
    pub kind: RunKind,
    /// The moment at which it was asked for.
    pub asked: Instant,
}

impl RunOrder {
    /// The part of its deadline that is left, if it is sent now. Waiting here for the link counts; the
    /// time that its input takes to the car, of which the first piece was sent at `input_sent`, does
    /// not, but for a motion: nothing moves the car later than it was wanted.
    pub(crate) fn time_left(&self, now: Instant, input_sent: Option<Instant>) -> Duration {
        let waited_until = match self.kind {
            RunKind::Motion { .. } => now,
            RunKind::Plain | RunKind::Stop => input_sent.unwrap_or(now),
        };
        let waited = waited_until.saturating_duration_since(self.asked);
        timing::RUN_DEADLINE.saturating_sub(waited)
    }
}

/// An event of a run: `Started`, `Output`s and `Finished`, in this order; and in the place of any of
/// them `Failed`.
#[derive(Debug)]
pub(crate) enum RunEvent {
    Started,
    Output(Bytes),
    Finished(Finish),
    Failed(RunError),
}

/// The end of a run that ran.
#[derive(Debug)]
pub(crate) struct Finish {
    pub end: End,
    pub exec: Duration,
    pub stderr: Bytes,
}

/// The part of a run in the car's motion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum RunKind {
    /// The run has no part in the car's motion.
    #[default]
    Plain,
    /// The run moves the car.
    Motion {
        /// The time that it is to last, if that was said.
        for_ms: Option<u64>,
        /// The number of stops when it was asked for.
        stops: u64,
    },
    /// The run stops the car.
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_here_is_a_part_of_its_time_and_what_its_input_takes_is_none_but_of_a_motion() {
        let asked = Instant::now();
        let after = |seconds| asked + Duration::from_secs(seconds);
        let left = |kind, now, input_sent: Option<u64>| {
            let order = RunOrder {
                run: RunId::from_number(1),
                command: "forward".parse().unwrap(),
                arguments: Vec::new(),
                stdin: Bytes::from_static(b"input"),
                remote_addr: String::new(),
                kind,
                asked,
            };
            order.time_left(after(now), input_sent.map(after)).as_secs()
        };
        let motion = RunKind::Motion {
            for_ms: None,
            stops: 0,
        };
        for kind in [RunKind::Plain, motion] {
            assert_eq!(left(kind, 0, None), 5);
            assert_eq!(left(kind, 2, None), 3);
            assert_eq!(left(kind, 20, None), 0);
            // However little its input is, it has waited for its link.
            assert_eq!(left(kind, 20, Some(20)), 0);
        }
        assert_eq!(left(RunKind::Plain, 20, Some(2)), 3);
        assert_eq!(left(motion, 20, Some(2)), 0);
        assert_eq!(left(motion, 3, Some(2)), 2);
    }
}

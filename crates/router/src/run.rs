//! One execution of a command: its order, its events, its errors, and its record.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::bounded::{Arguments, Text};
use p2p_shared::names::{CommandName, RunId};
use p2p_shared::protocol::{End, OutputPiece, RunSource, StderrTail};
use p2p_shared::timing;

pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod record;

use error::RunError;

/// A run, and the caller who wants it.
#[derive(Debug)]
pub(crate) struct NewRun {
    pub run: RunId,
    pub command: CommandName,
    pub arguments: Arguments,
    pub stdin: Bytes,
    /// The time that a motion is to last, in milliseconds.
    pub for_ms: Option<u64>,
    pub source: RunSource,
    /// The caller's name, for people.
    pub by: Text,
    /// The name of the caller's key; empty without keys.
    pub key: Text,
    pub from: SocketAddr,
    /// The moment at which the request began: its body may take a while.
    pub begun: Instant,
}

/// A run that is to be sent to the inner.
#[derive(Debug)]
pub(crate) struct RunOrder {
    pub new: NewRun,
    pub kind: RunKind,
    /// The moment at which the request was complete, its body included.
    pub asked: Instant,
}

impl RunOrder {
    /// The part of the run's deadline that is left, if the run is sent now. The wait for the link
    /// counts. The input's way to the car, which begins at `input_sent`, doesn't count, except for
    /// a motion: no motion may begin later than it was wanted.
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
#[derive(Debug, Clone)]
pub(crate) enum RunEvent {
    Started,
    Output(OutputPiece),
    Finished(Finish),
    Failed(RunError),
}

/// The end of a run that had begun.
#[derive(Debug, Clone)]
pub(crate) struct Finish {
    pub end: End,
    pub exec: Duration,
    pub stderr: StderrTail,
}

/// The part of a run in the car's motion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum RunKind {
    /// The run has no part in the car's motion.
    #[default]
    Plain,
    /// The run moves the car.
    Motion {
        /// The time that the motion is to last, if the caller gave one.
        for_ms: Option<u64>,
        /// The number of stops when the run was asked for.
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
            let new = NewRun {
                run: RunId::from_number(1),
                command: "forward".parse().unwrap(),
                arguments: Default::default(),
                stdin: Bytes::from_static(b"input"),
                for_ms: None,
                source: RunSource::Http,
                by: "".into(),
                key: "".into(),
                from: ([127, 0, 0, 1], 4).into(),
                begun: asked,
            };
            let order = RunOrder { new, kind, asked };
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
            // A run with little input has waited for its link, too.
            assert_eq!(left(kind, 20, Some(20)), 0);
        }
        assert_eq!(left(RunKind::Plain, 20, Some(2)), 3);
        assert_eq!(left(motion, 20, Some(2)), 0);
        assert_eq!(left(motion, 3, Some(2)), 2);
    }
}

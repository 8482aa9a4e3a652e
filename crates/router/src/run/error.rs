//! Reasons why a run does not begin or is cut off, and the one table of their statuses and
//! sentences: for an answer of `/cgi`, a message to a console, and the run's record.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header;
use p2p_shared::bounded::Text;
use p2p_shared::names::{LinkName, RunId};
use p2p_shared::protocol::{End, Refusal, RefusedReason};

use crate::http::response::{Executed, Problem};
use crate::net::limits;

/// Reason why a run does not begin or is cut off. Its text is the sentence for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RunError {
    /// A console's request that is wrong or not allowed, with the status that it would have by HTTP.
    #[error("{message}")]
    Rejected {
        status: u16,
        reason: Option<RefusedReason>,
        message: String,
    },
    #[error(
        "for= is the time of a motion, and this is no motion command of this car: leave it out"
    )]
    ForNoMotion,
    #[error("for= is a number of milliseconds from 1 to {0}, the car's motion limit")]
    ForTooLong(u64),
    #[error("'{0}' drives this car: nothing was run; wait until control is given back")]
    Driven(Text),
    #[error("{limit} runs of this key are open, the most that a key may have: wait for one to end", limit = limits::RUNS)]
    OverQuota,
    /// A console asks for more than it may.
    #[error("{0}")]
    TooMuch(String),
    #[error("the router is restarting: try again in a moment")]
    RouterRestarts,
    #[error("{name} is not connected to the router (for {} s): nothing was run; try again when it is back", away.as_secs())]
    Away { name: LinkName, away: Duration },
    #[error("{0} is restarting: try again in a moment")]
    CarRestarts(LinkName),
    #[error("this car has as many runs waiting as the router allows: try again in a moment")]
    LinkFull,
    /// The link was lost before the run was handed to it.
    #[error("the link to the car was lost before the command was sent: nothing was run; try again")]
    NotSent,
    /// The link was lost after the run was handed to it; nobody knows what became of the run.
    #[error(
        "the link to the car was lost while the command ran: before you run it again, look at the car or, once it is back, at /run/{0} here"
    )]
    Lost(RunId),
    /// A stop that another one answers, which has printed more than is kept for it.
    #[error(
        "the stop ran together with others, as run {0}, and printed more than is kept for each of them: /run/{0} here says how it ended"
    )]
    CutOff(RunId),
    /// The inner did not begin the run.
    #[error("{message}")]
    Refused { refusal: Refusal, message: Text },
    #[error("the command ran past its time limit and was killed after {:.1} s (p2p-inner --timeout)", .0.as_secs_f64())]
    TimedOut(Duration),
    #[error("the car had to restart and ended the command after {:.1} s", .0.as_secs_f64())]
    Cancelled(Duration),
}

impl RunError {
    /// The table: the HTTP status, whether the command was executed, and after how many seconds it may
    /// be tried again.
    fn row(&self) -> (u16, Executed, Option<u32>) {
        match self {
            Self::Rejected { status, .. } => (*status, Executed::No, None),
            Self::ForNoMotion | Self::ForTooLong(_) => (400, Executed::No, None),
            Self::Driven(_) => (409, Executed::No, None),
            Self::OverQuota | Self::TooMuch(_) | Self::LinkFull => (429, Executed::No, Some(1)),
            Self::RouterRestarts | Self::Away { .. } | Self::CarRestarts(_) | Self::NotSent => {
                (503, Executed::No, Some(2))
            }
            Self::Lost(_) => (502, Executed::Unknown, None),
            Self::CutOff(_) => (502, Executed::Yes, None),
            Self::TimedOut(_) | Self::Cancelled(_) => (504, Executed::Yes, None),
            Self::Refused { refusal, .. } => match refusal {
                Refusal::NotFound => (404, Executed::No, None),
                Refusal::NotExecutable => (500, Executed::No, None),
                Refusal::Busy => (429, Executed::No, Some(1)),
                Refusal::Late | Refusal::Draining | Refusal::StopFailed | Refusal::WorkerAway => {
                    (503, Executed::No, Some(2))
                }
                Refusal::Repeated | Refusal::WorkerLost => (502, Executed::Unknown, None),
            },
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.row().0
    }
}

impl From<RunError> for Problem {
    fn from(error: RunError) -> Self {
        let (status, executed, retry_after) = error.row();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let problem = Self::new(status, error.to_string()).executed(executed);
        match retry_after {
            Some(seconds) => problem.with(header::RETRY_AFTER, seconds.into()),
            None => problem,
        }
    }
}

/// The HTTP status of a run that ended like this.
pub(crate) fn status_of(end: End) -> u16 {
    match end {
        End::Exit(0) | End::Ended => 200,
        End::TimedOut | End::Cancelled => 504,
        End::Exit(_) | End::Signal(_) => 500,
    }
}

//! Says in words why a request got no answer of the router that has its car.

use hyper::{HeaderMap, StatusCode};
use p2p_shared::timing;

use super::ElsewhereRequest;
use crate::http::response::{Executed, Problem};
use crate::mesh::hop::Unreachable;
use crate::mesh::{Elsewhere, MemberState};

/// Most headers of a request that is passed on: three less than a router takes, for those that are added.
const MOST_HEADERS: usize = 97;

impl ElsewhereRequest<'_> {
    pub(super) fn moved(&self) -> Problem {
        moving(self.port.open.port)
    }

    pub(super) fn renamed(&self) -> Problem {
        let sentence = format!(
            "the car at service port {} has another name by now, of which this router has yet to hear: nothing was run; try again in a moment, or ask by the new name",
            self.port.open.port
        );
        Problem::retry_after(StatusCode::SERVICE_UNAVAILABLE, 1, sentence)
    }

    pub(super) fn lost(&self, there: &Elsewhere) -> Problem {
        let sentence = format!(
            "the connection to {}, the router that has {}, was lost before it answered: before you run it again, look at the car or, once that is reached, at /run/{} here",
            there.member.address, there.record.name, self.run
        );
        Problem::new(StatusCode::BAD_GATEWAY, sentence).executed(Executed::Unknown)
    }

    pub(super) fn not_understood(&self, there: &Elsewhere) -> Problem {
        let sentence = format!(
            "{}, the router that has {}, answered what no router of this version does: before you run it again, look at the car or at /run/{} here",
            there.member.address, there.record.name, self.run
        );
        Problem::new(StatusCode::BAD_GATEWAY, sentence).executed(Executed::Unknown)
    }

    pub(super) fn broken_off(&self) -> Problem {
        let sentence = format!(
            "the body is cut off or badly framed: only a stop may have run without it, /run/{} says so",
            self.run
        );
        Problem::new(StatusCode::BAD_REQUEST, sentence).executed(Executed::Unknown)
    }
}

/// Makes the answer while no router is known to have the car of a port.
pub(crate) fn moving(port: u16) -> Problem {
    let sentence = format!(
        "the car at service port {port} goes from one router to another: nothing was run; try again in a moment"
    );
    Problem::retry_after(StatusCode::SERVICE_UNAVAILABLE, 1, sentence)
}

pub(super) fn not_reached(there: &Elsewhere, why: &Unreachable) -> Problem {
    let (name, address) = (&there.record.name, &there.member.address);
    Problem::unavailable(match there.member.state {
        MemberState::Away { since } => format!(
            "{name} is at the router {address}, and its router has not been heard of for {} s: nothing was run; try again in a moment",
            timing::now().saturating_duration_since(since).as_secs()
        ),
        MemberState::Present | MemberState::Draining => format!(
            "{name} is at the router {address}, which this one does not reach ({why}): nothing was run; try again in a moment"
        ),
    })
}

pub(super) fn not_again(there: &Elsewhere) -> Problem {
    let sentence = format!(
        "the connection to {}, the router that has {}, was closed as the request was to be sent: nothing was run; try again",
        there.member.address, there.record.name
    );
    Problem::retry_after(StatusCode::SERVICE_UNAVAILABLE, 1, sentence)
}

/// Refuses a request with more headers than fit beside those that are added.
pub(super) fn check_number(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.len() <= MOST_HEADERS {
        return Ok(());
    }
    let sentence = format!(
        "there are more than {MOST_HEADERS} headers, the most that can be passed on to the router that has this car: nothing was run"
    );
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Err(Problem::new(status, sentence))
}

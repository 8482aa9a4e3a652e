//! Owns the sentences about driving: what a driver is told, and who a car is told to be stopped
//! by.

use p2p_shared::names::{CommandName, LinkName};
use p2p_shared::protocol::{RefusedReason, StopCause};

use crate::car::Refused;
use crate::car::control::{ControlError, Event, Released};

impl From<ControlError> for Refused {
    fn from(error: ControlError) -> Self {
        let (reason, message) = match error {
            ControlError::HeldByOther(driver) => (
                RefusedReason::Locked,
                format!("'{}' drives this car: ask for control", driver.name),
            ),
            ControlError::AlreadyRequested(driver) => (
                RefusedReason::Locked,
                format!(
                    "'{}' has asked for control already: try again in a moment",
                    driver.name
                ),
            ),
            ControlError::NotHolder => not_driving("you don't have control: take it first"),
            ControlError::NoRequest => not_driving("nobody asks for control any more"),
            ControlError::NotAdmin => (
                RefusedReason::Denied,
                "only an admin's key may seize control: ask for it".to_owned(),
            ),
            ControlError::OldEpoch => {
                not_driving("control has passed on since this press: press again")
            }
            ControlError::OldPress => {
                not_driving("a later press came before this one: press again")
            }
        };
        Self { reason, message }
    }
}

fn not_driving(sentence: &str) -> (RefusedReason, String) {
    (RefusedReason::NotDriving, sentence.to_owned())
}

pub(super) fn offline(name: &LinkName) -> Refused {
    Refused {
        reason: RefusedReason::Offline,
        message: format!("{name} is not connected to the router: it stops by itself"),
    }
}

pub(super) fn too_slow(name: &LinkName) -> Refused {
    Refused {
        reason: RefusedReason::TooSlow,
        message: format!(
            "the way to {name} is too slow to drive: the press was more than a second old and \
             was dropped; press again when the round trip is below a second"
        ),
    }
}

pub(super) fn closing() -> Refused {
    Refused {
        reason: RefusedReason::Offline,
        message: "the router is restarting: try again in a moment".to_owned(),
    }
}

pub(super) fn restarting(name: &LinkName) -> Refused {
    Refused {
        reason: RefusedReason::Offline,
        message: format!("{name} is restarting: try again in a moment"),
    }
}

pub(super) fn no_motion(command: &CommandName) -> Refused {
    Refused {
        reason: RefusedReason::NotDriving,
        message: format!("'{command}' is no motion command of this car (p2p-inner --motion)"),
    }
}

/// The stop that a change of control calls for: by whom, and why.
pub(super) fn stop_before(event: &Event) -> Option<(String, StopCause)> {
    match event {
        Event::Taken { driver, .. } => Some((
            format!("{}, taking control", driver.name),
            StopCause::Beginning,
        )),
        Event::Released { driver, why } => {
            let by = match why {
                Released::InheritedListeners => format!("{}, giving control back", driver.name),
                Released::Idle => format!("{}, idle", driver.name),
                Released::Silence => format!("{}, silent with a key held", driver.name),
                Released::Gone => format!("{}, gone", driver.name),
                Released::Closing => "the router, going down".to_owned(),
            };
            Some((by, StopCause::Asked))
        }
        Event::Requested { .. } | Event::Declined { .. } => None,
    }
}

//! Sentences about driving, for drivers and for the log of the car.

use p2p_shared::names::{CommandName, LinkName};
use p2p_shared::protocol::{ControlEnd, RefusedReason, StopCause};

use crate::car::Refused;
use crate::car::control::{ControlError, Event};

impl Refused {
    pub(crate) fn new(reason: RefusedReason, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { reason, message }
    }

    pub(super) fn offline(name: &LinkName) -> Self {
        let message =
            format!("{name} is not connected to the router; if it moves, it stops by itself");
        Self::new(RefusedReason::Offline, message)
    }

    pub(super) fn router_restarts() -> Self {
        let message = "the router is restarting: try again in a moment";
        Self::new(RefusedReason::Offline, message)
    }

    pub(super) fn car_restarts(name: &LinkName) -> Self {
        let message = format!("{name} is restarting: try again in a moment");
        Self::new(RefusedReason::Offline, message)
    }

    pub(super) fn no_motion(command: &CommandName) -> Self {
        let message = format!("'{command}' is no motion command of this car (p2p-inner --motion)");
        Self::new(RefusedReason::NotDriving, message)
    }

    pub(super) fn too_slow(name: &LinkName) -> Self {
        let message = format!(
            "the way to {name} is too slow to drive: the press was more than a second old and \
             was dropped; press again when the round trip is below a second"
        );
        Self::new(RefusedReason::TooSlow, message)
    }
}

impl From<ControlError> for Refused {
    fn from(error: ControlError) -> Self {
        let reason = match error {
            ControlError::HeldByOther(_) | ControlError::AlreadyRequested(_) => {
                RefusedReason::Locked
            }
            ControlError::NotAdmin => RefusedReason::Denied,
            ControlError::NotHolder
            | ControlError::NoRequest
            | ControlError::OldEpoch
            | ControlError::OldPress => RefusedReason::NotDriving,
        };
        Self::new(reason, error.to_string())
    }
}

/// Returns the stop that a change of control needs: who asks for it, and why.
pub(super) fn stop_before(event: &Event) -> Option<(String, StopCause)> {
    match event {
        Event::Taken { driver, .. } => Some((
            format!("{}, taking control", driver.name),
            StopCause::Beginning,
        )),
        Event::Released { driver, why } => {
            let by = match why {
                ControlEnd::Given => format!("{}, giving control back", driver.name),
                ControlEnd::Idle => format!("{}, idle", driver.name),
                ControlEnd::Silence => format!("{}, silent with a key held", driver.name),
                ControlEnd::Gone => format!("{}, gone", driver.name),
                ControlEnd::Closing => "the router, going down".to_owned(),
            };
            Some((by, StopCause::Asked))
        }
        Event::Requested { .. } | Event::Declined { .. } => None,
    }
}

//! Decides the kind of a run for its car, and whether it may begin: a motion not while somebody
//! drives, the stop command always.

use std::sync::atomic::Ordering;

use p2p_shared::names::CommandName;

use super::Car;
use crate::run::RunKind;
use crate::run::error::RunError;

impl Car {
    /// Decides whether a run of this command may begin, and what it is to the car's motion.
    pub(crate) fn admit(
        &self,
        command: &CommandName,
        for_ms: Option<u64>,
    ) -> Result<RunKind, RunError> {
        let state = self.state.lock();
        let Some(motion) = &state.motion else {
            return Ok(RunKind::Plain);
        };
        if !motion.commands.contains(command) {
            return match for_ms {
                Some(_) => Err(RunError::ForNoMotion),
                None if *command == motion.stop => Ok(RunKind::Stop),
                None => Ok(RunKind::Plain),
            };
        }
        let limit = match motion.limit_ms {
            0 => u64::MAX,
            limit => limit,
        };
        if for_ms.is_some_and(|time| !(1..=limit).contains(&time)) {
            return Err(RunError::ForTooLong(limit));
        }
        if let Some(driver) = state.control.driver() {
            return Err(RunError::Driven(driver.name.clone()));
        }
        let stops = self.stops.load(Ordering::SeqCst);
        Ok(RunKind::Motion { for_ms, stops })
    }

    /// The stop command; `None` before the car's first link since the router's start.
    pub(crate) fn stop_command(&self) -> Option<CommandName> {
        Some(self.state.lock().motion.as_ref()?.stop.clone())
    }

    pub(crate) fn is_stop(&self, command: &CommandName) -> bool {
        let state = self.state.lock();
        (state.motion.as_ref()).is_some_and(|motion| motion.stop == *command)
    }

    /// Whether a stop came after this run was asked for.
    pub(crate) fn is_overtaken(&self, kind: RunKind) -> bool {
        match kind {
            RunKind::Motion { stops, .. } => stops != self.stops.load(Ordering::SeqCst),
            RunKind::Plain | RunKind::Stop => false,
        }
    }
}

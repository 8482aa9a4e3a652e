//! Owns the one way of a run to its car's link, for `/cgi` and for consoles: decides its kind and
//! whether it may begin, and queues it. A motion may not begin while somebody drives; a stop always may.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use p2p_shared::names::CommandName;
use p2p_shared::timing;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Car;
use crate::link::handle::RunHandle;
use crate::ops::shutdown::Shutdown;
use crate::run::error::RunError;
use crate::run::record::RunRecord;
use crate::run::{NewRun, RunEvent, RunKind, RunOrder};

/// A run that was queued on its link. Dropping it before its end cancels the run.
#[derive(Debug)]
pub(crate) struct Run {
    pub handle: RunHandle,
    pub record: RunRecord,
    /// Holds up the router's end until the run has ended.
    pub _token: TaskTrackerToken,
}

impl Run {
    /// Waits for the next event, and records it. The status at the end is recorded by the caller.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<RunEvent> {
        let event = ready!(self.handle.poll_event(cx));
        match &event {
            RunEvent::Started => self.record.started(),
            RunEvent::Output(bytes) => self.record.output(bytes),
            RunEvent::Finished(finish) => self.record.run_finished(finish),
            RunEvent::Failed(_) => {}
        }
        Poll::Ready(event)
    }
}

impl Car {
    /// Queues a run of this car, if it may begin. If not, its record says why.
    pub(crate) fn dispatch(
        &self,
        new: NewRun,
        mut record: RunRecord,
        shutdown: &Shutdown,
    ) -> Result<Run, RunError> {
        // Taken before `begin` checks if the router goes down: the router waits for a run that
        // begins.
        let _token = shutdown.open_runs.token();
        match self.begin(new, shutdown) {
            Ok(handle) => Ok(Run {
                handle,
                record,
                _token,
            }),
            Err(error) => {
                record.fail(&error);
                Err(error)
            }
        }
    }

    fn begin(&self, new: NewRun, shutdown: &Shutdown) -> Result<RunHandle, RunError> {
        let kind = self.admit(&new.command, new.for_ms)?;
        let is_stop = kind == RunKind::Stop;
        if is_stop {
            self.stop_by_run(&new);
        } else if shutdown.draining.is_cancelled() {
            return Err(RunError::RouterRestarts);
        }
        let Some(link) = self.link() else {
            let (name, away) = (self.name(), self.elapsed());
            return Err(RunError::Away { name, away });
        };
        if link.is_draining() && !is_stop {
            return Err(RunError::CarRestarts(self.name()));
        }
        let asked = timing::now();
        let stop = is_stop.then(|| (new.run, new.key.clone(), new.from));
        let order = RunOrder { new, kind, asked };
        let handle = link.begin(order).ok_or(RunError::LinkFull)?;
        if let Some((run, key, from)) = stop
            && handle.answers() != run
        {
            let (link, by) = (self.name(), handle.answers());
            tracing::info!(%link, key = key.raw(), %from, %run, %by, "stop answered by another");
        }
        Ok(handle)
    }

    /// Decides whether a run of this command may begin, and its part in the car's motion.
    fn admit(&self, command: &CommandName, for_ms: Option<u64>) -> Result<RunKind, RunError> {
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

    pub(crate) fn is_motion(&self, command: &CommandName) -> bool {
        let state = self.state.lock();
        (state.motion.as_ref()).is_some_and(|motion| motion.commands.contains(command))
    }

    pub(crate) fn is_stop(&self, command: &CommandName) -> bool {
        let state = self.state.lock();
        (state.motion.as_ref()).is_some_and(|motion| motion.stop == *command)
    }

    /// Returns true if a stop came after this run was asked for.
    pub(crate) fn is_overtaken(&self, kind: RunKind) -> bool {
        match kind {
            RunKind::Motion { stops, .. } => stops != self.stops.load(Ordering::SeqCst),
            RunKind::Plain | RunKind::Stop => false,
        }
    }
}

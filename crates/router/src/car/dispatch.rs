//! Owns the one way of a run to its car's link, for `/cgi` and for consoles, and what becomes of it
//! there.

use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use p2p_shared::names::{Argument, CommandName};
use p2p_shared::timing;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Car;
use crate::link::handle::RunHandle;
use crate::ops::shutdown::Shutdown;
use crate::run::error::RunError;
use crate::run::record::RunRecord;
use crate::run::{RunEvent, RunKind, RunOrder};

/// A command that somebody wants run.
#[derive(Debug)]
pub(crate) struct RunRequest {
    pub command: CommandName,
    pub arguments: Vec<Argument>,
    pub stdin: Bytes,
    /// The time that a motion is to last, in milliseconds.
    pub for_ms: Option<u64>,
    /// The name of the one who wants it.
    pub by: String,
    pub from: SocketAddr,
}

/// A run that was queued on its link. Dropped before its end, it is cancelled.
#[derive(Debug)]
pub(crate) struct Run {
    pub handle: RunHandle,
    pub record: RunRecord,
    /// Holds up the router's end until the run has ended.
    _token: TaskTrackerToken,
}

impl Run {
    pub(crate) fn new(handle: RunHandle, record: RunRecord, token: TaskTrackerToken) -> Self {
        Self {
            handle,
            record,
            _token: token,
        }
    }

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
        request: RunRequest,
        mut record: RunRecord,
        shutdown: &Shutdown,
    ) -> Result<Run, RunError> {
        // Before it is looked at whether the router is going down: who comes through is waited for.
        let token = shutdown.open_runs.token();
        match self.begin(request, &record, shutdown) {
            Ok(handle) => Ok(Run::new(handle, record, token)),
            Err(error) => {
                record.fail(&error);
                Err(error)
            }
        }
    }

    fn begin(
        &self,
        request: RunRequest,
        record: &RunRecord,
        shutdown: &Shutdown,
    ) -> Result<RunHandle, RunError> {
        let run = record.run();
        let kind = self.admit(&request.command, request.for_ms)?;
        let is_stop = kind == RunKind::Stop;
        if is_stop {
            self.stop_by_run(&request.by, request.from, run);
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
        let order = RunOrder {
            run,
            command: request.command,
            arguments: request.arguments,
            stdin: request.stdin,
            remote_addr: request.from.ip().to_string(),
            kind,
            asked: timing::now(),
        };
        link.begin(order).ok_or(RunError::LinkFull)
    }
}

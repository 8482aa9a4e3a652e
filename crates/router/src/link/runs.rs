//! Owns the open runs of one link, and what an inner may say of each: refused; or started, then
//! output, then finished; and nothing before the run was handed over. A run that is not there
//! was cancelled a moment ago: what still comes of it is nobody's.

use std::collections::HashMap;

use bytes::Bytes;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{RUN_WINDOW, Refusal, cost};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedSender, WeakUnboundedSender};

use crate::link::end::ProtocolViolation;
use crate::run::error::RunError;
use crate::run::{Finish, RunEvent};

/// A link's hold on a run that it is to hand over, or has. Dropped after it was handed over and
/// before its end, it tells the caller that the run is lost.
#[derive(Debug)]
pub(crate) struct OpenRun {
    run: RunId,
    events: UnboundedSender<RunEvent>,
    handed: bool,
    over: bool,
    window: u32,
    _permit: Option<OwnedSemaphorePermit>,
}

/// The inner sent more output than it was allowed to.
#[derive(Debug)]
pub(crate) struct WindowExceeded;

impl OpenRun {
    pub(crate) fn new(
        run: RunId,
        events: UnboundedSender<RunEvent>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            run,
            events,
            handed: false,
            over: false,
            window: RUN_WINDOW,
            _permit: permit,
        }
    }

    /// From now on nobody can say that it was not executed.
    pub(crate) fn hand_over(&mut self) {
        self.handed = true;
    }

    pub(crate) fn started(&self) {
        self.send(RunEvent::Started);
    }

    pub(crate) fn output(&mut self, bytes: Bytes) -> Result<(), WindowExceeded> {
        self.window = self
            .window
            .checked_sub(cost(&bytes))
            .ok_or(WindowExceeded)?;
        self.send(RunEvent::Output(bytes));
        Ok(())
    }

    pub(crate) fn grant(&mut self, more: u32) {
        self.window = self.window.saturating_add(more).min(RUN_WINDOW);
    }

    /// Its last event.
    pub(crate) fn end(mut self, event: RunEvent) {
        self.over = true;
        self.send(event);
    }

    fn send(&self, event: RunEvent) {
        // A caller that is gone has cancelled, which the link learns from its queue. What waits
        // here unread is bounded by the window.
        let _ = self.events.send(event);
    }
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        if self.handed && !self.over {
            self.send(RunEvent::Failed(RunError::Lost(self.run)));
        }
    }
}

/// The runs that are open on a link.
#[derive(Debug, Default)]
pub(super) struct Runs(HashMap<RunId, Held>);

#[derive(Debug)]
struct Held {
    open: OpenRun,
    stage: Stage,
    caller: WeakUnboundedSender<RunEvent>,
    /// A run of the stop command: it is wanted, whether or not its caller waits for it.
    is_stop: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The inner doesn't know of it, or has only got input of it.
    Kept,
    Handed,
    Started,
}

impl Runs {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(
        &mut self,
        run: RunId,
        open: OpenRun,
        caller: WeakUnboundedSender<RunEvent>,
        is_stop: bool,
    ) {
        let stage = Stage::Kept;
        let held = Held {
            open,
            stage,
            caller,
            is_stop,
        };
        self.0.insert(run, held);
    }

    /// The run is about to be handed to the inner, if it is still wanted: from now on nobody can
    /// say that it was not executed.
    pub(super) fn hand_over(&mut self, run: RunId) -> bool {
        let Some(held) = self.0.get_mut(&run) else {
            return false;
        };
        let is_waited_for = || (held.caller.upgrade()).is_some_and(|caller| !caller.is_closed());
        let is_wanted = held.is_stop || is_waited_for();
        if is_wanted {
            held.open.hand_over();
            held.stage = Stage::Handed;
        } else {
            self.0.remove(&run);
        }
        is_wanted
    }

    /// The run, which was not handed over, won't be: this is told to its caller.
    pub(super) fn withdraw(&mut self, run: RunId, event: RunEvent) {
        if let Some(held) = self.0.remove(&run) {
            held.open.end(event);
        }
    }

    /// A stop came before this motion was handed over: it is not to begin.
    pub(super) fn overtaken(&mut self, run: RunId) {
        if let Some(held) = self.0.remove(&run) {
            held.open.end(RunEvent::Failed(RunError::Refused {
                refusal: Refusal::Late,
                message: "a stop came first: nothing was run".to_owned(),
            }));
        }
    }

    /// The caller has gone away; whether the run, which was open, is to be ended for that. A stop
    /// is not.
    pub(super) fn cancel(&mut self, run: RunId) -> bool {
        self.0.remove(&run).is_some_and(|held| !held.is_stop)
    }

    /// The caller has read on; whether the run is open.
    pub(super) fn grant(&mut self, run: RunId, more: u32) -> bool {
        let held = self.0.get_mut(&run);
        held.map(|held| held.open.grant(more)).is_some()
    }

    pub(super) fn started(&mut self, run: RunId) -> Result<(), ProtocolViolation> {
        let Some(held) = self.0.get_mut(&run) else {
            return Ok(());
        };
        if held.stage != Stage::Handed {
            return Err(ProtocolViolation(
                "the inner started a run that it was not asked for, or twice",
            ));
        }
        held.stage = Stage::Started;
        held.open.started();
        Ok(())
    }

    pub(super) fn output(&mut self, run: RunId, bytes: Bytes) -> Result<(), ProtocolViolation> {
        let Some(held) = self.0.get_mut(&run) else {
            return Ok(());
        };
        if held.stage != Stage::Started {
            return Err(ProtocolViolation(
                "the inner sent output of a run that has not started",
            ));
        }
        let sent = held.open.output(bytes);
        sent.map_err(|_| ProtocolViolation("the inner sent more output than its window"))
    }

    pub(super) fn refused(&mut self, run: RunId, event: RunEvent) -> Result<(), ProtocolViolation> {
        let why = "the inner refused a run that it had started, or was not asked for";
        self.end(run, Stage::Handed, event, ProtocolViolation(why))
    }

    pub(super) fn finished(&mut self, run: RunId, finish: Finish) -> Result<(), ProtocolViolation> {
        let why = ProtocolViolation("the inner finished a run that has not started");
        self.end(run, Stage::Started, RunEvent::Finished(finish), why)
    }

    fn end(
        &mut self,
        run: RunId,
        from: Stage,
        event: RunEvent,
        why: ProtocolViolation,
    ) -> Result<(), ProtocolViolation> {
        match self.0.remove(&run) {
            None => Ok(()),
            Some(held) if held.stage == from => {
                held.open.end(event);
                Ok(())
            }
            // Dropped: its caller is told that nobody knows, unless nothing was handed over.
            Some(_) => Err(why),
        }
    }

    /// Forgets them all: those that were handed over are lost.
    pub(super) fn abort_all(&mut self) {
        self.0.clear();
    }
}

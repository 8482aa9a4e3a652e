//! Owns the two ends of one run inside the router: the handle that a caller holds, and the open
//! run that its link holds. Either one going away tells the other.

use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::names::{Argument, CommandName, RunId};
use p2p_shared::protocol::{End, RUN_WINDOW, Refusal, cost};
use p2p_shared::timing;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::car::RunKind;
use crate::link::handle::{LinkHandle, ToLink};

/// What a caller wants run.
#[derive(Debug)]
pub(crate) struct RunOrder {
    pub run: RunId,
    pub command: CommandName,
    pub arguments: Vec<Argument>,
    pub stdin: Bytes,
    pub remote_addr: String,
    pub kind: RunKind,
    /// When it was asked for.
    pub asked: Instant,
}

impl RunOrder {
    /// How much of its time is left, if it is sent now: what it waited here for its link is a part
    /// of it. How long its input takes on its way to the car, of which the first piece was sent at
    /// `input_sent`, is not; but nothing moves the car later than it was wanted.
    pub(crate) fn time_left(&self, now: Instant, input_sent: Option<Instant>) -> Duration {
        let waited_until = match self.kind {
            RunKind::Motion { .. } => now,
            RunKind::Plain | RunKind::Stop => input_sent.unwrap_or(now),
        };
        let waited = waited_until.saturating_duration_since(self.asked);
        timing::RUN_DEADLINE.saturating_sub(waited)
    }
}

/// What becomes of a run, in this order: `Refused`; or `Started`, `Output`s and `Finished`; and
/// in the place of any of them `Lost`.
#[derive(Debug)]
pub(crate) enum RunEvent {
    Refused {
        refusal: Refusal,
        message: String,
    },
    Started,
    Output(Bytes),
    Finished(Finish),
    /// It was handed to the link, which was lost; nobody knows what became of it.
    Lost,
}

/// The end of a run that ran.
#[derive(Debug)]
pub(crate) struct Finish {
    pub end: End,
    pub exec: Duration,
    pub stderr: Bytes,
}

/// A caller's hold on its run. Dropped before the end, it cancels the run.
#[derive(Debug)]
pub(crate) struct RunHandle {
    run: RunId,
    link: LinkHandle,
    events: mpsc::UnboundedReceiver<RunEvent>,
    over: bool,
    /// Read and not yet granted again, in units of the window.
    read: u32,
}

impl RunHandle {
    pub(crate) fn new(
        run: RunId,
        link: LinkHandle,
        events: mpsc::UnboundedReceiver<RunEvent>,
    ) -> Self {
        Self {
            run,
            link,
            events,
            over: false,
            read: 0,
        }
    }

    /// The next event; `None` before any other means that nothing was handed to the link.
    pub(crate) fn poll_event(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<RunEvent>> {
        let event = std::task::ready!(self.events.poll_recv(cx));
        self.over = !matches!(event, Some(RunEvent::Started | RunEvent::Output(_)));
        std::task::Poll::Ready(event)
    }

    /// The caller grants so much more output by itself, in units of the window.
    pub(crate) fn grant(&self, more: u32) {
        if !self.over && more > 0 {
            self.link.send(ToLink::Window {
                run: self.run,
                more,
            });
        }
    }

    /// The caller has taken this output: as much more may come.
    pub(crate) fn taken(&mut self, output: &[u8]) {
        self.read += cost(output);
        // Granting in quarters keeps the pipe full at one message for many.
        if self.read >= RUN_WINDOW / 4 && !self.over {
            self.link.send(ToLink::Window {
                run: self.run,
                more: std::mem::take(&mut self.read),
            });
        }
    }
}

impl Drop for RunHandle {
    fn drop(&mut self) {
        if !self.over {
            self.link.send(ToLink::Cancel(self.run));
        }
    }
}

/// A link's hold on a run that it is to hand over, or has. Dropped after it was handed over and
/// before its end, it tells the caller that the run is lost.
#[derive(Debug)]
pub(crate) struct OpenRun {
    events: mpsc::UnboundedSender<RunEvent>,
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
        events: mpsc::UnboundedSender<RunEvent>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
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
        self.tell(RunEvent::Started);
    }

    pub(crate) fn output(&mut self, bytes: Bytes) -> Result<(), WindowExceeded> {
        self.window = self
            .window
            .checked_sub(cost(&bytes))
            .ok_or(WindowExceeded)?;
        self.tell(RunEvent::Output(bytes));
        Ok(())
    }

    pub(crate) fn grant(&mut self, more: u32) {
        self.window = self.window.saturating_add(more).min(RUN_WINDOW);
    }

    /// Its last event.
    pub(crate) fn end(mut self, event: RunEvent) {
        self.over = true;
        self.tell(event);
    }

    fn tell(&self, event: RunEvent) {
        // A caller that is gone has cancelled, which the link learns from its queue. What waits
        // here unread is bounded by the window.
        let _ = self.events.send(event);
    }
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        if self.handed && !self.over {
            self.tell(RunEvent::Lost);
        }
    }
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

//! Owns the runs that one console has asked for: what becomes of each on its way to the console,
//! and how much of its output the console has granted.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use p2p_shared::bounded::Text;
use p2p_shared::protocol::{CALLER_LEFT, Refusal, RefusedReason, SendEvent, cost};
use p2p_shared::timing;

use crate::car::dispatch::Run;
use crate::run::RunEvent;
use crate::run::error::{RunError, status_of};

/// Most runs that one console has open at a time, without those of stop commands.
pub(super) const OPEN: usize = 64;
/// Most runs of stop commands whose ends one console waits for. A stop is never refused: beyond that
/// the console hears no more of the oldest one.
const STOPS: usize = 16;

/// The open runs of one console, the one with the oldest event first.
#[derive(Debug, Default)]
pub(super) struct ClientRuns(VecDeque<ClientRun>);

#[derive(Debug)]
struct ClientRun {
    request: u64,
    is_stop: bool,
    run: Run,
    /// Output that was sent on and not granted again, in units of the window.
    unread: u32,
}

impl ClientRuns {
    pub(super) fn is_full(&self) -> bool {
        self.0.iter().filter(|sent| !sent.is_stop).count() >= OPEN
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, request: u64) -> bool {
        self.0.iter().any(|sent| sent.request == request)
    }

    /// Adds a run. Returns the request of the stop of which the console hears no more.
    pub(super) fn insert(&mut self, request: u64, is_stop: bool, run: Run) -> Option<u64> {
        self.0.push_back(ClientRun {
            request,
            is_stop,
            run,
            unread: 0,
        });
        let stops = || self.0.iter().enumerate().filter(|(_, sent)| sent.is_stop);
        let (oldest, _) = stops().next().filter(|_| stops().count() > STOPS)?;
        let mut gone = self.0.remove(oldest)?;
        let why = "the car did not say what became of it, and newer stops came";
        gone.run.record.finish(502, why);
        Some(gone.request)
    }

    /// Grants more output, but no more than was sent: else the inner would overrun our own window.
    pub(super) fn grant(&mut self, request: u64, more: u32) {
        if let Some(sent) = self.0.iter_mut().find(|sent| sent.request == request) {
            let more = more.min(sent.unread);
            sent.unread -= more;
            sent.run.handle.grant(more);
        }
    }

    /// Ends a run for its console, which gets no more events of it.
    pub(super) fn cancel(&mut self, request: u64) {
        self.0.retain_mut(|sent| {
            let stays = sent.request != request;
            if !stays {
                sent.run
                    .record
                    .finish(CALLER_LEFT, "the console cancelled it");
            }
            stays
        });
    }

    /// Waits for the next event of any run.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(u64, SendEvent)> {
        for at in 0..self.0.len() {
            if let Poll::Ready(event) = self.0[at].run.poll_next(cx)
                && let Some(mut sent) = self.0.remove(at)
            {
                let request = sent.request;
                let event = sent.translate(event);
                if matches!(event, SendEvent::Started | SendEvent::Output(_)) {
                    self.0.push_back(sent);
                }
                return Poll::Ready((request, event));
            }
        }
        Poll::Pending
    }
}

impl ClientRun {
    /// Records the end, and translates an event for the console.
    fn translate(&mut self, event: RunEvent) -> SendEvent {
        match event {
            RunEvent::Started => SendEvent::Started,
            RunEvent::Output(bytes) => {
                self.unread += cost(&bytes);
                SendEvent::Output(bytes)
            }
            RunEvent::Finished(finish) => {
                self.run.record.finish(status_of(finish.end), "");
                SendEvent::Finished {
                    end: finish.end,
                    exec_us: timing::micros(finish.exec),
                    stderr: finish.stderr,
                }
            }
            RunEvent::Failed(error) => {
                self.run.record.fail(&error);
                failed(error)
            }
        }
    }
}

/// The message for a console about this error. `Repeated` says nothing about the first run.
pub(super) fn failed(error: RunError) -> SendEvent {
    let (refusal, reason) = match &error {
        RunError::Lost(_)
        | RunError::Refused {
            refusal: Refusal::Repeated,
            ..
        } => return SendEvent::Lost,
        RunError::Rejected { reason, .. } => (None, *reason),
        RunError::Driven(_) => (None, Some(RefusedReason::Locked)),
        RunError::RouterRestarts | RunError::Away { .. } | RunError::NotSent => {
            (None, Some(RefusedReason::Offline))
        }
        RunError::OverQuota | RunError::TooMuch(_) | RunError::LinkFull => {
            (Some(Refusal::Busy), None)
        }
        RunError::CarRestarts(_) => (Some(Refusal::Draining), None),
        RunError::Refused { refusal, .. } => (Some(*refusal), None),
        RunError::ForNoMotion
        | RunError::ForTooLong(_)
        | RunError::CutOff(_)
        | RunError::TimedOut(_)
        | RunError::Cancelled(_) => (None, None),
    };
    SendEvent::Refused {
        refusal,
        reason,
        message: match error {
            RunError::Refused { message, .. } => message,
            error => Text::new(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use p2p_shared::names::RunId;
    use p2p_shared::protocol::RunSource;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::feed::Feed;
    use crate::link::handle::LinkHandle;
    use crate::link::work::ToLink;
    use crate::ops::metrics::Metrics;
    use crate::run::record::RunRecord;
    use crate::run::{NewRun, RunKind, RunOrder};

    #[tokio::test]
    async fn what_the_car_was_asked_for_twice_is_not_said_not_to_have_begun() {
        let run = RunId::from_number(1);
        let (link, mut work) = LinkHandle::new();
        let new = NewRun {
            run,
            command: "hello".parse().unwrap(),
            arguments: Default::default(),
            stdin: Bytes::new(),
            for_ms: None,
            source: RunSource::Send,
            by: "".into(),
            key: "".into(),
            from: ([127, 0, 0, 1], 4).into(),
            begun: timing::now(),
        };
        let record = RunRecord::new(
            Arc::new(Feed::new()),
            Arc::new(Metrics::new()),
            Arc::default(),
            (9000, "car".parse().unwrap()),
            &new,
        );
        let order = RunOrder {
            new,
            kind: RunKind::Plain,
            asked: timing::now(),
        };
        let handle = link.begin(order).unwrap();
        let mut runs = ClientRuns::default();
        let _token = TaskTracker::new().token();
        let run = Run {
            handle,
            record,
            _token,
        };
        assert_eq!(runs.insert(7, false, run), None);
        let refusal = Refusal::Repeated;
        let message = "twice".into();
        let error = RunError::Refused { refusal, message };
        let Some(ToLink::Run { open, .. }) = work.recv().await else {
            unreachable!()
        };
        open.end(RunEvent::Failed(error));
        let told = std::future::poll_fn(|cx| runs.poll_next(cx)).await;
        assert_eq!(told, (7, SendEvent::Lost));
        assert!(runs.is_empty());
    }
}

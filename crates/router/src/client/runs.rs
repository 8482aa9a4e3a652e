//! Owns the runs that one console has asked for: what becomes of each on its way to the console,
//! and how much of its output the console has granted.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use p2p_shared::protocol::{CALLER_LEFT, Refusal, RefusedReason, SendEvent, cost};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::link::handle::RunHandle;
use crate::run::RunEvent;
use crate::run::record::{RunRecord, status};

/// Most runs that one console has open at a time.
pub(super) const OPEN: usize = 64;

/// The open runs, the one that was heard of longest ago first.
#[derive(Debug, Default)]
pub(super) struct ClientRuns(VecDeque<ClientRun>);

#[derive(Debug)]
struct ClientRun {
    request: u64,
    handle: RunHandle,
    record: RunRecord,
    /// Holds up the router's end until the run has ended.
    _token: TaskTrackerToken,
    /// Output that was sent on and not granted again, in units of the window.
    unread: u32,
}

impl ClientRuns {
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= OPEN
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, request: u64) -> bool {
        self.0.iter().any(|sent| sent.request == request)
    }

    pub(super) fn insert(
        &mut self,
        request: u64,
        handle: RunHandle,
        record: RunRecord,
        token: TaskTrackerToken,
    ) {
        self.0.push_back(ClientRun {
            _token: token,
            request,
            handle,
            record,
            unread: 0,
        });
    }

    /// The console has read on. It can't grant more than it was sent: the inner would overrun
    /// our own window.
    pub(super) fn grant(&mut self, request: u64, more: u32) {
        if let Some(sent) = self.0.iter_mut().find(|sent| sent.request == request) {
            let more = more.min(sent.unread);
            sent.unread -= more;
            sent.handle.grant(more);
        }
    }

    /// The console wants it ended. It is told of no more.
    pub(super) fn cancel(&mut self, request: u64) {
        self.0.retain_mut(|sent| {
            let stays = sent.request != request;
            if !stays {
                sent.record.finish(CALLER_LEFT, "the console cancelled it");
            }
            stays
        });
    }

    /// What becomes of one of them next.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(u64, SendEvent)> {
        for at in 0..self.0.len() {
            if let Poll::Ready(event) = self.0[at].handle.poll_event(cx)
                && let Some(mut sent) = self.0.remove(at)
            {
                let request = sent.request;
                let event = sent.tell(event);
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
    fn tell(&mut self, event: Option<RunEvent>) -> SendEvent {
        match event {
            Some(RunEvent::Started) => {
                self.record.started();
                SendEvent::Started
            }
            Some(RunEvent::Output(bytes)) => {
                self.unread += cost(&bytes);
                self.record.output(&bytes);
                SendEvent::Output(bytes)
            }
            Some(RunEvent::Finished(finish)) => {
                self.record.run_finished(&finish);
                self.record.finish(status(finish.end), "");
                SendEvent::Finished {
                    end: finish.end,
                    exec_us: u64::try_from(finish.exec.as_micros()).unwrap_or(u64::MAX),
                    stderr: finish.stderr,
                }
            }
            // It says nothing of the one that ran.
            Some(RunEvent::Refused {
                refusal: Refusal::Repeated,
                message,
            }) => {
                self.record.finish(502, &message);
                SendEvent::Lost
            }
            Some(RunEvent::Refused { refusal, message }) => {
                let status = match refusal {
                    Refusal::NotFound => 404,
                    Refusal::NotExecutable => 500,
                    Refusal::Busy => 429,
                    Refusal::Late
                    | Refusal::Draining
                    | Refusal::StopFailed
                    | Refusal::WorkerAway => 503,
                    Refusal::Repeated | Refusal::WorkerLost => 502,
                };
                self.record.finish(status, &message);
                SendEvent::Refused {
                    refusal: Some(refusal),
                    reason: None,
                    message,
                }
            }
            Some(RunEvent::Lost) => {
                self.record
                    .finish(502, "the link to the car was lost while it ran");
                SendEvent::Lost
            }
            None => {
                let message = "the link to the car was lost before the command was sent: nothing was run; try again";
                self.record.finish(503, message);
                SendEvent::Refused {
                    refusal: None,
                    reason: Some(RefusedReason::Offline),
                    message: message.to_owned(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use p2p_shared::names::RunId;
    use p2p_shared::protocol::RunSource;
    use tokio::sync::mpsc;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::feed::Feed;
    use crate::link::handle::LinkHandle;
    use crate::ops::metrics::Metrics;
    use crate::run::record::NewRun;

    #[tokio::test]
    async fn what_the_car_was_asked_for_twice_is_not_said_not_to_have_begun() {
        let run = RunId::from_number(1);
        let (link, _work) = LinkHandle::new();
        let wanted = NewRun {
            run,
            command: &"hello".parse().unwrap(),
            arguments: &[],
            source: RunSource::Send,
            from: ([127, 0, 0, 1], 4).into(),
            key: "",
            begun: p2p_shared::timing::now(),
        };
        let record = RunRecord::new(
            Arc::new(Feed::new()),
            Arc::new(Metrics::new()),
            Arc::default(),
            (9000, "car".parse().unwrap()),
            &wanted,
        );
        let (tell, events) = mpsc::unbounded_channel();
        let handle = RunHandle::new(run, link, events);
        let mut runs = ClientRuns::default();
        runs.insert(7, handle, record, TaskTracker::new().token());
        let refusal = Refusal::Repeated;
        let message = "twice".to_owned();
        tell.send(RunEvent::Refused { refusal, message }).unwrap();
        let told = std::future::poll_fn(|cx| runs.poll_next(cx)).await;
        assert_eq!(told, (7, SendEvent::Lost));
        assert!(runs.is_empty());
    }
}

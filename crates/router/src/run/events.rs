//! Carries the events of one run from its link to its caller. Each run has one, so it is small: tokio's
//! channel has room for 32 events from the start, in blocks that malloc has no cache for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};

use crate::run::RunEvent;

/// Makes both ends.
pub(crate) fn run_events() -> (EventSender, RunEvents) {
    let waiting = Arc::<Mutex<Waiting>>::default();
    (EventSender(waiting.clone()), RunEvents(waiting))
}

/// The link's end. The caller gets what was sent before it was dropped, and then `None`.
#[derive(Debug)]
pub(crate) struct EventSender(Arc<Mutex<Waiting>>);

/// The caller's end. Dropping it tells the link that the caller has gone away.
#[derive(Debug)]
pub(crate) struct RunEvents(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<RunEvent>,
    /// The caller, if it waits for the next one.
    caller: Option<Waker>,
    has_left: bool,
    /// True once nothing more is sent.
    is_over: bool,
}

impl EventSender {
    /// Sends an event. Returns false if the caller has gone away.
    pub(crate) fn send(&self, event: RunEvent) -> bool {
        let mut waiting = self.0.lock();
        if waiting.has_left {
            return false;
        }
        waiting.events.push_back(event);
        wake(waiting);
        true
    }

    pub(crate) fn has_left(&self) -> bool {
        self.0.lock().has_left
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.is_over = true;
        wake(waiting);
    }
}

fn wake(mut waiting: MutexGuard<'_, Waiting>) {
    let caller = waiting.caller.take();
    drop(waiting);
    if let Some(caller) = caller {
        caller.wake();
    }
}

impl RunEvents {
    /// Returns the next event; `None` after the last.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<RunEvent>> {
        let mut waiting = self.0.lock();
        let event = waiting.events.pop_front();
        if event.is_some() || waiting.is_over {
            return Poll::Ready(event);
        }
        waiting.caller = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Returns the next event, if it is here already.
    #[cfg(test)]
    pub(crate) fn next_now(&self) -> Option<RunEvent> {
        self.0.lock().events.pop_front()
    }
}

impl Drop for RunEvents {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.has_left = true;
        waiting.events.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_and_who_has_left_gets_nothing() {
        let (sender, events) = run_events();
        let next = std::future::poll_fn(|cx| events.poll_next(cx));
        let (event, sent) = tokio::join!(biased; next, async { sender.send(RunEvent::Started) });
        assert!(sent && matches!(event, Some(RunEvent::Started)));
        assert!(events.next_now().is_none() && !sender.has_left());
        drop(events);
        assert!(sender.has_left() && !sender.send(RunEvent::Started));
    }

    #[tokio::test]
    async fn who_waits_is_told_that_nothing_more_comes() {
        let (sender, events) = run_events();
        sender.send(RunEvent::Started);
        let ends = async {
            let mut told = Vec::new();
            while let Some(event) = std::future::poll_fn(|cx| events.poll_next(cx)).await {
                told.push(event);
            }
            told.len()
        };
        let (told, ()) = tokio::join!(biased; ends, async { drop(sender) });
        assert_eq!(told, 1);
    }
}

//! Owns the handles of a link and of one run on it. The link itself is a task: `link/task`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{MAX_OPEN_RUNS, RUN_WINDOW, RunReport, cost};
use p2p_shared::timing;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::link::command_lists::CommandList;
use crate::link::end::LinkEnd;
use crate::link::priority_queue::PriorityQueue;
use crate::link::runs::OpenRun;
use crate::link::work::{ANSWER, NoAnswer, ToLink};
use crate::run::error::RunError;
use crate::run::events::{RunEvents, run_events};
use crate::run::{RunEvent, RunKind, RunOrder};

async fn within<T>(time: Duration, answer: oneshot::Receiver<T>) -> Result<T, NoAnswer> {
    let answer = tokio::time::timeout(time, answer).await;
    answer
        .map_err(|_| NoAnswer::Slow)?
        .map_err(|_| NoAnswer::Away)
}

/// The number of one connection of an inner, by which an old link can't be taken for the one that
/// replaced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkId(u64);

/// The handle of a link.
#[derive(Debug, Clone)]
pub(crate) struct LinkHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: LinkId,
    queue: mpsc::UnboundedSender<ToLink>,
    open_runs: Arc<Semaphore>,
    draining: AtomicBool,
    /// Messages about motion, which go ahead of the queue.
    drive: PriorityQueue,
    /// The reason for the link's end, once it has to end.
    ending: OnceLock<LinkEnd>,
    /// Notified when there is one.
    ends: Notify,
    start: Instant,
    /// Milliseconds from the start to the moment at which the inner was heard last.
    heard_ms: AtomicU64,
}

impl LinkHandle {
    /// Makes a handle, and the queue for the link's task.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<ToLink>) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (queue, work) = mpsc::unbounded_channel();
        let shared = Shared {
            id: LinkId(NEXT.fetch_add(1, Ordering::Relaxed)),
            queue,
            open_runs: Arc::new(Semaphore::new(MAX_OPEN_RUNS)),
            draining: AtomicBool::new(false),
            drive: PriorityQueue::default(),
            ending: OnceLock::new(),
            ends: Notify::new(),
            start: timing::now(),
            heard_ms: AtomicU64::new(0),
        };
        (Self(Arc::new(shared)), work)
    }

    pub(crate) fn id(&self) -> LinkId {
        self.0.id
    }

    /// Returns the queue of messages about motion, which go ahead of other work.
    pub(crate) fn drive(&self) -> &PriorityQueue {
        &self.0.drive
    }

    /// Queues a run; `None`: the link has [`MAX_OPEN_RUNS`] open. A run of the stop command is never
    /// refused, and goes ahead of all others.
    pub(crate) fn begin(&self, order: RunOrder) -> Option<RunHandle> {
        let is_stop = order.kind == RunKind::Stop;
        let permit = match is_stop {
            true => None,
            false => Some(self.0.open_runs.clone().try_acquire_owned().ok()?),
        };
        let (sender, events) = run_events();
        let run = order.new.run;
        let (order, open) = (Box::new(order), OpenRun::new(run, sender, permit));
        let answers = if is_stop {
            self.drive().stop_by_run(order, open)
        } else {
            let open = Box::new(open);
            self.send(ToLink::Run { order, open });
            run
        };
        Some(RunHandle {
            run,
            answers,
            link: self.clone(),
            events,
            over: false,
            read: 0,
        })
    }

    /// Asks for the list of commands.
    pub(crate) async fn list(&self) -> Result<Arc<CommandList>, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        self.send(ToLink::List(reply));
        within(ANSWER, answer).await
    }

    /// Asks for the report of a run, which the inner may not know.
    pub(crate) async fn ask_run(&self, run: RunId) -> Result<Option<RunReport>, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        self.send(ToLink::AskRun(run, reply));
        within(ANSWER, answer).await?
    }

    /// Asks for the last part of the car's past, as lines of JSON.
    pub(crate) async fn ask_past(&self, last: Duration) -> Result<Bytes, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        self.send(ToLink::AskPast(last, reply));
        within(ANSWER, answer).await?
    }

    /// Ends the link at once, even if work waits in its queue. The first reason counts.
    pub(crate) fn end(&self, reason: LinkEnd) {
        if self.0.ending.set(reason).is_ok() {
            self.0.ends.notify_waiters();
        }
    }

    /// Returns true if the inner restarts, and begins nothing more.
    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn set_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Notes that the inner was heard now.
    pub(crate) fn heard(&self, now: Instant) {
        let since = now.saturating_duration_since(self.0.start);
        self.0
            .heard_ms
            .store(timing::millis(since), Ordering::Relaxed);
    }

    /// Returns for how long nothing was heard of the inner.
    pub(crate) fn silence(&self) -> Duration {
        let heard = Duration::from_millis(self.0.heard_ms.load(Ordering::Relaxed));
        timing::now().saturating_duration_since(self.0.start + heard)
    }

    pub(crate) async fn ended(&self) -> LinkEnd {
        loop {
            // Made before the look at the reason: it misses nothing from here on.
            let ends = self.0.ends.notified();
            if let Some(end) = self.0.ending.get() {
                return end.clone();
            }
            ends.await;
        }
    }

    /// Queues work. A link that has ended drops the work, which tells its caller.
    pub(crate) fn send(&self, work: ToLink) {
        let _ = self.0.queue.send(work);
    }
}

/// A caller's hold on its run. Dropping it before the end cancels the run.
#[derive(Debug)]
pub(crate) struct RunHandle {
    run: RunId,
    answers: RunId,
    link: LinkHandle,
    events: RunEvents,
    over: bool,
    /// Output that was read and not yet granted again, in units of the window.
    read: u32,
}

impl RunHandle {
    /// The run whose events the caller gets, and which the car knows: the caller's own, or the stop that
    /// answers its stop.
    pub(crate) fn answers(&self) -> RunId {
        self.answers
    }

    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<RunEvent> {
        let event = ready!(self.events.poll_next(cx));
        // The link silently drops a run that was not handed over.
        let event = event.unwrap_or(RunEvent::Failed(RunError::NotSent));
        self.over = !matches!(event, RunEvent::Started | RunEvent::Output(_));
        Poll::Ready(event)
    }

    /// Grants this much more output, in units of the window.
    pub(crate) fn grant(&self, more: u32) {
        if !self.over && more > 0 {
            self.link.send(ToLink::Window {
                run: self.run,
                more,
            });
        }
    }

    /// Notes that the caller has taken this output: the same amount more may come.
    pub(crate) fn taken(&mut self, output: &[u8]) {
        self.read += cost(output);
        // Grants of a quarter of the window keep output flowing, with few messages.
        if self.read >= RUN_WINDOW / 4 {
            let more = std::mem::take(&mut self.read);
            self.grant(more);
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

//! Owns one live link: a task that alone reads and writes its socket and holds its open runs,
//! and the handle by which everyone else speaks to it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::liveness::{Due, Liveness, Pings};
use p2p_shared::names::{InstanceId, LinkName, RunId};
use p2p_shared::protocol::{
    CommandInfo, Hello, InnerToRouter, PIECE, Rejection, RouterToInner, RunRequest,
};
use p2p_shared::wire::{Event, Wire, WireError};
use p2p_shared::{socket, timing};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::run::{Finish, OpenRun, RunEvent, RunHandle, RunOrder};

/// Most runs that are open on one link at a time: what bounds its queue.
const MAX_OPEN_RUNS: usize = 1024;
/// Most commands of a listing that are kept.
const MAX_LISTED: usize = 10_000;

/// The WebSocket of a link.
pub(crate) type LinkWire = Wire<TcpStream, RouterToInner, InnerToRouter>;

/// One connection of an inner: its own number, so that an old one can't be taken for the one
/// that replaced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkId(u64);

impl LinkId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a link is asked to do. The queue has no bound of its own: each open run has at most one
/// order, one cancel and four grants in it, and open runs are bounded.
#[derive(Debug)]
pub(crate) enum ToLink {
    Run { order: RunOrder, open: OpenRun },
    Window { run: RunId, more: u32 },
    Cancel(RunId),
    List(oneshot::Sender<Vec<CommandInfo>>),
    Notice(String),
}

/// Why a link ended, as the log tells it.
#[derive(Debug, Clone)]
pub(crate) enum LinkEnd {
    /// The inner closed it.
    Closed(String),
    /// The network did.
    Lost(String),
    /// Nothing came for this long.
    Silent(Duration),
    /// We close it.
    Rejected(Rejection, String),
    /// We restart.
    GoAway(Duration),
}

impl std::fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(reason) if reason.is_empty() => f.write_str("the inner closed it"),
            Self::Closed(reason) => write!(f, "the inner closed it: {reason}"),
            Self::Lost(error) => f.write_str(error),
            Self::Silent(silence) => write!(f, "silent for {} s", silence.as_secs()),
            Self::Rejected(_, message) => f.write_str(message),
            Self::GoAway(_) => f.write_str("the router is going down"),
        }
    }
}

/// Everyone's hold on a link.
#[derive(Debug, Clone)]
pub(crate) struct LinkHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: LinkId,
    name: LinkName,
    instance: InstanceId,
    queue: mpsc::UnboundedSender<ToLink>,
    open_runs: Arc<Semaphore>,
    draining: AtomicBool,
    /// Why it has to end, once it has.
    ending: watch::Sender<Option<LinkEnd>>,
}

/// Why a run was not even queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotQueued {
    /// The link has [`MAX_OPEN_RUNS`] open.
    TooMany,
    /// The inner restarts.
    Draining,
}

impl LinkHandle {
    /// A link that asks for work at `queue`.
    pub(crate) fn new(
        name: LinkName,
        instance: InstanceId,
    ) -> (Self, mpsc::UnboundedReceiver<ToLink>) {
        let (queue, work) = mpsc::unbounded_channel();
        let open_runs = Arc::new(Semaphore::new(MAX_OPEN_RUNS));
        let draining = AtomicBool::new(false);
        let ending = watch::Sender::new(None);
        let id = LinkId::next();
        let shared = Shared {
            id,
            name,
            instance,
            queue,
            open_runs,
            draining,
            ending,
        };
        (Self(Arc::new(shared)), work)
    }

    pub(crate) fn id(&self) -> LinkId {
        self.0.id
    }

    pub(crate) fn name(&self) -> &LinkName {
        &self.0.name
    }

    pub(crate) fn instance(&self) -> InstanceId {
        self.0.instance
    }

    /// Queues a run.
    pub(crate) fn begin(&self, order: RunOrder) -> Result<RunHandle, NotQueued> {
        if self.0.draining.load(Ordering::Relaxed) {
            return Err(NotQueued::Draining);
        }
        let permit = self
            .0
            .open_runs
            .clone()
            .try_acquire_owned()
            .map_err(|_| NotQueued::TooMany)?;
        let (tell, events) = mpsc::unbounded_channel();
        let run = order.run;
        self.send(ToLink::Run {
            order,
            open: OpenRun::new(tell, permit),
        });
        Ok(RunHandle::new(run, self.clone(), events))
    }

    /// Which commands there are; `None` if the link is lost.
    pub(crate) async fn list(&self) -> Option<Vec<CommandInfo>> {
        let (reply, answer) = oneshot::channel();
        self.send(ToLink::List(reply));
        answer.await.ok()
    }

    /// Ends the link, at once and whatever waits in its queue. The first reason counts.
    pub(crate) fn end(&self, reason: LinkEnd) {
        self.0.ending.send_if_modified(|ending| {
            let is_first = ending.is_none();
            ending.get_or_insert(reason);
            is_first
        });
    }

    async fn ended(&self) -> LinkEnd {
        let mut ending = self.0.ending.subscribe();
        let ended = ending
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|end| end.clone());
        match ended {
            Some(end) => end,
            // The sender lives in this very handle: it can't be gone.
            None => std::future::pending().await,
        }
    }

    /// Asks for something. A link that has ended drops what is asked of it, which tells its
    /// asker.
    pub(crate) fn send(&self, work: ToLink) {
        let _ = self.0.queue.send(work);
    }
}

/// The task of a link. Its fields are everything that a link knows.
pub(crate) struct LinkTask {
    wire: LinkWire,
    work: mpsc::UnboundedReceiver<ToLink>,
    handle: LinkHandle,
    clock: InnerClock,
    liveness: Liveness,
    runs: HashMap<RunId, OpenRun>,
    /// Runs whose input is on its way, a piece of each in turn.
    inputs: VecDeque<Input>,
    lists: HashMap<u64, Listing>,
    next_list: u64,
    started: Instant,
    rtt: Option<Duration>,
}

struct Input {
    order: RunOrder,
    left: Bytes,
}

struct Listing {
    reply: oneshot::Sender<Vec<CommandInfo>>,
    commands: Vec<CommandInfo>,
}

/// What we know of the inner's clock: a lower bound, since what it last said took a while to
/// come.
struct InnerClock {
    said: Duration,
    heard: Instant,
}

impl InnerClock {
    fn heard(clock_ms: u64) -> Self {
        Self {
            said: Duration::from_millis(clock_ms),
            heard: Instant::now(),
        }
    }

    /// The inner's clock at the end of this time from now, in milliseconds.
    fn after(&self, time: Duration) -> u64 {
        let at = self.said + self.heard.elapsed() + time;
        u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
    }
}

impl LinkTask {
    pub(crate) fn new(
        wire: LinkWire,
        work: mpsc::UnboundedReceiver<ToLink>,
        handle: LinkHandle,
        hello: &Hello,
    ) -> Self {
        let now = Instant::now();
        Self {
            wire,
            work,
            handle,
            clock: InnerClock::heard(hello.clock_ms),
            liveness: Liveness::new(Pings::Always, now),
            runs: HashMap::new(),
            inputs: VecDeque::new(),
            lists: HashMap::new(),
            next_list: 0,
            started: now,
            rtt: None,
        }
    }

    /// The link's life, from welcome to end. Open runs end as lost.
    pub(crate) async fn run(mut self, welcome: RouterToInner) -> LinkEnd {
        socket::set_dead_after(self.wire.get_ref(), timing::PACE_IDLE.dead);
        let handle = self.handle.clone();
        let lived = tokio::select! {
            biased;
            end = handle.ended() => Ok(end),
            lived = self.live(&welcome) => lived,
        };
        let end = match lived {
            Ok(end) => end,
            Err(error) if error.is_violation() => {
                LinkEnd::Rejected(Rejection::Protocol, error.to_string())
            }
            Err(error) => LinkEnd::Lost(error.to_string()),
        };
        // Callers needn't wait for our farewell.
        self.work.close();
        self.runs.clear();
        while self.work.try_recv().is_ok() {}
        self.say_farewell(&end).await;
        end
    }

    async fn live(&mut self, welcome: &RouterToInner) -> Result<LinkEnd, WireError> {
        self.wire.push(welcome)?;
        loop {
            self.stay_alive_with_runs();
            let now = Instant::now();
            let (due, pace) = self.liveness.poll(now);
            if let Some(pace) = pace {
                socket::set_dead_after(self.wire.get_ref(), pace.dead);
            }
            match due {
                Some(Due::Dead(silence)) => return Ok(LinkEnd::Silent(silence)),
                Some(Due::Ping) => self.ping(now)?,
                None => {}
            }
            let timer = tokio::time::sleep_until(self.liveness.next().into());
            let has_room = self.wire.has_room();
            tokio::select! {
                biased;
                Some(work) = self.work.recv(), if has_room => {
                    self.work_on(work)?;
                    // Several messages a write when several wait.
                    while self.wire.has_room() && let Ok(work) = self.work.try_recv() {
                        self.work_on(work)?;
                    }
                }
                event = self.wire.event() => {
                    if let Some(end) = self.on_event(event?)? {
                        return Ok(end);
                    }
                }
                () = std::future::ready(()), if has_room && !self.inputs.is_empty() => {
                    self.send_input()?;
                }
                () = timer => {}
            }
        }
    }

    fn stay_alive_with_runs(&mut self) {
        let busy = !self.runs.is_empty() || !self.lists.is_empty();
        if let Some(pace) = self.liveness.set_busy(busy, Instant::now()) {
            socket::set_dead_after(self.wire.get_ref(), pace.dead);
        }
    }

    fn ping(&mut self, now: Instant) -> Result<(), WireError> {
        let sent = u64::try_from(now.duration_since(self.started).as_micros()).unwrap_or(u64::MAX);
        self.wire
            .push_ping(Bytes::copy_from_slice(&sent.to_be_bytes()))
    }

    fn on_pong(&mut self, payload: &[u8]) {
        if let Ok(sent) = payload.try_into() {
            let sent = Duration::from_micros(u64::from_be_bytes(sent));
            self.rtt = self.started.elapsed().checked_sub(sent);
            if let Some(rtt) = self.rtt {
                tracing::debug!(link = %self.handle.name(), rtt_ms = rtt.as_secs_f64() * 1e3, "round trip");
            }
        }
    }

    fn work_on(&mut self, work: ToLink) -> Result<(), WireError> {
        match work {
            ToLink::Run { order, open } => {
                self.runs.insert(order.run, open);
                if order.stdin.is_empty() {
                    self.send_run(&order)?;
                } else {
                    self.inputs.push_back(Input {
                        left: order.stdin.clone(),
                        order,
                    });
                }
            }
            ToLink::Window { run, more } => {
                if let Some(open) = self.runs.get_mut(&run) {
                    open.grant(more);
                    self.wire.push(&RouterToInner::Window { run, more })?;
                }
            }
            ToLink::Cancel(run) => {
                self.inputs.retain(|input| input.order.run != run);
                if self.runs.remove(&run).is_some() {
                    self.wire.push(&RouterToInner::Cancel { run })?;
                }
            }
            ToLink::List(reply) => {
                self.next_list += 1;
                self.lists.retain(|_, listing| !listing.reply.is_closed());
                self.lists.insert(
                    self.next_list,
                    Listing {
                        reply,
                        commands: Vec::new(),
                    },
                );
                self.wire.push(&RouterToInner::ListCommands {
                    request: self.next_list,
                })?;
            }
            ToLink::Notice(message) => self.wire.push(&RouterToInner::Notice { message })?,
        }
        Ok(())
    }

    /// Sends a piece of the front run's input, and behind the last one the run itself.
    fn send_input(&mut self) -> Result<(), WireError> {
        let Some(mut input) = self.inputs.pop_front() else {
            return Ok(());
        };
        let bytes = input.left.split_to(input.left.len().min(PIECE));
        self.wire.push(&RouterToInner::Stdin {
            run: input.order.run,
            bytes,
        })?;
        if input.left.is_empty() {
            return self.send_run(&input.order);
        }
        self.inputs.push_back(input);
        Ok(())
    }

    fn send_run(&mut self, order: &RunOrder) -> Result<(), WireError> {
        if let Some(open) = self.runs.get_mut(&order.run) {
            open.hand_over();
        }
        self.wire.push(&RouterToInner::Run(RunRequest {
            run: order.run,
            command: order.command.clone(),
            arguments: order.arguments.clone(),
            deadline_ms: self.clock.after(timing::RUN_DEADLINE),
            remote_addr: order.remote_addr.clone(),
            stdin_bytes: order.stdin.len() as u64,
        }))
    }

    fn on_event(&mut self, event: Event<InnerToRouter>) -> Result<Option<LinkEnd>, WireError> {
        if !matches!(event, Event::Room) {
            self.liveness.heard(Instant::now());
        }
        match event {
            Event::Message(message) => return Ok(self.on_message(message)),
            Event::Pong(payload) => self.on_pong(&payload),
            Event::Ping | Event::Room => {}
            Event::Closed(reason) => return Ok(Some(LinkEnd::Closed(reason))),
        }
        Ok(None)
    }

    fn on_message(&mut self, message: InnerToRouter) -> Option<LinkEnd> {
        let violation = |what: &str| Some(LinkEnd::Rejected(Rejection::Protocol, what.to_owned()));
        match message {
            InnerToRouter::Hello(_) => return violation("the inner said hello twice"),
            InnerToRouter::Clock { clock_ms } => self.clock = InnerClock::heard(clock_ms),
            // A run that we don't know was cancelled a moment ago; what still comes of it is
            // nobody's.
            InnerToRouter::Started { run } => {
                if let Some(open) = self.runs.get(&run) {
                    open.started();
                }
            }
            InnerToRouter::Output { run, bytes } => {
                if let Some(open) = self.runs.get_mut(&run)
                    && open.output(bytes).is_err()
                {
                    return violation("the inner sent more output than its window");
                }
            }
            InnerToRouter::Refused {
                run,
                refusal,
                message,
            } => {
                if let Some(open) = self.runs.remove(&run) {
                    open.end(RunEvent::Refused { refusal, message });
                }
            }
            InnerToRouter::Finished {
                run,
                end,
                exec_us,
                stderr,
            } => {
                if let Some(open) = self.runs.remove(&run) {
                    let exec = Duration::from_micros(exec_us);
                    open.end(RunEvent::Finished(Finish { end, exec, stderr }));
                }
            }
            InnerToRouter::Commands {
                request,
                commands,
                more,
            } => {
                self.on_commands(request, commands, more);
            }
            InnerToRouter::Draining => self.handle.0.draining.store(true, Ordering::Relaxed),
        }
        None
    }

    fn on_commands(&mut self, request: u64, commands: Vec<CommandInfo>, more: bool) {
        let Some(listing) = self.lists.get_mut(&request) else {
            return;
        };
        let room = MAX_LISTED.saturating_sub(listing.commands.len());
        listing.commands.extend(commands.into_iter().take(room));
        if !more && let Some(listing) = self.lists.remove(&request) {
            let _ = listing.reply.send(listing.commands);
        }
    }

    async fn say_farewell(&mut self, end: &LinkEnd) {
        let last_words = match end {
            LinkEnd::Rejected(rejection, message) => RouterToInner::Rejected {
                rejection: *rejection,
                message: message.clone(),
            },
            LinkEnd::GoAway(after) => RouterToInner::GoAway {
                reconnect_after_ms: u64::try_from(after.as_millis()).unwrap_or_default(),
            },
            LinkEnd::Closed(_) | LinkEnd::Lost(_) | LinkEnd::Silent(_) => return,
        };
        farewell(&mut self.wire, &last_words).await;
    }
}

/// Says this and closes, if the peer takes it within a second.
pub(crate) async fn farewell(wire: &mut LinkWire, last_words: &RouterToInner) {
    let closing = async {
        wire.push(last_words)?;
        wire.close("").await?;
        // The peer's own close: whoever closes first with unread data resets the connection,
        // and our last words with it.
        while !matches!(wire.event().await?, Event::Closed(_)) {}
        Ok::<_, WireError>(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), closing).await;
}

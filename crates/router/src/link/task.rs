//! Owns one live link: the task that alone reads and writes its socket and holds its open runs.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::bounded::Text;
use p2p_shared::keepalive::{Due, Keepalive, PingClock, PingMode};
use p2p_shared::names::LinkName;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{
    InnerToRouter, LinkHello, OutputPiece, Refusal, RouterToInner, RunRequest,
};
use p2p_shared::timing;
use p2p_shared::websocket::{MessageSocket, ReadAhead, SHARED_TURN, SocketEvent, WebSocketError};
use tokio::sync::mpsc;

use crate::link::LinkObserver;
use crate::link::command_lists::CommandLists;
use crate::link::end::{LinkEnd, ProtocolViolation, closed_by};
use crate::link::handle::LinkHandle;
use crate::link::inner_clock::InnerClock;
use crate::link::past_queries::PastQueries;
use crate::link::priority_queue::Outgoing;
use crate::link::run_queries::RunQueries;
use crate::link::runs::Runs;
use crate::link::silence::Silence;
use crate::link::work::ToLink;
use crate::net::leaky_bucket::LeakyBucket;
use crate::net::{address_text, limits};
use crate::run::error::RunError;
use crate::run::{Finish, RunEvent, RunKind, RunOrder};

/// Boxed, since it is handed on from one future to the next, each of which has room for it.
pub(crate) type LinkSocket = Box<MessageSocket<ReadAhead<Transport>, RouterToInner, InnerToRouter>>;

/// Closes the link's priority queue when the task ends, however it ends.
struct QueueGuard(LinkHandle);

impl Drop for QueueGuard {
    fn drop(&mut self) {
        self.0.drive().close();
    }
}

/// The task of a link, which alone uses its socket.
pub(crate) struct LinkTask<O> {
    socket: LinkSocket,
    work: mpsc::UnboundedReceiver<ToLink>,
    handle: LinkHandle,
    name: LinkName,
    observer: O,
    _queue: QueueGuard,
    /// True if a stop was pushed without room: another one waits for room.
    is_crowded: bool,
    clock: InnerClock,
    keepalive: Keepalive,
    runs: Runs,
    /// Runs whose input is on its way, a piece of each in turn.
    inputs: VecDeque<Input>,
    listings: CommandLists,
    questions: RunQueries,
    pasts: PastQueries,
    pings: PingClock,
    silence: Silence,
    /// Motion events and ticks of the last second.
    motion_events: LeakyBucket,
    ticks: LeakyBucket,
}

struct Input {
    order: Box<RunOrder>,
    left: Bytes,
    /// The moment at which the first piece was sent.
    sent: Option<Instant>,
}

impl<O: LinkObserver> LinkTask<O> {
    pub(crate) fn new(
        socket: LinkSocket,
        work: mpsc::UnboundedReceiver<ToLink>,
        (handle, name): (LinkHandle, LinkName),
        observer: O,
        hello: &LinkHello,
    ) -> Self {
        let now = timing::now();
        Self {
            socket,
            work,
            _queue: QueueGuard(handle.clone()),
            handle,
            name,
            observer,
            is_crowded: false,
            clock: InnerClock::heard(hello.clock_ms),
            keepalive: Keepalive::new(PingMode::Always, now),
            runs: Runs::default(),
            inputs: VecDeque::new(),
            listings: CommandLists::default(),
            questions: RunQueries::default(),
            pasts: PastQueries::default(),
            pings: PingClock::new(now),
            silence: Silence::default(),
            motion_events: LeakyBucket::default(),
            ticks: LeakyBucket::default(),
        }
    }

    /// Runs the link from the welcome to its end, at which open runs are lost.
    pub(crate) async fn run(&mut self, welcome: &RouterToInner) -> LinkEnd {
        self.socket
            .get_ref()
            .stream()
            .set_dead_after(timing::PACE_IDLE.dead);
        let handle = self.handle.clone();
        let end = tokio::select! {
            biased;
            end = handle.ended() => end,
            Err(end) = self.live(welcome) => end,
        };
        // A stop is sent even now, before the farewell.
        if let Some(stop) = self.handle.drive().take_stop() {
            let _ = self.socket.push(&stop);
        }
        self.work.close();
        self.runs.abort_all();
        while self.work.try_recv().is_ok() {}
        end
    }

    /// Returns the socket, for the farewell.
    pub(crate) fn into_socket(self) -> LinkSocket {
        self.socket
    }

    async fn live(&mut self, welcome: &RouterToInner) -> Result<Infallible, LinkEnd> {
        self.socket.push(welcome)?;
        loop {
            let now = timing::now();
            self.stay_alive_with_runs(now);
            let (due, pace) = self.keepalive.poll(now);
            if let Some(pace) = pace {
                self.socket.get_ref().stream().set_dead_after(pace.dead);
            }
            match due {
                Some(Due::Dead(silence)) => {
                    let why = format!("silent for {} s", silence.as_secs());
                    return Err(LinkEnd::Lost(why));
                }
                Some(Due::Ping) => self.ping(now)?,
                None => {}
            }
            let are_wanted = self.handle.drive().wants_ticks();
            self.silence.expect_ticks(are_wanted, now);
            if let Some(silence) = self.silence.poll(now) {
                self.observer.on_silence(self.handle.id(), silence);
            }
            let next = self.keepalive.next();
            let next = self.silence.next().map_or(next, |told| told.min(next));
            let timer = tokio::time::sleep_until(next.into());
            let has_room = self.socket.has_room();
            self.is_crowded &= !has_room;
            tokio::select! {
                biased;
                press = self.handle.drive().expired() => self.observer.on_late_press(press),
                outgoing = self.handle.drive().next(has_room), if !self.is_crowded => {
                    self.is_crowded = !has_room;
                    self.send_outgoing(outgoing)?;
                }
                Some(work) = self.work.recv(), if has_room => {
                    let is_first = self.socket.is_flushed();
                    self.work_on(work)?;
                    // One write sends all messages that wait.
                    while self.socket.has_room() && let Ok(work) = self.work.try_recv() {
                        self.work_on(work)?;
                    }
                    // Callers who are about to get their turn add their messages to the same write.
                    if is_first && self.runs.are_several() {
                        tokio::task::yield_now().await;
                    }
                }
                event = self.socket.event() => {
                    let now = timing::now();
                    self.on_event(event?, now)?;
                    for _ in 1..SHARED_TURN {
                        if self.has_more_to_send() {
                            break;
                        }
                        let Some(event) = self.socket.next_now() else { break };
                        self.on_event(event?, now)?;
                    }
                    // A piece for each turn, else a flood of output would keep input waiting.
                    if self.socket.has_room() {
                        self.send_input()?;
                    }
                }
                () = std::future::ready(()), if has_room && !self.inputs.is_empty() => {
                    self.send_input()?;
                }
                () = timer => {}
            }
        }
    }

    fn ping(&mut self, now: Instant) -> Result<(), WebSocketError> {
        self.silence.owed(now);
        self.socket.push_ping(self.pings.payload(now))
    }

    /// Returns true if something waits that goes ahead of what has arrived.
    fn has_more_to_send(&self) -> bool {
        !self.inputs.is_empty() || !self.work.is_empty() || self.handle.drive().has_stop()
    }

    fn stay_alive_with_runs(&mut self, now: Instant) {
        let busy = !self.runs.is_empty()
            || !self.work.is_empty()
            || !self.listings.is_idle()
            || !self.questions.is_idle()
            || !self.pasts.is_idle()
            || self.handle.drive().is_watched();
        if let Some(pace) = self.keepalive.set_busy(busy, now) {
            self.socket.get_ref().stream().set_dead_after(pace.dead);
        }
    }

    fn work_on(&mut self, work: ToLink) -> Result<(), WebSocketError> {
        match work {
            ToLink::Run { order, open } => {
                if self.handle.is_draining() && order.kind != RunKind::Stop {
                    let error = RunError::CarRestarts(self.name.clone());
                    open.end(RunEvent::Failed(error));
                    return Ok(());
                }
                let is_stop = order.kind == RunKind::Stop;
                self.runs.insert(*open);
                // A stop waits for nothing, not even for its own input.
                if order.new.stdin.is_empty() || is_stop {
                    return self.send_run(order, None);
                }
                let left = order.new.stdin.clone();
                self.inputs.push_back(Input {
                    order,
                    left,
                    sent: None,
                });
            }
            ToLink::Window { run, more } => {
                if self.runs.grant(run, more) {
                    self.socket.push(&RouterToInner::Window { run, more })?;
                }
            }
            ToLink::Cancel(run) => {
                self.inputs.retain(|input| input.order.new.run != run);
                if self.runs.cancel(run) {
                    self.socket.push(&RouterToInner::Cancel { run })?;
                }
            }
            ToLink::List(reply) => {
                let request = self.listings.ask(reply);
                self.ask_for_list(request)?;
            }
            ToLink::AskRun(run, reply) => {
                if self.questions.ask(run, reply) {
                    self.socket.push(&RouterToInner::AskRun { run })?;
                }
            }
            ToLink::AskPast(last, reply) => {
                let question = self.pasts.ask(last, reply);
                self.ask_for_past(question)?;
            }
            ToLink::Notice(message) => self.socket.push(&RouterToInner::Notice {
                message: Text::new(message),
            })?,
        }
        Ok(())
    }

    fn send_outgoing(&mut self, outgoing: Outgoing) -> Result<(), WebSocketError> {
        if let Some(stop) = outgoing.stop {
            self.socket.push(&stop)?;
        }
        for (order, open) in outgoing.stop_runs {
            let open = Box::new(open);
            self.work_on(ToLink::Run { order, open })?;
        }
        for message in outgoing.rest {
            match message {
                RouterToInner::Press { press, tick_ms, .. }
                    if self.clock.is_old(tick_ms, timing::now()) =>
                {
                    self.observer.on_late_press(press);
                    // The motion that this press was to replace is over, too.
                    self.socket.push(&RouterToInner::Release { press })?;
                }
                message => self.socket.push(&message)?,
            }
        }
        Ok(())
    }

    fn ask_for_list(&mut self, request: Option<u64>) -> Result<(), WebSocketError> {
        match request {
            Some(request) => self.socket.push(&RouterToInner::ListCommands { request }),
            None => Ok(()),
        }
    }

    fn ask_for_past(&mut self, question: Option<(u64, Duration)>) -> Result<(), WebSocketError> {
        let Some((request, last)) = question else {
            return Ok(());
        };
        let last_ms = timing::millis(last);
        self.socket
            .push(&RouterToInner::AskPast { request, last_ms })
    }

    /// Sends a piece of the front run's input, if there is one, and after the last piece the run
    /// itself.
    fn send_input(&mut self) -> Result<(), WebSocketError> {
        let Some(mut input) = self.inputs.pop_front() else {
            return Ok(());
        };
        input.sent.get_or_insert_with(timing::now);
        let bytes = OutputPiece::split_from(&mut input.left);
        self.socket.push(&RouterToInner::Stdin {
            run: input.order.new.run,
            bytes,
        })?;
        if input.left.is_empty() {
            return self.send_run(input.order, input.sent);
        }
        self.inputs.push_back(input);
        Ok(())
    }

    fn send_run(
        &mut self,
        order: Box<RunOrder>,
        input_sent: Option<Instant>,
    ) -> Result<(), WebSocketError> {
        let run = order.new.run;
        if self.observer.is_overtaken(order.kind) {
            let message = "a stop came first: nothing was run".into();
            let refusal = Refusal::Late;
            self.runs
                .withdraw(run, RunError::Refused { refusal, message });
        }
        if !self.runs.hand_over(run) {
            // The run's caller went away while it waited. The inner may have got some of its input.
            return match order.new.stdin.is_empty() {
                true => Ok(()),
                false => self.socket.push(&RouterToInner::Cancel { run }),
            };
        }
        let in_time = || {
            let now = timing::now();
            self.clock.after(now, order.time_left(now, input_sent))
        };
        let (deadline_ms, for_ms) = match order.kind {
            // A stop is never too late.
            RunKind::Stop => (u64::MAX, None),
            RunKind::Motion { for_ms, .. } => (in_time(), for_ms),
            RunKind::Plain => (in_time(), None),
        };
        let RunOrder { new, kind, .. } = *order;
        self.socket.push(&RouterToInner::Run(RunRequest {
            run,
            command: new.command,
            arguments: new.arguments,
            deadline_ms,
            remote_addr: Text::new(address_text::of_ip(new.from.ip())),
            by: (!new.key.raw().is_empty()).then_some(new.key),
            stdin_bytes: match kind {
                RunKind::Stop => 0,
                RunKind::Motion { .. } | RunKind::Plain => new.stdin.len() as u64,
            },
            for_ms,
        }))
    }

    fn on_event(&mut self, event: SocketEvent<InnerToRouter>, now: Instant) -> Result<(), LinkEnd> {
        if !matches!(event, SocketEvent::Writable) {
            self.keepalive.on_traffic(now);
            self.handle.heard(now);
            // The pong tells consoles that the silence is over.
            if self.silence.heard() {
                self.observer.on_answer(self.handle.id());
                self.ping(now)?;
            }
        }
        match event {
            SocketEvent::Message(message) => self.on_message(message)?,
            SocketEvent::Pong(payload) => {
                if let Some(rtt) = self.pings.round_trip(&payload, now) {
                    self.silence.measured(rtt);
                    self.observer.on_round_trip(rtt);
                }
            }
            SocketEvent::Ping | SocketEvent::Writable => {}
            SocketEvent::Closed(reason) => {
                return Err(LinkEnd::Lost(closed_by("inner", &reason)));
            }
        }
        Ok(())
    }

    fn on_message(&mut self, message: InnerToRouter) -> Result<(), LinkEnd> {
        match message {
            InnerToRouter::Hello(_) => {
                return Err(ProtocolViolation("the inner said hello twice").into());
            }
            InnerToRouter::Clock { clock_ms } => {
                self.clock = InnerClock::heard(clock_ms);
                let is_wanted = self.handle.drive().wants_ticks();
                if is_wanted && self.ticks.take(limits::TICKS_A_SECOND, timing::now()) {
                    self.observer.on_tick(clock_ms);
                }
            }
            InnerToRouter::Started { run } => self.runs.started(run)?,
            InnerToRouter::Output { run, bytes } => self.runs.output(run, bytes)?,
            InnerToRouter::Refused {
                run,
                refusal,
                message,
            } => {
                let error = RunError::Refused { refusal, message };
                self.runs.refused(run, error)?;
            }
            InnerToRouter::Finished {
                run,
                end,
                exec_us,
                stderr,
            } => {
                let exec = Duration::from_micros(exec_us);
                self.runs.finished(run, Finish { end, exec, stderr })?;
            }
            InnerToRouter::Answered {
                run,
                end,
                exec_us,
                output,
                stderr,
            } => {
                let exec = Duration::from_micros(exec_us);
                let finish = Finish { end, exec, stderr };
                self.runs.answered(run, output, finish)?;
            }
            InnerToRouter::Commands {
                request,
                commands,
                more,
            } => {
                let next = (self.listings).answer(&self.name, request, commands, more)?;
                self.ask_for_list(next)?;
            }
            InnerToRouter::Past {
                request,
                lines,
                more,
            } => {
                let next = self.pasts.answer(request, &lines, more)?;
                self.ask_for_past(next)?;
            }
            InnerToRouter::Run { run, report } => self.questions.answer(run, report.as_ref()),
            InnerToRouter::Motion(event) => {
                // A link is not ended for them: whoever may stop a car can cause thousands.
                let most = limits::MOTION_EVENTS_A_SECOND;
                let is_shown = self.motion_events.take(most, timing::now());
                let clock_ms = self.clock.just_said(timing::now());
                (self.observer).on_motion(self.handle.id(), event, clock_ms, is_shown);
            }
            InnerToRouter::Camera(state) => self.observer.on_camera(self.handle.id(), state),
            InnerToRouter::Draining => self.on_draining()?,
        }
        Ok(())
    }

    /// Notes that the inner begins nothing more: runs that were not handed over by now end here.
    fn on_draining(&mut self) -> Result<(), WebSocketError> {
        self.handle.set_draining();
        for input in std::mem::take(&mut self.inputs) {
            let run = input.order.new.run;
            let error = RunError::CarRestarts(self.name.clone());
            self.runs.withdraw(run, error);
            self.socket.push(&RouterToInner::Cancel { run })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

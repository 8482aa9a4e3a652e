//! A simulated operator: drives the real console's `drive` with random input, over the router's real
//! console socket.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use p2p_console::drive::{Direction, Drive, DriveFacts, DriveOrder, KeyReleases};
use p2p_shared::backoff::Backoff;
use p2p_shared::net::transport::Transport;
use p2p_shared::os::jitter;
use p2p_shared::protocol::{
    ConsoleToRouter, ControlRequest, DriveCommand, FeedEvent, LinkInfo, MotionEvent, PressId,
    RouterToConsole,
};
use p2p_shared::timing;
use p2p_shared::websocket::{MessageSocket, SocketEvent, WebSocketError};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::answers::AnswerLog;
use super::network::until;
use super::rng::Rng;
use super::shared::SharedWorld;

mod console_view;
mod operator_input;
mod sent_commands;

pub(super) use console_view::ConsoleView;
use sent_commands::SentCommands;

/// Time between two pings.
const PING: Duration = Duration::from_secs(1);
/// The motion commands by direction.
const COMMANDS: [&str; 2] = ["forward", "back"];

pub(super) type ConsoleSocket = MessageSocket<Transport, ConsoleToRouter, RouterToConsole>;

/// A connection to a router that is being made, with what is known of it before anything came over it; `None`:
/// there is no router.
pub(super) type DiallingConsole =
    Pin<Box<dyn Future<Output = Option<(ConsoleSocket, ConsoleView)>> + Send>>;

/// Runs an operator and their console; never ends.
pub(super) async fn run_operator(
    (world, answers): (Arc<SharedWorld>, AnswerLog),
    dial: Box<dyn Fn() -> DiallingConsole + Send>,
    rng: Rng,
    number: u64,
) {
    let mut backoff = Backoff::default();
    let ignores_latency = rng.one_in(3);
    let mut operator = Operator {
        sends: SentCommands::new(world.clone(), answers),
        sends_invalid: rng.one_in(4),
        invalid_presses: 0,
        pressed_ms: 0,
        past_epoch: None,
        world,
        rng,
        number,
        drive: Drive::new(KeyReleases::Reported),
        view: ConsoleView::default(),
        held: None,
        ignores_latency,
    };
    loop {
        if let Ok(Some((socket, view))) = timeout(timing::HELLO, dial()).await {
            backoff.connected(p2p_shared::timing::now());
            operator.view = view;
            let _ = operator.run(socket).await;
            operator.view = ConsoleView::default();
            operator.world.shows(number, None);
            operator.sends.lose_all();
            let facts = operator.facts();
            operator.drive.tick(&facts);
            operator.drive.restart();
        }
        sleep(backoff.pause(p2p_shared::timing::now(), jitter())).await;
    }
}

struct Operator {
    world: Arc<SharedWorld>,
    rng: Rng,
    number: u64,
    drive: Drive,
    view: ConsoleView,
    held: Option<Direction>,
    /// Ignores how slow the network is, as a console by somebody else might.
    ignores_latency: bool,
    /// Sends presses without control, and renewals of presses that are not held.
    sends_invalid: bool,
    invalid_presses: u64,
    /// The car's clock sent with the newest press.
    pressed_ms: u64,
    /// An epoch under which this console had control.
    past_epoch: Option<u64>,
    sends: SentCommands,
}

impl Operator {
    fn facts(&self) -> DriveFacts {
        let view = &self.view;
        let now = Instant::now();
        let waits = view.pinged.map(|at| now - at);
        let to_router = view.to_router.max(waits).filter(|_| !self.ignores_latency);
        DriveFacts {
            now: now.into_std(),
            may_drive: true,
            is_up: view.is_up,
            is_silent: false,
            healthy_since: view.since.map(Instant::into_std),
            round_trip: to_router.map(|to| to + view.to_car.unwrap_or_default()),
            input_is_alive: true,
            holder: view.holder(),
            stop_failed: view.stop_failed,
            directions: COMMANDS.len(),
            tick_ms: view.tick_ms,
        }
    }

    async fn run(&mut self, mut socket: ConsoleSocket) -> Result<(), WebSocketError> {
        socket.push(&ConsoleToRouter::Hello {
            software: "simulated".into(),
            readonly: false,
        })?;
        let mut traffic_at = Instant::now();
        let mut ping = traffic_at;
        let mut act = traffic_at + self.rng.ms(20..900);
        loop {
            let facts = self.facts();
            let orders = self.drive.tick(&facts);
            self.send_orders(&mut socket, orders)?;
            let next = self.drive.next().map(Instant::from_std);
            tokio::select! {
                biased;
                event = socket.event() => {
                    traffic_at = Instant::now();
                    match event? {
                        SocketEvent::Message(message) => self.on_message(&mut socket, &message)?,
                        SocketEvent::Pong(_) => {
                            self.view.to_router = self.view.pinged.take().map(|at| at.elapsed());
                        }
                        SocketEvent::Closed(_) => return Ok(()),
                        SocketEvent::Ping | SocketEvent::Writable => {}
                    }
                }
                () = until(next) => {}
                () = sleep_until(act) => {
                    act = Instant::now() + self.act(&mut socket)?;
                }
                () = sleep_until(ping) => {
                    ping = Instant::now() + PING;
                    let port = self.view.port.filter(|_| self.view.is_up);
                    if let Some(question) = port.and_then(|port| self.sends.ask(port)) {
                        socket.push(&question)?;
                    }
                    if self.view.pinged.is_none() {
                        self.view.pinged = Some(Instant::now());
                        socket.push_ping(Bytes::new())?;
                    }
                }
                () = sleep_until(traffic_at + timing::PACE_BUSY.dead) => return Ok(()),
            }
        }
    }

    fn on_message(
        &mut self,
        socket: &mut ConsoleSocket,
        message: &RouterToConsole,
    ) -> Result<(), WebSocketError> {
        match message {
            RouterToConsole::Snapshot { session, links, .. } => {
                self.view.session = Some(*session);
                for link in links.iter() {
                    self.on_link(socket, link)?;
                }
            }
            RouterToConsole::Tick { clock_ms, .. } => self.view.tick_ms = Some(*clock_ms),
            RouterToConsole::Refused { press, .. } => self.drive.refused(*press),
            RouterToConsole::Feed(event) => match event {
                FeedEvent::Link(info) => self.on_link(socket, info)?,
                FeedEvent::LinkDown { .. } | FeedEvent::LinkGone { .. } => self.view.is_up = false,
                FeedEvent::Rtt { rtt_us, .. } => {
                    self.view.to_car = Some(Duration::from_micros((*rtt_us).into()));
                }
                FeedEvent::Control { control, .. } => self.view.control = control.clone(),
                FeedEvent::Motion { event, .. } => {
                    match event {
                        MotionEvent::StopFailed => self.view.stop_failed = true,
                        MotionEvent::Stands => self.view.stop_failed = false,
                        _ => {}
                    }
                    let orders = self.drive.motion(event);
                    self.send_orders(socket, orders)?;
                }
                FeedEvent::Run(_) => {}
            },
            RouterToConsole::SendEvent { request, event } => {
                if let Some(answer) = self.sends.on_event(*request, event) {
                    socket.push(&answer)?;
                }
            }
            RouterToConsole::Run { request, answer } => self.sends.on_answer(*request, answer),
            RouterToConsole::Commands { .. }
            | RouterToConsole::Past { .. }
            | RouterToConsole::GoAway { .. } => {}
        }
        if !matches!(message, RouterToConsole::Tick { .. }) {
            self.world.shows(self.number, Some(self.view.clone()));
        }
        Ok(())
    }

    fn on_link(
        &mut self,
        socket: &mut ConsoleSocket,
        info: &LinkInfo,
    ) -> Result<(), WebSocketError> {
        let is_new = self.view.port != Some(info.service_port);
        if self.view.on_link(info) {
            self.drive.restart();
        }
        if is_new {
            let service_port = self.view.port;
            socket.push(&ConsoleToRouter::Watch { service_port })?;
        }
        Ok(())
    }

    fn log(&self, what: &str) {
        let number = self.number;
        self.world
            .history
            .log(|| format!("console {number} {what}"));
    }

    fn send_orders(
        &mut self,
        socket: &mut ConsoleSocket,
        orders: Vec<DriveOrder>,
    ) -> Result<(), WebSocketError> {
        for order in orders {
            if !matches!(order, DriveOrder::Renew(_)) {
                self.log(&format!("{order:?}"));
            }
            let Some(service_port) = self.view.port else {
                continue;
            };
            let tick_ms = self.view.tick_ms.unwrap_or_default();
            let control = |request| ConsoleToRouter::Control {
                service_port,
                request,
            };
            let command = match order {
                DriveOrder::Take => {
                    socket.push(&control(ControlRequest::Take))?;
                    continue;
                }
                DriveOrder::GiveBack => {
                    socket.push(&control(ControlRequest::Release))?;
                    continue;
                }
                DriveOrder::Report(_) | DriveOrder::LatchEnded(_) => continue,
                DriveOrder::Press(press, direction) => {
                    let may_drive = self.view.may_drive();
                    self.world.presses.pressed(press, may_drive, self.number);
                    self.pressed_ms = tick_ms;
                    DriveCommand::Press {
                        press,
                        command: COMMANDS[direction.index()].parse().unwrap(),
                        tick_ms,
                    }
                }
                DriveOrder::Renew(press) => {
                    let (press, tick_ms) = self.renewal(press, tick_ms);
                    DriveCommand::Renew { press, tick_ms }
                }
                DriveOrder::Release(press) => DriveCommand::Release(press),
                DriveOrder::Stop => DriveCommand::Stop,
            };
            socket.push(&ConsoleToRouter::Drive {
                service_port,
                command,
            })?;
        }
        Ok(())
    }

    /// The renewal to send for this press. An operator that sends invalid messages may renew another
    /// press, or with the clock of the press; the router accepts neither.
    fn renewal(&self, press: PressId, tick_ms: u64) -> (PressId, u64) {
        match press.number % 3 {
            1 if self.sends_invalid => {
                let number = press.number.saturating_sub(1);
                (PressId { number, ..press }, tick_ms)
            }
            2 if self.sends_invalid => (press, self.pressed_ms),
            _ => {
                self.world.presses.renewed(press);
                (press, tick_ms)
            }
        }
    }
}

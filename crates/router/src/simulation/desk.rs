//! Owns an operator at a console: the real console's driving between their hands and the router's
//! real admin socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use p2p_console::drive::{Direction, Drive, DriveFacts, DriveOrder, KeyReleases};
use p2p_shared::backoff::Backoff;
use p2p_shared::net::transport::Transport;
use p2p_shared::os::jitter;
use p2p_shared::protocol::{
    ConsoleToRouter, ControlRequest, FeedEvent, LinkInfo, MotionEvent, PressId, RouterToConsole,
};
use p2p_shared::timing;
use p2p_shared::websocket::{MessageSocket, SocketEvent, WebSocketError, limits};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::callers::Answers;
use super::dice::Dice;
use super::network::{Way, until};
use super::stage::Stage;

mod hands;
mod seen;
mod sends;

use seen::Seen;
use sends::Sends;

/// Between two pings.
const PING: Duration = Duration::from_secs(1);
/// Which motion command a direction is.
const COMMANDS: [&str; 2] = ["forward", "back"];

type ConsoleSocket = MessageSocket<Transport, ConsoleToRouter, RouterToConsole>;

/// Sits at a console for ever.
pub(super) async fn sit(
    (stage, answers): (Arc<Stage>, Answers),
    way: Way,
    dice: Dice,
    number: usize,
) {
    let mut backoff = Backoff::default();
    let is_blind = dice.one_in(3);
    let mut desk = Desk {
        sends: Sends::new(stage.clone(), answers),
        is_rude: dice.one_in(4),
        rudeness: 0,
        pressed_ms: 0,
        had: None,
        stage,
        dice,
        number,
        drive: Drive::new(KeyReleases::Reported),
        seen: Seen::default(),
        held: None,
        is_blind,
    };
    loop {
        let dialled = timeout(timing::HELLO, desk.stage.dial_console(&way)).await;
        if let Ok(Some(end)) = dialled {
            backoff.connected(p2p_shared::timing::now());
            let stream = Transport::Simulated(Box::new(end));
            let socket =
                WebSocketStream::from_raw_socket(stream, Role::Client, Some(limits())).await;
            let _ = desk.live(MessageSocket::new(socket)).await;
            desk.seen = Seen::default();
            desk.sends.lose();
            let facts = desk.facts();
            desk.drive.tick(&facts);
            desk.drive.restart();
        }
        sleep(backoff.pause(p2p_shared::timing::now(), jitter())).await;
    }
}

struct Desk {
    stage: Arc<Stage>,
    dice: Dice,
    number: usize,
    drive: Drive,
    seen: Seen,
    held: Option<Direction>,
    /// It does not look at how slow the way is: a program of somebody else's making.
    is_blind: bool,
    /// It presses what it may not, and renews what it does not hold.
    is_rude: bool,
    rudeness: u64,
    /// The tick with which it pressed last.
    pressed_ms: u64,
    /// An epoch under which it had control.
    had: Option<u64>,
    sends: Sends,
}

impl Desk {
    fn facts(&self) -> DriveFacts {
        let seen = &self.seen;
        let now = Instant::now();
        let waits = seen.pinged.map(|at| now - at);
        let to_router = seen.to_router.max(waits).filter(|_| !self.is_blind);
        DriveFacts {
            now: now.into_std(),
            may_drive: true,
            is_up: seen.is_up,
            healthy_since: seen.since.map(Instant::into_std),
            round_trip: to_router.map(|to| to + seen.to_car.unwrap_or_default()),
            input_is_alive: true,
            holder: seen.holder(),
            stop_failed: seen.stop_failed,
            directions: COMMANDS.len(),
            tick_ms: seen.tick_ms,
        }
    }

    async fn live(&mut self, mut socket: ConsoleSocket) -> Result<(), WebSocketError> {
        socket.push(&ConsoleToRouter::Hello {
            software: "simulated".to_owned(),
            readonly: false,
        })?;
        let mut heard = Instant::now();
        let mut ping = heard;
        let mut act = heard + self.dice.ms(20..900);
        loop {
            let facts = self.facts();
            let orders = self.drive.tick(&facts);
            self.say(&mut socket, orders)?;
            let next = self.drive.next().map(Instant::from_std);
            tokio::select! {
                biased;
                event = socket.event() => {
                    heard = Instant::now();
                    match event? {
                        SocketEvent::Message(message) => self.hear(&mut socket, &message)?,
                        SocketEvent::Pong(_) => {
                            self.seen.to_router = self.seen.pinged.take().map(|at| at.elapsed());
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
                    let port = self.seen.port.filter(|_| self.seen.is_up);
                    if let Some(question) = port.and_then(|port| self.sends.ask(port)) {
                        socket.push(&question)?;
                    }
                    if self.seen.pinged.is_none() {
                        self.seen.pinged = Some(Instant::now());
                        socket.push_ping(Bytes::new())?;
                    }
                }
                () = sleep_until(heard + timing::PACE_BUSY.dead) => return Ok(()),
            }
        }
    }

    fn hear(
        &mut self,
        socket: &mut ConsoleSocket,
        message: &RouterToConsole,
    ) -> Result<(), WebSocketError> {
        match message {
            RouterToConsole::Snapshot { session, links, .. } => {
                self.seen.session = Some(*session);
                for link in links {
                    self.link(socket, link)?;
                }
            }
            RouterToConsole::Tick { clock_ms, .. } => self.seen.tick_ms = Some(*clock_ms),
            RouterToConsole::Refused { press, .. } => self.drive.refused(*press),
            RouterToConsole::Feed(event) => match event {
                FeedEvent::Link(info) => self.link(socket, info)?,
                FeedEvent::LinkDown { .. } | FeedEvent::LinkGone { .. } => self.seen.is_up = false,
                FeedEvent::Rtt { rtt_us, .. } => {
                    self.seen.to_car = Some(Duration::from_micros((*rtt_us).into()));
                }
                FeedEvent::Control { control, .. } => self.seen.control = control.clone(),
                FeedEvent::Motion { event, .. } => {
                    match event {
                        MotionEvent::StopFailed => self.seen.stop_failed = true,
                        MotionEvent::Stands => self.seen.stop_failed = false,
                        _ => {}
                    }
                    let orders = self.drive.motion(event);
                    self.say(socket, orders)?;
                }
                FeedEvent::Run(_) => {}
            },
            RouterToConsole::SendEvent { request, event } => {
                if let Some(answer) = self.sends.hear(*request, event) {
                    socket.push(&answer)?;
                }
            }
            RouterToConsole::Run { request, told } => self.sends.told(*request, told),
            RouterToConsole::Commands { .. } | RouterToConsole::GoAway { .. } => {}
        }
        Ok(())
    }

    fn link(&mut self, socket: &mut ConsoleSocket, info: &LinkInfo) -> Result<(), WebSocketError> {
        let is_new = self.seen.port != Some(info.service_port);
        if self.seen.link(info) {
            self.drive.restart();
        }
        if is_new {
            let service_port = self.seen.port;
            socket.push(&ConsoleToRouter::Watch { service_port })?;
        }
        Ok(())
    }

    fn tell(&self, what: &str) {
        let number = self.number;
        self.stage
            .history
            .tell(|| format!("console {number} {what}"));
    }

    fn say(
        &mut self,
        socket: &mut ConsoleSocket,
        orders: Vec<DriveOrder>,
    ) -> Result<(), WebSocketError> {
        for order in orders {
            if !matches!(order, DriveOrder::Renew(_)) {
                self.tell(&format!("{order:?}"));
            }
            let Some(service_port) = self.seen.port else {
                continue;
            };
            let tick_ms = self.seen.tick_ms.unwrap_or_default();
            let control = |wish| ConsoleToRouter::Control { service_port, wish };
            let message = match order {
                DriveOrder::Take => control(ControlRequest::Take),
                DriveOrder::GiveBack => control(ControlRequest::Release),
                DriveOrder::Press(press, direction) => {
                    self.stage.presses.pressed(press, true);
                    self.pressed_ms = tick_ms;
                    ConsoleToRouter::Press {
                        service_port,
                        press,
                        command: COMMANDS[direction.index()].parse().unwrap(),
                        tick_ms,
                    }
                }
                DriveOrder::Renew(press) => {
                    let (press, tick_ms) = self.renewal(press, tick_ms);
                    ConsoleToRouter::Renew {
                        service_port,
                        press,
                        tick_ms,
                    }
                }
                DriveOrder::Release(press) => ConsoleToRouter::Release {
                    service_port,
                    press,
                },
                DriveOrder::Stop => ConsoleToRouter::Stop { service_port },
                DriveOrder::Report(_) => continue,
            };
            socket.push(&message)?;
        }
        Ok(())
    }

    /// What is said to renew this press: a rude one may renew another, or by the tick with which
    /// it pressed, either of which counts for nothing.
    fn renewal(&self, press: PressId, tick_ms: u64) -> (PressId, u64) {
        match press.number % 3 {
            1 if self.is_rude => {
                let number = press.number.saturating_sub(1);
                (PressId { number, ..press }, tick_ms)
            }
            2 if self.is_rude => (press, self.pressed_ms),
            _ => {
                self.stage.presses.renewed(press);
                (press, tick_ms)
            }
        }
    }
}

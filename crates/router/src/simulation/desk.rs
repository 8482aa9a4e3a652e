//! Owns an operator at a console: hands that press, hold, stop and change their mind, and the real
//! console's driving between them and the router's real admin socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use p2p_console::drive::{Direction, Drive, Facts, Holder, Order, Releases, Stroke};
use p2p_shared::backoff::Backoff;
use p2p_shared::protocol::console::{
    ConsoleToRouter, ControlInfo, ControlWish, FeedEvent, LinkInfo, MotionEvent, RouterToConsole,
    SessionId,
};
use p2p_shared::random::jitter;
use p2p_shared::timing;
use p2p_shared::transport::Transport;
use p2p_shared::wire::{Event, Wire, WireError, limits};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::dice::Dice;
use super::network::{Way, until};
use super::stage::Stage;

/// Between two pings.
const PING: Duration = Duration::from_secs(1);
/// Which motion command a direction is.
const COMMANDS: [&str; 2] = ["forward", "back"];

type ConsoleWire = Wire<Transport, ConsoleToRouter, RouterToConsole>;

/// Sits at a console for ever.
pub(super) async fn sit(stage: Arc<Stage>, way: Way, dice: Dice, number: usize) {
    let mut backoff = Backoff::default();
    let is_blind = dice.one_in(3);
    let mut desk = Desk {
        stage,
        dice,
        number,
        drive: Drive::new(Releases::Reported),
        seen: Seen::default(),
        held: None,
        is_blind,
    };
    loop {
        let dialled = timeout(timing::HELLO, desk.stage.dial_console(&way)).await;
        if let Ok(Some(end)) = dialled {
            backoff.connected(p2p_shared::clock::now());
            let stream = Transport::Simulated(Box::new(end));
            let socket =
                WebSocketStream::from_raw_socket(stream, Role::Client, Some(limits())).await;
            let _ = desk.live(Wire::new(socket)).await;
            desk.seen = Seen::default();
            let facts = desk.facts();
            desk.drive.tick(&facts);
            desk.drive.start_anew();
        }
        sleep(backoff.pause(p2p_shared::clock::now(), jitter())).await;
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
}

/// What the router has told.
#[derive(Default)]
struct Seen {
    session: Option<SessionId>,
    port: Option<u16>,
    is_up: bool,
    since: Option<Instant>,
    control: ControlInfo,
    stop_failed: bool,
    tick_ms: Option<u64>,
    to_car: Option<Duration>,
    to_router: Option<Duration>,
    /// A ping that was not answered yet.
    pinged: Option<Instant>,
}

impl Seen {
    /// Whether the link came up anew.
    fn link(&mut self, info: &LinkInfo) -> bool {
        let came = info.is_up && !self.is_up;
        self.port = Some(info.service_port);
        self.is_up = info.is_up;
        self.control = info.control.clone();
        self.stop_failed = info.stop_failed;
        if came {
            self.since = Some(Instant::now());
            self.tick_ms = None;
            self.to_car = None;
        }
        came
    }
}

impl Desk {
    fn facts(&self) -> Facts {
        let seen = &self.seen;
        let now = Instant::now();
        let waits = seen.pinged.map(|at| now - at);
        let to_router = seen.to_router.max(waits).filter(|_| !self.is_blind);
        let holder = match &seen.control.driver {
            None => Holder::Nobody,
            Some(driver) if Some(driver.session) == seen.session => Holder::Us {
                epoch: seen.control.epoch,
            },
            Some(driver) => Holder::Other(driver.name.clone()),
        };
        Facts {
            now: now.into_std(),
            may_drive: true,
            is_up: seen.is_up,
            healthy_since: seen.since.map(Instant::into_std),
            round_trip: to_router.map(|to| to + seen.to_car.unwrap_or_default()),
            input_is_alive: true,
            holder,
            stop_failed: seen.stop_failed,
            directions: COMMANDS.len(),
            tick_ms: seen.tick_ms,
        }
    }

    async fn live(&mut self, mut wire: ConsoleWire) -> Result<(), WireError> {
        wire.push(&ConsoleToRouter::Hello {
            software: "simulated".to_owned(),
            readonly: false,
        })?;
        let mut heard = Instant::now();
        let mut ping = heard;
        let mut act = heard + self.dice.ms(20..900);
        loop {
            let facts = self.facts();
            let orders = self.drive.tick(&facts);
            self.say(&mut wire, orders)?;
            let next = self.drive.next().map(Instant::from_std);
            tokio::select! {
                biased;
                event = wire.event() => {
                    heard = Instant::now();
                    match event? {
                        Event::Message(message) => self.hear(&mut wire, &message)?,
                        Event::Pong(_) => {
                            self.seen.to_router = self.seen.pinged.take().map(|at| at.elapsed());
                        }
                        Event::Closed(_) => return Ok(()),
                        Event::Ping | Event::Room => {}
                    }
                }
                () = until(next) => {}
                () = sleep_until(act) => {
                    act = Instant::now() + self.act(&mut wire)?;
                }
                () = sleep_until(ping) => {
                    ping = Instant::now() + PING;
                    if self.seen.pinged.is_none() {
                        self.seen.pinged = Some(Instant::now());
                        wire.push_ping(Bytes::new())?;
                    }
                }
                () = sleep_until(heard + timing::PACE_BUSY.dead) => return Ok(()),
            }
        }
    }

    fn hear(&mut self, wire: &mut ConsoleWire, message: &RouterToConsole) -> Result<(), WireError> {
        match message {
            RouterToConsole::Snapshot { session, links, .. } => {
                self.seen.session = Some(*session);
                for link in links {
                    self.link(wire, link)?;
                }
            }
            RouterToConsole::Tick { clock_ms, .. } => self.seen.tick_ms = Some(*clock_ms),
            RouterToConsole::Refused { press, .. } => self.drive.refused(*press),
            RouterToConsole::Feed(event) => match event {
                FeedEvent::Link(info) => self.link(wire, info)?,
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
                    self.say(wire, orders)?;
                }
                FeedEvent::Run(_) => {}
            },
            RouterToConsole::SendEvent { .. }
            | RouterToConsole::Commands { .. }
            | RouterToConsole::Run { .. }
            | RouterToConsole::GoAway { .. } => {}
        }
        Ok(())
    }

    fn link(&mut self, wire: &mut ConsoleWire, info: &LinkInfo) -> Result<(), WireError> {
        let is_new = self.seen.port != Some(info.service_port);
        if self.seen.link(info) {
            self.drive.start_anew();
        }
        if is_new {
            let service_port = self.seen.port;
            wire.push(&ConsoleToRouter::Watch { service_port })?;
        }
        Ok(())
    }

    /// What the hands do now; how long they rest after it.
    fn act(&mut self, wire: &mut ConsoleWire) -> Result<Duration, WireError> {
        let facts = self.facts();
        let is_quiet = self.stage.is_quiet();
        let direction =
            *self
                .dice
                .one_of(&[Direction::Forward, Direction::Forward, Direction::Back]);
        let (orders, rest) = match self.held {
            Some(held) => {
                self.held = None;
                let orders = self.drive.key(held, Stroke::Release, &facts);
                (orders, self.dice.ms(30..500))
            }
            None if is_quiet => (Vec::new(), Duration::from_secs(3600)),
            None if self.dice.one_in(10) => (self.drive.stop(), self.dice.ms(10..300)),
            None if self.dice.one_in(14) => (self.drive.disarm(&facts), self.dice.ms(30..500)),
            None if self.dice.one_in(8) => {
                let wishes = [ControlWish::Seize, ControlWish::Grant, ControlWish::Deny];
                let wish = *self.dice.one_of(&wishes);
                if let Some(service_port) = self.seen.port {
                    self.tell(&format!("{wish:?}"));
                    wire.push(&ConsoleToRouter::Control { service_port, wish })?;
                }
                (Vec::new(), self.dice.ms(30..300))
            }
            None if self.drive.needs_arming() => (self.drive.arm(&facts), self.dice.ms(30..200)),
            None => {
                self.held = Some(direction);
                let orders = self.drive.key(direction, Stroke::Press, &facts);
                (orders, self.dice.ms(20..1200))
            }
        };
        self.say(wire, orders)?;
        Ok(rest)
    }

    fn tell(&self, what: &str) {
        let number = self.number;
        self.stage
            .history
            .tell(|| format!("console {number} {what}"));
    }

    fn say(&mut self, wire: &mut ConsoleWire, orders: Vec<Order>) -> Result<(), WireError> {
        for order in orders {
            if !matches!(order, Order::Renew(_)) {
                self.tell(&format!("{order:?}"));
            }
            let Some(service_port) = self.seen.port else {
                continue;
            };
            let tick_ms = self.seen.tick_ms.unwrap_or_default();
            let control = |wish| ConsoleToRouter::Control { service_port, wish };
            let message = match order {
                Order::Take => control(ControlWish::Take),
                Order::GiveBack => control(ControlWish::Release),
                Order::Press(press, direction) => {
                    self.stage.driven();
                    ConsoleToRouter::Press {
                        service_port,
                        press,
                        command: COMMANDS[direction.index()].parse().unwrap(),
                        tick_ms,
                    }
                }
                Order::Renew(press) => {
                    self.stage.driven();
                    ConsoleToRouter::Renew {
                        service_port,
                        press,
                        tick_ms,
                    }
                }
                Order::Release(press) => ConsoleToRouter::Release {
                    service_port,
                    press,
                },
                Order::Stop => ConsoleToRouter::Stop { service_port },
                Order::Say(_) => continue,
            };
            wire.push(&message)?;
        }
        Ok(())
    }
}

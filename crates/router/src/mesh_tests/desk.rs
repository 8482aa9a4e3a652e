//! A console at a router, by hand.

use std::collections::BTreeMap;

use p2p_console::connection::{ConsoleSocket, RouterTarget};
use p2p_shared::key::Key;
use p2p_shared::protocol::{
    ConsoleToRouter, ControlRequest, DriveCommand, FeedEvent, LinkInfo, MotionEvent, PressId,
    RouterToConsole, RunInfo, SessionId,
};
use p2p_shared::websocket::SocketEvent;

use super::soon;
use super::world::Place;

/// A console, and what it was told so far.
pub(super) struct Desk {
    socket: ConsoleSocket,
    pub session: SessionId,
    pub links: BTreeMap<u16, LinkInfo>,
    /// Why each car is down.
    pub why: BTreeMap<u16, String>,
    pub runs: Vec<RunInfo>,
    pub ticks: BTreeMap<u16, u64>,
    pub motion: Vec<MotionEvent>,
    pub refused: Vec<String>,
    /// Answers to requests.
    pub answers: Vec<RouterToConsole>,
    pub snapshots: usize,
    /// Events that it was not told.
    pub missed: u64,
    pub hops_us: Vec<u32>,
    presses: u64,
}

impl Desk {
    /// A console that was told all that there is.
    pub(super) async fn at(place: &Place) -> Self {
        Self::with(place, None).await
    }

    pub(super) async fn with(place: &Place, key: Option<Key>) -> Self {
        let target = RouterTarget {
            routers: vec![place.address()],
            open: key.is_none(),
            key,
            readonly: false,
        };
        let mut reconnect = target.reconnect();
        let socket = soon("a router", target.connect(&mut reconnect)).await;
        let mut desk = Self {
            socket: socket.unwrap(),
            session: SessionId(0),
            links: BTreeMap::new(),
            why: BTreeMap::new(),
            runs: Vec::new(),
            ticks: BTreeMap::new(),
            motion: Vec::new(),
            refused: Vec::new(),
            answers: Vec::new(),
            snapshots: 0,
            missed: 0,
            hops_us: Vec::new(),
            presses: 0,
        };
        desk.until("a snapshot", |desk| desk.snapshots > 0).await;
        desk
    }

    pub(super) async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        soon(what, async {
            while !is_so(self) {
                self.hear().await;
            }
        })
        .await;
    }

    async fn hear(&mut self) {
        match self.socket.event().await.unwrap() {
            SocketEvent::Message(message) => self.take(message),
            SocketEvent::Closed(why) => panic!("the router closed it: {why}"),
            _ => {}
        }
    }

    fn take(&mut self, message: RouterToConsole) {
        match message {
            RouterToConsole::Snapshot {
                first,
                last,
                session,
                links,
                runs,
                missed,
                ..
            } => {
                self.missed += missed;
                if first {
                    self.links.clear();
                    self.runs.clear();
                }
                self.snapshots += usize::from(last);
                self.session = session;
                let links = links.into_iter().map(|link| (link.service_port, link));
                self.links.extend(links);
                self.runs.extend(runs);
            }
            RouterToConsole::Feed(event) => self.take_event(event),
            RouterToConsole::Tick {
                service_port,
                clock_ms,
            } => {
                self.ticks.insert(service_port, clock_ms);
            }
            RouterToConsole::Refused { message, .. } => {
                self.refused.push(message.raw().to_owned());
            }
            answer => self.answers.push(answer),
        }
    }

    fn take_event(&mut self, event: FeedEvent) {
        match event {
            FeedEvent::Link(link) => {
                self.links.insert(link.service_port, *link);
            }
            FeedEvent::LinkDown { service_port, why } => {
                let link = self.links.get_mut(&service_port).unwrap();
                link.is_up = false;
                self.why.insert(service_port, why.raw().to_owned());
            }
            FeedEvent::LinkGone { service_port } => {
                self.links.remove(&service_port);
            }
            FeedEvent::Rtt { hop_us, .. } => self.hops_us.extend(hop_us),
            FeedEvent::Run(run) => self.runs.push(*run),
            FeedEvent::Control {
                service_port,
                control,
            } => {
                self.links.get_mut(&service_port).unwrap().control = control;
            }
            FeedEvent::Motion { event, .. } => self.motion.push(event),
        }
    }

    pub(super) fn is_up(&self, port: u16) -> bool {
        self.links.get(&port).is_some_and(|link| link.is_up)
    }

    /// The router that the car is at, if that is another.
    pub(super) fn router_of(&self, port: u16) -> Option<String> {
        let router = self.links[&port].router.as_ref();
        router.map(|router| router.raw().to_owned())
    }

    pub(super) fn drives(&self, port: u16) -> bool {
        let driver = self
            .links
            .get(&port)
            .and_then(|link| link.control.driver.as_ref());
        driver.is_some_and(|driver| driver.session == self.session)
    }

    pub(super) fn says(&mut self, message: &ConsoleToRouter) {
        self.socket.push(message).unwrap();
    }

    pub(super) fn asks(&mut self, service_port: u16, request: ControlRequest) {
        self.says(&ConsoleToRouter::Control {
            service_port,
            request,
        });
    }

    pub(super) fn orders(&mut self, service_port: u16, command: DriveCommand) {
        self.says(&ConsoleToRouter::Drive {
            service_port,
            command,
        });
    }

    /// Takes control, and waits for the car's clock.
    pub(super) async fn arms(&mut self, port: u16) {
        self.says(&ConsoleToRouter::Watch {
            service_port: Some(port),
        });
        self.asks(port, ControlRequest::Take);
        self.ticks.clear();
        let is_armed = |desk: &Self| desk.drives(port) && desk.ticks.contains_key(&port);
        self.until("it drives", is_armed).await;
    }

    pub(super) fn presses(&mut self, port: u16) -> PressId {
        self.presses += 1;
        let press = PressId {
            epoch: self.links[&port].control.epoch,
            number: self.presses,
        };
        let command = DriveCommand::Press {
            press,
            command: "forward".parse().unwrap(),
            tick_ms: self.ticks[&port],
        };
        self.orders(port, command);
        press
    }

    /// Presses, and waits until the car moves.
    pub(super) async fn moves(&mut self, port: u16) -> PressId {
        let press = self.presses(port);
        let is_it = |event: &MotionEvent| match event {
            MotionEvent::Started(moving) => moving.press == Some(press),
            _ => false,
        };
        self.until("it moves", |desk| desk.motion.iter().any(is_it))
            .await;
        press
    }

    /// Renews a press for ever, with each tick of the car's clock.
    pub(super) async fn holds(&mut self, port: u16, press: PressId) {
        loop {
            let tick_ms = self.ticks[&port];
            self.orders(port, DriveCommand::Renew { press, tick_ms });
            while self.ticks[&port] == tick_ms {
                self.hear().await;
            }
        }
    }
}

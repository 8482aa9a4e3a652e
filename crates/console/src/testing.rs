//! Links, runs and a console for the tests of several files.

use std::time::{Duration, Instant};

use crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use p2p_shared::key::Role;
use p2p_shared::names::RunId;
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::protocol::{
    ActiveMotion, ConsoleToRouter, ControlEnd, ControlInfo, Driver, End, FeedEvent, LinkInfo,
    MotionEvent, PressId, RouterToConsole, RunInfo, RunResult, RunSource, SessionId,
};
use p2p_shared::timing::millis;

use crate::app::{App, AppSetup, ConnectionState, Effect, Event};
use crate::connection::ConnectionEvent;
use crate::drive::KeyReleases;
use crate::screen::theme::Colours;

/// A run that has ended with 0; its number is also its time.
pub(crate) fn run(number: u64, command: &str) -> RunInfo {
    RunInfo {
        result: Some(RunResult {
            status: 200,
            end: Some(End::Exit(0)),
            why: "".into(),
            link_us: 1_200,
            exec_us: Some(3_400),
            bytes: 12,
            output: p2p_shared::bounded::Piece::first_of(b"it is done\n"),
            stderr: Default::default(),
        }),
        ..open_run(number, command)
    }
}

/// A run that has not ended.
pub(crate) fn open_run(number: u64, command: &str) -> RunInfo {
    RunInfo {
        run: RunId::from_number(number),
        service_port: 9000,
        link: "car".parse().unwrap(),
        command: command.parse().unwrap(),
        arguments: Default::default(),
        source: RunSource::Http,
        from: "192.0.2.7:51234".into(),
        key: "desk".into(),
        at_ms: number,
        result: None,
    }
}

/// A link that is up, with nobody driving.
/// The event of a connection to the usual router.
pub(crate) fn connected() -> ConnectionEvent {
    let router = RouterAddress {
        host: "router.example.org".to_owned(),
        port: 8888,
    };
    ConnectionEvent::Connected(router)
}

pub(crate) fn link(service_port: u16, name: &str) -> LinkInfo {
    LinkInfo {
        since_ms: 65_000,
        rtts_us: vec![20_000, 22_000, 19_000, 24_000, 40_000, 21_000]
            .try_into()
            .unwrap(),
        runs: 12,
        failures: 1,
        motion: ["forward", "back", "left", "right"]
            .into_iter()
            .map(|name| name.parse().unwrap())
            .collect(),
        lease_ms: 400,
        motion_limit_ms: 2_000,
        ..LinkInfo::new(service_port, name.parse().unwrap(), "stop".parse().unwrap())
    }
}

/// A console, its router, and a clock: what the tests of the application talk to.
pub(crate) struct Bench {
    pub(crate) app: App,
    pub(crate) now: Instant,
    /// The moment at which the car's clock began.
    pub(crate) began: Instant,
    pub(crate) sent: Vec<Effect>,
}

/// Our session in all tests.
pub(crate) const US: SessionId = SessionId(5);

impl Bench {
    /// Makes a console that is not connected yet.
    pub(crate) fn unconnected(size: (u16, u16)) -> Self {
        let now = Instant::now();
        let setup = AppSetup {
            router: "router.example.org:8888".to_owned(),
            wanted: None,
            readonly: false,
            colour: true,
            colours: Colours::All,
            releases: KeyReleases::Reported,
            size,
        };
        Self {
            app: App::new(setup, now),
            now,
            began: now,
            sent: Vec::new(),
        }
    }

    /// Makes a console with one car, whose clock ticks, and an operator's key.
    pub(crate) fn with_car(size: (u16, u16)) -> Self {
        let runs = vec![run(3_723_004, "hello"), open_run(3_724_504, "forward")];
        Self::with(size, vec![link(9000, "car")], runs)
    }

    /// Makes a console with these links and runs.
    pub(crate) fn with(size: (u16, u16), links: Vec<LinkInfo>, runs: Vec<RunInfo>) -> Self {
        let mut bench = Self::unconnected(size);
        bench.connect(links, runs);
        bench.pass(600);
        bench.sent.clear();
        bench
    }

    /// Connects to a router that shows these links and runs to an operator.
    pub(crate) fn connect(&mut self, links: Vec<LinkInfo>, runs: Vec<RunInfo>) {
        self.event(connected());
        self.message(RouterToConsole::Snapshot {
            first: true,
            last: true,
            session: US,
            key: "desk".into(),
            role: Role::Drive,
            missed: 0,
            links: links.try_into().unwrap(),
            runs: runs.try_into().unwrap(),
        });
    }

    pub(crate) fn event(&mut self, event: impl Into<Event>) {
        let effects = self.app.update(event.into(), self.now);
        self.sent.extend(effects);
    }

    pub(crate) fn message(&mut self, message: RouterToConsole) {
        self.event(ConnectionEvent::Message(Box::new(message)));
    }

    pub(crate) fn feed(&mut self, event: FeedEvent) {
        self.message(RouterToConsole::Feed(event));
    }

    pub(crate) fn motion(&mut self, event: MotionEvent) {
        self.motion_at(event, None);
    }

    /// The car tells of its motion, with a time of its clock.
    pub(crate) fn motion_at(&mut self, event: MotionEvent, clock_ms: Option<u64>) {
        self.feed(FeedEvent::Motion {
            service_port: 9000,
            event,
            clock_ms,
        });
    }

    /// The time on the car's clock, which is what the console hears without delay.
    pub(crate) fn clock_ms(&self) -> u64 {
        millis(self.now.saturating_duration_since(self.began))
    }

    pub(crate) fn control(&mut self, driver: Option<Driver>, asker: Option<Driver>) {
        self.feed(FeedEvent::Control {
            service_port: 9000,
            control: ControlInfo {
                recording: None,
                ended: driver.is_none().then_some(ControlEnd::Given),
                driver,
                request: asker.map(|driver| (driver, 8_000)),
                epoch: 7,
            },
        });
    }

    /// Lets time go by: the console and the car's clock tick, pings are answered in 20 ms.
    pub(crate) fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 20 {
            self.now += Duration::from_millis(20);
            if matches!(self.app.connection, ConnectionState::Up) {
                let clock_ms = self.clock_ms();
                self.message(RouterToConsole::Tick {
                    service_port: 9000,
                    clock_ms,
                });
                let rtt = Duration::from_millis(20);
                self.event(ConnectionEvent::Ponged(rtt));
            }
            let input_seen = self.now;
            self.event(Event::Tick { input_seen });
        }
    }

    pub(crate) fn stroke(&mut self, code: KeyCode, kind: KeyEventKind) {
        let key = KeyEvent::new_with_kind(code, KeyModifiers::NONE, kind);
        self.event(Event::Terminal(Input::Key(key)));
    }

    /// Presses a key and lets it go.
    pub(crate) fn key(&mut self, code: KeyCode) {
        self.stroke(code, KeyEventKind::Press);
        self.stroke(code, KeyEventKind::Release);
    }

    pub(crate) fn letters(&mut self, text: &str) {
        for c in text.chars() {
            self.key(KeyCode::Char(c));
        }
    }

    pub(crate) fn control_key(&mut self, letter: char) {
        let key = KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
        self.event(Event::Terminal(Input::Key(key)));
    }

    /// Takes the messages to the router since the last call, except which car is watched.
    pub(crate) fn messages(&mut self) -> Vec<ConsoleToRouter> {
        let effects = std::mem::take(&mut self.sent);
        let message = |effect| match effect {
            // `watches` returns these.
            Effect::Send(ConsoleToRouter::Watch { .. }) => None,
            Effect::Send(message) => Some(message),
            _ => None,
        };
        effects.into_iter().filter_map(message).collect()
    }

    /// Takes the cars that the router was told are watched since the last call. Forgets all other
    /// messages.
    pub(crate) fn watches(&mut self) -> Vec<Option<u16>> {
        let effects = std::mem::take(&mut self.sent);
        let watched = |effect| match effect {
            Effect::Send(ConsoleToRouter::Watch { service_port }) => Some(service_port),
            _ => None,
        };
        effects.into_iter().filter_map(watched).collect()
    }

    /// Makes a console in control, with the forward key held and the car moving.
    pub(crate) fn driving(size: (u16, u16)) -> Self {
        let mut bench = Self::with_car(size);
        bench.stroke(KeyCode::Up, KeyEventKind::Press);
        bench.control(Some(us()), None);
        bench.motion(MotionEvent::Started(ActiveMotion {
            run: RunId::from_number(77),
            command: "forward".parse().unwrap(),
            press: Some(PressId {
                epoch: 7,
                number: 1,
            }),
        }));
        bench
    }
}

pub(crate) fn us() -> Driver {
    Driver {
        session: US,
        name: "desk".into(),
    }
}

pub(crate) fn bob() -> Driver {
    Driver {
        session: SessionId(6),
        name: "bob".into(),
    }
}

impl From<ConnectionEvent> for Event {
    fn from(event: ConnectionEvent) -> Self {
        Self::Connection(event)
    }
}

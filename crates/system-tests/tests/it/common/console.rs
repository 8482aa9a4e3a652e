//! A console by hand.

use std::collections::VecDeque;
use std::net::SocketAddr;

use p2p_shared::key::{Key, Role};
use p2p_shared::net::dialer::{self, DialError, RouterAddress};
use p2p_shared::protocol::{
    ADMIN_PATH, ConsoleToRouter, ControlInfo, ControlRequest, DriveCommand, FeedEvent, LinkInfo,
    MotionEvent, PressId, RefusedReason, RouterToConsole, RunInfo, SendEvent, SessionId,
};

use super::local;
use super::peer::WebSocketPeer;

/// A console that has got its first snapshot.
pub struct FakeConsole {
    pub peer: WebSocketPeer,
    pub picture: ConsoleSnapshot,
    /// What came while something else was waited for.
    kept: VecDeque<RouterToConsole>,
}

/// A whole snapshot.
#[derive(Debug)]
pub struct ConsoleSnapshot {
    pub session: SessionId,
    pub role: Role,
    pub key: String,
    pub missed: u64,
    pub parts: usize,
    pub links: Vec<LinkInfo>,
    pub runs: Vec<RunInfo>,
}

impl ConsoleSnapshot {
    fn empty() -> Self {
        Self {
            session: SessionId(0),
            role: Role::View,
            key: String::new(),
            missed: 0,
            parts: 0,
            links: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// Adds a part; whether it is the last.
    pub fn add(&mut self, part: RouterToConsole) -> bool {
        let RouterToConsole::Snapshot {
            first,
            last,
            session,
            key,
            role,
            missed,
            links,
            runs,
        } = part
        else {
            panic!("no part of a picture: {part:?}")
        };
        if first {
            *self = Self::empty();
        }
        self.parts += 1;
        (self.session, self.key) = (session, key.raw().to_owned());
        (self.role, self.missed) = (role, missed);
        self.links.extend(links);
        self.runs.extend(runs);
        last
    }
}

/// A connection that was upgraded and has said nothing.
pub async fn dial(main_port: u16, key: Option<&Key>) -> Result<WebSocketPeer, DialError> {
    dial_at(local(main_port), key).await
}

/// The same to a router at any address.
pub async fn dial_at(main: SocketAddr, key: Option<&Key>) -> Result<WebSocketPeer, DialError> {
    let router = RouterAddress {
        host: main.ip().to_string(),
        port: main.port(),
    };
    let socket = dialer::dial(None, &router, ADMIN_PATH, key, true).await?;
    Ok(WebSocketPeer(socket))
}

impl FakeConsole {
    pub async fn open(main_port: u16) -> Self {
        Self::with(main_port, None, false).await
    }

    pub async fn with(main_port: u16, key: Option<&Key>, readonly: bool) -> Self {
        let mut peer = dial(main_port, key).await.unwrap();
        let software = "a test".into();
        peer.send(&ConsoleToRouter::Hello { software, readonly })
            .await;
        let mut console = Self {
            peer,
            picture: ConsoleSnapshot::empty(),
            kept: VecDeque::new(),
        };
        console.receives_snapshot().await;
        console
    }

    pub async fn receives_snapshot(&mut self) {
        loop {
            let message = self.peer.receive().await.expect("closed without a picture");
            if matches!(message, RouterToConsole::Snapshot { .. }) {
                if self.picture.add(message) {
                    return;
                }
            } else {
                self.kept.push_back(message);
            }
        }
    }

    pub async fn send(&mut self, message: ConsoleToRouter) {
        self.peer.send(&message).await;
    }

    /// The first message that came or comes, and that this makes something of. The others are
    /// kept.
    pub async fn receives<T>(&mut self, mut pick: impl FnMut(&RouterToConsole) -> Option<T>) -> T {
        for at in 0..self.kept.len() {
            if let Some(picked) = pick(&self.kept[at]) {
                self.kept.remove(at);
                return picked;
            }
        }
        loop {
            let message = self
                .peer
                .receive()
                .await
                .expect("closed instead of an answer");
            if let Some(picked) = pick(&message) {
                return picked;
            }
            self.kept.push_back(message);
        }
    }

    pub async fn sees<T>(&mut self, mut pick: impl FnMut(&FeedEvent) -> Option<T>) -> T {
        self.receives(|message| match message {
            RouterToConsole::Feed(event) => pick(event),
            _ => None,
        })
        .await
    }

    /// The next reading of the car's clock, in ms.
    pub async fn receives_tick(&mut self) -> u64 {
        self.receives(|message| match message {
            RouterToConsole::Tick { clock_ms, .. } => Some(*clock_ms),
            _ => None,
        })
        .await
    }

    /// The control of the car, once it `is` so.
    pub async fn sees_control(&mut self, is: impl Fn(&ControlInfo) -> bool) -> ControlInfo {
        self.sees(|event| match event {
            FeedEvent::Control { control, .. } if is(control) => Some(control.clone()),
            _ => None,
        })
        .await
    }

    pub async fn sees_run(&mut self, is: impl Fn(&RunInfo) -> bool) -> RunInfo {
        self.sees(|event| match event {
            FeedEvent::Run(run) if is(run) => Some(RunInfo::clone(run)),
            _ => None,
        })
        .await
    }

    pub async fn sees_motion(&mut self, is: impl Fn(&MotionEvent) -> bool) -> MotionEvent {
        self.sees(|event| match event {
            FeedEvent::Motion { event, .. } if is(event) => Some(event.clone()),
            _ => None,
        })
        .await
    }

    pub async fn is_refused(&mut self) -> (RefusedReason, String) {
        self.receives(|message| match message {
            RouterToConsole::Refused {
                reason, message, ..
            } => Some((*reason, message.raw().to_owned())),
            _ => None,
        })
        .await
    }

    /// Of which kind the refusal of a press is, and which press.
    pub async fn is_refused_press(&mut self) -> (RefusedReason, PressId) {
        self.receives(|message| match message {
            RouterToConsole::Refused {
                reason,
                press: Some(press),
                ..
            } => Some((*reason, *press)),
            _ => None,
        })
        .await
    }

    /// What becomes of a run that it asked for, one after the other.
    pub async fn receives_send_event(&mut self, of: u64) -> SendEvent {
        self.receives(|message| match message {
            RouterToConsole::SendEvent { request, event } if *request == of => Some(event.clone()),
            _ => None,
        })
        .await
    }

    pub async fn requests_control(&mut self, service_port: u16, request: ControlRequest) {
        self.send(ConsoleToRouter::Control {
            service_port,
            request,
        })
        .await;
    }

    /// Takes control of a car that is free; the epoch.
    pub async fn takes(&mut self, service_port: u16) -> u64 {
        self.requests_control(service_port, ControlRequest::Take)
            .await;
        let me = self.picture.session;
        let has_it = |control: &ControlInfo| {
            control
                .driver
                .as_ref()
                .is_some_and(|driver| driver.session == me)
        };
        self.sees_control(has_it).await.epoch
    }

    pub async fn presses(&mut self, service_port: u16, press: PressId, command: &str, tick: u64) {
        self.send(ConsoleToRouter::Drive {
            service_port,
            command: DriveCommand::Press {
                press,
                command: command.parse().unwrap(),
                tick_ms: tick,
            },
        })
        .await;
    }

    pub async fn sends_command(&mut self, request: u64, service_port: u16, command: &str) {
        self.send(ConsoleToRouter::Send {
            request,
            service_port,
            command: command.parse().unwrap(),
            arguments: Default::default(),
            for_ms: None,
        })
        .await;
    }

    pub async fn stops(&mut self, service_port: u16) {
        self.send(ConsoleToRouter::Drive {
            service_port,
            command: DriveCommand::Stop,
        })
        .await;
    }
}

impl FakeConsole {
    /// Lets little of what it is sent wait at its end.
    pub fn shrinks_receive_buffer(&self) {
        let socket = socket2::SockRef::from(self.peer.0.get_ref().socket().unwrap());
        socket.set_recv_buffer_size(32 * 1024).unwrap();
    }
}

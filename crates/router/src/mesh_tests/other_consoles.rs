//! Consoles of a mesh that are slow, or older than meshes, or whose key is for some cars only.

use p2p_shared::key::{Key, Role};
use p2p_shared::protocol::{
    ADMIN_PATH, ConsoleToRouter, ControlInfo, ControlRequest, DriveCommand, FeedEvent, MotionEvent,
    PressId, SUBPROTOCOL, SessionId,
};
use p2p_shared::websocket::{MessageSocket, SocketEvent};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::desk::Desk;
use super::hops::two;
use super::keys::Keyed;
use super::world::{Passing, Place, ReservedPort};
use super::{soon, until};
use crate::auth::key_store::KeyFile;
use crate::mesh::hub::Hub;

/// Messages as consoles of before meshes read them, as far as the test looks: other kinds they can't read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OldMessage {
    Snapshot {
        last: bool,
        session: SessionId,
        links: Vec<OldLink>,
    },
    Feed(OldEvent),
    Tick {
        service_port: u16,
        clock_ms: u64,
    },
    SendEvent {},
    Commands {},
    Run {},
    Refused {
        message: String,
    },
    GoAway {},
}

#[derive(Debug, Deserialize)]
struct OldLink {
    service_port: u16,
    is_up: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OldEvent {
    Link {},
    LinkDown {
        service_port: u16,
    },
    LinkGone {},
    Rtt {},
    Run {},
    Control {
        service_port: u16,
        control: ControlInfo,
    },
    Motion {
        event: MotionEvent,
    },
}

/// A console of before meshes.
struct OldConsole(MessageSocket<TcpStream, ConsoleToRouter, OldMessage>);

impl OldConsole {
    async fn at(place: &Place) -> Self {
        let mut request = format!("ws://127.0.0.1{ADMIN_PATH}")
            .into_client_request()
            .unwrap();
        let ours = SUBPROTOCOL.parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", ours);
        let stream = TcpStream::connect(place.router.address()).await.unwrap();
        let (socket, _) = client_async(request, stream).await.unwrap();
        let mut console = Self(MessageSocket::new(socket));
        console.says(&ConsoleToRouter::Hello {
            software: "old".into(),
            readonly: false,
        });
        console
    }

    fn says(&mut self, message: &ConsoleToRouter) {
        self.0.push(message).unwrap();
    }

    /// What the first message has that is looked for.
    async fn hears<T>(&mut self, what: &str, mut is_it: impl FnMut(OldMessage) -> Option<T>) -> T {
        soon(what, async {
            loop {
                match self.0.event().await.unwrap() {
                    SocketEvent::Message(OldMessage::Refused { message }) => panic!("{message}"),
                    SocketEvent::Message(message) => match is_it(message) {
                        Some(it) => return it,
                        None => continue,
                    },
                    SocketEvent::Closed(why) => panic!("the router closed it: {why}"),
                    _ => {}
                }
            }
        })
        .await
    }
}

#[tokio::test]
async fn a_console_of_before_meshes_sees_and_drives_a_car_at_another_router() {
    let (holder, other, _inner, port, _reserved) = two().await;
    for name in ["forward", "stop"] {
        holder.script(name, "");
    }
    let mut console = OldConsole::at(&other).await;
    let session = console
        .hears("a snapshot", |message| match message {
            OldMessage::Snapshot {
                last: true,
                session,
                links,
            } => {
                let is_it = |link: &OldLink| link.service_port == port && link.is_up;
                assert!(links.iter().any(is_it), "{links:?}");
                Some(session)
            }
            _ => None,
        })
        .await;
    let service_port = port;
    console.says(&ConsoleToRouter::Watch {
        service_port: Some(port),
    });
    console.says(&ConsoleToRouter::Control {
        service_port,
        request: ControlRequest::Take,
    });
    let epoch = console.hears("it drives", |message| match message {
        OldMessage::Feed(OldEvent::Control {
            service_port,
            control,
        }) if service_port == port => {
            assert_eq!(control.driver.unwrap().session, session);
            Some(control.epoch)
        }
        _ => None,
    });
    let epoch = epoch.await;
    let tick_ms = console.hears("the car's clock", |message| match message {
        OldMessage::Tick {
            service_port,
            clock_ms,
        } if service_port == port => Some(clock_ms),
        _ => None,
    });
    let tick_ms = tick_ms.await;
    let press = PressId { epoch, number: 1 };
    let command = DriveCommand::Press {
        press,
        command: "forward".parse().unwrap(),
        tick_ms,
    };
    console.says(&ConsoleToRouter::Drive {
        service_port,
        command,
    });
    let moves = console.hears("it moves", |message| match message {
        OldMessage::Feed(OldEvent::Motion {
            event: MotionEvent::Started(moving),
        }) => (moving.press == Some(press)).then_some(()),
        _ => None,
    });
    moves.await;
    holder.line.set(Passing::Refused);
    let is_down = console.hears("it is down", |message| match message {
        OldMessage::Feed(OldEvent::LinkDown { service_port }) => {
            (service_port == port).then_some(())
        }
        _ => None,
    });
    is_down.await;
}

/// A key for the car with this port.
fn for_one_car(at: &Keyed, port: u16) -> Key {
    let ports = format!("{port}-{port}").parse().unwrap();
    let file = KeyFile::in_dir(at.state.path());
    let key = file.add(&"one-car".parse().unwrap(), Role::Drive, Some(ports));
    key.unwrap().for_router(at.certificate.fingerprint())
}

#[tokio::test]
async fn a_key_for_one_car_runs_nothing_at_another_and_hears_nothing_of_it_at_any_router() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let holder = Keyed::start(2, shared.path(), &hub).await;
    let other = Keyed::start(3, shared.path(), &hub).await;
    let ports = [ReservedPort::new(), ReservedPort::new()].map(|it| (it.port, it));
    let [one, two] = [ports[0].0, ports[1].0];
    let mut inners = Vec::new();
    for (name, port) in [("car", one), ("second", two)] {
        let mut config = holder.place.inner_config(name, port);
        config.key = Some(holder.key(name, Role::Link).await);
        config.open = false;
        inners.push(holder.place.inner_with(config).await);
        other.place.serves(port).await;
    }
    holder.place.script("hello", "echo hello");
    let runs = holder.key("runs", Role::Drive).await;
    let limited = for_one_car(&holder, one);
    until("the keys are known", || {
        let is_known = |key: &Key| {
            [&holder, &other]
                .iter()
                .all(|at| at.keys.is_live(&key.id()))
        };
        is_known(&runs) && is_known(&limited)
    })
    .await;
    let hello = "/cgi?command=hello";
    for at in [&holder, &other] {
        let mut desk = Desk::with(&at.place, Some(limited.clone())).await;
        assert_eq!(desk.links.keys().copied().collect::<Vec<_>>(), [one]);
        desk.asks(two, ControlRequest::Take);
        desk.until("it may not", |desk| !desk.refused.is_empty())
            .await;
        let said = at.get(two, hello, &runs.expose()).await;
        assert_eq!(said.fate(), (200, "yes"), "{said:?}");
        let said = at.get(two, hello, &limited.expose()).await;
        assert_eq!(said.fate(), (403, "no"), "{said:?}");
        let before = desk.runs.len();
        let said = at.get(one, hello, &limited.expose()).await;
        assert_eq!(said.fate(), (200, "yes"), "{said:?}");
        desk.until("it hears of its own", |desk| desk.runs.len() >= before + 2)
            .await;
        assert!(desk.runs.iter().all(|run| run.service_port == one));
        desk.arms(one).await;
    }
}

#[tokio::test]
async fn a_slow_console_at_another_router_holds_up_nobody_and_is_shown_how_everything_is() {
    let (holder, other, inner, port, _reserved) = two().await;
    for name in ["forward", "stop"] {
        holder.script(name, "");
    }
    holder.script("prints", "head -c 1024 /dev/zero | tee /dev/stderr");
    let (mut slow, mut quick) = (Desk::at(&other).await, Desk::at(&other).await);
    assert_eq!(holder.get(port, "/cgi?command=prints").await.status(), 200);
    let is_over = |desk: &Desk| desk.runs.iter().any(|run| run.result.is_some());
    quick.until("the run is over", is_over).await;
    let run = quick.runs.pop().unwrap();
    // More than the kernel and the router keep for it: some 2 KiB each.
    while slow.missed == 0 {
        quick.runs.clear();
        for _ in 0..200 {
            let event = || FeedEvent::Run(Box::new(run.clone()));
            holder.context().feed.publish(event);
        }
        quick
            .until("the quick one hears", |desk| desk.runs.len() == 200)
            .await;
        // It reads, if less: who reads nothing for long is given up.
        let enough = slow.runs.len() + 40;
        let some = slow.until("some", |desk| desk.runs.len() >= enough || desk.missed > 0);
        some.await;
    }
    quick.arms(port).await;
    quick.moves(port).await;
    assert_eq!(quick.missed, 0);
    inner.shut_down().await;
    slow.until("it is shown how everything is", |desk| !desk.is_up(port))
        .await;
}

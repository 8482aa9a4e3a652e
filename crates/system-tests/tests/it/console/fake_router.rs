//! A router by hand: what the real console says to it, and how it answers.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use p2p_shared::key::Role;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{
    CommandInfo, ConsoleToRouter, ControlInfo, ControlRequest, DriveCommand, Driver, End,
    FeedEvent, LinkInfo, RecordingInfo, Refusal, RouterToConsole, RunAnswer, RunInfo, RunResult,
    RunSource, SendEvent, SessionId,
};
use p2p_shared::websocket::{MessageSocket, SocketEvent};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use super::hostile;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How a router by hand behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RouterBehavior {
    Quiet,
    /// So many events a second.
    Feeds(u64),
    /// What nobody here understands.
    Foreign,
    /// Nothing any more, once it was asked for control.
    Dead,
    /// With a hostile car: every text of both is meant for the terminal.
    Hostile,
}

/// A router with one car, which gives control to whoever asks.
pub struct FakeRouter {
    pub port: u16,
    /// How many events of the feed went out.
    pub fed: Arc<AtomicU64>,
    messages: mpsc::UnboundedReceiver<(ConsoleToRouter, Instant)>,
}

impl FakeRouter {
    pub async fn start() -> Self {
        Self::of(RouterBehavior::Quiet).await
    }

    /// One that greets with a message that nobody here knows.
    pub async fn of_another_version() -> Self {
        Self::of(RouterBehavior::Foreign).await
    }

    /// One that is dead once control was taken: it reads no more, and keeps the connection.
    pub async fn that_dies() -> Self {
        Self::of(RouterBehavior::Dead).await
    }

    /// One whose feed has so many events a second: runs that begin and end with output.
    pub async fn with_feed(a_second: u64) -> Self {
        Self::of(RouterBehavior::Feeds(a_second)).await
    }

    /// One whose every text, and its car's, is [`hostile::TEXT`](super::hostile::TEXT).
    pub async fn hostile() -> Self {
        Self::of(RouterBehavior::Hostile).await
    }

    async fn of(behavior: RouterBehavior) -> Self {
        let fed = Arc::new(AtomicU64::new(0));
        let counter = fed.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (received, messages) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, received.clone(), behavior, counter.clone()));
            }
        });
        Self {
            port,
            fed,
            messages,
        }
    }

    /// The next message but renewals, and which car is looked at.
    pub async fn next(&mut self) -> ConsoleToRouter {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.messages.recv());
            let (message, _) = next.await.expect("a message in time").unwrap();
            let goes_by_itself = matches!(
                message,
                ConsoleToRouter::Drive {
                    command: DriveCommand::Renew { .. },
                    ..
                } | ConsoleToRouter::Watch { .. }
            );
            if !goes_by_itself {
                return message;
            }
        }
    }

    /// What came but which car is looked at, with its time, until nothing comes for so long.
    pub async fn until_silent(&mut self, silence: Duration) -> Vec<(ConsoleToRouter, Instant)> {
        let mut all = Vec::new();
        while let Ok(Some(one)) = tokio::time::timeout(silence, self.messages.recv()).await {
            if !matches!(one.0, ConsoleToRouter::Watch { .. }) {
                all.push(one);
            }
        }
        all
    }
}

async fn serve(
    stream: TcpStream,
    received: mpsc::UnboundedSender<(ConsoleToRouter, Instant)>,
    behavior: RouterBehavior,
    fed: Arc<AtomicU64>,
) {
    #[expect(clippy::result_large_err, reason = "tungstenite's own type")]
    let protocol = |_: &Request, mut response: Response| {
        let name = p2p_shared::protocol::SUBPROTOCOL.parse().unwrap();
        response
            .headers_mut()
            .insert("sec-websocket-protocol", name);
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, protocol).await else {
        return;
    };
    if behavior == RouterBehavior::Foreign {
        let mut socket = socket;
        let unknown = b"\xa5hallo"[..].into();
        let _ = socket.send(Message::Binary(unknown)).await;
        while let Some(Ok(_)) = socket.next().await {}
        return;
    }
    let a_second = match behavior {
        RouterBehavior::Feeds(a_second) => a_second,
        _ => 0,
    };
    let mut socket: MessageSocket<_, RouterToConsole, ConsoleToRouter> = MessageSocket::new(socket);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut clock_ms = 1;
    let mut epoch = 1;
    let mut feed = tokio::time::interval(Duration::from_millis(10));
    let begun = Instant::now();
    loop {
        let due = u64::try_from(begun.elapsed().as_millis()).unwrap() * a_second / 1000;
        while fed.load(Ordering::Relaxed) < due && socket.has_room() {
            socket
                .push(&RouterToConsole::Feed(fed_event(
                    fed.fetch_add(1, Ordering::Relaxed),
                )))
                .unwrap();
        }
        let event = tokio::select! {
            _ = feed.tick(), if a_second > 0 => continue,
            event = socket.event() => event,
            _ = ticks.tick() => {
                clock_ms += 100;
                socket.push(&RouterToConsole::Tick { service_port: 9000, clock_ms }).unwrap();
                continue;
            }
        };
        let message = match event {
            Ok(SocketEvent::Message(message)) => message,
            Ok(SocketEvent::Closed(_)) | Err(_) => return,
            Ok(_) => continue,
        };
        let control = |driver, epoch| {
            RouterToConsole::Feed(FeedEvent::Control {
                service_port: 9000,
                control: ControlInfo {
                    recording: None,
                    driver,
                    request: None,
                    epoch,
                    ended: None,
                },
            })
        };
        match &message {
            _ if behavior == RouterBehavior::Hostile => {
                for answer in hostile::answers(&message) {
                    socket.push(&answer).unwrap();
                }
                if hostile::closes(&message) {
                    let patience = Duration::from_secs(1);
                    return socket.close_with(None, hostile::TEXT, patience).await;
                }
            }
            ConsoleToRouter::Hello { .. } => socket.push(&snapshot()).unwrap(),
            ConsoleToRouter::Control {
                request: ControlRequest::Take,
                ..
            } => {
                epoch += 1;
                let driver = Driver {
                    session: SessionId(1),
                    name: "desk".into(),
                };
                socket.push(&control(Some(driver), epoch)).unwrap();
            }
            ConsoleToRouter::Control { .. } => socket.push(&control(None, epoch)).unwrap(),
            ConsoleToRouter::Send {
                request, command, ..
            } => {
                for event in answer(command.as_str()) {
                    socket
                        .push(&RouterToConsole::SendEvent {
                            request: *request,
                            event,
                        })
                        .unwrap();
                }
            }
            ConsoleToRouter::ListCommands { request, .. } => {
                let of = |name: &str, problem: Option<&str>| CommandInfo {
                    name: name.parse().unwrap(),
                    problem: problem.map(Into::into),
                };
                let parts = [
                    of("hello", None),
                    of("seven", Some("it is not executable: chmod +x seven")),
                ];
                for (number, command) in parts.into_iter().enumerate() {
                    socket
                        .push(&RouterToConsole::Commands {
                            request: *request,
                            commands: [command].into_iter().collect(),
                            more: number == 0,
                        })
                        .unwrap();
                }
            }
            // It is lost over this.
            ConsoleToRouter::Record { .. } => return,
            // Nobody waits until the car's port would be given up.
            ConsoleToRouter::AskRun { request, .. } => socket
                .push(&RouterToConsole::Run {
                    request: *request,
                    answer: RunAnswer::NotKnown,
                })
                .unwrap(),
            _ => {}
        }
        let dies =
            behavior == RouterBehavior::Dead && matches!(message, ConsoleToRouter::Control { .. });
        let _ = received.send((message, Instant::now()));
        if dies {
            std::future::pending::<()>().await;
        }
    }
}

/// A run that begins, and the same with its end.
fn fed_event(n: u64) -> FeedEvent {
    let result = (n % 2 == 1).then(|| RunResult {
        status: 200,
        end: Some(End::Exit(0)),
        why: "".into(),
        link_us: 1_000,
        exec_us: Some(2_000),
        bytes: 1024,
        output: p2p_shared::bounded::Piece::first_of(&vec![b'x'; 1024]),
        stderr: Default::default(),
    });
    FeedEvent::Run(Box::new(RunInfo {
        run: RunId::from_number(1_000 + n / 2),
        service_port: 9000,
        link: "car".parse().unwrap(),
        command: "hello".parse().unwrap(),
        arguments: Default::default(),
        source: RunSource::Http,
        from: "192.0.2.7:51234".into(),
        key: "desk".into(),
        at_ms: n,
        result,
    }))
}

fn answer(command: &str) -> Vec<SendEvent> {
    let finished = |end| SendEvent::Finished {
        end,
        exec_us: 1_000,
        stderr: p2p_shared::bounded::Piece::first_of(b"beside\n"),
    };
    let mut events = vec![
        SendEvent::Queued {
            run: RunId::from_number(7),
        },
        SendEvent::Started,
        SendEvent::Output(p2p_shared::bounded::Piece::first_of(b"\x1b[31mone\n")),
    ];
    match command {
        "slow" => events.push(finished(End::TimedOut)),
        "lost" => events.push(SendEvent::Lost),
        "locked" => {
            events.truncate(1);
            events.push(SendEvent::Refused {
                refusal: None,
                reason: Some(p2p_shared::protocol::RefusedReason::Locked),
                message: "bob drives".into(),
            });
        }
        "helo" => {
            events.truncate(1);
            events.push(SendEvent::Refused {
                refusal: Some(Refusal::NotFound),
                reason: None,
                message: "there is no command helo: GET /commands lists what there is".into(),
            });
        }
        "seven" => events.push(finished(End::Exit(7))),
        _ => events.push(finished(End::Exit(0))),
    }
    events
}

pub fn snapshot() -> RouterToConsole {
    let link = |port: u16, name: &str, is_up| LinkInfo {
        is_up,
        since_ms: 5_000,
        rtts_us: vec![1_000].try_into().unwrap(),
        motion: ["forward", "back", "left", "right"]
            .into_iter()
            .map(|name| name.parse().unwrap())
            .collect(),
        lease_ms: 400,
        motion_limit_ms: 2_000,
        ..LinkInfo::new(port, name.parse().unwrap(), "stop".parse().unwrap())
    };
    let mut away = link(9001, "away", false);
    away.control.recording = Some(RecordingInfo::default());
    RouterToConsole::Snapshot {
        first: true,
        last: true,
        session: SessionId(1),
        key: "desk".into(),
        role: Role::Drive,
        missed: 0,
        links: vec![link(9000, "car", true), away].try_into().unwrap(),
        runs: Default::default(),
    }
}

/// The program, as a user starts it.
pub fn program(router: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new(crate::common::program::path("p2p-console"));
    command
        .args(["--router", &format!("127.0.0.1:{router}")])
        .args(["--log-dir", env!("CARGO_TARGET_TMPDIR")])
        .args(arguments)
        .env_remove("P2P_KEY")
        .env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

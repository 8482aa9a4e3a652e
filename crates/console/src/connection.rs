//! The connection to the router: dials, greets, pings, carries messages both ways, and reconnects
//! for ever. Decides nothing about the messages.

mod outbox;

use std::time::{Duration, Instant};

use p2p_shared::keepalive::PingClock;
use p2p_shared::key::Key;
use p2p_shared::net::dialer::{DialError, RouterAddress};
use p2p_shared::net::reconnect::{OverNetwork, Reconnect, Retry};
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{ADMIN_PATH, ConsoleToRouter, RouterToConsole};
use p2p_shared::timing::millis;
use p2p_shared::websocket::{MessageSocket, SocketEvent, WebSocketError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::exit_code::{closed_connection, connection_error};
use outbox::Outbox;

/// Longest silence of the router: it answers each ping.
pub(crate) const DEAD: Duration = Duration::from_secs(6);
/// Longest time without progress in sending.
const WRITE: Duration = Duration::from_secs(2);
/// Longest time for the last messages at the end, and for the router to close the connection too.
pub(crate) const FAREWELL: Duration = Duration::from_millis(500);

/// The console's end of a WebSocket to the router.
pub type ConsoleSocket = MessageSocket<Transport, ConsoleToRouter, RouterToConsole>;

/// The routers, to one of which the console connects, and how.
#[derive(Debug, Clone)]
pub struct RouterTarget {
    pub routers: Vec<RouterAddress>,
    pub key: Option<Key>,
    /// Go without protection: see [`dial`](p2p_shared::net::dialer::dial).
    pub open: bool,
    /// Only watch.
    pub readonly: bool,
}

impl RouterTarget {
    /// Makes a schedule for the routers.
    #[must_use]
    pub fn reconnect(&self) -> Reconnect {
        let dial = OverNetwork {
            path: ADMIN_PATH,
            key: self.key.clone(),
            open: self.open,
        };
        Reconnect::new(self.routers.clone(), Box::new(dial))
    }

    /// Connects once, by this schedule, and sends the first message.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn connect(&self, reconnect: &mut Reconnect) -> Result<ConsoleSocket, DialError> {
        let mut socket = MessageSocket::new(reconnect.dial().await?);
        let hello = ConsoleToRouter::Hello {
            software: concat!("p2p-console ", env!("CARGO_PKG_VERSION")).into(),
            readonly: self.readonly,
        };
        // If this fails, the first event fails too and says why.
        let _ = socket.push(&hello);
        Ok(socket)
    }
}

/// Report of the connection.
#[derive(Debug, Clone)]
pub enum ConnectionEvent {
    /// The router at this address is connected.
    Connected(RouterAddress),
    Disconnected {
        /// A sentence that says what to do.
        why: String,
        retry_at: Option<Instant>,
    },
    Message(Box<RouterToConsole>),
    Pinged,
    /// The answer to a ping came, after this time.
    Ponged(Duration),
}

/// Request to the connection.
#[derive(Debug)]
pub enum ToRouter {
    Send(ConsoleToRouter),
    /// Send all messages, and end.
    End,
}

/// Keeps a router connected that is pinged this often, until asked to end.
pub async fn run(
    target: RouterTarget,
    ping_every: Duration,
    events: mpsc::Sender<ConnectionEvent>,
    mut requests: mpsc::UnboundedReceiver<ToRouter>,
) {
    let mut reconnect = target.reconnect();
    loop {
        let dialling = target.connect(&mut reconnect);
        let Some(dialled) = while_down(dialling, &mut requests).await else {
            return;
        };
        let (why, retry) = match dialled {
            Err(error) => (error.to_string(), Retry::NotHere(error.least_pause())),
            Ok(socket) => {
                reconnect.connected();
                let connected = ConnectionEvent::Connected(reconnect.router().1.clone());
                if events.send(connected).await.is_err() {
                    return;
                }
                let mut retry = Retry::NotHere(Duration::ZERO);
                match serve(socket, &events, &mut requests, ping_every, &mut retry).await {
                    Ok(()) => return,
                    Err(why) => (why, retry),
                }
            }
        };
        let pause = reconnect.pause(retry);
        tracing::warn!(why, retry_ms = millis(pause), "no router");
        let lost = ConnectionEvent::Disconnected {
            why,
            retry_at: Some(Instant::now() + pause),
        };
        if events.send(lost).await.is_err() {
            return;
        }
        let waiting = reconnect.wait(pause);
        let waited = while_down(waiting, &mut requests).await;
        if waited.is_none() {
            return;
        }
    }
}

/// Waits while there is no connection; returns `None` when asked to end. Messages are dropped: they
/// would be old when the router is back.
async fn while_down<T>(
    waiting: impl Future<Output = T>,
    requests: &mut mpsc::UnboundedReceiver<ToRouter>,
) -> Option<T> {
    tokio::pin!(waiting);
    loop {
        tokio::select! {
            done = &mut waiting => return Some(done),
            request = requests.recv() => match request {
                None | Some(ToRouter::End) => return None,
                Some(ToRouter::Send(_)) => {}
            },
        }
    }
}

/// Carries messages until it is asked to end, or until the connection is lost: then returns why.
/// Sets what the router asks for the next connection.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: MessageSocket<S, ConsoleToRouter, RouterToConsole>,
    events: &mpsc::Sender<ConnectionEvent>,
    requests: &mut mpsc::UnboundedReceiver<ToRouter>,
    ping_every: Duration,
    retry: &mut Retry,
) -> Result<(), String> {
    let broken = |error: WebSocketError| connection_error(&error);
    let mut ping_clock = PingClock::new(Instant::now());
    let mut outbox = Outbox::default();
    let mut last_traffic = Instant::now();
    let mut seems_dead = false;
    let mut stuck_since: Option<Instant> = None;
    let mut pings = interval(ping_every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while socket.has_room()
            && let Some(message) = outbox.take()
        {
            socket.push(&message).map_err(broken)?;
        }
        stuck_since = match stuck_since {
            _ if socket.has_room() => None,
            None => Some(Instant::now()),
            since => since,
        };
        tokio::select! {
            biased;
            request = requests.recv() => match request {
                Some(ToRouter::Send(message)) => outbox.put(message),
                None | Some(ToRouter::End) => {
                    // The last messages, such as the stop of a driver who quits.
                    while let Some(message) = outbox.take() {
                        if socket.push(&message).is_err() {
                            return Ok(());
                        }
                    }
                    socket.close_with(None, "bye", FAREWELL).await;
                    return Ok(());
                }
            },
            // Before incoming messages: under a steady flood of them no ping would be sent, and the
            // round trip, which limits driving, would be an old one.
            _ = pings.tick() => {
                let silence = last_traffic.elapsed();
                // After this program was stopped for a while, messages may still wait to be read.
                if silence > DEAD && !std::mem::replace(&mut seems_dead, true) {
                    continue;
                }
                if silence > DEAD {
                    return Err(format!("the router was silent for {} s", silence.as_secs()));
                }
                if stuck_since.is_some_and(|since| since.elapsed() > WRITE) {
                    return Err("nothing goes out to the router any more".to_owned());
                }
                if socket.has_room() {
                    socket
                        .push_ping(ping_clock.payload(Instant::now()))
                        .map_err(broken)?;
                    if events.send(ConnectionEvent::Pinged).await.is_err() {
                        return Ok(());
                    }
                }
            }
            event = socket.event() => {
                (last_traffic, seems_dead) = (Instant::now(), false);
                match event {
                    Ok(SocketEvent::Message(message)) => {
                        if let RouterToConsole::GoAway {
                            reconnect_after_ms,
                            elsewhere,
                        } = message
                        {
                            *retry = Retry::go_away(reconnect_after_ms, elsewhere);
                        }
                        let message = ConnectionEvent::Message(Box::new(message));
                        if events.send(message).await.is_err() {
                            return Ok(());
                        }
                    }
                    Ok(SocketEvent::Pong(payload)) => {
                        if let Some(rtt) = ping_clock.round_trip(&payload, Instant::now())
                            && events.send(ConnectionEvent::Ponged(rtt)).await.is_err()
                        {
                            return Ok(());
                        }
                    }
                    Ok(SocketEvent::Writable | SocketEvent::Ping) => {}
                    Ok(SocketEvent::Closed(why)) => return Err(closed_connection(&why)),
                    Err(error) => return Err(broken(error)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use p2p_shared::{backoff, timing};

    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    #[test]
    fn who_has_no_key_or_has_to_wait_does_not_dial_again_at_once() {
        let router = || RouterAddress {
            host: "router".to_owned(),
            port: 8888,
        };
        let no_key = DialError::NoKey(router());
        assert_eq!(no_key.least_pause(), backoff::DENIED);
        for retry_after in [None, Some(Duration::from_secs(10))] {
            let busy = DialError::Refused(router(), "close one".to_owned(), retry_after);
            assert_eq!(busy.least_pause(), retry_after.unwrap_or_default());
        }
    }

    #[tokio::test]
    async fn a_router_that_says_it_goes_away_for_ever_is_dialled_again() {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        let mut router: MessageSocket<_, RouterToConsole, ConsoleToRouter> =
            MessageSocket::new(far);
        let reconnect_after_ms = u64::MAX;
        router
            .push(&RouterToConsole::GoAway {
                reconnect_after_ms,
                elsewhere: false,
            })
            .unwrap();
        let (events, _told) = mpsc::channel(64);
        let (_requests, mut requests) = mpsc::unbounded_channel();
        let every = Duration::from_secs(2);
        let mut retry = Retry::NotHere(Duration::ZERO);
        let near = MessageSocket::new(near);
        let served = serve(near, &events, &mut requests, every, &mut retry);
        let closed = router.close_with(None, "", Duration::from_secs(1));
        let (ended, _) = tokio::join!(served, closed);
        assert!(ended.is_err());
        assert_eq!(retry, Retry::Here(timing::DRAIN));
    }

    #[tokio::test]
    async fn pings_go_out_under_a_steady_flood() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        // The answers are read, or both sides would block.
        let mut answers = far.try_clone().unwrap();
        std::thread::spawn(move || while answers.read(&mut [0; 65536]).is_ok_and(|n| n > 0) {});
        // WebSocket pings, the shortest there is: faster to write than to read.
        std::thread::spawn(move || while far.write_all(&[0x89, 0].repeat(32768)).is_ok() {});

        near.set_nonblocking(true).unwrap();
        let near = tokio::net::TcpStream::from_std(near).unwrap();
        let socket =
            MessageSocket::new(WebSocketStream::from_raw_socket(near, Role::Client, None).await);
        let (events, mut told) = mpsc::channel(64);
        let (_requests, mut requests) = mpsc::unbounded_channel();
        let every = Duration::from_millis(50);
        let mut retry = Retry::NotHere(Duration::ZERO);
        let served = serve(socket, &events, &mut requests, every, &mut retry);
        let _ = tokio::time::timeout(Duration::from_secs(1), served).await;
        let mut pings = 0;
        while let Ok(event) = told.try_recv() {
            pings += u32::from(matches!(event, ConnectionEvent::Pinged));
        }
        assert!(pings >= 5, "{pings}");
    }
}

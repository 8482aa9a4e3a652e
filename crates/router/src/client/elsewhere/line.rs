//! Owns a console's connection to another router of the mesh, where it is what it would be if the console had
//! come there itself: the same key, judged there. What the console asks for is passed on once, or not at all.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use p2p_shared::bounded::Text;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{ADMIN_PATH, ConsoleToRouter, RouterToConsole, SUBPROTOCOL, SessionId};
use p2p_shared::text::Escaped;
use p2p_shared::timing;
use p2p_shared::websocket::{MessageSocket, ReadAhead, SocketEvent, WebSocketError};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use super::orders::Orders;
use crate::client::client_socket::FAREWELL;
use crate::context::Context;
use crate::link::end::closed_by;
use crate::mesh::Member;
use crate::mesh::hop::headers::{MAIN_PORT, PassedOn};
use crate::mesh::hop::{self, Exchange, Passed, Upload};
use crate::net::client_net::QuotaOwner;
use crate::net::write_timeout::WriteTimeout;

/// Most messages that wait for the console.
const HEARD: usize = 64;
/// Why a key gets no further line.
pub(crate) const TOO_MANY_LINES: &str =
    "this key has as many consoles at other routers as there may be for the limit of open files";
/// Most bytes of another router's refusal.
const REFUSAL: usize = 1024;

type Socket = MessageSocket<ReadAhead<WriteTimeout<Transport>>, ConsoleToRouter, RouterToConsole>;

/// Who asks: the same at each router.
pub(crate) struct Origin {
    pub context: Arc<Context>,
    /// The console's session here.
    pub session: SessionId,
    pub caller: SocketAddr,
    pub owner: QuotaOwner,
    /// The header with the console's key, or with the cookie of a page, for the other routers to judge.
    pub credential: Option<(HeaderName, HeaderValue)>,
    /// True if it came over TLS, upon which the cookie's name depends.
    pub is_tls: bool,
    pub software: Text,
    pub readonly: bool,
}

/// A message from another router over a line, or the line's end.
#[derive(Debug)]
pub(super) enum LineEvent {
    Message(Box<RouterToConsole>),
    /// The last.
    Ended(LineEnd),
}

/// Why a line has ended, or was not made.
#[derive(Debug)]
pub(super) struct LineEnd {
    pub why: String,
    /// True if the other router does not want this console.
    pub is_refused: bool,
}

impl LineEnd {
    pub(super) fn lost(why: impl Into<String>) -> Self {
        let why = why.into();
        let is_refused = false;
        Self { why, is_refused }
    }
}

impl From<WebSocketError> for LineEnd {
    fn from(error: WebSocketError) -> Self {
        Self::lost(error.to_string())
    }
}

/// A line that is there, or is being made. Dropping it says goodbye: the session there ends, and gives back the
/// control that it had.
#[derive(Debug)]
pub(super) struct Line {
    orders: Arc<Orders>,
    pub heard: mpsc::Receiver<LineEvent>,
}

impl Line {
    pub(super) fn begin(origin: Arc<Origin>, to: Member) -> Self {
        let orders = Arc::<Orders>::default();
        let asked = orders.clone();
        let (hears, heard) = mpsc::channel(HEARD);
        let shutdown = origin.context.shutdown.clone();
        shutdown.spawn(async move {
            let end = run(&origin, &to, &asked, &hears).await;
            // Whoever has dropped the line does not ask why.
            let _ = hears.send(LineEvent::Ended(end)).await;
        });
        Self { orders, heard }
    }

    /// Orders to be sent.
    pub(super) fn orders(&self) -> &Orders {
        &self.orders
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.orders.close();
    }
}

async fn run(
    origin: &Origin,
    to: &Member,
    asked: &Orders,
    hears: &mpsc::Sender<LineEvent>,
) -> LineEnd {
    let Some(_permit) = origin.context.quotas.lines.take(origin.owner) else {
        return LineEnd {
            why: TOO_MANY_LINES.to_owned(),
            is_refused: true,
        };
    };
    let connected = tokio::select! {
        connected = connect(origin, to) => connected,
        () = hears.closed() => return LineEnd::lost(""),
    };
    let (mut socket, exchange) = match connected {
        Ok(connected) => connected,
        Err(end) => return end,
    };
    let passing = pass(&mut socket, asked, hears);
    let end = match exchange.silent.run_until_cancelled(passing).await {
        Some(Ok(())) => {
            socket.close_with(None, "bye", FAREWELL).await;
            LineEnd::lost("")
        }
        Some(Err(end)) => end,
        None => LineEnd::lost("it says nothing"),
    };
    drop(exchange);
    end
}

/// Asks for what a console asks for, and says hello.
async fn connect(origin: &Origin, to: &Member) -> Result<(Socket, Exchange), LineEnd> {
    let Some(hops) = &origin.context.hops else {
        return Err(LineEnd::lost("there is no mesh"));
    };
    let passed_on = PassedOn {
        name: None,
        port: MAIN_PORT,
        caller: origin.caller,
        run: origin.context.next_run(),
        begun: timing::now(),
        is_tls: origin.is_tls,
        is_over: false,
    };
    let upload = Arc::new(Upload::empty());
    let request = request(origin, to);
    let passing = hops.pass_on(to, &passed_on, &request, &upload);
    let (mut response, exchange) = match passing.await {
        Passed::Answer(response, exchange) => (response, exchange),
        Passed::Unreachable(why) => return Err(LineEnd::lost(why.to_string())),
        Passed::NotThere | Passed::OtherName => {
            return Err(LineEnd::lost("it is of an older version"));
        }
        Passed::NotAgain | Passed::Lost => return Err(LineEnd::lost("the connection was lost")),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(response).await);
    }
    let upgraded = hyper::upgrade::on(&mut response).await;
    let (stream, read) = (upgraded.ok().and_then(hop::downcast))
        .ok_or_else(|| LineEnd::lost("the connection was lost"))?;
    let mut socket = Socket::asked(WriteTimeout::new(stream), read).await;
    socket.push(&ConsoleToRouter::Hello {
        software: origin.software.clone(),
        readonly: origin.readonly,
    })?;
    Ok((socket, exchange))
}

fn request(origin: &Origin, to: &Member) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = hyper::Uri::from_static(ADMIN_PATH);
    let headers = request.headers_mut();
    headers.extend(HeaderValue::try_from(to.address.to_string()).map(|host| (header::HOST, host)));
    for (name, value) in [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let key = HeaderValue::try_from(generate_key());
    headers.extend(key.map(|key| (header::SEC_WEBSOCKET_KEY, key)));
    headers.extend(origin.credential.clone());
    request
}

async fn refused(response: Response<Incoming>) -> LineEnd {
    let status = response.status();
    let body = Limited::new(response.into_body(), REFUSAL).collect().await;
    let body = body.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
    let sentence = Escaped(&String::from_utf8_lossy(&body)).to_string();
    LineEnd {
        why: format!("it refuses this console ({status}): {}", sentence.trim()),
        is_refused: status.is_client_error(),
    }
}

/// Passes messages both ways until the console has no more to say. What it asks for is sent also while it reads
/// nothing.
async fn pass(
    socket: &mut Socket,
    asked: &Orders,
    hears: &mpsc::Sender<LineEvent>,
) -> Result<(), LineEnd> {
    let mut waits = None;
    loop {
        let has_room = socket.has_room();
        tokio::select! {
            biased;
            asked = asked.next(has_room) => match asked {
                Some(message) => socket.push(&message)?,
                None => return Ok(()),
            },
            Ok(place) = hears.reserve(), if waits.is_some() => {
                if let Some(message) = waits.take() {
                    place.send(message);
                }
            }
            event = event(socket, waits.is_none()) => match event? {
                SocketEvent::Message(RouterToConsole::GoAway { .. }) => {
                    return Err(LineEnd::lost("it is going down"));
                }
                SocketEvent::Message(message) => {
                    let sent = hears.try_send(LineEvent::Message(Box::new(message)));
                    waits = sent.err().map(TrySendError::into_inner);
                }
                SocketEvent::Closed(reason) => {
                    return Err(LineEnd::lost(closed_by("router", &reason)));
                }
                SocketEvent::Ping | SocketEvent::Pong(_) | SocketEvent::Writable => {}
            },
        }
    }
}

/// The next event, if one may come; what is to be sent is sent in any case.
async fn event(
    socket: &mut Socket,
    may_come: bool,
) -> Result<SocketEvent<RouterToConsole>, WebSocketError> {
    if may_come {
        return socket.event().await;
    }
    socket.flush().await?;
    std::future::pending().await
}

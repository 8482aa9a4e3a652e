//! An inner and a router that speak the protocol by hand, and so can break it.

use std::net::Ipv4Addr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use p2p_shared::codec::{decode, encode};
use p2p_shared::key::Key;
use p2p_shared::names::{InstanceId, RunId};
use p2p_shared::net::dialer::{self, DialError, RouterAddress};
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::{
    InnerToRouter, LINK_PATH, LinkHello, Rejection, RouterToInner, RunRequest, SUBPROTOCOL,
};
use p2p_shared::websocket;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::soon;

/// One end of a WebSocket.
pub struct WebSocketPeer(pub WebSocketStream<Transport>);

impl WebSocketPeer {
    /// Sends a message.
    pub async fn send(&mut self, message: &impl Serialize) {
        self.send_frame(Message::Binary(encode(message).unwrap()))
            .await;
    }

    /// Sends anything.
    pub async fn send_frame(&mut self, message: Message) {
        soon("a message is sent", self.0.send(message))
            .await
            .unwrap();
    }

    /// Sends anything to a peer that may have had enough.
    pub async fn try_send(&mut self, message: Message) {
        let _ = soon("a message is sent", self.0.send(message)).await;
    }

    /// The next message, or `None` when there is no connection any more. Answers pings.
    pub async fn receive<M: DeserializeOwned>(&mut self) -> Option<M> {
        loop {
            match soon("a message", self.0.next()).await?.ok()? {
                Message::Binary(bytes) => return Some(decode(&bytes).unwrap()),
                Message::Close(_) => return None,
                Message::Ping(_) => self.0.flush().await.ok()?,
                _ => {}
            }
        }
    }

    /// Answers pings for as long as this is waited for.
    pub async fn stay(&mut self) {
        while let Some(Ok(_)) = self.0.next().await {
            let _ = self.0.flush().await;
        }
    }
}

/// An inner by hand.
pub struct FakeInner(pub WebSocketPeer);

pub fn hello(identity: &str, service_port: u16) -> LinkHello {
    LinkHello {
        name: "fake".parse().unwrap(),
        service_port,
        identity: identity.parse().unwrap(),
        instance: InstanceId(p2p_shared::os::random_u64().unwrap()),
        clock_ms: 0,
        software: "a test".into(),
        motion: super::motion(),
        camera: false,
        dial: 0,
        past: false,
    }
}

pub async fn dial(main_port: u16, key: Option<&Key>) -> Result<FakeInner, DialError> {
    let router = RouterAddress {
        host: Ipv4Addr::LOCALHOST.to_string(),
        port: main_port,
    };
    let socket = dialer::dial(None, &router, LINK_PATH, key, true).await?;
    Ok(FakeInner(WebSocketPeer(socket)))
}

impl FakeInner {
    /// An inner that was upgraded and has said nothing.
    pub async fn silent(main_port: u16) -> Self {
        dial(main_port, None).await.unwrap()
    }

    /// An inner that has said this hello.
    pub async fn greeting(main_port: u16, hello: &LinkHello) -> Self {
        let mut inner = Self::silent(main_port).await;
        inner.send(InnerToRouter::Hello(hello.clone())).await;
        inner
    }

    /// An inner with this key whose link is up, and its service port.
    pub async fn with_key(main_port: u16, key: &Key) -> (Self, u16) {
        let mut inner = dial(main_port, Some(key)).await.unwrap();
        inner.send(InnerToRouter::Hello(hello("any", 0))).await;
        let (_, port) = inner.is_welcomed().await;
        (inner, port)
    }

    /// An inner that is welcome, and its service port.
    pub async fn welcome(main_port: u16) -> (Self, u16) {
        let identity = format!("{:x}", p2p_shared::os::random_u64().unwrap());
        let mut inner = Self::greeting(main_port, &hello(&identity, 0)).await;
        let (_, port) = inner.is_welcomed().await;
        (inner, port)
    }

    pub async fn send(&mut self, message: InnerToRouter) {
        self.0.send(&message).await;
    }

    pub async fn receive(&mut self) -> Option<RouterToInner> {
        self.0.receive().await
    }

    /// Its name and service port.
    pub async fn is_welcomed(&mut self) -> (String, u16) {
        match self.receive().await {
            Some(RouterToInner::Welcome {
                name, service_port, ..
            }) => (name.to_string(), service_port),
            other => panic!("no welcome: {other:?}"),
        }
    }

    /// Of which kind the router's refusal is, and its sentence.
    pub async fn is_rejected(&mut self) -> (Rejection, String) {
        loop {
            match self.receive().await {
                Some(RouterToInner::Rejected { rejection, message }) => {
                    return (rejection, message.raw().to_owned());
                }
                Some(_) => {}
                None => panic!("closed without a word"),
            }
        }
    }

    /// The next run that the router asks for.
    pub async fn is_asked_to_run(&mut self) -> RunRequest {
        loop {
            match self.receive().await {
                Some(RouterToInner::Run(request)) => return request,
                Some(_) => {}
                None => panic!("closed instead of a run"),
            }
        }
    }

    /// Takes what waits for it, up to the cancel of a run.
    pub async fn receives_cancel(&mut self) -> RunId {
        loop {
            match self.receive().await {
                Some(RouterToInner::Cancel { run }) => return run,
                Some(RouterToInner::Run(request)) => panic!("asked to run {request:?}"),
                Some(_) => {}
                None => panic!("closed instead of a cancel"),
            }
        }
    }

    pub async fn starts(&mut self, run: RunId) {
        self.send(InnerToRouter::Started { run }).await;
    }

    pub async fn prints(&mut self, run: RunId, bytes: impl Into<Bytes>) {
        let bytes = bytes.into().try_into().unwrap();
        self.send(InnerToRouter::Output { run, bytes }).await;
    }

    pub async fn finishes(&mut self, run: RunId) {
        self.send(finished(run)).await;
    }
}

/// The end of a run with exit code 0.
pub fn finished(run: RunId) -> InnerToRouter {
    InnerToRouter::Finished {
        run,
        end: p2p_shared::protocol::End::Exit(0),
        exec_us: 1,
        stderr: Default::default(),
    }
}

/// A router by hand.
pub struct FakeRouter {
    listener: TcpListener,
    pub port: u16,
    /// What it calls its version of the protocol.
    pub subprotocol: &'static str,
}

impl FakeRouter {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self {
            port: listener.local_addr().unwrap().port(),
            listener,
            subprotocol: SUBPROTOCOL,
        }
    }

    pub fn address(&self) -> RouterAddress {
        RouterAddress {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: self.port,
        }
    }

    /// The next connection, which has said nothing.
    pub async fn connection(&self) -> TcpStream {
        soon("a connection", self.listener.accept())
            .await
            .unwrap()
            .0
    }

    /// Answers the next request with these bytes, and closes.
    pub async fn answers(&self, answer: &str) {
        let mut connection = BufReader::new(self.connection().await);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            let reading = soon("a request", connection.read_line(&mut line));
            assert_ne!(reading.await.unwrap(), 0, "closed instead of a request");
        }
        connection.write_all(answer.as_bytes()).await.unwrap();
    }

    /// The next inner: upgraded, its hello heard, not welcomed.
    pub async fn inner(&self) -> (WebSocketPeer, LinkHello) {
        let mut peer = self.upgraded().await;
        match peer.receive().await {
            Some(InnerToRouter::Hello(hello)) => (peer, hello),
            other => panic!("no hello: {other:?}"),
        }
    }

    pub async fn upgraded(&self) -> WebSocketPeer {
        let stream = self.connection().await;
        let _ = stream.set_nodelay(true);
        let stream = Transport::Plain(stream);
        let version = HeaderValue::from_static(self.subprotocol);
        #[expect(clippy::result_large_err, reason = "tungstenite's own type")]
        let answer = |_: &Request, mut response: Response| {
            response
                .headers_mut()
                .insert("sec-websocket-protocol", version);
            Ok(response)
        };
        let limits = Some(websocket::limits());
        let upgrade = tokio_tungstenite::accept_hdr_async_with_config(stream, answer, limits);
        WebSocketPeer(soon("an upgrade", upgrade).await.unwrap())
    }

    /// The next inner, welcomed.
    pub async fn link(&self) -> WebSocketPeer {
        let (mut peer, hello) = self.inner().await;
        peer.send(&RouterToInner::Welcome {
            name: hello.name,
            service_port: 9000,
            media: None,
            host: None,
        })
        .await;
        peer
    }
}

/// A run that its inner has time for.
pub fn run_request(number: u64, command: &str) -> RunRequest {
    RunRequest {
        run: RunId::from_number(number),
        command: command.parse().unwrap(),
        arguments: Default::default(),
        deadline_ms: u64::MAX,
        remote_addr: "192.0.2.1".into(),
        by: None,
        stdin_bytes: 0,
        for_ms: None,
    }
}

//! A drive page by hand.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderName;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::soon;

/// A page that is connected.
pub struct FakePage {
    pub socket: WebSocketStream<TcpStream>,
    /// What came while something else was waited for.
    kept: VecDeque<Value>,
}

impl FakePage {
    pub async fn open(port: u16) -> Self {
        Self::with(port, &[]).await.unwrap()
    }

    /// With these headers; else the status with which it was refused.
    pub async fn with(port: u16, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let mut request = format!("ws://127.0.0.1:{port}/drive")
            .into_client_request()
            .unwrap();
        let all = request.headers_mut();
        all.insert("sec-websocket-protocol", "p2p.v1".parse().unwrap());
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            all.insert(name, value.parse().unwrap());
        }
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        let dialling = tokio_tungstenite::client_async(request, stream);
        match soon("an answer", dialling).await {
            Ok((socket, _)) => Ok(Self {
                socket,
                kept: VecDeque::new(),
            }),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn sends(&mut self, message: Value) {
        self.sends_frame(Message::text(message.to_string())).await;
    }

    /// Anything, to a router that may have had enough.
    pub async fn sends_frame(&mut self, message: Message) {
        let _ = soon("a message is sent", self.socket.send(message)).await;
    }

    /// The next message, or `None` when there is no connection any more. Answers pings.
    pub async fn receive(&mut self) -> Option<Value> {
        loop {
            match soon("a message", self.socket.next()).await?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
                Message::Close(_) => return None,
                Message::Ping(_) => self.socket.flush().await.ok()?,
                other => panic!("no message of a page: {other:?}"),
            }
        }
    }

    /// What the first message of this kind says that came or comes. The others are kept.
    pub async fn receives(&mut self, kind: &str) -> Value {
        let of_kind = |message: &Value| match message {
            Value::String(name) if name == kind => Some(Value::Null),
            message => message.get(kind).cloned(),
        };
        for at in 0..self.kept.len() {
            if let Some(said) = of_kind(&self.kept[at]) {
                self.kept.remove(at);
                return said;
            }
        }
        loop {
            let message = self.receive().await.expect("closed instead of an answer");
            if let Some(said) = of_kind(&message) {
                return said;
            }
            self.kept.push_back(message);
        }
    }

    /// All that came until the router answers a probe, which it does in order.
    pub async fn received(&mut self) -> Vec<Value> {
        self.sends(json!({ "probe": 77 })).await;
        assert_eq!(self.receives("probe").await, 77);
        self.kept.drain(..).collect()
    }

    /// Takes control that is free; its epoch.
    pub async fn takes(&mut self) -> u64 {
        let session = self.receives("car").await["session"].clone();
        self.sends(json!({ "control": "take" })).await;
        loop {
            let control = self.receives("control").await;
            if control["driver"]["session"] == session {
                return control["epoch"].as_u64().unwrap();
            }
        }
    }

    pub async fn presses(&mut self, epoch: u64, number: u64, command: &str, tick: u64) {
        let press = json!({ "epoch": epoch, "number": number });
        self.sends(json!({ "press": { "press": press, "command": command, "tick_ms": tick } }))
            .await;
    }

    /// Waits until the router has closed; what it said last.
    pub async fn is_closed(&mut self) -> Option<Value> {
        let mut last = None;
        while let Some(message) = self.receive().await {
            last = Some(message);
        }
        last
    }
}

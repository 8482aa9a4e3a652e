//! What the tests of the camera have in common: pictures, programs that write them, and viewers.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use p2p_inner::{Config, Inner};
use p2p_shared::key::Key;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::common::{World, inner_config, local, request, send, soon};

/// A picture by the markers, with so many bytes of what would be coded in it.
pub(crate) fn jpeg(number: u8, coded: usize) -> Vec<u8> {
    let mut jpeg = b"\xff\xd8\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0".to_vec();
    // A comment that looks like an end.
    jpeg.extend_from_slice(b"\xff\xfe\x00\x05\xff\xd9");
    jpeg.push(number);
    jpeg.extend_from_slice(b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00");
    jpeg.extend(vec![number & 0x7f; coded]);
    jpeg.extend_from_slice(b"\xff\x00\xff\xd0\xff\xd9");
    jpeg
}

/// The number of a picture, if it is one of ours and whole.
pub(crate) fn number(picture: &[u8]) -> u8 {
    let number = picture[26];
    let coded = picture.len() - jpeg(0, 0).len();
    assert!(
        picture == jpeg(number, coded),
        "picture {number} is not whole"
    );
    number
}

/// A camera in the shell, of pictures in a folder, and what it leaves there.
pub(crate) struct Camera<'a>(pub &'a World);

impl Camera<'_> {
    /// Pictures of these sizes, each with its number.
    pub(crate) fn pictures(&self, sizes: &[usize]) {
        for (number, size) in (0..).zip(sizes) {
            let name = format!("{number}.jpg");
            fs::write(self.0.note(&name), jpeg(number, *size)).unwrap();
        }
    }

    /// An inner whose camera is this script. It finds itself in the folder of the notes, and has
    /// written its number to `pid`.
    pub(crate) fn config(&self, script: &str) -> Config {
        config_of(inner_config(self.0), self.0.folder.path(), script)
    }

    pub(crate) async fn inner(&self, script: &str) -> (Inner, u16) {
        self.0.inner_with(self.config(script)).await
    }

    /// How often it was started.
    pub(crate) fn starts(&self) -> usize {
        let starts = fs::read_to_string(self.0.note("starts")).unwrap_or_default();
        starts.lines().count()
    }
}

pub(crate) fn config_of(config: Config, folder: &Path, script: &str) -> Config {
    let script = format!(
        "cd '{}'; echo $$ > pid.new; mv pid.new pid; echo >> starts; {script}",
        folder.display()
    );
    Config {
        camera: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), script]),
        ..config
    }
}

/// All pictures, one after the other, as long as there is the folder.
pub(crate) const SHOWS: &str =
    "while [ -e pid ]; do for file in *.jpg; do cat $file; sleep 0.02; done; done";

/// A page that watches.
pub(crate) struct Page(pub WebSocketStream<TcpStream>);

/// What a page is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    /// When it was captured, and the JPEG.
    ConsoleSnapshot(u64, Vec<u8>),
    /// How the camera is.
    Camera(String),
    /// It was closed, with this code and reason, or lost.
    Closed(u16, String),
}

impl Page {
    pub(crate) async fn open(port: u16, key: Option<&Key>) -> Self {
        Self::try_open(port, key, &[]).await.unwrap()
    }

    /// One with these headers; the status if it is refused.
    pub(crate) async fn try_open(
        port: u16,
        key: Option<&Key>,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let stream = TcpStream::connect(local(port)).await.unwrap();
        let mut request = "ws://car.test/frames".into_client_request().unwrap();
        if let Some(key) = key {
            let bearer = HeaderValue::try_from(format!("Bearer {}", key.expose())).unwrap();
            request.headers_mut().insert("authorization", bearer);
        }
        for (name, value) in headers {
            let value = HeaderValue::try_from(*value).unwrap();
            request.headers_mut().insert(*name, value);
        }
        let opening = tokio_tungstenite::client_async(request, stream);
        match soon("a page is answered", opening).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, word: &str) {
        // It may have had enough of us.
        let _ = soon("a word", self.0.send(Message::text(word.to_owned()))).await;
    }

    /// What comes next.
    pub(crate) async fn receive(&mut self) -> Sent {
        loop {
            match soon("the page is told", self.0.next()).await {
                Some(Ok(Message::Binary(bytes))) => {
                    let (time, jpeg) = bytes.split_first_chunk().unwrap();
                    return Sent::ConsoleSnapshot(u64::from_be_bytes(*time), jpeg.to_vec());
                }
                Some(Ok(Message::Text(text))) => return Sent::Camera(text.to_string()),
                Some(Ok(Message::Close(frame))) => {
                    let frame = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                    let (code, reason) = frame.unwrap_or_default();
                    return Sent::Closed(code, reason);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Sent::Closed(0, String::new()),
            }
        }
    }

    /// Asks for a picture, and waits for one, whatever is said before it.
    pub(crate) async fn picture(&mut self) -> (u64, Vec<u8>) {
        self.send("next").await;
        loop {
            match self.receive().await {
                Sent::ConsoleSnapshot(time, jpeg) => return (time, jpeg),
                Sent::Camera(_) => {}
                Sent::Closed(..) => panic!("closed instead of a picture"),
            }
        }
    }

    /// Waits until it is told something with this in it.
    pub(crate) async fn receives_send_event(&mut self, what: &str) -> String {
        loop {
            match self.receive().await {
                Sent::Camera(said) if said.contains(what) => return said,
                Sent::Camera(_) | Sent::ConsoleSnapshot(..) => {}
                Sent::Closed(..) => panic!("closed instead of {what}"),
            }
        }
    }

    pub(crate) async fn is_closed(&mut self) -> (u16, String) {
        loop {
            if let Sent::Closed(code, reason) = self.receive().await {
                return (code, reason);
            }
        }
    }
}

/// Somebody who reads `GET /video`.
pub(crate) struct Video {
    body: Incoming,
    read: Vec<u8>,
    pub(crate) boundary: String,
}

impl Video {
    pub(crate) async fn open(port: u16) -> Self {
        let request = request("GET", "/video").body(http_body_util::Full::default());
        let response = send(port, request.unwrap()).await;
        Self::of(response)
    }

    pub(crate) fn of(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), 200);
        let kind = response.headers()["content-type"].to_str().unwrap();
        let boundary = kind.strip_prefix("multipart/x-mixed-replace; boundary=");
        let boundary = boundary.unwrap().to_owned();
        assert_eq!(boundary.len(), 20);
        let headers = response.headers();
        assert_eq!(headers["x-accel-buffering"], "no");
        assert!(
            headers["content-security-policy"]
                .to_str()
                .unwrap()
                .starts_with("sandbox;")
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self {
            body: response.into_body(),
            read: Vec::new(),
            boundary,
        }
    }

    /// The next picture, whose end is told by what comes behind it; `None`: there is none.
    pub(crate) async fn picture(&mut self) -> Option<(String, Vec<u8>)> {
        let line = format!("--{}\r\n", self.boundary);
        let begin = line.clone() + "Content-Type: image/jpeg\r\nContent-Length: ";
        self.at_least(begin.len() + 60).await?;
        assert!(
            self.read.starts_with(begin.as_bytes()),
            "{}",
            self.read.escape_ascii()
        );
        let end = self.read.windows(4).position(|four| four == b"\r\n\r\n");
        let head = String::from_utf8(self.read.drain(..end.unwrap() + 4).collect()).unwrap();
        let value = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().to_owned()
        };
        let length: usize = value("Content-Length: ").parse().unwrap();
        self.at_least(length + 2 + line.len()).await?;
        let jpeg = self.read.drain(..length).collect();
        assert_eq!(self.read.drain(..2).collect::<Vec<_>>(), b"\r\n");
        Some((value("X-Timestamp: "), jpeg))
    }

    /// Reads to its end.
    pub(crate) async fn ends(mut self) -> Vec<u8> {
        while self.more().await.is_some() {}
        self.read
    }

    async fn at_least(&mut self, length: usize) -> Option<()> {
        while self.read.len() < length {
            self.more().await?;
        }
        Some(())
    }

    async fn more(&mut self) -> Option<()> {
        let frame = soon("more of a video", self.body.frame()).await?;
        let bytes: Bytes = frame.ok()?.into_data().ok()?;
        self.read.extend_from_slice(&bytes);
        Some(())
    }
}

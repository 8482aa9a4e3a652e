//! A caller that writes bytes, not requests, and sees what exactly comes back: for what an HTTP
//! library would never send, or would hide.

use std::net::Ipv4Addr;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{HttpAnswer, soon};

/// One connection of a caller.
pub struct RawCaller {
    pub stream: TcpStream,
    read: Vec<u8>,
}

/// End of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    Closed,
    Reset,
}

impl RawCaller {
    pub async fn connect(port: u16) -> Self {
        Self::new(
            TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .unwrap(),
        )
    }

    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// A connection on which this was sent.
    pub async fn saying(port: u16, bytes: impl AsRef<[u8]>) -> Self {
        let mut caller = Self::connect(port).await;
        caller.send(bytes).await;
        caller
    }

    /// Sends this, as far as the other end takes it.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = soon("the words are taken", self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends a whole GET and reads its answer.
    pub async fn get(&mut self, target: &str) -> HttpAnswer {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: car\r\n\r\n"))
            .await;
        self.answer().await
    }

    /// Sends nothing more, and goes on reading.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Goes away without a goodbye.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
    }

    /// The next answer, whole or broken.
    pub async fn answer(&mut self) -> HttpAnswer {
        self.try_answer().await.expect("an answer, not the end")
    }

    /// The next answer, if one begins.
    pub async fn try_answer(&mut self) -> Option<HttpAnswer> {
        let head = self.take_until(b"\r\n\r\n").await?;
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap();
        assert!(first.starts_with("HTTP/1."), "{head}");
        let status = StatusCode::from_bytes(&first.as_bytes()[9..12]).unwrap();
        let headers = headers(lines);
        let mut answer = HttpAnswer {
            status,
            headers,
            body: Vec::new().into(),
            trailers: HeaderMap::new(),
            complete: true,
        };
        if answer.header("transfer-encoding") == "chunked" {
            self.chunks(&mut answer).await;
        } else if let Some(length) = answer.headers.get("content-length") {
            let length = length.to_str().unwrap().parse().unwrap();
            while self.read.len() < length && self.more().await.is_ok() {}
            answer.complete = self.read.len() >= length;
            let length = length.min(self.read.len());
            answer.body = self.read.drain(..length).collect::<Vec<_>>().into();
        } else if !status.is_informational() && status != StatusCode::NO_CONTENT {
            let (body, ending) = self.end().await;
            answer.body = body.into();
            answer.complete = ending == ConnectionEnd::Closed;
        }
        Some(answer)
    }

    async fn chunks(&mut self, answer: &mut HttpAnswer) {
        let mut body = Vec::new();
        answer.complete = false;
        while let Some(line) = self.take_until(b"\r\n").await {
            let line = String::from_utf8(line).unwrap();
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            if length == 0 {
                let mut lines = Vec::new();
                while let Some(line) = self.take_until(b"\r\n").await {
                    if line == b"\r\n" {
                        answer.complete = true;
                        break;
                    }
                    lines.push(String::from_utf8(line).unwrap().trim().to_owned());
                }
                answer.trailers = headers(lines.iter().map(String::as_str));
                break;
            }
            while self.read.len() < length + 2 && self.more().await.is_ok() {}
            let length = length.min(self.read.len());
            body.extend(self.read.drain(..length));
            self.read.drain(..self.read.len().min(2));
        }
        answer.body = body.into();
    }

    /// All that comes until the connection's end, and which end that is.
    pub async fn end(&mut self) -> (Vec<u8>, ConnectionEnd) {
        let ending = loop {
            if let Err(ending) = self.more().await {
                break ending;
            }
        };
        (std::mem::take(&mut self.read), ending)
    }

    async fn take_until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(mark.len()).position(|it| it == mark) {
                return Some(self.read.drain(..at + mark.len()).collect());
            }
            self.more().await.ok()?;
        }
    }

    async fn more(&mut self) -> Result<(), ConnectionEnd> {
        match soon("more of an answer", self.stream.read_buf(&mut self.read)).await {
            Ok(0) => Err(ConnectionEnd::Closed),
            Ok(_) => Ok(()),
            Err(_) => Err(ConnectionEnd::Reset),
        }
    }
}

fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (
                HeaderName::try_from(name).unwrap(),
                HeaderValue::try_from(value.trim()).unwrap(),
            )
        })
        .collect()
}

//! One connection to a member: dials it, and sends one request at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use p2p_shared::net::transport::Transport;
use tokio_util::task::AbortOnDropHandle;

use super::SILENT;
use super::handshake::{self, Number};
use super::heard::LastHeard;
use super::stream::{HopStream, Written};
use super::upload::UploadBody;
use super::way::Way;
use crate::mesh::id::Start;
use crate::mesh::{MemberAddress, Mesh};
use crate::ops::shutdown::own;

/// Time for a kept connection to be ready for another request.
const READY: Duration = Duration::from_millis(100);

/// A connection to a member. Dropping it closes it, and ends what runs for it there.
#[derive(Debug)]
pub(super) struct Hop {
    sender: SendRequest<UploadBody>,
    written: Written,
    _task: AbortOnDropHandle<()>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Nothing was written.
    NotSent,
    Lost,
}

impl Hop {
    /// Connects. `heard` notes what comes.
    pub(super) async fn dial(
        mesh: &Mesh,
        start: Start,
        way: &Way,
        heard: Arc<LastHeard>,
    ) -> io::Result<Self> {
        let dialling = dial(mesh, start, way, heard);
        let dialled = tokio::time::timeout(SILENT, dialling).await;
        let dialled =
            dialled.unwrap_or_else(|_| Err(io::Error::other("it did not answer in time")));
        dialled.inspect_err(|_| way.forget())
    }

    /// Returns true if it may take a request, after the one before has ended.
    pub(super) async fn is_usable(&mut self) -> bool {
        self.sender.is_ready() || {
            let ready = tokio::time::timeout(READY, self.sender.ready());
            matches!(ready.await, Ok(Ok(())))
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) async fn send(
        &mut self,
        request: Request<UploadBody>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        self.written.reset();
        let answered = self.sender.try_send_request(request).await;
        answered.map_err(|_| match self.written.is_so() {
            true => NoAnswer::Lost,
            false => NoAnswer::NotSent,
        })
    }
}

async fn dial(mesh: &Mesh, start: Start, way: &Way, heard: Arc<LastHeard>) -> io::Result<Hop> {
    let stream = way.connect().await?;
    let (mut stream, number) = upgrade(&way.address, stream).await?;
    handshake::call(mesh, start, &mut stream, &number).await?;
    let written = Written::default();
    let stream = HopStream {
        stream,
        written: written.clone(),
        heard,
    };
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let task = tokio::spawn(own(async move {
        // Whoever waits for an answer hears of an error.
        let _ = connection.with_upgrades().await;
    }));
    Ok(Hop {
        sender,
        written,
        _task: AbortOnDropHandle::new(task),
    })
}

/// Asks for a connection of members. Returns it with the holder's number.
async fn upgrade(address: &MemberAddress, stream: Transport) -> io::Result<(Transport, Number)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let serving = own(connection.with_upgrades().map(drop));
    let _connection = AbortOnDropHandle::new(tokio::spawn(serving));
    let upgrade = HeaderValue::from_static(handshake::PROTOCOL);
    let request = Request::get(handshake::PATH)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, upgrade)
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .map_err(io::Error::other)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let message = format!(
            "it takes no connection of a member ({}): is it a router of this mesh?",
            response.status()
        );
        return Err(io::Error::other(message));
    }
    let number = response.headers().get(handshake::NUMBER);
    let number = number.and_then(|number| {
        let decoded = data_encoding::HEXLOWER.decode(number.as_bytes()).ok()?;
        Number::try_from(decoded).ok()
    });
    let number = number.ok_or_else(|| io::Error::other("it gave no number"))?;
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(io::Error::other)?;
    let parts = upgraded.downcast::<TokioIo<Transport>>();
    let parts = parts.map_err(|_| io::Error::other("another connection"))?;
    if !parts.read_buf.is_empty() {
        return Err(io::Error::other("it spoke out of turn"));
    }
    Ok((parts.io.into_inner(), number))
}

//! Owns a connection from its first byte to its first request: whether it is TLS, and whether what
//! comes without TLS may ask for anything.

use std::net::IpAddr;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, StatusCode};
use p2p_shared::protocol::LINK_PATH;
use p2p_shared::protocol::console::ADMIN_PATH;
use p2p_shared::protocol::media::MEDIA_PATH;
use p2p_shared::transport::Transport;
use p2p_shared::{socket, timing};
use tokio::net::TcpStream;

use crate::Context;
use crate::access::Access;
use crate::answer::Problem;
use crate::strangers::Visitor;

/// The first byte of every TLS connection: a handshake record (RFC 8446, 5.1). No HTTP method
/// begins with it.
const HANDSHAKE: u8 = 22;

/// The connection, once it is known to be TLS or not; `None` if nothing came of it within
/// [`timing::HELLO`] or it had to go for another, when nothing was asked and nothing is owed.
pub(crate) async fn enter(
    context: &Context,
    visitor: &Visitor,
    stream: TcpStream,
) -> Option<Transport> {
    // What waits unsent is kept out of the kernel, where it would be old when it is read.
    socket::prepare_link(&stream);
    let Some(acceptor) = &context.acceptor else {
        return Some(Transport::Plain(stream));
    };
    let enter = async {
        let mut first = [0];
        stream.peek(&mut first).await?;
        if first == [HANDSHAKE] {
            Ok(Transport::tls(acceptor.accept(stream).await?))
        } else {
            Ok(Transport::Plain(stream))
        }
    };
    let enter = tokio::time::timeout(timing::HELLO, enter);
    let entered: Result<std::io::Result<Transport>, _> =
        visitor.end().run_until_cancelled(enter).await?;
    entered.ok()?.ok()
}

/// Whether what comes from this peer may be a key or a command: nobody on the way can read or
/// change it, or there are no keys anyway. The peer's address decides and never a header, which
/// anybody can write.
pub(crate) fn is_private(access: &Access, peer: IpAddr, is_tls: bool) -> bool {
    is_tls || peer.is_loopback() || matches!(access, Access::Open)
}

/// The answer to one who had to go for another.
pub(crate) fn no_room() -> Problem {
    Problem::retry_after(
        StatusCode::SERVICE_UNAVAILABLE,
        2,
        "too many callers without a key wait here: nothing was run; try again in a moment",
    )
}

/// The answer to one whom anybody on the way can listen to.
pub(crate) fn in_the_clear(request: &Request<Incoming>) -> Problem {
    // However good the key is: to one that is led on by itself, nobody would say that it is known.
    if request.headers().contains_key(header::AUTHORIZATION) {
        let sentence = "this key came without TLS, and anybody on the way may have read it: revoke it, make a new one with `p2p-router key add`, and send that by https:// alone (or update the program that sent this one): nothing was run";
        return Problem::new(StatusCode::FORBIDDEN, sentence);
    }
    if !matches!(request.uri().path(), LINK_PATH | MEDIA_PATH | ADMIN_PATH) {
        return redirect(request);
    }
    let sentence = "this router needs a key: `p2p-router key add` makes one";
    Problem::new(StatusCode::UNAUTHORIZED, sentence)
        .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// Sends a caller to the same address over TLS.
fn redirect(request: &Request<Incoming>) -> Problem {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let path = request.uri().path_and_query();
    let location = host
        .zip(path)
        .and_then(|(host, path)| HeaderValue::try_from(format!("https://{host}{path}")).ok());
    let sentence = "this router speaks https:// only, so that nobody on the way reads the key or changes the command: nothing was run";
    match location {
        Some(location) => {
            Problem::new(StatusCode::PERMANENT_REDIRECT, sentence).with(header::LOCATION, location)
        }
        None => Problem::new(StatusCode::FORBIDDEN, sentence),
    }
}

//! One request that is passed on, from its first byte to the end of its answer. Nothing is sent again once a
//! byte of it was written.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode, Version};
use p2p_shared::names::LinkName;
use p2p_shared::net::transport::Transport;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_util::sync::CancellationToken;

use super::Passed;
use super::connection::{Hop, NoAnswer};
use super::headers::{self, NOT_THERE, OTHER_NAME, PassedOn};
use super::peer::{Peer, Unreachable};
use super::upload::{Upload, UploadBody};

/// Path of a member's own request for pictures, before the port.
pub(crate) const PICTURES_PATH: &str = "/pictures/";

/// A request that is under way. Dropping it before [`end`](Self::end) closes the connection, which
/// ends the run at the holder.
#[derive(Debug)]
pub(crate) struct Exchange {
    hop: Option<Hop>,
    upload: Arc<Upload>,
    /// Cancelled when the member falls silent.
    pub(crate) silent: CancellationToken,
    open: Open,
}

/// Counts a request.
#[derive(Debug)]
struct Open(Arc<Peer>);

impl Open {
    fn new(peer: &Arc<Peer>) -> Self {
        peer.state.lock().open += 1;
        Self(peer.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.state.lock().open -= 1;
    }
}

/// Passes a request on, once.
pub(super) async fn pass_on(
    peer: &Arc<Peer>,
    passed_on: &PassedOn,
    request: &Request<()>,
    upload: &Arc<Upload>,
) -> Passed {
    let open = Open::new(peer);
    let is_urgent = may_be_stop(request);
    let silent = peer.state.lock().silent.clone();
    loop {
        let Some(taken) = silent.run_until_cancelled(peer.take(is_urgent)).await else {
            return Passed::Unreachable(Unreachable::silent());
        };
        let (mut hop, is_new) = match taken {
            Ok(taken) => taken,
            Err(why) => return Passed::Unreachable(why),
        };
        let Some(body) = upload.begin() else {
            return Passed::NotAgain;
        };
        let mut copy = copied(request, body);
        passed_on.write(copy.headers_mut());
        let sending = hop.send(copy);
        match silent.run_until_cancelled(sending).await {
            Some(Ok(response)) if is_not_there(&response) => {
                if upload.is_whole() {
                    peer.put(hop);
                }
                return match response.headers().get(NOT_THERE) == Some(&OTHER_NAME) {
                    true => Passed::OtherName,
                    false => Passed::NotThere,
                };
            }
            Some(Ok(response)) => {
                upload.keep_nothing();
                let exchange = Exchange {
                    hop: Some(hop),
                    upload: upload.clone(),
                    silent,
                    open,
                };
                return Passed::Answer(response, exchange);
            }
            Some(Err(NoAnswer::NotSent)) if is_new => {
                return Passed::Unreachable(peer.not_reached("it closed the connection"));
            }
            // A kept connection that was closed meanwhile: nobody has seen the request.
            Some(Err(NoAnswer::NotSent)) => {}
            // After a silence it may be written even now.
            Some(Err(NoAnswer::Lost)) | None => return Passed::Lost,
        }
    }
}

/// A stream of pictures.
pub(crate) struct Watched {
    pub stream: Transport,
    /// What was read of it already.
    pub read: Vec<u8>,
    /// Cancelled when the member falls silent.
    pub silent: CancellationToken,
    _open: Open,
}

/// Asks for the pictures of a car.
pub(super) async fn watch(peer: &Arc<Peer>, port: u16, name: Option<&LinkName>) -> Option<Watched> {
    let open = Open::new(peer);
    let silent = peer.state.lock().silent.clone();
    let asking = async {
        loop {
            let (mut hop, is_new) = peer.take(false).await.ok()?;
            match hop.send(pictures(port, name)?).await {
                Ok(response) => return Some((hop, response)),
                Err(NoAnswer::NotSent) if !is_new => {}
                Err(_) => return None,
            }
        }
    };
    // Whose task hands the connection over.
    let (_hop, mut response) = silent.run_until_cancelled(asking).await??;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    let upgraded = hyper::upgrade::on(&mut response).await.ok()?;
    let (stream, read) = super::downcast(upgraded)?;
    Some(Watched {
        stream,
        read,
        silent,
        _open: open,
    })
}

/// The request of a member for the pictures of this port's car, as long as it has this name.
fn pictures(port: u16, name: Option<&LinkName>) -> Option<Request<UploadBody>> {
    let mut request = Request::new(Upload::none());
    *request.uri_mut() = format!("{PICTURES_PATH}{port}").parse().ok()?;
    let headers = request.headers_mut();
    for (name, value) in [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let key = HeaderValue::try_from(generate_key()).ok()?;
    headers.insert(header::SEC_WEBSOCKET_KEY, key);
    headers::set_name(headers, name);
    Some(request)
}

/// Returns true for a request that may be the car's stop: only its router knows.
fn may_be_stop(request: &Request<()>) -> bool {
    request.uri().path() == "/cgi"
}

/// The request with this body.
fn copied(request: &Request<()>, body: UploadBody) -> Request<UploadBody> {
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = Version::HTTP_11;
    copy.headers_mut().clone_from(request.headers());
    copy
}

impl Exchange {
    /// Keeps the connection for another request: the answer has come whole.
    pub(crate) fn end(mut self) {
        if let Some(hop) = self.hop.take()
            && self.upload.is_whole()
        {
            self.open.0.put(hop);
        }
    }
}

/// Returns true if the member says that nothing was handed to a link.
fn is_not_there(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::MISDIRECTED_REQUEST
        && response.headers().contains_key(NOT_THERE)
}

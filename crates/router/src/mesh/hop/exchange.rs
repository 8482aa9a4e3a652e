//! One request that is passed on, from its first byte to the end of its answer. Nothing is sent again once a
//! byte of it was written.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, Version};
use tokio_util::sync::CancellationToken;

use super::Passed;
use super::connection::{Hop, NoAnswer};
use super::headers::{NOT_THERE, PassedOn};
use super::peer::{Peer, Unreachable};
use super::upload::{Upload, UploadBody};

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
                return Passed::NotThere;
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

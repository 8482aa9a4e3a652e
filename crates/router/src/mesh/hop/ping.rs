//! Asks each member every second whether it lives. One that is frozen has kept its connections, and would keep
//! callers waiting for ever; one of which the bus brings nothing may live all the same; and one that is gone
//! is to keep nobody waiting. The member learns by the pings that we live.

use std::sync::Arc;

use hyper::{Request, StatusCode, Uri};
use tokio::time::{Instant, timeout_at};

use super::keys::DIGESTS;
use super::peer::Peer;
use super::upload::Upload;
use super::{PING, SILENT};
use crate::mesh::message::KeyDigests;

/// Path of a ping, which is no request of a caller.
pub(crate) const PATH: &str = "/ping";

/// Begins a ping, unless the one before still waits for its answer.
pub(super) fn begin(peer: &Arc<Peer>) {
    if !std::mem::replace(&mut peer.state.lock().is_pinged, true) {
        peer.shutdown.spawn(ping(peer.clone()));
    }
}

async fn ping(peer: Arc<Peer>) {
    let silent = peer.heard() + SILENT;
    let until = silent.max(Instant::now() + PING);
    let lives = timeout_at(until, ask(&peer)).await.unwrap_or(false);
    if lives {
        peer.lives();
    }
    let is_silent = {
        let mut state = peer.state.lock();
        state.is_pinged = false;
        state.open > 0 && peer.heard().elapsed() >= SILENT
    };
    if is_silent {
        peer.fell_silent();
    }
}

/// Returns true if the member answers.
async fn ask(peer: &Arc<Peer>) -> bool {
    let Some(mut hop) = peer.take_for_ping().await else {
        return false;
    };
    let mut request = Request::new(Upload::none());
    *request.uri_mut() = Uri::from_static(PATH);
    let sent = Instant::now();
    let answered = hop.send(request).await;
    let answered = answered.ok();
    let Some(response) = answered.filter(|it| it.status() == StatusCode::NO_CONTENT) else {
        return false;
    };
    peer.state.lock().round_trip = Some(sent.elapsed());
    if let Some(keys) = response.headers().get(DIGESTS)
        && let Some(keys) = keys.to_str().ok().and_then(KeyDigests::from_text)
    {
        peer.told_keys(keys, sent);
    }
    peer.put_for_ping(hop);
    true
}

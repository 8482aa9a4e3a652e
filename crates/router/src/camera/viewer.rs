//! Owns one viewer of a camera, whatever way it watches: it is counted, it has a bound, and its end
//! gives everything back.

use std::sync::Arc;

use hyper::StatusCode;
use p2p_shared::protocol::Picture;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Camera, Status, WatchGuard};
use crate::auth::access::Caller;
use crate::http::response::Problem;
use crate::net::limits;
use crate::net::quota::QuotaPermit;
use crate::routes::service_port::RequestContext;

/// A viewer.
pub(crate) struct Viewer {
    pub camera: Arc<Camera>,
    pub newest: watch::Receiver<Option<Picture>>,
    pub status: watch::Receiver<Status>,
    caller: Caller,
    /// The router goes down, or the port is given up.
    closed: [CancellationToken; 2],
    watching: Option<WatchGuard>,
    viewers: Gauge,
    _permit: QuotaPermit,
}

/// Why a viewer has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    Revoked,
    Closed,
}

impl Viewer {
    /// Somebody who may watch, if there is room for another.
    pub(crate) fn new(asked: &RequestContext<'_>, caller: &Caller) -> Result<Self, Problem> {
        let context = asked.context;
        let permit = context.viewers.take(caller.quota_owner(asked.peer.ip()));
        let permit = permit.ok_or_else(|| {
            context.metrics.over_quota.inc();
            let sentence = format!(
                "this key has {} viewers of cameras open, which is all it may: close one",
                limits::VIEWERS
            );
            Problem::retry_after(StatusCode::TOO_MANY_REQUESTS, 10, sentence)
        })?;
        let camera = asked.service.camera.clone();
        let viewers = context.metrics.viewers.clone();
        viewers.inc();
        Ok(Self {
            watching: Some(camera.watch()),
            newest: camera.newest(),
            status: camera.status(),
            camera,
            caller: caller.clone(),
            closed: [context.closed.clone(), asked.service.closed.clone()],
            viewers,
            _permit: permit,
        })
    }

    /// Whether it looks: a camera that nobody looks at is ended.
    pub(crate) fn looks(&mut self, looks: bool) {
        if looks != self.watching.is_some() {
            self.watching = looks.then(|| self.camera.watch());
        }
    }

    /// Returns once it has to go.
    pub(crate) fn gone(&self) -> impl Future<Output = Gone> + Send + 'static {
        let (caller, [router, port]) = (self.caller.clone(), self.closed.clone());
        async move {
            tokio::select! {
                () = caller.revoked() => Gone::Revoked,
                () = router.cancelled() => Gone::Closed,
                () = port.cancelled() => Gone::Closed,
            }
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.viewers.dec();
    }
}

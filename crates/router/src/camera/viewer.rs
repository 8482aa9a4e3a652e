//! Counts one viewer of a camera, of any kind, within the viewers' quota, until the viewer is dropped.

use std::sync::Arc;

use p2p_shared::protocol::Picture;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Camera, Status, WatchGuard};
use crate::auth::access::{Caller, Revoked};
use crate::net::quota::QuotaPermit;
use crate::ops::metrics::GaugeGuard;

pub(crate) struct Viewer {
    pub camera: Arc<Camera>,
    pub newest: watch::Receiver<Option<Picture>>,
    pub status: watch::Receiver<Status>,
    caller: Caller,
    /// Cancelled when the router goes down or the port is given up.
    closed: CancellationToken,
    watching: Option<WatchGuard>,
    _counted: GaugeGuard,
    _permit: Option<QuotaPermit>,
}

/// Reason why a viewer has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    Revoked(Revoked),
    Closed,
}

impl Viewer {
    /// Makes a viewer of this camera, until `closed` is cancelled. Another router needs no permit: it has one
    /// viewer of each car.
    pub(crate) fn new(
        camera: Arc<Camera>,
        caller: Caller,
        permit: Option<QuotaPermit>,
        viewers: &Gauge,
        closed: CancellationToken,
    ) -> Self {
        Self {
            watching: Some(camera.watch()),
            newest: camera.newest(),
            status: camera.status(),
            camera,
            caller,
            closed,
            _counted: GaugeGuard::new(viewers),
            _permit: permit,
        }
    }

    /// Sets whether the viewer counts: a camera that nobody watches is ended.
    pub(crate) fn set_watching(&mut self, watches: bool) {
        if watches != self.watching.is_some() {
            self.watching = watches.then(|| self.camera.watch());
        }
    }

    /// Waits until the viewer has to go.
    pub(crate) fn gone(&self) -> impl Future<Output = Gone> + Send + 'static {
        let (caller, closed) = (self.caller.clone(), self.closed.clone());
        async move {
            tokio::select! {
                why = caller.revoked() => Gone::Revoked(why),
                () = closed.cancelled() => Gone::Closed,
            }
        }
    }
}

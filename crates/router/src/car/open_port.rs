//! A service port that is open at this router: its socket, which stays open while the port's car goes to
//! another router of the mesh, or comes here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// An open service port.
#[derive(Debug)]
pub(crate) struct OpenPort {
    pub port: u16,
    pub listener: Arc<TcpListener>,
    /// Cancelled when the port closes at this router.
    pub closed: CancellationToken,
    is_served: AtomicBool,
}

impl OpenPort {
    pub(super) fn new(port: u16, listener: TcpListener) -> Arc<Self> {
        Arc::new(Self {
            port,
            listener: Arc::new(listener),
            closed: CancellationToken::new(),
            is_served: AtomicBool::new(false),
        })
    }

    /// Notes that the port is served from now on. Returns false if it was before.
    pub(crate) fn begin_serving(&self) -> bool {
        !self.is_served.swap(true, Ordering::SeqCst)
    }
}

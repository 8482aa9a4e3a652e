//! A service port that is open at this router: its socket, if it has one, which stays open while the port's car goes to
//! another router of the mesh, or comes here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// An open service port.
#[derive(Debug)]
pub(crate) struct OpenPort {
    pub port: u16,
    /// `None` if nothing listens at the port: its car is reached by its name alone.
    pub listener: Option<Arc<TcpListener>>,
    /// Cancelled when the port closes at this router.
    pub closed: CancellationToken,
    is_served: AtomicBool,
}

impl OpenPort {
    pub(super) fn new(port: u16, listener: Option<TcpListener>) -> Arc<Self> {
        Arc::new(Self {
            port,
            listener: listener.map(Arc::new),
            closed: CancellationToken::new(),
            is_served: AtomicBool::new(false),
        })
    }

    /// Returns the socket that is to be served from now on, if there is one that was not served before.
    pub(crate) fn begin_serving(&self) -> Option<Arc<TcpListener>> {
        let listener = self.listener.clone()?;
        (!self.is_served.swap(true, Ordering::SeqCst)).then_some(listener)
    }
}

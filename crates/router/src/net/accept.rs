//! Accepts connections, on the main port and on service ports.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::net::unauthenticated::Unauthenticated;

/// Pause when the system has no descriptors left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Waits for the next connection; returns `None` when this port closes or its socket is handed
/// over.
pub(crate) async fn accept(
    unauthenticated: &Unauthenticated,
    listener: &TcpListener,
    [closed, handing_over]: [&CancellationToken; 2],
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = closed.cancelled() => return None,
            () = handing_over.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // IPv4 callers of a socket for both families are shown with their IPv4 address.
            Ok((stream, peer)) => {
                return Some((
                    stream,
                    SocketAddr::new(peer.ip().to_canonical(), peer.port()),
                ));
            }
            // There are no descriptors left, or the caller has gone already. Connected callers are
            // still served, and each that ends gives a descriptor back.
            Err(error) => {
                if unauthenticated.may_be_logged() {
                    tracing::warn!(%error, "a connection can't be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

//! Connects to another member, with TLS if there is any: all members share their key.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use p2p_shared::net::dialer;
use p2p_shared::net::transport::Transport;
use p2p_shared::net::{socket, tls};
use p2p_shared::timing;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::CONNECT;
use crate::auth::certificate::Certificate;
use crate::mesh::MemberAddress;

/// The way to a member's main port.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) address: Arc<MemberAddress>,
    certificate: Option<Certificate>,
    /// Where it was reached last: its name is looked up only if it is not there any more.
    last: Mutex<Option<SocketAddr>>,
}

impl Way {
    pub(super) fn new(address: Arc<MemberAddress>, certificate: Option<Certificate>) -> Self {
        Self {
            address,
            certificate,
            last: Mutex::default(),
        }
    }

    /// Connects. All members show the same public key, or, while the certificate is changed, one of two; without a
    /// certificate there is no TLS.
    pub(super) async fn connect(&self) -> io::Result<Transport> {
        #[cfg(test)]
        if let Some(dialling) = crate::simulation::process::dial(&self.address) {
            return dialling.await;
        }
        let stream = self.connect_plain().await?;
        let Some(certificate) = &self.certificate else {
            return Ok(Transport::Plain(stream));
        };
        let host = &self.address.0.host;
        let own = certificate.clone();
        let public_keys = spawn_blocking(move || own.public_keys()).await?;
        let public_keys = public_keys.map_err(io::Error::other)?;
        match tls::connect(stream, host, &public_keys).await {
            // One of the two has the authority's next certificate by now, and the other not yet.
            Err(_) if certificate.fingerprint().is_none() => {
                tls::connect(self.connect_plain().await?, host, &[]).await
            }
            Err(error) if tls::explain(&error).is_some() => Err(io::Error::other(
                "its certificate is none of those in tls.pem and tls-next.pem here: all routers of a mesh have the same",
            )),
            connected => connected,
        }
    }

    async fn connect_plain(&self) -> io::Result<TcpStream> {
        let last = *self.last.lock();
        let stream = match last {
            Some(last) => timeout(CONNECT, TcpStream::connect(last)).await.ok(),
            None => None,
        };
        let stream = match stream {
            Some(Ok(stream)) => stream,
            _ => dialer::connect_to(&self.address.0, CONNECT).await?,
        };
        *self.last.lock() = stream.peer_addr().ok();
        socket::prepare_link(&stream);
        socket::set_dead_after(&stream, timing::PACE_BUSY.dead);
        Ok(stream)
    }

    /// Looks the name up the next time: whoever is there is not the member.
    pub(super) fn forget(&self) {
        *self.last.lock() = None;
    }
}

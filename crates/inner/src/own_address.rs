//! Owns noticing that this machine has lost the address from which a link goes out: it has gone over
//! from one network to another. Nothing is heard on such a connection ever again, and nobody says so
//! before the silence has been long enough, which is a minute where nothing happens.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::time::sleep;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// It has to be missing for so long: one that is taken away and given back at once leaves its
/// connections alive.
const MISSING: Duration = Duration::from_millis(250);

/// Waits until this machine has lost this address; for ever, if there is none to lose.
pub(crate) async fn lost(address: Option<SocketAddr>) {
    let Some(address) = address else {
        return std::future::pending().await;
    };
    loop {
        sleep(LOOK).await;
        if !is_ours(address) {
            sleep(MISSING).await;
            if !is_ours(address) {
                return;
            }
        }
    }
}

/// Whether the machine has it: else nothing can be bound to it (bind(2), `EADDRNOTAVAIL`).
fn is_ours(mut address: SocketAddr) -> bool {
    address.set_port(0);
    let bound = UdpSocket::bind(address);
    !bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_of_this_machine_is_its_own_and_one_of_nobodys_is_lost() {
        let long = 100 * LOOK;
        for own in ["127.0.0.1:80", "[::1]:80"] {
            let lost = timeout(long, lost(Some(own.parse().unwrap()))).await;
            // Where there is no IPv6, there is no such address.
            let is_there = UdpSocket::bind(own.replace("80", "0")).is_ok();
            assert_eq!(lost.is_err(), is_there, "{own}");
        }
        assert!(timeout(long, lost(None)).await.is_err());
        // For documentation (RFC 5737).
        let nobodys = lost(Some("192.0.2.1:80".parse().unwrap()));
        assert_eq!(timeout(2 * LOOK, nobodys).await, Ok(()));
    }
}

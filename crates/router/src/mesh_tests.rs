//! Routers of one mesh, with real sockets and real inners: each on an address of loopback of its own.

use std::time::Duration;

mod bad_peers;
mod cameras;
mod claims;
mod consoles;
mod desk;
mod driving;
mod freed_ports;
mod hops;
mod join;
mod keys;
mod moves;
mod names;
mod other_consoles;
mod shared_keys;
mod ways;
mod world;

/// How long a test waits for what must happen: longer than any machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("it never came: {what}"))
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    soon(what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

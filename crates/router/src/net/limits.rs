//! Owns how much of everything there may be, each number with its reason, and what the system
//! allows this process.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Most callers that have shown no key yet, on all ports: at worst 64 KiB of a hello that does not
/// end is kept of each (rustls' bound), 32 MiB in all (`benches/strangers`). nginx has 512
/// connections a worker.
pub(crate) const UNAUTHENTICATED: usize = 512;
/// The same from one address: room for a class room behind one NAT that comes back at once.
pub const UNAUTHENTICATED_OF_ONE: usize = 256;

/// After a wrong key, others from the same address are put off for so long, doubling
pub(crate) const WRONG_KEY_PAUSE: Duration = Duration::from_secs(1);
/// up to so long: an inner whose key is refused asks once in this time.
pub(crate) const WRONG_KEY_LONGEST: Duration = Duration::from_secs(60);
/// So long after the end of its pause an address is as good as any other.
pub(crate) const WRONG_KEY_FORGOTTEN: Duration = Duration::from_secs(300);
/// Most addresses of wrong keys that are remembered.
pub(crate) const WRONG_KEY_NETS: usize = 1024;

/// Lines in the log that anybody can cause, in a second: 20 MB a day at worst.
pub(crate) const LOG_LINES_OF_STRANGERS: f64 = 1.0;

/// Most service ports of one key, unless `--max-links` says otherwise: a fleet, and far from all
/// the ports there are.
pub const LINKS: usize = 256;
/// Most consoles of one key: a class with one key, twice.
pub const CONSOLES: usize = 64;
/// Most viewers of cameras of one key: as many.
pub const VIEWERS: usize = 64;
/// Most runs of one key that are waited for: half of what one link takes, so that nobody has a
/// car to himself.
pub const RUNS: usize = 512;
/// What all consoles of one key may ask for in a second: more than ten keyboards repeat (30 a
/// second each), with each press told to every console.
pub(crate) const REQUESTS_A_SECOND: f64 = 500.0;

/// Allows as many open files as the system does: each link takes two, its own and that of its
/// service port, and the usual limit of 1024 is for programs that use `select`.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            let limit = limit.current;
            tracing::warn!(%error, limit, "the limit of open files can't be raised");
        }
    }
}

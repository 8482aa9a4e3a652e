//! Limits of the router, each number with its reason, and the limit of open files.

use std::time::Duration;

use crate::net::places::Rooms;
pub use crate::ops::open_files::raise_open_files;
use p2p_shared::logging::LogThrottle;

/// Most callers that have shown no key yet, on all ports: each may hold up to 64 KiB of an
/// unfinished hello (rustls' bound), which is 40 MiB in all (`benches/strangers`). nginx has 512
/// connections for each worker. Of one address there is room for a class behind one NAT that comes
/// back at once.
pub const UNAUTHENTICATED: Rooms = Rooms {
    common: 512,
    of_one: 256,
    known: 128,
};
/// Most callers that wait for their turn on the main port: as many have it within two seconds, and
/// a caller that has waited longer is about to give up.
pub(crate) const WAITING: Rooms = Rooms {
    common: 1024,
    of_one: 1024,
    known: 256,
};
/// Most networks that are remembered for a right key.
pub(crate) const KNOWN_NETS: usize = 4096;

/// First pause after a wrong key from an address; it doubles with each further one.
pub(crate) const WRONG_KEY_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after wrong keys: an inner whose key is refused asks once in this time.
pub(crate) const WRONG_KEY_LONGEST: Duration = Duration::from_secs(60);
/// Time after the end of its pause after which an address is forgotten.
pub(crate) const WRONG_KEY_FORGOTTEN: Duration = Duration::from_secs(300);
/// Most addresses of wrong keys that are remembered.
pub(crate) const WRONG_KEY_NETS: usize = 1024;

/// Log lines that anybody can cause: one a second, which is 20 MB a day at worst.
pub(crate) const UNAUTHENTICATED_LOG: LogThrottle = LogThrottle::new(1, Duration::from_secs(1));

/// Most service ports of one key, unless `--max-links` says otherwise: enough for a fleet, and far
/// from all ports.
pub const LINKS: usize = 256;
/// Most consoles of one key: twice a school class with one key.
pub const CONSOLES: usize = 64;
/// Most camera viewers of one key: the same number.
pub const VIEWERS: usize = 64;
/// Most open runs of one key: half of what one link takes, so that no key takes a whole car.
pub const RUNS: usize = 512;
/// Most requests a second of all consoles of one key: more than ten keyboards repeat (30 a second
/// each).
pub(crate) const REQUESTS_A_SECOND: f64 = 500.0;

/// Most motion events a second of one link: several times what a driver's held and hammered keys
/// make. Each goes to every console.
pub const MOTION_EVENTS_A_SECOND: f64 = 2000.0;

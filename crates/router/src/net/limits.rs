//! Limits of the router, each number with its reason, and the limit of open files. With few open files
//! some of the numbers are smaller.

use std::time::Duration;

use crate::net::places::Rooms;
use crate::ops::open_files::open_files;
pub use crate::ops::open_files::raise_open_files;
use p2p_shared::logging::LogThrottle;

/// Limits that depend on how many files the router may have open. All strangers and the holder of one
/// key together leave a quarter of these for the router's own files, and for the links, consoles and
/// callers of others.
#[derive(Debug, Clone, Copy)]
pub struct OpenFileLimits {
    pub unauthenticated: Rooms,
    pub(crate) waiting: Rooms,
    /// Most connections of balancers that have not said yet for whom they are.
    pub(crate) balanced: usize,
    /// Most connections of one key, each of which has shown it in a request.
    pub connections: usize,
    /// Most connections of one key beyond those, or beyond [`callers`](Self::callers), for one stop each.
    pub(crate) stops: usize,
    pub consoles: usize,
    /// Most connections between routers of a mesh for the consoles of one key: those from here, and those that
    /// come here.
    pub(crate) lines: usize,
    pub viewers: usize,
    /// Most service ports of one key. Each takes three files: port, link and camera.
    pub links: usize,
    /// Most connections of all keys: the other half is for links and consoles.
    pub(crate) callers: usize,
    /// Most service ports that are open for cars of other routers.
    pub(crate) elsewhere: usize,
}

impl OpenFileLimits {
    /// Returns the limits of a router that may have so many files open.
    pub fn of(open_files: u64) -> Self {
        let part = |part: u64| {
            usize::try_from(open_files / part)
                .unwrap_or(usize::MAX)
                .max(1)
        };
        Self {
            unauthenticated: UNAUTHENTICATED.at_most(part(8), part(32)),
            waiting: WAITING.at_most(part(8), part(32)),
            balanced: BALANCED.min(part(16)),
            connections: CONNECTIONS.min(part(8)),
            stops: STOPS.min(part(32)),
            consoles: CONSOLES.min(part(16)),
            lines: part(8),
            viewers: VIEWERS.min(part(16)),
            links: LINKS.min(part(16)),
            callers: part(2),
            elsewhere: part(8),
        }
    }

    /// Returns the limits of this process.
    pub(crate) fn of_this_process() -> Self {
        Self::of(open_files())
    }
}

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
/// Most connections of balancers whose header is awaited, which mostly comes with the connection: strangers
/// don't make them, and take no place from them.
pub(crate) const BALANCED: usize = 1024;
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
/// Most connections of one key, idle or not: its open runs, and as many browsers and scripts that keep
/// theirs.
pub const CONNECTIONS: usize = 1024;
/// Most stops of one key under way beyond its connections: one for each car that it may have.
pub(crate) const STOPS: usize = LINKS;
/// Most consoles of one key: twice a school class with one key.
pub const CONSOLES: usize = 64;
/// Most camera viewers of one key: the same number.
pub const VIEWERS: usize = 64;
/// Most open runs of one key: half of what one link takes, so that no key takes a whole car.
pub const RUNS: usize = 512;
/// Most bytes of answers of one key that are made and were not taken yet: lists of commands, and pages
/// with such a list. A list of a hundred commands has 8 KiB. One answer alone may be larger.
pub const UNREAD: usize = 1024 * 1024;
/// Longest past of a car that one may ask for: a week.
pub(crate) const LONGEST_PAST_MS: u64 = 7 * 24 * 3600 * 1000;
/// Most bytes of a page's notes for an incident's report, which has a hundred sentences and the last minute. They
/// count in [`UNREAD`] while the report is made: so a key has 16 in the making.
pub(crate) const NOTES: usize = 64 * 1024;
/// Most bytes of a car's list of commands: thousands of commands. The rest is left out.
pub(crate) const COMMAND_LIST: usize = 1024 * 1024;
/// Most requests a second of all consoles of one key: more than ten keyboards repeat (30 a second
/// each).
pub(crate) const REQUESTS_A_SECOND: f64 = 500.0;

/// Most motion events a second of one link: several times what a driver's held and hammered keys
/// make. Each goes to every console.
pub const MOTION_EVENTS_A_SECOND: f64 = 2000.0;
/// Shortest time between two reports of what moves by a car beyond that: a screen is no older.
pub(crate) const MOTION_TOLD: Duration = Duration::from_millis(100);
/// Most ticks a second of one link: five times as many as an inner sends. Each wakes every console.
pub(crate) const TICKS_A_SECOND: f64 = 50.0;

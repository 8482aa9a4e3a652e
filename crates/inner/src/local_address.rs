//! Notices that this machine has lost the local address of a link, because it has changed networks.
//! Nothing arrives on such a connection any more, but on an idle link the keepalive notices that
//! only after a minute.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// Shortest time between two checks.
const CHECK: Duration = Duration::from_secs(1);
/// Number of checks in a row in which the address must be missing. An address that is removed and
/// added again at once keeps its connections, and so does one that the kernel first checks for
/// duplicates, for a second or so (RFC 4862, 5.4).
const CHECKS: u32 = 3;

/// Local address of a connection.
#[derive(Debug)]
pub(crate) struct LocalAddress {
    /// `None`: there is no address to lose.
    address: Option<SocketAddr>,
    checked: Instant,
    /// Number of checks in a row in which the address was missing.
    missing: u32,
}

impl LocalAddress {
    /// Starts with an address that exists now.
    pub(crate) fn new(address: Option<SocketAddr>, now: Instant) -> Self {
        Self {
            address,
            checked: now,
            missing: 0,
        }
    }

    /// Returns the time of the next check: soon if the link is busy or the address was missing.
    /// Otherwise `None`: the check waits for the next event, such as a ping, and never wakes the
    /// machine by itself.
    pub(crate) fn next(&self, is_busy: bool) -> Option<Instant> {
        let is_soon = self.address.is_some() && (is_busy || self.missing > 0);
        is_soon.then(|| self.checked + CHECK)
    }

    /// Checks the address, if that was not done just now. Returns true if it is lost.
    pub(crate) fn is_lost(&mut self, now: Instant) -> bool {
        self.poll(now, is_ours)
    }

    fn poll(&mut self, now: Instant, is_ours: impl FnOnce(SocketAddr) -> bool) -> bool {
        let Some(address) = self.address.filter(|_| now >= self.checked + CHECK) else {
            return false;
        };
        self.checked = now;
        self.missing = if is_ours(address) {
            0
        } else {
            self.missing + 1
        };
        self.missing >= CHECKS
    }
}

/// Returns true if the machine has the address: otherwise nothing can be bound to it (bind(2),
/// `EADDRNOTAVAIL`; `ENODEV` if the interface of a link-local address is gone).
fn is_ours(mut address: SocketAddr) -> bool {
    address.set_port(0);
    let Err(error) = UdpSocket::bind(address) else {
        return true;
    };
    let is_gone = error.kind() == io::ErrorKind::AddrNotAvailable
        || Errno::from_io_error(&error) == Some(Errno::NODEV);
    !is_gone
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn some_address() -> Option<SocketAddr> {
        Some(([10, 0, 0, 1], 80).into())
    }

    #[test]
    fn it_is_lost_when_it_was_missing_in_three_looks_in_a_row_a_second_apart() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut own = LocalAddress::new(some_address(), start);
        // Just checked: no look.
        assert!(!own.poll(at(999), |_| unreachable!()));
        for (ms, is_ours) in [(1000, false), (2000, false), (3000, true)] {
            assert!(!own.poll(at(ms), |_| is_ours));
        }
        for (ms, is_lost) in [(4000, false), (5000, false), (5999, false), (6000, true)] {
            assert_eq!(own.poll(at(ms), |_| false), is_lost, "{ms}");
        }
        assert!(!LocalAddress::new(None, start).poll(at(9000), |_| false));
    }

    #[test]
    fn only_what_is_at_stake_or_missing_is_a_reason_to_wake() {
        let start = Instant::now();
        let mut own = LocalAddress::new(some_address(), start);
        assert_eq!(own.next(true), Some(start + CHECK));
        assert_eq!(own.next(false), None);
        let ping = start + 20 * CHECK;
        assert!(!own.poll(ping, |_| false));
        assert_eq!(own.next(false), Some(ping + CHECK));
        assert!(!own.poll(ping + CHECK, |_| true));
        assert_eq!(own.next(false), None);
        assert_eq!(LocalAddress::new(None, start).next(true), None);
    }

    #[test]
    fn an_address_of_this_machine_is_its_own_and_one_of_nobodys_is_not() {
        for own in ["127.0.0.1:80", "[::1]:80"] {
            // Without IPv6 the machine has no `::1`.
            let is_there = UdpSocket::bind(own.replace("80", "0")).is_ok();
            assert!(is_ours(own.parse().unwrap()) || !is_there, "{own}");
        }
        // An address of 240.0.0.0/5, which nobody has (RFC 1112, 4).
        let [a, b, c, d, ..] = p2p_shared::os::random_u64().unwrap().to_ne_bytes();
        let nobodys = Ipv4Addr::new(0xf0 | a >> 5, b, c, d);
        assert!(!is_ours((nobodys, 80).into()), "{nobodys}");
        // This interface does not exist.
        if UdpSocket::bind("[::1]:0").is_ok() {
            assert!(!is_ours("[fe80::1%999999]:80".parse().unwrap()));
        }
    }
}

//! Pauses after wrong keys, for each client network. Pure: the caller gives the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::net::client_net::ClientNet;
use crate::net::limits;

/// Client networks that sent wrong keys.
#[derive(Debug, Default)]
pub(super) struct AuthBackoff(HashMap<ClientNet, Pause>);

#[derive(Debug, Clone, Copy)]
struct Pause {
    length: Duration,
    until: Instant,
}

impl Pause {
    fn is_forgotten(&self, now: Instant) -> bool {
        now >= self.until + limits::WRONG_KEY_FORGOTTEN
    }
}

impl AuthBackoff {
    /// Counts a wrong key. Returns the rest of the pause if the key came within one; otherwise
    /// begins the next pause.
    pub(super) fn wrong(&mut self, net: ClientNet, now: Instant) -> Option<Duration> {
        let before = self.0.get(&net).copied();
        let before = before.filter(|pause| !pause.is_forgotten(now));
        if let Some(pause) = before
            && now < pause.until
        {
            return Some(pause.until - now);
        }
        let length = before.map_or(limits::WRONG_KEY_PAUSE, |pause| {
            (2 * pause.length).min(limits::WRONG_KEY_LONGEST)
        });
        if !self.0.contains_key(&net) {
            self.make_room(now);
        }
        let until = now + length;
        self.0.insert(net, Pause { length, until });
        None
    }

    /// Forgets old entries, or if there is none, the entry whose pause ends first.
    fn make_room(&mut self, now: Instant) {
        if self.0.len() < limits::WRONG_KEY_NETS {
            return;
        }
        self.0.retain(|_, pause| !pause.is_forgotten(now));
        if self.0.len() >= limits::WRONG_KEY_NETS {
            let first = self.0.iter().min_by_key(|(_, pause)| pause.until);
            if let Some(net) = first.map(|(net, _)| *net) {
                self.0.remove(&net);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn net(n: u32) -> ClientNet {
        IpAddr::from(Ipv4Addr::from_bits(n)).into()
    }

    #[test]
    fn the_pause_doubles_from_a_second_to_a_minute_and_is_forgotten() {
        let mut wrong = AuthBackoff::default();
        let mut now = Instant::now();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let length = Duration::from_secs(seconds);
            assert_eq!(wrong.wrong(net(1), now), None);
            assert_eq!(wrong.wrong(net(1), now), Some(length));
            // Further tries don't make the pause longer.
            assert_eq!(wrong.wrong(net(1), now), Some(length));
            now += length;
        }
        now += limits::WRONG_KEY_FORGOTTEN;
        assert_eq!(wrong.wrong(net(1), now), None);
        assert_eq!(wrong.wrong(net(1), now), Some(Duration::from_secs(1)));
        assert_eq!(wrong.wrong(net(2), now), None);
    }

    #[test]
    fn however_many_networks_there_are_the_table_keeps_its_bound() {
        let mut wrong = AuthBackoff::default();
        let now = Instant::now();
        for n in 0..5000 {
            assert_eq!(wrong.wrong(net(n), now), None);
            assert!(wrong.0.len() <= limits::WRONG_KEY_NETS);
        }
        assert!(wrong.wrong(net(4999), now).is_some());
        let later = now + Duration::from_secs(1) + limits::WRONG_KEY_FORGOTTEN;
        // A new network makes room: all old entries are removed.
        assert_eq!(wrong.wrong(net(9999), later), None);
        assert_eq!(wrong.0.len(), 1);
    }
}

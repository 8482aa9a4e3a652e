//! Places of connections without a key, and which connection loses its place to a new one. Pure:
//! nothing is closed here.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};

use crate::net::client_net::ClientNet;
use crate::net::limits;

/// Connections by client network, in each the oldest first. `T` closes a connection.
#[derive(Debug, Default)]
pub(super) struct Queue<T> {
    by_net: HashMap<ClientNet, VecDeque<(u64, T)>>,
    length: usize,
    next: u64,
}

impl<T> Queue<T> {
    /// Adds a connection. Returns the one that has to be closed for it: the oldest of the network
    /// that has most. An honest caller is done soon, and a flood from one network costs only its
    /// own connections.
    pub(super) fn enter(&mut self, net: ClientNet, pending: T) -> (u64, Option<T>) {
        let here = self.by_net.get(&net).map_or(0, VecDeque::len);
        let crowd = if here >= limits::UNAUTHENTICATED_OF_ONE {
            Some(net)
        } else if self.length >= limits::UNAUTHENTICATED {
            self.busiest()
        } else {
            None
        };
        let gone = crowd.and_then(|net| self.remove(net, |waiting| waiting.pop_front()));
        let place = self.next;
        self.next += 1;
        let waiting = self.by_net.entry(net).or_default();
        waiting.push_back((place, pending));
        self.length += 1;
        (place, gone)
    }

    /// Removes a connection; one that was closed for another is gone already.
    pub(super) fn leave(&mut self, net: ClientNet, place: u64) {
        self.remove(net, |waiting| {
            let at = waiting.binary_search_by_key(&place, |(place, _)| *place);
            waiting.remove(at.ok()?)
        });
    }

    fn busiest(&self) -> Option<ClientNet> {
        let crowds = self.by_net.iter();
        let first = |waiting: &VecDeque<(u64, T)>| waiting.front().map(|(place, _)| *place);
        let busiest = crowds.max_by_key(|(_, waiting)| (waiting.len(), Reverse(first(waiting))));
        busiest.map(|(net, _)| *net)
    }

    fn remove(
        &mut self,
        net: ClientNet,
        take: impl FnOnce(&mut VecDeque<(u64, T)>) -> Option<(u64, T)>,
    ) -> Option<T> {
        let waiting = self.by_net.get_mut(&net)?;
        let (_, pending) = take(waiting)?;
        self.length -= 1;
        if waiting.is_empty() {
            self.by_net.remove(&net);
        }
        Some(pending)
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
    fn one_place_that_is_full_costs_only_its_own_oldest() {
        let mut queue = Queue::default();
        assert_eq!(queue.enter(net(2), "honest").1, None);
        for n in 0..limits::UNAUTHENTICATED_OF_ONE {
            let who = if n == 0 { "first" } else { "another" };
            assert_eq!(queue.enter(net(1), who).1, None);
        }
        assert_eq!(queue.enter(net(1), "newest").1, Some("first"));
        assert_eq!(queue.enter(net(1), "newest").1, Some("another"));
    }

    #[test]
    fn when_all_places_are_taken_the_oldest_of_the_busiest_network_goes() {
        let mut queue = Queue::default();
        assert_eq!(queue.enter(net(0), 0).1, None);
        let busy = limits::UNAUTHENTICATED - 1;
        for n in 1..=busy {
            let from = 1 + u32::try_from(n).unwrap() % 8;
            assert_eq!(queue.enter(net(from), n).1, None);
        }
        assert_eq!(queue.length, limits::UNAUTHENTICATED);
        // Seven networks have the same number: the oldest connection of all goes.
        assert_eq!(queue.enter(net(99), 5000).1, Some(1));
        assert_eq!(queue.enter(net(99), 5001).1, Some(2));
        assert_eq!(queue.length, limits::UNAUTHENTICATED);
    }

    #[test]
    fn whoever_has_left_is_never_sent_away_and_nothing_is_kept_of_him() {
        let mut queue = Queue::default();
        let (a, _) = queue.enter(net(1), "a");
        let (b, _) = queue.enter(net(1), "b");
        queue.leave(net(1), a);
        queue.leave(net(1), a);
        queue.leave(net(2), b);
        assert_eq!(queue.length, 1);
        queue.leave(net(1), b);
        assert_eq!(queue.length, 0);
        assert!(queue.by_net.is_empty());
    }
}

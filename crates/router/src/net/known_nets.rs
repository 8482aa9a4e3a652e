//! Remembers the networks from which right keys came. Pure: the caller gives the time.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Instant;

use crate::net::client_net::{ClientNet, QuotaOwner};
use crate::net::limits;

/// Networks, and which right key each showed last, and when.
#[derive(Debug, Default)]
pub(super) struct KnownNets(HashMap<ClientNet, (QuotaOwner, Instant)>);

impl KnownNets {
    pub(super) fn remember(&mut self, net: ClientNet, owner: QuotaOwner, now: Instant) {
        if self.0.insert(net, (owner, now)).is_none() && self.0.len() > limits::KNOWN_NETS {
            self.forget_one();
        }
    }

    /// Forgets the network that came longest ago, of the key that has most: who has a key and a whole
    /// /48 makes nobody else's network unknown. Of keys that have as many it is the one with the oldest.
    fn forget_one(&mut self) {
        let mut counts = HashMap::<QuotaOwner, (usize, Reverse<Instant>)>::new();
        for (owner, at) in self.0.values() {
            let (count, oldest) = counts.entry(*owner).or_insert((0, Reverse(*at)));
            *count += 1;
            *oldest = Reverse(*at).max(*oldest);
        }
        let busiest = counts.into_iter().max_by_key(|(_, has)| *has);
        let of_busiest = |(_, (owner, _)): &(_, &(QuotaOwner, _))| {
            busiest.is_some_and(|(busiest, _)| *owner == busiest)
        };
        let oldest = (self.0.iter().filter(of_busiest)).min_by_key(|(_, (_, at))| *at);
        if let Some(net) = oldest.map(|(net, _)| *net) {
            self.0.remove(&net);
        }
    }

    pub(super) fn contains(&self, net: ClientNet) -> bool {
        self.0.contains_key(&net)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_networks_that_came_last_are_known() {
        let net = |n: u32| IpAddr::from(Ipv4Addr::from_bits(n)).into();
        let start = Instant::now();
        let mut known = KnownNets::default();
        let [key, other] = ["aaaaaaaa", "bbbbbbbb"].map(|id| QuotaOwner::Key(id.parse().unwrap()));
        known.remember(net(9999), other, start);
        let last = u32::try_from(limits::KNOWN_NETS).unwrap() + 100;
        for n in 0..=last {
            known.remember(net(n), key, start + Duration::from_secs(n.into()));
            known.remember(net(0), key, start + Duration::from_secs(n.into()));
        }
        assert_eq!(known.0.len(), limits::KNOWN_NETS);
        assert!(known.contains(net(0)) && known.contains(net(last)));
        assert!(!known.contains(net(1)));
        assert!(known.contains(net(9999)), "another key's network");
    }

    #[test]
    fn of_keys_with_as_many_networks_the_one_whose_network_came_longest_ago_loses_it() {
        let net = |n: u32| ClientNet::from(IpAddr::from(Ipv4Addr::from_bits(n)));
        let start = Instant::now();
        let mut known = KnownNets::default();
        let most = u32::try_from(limits::KNOWN_NETS).unwrap();
        for n in 0..most + 20 {
            let now = start + Duration::from_secs(n.into());
            known.remember(net(n), QuotaOwner::At(net(n)), now);
        }
        assert!((0..20).all(|n| !known.contains(net(n))));
        assert!((20..most + 20).all(|n| known.contains(net(n))));
    }
}

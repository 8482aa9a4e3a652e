//! Remembers the networks from which right keys came. Pure: the caller gives the time.

use std::collections::HashMap;
use std::time::Instant;

use crate::net::client_net::ClientNet;
use crate::net::limits;

/// Networks, and when each showed a right key last.
#[derive(Debug, Default)]
pub(super) struct KnownNets(HashMap<ClientNet, Instant>);

impl KnownNets {
    pub(super) fn remember(&mut self, net: ClientNet, now: Instant) {
        if self.0.insert(net, now).is_none() && self.0.len() > limits::KNOWN_NETS {
            let oldest = self.0.iter().min_by_key(|(_, at)| **at);
            if let Some(net) = oldest.map(|(net, _)| *net) {
                self.0.remove(&net);
            }
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
        for n in 0..5000 {
            known.remember(net(n), start + Duration::from_secs(n.into()));
            known.remember(net(0), start + Duration::from_secs(n.into()));
        }
        assert_eq!(known.0.len(), limits::KNOWN_NETS);
        assert!(known.contains(net(0)) && known.contains(net(4999)));
        assert!(!known.contains(net(1)));
    }
}

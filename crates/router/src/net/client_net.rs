//! Client networks and owners of quotas: whatever is limited per caller is counted by one of them.

use std::net::{IpAddr, Ipv6Addr};

use p2p_shared::key::KeyId;
use serde::{Deserialize, Serialize};

/// Network of a caller, for counting: an IPv4 address, or an IPv6 network of /64, all of whose
/// addresses belong to one customer (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "IpAddr")]
pub(crate) struct ClientNet(IpAddr);

impl ClientNet {
    /// Returns the network in the upper bits, so that each IPv4 address is a /48 of its own, in
    /// space that IPv6 doesn't use.
    pub(crate) fn bits(self) -> u128 {
        match self.0 {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 80,
            IpAddr::V6(address) => address.to_bits(),
        }
    }
}

impl From<IpAddr> for ClientNet {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        })
    }
}

/// Owner of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum QuotaOwner {
    /// Holder of this key.
    Key(KeyId),
    /// With `--open`: everybody in this client network.
    #[serde(rename = "address")]
    At(ClientNet),
}

impl QuotaOwner {
    /// Returns the owner's name in a sentence for its callers.
    pub(crate) fn whose(self) -> &'static str {
        match self {
            Self::Key(_) => "this key",
            Self::At(_) => "your address",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_one(a: &str, b: &str) -> bool {
        let net = |text: &str| ClientNet::from(text.parse::<IpAddr>().unwrap());
        net(a) == net(b)
    }

    #[test]
    fn a_network_of_ipv6_is_one_network_and_an_address_of_ipv4_is() {
        assert!(is_one("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!is_one("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(!is_one("192.0.2.1", "192.0.2.2"));
        assert!(is_one("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!is_one("::ffff:192.0.2.1", "::ffff:192.0.2.2"));
    }
}

//! Writes addresses of callers as text without the formatter: each run needs that several times, which
//! is a fifteenth of the router's work for it.

use std::net::{IpAddr, SocketAddr};

/// Room for an IPv4 address with its port.
const ROOM: usize = "255.255.255.255:65535".len();

/// Returns the address as text.
pub(crate) fn of_ip(ip: IpAddr) -> String {
    let IpAddr::V4(ip) = ip else {
        return ip.to_string();
    };
    let mut text = String::with_capacity(ROOM);
    for (at, octet) in ip.octets().into_iter().enumerate() {
        if at > 0 {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    text
}

/// Returns the address with its port as text.
pub(crate) fn of_peer(peer: SocketAddr) -> String {
    if peer.is_ipv6() {
        return peer.to_string();
    }
    let mut text = of_ip(peer.ip());
    text.push(':');
    text.push_str(itoa::Buffer::new().format(peer.port()));
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_text_is_the_formatters(peer: SocketAddr, octets: [u8; 4]) {
            prop_assert_eq!(of_peer(peer), peer.to_string());
            prop_assert_eq!(of_ip(peer.ip()), peer.ip().to_string());
            prop_assert_eq!(of_ip(octets.into()), IpAddr::from(octets).to_string());
        }
    }
}

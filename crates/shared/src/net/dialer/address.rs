//! Addresses of routers, as people write them.

use std::net::Ipv6Addr;
use std::str::FromStr;

use rustls::pki_types::ServerName;

/// Default of a router's main port.
pub const MAIN_PORT: u16 = 8888;

/// Address of the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterAddress {
    /// A host name or an address, IPv6 without brackets.
    pub host: String,
    /// The main port.
    pub port: u16,
}

impl RouterAddress {
    /// Returns the host as peers know it, for a URL and for TLS: the zone of an IPv6 address
    /// (`%eth0`) has a meaning on this machine alone (RFC 6874).
    #[must_use]
    pub fn host_without_zone(&self) -> &str {
        let parts = self.host.split_once('%');
        parts.map_or(&self.host, |(address, _)| address)
    }
}

/// `HOST:PORT`, both of them.
impl FromStr for RouterAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) =
            (text.rsplit_once(':')).ok_or("write HOST:PORT, with the main port behind the host")?;
        let port = port.parse().ok().filter(|port| *port != 0);
        let port = port.ok_or("the port is a number from 1 to 65535")?;
        if host.contains(':') && !host.starts_with('[') {
            return Err("write an IPv6 address in brackets: [2001:db8::1]:8888".to_owned());
        }
        let host = parse_host(host)?;
        Ok(Self { host, port })
    }
}

/// Parses a host name or an address, IPv6 with or without brackets.
///
/// # Errors
/// A sentence that says why nothing can be reached by that.
pub fn parse_host(text: &str) -> Result<String, String> {
    if text.contains(['/', ' ', '@', '?', '#']) {
        return Err("write the host, without anything before or behind it".to_owned());
    }
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let host = bare.unwrap_or(text);
    let (address, zone) = match host.split_once('%') {
        None => (host, None),
        Some((address, zone)) => (address, Some(zone)),
    };
    match (address.parse::<Ipv6Addr>(), zone) {
        (Ok(address), None) if address.is_unicast_link_local() => Err(format!(
            "a link-local address is another one on each network: write {address}%eth0, with the interface that leads there"
        )),
        (Ok(_), Some("")) | (Err(_), Some(_)) => {
            Err("a % stands between an IPv6 address and an interface: fe80::1%eth0".to_owned())
        }
        (Ok(_), _) => Ok(host.to_owned()),
        (Err(_), None) if !host.is_ascii() => Err(
            "write the name as name servers have it, where such letters are xn--…: `idn2 NAME` prints it"
                .to_owned(),
        ),
        // Else nobody could be known by that name.
        (Err(_), None) => match ServerName::try_from(host) {
            Ok(_) => Ok(host.to_owned()),
            Err(_) if host.is_empty() => Err("it has no host".to_owned()),
            Err(_) => Err(format!("{host:?} is neither a host name nor an address")),
        },
    }
}

impl std::fmt::Display for RouterAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

/// Returns the host as a URL has it: IPv6 addresses in brackets.
#[must_use]
pub fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Parses a router's address: `HOST`, `HOST:PORT`, `[V6]:PORT` or `V6`. The port is 8888 by default.
///
/// # Errors
/// A sentence that says why nothing can be reached by that.
pub fn parse_router(text: &str) -> Result<RouterAddress, String> {
    if text.contains(['/', ' ', '@', '?', '#']) {
        return Err("write HOST:PORT, without anything before or behind it".to_owned());
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest
            .split_once(']')
            .ok_or("the bracket isn't closed: write [ADDRESS]:PORT")?;
        (host, rest.strip_prefix(':'))
    } else if text.matches(':').count() > 1 {
        (text, None)
    } else {
        text.split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port)))
    };
    let port = port.map_or(Ok(MAIN_PORT), |port| match port.parse() {
        Ok(0) | Err(_) => Err(format!("{port:?} is not a port: 1 to 65535")),
        Ok(port) => Ok(port),
    })?;
    if host.is_empty() {
        return Err("it has no host: write HOST:PORT".to_owned());
    }
    let host = parse_host(host)?;
    Ok(RouterAddress { host, port })
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_what_is_neither_gets_a_sentence() {
        for (text, host, for_peers) in [
            (
                "router.example.org",
                "router.example.org",
                "router.example.org",
            ),
            ("router_1", "router_1", "router_1"),
            (
                "xn--rter-5qa.test",
                "xn--rter-5qa.test",
                "xn--rter-5qa.test",
            ),
            ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
            ("::1", "::1", "::1"),
            ("[2001:db8::1]", "2001:db8::1", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1%eth0", "fe80::1"),
            ("[fe80::1%2]", "fe80::1%2", "fe80::1"),
        ] {
            assert_eq!(parse_host(text).as_deref(), Ok(host));
            let (host, port) = (host.to_owned(), 8888);
            let router = RouterAddress { host, port };
            let peers = router.host_without_zone();
            assert_eq!(peers, for_peers);
            assert!(ServerName::try_from(peers).is_ok(), "{peers}");
            let url = format!("ws://{}:8888/link", bracketed(peers));
            assert!(url.as_str().into_client_request().is_ok(), "{url}");
        }
        for (text, says) in [
            ("", "no host"),
            ("https://router.example.org", "without anything before"),
            ("röuter.test", "xn--"),
            ("fe80::1", "fe80::1%eth0"),
            ("[fe80::1]", "fe80::1%eth0"),
            ("fe80::1%", "an interface"),
            ("router%eth0", "an interface"),
            ("router.test:8888", "neither a host name nor an address"),
            ("[::1", "neither a host name nor an address"),
        ] {
            let why = parse_host(text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }

    fn router(text: &str) -> Option<(String, u16)> {
        let address = parse_router(text).ok()?;
        Some((address.host, address.port))
    }

    #[test]
    fn a_router_is_written_as_people_write_it() {
        for (text, host, port) in [
            ("example.org", "example.org", 8888),
            ("example.org:9000", "example.org", 9000),
            ("[::1]:9000", "::1", 9000),
            ("[::1]", "::1", 8888),
            ("::1", "::1", 8888),
            ("fe80::1%eth0", "fe80::1%eth0", 8888),
            ("[fe80::1%eth0]:9000", "fe80::1%eth0", 9000),
        ] {
            assert_eq!(router(text), Some((host.to_owned(), port)), "{text}");
        }
        for text in [
            "",
            ":1",
            "a:0",
            "a:x",
            "a:70000",
            "http://a:1",
            "[::1",
            "a b",
            "röuter.test",
            "fe80::1",
        ] {
            assert_eq!(router(text), None, "{text}");
        }
    }
}

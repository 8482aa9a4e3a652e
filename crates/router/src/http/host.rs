//! Checks the host name of requests. A page on the internet can let its own name resolve to an
//! address in the reader's home (DNS rebinding), and then has the same origin as the server there:
//! only the `Host` header shows the difference. A router with keys gives such a page nothing,
//! because a browser sends its cookie to no other name.

use std::net::{IpAddr, SocketAddrV4};
use std::str::FromStr;

use hyper::header;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Request, StatusCode, Version};

use crate::http::response::Problem;

/// Name by which browsers reach the router, in lower case and without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

/// The text is not a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a host name is letters from a to z (xn--… for others), digits, dashes and dots, without http:// and without a port"
)]
pub struct ParseHostNameError;

impl FromStr for HostName {
    type Err = ParseHostNameError;

    fn from_str(text: &str) -> Result<Self, ParseHostNameError> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        match normal(text) {
            name if !name.is_empty() && name.chars().all(is_part) => Ok(Self(name)),
            _ => Err(ParseHostNameError),
        }
    }
}

impl HostName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Normalises a name: lower case, no dot at the end.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Host that a request was sent to.
enum Host {
    Address(IpAddr),
    Name(String),
}

fn asked_for(headers: &HeaderMap) -> Option<Host> {
    let host = headers.get(header::HOST)?;
    // Mostly this; what follows finds the same.
    let socket = host.to_str().ok().and_then(|host| host.parse().ok());
    if let Some(socket) = socket {
        return Some(Host::Address(SocketAddrV4::ip(&socket).to_owned().into()));
    }
    let authority = Authority::try_from(host.as_bytes()).ok();
    let name = authority.as_ref().map_or("", |authority| authority.host());
    let address = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    Some(match address.unwrap_or(name).parse() {
        Ok(address) => Host::Address(address),
        Err(_) => Host::Name(normal(name)),
    })
}

/// Beginnings of the headers by which a proxy says that it passes on what somebody else asked for.
const FORWARDED: [&str; 9] = [
    "forwarded",
    "via",
    "x-forwarded",
    "x-host",
    "x-original-",
    "x-real-ip",
    // Envoy, Cloudflare.
    "x-envoy-",
    "cf-",
    "cdn-loop",
];
/// Ends of those that name the caller: each large proxy has one of its own.
const CALLER: [&str; 4] = ["client-ip", "clientip", "connecting-ip", "user-ip"];

/// Returns true if only a proxy sends a header of this name.
fn is_forwarding(name: &str) -> bool {
    FORWARDED.iter().any(|begin| name.starts_with(begin))
        || CALLER.iter().any(|end| name.ends_with(end))
}

/// Returns true if nothing shows that a proxy on this machine passes the request on for somebody
/// else: no header says so, and the request was sent to `localhost` or an address that `is_here`.
pub(crate) fn is_direct(headers: &HeaderMap, is_here: impl Fn(IpAddr) -> bool) -> bool {
    let is_to_here = match asked_for(headers) {
        None => true,
        Some(Host::Address(address)) => is_here(address.to_canonical()),
        Some(Host::Name(name)) => name == "localhost",
    };
    is_to_here && !headers.keys().any(|name| is_forwarding(name.as_str()))
}

/// Refuses a request with two `Host` headers, or by HTTP/1.1 with none (RFC 9112, 3.2): a proxy on the
/// way may have believed another one than we would.
pub(crate) fn check_count<B>(request: &Request<B>) -> Result<(), Problem> {
    let count = request.headers().get_all(header::HOST).iter().count();
    if count == 1 || count == 0 && request.version() < Version::HTTP_11 {
        return Ok(());
    }
    let sentence =
        format!("a request has one Host header, and this one has {count}: nothing was run");
    Err(Problem::new(StatusCode::BAD_REQUEST, sentence))
}

/// Returns the name that a request was sent to, in small letters, if it `is_ours`.
///
/// # Errors
/// If that name is in its first line or in its header `Host`, and not the whole of both: a proxy on the way
/// may have believed the other.
pub(crate) fn name<B>(
    request: &Request<B>,
    is_ours: impl Fn(&str) -> bool,
) -> Result<Option<String>, Problem> {
    let name = match asked_for(request.headers()) {
        Some(Host::Name(name)) => Some(name),
        Some(Host::Address(_)) | None => None,
    };
    let first_line = request.uri().authority();
    let in_first_line = first_line.map(|authority| normal(authority.host()));
    let mut names = name.iter().chain(&in_first_line);
    if !names.any(|name| is_ours(name)) {
        return Ok(None);
    }
    let default = match request.uri().scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    let host_and_port = |authority: &Authority| {
        let has_user = authority.as_str().contains('@');
        (!has_user).then(|| {
            (
                normal(authority.host()),
                authority.port_u16().unwrap_or(default),
            )
        })
    };
    let header = request.headers().get(header::HOST);
    let header = header.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let asked = header.as_ref().and_then(host_and_port);
    let is_one = first_line.is_none_or(|authority| host_and_port(authority) == asked);
    if asked.is_none() || !is_one {
        let sentence = "the host of this request is not one name and a port, the same in its first line and in its header Host: nothing was run";
        return Err(Problem::new(StatusCode::BAD_REQUEST, sentence));
    }
    Ok(name)
}

/// Refuses a request whose `Host` is none of these names. Addresses and `localhost` pass, because
/// nobody else can let those resolve to this machine. So does a request without `Host`, which
/// only HTTP/1.0 allows.
pub(crate) fn check(names: &[HostName], headers: &HeaderMap) -> Result<(), Problem> {
    let name = match asked_for(headers) {
        None | Some(Host::Address(_)) => return Ok(()),
        Some(Host::Name(name)) => name,
    };
    if name == "localhost" || names.iter().any(|known| known.0 == name) {
        return Ok(());
    }
    let example = name
        .parse::<HostName>()
        .map_or("NAME".to_owned(), |name| name.0);
    let example = if example.len() > 64 { "NAME" } else { &example };
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        format!(
            "this router does not know itself by this name, which another site may have made up: start it with --host-names {example}, or ask for its address"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn addresses_localhost_and_names_that_are_told_pass() {
        let names: Vec<HostName> = ["Car.example.org.", "car"]
            .map(|n| n.parse().unwrap())
            .into();
        let status = |host: &'static str| {
            let host = HeaderValue::from_static(host);
            let headers = HeaderMap::from_iter([(header::HOST, host)]);
            check(&names, &headers).map_err(|problem| problem.sentence)
        };
        for host in [
            "127.0.0.1",
            "192.0.2.7:9000",
            "[::1]:9000",
            "[2001:db8::1]",
            "localhost",
            "LocalHost:9000",
            "localhost.",
            "car",
            "CAR:9000",
            "car.example.org:9000",
            "car.example.org.",
        ] {
            assert_eq!(status(host), Ok(()), "{host}");
        }
        for host in [
            "evil.test",
            "evil.test:9000",
            "car.evil.test",
            "127.0.0.1.evil.test",
            "xcar",
            "",
            "localhost.evil.test",
            "evil.localhost",
            "a b",
            "::1",
        ] {
            assert!(status(host).is_err(), "{host}");
        }
        let sentence = status("evil.test:9000").unwrap_err();
        assert!(sentence.contains("--host-names evil.test,"), "{sentence}");
        assert_eq!(
            check(&names, &HeaderMap::new()).map_err(|p| p.sentence),
            Ok(())
        );
    }

    #[test]
    fn a_request_that_a_proxy_passes_on_is_not_direct() {
        let is_direct = |name: &'static str, value: &'static str| {
            let value = HeaderValue::from_static(value);
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value)]);
            super::is_direct(&headers, |address| address.is_loopback())
        };
        for host in [
            "localhost",
            "127.0.0.1:8888",
            "[::1]:8888",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_direct("host", host), "{host}");
        }
        for host in ["router.example.org", "192.0.2.1", "localhost.evil.test", ""] {
            assert!(!is_direct("host", host), "{host}");
        }
        for name in [
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-server",
            "x-real-ip",
            "x-original-forwarded-for",
            "x-envoy-external-address",
            "cf-connecting-ip",
            "fly-client-ip",
            "true-client-ip",
            "x-azure-clientip",
            "x-cluster-client-ip",
        ] {
            assert!(!is_direct(name, "127.0.0.1"), "{name}");
        }
        assert!(is_direct("user-agent", "a monitor"));
        assert!(super::is_direct(&HeaderMap::new(), |_| false));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            ".",
            "http://car",
            "car:9000",
            "car/",
            "a b",
            "[::1]",
            "cär",
        ] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }
}

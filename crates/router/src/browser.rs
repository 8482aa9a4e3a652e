//! Owns what a browser says of a request's origin, and which requests are refused for it: a web
//! page can make any browser send a GET to any address.

use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};

/// Why a request is not what its user asked for, if it isn't: another site's page made it
/// (Fetch Metadata, W3C), or the browser did by itself ahead of time.
#[must_use]
pub(crate) fn unasked(headers: &HeaderMap) -> Option<&'static str> {
    let value = |name: &str| headers.get(name).map_or(&b""[..], |value| value.as_bytes());
    if !matches!(value("sec-fetch-site"), b"" | b"none" | b"same-origin") {
        return Some("another site's page made this request: open the address yourself");
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let host = headers.get(HOST).map_or(&b""[..], |host| host.as_bytes());
        let is_own = ["http://", "https://"]
            .iter()
            .any(|scheme| origin.as_bytes().strip_prefix(scheme.as_bytes()) == Some(host));
        if !is_own {
            return Some("another site's page made this request: open the address yourself");
        }
    }
    ["sec-purpose", "purpose", "x-moz"]
        .iter()
        .any(|name| value(name).starts_with(b"prefetch"))
        .then_some("the browser made this request ahead of time: open the address yourself")
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn is_refused(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect();
        unasked(&headers).is_some()
    }

    #[test]
    fn the_address_bar_curl_and_the_own_page_may_ask() {
        assert!(!is_refused(&[]));
        assert!(!is_refused(&[("sec-fetch-site", "none")]));
        assert!(!is_refused(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "http://car:9000"),
            ("host", "car:9000"),
        ]));
    }

    #[test]
    fn other_sites_other_ports_and_prefetches_may_not() {
        assert!(is_refused(&[("sec-fetch-site", "cross-site")]));
        assert!(is_refused(&[("sec-fetch-site", "same-site")]));
        assert!(is_refused(&[
            ("origin", "http://car:9001"),
            ("host", "car:9000")
        ]));
        assert!(is_refused(&[("origin", "null"), ("host", "car:9000")]));
        assert!(is_refused(&[("sec-purpose", "prefetch;prerender")]));
        assert!(is_refused(&[("purpose", "prefetch")]));
    }
}

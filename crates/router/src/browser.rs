//! Owns what a browser says of a request's origin, and which requests are refused for it: a web
//! page can make any browser send a GET to any address.

use hyper::HeaderMap;

/// Why a request is not what its user asked for, if it isn't: another site's page made it
/// (Fetch Metadata, W3C), or the browser did by itself ahead of time.
#[must_use]
pub(crate) fn unasked(headers: &HeaderMap) -> Option<&'static str> {
    const ANOTHER_SITE: &str = "another site's page made this request: open the address yourself";
    let value = |name: &str| headers.get(name).map_or(&b""[..], |value| value.as_bytes());
    if !matches!(value("sec-fetch-site"), b"" | b"none" | b"same-origin") {
        return Some(ANOTHER_SITE);
    }
    // Over plain HTTP a browser says no more than these two.
    let is_foreign = |name| headers.contains_key(name) && !is_own(value(name), value("host"));
    if is_foreign("origin") || is_foreign("referer") {
        return Some(ANOTHER_SITE);
    }
    ["sec-purpose", "purpose", "x-moz"]
        .iter()
        .any(|name| value(name).starts_with(b"prefetch"))
        .then_some("the browser made this request ahead of time: open the address yourself")
}

/// Whether this address, or the beginning of one, is of this host and port.
fn is_own(address: &[u8], host: &[u8]) -> bool {
    let [http, https] = [&b"http://"[..], b"https://"].map(|scheme| address.strip_prefix(scheme));
    let rest = http.or(https).and_then(|rest| rest.strip_prefix(host));
    !host.is_empty() && matches!(rest, Some([] | [b'/', ..]))
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
        let host = ("host", "car:9000");
        assert!(is_refused(&[("referer", "http://other.test/page"), host]));
        assert!(is_refused(&[("referer", "http://car:90001/"), host]));
        assert!(is_refused(&[("referer", "http://car:9000/"), ("host", "")]));
        assert!(!is_refused(&[("referer", "http://car:9000/"), host]));
        assert!(is_refused(&[("origin", "null"), ("host", "car:9000")]));
        assert!(is_refused(&[("sec-purpose", "prefetch;prerender")]));
        assert!(is_refused(&[("purpose", "prefetch")]));
    }
}

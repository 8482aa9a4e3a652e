//! What browsers send, and what of it may run something.

use hyper::header::{HeaderName, HeaderValue};

use super::*;

fn headers(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    headers
        .iter()
        .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
        .collect()
}

fn is_refused(list: &[(&'static str, &'static str)]) -> bool {
    unasked(&headers(list), false).is_some()
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
    assert!(is_refused(&[("referer", "http://car:9001/"), host]));
    assert!(is_refused(&[("referer", "http://car:9000/"), ("host", "")]));
    assert!(!is_refused(&[("referer", "http://car:9000/"), host]));
    assert!(is_refused(&[("origin", "null"), ("host", "car:9000")]));
    for ahead in [
        ("sec-purpose", "prefetch;prerender"),
        ("sec-purpose", "Prefetch"),
        ("sec-purpose", "prerender"),
        ("purpose", "prefetch"),
        ("purpose", "preview"),
        ("x-purpose", "preview"),
        ("x-moz", "prefetch"),
    ] {
        assert!(is_refused(&[ahead]), "{ahead:?}");
    }
}

#[test]
fn a_second_header_hides_nothing() {
    let mut twice = headers(&[("sec-fetch-site", "none")]);
    twice.append("sec-fetch-site", HeaderValue::from_static("cross-site"));
    assert!(unasked(&twice, false).is_some());
}

#[test]
fn over_tls_a_page_that_came_without_is_another_site() {
    let of = |origin| headers(&[("origin", origin), ("host", "car:9000")]);
    assert!(unasked(&of("https://car:9000"), true).is_none());
    assert!(unasked(&of("http://car:9000"), true).is_some());
    // Behind a proxy that speaks TLS.
    assert!(unasked(&of("https://car:9000"), false).is_none());
}

#[test]
fn browsers_are_told_from_programs_and_pages_from_what_pages_load() {
    let mozilla = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)");
    assert!(is_browser(&headers(&[mozilla, ("accept-language", "en")])));
    assert!(!is_browser(&headers(&[mozilla])));
    assert!(!is_browser(&headers(&[("user-agent", "curl/8")])));
    assert!(says_nothing(&headers(&[mozilla])));
    assert!(!says_nothing(&headers(&[("sec-fetch-site", "none")])));
    let page = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    assert!(is_navigation(&headers(&[page])));
    assert!(is_navigation(&headers(&[("sec-fetch-mode", "navigate")])));
    assert!(!is_navigation(&headers(&[
        page,
        ("sec-fetch-mode", "cors")
    ])));
    assert!(!is_navigation(&headers(&[("accept", "image/avif,*/*")])));
}

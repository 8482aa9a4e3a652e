//! Refuses requests that another site's page caused: a web page can make any browser send a GET to
//! any address.

use hyper::HeaderMap;
use hyper::header::{self, HeaderName};

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// Headers that mark a request which the browser made ahead of time: Chromium and Firefox send the
/// first, older ones the second, Safari the third and older Firefox the last.
static AHEAD_OF_TIME: [HeaderName; 4] = [
    HeaderName::from_static("sec-purpose"),
    HeaderName::from_static("purpose"),
    HeaderName::from_static("x-purpose"),
    HeaderName::from_static("x-moz"),
];

/// Answer to a request that another site's page made, or that looks so behind a proxy.
const OTHER_SITE: &str = "another site's page made this request: open the address yourself (behind a proxy: it has to pass the header Host on, in nginx by `proxy_set_header Host $http_host;`)";

/// Returns why the user did not make this request, if so: another site's page made it (Fetch
/// Metadata, W3C), or the browser made it ahead of time.
#[must_use]
pub(crate) fn unasked(headers: &HeaderMap, is_tls: bool) -> Option<&'static str> {
    if is_of_another_site(headers, is_tls) {
        return Some(OTHER_SITE);
    }
    unasked_ahead(headers)
}

/// Returns why the user did not make this request, if the browser made it ahead of time.
pub(crate) fn unasked_ahead(headers: &HeaderMap) -> Option<&'static str> {
    is_ahead_of_time(headers)
        .then_some("the browser made this request ahead of time: open the address yourself")
}

/// Returns true for another site's page. `same-site` is one: another port may be somebody else's.
fn is_of_another_site(headers: &HeaderMap, is_tls: bool) -> bool {
    let is_own_site = |value: &[u8]| matches!(value, b"none" | b"same-origin");
    match has_fetch_metadata(headers) {
        // The browser knows the site, even where a proxy has changed `Host`.
        true => !all(headers, &SEC_FETCH_SITE).all(is_own_site),
        false => has_foreign_address(headers, is_tls),
    }
}

/// Returns true if Origin or Referer has another host. Over plain HTTP and for a WebSocket,
/// browsers say no more than these two about the page.
fn has_foreign_address(headers: &HeaderMap, is_tls: bool) -> bool {
    [header::ORIGIN, header::REFERER].iter().any(|name| {
        all(headers, name).any(|address| !is_own(address, one(headers, &header::HOST), is_tls))
    })
}

/// Returns why a page may not open a WebSocket, if so. A browser doesn't tell its page why a
/// WebSocket was refused, but a page can read the answer to a plain request for the same path.
pub(crate) fn refused_websocket(headers: &HeaderMap, is_tls: bool) -> Option<&'static str> {
    has_foreign_address(headers, is_tls).then_some(OTHER_SITE)
}

/// Returns true if the browser says whose page made the request, as it does on a safe connection.
pub(crate) fn has_fetch_metadata(headers: &HeaderMap) -> bool {
    all(headers, &SEC_FETCH_SITE).any(|value| !value.is_empty())
}

fn is_ahead_of_time(headers: &HeaderMap) -> bool {
    let is_ahead = |value: &[u8]| {
        let value = value.to_ascii_lowercase();
        [&b"prefetch"[..], b"prerender", b"preview"]
            .iter()
            .any(|word| value.windows(word.len()).any(|part| part == *word))
    };
    (headers.iter()).any(|(name, value)| AHEAD_OF_TIME.contains(name) && is_ahead(value.as_bytes()))
}

/// Returns true if the headers show neither that the user made the request nor that a page of this
/// router did. To a name over plain HTTP browsers send no Fetch Metadata, and a page that hides its
/// address (`referrerpolicy`) can load an image from here that looks as if the address had been
/// typed.
pub(crate) fn says_nothing(headers: &HeaderMap) -> bool {
    [&SEC_FETCH_SITE, &header::ORIGIN, &header::REFERER]
        .iter()
        .all(|name| one(headers, name).is_empty())
}

/// Returns true if the headers look like a browser's. All browsers call themselves Mozilla and send
/// the user's languages; other programs that do the first don't do the second.
pub(crate) fn is_browser(headers: &HeaderMap) -> bool {
    one(headers, &header::USER_AGENT).starts_with(b"Mozilla/")
        && headers.contains_key(header::ACCEPT_LANGUAGE)
}

/// Returns true if a person will look at the answer, so that it may be a page.
pub(crate) fn is_navigation(headers: &HeaderMap) -> bool {
    match one(headers, &SEC_FETCH_MODE) {
        b"" => {
            let mut kinds = one(headers, &header::ACCEPT).split(|byte| *byte == b',');
            kinds.any(|kind| kind.trim_ascii().starts_with(b"text/html"))
        }
        mode => mode == b"navigate",
    }
}

/// Returns why a request to a program's WebSocket is refused, if a page in a browser made it: pages
/// can open WebSockets to anywhere, but then send this header, which p2p-inner and p2p-console
/// never send.
pub(crate) fn is_page(headers: &HeaderMap) -> Option<&'static str> {
    headers
        .contains_key(header::ORIGIN)
        .then_some("this path is for p2p-inner and p2p-console and not for a page in a browser")
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a [u8] {
    headers.get(name).map_or(b"", |value| value.as_bytes())
}

fn all<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .map(|value| value.as_bytes())
}

/// Returns true if this address, or the beginning of one, has this host and port. A request over
/// TLS doesn't count as made by a page that came without TLS, which anybody on the way may have
/// written. A request without TLS may have come over TLS to a proxy in front of the router.
fn is_own(address: &[u8], host: &[u8], is_tls: bool) -> bool {
    let [http, https] = [&b"http://"[..], b"https://"].map(|scheme| address.strip_prefix(scheme));
    let rest = https.or(http.filter(|_| !is_tls));
    let rest = rest.and_then(|rest| rest.strip_prefix(host));
    !host.is_empty() && matches!(rest, Some([] | [b'/', ..]))
}

#[cfg(test)]
mod tests;

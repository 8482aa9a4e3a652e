//! Headers of a request that is passed on.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::str::Split;
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};
use p2p_shared::names::{LinkName, NameError, RunId};
use p2p_shared::timing;

/// What the member that a request came to says of it. One header, so that it takes the least time and fits
/// beside all that a caller may send. It counts for nothing in any other request.
const PASSED_ON: HeaderName = HeaderName::from_static("p2p-passed-on");
/// Most bytes of that, of a caller with an IPv4 address.
const USUAL_LENGTH: usize = 64;
/// The car's name, in small letters, of a request that came by it: the car may be called otherwise by now.
const NAME: HeaderName = HeaderName::from_static("p2p-name");
/// In an answer: why nothing was handed to a link.
pub(crate) const NOT_THERE: HeaderName = HeaderName::from_static("p2p-not-there");
/// This member does not hold the port.
pub(crate) const NOT_HELD: HeaderValue = HeaderValue::from_static("1");
/// It does, and the car has another name.
pub(crate) const OTHER_NAME: HeaderValue = HeaderValue::from_static("name");

/// In place of a service port: the request is for the main port.
pub(crate) const MAIN_PORT: u16 = 0;

/// Headers that are about one connection only (RFC 9110, 7.6.1). `TE: trailers` is kept: each hop passes
/// trailers on.
const OF_ONE_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::EXPECT,
];

/// A request, as the member that it came to saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PassedOn {
    pub port: u16,
    /// The name by which the caller asked for the car, if it did.
    pub name: Option<LinkName>,
    /// The caller, for limits and logs.
    pub caller: SocketAddr,
    pub run: RunId,
    /// When the request came. It may be old by the time that there is a way to the holder.
    pub begun: Instant,
    pub is_tls: bool,
    /// The caller's key has as many connections at the router that it came to as it may: only a stop is let
    /// in.
    pub is_over: bool,
}

impl PassedOn {
    /// Writes the headers, in place of any that the caller may have sent.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let Self {
            port, caller, run, ..
        } = self;
        let age = timing::now().saturating_duration_since(self.begun);
        let (age, is_tls) = (age.as_millis(), u8::from(self.is_tls));
        let is_over = u8::from(self.is_over);
        let mut text = String::with_capacity(USUAL_LENGTH);
        // A string takes all that is written to it.
        let _ = write!(text, "{port} {caller} {run} {age} {is_tls} {is_over}");
        let value = HeaderValue::try_from(text);
        headers.insert(PASSED_ON, value.unwrap_or(HeaderValue::from_static("?")));
        set_name(headers, self.name.as_ref());
    }

    /// Takes the headers from a request of another member; `None` if a part is missing or wrong.
    pub(crate) fn take(headers: &mut HeaderMap) -> Option<Self> {
        let value = headers.remove(PASSED_ON)?;
        let name = name(headers).ok()?;
        headers.remove(NAME);
        let mut parts = value.to_str().ok()?.split(' ');
        let now = timing::now();
        let taken = Self {
            port: next(&mut parts)?,
            name,
            caller: next(&mut parts)?,
            run: next(&mut parts)?,
            begun: now
                .checked_sub(Duration::from_millis(next(&mut parts)?))
                .unwrap_or(now),
            is_tls: next::<u8>(&mut parts)? == 1,
            is_over: next::<u8>(&mut parts)? == 1,
        };
        parts.next().is_none().then_some(taken)
    }
}

/// Says by which name a request is for a car; `None`: by its port alone.
pub(super) fn set_name(headers: &mut HeaderMap, name: Option<&LinkName>) {
    headers.remove(NAME);
    headers.extend(
        name.and_then(|name| HeaderValue::try_from(name.as_str()).ok())
            .map(|name| (NAME, name)),
    );
}

/// Returns the name by which a member asks for a car; `None`: by its port alone.
///
/// # Errors
/// If it can't be a name.
pub(crate) fn name(headers: &HeaderMap) -> Result<Option<LinkName>, NameError> {
    let name = headers.get(NAME).map(HeaderValue::as_bytes);
    let name = name.map(|name| String::from_utf8_lossy(name).parse());
    name.transpose()
}

/// Returns true for a request that is a member's own, and none of a caller's.
pub(crate) fn is_own(headers: &HeaderMap) -> bool {
    !headers.contains_key(PASSED_ON)
}

fn next<T: std::str::FromStr>(parts: &mut Split<'_, char>) -> Option<T> {
    parts.next()?.parse().ok()
}

/// Prepares a caller's request for being passed on. It stays an upgrade.
pub(crate) fn prepare(headers: &mut HeaderMap) {
    let upgrade = headers.remove(header::UPGRADE);
    strip_connection(headers, false);
    if let Some(upgrade) = upgrade {
        let word = HeaderValue::from_static("upgrade");
        headers.insert(header::CONNECTION, word);
        headers.insert(header::UPGRADE, upgrade);
    }
}

/// Removes what is about one connection only, from a request or an answer. An answer keeps its length, and
/// what it says of an upgrade.
pub(crate) fn strip_connection(headers: &mut HeaderMap, is_answer: bool) {
    let named: Vec<_> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse::<HeaderName>().ok())
        .filter(|name| *name != header::TE)
        .collect();
    for name in named.iter().chain(&OF_ONE_CONNECTION) {
        let is_kept = matches!(*name, header::CONTENT_LENGTH | header::UPGRADE);
        if !(is_answer && is_kept) {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_millis(15);

    fn passed_on() -> PassedOn {
        PassedOn {
            port: 9000,
            name: None,
            caller: "[2001:db8::1]:5".parse().unwrap(),
            run: RunId::from_number(7),
            begun: Instant::now().checked_sub(AGE).unwrap(),
            is_tls: true,
            is_over: false,
        }
    }

    #[test]
    fn what_was_written_is_taken_and_nothing_of_it_is_left() {
        for name in [None, Some("car".parse().unwrap())] {
            let forged = HeaderValue::from_static("9000 127.0.0.1:1 0 0 1 0");
            let mut headers = HeaderMap::from_iter([
                (PASSED_ON, forged.clone()),
                (NAME, HeaderValue::from_static("van")),
                (header::HOST, HeaderValue::from_static("car.test")),
            ]);
            headers.append(PASSED_ON, forged);
            let written = PassedOn {
                name,
                ..passed_on()
            };
            written.write(&mut headers);
            let taken = PassedOn::take(&mut headers).unwrap();
            assert!(taken.begun.elapsed() >= AGE);
            let begun = written.begun;
            assert_eq!(PassedOn { begun, ..taken }, written);
            assert_eq!(headers.keys().collect::<Vec<_>>(), [header::HOST]);
        }
    }

    #[test]
    fn a_request_with_a_part_missing_or_wrong_was_not_passed_on() {
        assert_eq!(PassedOn::take(&mut HeaderMap::new()), None);
        let mut headers = HeaderMap::new();
        passed_on().write(&mut headers);
        let whole = headers[PASSED_ON].to_str().unwrap().to_owned();
        let parts: Vec<_> = whole.split(' ').collect();
        let wrong = (0..parts.len()).flat_map(|at| {
            ["", "x"].map(|wrong| {
                let mut parts = parts.clone();
                parts[at] = wrong;
                parts.join(" ")
            })
        });
        let shorter = parts[1..].join(" ");
        for text in wrong.chain([shorter, format!("{whole} 1"), String::new()]) {
            let value = HeaderValue::from_str(&text).unwrap();
            let mut headers = HeaderMap::from_iter([(PASSED_ON, value)]);
            assert_eq!(PassedOn::take(&mut headers), None, "{text}");
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn what_is_about_one_connection_stays_there() {
        let text = HeaderValue::from_static;
        let all = || {
            HeaderMap::from_iter([
                (header::CONNECTION, text("TE, X-Own")),
                (header::TE, text("trailers")),
                ("x-own".parse().unwrap(), text("1")),
                (header::TRANSFER_ENCODING, text("chunked")),
                (header::CONTENT_LENGTH, text("5")),
                (header::HOST, text("car.test")),
            ])
        };
        let left = |is_answer| {
            let mut headers = all();
            strip_connection(&mut headers, is_answer);
            let mut left: Vec<_> = headers
                .keys()
                .map(|name| name.as_str().to_owned())
                .collect();
            left.sort_unstable();
            left
        };
        assert_eq!(left(false), ["host", "te"]);
        assert_eq!(left(true), ["content-length", "host", "te"]);
    }
}

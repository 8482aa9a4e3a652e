//! Limits how many lines each party can cause, so that nobody fills a disk or buries the lines about
//! others. The lines beyond are left out, and one line tells their number.
//!
//! A party is the key that an event names, or else the address, or else the link; for an event that
//! names none, the place in the code. Errors, warnings and information of a party count apart: a
//! flood of one hides nothing of another. Debugging is not limited: somebody has asked for it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::LogThrottle;

/// Time in which a party's lines are counted.
const PERIOD: Duration = Duration::from_secs(10);
/// Lines of a party in that time: a hundred a second, which is more than people and their scripts
/// read, and a few GB a day at worst, which the size of all files bounds.
const LINES: u32 = 1000;
/// Lines of one place in the code that names no party.
const LINES_OF_A_PLACE: u32 = 10 * LINES;
/// Most parties that are told apart; all further ones count as one.
const PARTIES: usize = 1024;

/// Told of a party whose lines were left out, and of their number.
type Tell = Box<dyn Fn(&str, u64) + Send + Sync>;

/// Decides for each event whether it is logged.
pub(super) struct PartyLimit {
    parties: Mutex<Parties>,
    hasher: RandomState,
    tell: Tell,
}

#[derive(Default)]
struct Parties {
    by_id: HashMap<u64, Party>,
    swept: Option<Instant>,
}

struct Party {
    name: String,
    throttle: LogThrottle,
}

impl Party {
    /// Returns the party's name and how many of its lines were left out, if any were.
    fn take_left_out(&mut self) -> Option<(String, u64)> {
        let lines = self.throttle.take_suppressed();
        (lines > 0).then(|| (self.name.clone(), lines))
    }
}

impl Debug for PartyLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartyLimit").finish_non_exhaustive()
    }
}

impl PartyLimit {
    pub(super) fn new(tell: impl Fn(&str, u64) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            parties: Mutex::default(),
            hasher: RandomState::new(),
            tell: Box::new(tell),
        })
    }

    /// Tells what was left out and is not told yet: for the end.
    pub(super) fn tell_rest(&self) {
        let rest: Vec<_> = self
            .lock()
            .by_id
            .values_mut()
            .filter_map(Party::take_left_out)
            .collect();
        self.tell_all(&rest);
    }

    fn allows(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        let mut named = Named::default();
        event.record(&mut named);
        let (name, lines) = match named.rank {
            Rank::Place => (metadata.name().into(), LINES_OF_A_PLACE),
            Rank::From => (network(&named.value), LINES),
            Rank::Link | Rank::Key => (named.value.as_str().into(), LINES),
        };
        let level = metadata.level().as_str();
        let id = self.hasher.hash_one((level, named.rank, &name));
        let name = || match named.rank {
            Rank::Key => format!("key {name}"),
            Rank::Link => format!("link {name}"),
            Rank::Place | Rank::From => name.to_string(),
        };
        let (allowed, left_out) = self.lock().allow(id, name, lines, Instant::now());
        self.tell_all(&left_out);
        allowed
    }

    fn lock(&self) -> MutexGuard<'_, Parties> {
        self.parties.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_all(&self, left_out: &[(String, u64)]) {
        for (party, lines) in left_out {
            (self.tell)(party, *lines);
        }
    }
}

impl Parties {
    /// Returns true if this party's line is logged, and whose lines were left out, how many.
    fn allow(
        &mut self,
        id: u64,
        name: impl FnOnce() -> String,
        lines: u32,
        now: Instant,
    ) -> (bool, Vec<(String, u64)>) {
        let mut left_out = Vec::new();
        if self.swept.is_none_or(|swept| now - swept >= PERIOD) {
            self.swept = Some(now);
            self.by_id.retain(|_, party| {
                let is_over = party.throttle.is_over(now);
                if is_over {
                    left_out.extend(party.take_left_out());
                }
                !is_over
            });
        }
        let is_further = self.by_id.len() >= PARTIES && !self.by_id.contains_key(&id);
        let id = if is_further { 0 } else { id };
        let party = self.by_id.entry(id).or_insert_with(|| Party {
            name: if is_further { "others".into() } else { name() },
            throttle: LogThrottle::new(lines, PERIOD),
        });
        let allowed = party.throttle.allow(now);
        if let Some(lines @ 1..) = allowed {
            left_out.push((party.name.clone(), lines));
        }
        (allowed.is_some(), left_out)
    }
}

/// Layer in front of all others.
pub(super) struct PartyLayer(pub(super) Arc<PartyLimit>);

impl<S: Subscriber> Layer<S> for PartyLayer {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.allows(event)
    }
}

/// Field of an event that names its party. Of several fields the last of these counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Rank {
    #[default]
    Place,
    Link,
    From,
    Key,
}

/// Finds the party in an event's fields.
#[derive(Default)]
struct Named {
    rank: Rank,
    value: String,
}

impl Named {
    fn put(&mut self, field: &Field, write: impl FnOnce(&mut String)) {
        let rank = match field.name() {
            "key" => Rank::Key,
            "from" => Rank::From,
            "link" => Rank::Link,
            _ => return,
        };
        if rank > self.rank {
            self.rank = rank;
            self.value.clear();
            write(&mut self.value);
        }
    }
}

/// Returns an address without its port, and of IPv6 the network of one customer.
fn network(address: &str) -> Cow<'_, str> {
    // Nearly all addresses are of IPv4, which nothing has to be parsed for.
    let ip = address.rsplit_once(':').map_or(address, |(ip, _)| ip);
    if ip.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return ip.into();
    }
    let ip = address.parse().map(|address: SocketAddr| address.ip());
    match ip.or_else(|_| address.parse()) {
        Ok(IpAddr::V6(ip)) => {
            let network = Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64);
            format!("{network}/64").into()
        }
        _ => address.into(),
    }
}

impl Visit for Named {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, |text| {
            // Writing to a string doesn't fail.
            let _ = write!(text, "{value:?}");
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // Without keys, a caller's key is a dash.
        if !matches!(value, "" | "-") {
            self.put(field, |text| text.push_str(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(parties: &mut Parties, id: u64, now: Instant) -> usize {
        let mut ask = || parties.allow(id, || id.to_string(), LINES, now).0;
        (0..10 * LINES).filter(|_| ask()).count()
    }

    #[test]
    fn each_party_has_its_own_lines_and_what_was_left_out_is_told_even_if_it_is_silent() {
        let mut parties = Parties::default();
        let now = Instant::now();
        assert_eq!(allowed(&mut parties, 1, now), LINES as usize);
        assert_eq!(allowed(&mut parties, 2, now), LINES as usize);
        let (is_allowed, told) = parties.allow(3, || "3".to_owned(), LINES, now + PERIOD);
        assert!(is_allowed);
        let left_out = u64::from(9 * LINES);
        assert_eq!(told.len(), 2);
        for party in ["1", "2"] {
            assert!(told.contains(&(party.to_owned(), left_out)), "{told:?}");
        }
        assert_eq!(parties.by_id.len(), 1);
    }

    #[test]
    fn however_many_parties_there_are_the_table_keeps_its_bound() {
        let mut parties = Parties::default();
        let now = Instant::now();
        let mut ask = |id: u64| parties.allow(id, String::new, LINES, now).0;
        let count = (1..100_000).filter(|id| ask(*id)).count();
        assert_eq!(count, PARTIES + LINES as usize);
        assert_eq!(parties.by_id.len(), PARTIES + 1);
    }

    #[test]
    fn an_address_counts_without_its_port_and_of_ipv6_a_customer() {
        for (address, counted) in [
            ("192.0.2.1:50000", "192.0.2.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:db8:1:2:3::4]:50000", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            ("1:2:3:4:5:6:7:8", "1:2:3:4::/64"),
            ("::1", "::/64"),
            ("bob:1", "bob:1"),
        ] {
            assert_eq!(network(address), counted);
        }
    }
}

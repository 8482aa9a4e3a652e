//! Limits how many lines each party can cause, so that nobody fills a disk or buries the lines about
//! others. The lines beyond are left out, and one line tells their number.
//!
//! A party is the key that an event names, or else the address, or else the link; for an event that
//! names none, the place in the code. Errors, warnings and information of a party count apart: a
//! flood of one hides nothing of another. Debugging is not limited: somebody has asked for it.

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
            .map(|party| (party.name.clone(), party.throttle.take_suppressed()))
            .collect();
        self.tell_all(&rest);
    }

    fn allows(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        let mut named = Named::default();
        event.record(&mut named);
        let (name, lines) = match named.rank {
            Rank::Place => (metadata.name().to_owned(), LINES_OF_A_PLACE),
            rank => (named.text(rank), LINES),
        };
        let id = self
            .hasher
            .hash_one((metadata.level().as_str(), named.rank, &name));
        let (allowed, left_out) = self.lock().allow(id, name, lines, now);
        self.tell_all(&left_out);
        allowed
    }

    fn lock(&self) -> MutexGuard<'_, Parties> {
        self.parties.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_all(&self, left_out: &[(String, u64)]) {
        for (party, lines) in left_out.iter().filter(|(_, lines)| *lines > 0) {
            (self.tell)(party, *lines);
        }
    }
}

impl Parties {
    /// Returns true if this party's line is logged, and whose lines were left out, how many.
    fn allow(
        &mut self,
        id: u64,
        name: String,
        lines: u32,
        now: Instant,
    ) -> (bool, Vec<(String, u64)>) {
        let mut left_out = Vec::new();
        if self.swept.is_none_or(|swept| now - swept >= PERIOD) {
            self.swept = Some(now);
            self.by_id.retain(|_, party| {
                let is_over = party.throttle.is_over(now);
                if is_over {
                    left_out.push((party.name.clone(), party.throttle.take_suppressed()));
                }
                !is_over
            });
        }
        let is_further = self.by_id.len() >= PARTIES && !self.by_id.contains_key(&id);
        let (id, name) = match is_further {
            true => (0, "others".to_owned()),
            false => (id, name),
        };
        let party = self.by_id.entry(id).or_insert_with(|| Party {
            name,
            throttle: LogThrottle::new(lines, PERIOD),
        });
        let allowed = party.throttle.allow(now);
        if let Some(before) = allowed {
            left_out.push((party.name.clone(), before));
        }
        (allowed.is_some(), left_out)
    }
}

/// Layer in front of all others.
pub(super) struct PartyLayer(pub(super) Arc<PartyLimit>);

impl<S: Subscriber> Layer<S> for PartyLayer {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.allows(event, Instant::now())
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
    fn put(&mut self, field: &Field, value: std::fmt::Arguments<'_>) {
        let rank = match field.name() {
            "key" => Rank::Key,
            "from" => Rank::From,
            "link" => Rank::Link,
            _ => return,
        };
        if rank > self.rank {
            (self.rank, self.value) = (rank, String::new());
            // Writing to a string doesn't fail.
            let _ = self.value.write_fmt(value);
        }
    }

    /// Returns the party's name: of an address without the port, and of IPv6 the network of one
    /// customer.
    fn text(&self, rank: Rank) -> String {
        let value = &self.value;
        match rank {
            Rank::Key => format!("key {value}"),
            Rank::Link => format!("link {value}"),
            Rank::From | Rank::Place => {
                let address = value.parse().map(|address: SocketAddr| address.ip());
                match address.or_else(|_| value.parse()) {
                    Ok(IpAddr::V6(address)) => {
                        let network = Ipv6Addr::from_bits(address.to_bits() >> 64 << 64);
                        format!("{network}/64")
                    }
                    Ok(address) => address.to_string(),
                    Err(_) => value.clone(),
                }
            }
        }
    }
}

impl Visit for Named {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // Without keys, a caller's key is a dash.
        if !matches!(value, "" | "-") {
            self.put(field, format_args!("{value}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(parties: &mut Parties, id: u64, now: Instant) -> usize {
        let mut ask = || parties.allow(id, id.to_string(), LINES, now).0;
        (0..10 * LINES).filter(|_| ask()).count()
    }

    #[test]
    fn each_party_has_its_own_lines_and_what_was_left_out_is_told_even_if_it_is_silent() {
        let mut parties = Parties::default();
        let now = Instant::now();
        assert_eq!(allowed(&mut parties, 1, now), LINES as usize);
        assert_eq!(allowed(&mut parties, 2, now), LINES as usize);
        let (is_allowed, told) = parties.allow(3, "3".to_owned(), LINES, now + PERIOD);
        assert!(is_allowed);
        let told: Vec<_> = told.iter().filter(|(_, lines)| *lines > 0).collect();
        let left_out = u64::from(9 * LINES);
        assert_eq!(told.len(), 2);
        for party in ["1", "2"] {
            assert!(told.contains(&&(party.to_owned(), left_out)), "{told:?}");
        }
        assert_eq!(parties.by_id.len(), 1);
    }

    #[test]
    fn however_many_parties_there_are_the_table_keeps_its_bound() {
        let mut parties = Parties::default();
        let now = Instant::now();
        let mut ask = |id: u64| parties.allow(id, String::new(), LINES, now).0;
        let count = (1..100_000).filter(|id| ask(*id)).count();
        assert_eq!(count, PARTIES + LINES as usize);
        assert_eq!(parties.by_id.len(), PARTIES + 1);
    }
}

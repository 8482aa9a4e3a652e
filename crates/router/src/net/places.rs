//! Places of callers that have shown no key yet: which caller loses its place to a new one, and whose
//! turn is next. Pure: nothing is closed here.
//!
//! A flood from one network costs only that network's own callers, whether it comes from one address
//! or from each /64 of a /48 that somebody has. Of a network any caller may go, not the oldest: a
//! caller far away needs longer and would otherwise never get through.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use crate::net::client_net::ClientNet;

/// Bits of the networks that are counted, the largest network first: what a provider, a customer
/// and a home get (RFC 6177). An IPv4 address is a network of each size.
const PREFIXES: [u32; 3] = [48, 56, 64];

/// Most callers in each room.
#[derive(Debug, Clone, Copy)]
pub struct Rooms {
    /// In the room for everybody.
    pub common: usize,
    /// Of one network in that room.
    pub of_one: usize,
    /// In the room for networks from which a right key came.
    pub known: usize,
}

impl Rooms {
    /// Returns the same rooms for at most so many callers, and so many known ones.
    pub(crate) fn at_most(self, common: usize, known: usize) -> Self {
        Self {
            common: self.common.min(common),
            of_one: self.of_one.min(common),
            known: self.known.min(known),
        }
    }
}

/// Callers with a place; `T` is what stands for one.
#[derive(Debug)]
pub(crate) struct Places<T> {
    rooms: Rooms,
    common: Room<T>,
    known: Room<T>,
    next: u64,
    randomness: RandomState,
}

/// Ordered by network and then by age, so that the callers of a network are together.
#[derive(Debug)]
struct Room<T>(Vec<Taken<T>>);

#[derive(Debug)]
struct Taken<T> {
    place: Place,
    caller: T,
}

/// Place of one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    net: u128,
    number: u64,
}

impl<T> Places<T> {
    pub(crate) fn new(rooms: Rooms) -> Self {
        Self {
            rooms,
            common: Room(Vec::new()),
            known: Room(Vec::new()),
            next: 0,
            randomness: RandomState::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.common.0.is_empty() && self.known.0.is_empty()
    }

    /// Adds a caller. Returns the one that has to be closed for it: any of the network that has
    /// most. A known network has a room of its own, until it has most there.
    pub(crate) fn enter(
        &mut self,
        net: ClientNet,
        is_known: bool,
        caller: T,
    ) -> (Place, Option<T>) {
        let (net, roll) = (net.bits(), self.roll());
        let place = Place {
            net,
            number: self.next,
        };
        let taken = Taken { place, caller };
        if is_known {
            if self.known.0.len() < self.rooms.known {
                self.known.add(taken);
                return (place, None);
            }
            let busiest = self.known.busiest(roll);
            if self
                .known
                .0
                .get(busiest.start)
                .is_some_and(|one| one.place.net != net)
            {
                let gone = self.known.remove_any(busiest, roll);
                self.known.add(taken);
                return (place, gone);
            }
        }
        let here = self.common.of(net);
        let crowd = if here.len() >= self.rooms.of_one {
            Some(here)
        } else if self.common.0.len() >= self.rooms.common {
            Some(self.common.busiest(roll))
        } else {
            None
        };
        let gone = crowd.and_then(|crowd| self.common.remove_any(crowd, roll));
        self.common.add(taken);
        (place, gone)
    }

    /// Removes a caller; one that was closed for another is gone already.
    pub(crate) fn leave(&mut self, place: Place) {
        for room in [&mut self.common, &mut self.known] {
            if let Ok(at) = room.0.binary_search_by_key(&place, |taken| taken.place) {
                room.0.remove(at);
            }
        }
    }

    /// Takes the caller whose turn it is: half of the turns are for known networks, and all networks
    /// have the same chance, however many callers one has. Of one network it is the oldest caller.
    pub(crate) fn take_next(&mut self) -> Option<T> {
        let roll = self.roll();
        let mut rooms = [&mut self.known, &mut self.common];
        if roll >> 63 == 1 {
            rooms.reverse();
        }
        rooms.into_iter().find_map(|room| room.next(roll))
    }

    /// Returns a number that nobody outside can guess.
    fn roll(&mut self) -> u64 {
        self.next += 1;
        self.randomness.hash_one(self.next)
    }
}

impl<T> Room<T> {
    fn add(&mut self, taken: Taken<T>) {
        let at = self.0.partition_point(|other| other.place < taken.place);
        self.0.insert(at, taken);
    }

    /// Returns where the callers of a network are.
    fn of(&self, net: u128) -> Range<usize> {
        let start = self.0.partition_point(|taken| taken.place.net < net);
        start..self.0.partition_point(|taken| taken.place.net <= net)
    }

    /// Returns where the networks with this prefix are in `part`, one after the other.
    fn networks(&self, part: Range<usize>, prefix: u32) -> impl Iterator<Item = Range<usize>> {
        let network = move |taken: &Taken<T>| taken.place.net >> (u128::BITS - prefix);
        let mut start = part.start;
        let parts = self.0[part].chunk_by(move |a, b| network(a) == network(b));
        parts.map(move |callers| {
            let here = start..start + callers.len();
            start = here.end;
            here
        })
    }

    /// Returns where the network is that has most: of the largest networks, then of those in it. Of
    /// networks that have as many it is any.
    fn busiest(&self, roll: u64) -> Range<usize> {
        let mut part = 0..self.0.len();
        for prefix in PREFIXES {
            let any = |here: &Range<usize>| (here.start as u64 ^ roll).wrapping_mul(u64::MAX / 11);
            let busiest = self
                .networks(part.clone(), prefix)
                .max_by_key(|here| (here.len(), any(here)));
            part = busiest.unwrap_or(part);
        }
        part
    }

    fn remove_any(&mut self, part: Range<usize>, roll: u64) -> Option<T> {
        let at = part.start + pick(part.len(), roll)?;
        Some(self.0.remove(at).caller)
    }

    fn next(&mut self, roll: u64) -> Option<T> {
        let mut part = 0..self.0.len();
        for (prefix, turns) in PREFIXES.into_iter().zip([0, 20, 40]) {
            let count = self.networks(part.clone(), prefix).count();
            let which = pick(count, roll.rotate_right(turns))?;
            part = self.networks(part, prefix).nth(which)?;
        }
        Some(self.0.remove(part.start).caller)
    }
}

/// Returns one of so many; `None` of none.
fn pick(count: usize, roll: u64) -> Option<usize> {
    let rest = roll.checked_rem(count as u64)?;
    usize::try_from(rest).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::net::limits;

    fn net(n: u32) -> ClientNet {
        IpAddr::from(Ipv4Addr::from_bits(n)).into()
    }

    /// A /64 of 2001:db8::/48.
    fn home(n: u16) -> ClientNet {
        IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, n, 0, 0, 0, 1)).into()
    }

    fn places<T>() -> Places<T> {
        Places::new(limits::UNAUTHENTICATED)
    }

    const OF_ONE: usize = limits::UNAUTHENTICATED.of_one;
    const ALL: usize = limits::UNAUTHENTICATED.common;

    #[test]
    fn a_flood_from_one_address_costs_only_its_own_and_not_always_the_oldest() {
        let mut places = places();
        assert_eq!(places.enter(net(2), false, None).1, None);
        let mut gone = Vec::new();
        for n in 0..OF_ONE + 1000 {
            gone.extend(places.enter(net(1), false, Some(n)).1);
        }
        assert_eq!(gone.len(), 1000);
        assert!(gone.iter().all(Option::is_some));
        assert!(!gone.is_sorted());
        assert_eq!(places.common.0.len(), OF_ONE + 1);
    }

    #[test]
    fn who_is_far_away_stays_while_five_thousand_a_second_come_from_one_48() {
        for honest in [
            net(9),
            home(0x1234),
            "2001:db8:1::1".parse::<IpAddr>().unwrap().into(),
        ] {
            let is_inside = honest == home(0x1234);
            let mut stayed = 0;
            for _ in 0..5 {
                let mut places = places();
                let mut n = 0;
                let mut flood = |places: &mut Places<&str>, count: u16| {
                    (0..count).all(|_| {
                        n += 1;
                        places.enter(home(n), false, "flood").1 != Some("honest")
                    })
                };
                flood(&mut places, 600);
                places.enter(honest, false, "honest");
                // Two round trips of 80 ms, and as many again.
                stayed += usize::from(flood(&mut places, 5 * 320));
            }
            // Whoever shares the flood's own network has its chance, as any there.
            assert!(stayed == 5 || is_inside, "{stayed}");
        }
    }

    #[test]
    fn in_the_busiest_large_network_the_busiest_small_one_goes() {
        let mut places = places();
        for n in 0..ALL {
            // Half of all from one /56, and of that half from one /64.
            let (net, name) = match n % 4 {
                0 => (net(u32::try_from(n).unwrap()), "far"),
                1 => (home(u16::try_from(n).unwrap() << 8), "another /56"),
                2 => (home(u16::try_from(n).unwrap() % 256), "another /64"),
                _ => (home(7), "busy"),
            };
            assert_eq!(places.enter(net, false, name).1, None);
        }
        for _ in 0..60 {
            assert_eq!(places.enter(net(1 << 20), false, "new").1, Some("busy"));
        }
    }

    #[test]
    fn addresses_of_right_keys_have_places_of_their_own() {
        let mut places = places();
        places.enter(net(1), true, "honest");
        // From as many networks as there are callers: any goes.
        for n in 2..5000 {
            assert_ne!(places.enter(net(n), false, "flood").1, Some("honest"));
        }
        // One of the known addresses is the flood's.
        for _ in 0..1000 {
            assert_ne!(places.enter(net(3), true, "flood").1, Some("honest"));
        }
        assert_eq!(places.enter(net(4), true, "another").1, Some("flood"));
    }

    #[test]
    fn each_network_has_its_turn_however_many_wait_from_another() {
        let mut places = places();
        for _ in 0..200 {
            places.enter(net(1), false, 0);
            places.enter(home(0), false, 1);
            places.enter(home(1), false, 1);
        }
        places.enter(net(2), false, 2);
        let turn = (0..).find(|_| places.take_next() == Some(2)).unwrap();
        assert!(turn < 100, "{turn}");
        let mut counts = HashMap::<_, usize>::new();
        for _ in 0..200 {
            *counts.entry(places.take_next().unwrap()).or_default() += 1;
        }
        assert!(counts[&0] > 50 && counts[&1] > 50, "{counts:?}");
        // A flood from a known address keeps nobody waiting either, nor others it.
        for _ in 0..200 {
            places.enter(net(4), true, 4);
        }
        places.enter(net(3), true, 3);
        places.enter(net(5), false, 5);
        let turns: Vec<_> = (0..100).map(|_| places.take_next()).collect();
        assert!(
            turns.contains(&Some(3)) && turns.contains(&Some(5)),
            "{turns:?}"
        );
    }

    #[test]
    fn of_one_network_the_oldest_is_next() {
        let mut places = places();
        for n in 0..10 {
            places.enter(net(1), false, n);
        }
        let all: Vec<_> = std::iter::from_fn(|| places.take_next()).collect();
        assert!(all.is_sorted() && all.len() == 10);
        assert!(places.is_empty());
    }

    #[test]
    fn whoever_has_left_is_never_sent_away_and_nothing_is_kept_of_him() {
        let mut places = places();
        let (a, _) = places.enter(net(1), false, "a");
        let (b, _) = places.enter(net(1), true, "b");
        places.leave(a);
        places.leave(a);
        assert!(!places.is_empty());
        places.leave(b);
        assert!(places.is_empty());
    }
}

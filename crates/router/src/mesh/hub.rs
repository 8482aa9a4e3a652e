//! A bus within a process, for tests and the simulation: it loses, delays, repeats and reorders, and
//! splits members from each other, all from a seed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::mesh::bus::{Bus, BusEnd};
use crate::mesh::id::Start;
use crate::mesh::message::Topic;

/// Most messages that wait for a member; what comes beyond that is lost.
const MOST_WAITING: usize = 4096;

/// What a bus does to each message.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Of a thousand messages, so many are lost, and so many come twice.
    pub lost: u64,
    pub repeated: u64,
    /// Each takes up to this long: so they overtake each other.
    pub delay: Duration,
}

/// The bus of all members; clones share it.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Mutex<Inside>>);

struct Inside {
    seed: u64,
    faults: Faults,
    members: BTreeMap<Start, Connected>,
    /// All that was published, if somebody wants to see it.
    recorded: Option<Vec<(Topic, Bytes)>>,
}

struct Connected {
    incoming: mpsc::Sender<Bytes>,
    is_connected: watch::Sender<bool>,
    /// Members of another side hear nothing.
    side: u32,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub")
    }
}

struct HubEnd {
    hub: Hub,
    start: Start,
}

impl Hub {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inside {
            seed,
            faults: Faults::default(),
            members: BTreeMap::new(),
            recorded: None,
        })))
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// Connects a member.
    pub(crate) fn connect(&self, start: Start) -> BusEnd {
        let (sender, incoming) = mpsc::channel(MOST_WAITING);
        let (connected, is_connected) = watch::channel(true);
        let member = Connected {
            incoming: sender,
            is_connected: connected,
            side: 0,
        };
        self.0.lock().members.insert(start, member);
        let hub = self.clone();
        BusEnd {
            bus: Box::new(HubEnd { hub, start }),
            incoming,
            is_connected,
            task: None,
        }
    }

    /// Puts a member on a side: it hears only those on the same.
    pub(crate) fn set_side(&self, of: Start, side: u32) {
        if let Some(member) = self.0.lock().members.get_mut(&of) {
            member.side = side;
        }
    }

    /// Takes the bus away from a member, which learns of that, or gives it back.
    pub(crate) fn set_connected(&self, of: Start, is_connected: bool) {
        if let Some(member) = self.0.lock().members.get_mut(&of) {
            member.is_connected.send_replace(is_connected);
        }
    }

    /// Records what is published from now on; returns what was so far.
    pub(crate) fn record(&self) -> Vec<(Topic, Bytes)> {
        (self.0.lock().recorded.replace(Vec::new())).unwrap_or_default()
    }

    /// Says something to a member as anybody can who has the bus.
    pub(crate) fn inject(&self, to: Start, message: Bytes) {
        if let Some(member) = self.0.lock().members.get(&to) {
            let _ = member.incoming.try_send(message);
        }
    }
}

impl Inside {
    /// A number below a bound, by splitmix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound.max(1)
    }
}

impl Bus for HubEnd {
    fn publish(&self, to: Topic, message: Bytes) {
        let mut inside = self.hub.0.lock();
        if let Some(recorded) = &mut inside.recorded {
            recorded.push((to, message.clone()));
        }
        let Some((side, true)) =
            (inside.members.get(&self.start)).map(|own| (own.side, *own.is_connected.borrow()))
        else {
            return;
        };
        let is_for = |start: Start| match to {
            Topic::All => start != self.start,
            Topic::Member(member) => start == member,
        };
        let members = inside.members.iter();
        let hearing = members.filter(|(start, member)| {
            is_for(**start) && member.side == side && *member.is_connected.borrow()
        });
        let hearing: Vec<_> = hearing.map(|(_, member)| member.incoming.clone()).collect();
        for incoming in hearing {
            let faults = inside.faults;
            if inside.below(1000) < faults.lost {
                continue;
            }
            let times = 1 + u64::from(inside.below(1000) < faults.repeated);
            for _ in 0..times {
                let micros = inside.below(p2p_shared::timing::micros(faults.delay) + 1);
                let (incoming, message) = (incoming.clone(), message.clone());
                if micros == 0 {
                    let _ = incoming.try_send(message);
                    continue;
                }
                tokio::spawn(async move {
                    sleep(Duration::from_micros(micros)).await;
                    let _ = incoming.try_send(message);
                });
            }
        }
    }
}

impl Drop for HubEnd {
    fn drop(&mut self) {
        self.hub.0.lock().members.remove(&self.start);
    }
}

//! All that a member knows and decides: given messages, claims, records and the time, says what to send.
//! Has no clock, no socket and no task.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_shared::os::random_u64;

use crate::mesh::claims::Claims;
use crate::mesh::directory::Directory;
use crate::mesh::exchange::{Inflow, Outflow};
use crate::mesh::id::{MemberAddress, MemberId, Start};
use crate::mesh::members::{ALIVE, MemberEvent, Members};
use crate::mesh::message::{Alive, KeyDigests, Message, Topic};
use crate::mesh::record::PortRecord;
use crate::mesh::secret::MeshSecret;

mod claiming;
mod freed;
mod receive;
mod records;

pub(crate) use claiming::Begun;
pub(crate) use receive::Opened;

/// Shortest time between two messages by which this member says that it lives.
const SOON: Duration = Duration::from_millis(50);
/// Time between looks at who is silent.
const LOOK: Duration = Duration::from_millis(100);
/// Time in which a member meets those that are there, once the bus is up.
const MEETING: Duration = Duration::from_millis(500);
/// Time for which a router that starts waits for the bus before it gives ports that nobody is known to hold.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time, by the clock of timers and by the one that people set, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub instant: Instant,
    pub clock: u64,
}

/// What this router has open, for the others to see.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    pub links: u32,
    pub consoles: u32,
}

/// A port whose car did not come back after its router was gone: this member keeps it for its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Orphan {
    pub record: Arc<PortRecord>,
    pub away: Duration,
}

/// What the members say and what they may do.
#[derive(Debug)]
pub(crate) struct State {
    pub id: MemberId,
    pub start: Start,
    pub directory: Directory,
    pub members: Members,
    pub claims: Claims,
    pub load: Load,
    secret: MeshSecret,
    address: MemberAddress,
    started: u64,
    is_draining: bool,
    began: Instant,
    /// Since when the bus is up.
    connected: Option<Instant>,
    looked_at: Option<Instant>,
    outflow: Outflow,
    inflow: Inflow,
    alive_at: Option<Instant>,
    /// Messages to be sent.
    out: VecDeque<(Topic, Message)>,
    /// Ports whose holder may have changed.
    changed: BTreeSet<u16>,
    orphans: Vec<Orphan>,
    /// Since when those had a port of whom nothing is known any more, as their router is gone.
    pub(super) forgotten: BTreeMap<u16, u64>,
    /// Messages that nobody who knows the secret has sent, or that came twice.
    pub refused_messages: u64,
}

impl State {
    /// # Errors
    /// If there is no random number.
    pub(crate) fn new(
        secret: MeshSecret,
        address: MemberAddress,
        now: Now,
    ) -> anyhow::Result<Self> {
        let start = Start(random_u64()?);
        Ok(Self {
            id: MemberId::from_bits(random_u64()?),
            start,
            directory: Directory::new(start),
            members: Members::new(start, now.instant)?,
            claims: Claims::default(),
            load: Load::default(),
            secret,
            address,
            started: now.clock,
            is_draining: false,
            began: now.instant,
            connected: None,
            looked_at: None,
            outflow: Outflow::default(),
            inflow: Inflow::default(),
            alive_at: None,
            out: VecDeque::new(),
            changed: BTreeSet::new(),
            orphans: Vec::new(),
            forgotten: BTreeMap::new(),
            refused_messages: 0,
        })
    }

    /// Draws another id if an older member has this one.
    fn settle_id(&mut self) {
        while self.members.has_taken(self.id, self.started)
            && let Ok(bits) = random_u64()
        {
            self.id = MemberId::from_bits(bits);
            self.alive_at = None;
        }
    }

    /// Lets the time go on. Returns what has changed among the members.
    pub(crate) fn poll(&mut self, is_connected: bool, now: Now) -> Vec<MemberEvent> {
        if is_connected != self.connected.is_some() {
            self.connected = is_connected.then_some(now.instant);
            // Whoever is there is to know at once.
            self.alive_at = None;
            self.looked_at = None;
        }
        let is_time = self
            .looked_at
            .is_none_or(|at| now.instant.saturating_duration_since(at) >= LOOK);
        let events = if is_time {
            self.look(is_connected, now)
        } else {
            Vec::new()
        };
        self.flush(now.instant);
        let is_due = self.alive_at.is_none_or(|at| {
            let pause = if self.members.is_awaited() {
                SOON
            } else {
                ALIVE
            };
            now.instant.saturating_duration_since(at) >= pause
        });
        if is_due {
            self.tell_all_freed();
            self.say_alive(now);
        }
        events
    }

    /// Looks at who is silent.
    fn look(&mut self, is_connected: bool, now: Now) -> Vec<MemberEvent> {
        self.looked_at = Some(now.instant);
        let mut events = self.members.poll(self.id, is_connected, now.instant);
        for (start, by) in self.members.replaced(&self.address, now.instant) {
            // The ports stay known until the new start has told its own.
            if by.is_none_or(|by| self.is_in_step(by)) {
                events.extend(self.members.replace(start));
                self.replace(start, by.unwrap_or(self.start), now.instant);
            }
        }
        for event in &events {
            self.on_event(Some(event), now);
        }
        events
    }

    /// When [`poll`](Self::poll) is to be called next, if nothing else happens.
    pub(crate) fn next_poll(&self, now: Instant) -> Instant {
        let pause = if self.members.is_awaited() {
            SOON
        } else {
            ALIVE
        };
        self.alive_at.map_or(now, |at| at + pause)
    }

    fn is_in_step(&self, with: Start) -> bool {
        let known = self
            .directory
            .table(with)
            .map_or((0, 0), |table| (table.rev, table.digest));
        self.members.table_of(with) == Some(known)
    }

    fn on_event(&mut self, event: Option<&MemberEvent>, now: Now) {
        match event {
            Some(MemberEvent::Away(member)) => {
                self.claims.away(member.start);
                self.inflow.forget(member.start);
                self.touch_all(member.start, now.instant);
            }
            Some(MemberEvent::Gone(member)) => self.bury(member, now.instant),
            _ => {}
        }
    }

    /// True if this member knows what the others hold, or is not likely to learn it soon.
    pub(crate) fn is_informed(&self, now: Instant) -> bool {
        match self.connected {
            Some(since) => now >= since + MEETING && !self.inflow.is_waiting(now),
            None => now >= self.began + PATIENCE,
        }
    }

    /// Tells the others, at once, what this router knows of keys.
    pub(crate) fn set_keys(&mut self, keys: KeyDigests) {
        if self.members.own_keys.replace(keys) != Some(keys) {
            self.alive_at = None;
        }
    }

    pub(crate) fn drain(&mut self) {
        self.is_draining = true;
        self.alive_at = None;
    }

    /// Tells the others that this member ends now.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.flush(now);
        self.send(Topic::All, Message::Left);
    }

    fn flush(&mut self, now: Instant) {
        for delta in self.outflow.deltas(self.directory.own(), now) {
            self.send(Topic::All, Message::Delta(delta));
        }
    }

    fn say_alive(&mut self, now: Now) {
        let (challenge, heard) = self.members.introduction();
        let own = self.directory.own();
        let alive = Alive {
            id: self.id,
            address: self.address.clone(),
            started: self.started,
            clock: now.clock,
            draining: self.is_draining,
            links: self.load.links,
            consoles: self.load.consoles,
            rev: own.rev,
            digest: own.digest,
            keys: self.members.own_keys,
            challenge,
            heard: heard.into_iter().collect(),
        };
        self.alive_at = Some(now.instant);
        self.send(Topic::All, Message::Alive(alive));
    }

    fn send(&mut self, to: Topic, message: Message) {
        self.out.push_back((to, message));
    }

    pub(crate) fn take_out(&mut self) -> VecDeque<(Topic, Message)> {
        std::mem::take(&mut self.out)
    }

    pub(crate) fn take_changed(&mut self) -> BTreeSet<u16> {
        std::mem::take(&mut self.changed)
    }

    pub(crate) fn take_orphans(&mut self) -> Vec<Orphan> {
        std::mem::take(&mut self.orphans)
    }
}

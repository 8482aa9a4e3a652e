//! All that a member knows and decides: given messages, claims, records and the time, says what to send.
//! Has no clock, no socket and no task.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_shared::os::random_u64;

use crate::mesh::claims::Claims;
use crate::mesh::directory::{Directory, Entry};
use crate::mesh::exchange::{Inflow, Outflow};
use crate::mesh::id::{MemberAddress, MemberId, Start};
use crate::mesh::members::{ALIVE, Member, MemberEvent, MemberState, Members};
use crate::mesh::message::{Alive, Message, Topic};
use crate::mesh::record::{HeldState, LinkStamp, PortRecord};
use crate::mesh::secret::MeshSecret;
use crate::net::client_net::QuotaOwner;

mod claiming;
mod receive;

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
/// Most orphans that nobody has taken yet: a record for each port.
const MOST_ORPHANS: usize = 65_536;

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
                self.touch_all(member.start);
            }
            Some(MemberEvent::Gone(member)) => self.bury(member, now.instant),
            _ => {}
        }
    }

    /// Forgets what a former start of a router said of the ports of which its new one says something. The cars
    /// of the others have yet to come back.
    fn replace(&mut self, former: Start, by: Start, now: Instant) {
        let ports = |of| {
            let table = self.directory.table(of).into_iter();
            table.flat_map(|table| table.entries.keys().copied())
        };
        let told: BTreeSet<u16> = ports(by).collect();
        let known: Vec<u16> = ports(former).filter(|port| told.contains(port)).collect();
        for port in &known {
            self.directory.remove(former, *port);
        }
        self.touched(known, now);
    }

    /// Forgets what a member held. What nobody else holds is kept for its key by the first of the members; by
    /// the others, too, if that did nothing.
    fn bury(&mut self, member: &Member, now: Instant) {
        self.inflow.forget(member.start);
        let away = match member.state {
            MemberState::Away { since } => since,
            _ => now,
        };
        let is_first = self.members.is_first(self.id, away);
        let held: Vec<Entry> = (self.directory.table(member.start))
            .map_or_else(Vec::new, |table| table.entries.values().cloned().collect());
        let ports = self.directory.forget(member.start);
        for Entry { record, since, .. } in held {
            let last = self.forgotten.entry(record.port).or_default();
            *last = record.held_since.max(*last);
            let is_kept = matches!(record.owner, QuotaOwner::Key(_));
            let is_held = self.directory.holder(record.port).is_some();
            if is_held || !(is_first || is_kept) || self.orphans.len() >= MOST_ORPHANS {
                continue;
            }
            if is_kept {
                let state = HeldState::Kept;
                let kept = PortRecord::clone(&record);
                self.set_own(record.port, Some(PortRecord { state, ..kept }), now);
            }
            let since = match record.state {
                HeldState::Up => away,
                _ => since,
            };
            self.orphans.push(Orphan {
                record,
                away: now.saturating_duration_since(since),
            });
        }
        self.touched(ports, now);
    }

    /// True if this member knows what the others hold, or is not likely to learn it soon.
    pub(crate) fn is_informed(&self, now: Instant) -> bool {
        match self.connected {
            Some(since) => now >= since + MEETING && !self.inflow.is_waiting(now),
            None => now >= self.began + PATIENCE,
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

    /// Sets what this router has of a port.
    pub(crate) fn set_own(&mut self, port: u16, mut record: Option<PortRecord>, now: Instant) {
        if record.is_none() && self.is_draining {
            // The others keep the ports of a router that ends, for cars that go to them.
            return;
        }
        if let Some(record) = &mut record {
            record.held_since = self.held_first(record);
            self.lift(record);
        }
        if self.directory.set_own(port, record, now) {
            self.outflow.changed(port, self.directory.own().rev);
            self.changed.insert(port);
        }
    }

    /// The moment from which the identity of a record has had its port, by all that is known.
    fn held_first(&self, record: &PortRecord) -> u64 {
        let all = self.directory.records(record.port);
        let same = all.filter(|(_, entry)| entry.record.identity == record.identity);
        let since = same.map(|(_, entry)| entry.record.held_since);
        since.chain([record.held_since]).min().unwrap_or_default()
    }

    /// Lifts the epoch of a link above those of the same process' earlier dials: the car itself is the judge of
    /// which is its last link, whatever the clocks say. One that does not count its dials has a link at most
    /// at one member: what is up counts more than what is lost.
    fn lift(&self, record: &mut PortRecord) {
        let Some(link) = &mut record.link else { return };
        for (start, entry) in self.directory.records(record.port) {
            let is_same = |other: &LinkStamp| {
                entry.record.identity == record.identity && other.instance == link.instance
            };
            let Some(other) = entry.record.link.filter(is_same) else {
                continue;
            };
            let is_lost = entry.record.state != HeldState::Up && record.state == HeldState::Up;
            let is_earlier = other.dial < link.dial || (other.dial == link.dial && is_lost);
            if start == self.start && other.dial == link.dial {
                link.epoch = link.epoch.max(other.epoch);
            } else if start != self.start && is_earlier && other.epoch >= link.epoch {
                link.epoch = other.epoch.next();
            }
        }
    }

    fn own_record(&self, port: u16) -> Option<PortRecord> {
        let entry = self.directory.own().entries.get(&port)?;
        Some(PortRecord::clone(&entry.record))
    }

    /// Notes that other members' records of these ports have changed. Of one identity all take over since when
    /// it has had the port, before anybody looks which of them counts.
    fn touched(&mut self, ports: Vec<u16>, now: Instant) {
        for port in &ports {
            self.claims.recorded(*port);
            let Some(own) = self.own_record(*port) else {
                continue;
            };
            let first = self.held_first(&own);
            let records = self.directory.records(*port);
            let later = records.filter(|(start, entry)| {
                *start != self.start
                    && entry.record.identity == own.identity
                    && entry.record.held_since > first
            });
            let later: Vec<Start> = later.map(|(start, _)| start).collect();
            // The own record may be withdrawn before they have seen it.
            for start in later {
                let told = Message::HeldSince {
                    port: *port,
                    identity: own.identity.clone(),
                    held_since: first,
                };
                self.send(Topic::Member(start), told);
            }
            // What there is to be lifted is lifted.
            self.set_own(*port, Some(own), now);
        }
        self.changed.extend(ports);
    }

    fn touch_all(&mut self, of: Start) {
        if let Some(table) = self.directory.table(of) {
            self.changed.extend(table.entries.keys());
        }
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

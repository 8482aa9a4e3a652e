//! Knows the other members: who is believed, who is present, and who is away. Given the time and what
//! arrives; has no clock and no socket.
//!
//! A start of a member is believed once it has repeated this member's challenge, a random number that is
//! drawn anew every few seconds: so nothing that was recorded before is taken for a member, whatever any
//! clock shows. From then on each of its numbers counts once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_shared::os::random_u64;
use p2p_shared::timing;

use crate::mesh::id::{MemberAddress, MemberId, Start};
use crate::mesh::message::{Alive, Heard, KeyDigests};
use crate::mesh::seal::StartKey;

mod keys;
mod known;

pub(crate) use keys::ToldKeys;
use known::Known;
pub(crate) use known::{Member, MemberEvent, MemberState};

/// Time between two messages by which a member says that it lives.
pub(crate) const ALIVE: Duration = Duration::from_secs(1);
/// Silence after which a member is away: three of its messages were lost.
pub(crate) const AWAY: Duration = Duration::from_secs(3);
/// Time by which the first of the members forgets one that is gone, and takes over what is to be kept, before
/// the others do: they have not all heard it last at the same moment.
const SECOND: Duration = Duration::from_secs(4);
/// Time for which a challenge is shown; it is good for as long again.
const CHALLENGE: Duration = Duration::from_secs(10);
/// Most members: as many as there are ids.
const MOST: usize = 1 << MemberId::BITS;
/// Most starts that have not yet repeated the challenge: whoever is one knows the secret.
const MOST_STRANGERS: usize = 64;
/// Time by which the clock that epochs are made of may differ from all other members' clocks.
const CLOCK_OFF: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(crate) struct Members {
    own: Start,
    challenge: u64,
    challenge_before: u64,
    challenge_at: Instant,
    known: BTreeMap<Start, Known>,
    /// Starts that have not yet repeated the challenge, their own one, and when they were heard.
    strangers: BTreeMap<Start, (u64, Instant)>,
    /// Somebody waits for this member's challenge, or for its own to be repeated.
    is_awaited: bool,
    /// The bus is down, or was so until this moment less [`AWAY`]: silence means nothing.
    deaf_until: Option<Instant>,
    /// What this member knows of keys, and when another one was last known to know the same.
    pub own_keys: Option<KeyDigests>,
    pub agreed_at: Option<Instant>,
    /// Somebody has told of other keys.
    have_keys_changed: bool,
}

impl Members {
    /// # Errors
    /// If there is no random number.
    pub(crate) fn new(own: Start, now: Instant) -> anyhow::Result<Self> {
        Ok(Self {
            own,
            challenge: random_u64()?,
            challenge_before: random_u64()?,
            challenge_at: now,
            known: BTreeMap::new(),
            strangers: BTreeMap::new(),
            is_awaited: false,
            deaf_until: None,
            own_keys: None,
            agreed_at: None,
            have_keys_changed: false,
        })
    }

    /// The key of a start that is known.
    pub(crate) fn key(&self, of: Start) -> Option<Arc<StartKey>> {
        self.known.get(&of).map(|known| known.key.clone())
    }

    pub(crate) fn get(&self, start: Start) -> Option<&Member> {
        self.known.get(&start).map(|known| &known.member)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Member> {
        self.known.values().map(|known| &known.member)
    }

    pub(crate) fn present(&self) -> impl Iterator<Item = &Member> {
        self.all().filter(|member| !member.is_away())
    }

    /// Returns true if this start of a member will never say anything more, as far as is known.
    pub(crate) fn is_over(&self, start: Start) -> bool {
        let known = self.known.get(&start);
        known.is_none_or(|known| known.has_left || known.is_replaced)
    }

    /// Revision and digest that a member told of its table last.
    pub(crate) fn table_of(&self, start: Start) -> Option<(u64, u64)> {
        let known = self.known.get(&start)?;
        Some((known.rev, known.digest))
    }

    /// The challenge to show, and the members to list, in what this member says next.
    pub(crate) fn introduction(&mut self) -> (u64, Vec<Heard>) {
        self.is_awaited = false;
        let known = (self.known.iter()).filter(|(_, known)| !known.member.is_away());
        let known = known.map(|(start, known)| (*start, known.challenge));
        let strangers = self.strangers.iter();
        let strangers = strangers.map(|(start, (challenge, _))| (*start, *challenge));
        let heard = known.chain(strangers);
        let heard = heard.map(|(start, challenge)| Heard { start, challenge });
        (self.challenge, heard.collect())
    }

    /// True if somebody waits for [`introduction`](Self::introduction).
    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// Notes a message of a member that is known. Returns false if it is not to be taken: it was taken
    /// before, or its sender has left.
    pub(crate) fn take(&mut self, of: Start, number: u64) -> bool {
        let Some(known) = self.known.get_mut(&of) else {
            return false;
        };
        known.window.take(number) && !known.has_left
    }

    /// Notes that a member, which is known, lives.
    pub(crate) fn alive(&mut self, of: Start, alive: &Alive, now: Instant) -> Option<MemberEvent> {
        let known = self.known.get_mut(&of)?;
        self.have_keys_changed |= known.member.keys != alive.keys;
        let was_away = known.member.is_away();
        known.hear(alive, now);
        let member = was_away.then(|| known.member.clone())?;
        // It may have forgotten this one meanwhile.
        self.is_awaited = true;
        Some(MemberEvent::Back(member))
    }

    /// Meets a start that is not known: it becomes a member if it has repeated the challenge.
    pub(crate) fn meet(
        &mut self,
        of: Start,
        number: u64,
        key: Arc<StartKey>,
        alive: &Alive,
        now: Instant,
    ) -> Option<MemberEvent> {
        self.is_awaited = true;
        if !self.is_fresh(alive) || self.known.len() >= MOST {
            self.strangers.insert(of, (alive.challenge, now));
            if self.strangers.len() > MOST_STRANGERS {
                let oldest = self.strangers.iter().min_by_key(|(_, (_, at))| *at);
                if let Some(oldest) = oldest.map(|(start, _)| *start) {
                    self.strangers.remove(&oldest);
                }
            }
            return None;
        }
        self.strangers.remove(&of);
        let known = Known::new(of, number, key, alive, now);
        let member = known.member.clone();
        self.known.insert(of, known);
        self.have_keys_changed = true;
        Some(MemberEvent::Joined(member))
    }

    /// Returns true if this was said by one who has heard this member's challenge lately.
    fn is_fresh(&self, alive: &Alive) -> bool {
        let challenges = [self.challenge, self.challenge_before];
        let mut heard = alive.heard.iter().filter(|heard| heard.start == self.own);
        heard.any(|heard| challenges.contains(&heard.challenge))
    }

    /// Notes that a member has said that it ends.
    pub(crate) fn left(&mut self, of: Start, now: Instant) -> Option<MemberEvent> {
        let known = self.known.get_mut(&of)?;
        known.has_left = true;
        known.go_away(now)
    }

    /// Notes that a connection to a member lives, whatever the bus brings: who is away stays so, and is not
    /// forgotten.
    pub(crate) fn reached(&mut self, of: Start, now: Instant) {
        if let Some(known) = self.known.get_mut(&of).filter(|known| !known.has_left) {
            known.heard_at = known.heard_at.max(now);
        }
    }

    /// Notes that another start of the same router has taken a member's place.
    pub(crate) fn replace(&mut self, of: Start) -> Option<MemberEvent> {
        let known = self.known.get_mut(&of)?;
        known.is_replaced = true;
        known.go_away(known.heard_at)
    }

    /// Members that are silent while a router at their address, which is `own` or another member's, is
    /// not: it was started anew.
    pub(crate) fn replaced(
        &self,
        own: &MemberAddress,
        now: Instant,
    ) -> Vec<(Start, Option<Start>)> {
        let is_silent =
            |known: &Known| known.member.is_away() || known.silence(now) > ALIVE + ALIVE / 2;
        let is_new = |known: &Known| is_silent(known) && !known.is_replaced;
        let mut replaced = Vec::new();
        for (start, known) in self.known.iter().filter(|(_, known)| is_new(known)) {
            let mut others = self.known.iter();
            let by = others.find(|(_, other)| {
                other.member.address == known.member.address && !is_silent(other)
            });
            if *known.member.address == *own {
                replaced.push((*start, None));
            } else if let Some((by, _)) = by {
                replaced.push((*start, Some(*by)));
            }
        }
        replaced
    }

    /// Returns true if no member that is present, and was so before this moment, has a lower id than this
    /// one: it does what one is to do for all, about a member that is away since then.
    pub(crate) fn is_first(&self, own: MemberId, since: Instant) -> bool {
        let present = self.known.values().filter(|it| !it.member.is_away());
        let mut before = present.filter(|it| it.met_at <= since);
        before.all(|it| it.member.id >= own)
    }

    /// Notes how the time goes on, with the bus up or down, for the member of this id.
    pub(crate) fn poll(
        &mut self,
        own: MemberId,
        is_connected: bool,
        now: Instant,
    ) -> Vec<MemberEvent> {
        if now.saturating_duration_since(self.challenge_at) >= CHALLENGE
            && let Ok(fresh) = random_u64()
        {
            self.challenge_before = std::mem::replace(&mut self.challenge, fresh);
            self.challenge_at = now;
        }
        if !is_connected {
            self.deaf_until = Some(now + AWAY);
        }
        self.strangers
            .retain(|_, (_, at)| now.saturating_duration_since(*at) < AWAY);
        if self.deaf_until.is_some_and(|until| now < until) {
            // Nobody goes away meanwhile, and nobody's time runs.
            for known in self.known.values_mut() {
                known.heard_at = known.heard_at.max(now.checked_sub(AWAY / 2).unwrap_or(now));
            }
            return Vec::new();
        }
        let is_over = |known: &Known| {
            let MemberState::Away { since } = known.member.state else {
                return false;
            };
            let kept = match self.is_first(own, since) {
                true => timing::PORT_KEPT,
                false => timing::PORT_KEPT + SECOND,
            };
            known.silence(now) >= kept
        };
        let over = self.known.iter().filter(|(_, known)| is_over(known));
        let over: Vec<Start> = over.map(|(start, _)| *start).collect();
        let mut events = Vec::new();
        self.known.retain(|start, known| {
            if known.silence(now) >= AWAY {
                events.extend(known.go_away(known.heard_at));
            }
            let is_over = over.contains(start);
            if is_over {
                events.push(MemberEvent::Gone(known.member.clone()));
            }
            !is_over
        });
        events
    }

    /// Returns true if another member has this id and was there before this one, which started then.
    pub(crate) fn has_taken(&self, id: MemberId, started: u64) -> bool {
        self.known.iter().any(|(start, known)| {
            known.member.id == id
                && !known.member.is_away()
                && (known.started, *start) < (started, self.own)
        })
    }

    /// Limits what this member's clock says, in microseconds, to an hour more than the others' clocks say, and
    /// an hour less: whoever has no clock says 1970.
    pub(crate) fn limit_clock(&self, own: u64, now: Instant) -> u64 {
        let present = self.known.values().filter(|it| !it.member.is_away());
        let hour = timing::micros(CLOCK_OFF);
        present
            .map(|known| known.clock(now))
            .max()
            .map_or(own, |highest| {
                own.clamp(highest.saturating_sub(hour), highest.saturating_add(hour))
            })
    }
}

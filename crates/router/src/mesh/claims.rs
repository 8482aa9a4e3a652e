//! Decides, between members that don't know of each other's wishes yet, who gets a port that nobody is
//! known to hold. Given the time and what is asked; asks nothing itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use p2p_shared::names::{Identity, InstanceId};

use crate::mesh::id::{Epoch, Start};
use crate::mesh::message::{ClaimAnswer, ClaimAsk};

/// Inner that asks for a port.
#[derive(Debug, Clone)]
pub(crate) struct PortClaim {
    /// The port; for an inner that asks for any, one that the router has chosen.
    pub port: u16,
    pub identity: Identity,
    pub instance: InstanceId,
    /// How many times this process had dialled; 0 of an inner that does not count.
    pub dial: u64,
}

/// Reason for which the port is not given: a sentence for the owner of the inner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ClaimRefused(pub String);

/// Time for which a port is left to a member that has asked for it, until its record comes.
const PROMISED: Duration = Duration::from_secs(2);
/// Most ports that are left to others: beyond that a member that asks is answered, and not remembered.
const MOST_PROMISES: usize = 65_536;

/// Claims of this member's inners that are open, and ports that are left to other members.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    last: u64,
    open: BTreeMap<u64, Open>,
    promised: HashMap<u16, Promise>,
}

/// A claim that waits for answers, or was granted and has no record yet.
#[derive(Debug)]
struct Open {
    port: u16,
    identity: Identity,
    asked_at: u64,
    /// Members that have not answered.
    waits_for: BTreeSet<Start>,
    outcome: Outcome,
}

/// Sum of the answers so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub refused: Option<String>,
    /// What others know of this identity's last link at the port.
    pub epoch: Epoch,
    pub held_since: Option<u64>,
}

#[derive(Debug)]
struct Promise {
    identity: Identity,
    stamp: (u64, Start),
    until: Instant,
}

impl Claims {
    /// Opens a claim, which asks these members. Returns its number.
    ///
    /// # Errors
    /// If another inner is just getting the port.
    pub(crate) fn open(
        &mut self,
        port: u16,
        identity: &Identity,
        asked_at: u64,
        waits_for: BTreeSet<Start>,
        now: Instant,
    ) -> Result<u64, String> {
        let mut rivals = self.open.values();
        let rival = rivals.any(|open| {
            open.port == port && open.identity != *identity && open.outcome.refused.is_none()
        });
        let promise = self
            .promised
            .get(&port)
            .filter(|promise| now < promise.until);
        if rival || promise.is_some_and(|promise| promise.identity != *identity) {
            return Err(just_given(port));
        }
        self.last += 1;
        let open = Open {
            port,
            identity: identity.clone(),
            asked_at,
            waits_for,
            outcome: Outcome::default(),
        };
        self.open.insert(self.last, open);
        Ok(self.last)
    }

    /// The question of a claim.
    pub(crate) fn ask(&self, number: u64) -> Option<ClaimAsk> {
        let open = self.open.get(&number)?;
        Some(ClaimAsk {
            ask: number,
            port: open.port,
            identity: open.identity.clone(),
            asked_at: open.asked_at,
        })
    }

    /// Members that have not answered a claim yet.
    pub(crate) fn waits_for(&self, number: u64) -> Vec<Start> {
        let open = self.open.get(&number);
        open.map_or_else(Vec::new, |open| open.waits_for.iter().copied().collect())
    }

    /// What came of a claim: `None` while it may still be refused.
    pub(crate) fn outcome(&self, number: u64) -> Option<Outcome> {
        let open = self.open.get(&number)?;
        let is_settled = open.waits_for.is_empty() || open.outcome.refused.is_some();
        is_settled.then(|| open.outcome.clone())
    }

    /// Waits for nobody any more: silence refuses nothing.
    pub(crate) fn settle(&mut self, number: u64) -> Option<Outcome> {
        self.open.get_mut(&number)?.waits_for.clear();
        self.outcome(number)
    }

    /// Ends a claim: its record is told, or it was refused, or its inner is gone.
    pub(crate) fn close(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// Takes a member's answer.
    pub(crate) fn answered(&mut self, by: Start, answer: &ClaimAnswer) {
        let Some(open) = self.open.get_mut(&answer.ask) else {
            return;
        };
        if !open.waits_for.remove(&by) {
            return;
        }
        let outcome = &mut open.outcome;
        if let Some(why) = &answer.refused {
            outcome.refused.get_or_insert_with(|| why.raw().to_owned());
        }
        let epoch = answer.epoch.filter(|epoch| *epoch < Epoch::HIGHEST);
        outcome.epoch = outcome.epoch.max(epoch.unwrap_or_default());
        let known = answer
            .held_since
            .filter(|since| *since < Epoch::HIGHEST.number());
        outcome.held_since = outcome.held_since.into_iter().chain(known).min();
    }

    /// Notes that a member is away: it answers nothing.
    pub(crate) fn away(&mut self, member: Start) {
        for open in self.open.values_mut() {
            open.waits_for.remove(&member);
        }
    }

    /// Notes that a record of this port has come: what was promised of it is kept.
    pub(crate) fn recorded(&mut self, port: u16) {
        self.promised.remove(&port);
    }

    /// Decides whether another member may give a port of which no record is known. Returns why not.
    pub(crate) fn asked(
        &mut self,
        own: Start,
        by: Start,
        ask: &ClaimAsk,
        now: Instant,
    ) -> Option<String> {
        let stamp = (ask.asked_at, by);
        let rivals = self.open.values_mut().filter(|open| {
            open.port == ask.port && open.identity != ask.identity && open.outcome.refused.is_none()
        });
        for rival in rivals {
            // One that was granted stays so.
            if rival.waits_for.is_empty() || (rival.asked_at, own) < stamp {
                return Some(just_given(ask.port));
            }
            rival.outcome.refused = Some(just_given(ask.port));
        }
        self.promised.retain(|_, promise| now < promise.until);
        if let Some(promise) = self.promised.get(&ask.port)
            && promise.identity != ask.identity
            && promise.stamp < stamp
        {
            return Some(just_given(ask.port));
        }
        if self.promised.len() < MOST_PROMISES {
            let promise = Promise {
                identity: ask.identity.clone(),
                stamp,
                until: now + PROMISED,
            };
            self.promised.insert(ask.port, promise);
        }
        None
    }
}

fn just_given(port: u16) -> String {
    format!(
        "service port {port} is just being given to another inner, at this router or another of its mesh: ask for another port"
    )
}

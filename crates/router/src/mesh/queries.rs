//! Answers what this router asks about ports: who holds them, since when, and by which name.

use std::sync::Arc;
use std::time::Instant;

use p2p_shared::names::{Identity, InstanceId, LinkName};
use p2p_shared::timing;

use crate::mesh::Mesh;
use crate::mesh::id::Start;
use crate::mesh::members::Member;
use crate::mesh::record::{HeldState, PortRecord};
use crate::net::client_net::QuotaOwner;

/// Holder of a port that is another member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    pub member: Member,
    pub record: Arc<PortRecord>,
    /// When the record's state began.
    pub since: Instant,
}

impl Mesh {
    /// The moment from which the one whom this router has a port for has had it.
    pub(crate) fn held_since(&self, port: u16) -> Option<u64> {
        let state = self.state.read();
        let entry = state.directory.own().entries.get(&port)?;
        Some(entry.record.held_since)
    }

    /// The other member whose record of this port counts: where its requests go. Also if a link is up
    /// here: that counts less, and is to be ended.
    pub(crate) fn holder_elsewhere(&self, port: u16) -> Option<Elsewhere> {
        let state = self.state.read();
        let (start, entry) = state.directory.holder_elsewhere(port)?;
        Some(Elsewhere {
            member: state.members.get(start)?.clone(),
            record: entry.record.clone(),
            since: entry.since,
        })
    }

    /// Returns true if another member's record of this port counts.
    pub(crate) fn is_elsewhere(&self, port: u16) -> bool {
        self.state.read().directory.holder_elsewhere(port).is_some()
    }

    /// The member that has this port open, this one too, and the epoch of its link.
    pub(crate) fn holder(&self, port: u16) -> Option<(Start, Option<u64>)> {
        let state = self.state.read();
        let (start, entry) = state.directory.holder(port)?;
        let record = &entry.record;
        let epoch = record.link.map(|link| link.epoch.number());
        (record.state != HeldState::Kept).then_some((start, epoch))
    }

    /// All ports that other members hold, but those that are closed.
    pub(crate) fn all_elsewhere(&self) -> Vec<Elsewhere> {
        let state = self.state.read();
        let all = state.directory.all_elsewhere();
        let all = all.filter_map(|(start, entry)| {
            Some(Elsewhere {
                member: state.members.get(start)?.clone(),
                record: entry.record.clone(),
                since: entry.since,
            })
        });
        all.filter(|it| it.record.state != HeldState::Kept)
            .collect()
    }

    /// Returns true if this member knows what the others hold, or is not likely to learn it soon.
    pub(crate) fn is_informed(&self) -> bool {
        self.state.read().is_informed(timing::now())
    }

    /// Returns true if another port has this name, at another member.
    pub(crate) fn is_name_taken(&self, name: &LinkName, port: u16) -> bool {
        let state = self.state.read();
        let ports = state.directory.ports_named(name);
        let mut others = ports.into_iter().filter(|other| *other != port);
        others.any(|other| state.directory.holder_elsewhere(other).is_some())
    }

    /// The open ports of the cars that have this name, wherever they are.
    pub(crate) fn ports_named(&self, name: &LinkName) -> Vec<u16> {
        let state = self.state.read();
        let mut ports = state.directory.ports_named(name);
        ports.retain(|port| {
            let holder = state.directory.holder(*port);
            holder.is_some_and(|(_, entry)| {
                let record = &entry.record;
                let is_same = record.name.as_str().eq_ignore_ascii_case(name.as_str());
                is_same && record.state != HeldState::Kept
            })
        });
        ports
    }

    /// The port elsewhere of an inner that asks for any: the one that this very process has there, or one
    /// of this identity and name whose car is away.
    pub(crate) fn own_elsewhere(
        &self,
        identity: &Identity,
        asked: &LinkName,
        instance: InstanceId,
    ) -> Option<u16> {
        let state = self.state.read();
        let ports = state.directory.ports_of_identity(identity);
        let is_own = |port: &u16| {
            let Some((start, entry)) = state.directory.holder_elsewhere(*port) else {
                return false;
            };
            let record = &entry.record;
            let is_same_process = record.link.is_some_and(|link| link.instance == instance);
            let is_away = state.members.get(start).is_none_or(Member::is_away);
            let is_lost = record.state != HeldState::Up || is_away;
            record.identity == *identity && record.asked == *asked && (is_same_process || is_lost)
        };
        ports.into_iter().find(is_own)
    }

    /// Number of ports of this owner that are open at other members, without `port`. Those that are closed,
    /// and only kept, count nowhere.
    pub(crate) fn ports_elsewhere(&self, owner: QuotaOwner, port: u16) -> usize {
        let state = self.state.read();
        let ports = state.directory.ports_of_owner(owner);
        let others = ports.into_iter().filter(|other| *other != port);
        let elsewhere = others.filter(|other| {
            let holder = state.directory.holder_elsewhere(*other);
            holder.is_some_and(|(_, entry)| {
                entry.record.owner == owner && entry.record.state != HeldState::Kept
            })
        });
        elsewhere.count()
    }
}

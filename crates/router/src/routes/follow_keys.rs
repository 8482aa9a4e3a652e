//! Brings what this router knows of keys together with what the other routers of its mesh know, and the same of
//! cookies that were signed out: each tells a number of what it knows, and fetches from another what differs. A
//! key that was revoked anywhere is void here at once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use p2p_shared::os::with_causes;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

use crate::auth::access::Access;
use crate::auth::key_store::{HeardNote, KeyStore};
use crate::auth::signed_out::{SignedOut, SignedOutDigest};
use crate::context::Context;
use crate::mesh::hop::{Hops, keys};
use crate::mesh::message::KeyDigests;
use crate::mesh::{Member, Mesh};

/// Pause after which what could not be kept is tried again, and what could not be fetched is looked at again.
const AGAIN: Duration = Duration::from_secs(1);
/// Time for the others to hear of a change and to say so, after which it is noted who has not: without a bus they
/// say it once a second.
const HEARING: Duration = Duration::from_secs(2);
/// Pause between looks at who has heard.
const LOOK: Duration = Duration::from_millis(20);

mod fetches;

use fetches::Fetches;

/// Follows the keys of the other routers for ever.
pub(crate) async fn run(context: Arc<Context>, mesh: Arc<Mesh>, hops: Arc<Hops>) {
    let Access::Keys(keys, cookies) = &context.access else {
        return;
    };
    let signed_out = cookies.signed_out().clone();
    let config = context.config.mesh.as_ref();
    let following = Following {
        known: Known {
            keys: keys.clone(),
            signed_out: signed_out.clone(),
        },
        own_keys: keys.digest(),
        own_signed_out: signed_out.digest(),
        stale_after: config.and_then(|config| config.keys_stale),
        mesh: mesh.clone(),
        hops,
        is_kept: keys.is_kept(),
        fetches: Fetches::default(),
        fetching: JoinSet::new(),
        keeping: JoinSet::new(),
        cannot_keep: None,
    };
    let noting = note_who_has_heard(&mesh, keys, keys.digest());
    tokio::join!(following.run(), noting);
}

/// What is known here.
#[derive(Clone)]
struct Known {
    keys: KeyStore,
    signed_out: Arc<SignedOut>,
}

struct Following {
    mesh: Arc<Mesh>,
    hops: Arc<Hops>,
    known: Known,
    own_keys: watch::Receiver<u64>,
    own_signed_out: SignedOutDigest,
    /// Time without another router after which no key is taken.
    stale_after: Option<Duration>,
    is_kept: watch::Receiver<bool>,
    fetches: Fetches,
    fetching: JoinSet<(Member, anyhow::Result<()>)>,
    keeping: JoinSet<anyhow::Result<()>>,
    /// Why it was not kept last, which is logged once.
    cannot_keep: Option<String>,
}

impl Following {
    async fn run(mut self) {
        let mut own = self.own();
        self.mesh.set_keys(own);
        let mut tick = tokio::time::interval(AGAIN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.fetch(own);
            self.check_stale();
            tokio::select! {
                biased;
                _ = self.own_keys.changed() => own = self.changed(),
                () = self.own_signed_out.changed() => own = self.changed(),
                Ok(()) = self.is_kept.changed() => self.keep(),
                Some(Ok(fetched)) = self.fetching.join_next() => self.fetched(fetched),
                Some(Ok(kept)) = self.keeping.join_next() => self.kept(kept),
                () = self.mesh.key_news() => {}
                _ = tick.tick() => self.keep(),
            }
        }
    }

    fn own(&mut self) -> KeyDigests {
        KeyDigests {
            keys: *self.own_keys.borrow_and_update(),
            signed_out: self.own_signed_out.get(),
        }
    }

    /// Tells what is known here now. By hand somebody may have taken away what the others have.
    fn changed(&mut self) -> KeyDigests {
        self.fetches.forget();
        let own = self.own();
        self.mesh.set_keys(own);
        own
    }

    /// Fetches from all members that know something else.
    fn fetch(&mut self, own: KeyDigests) {
        let members = self.mesh.members();
        let is_member = |start| members.iter().any(|member| member.start == start);
        self.fetches.retain(is_member);
        for member in &members {
            let Some(told) = member.keys.filter(|told| *told != own) else {
                continue;
            };
            if !self.fetches.begin(member.start, told, Instant::now()) {
                continue;
            }
            let (hops, known, member) = (self.hops.clone(), self.known.clone(), member.clone());
            self.fetching.spawn(async move {
                let fetched = known.fetch(&hops, &member, told, own).await;
                (member, fetched)
            });
        }
    }

    fn fetched(&mut self, (from, result): (Member, anyhow::Result<()>)) {
        let Err(error) = result else {
            self.fetches.done(from.start);
            return;
        };
        if self.fetches.failed(from.start, Instant::now()) {
            let error = with_causes(&error);
            tracing::warn!(
                router = %from.address, error,
                "mesh: keys that were made or revoked there may not be known here: it is tried again every few seconds"
            );
        }
    }

    /// Writes what the disk lacks of what is known.
    fn keep(&mut self) {
        if self.keeping.is_empty() {
            let known = self.known.clone();
            self.keeping.spawn_blocking(move || known.keep());
        }
    }

    fn kept(&mut self, result: anyhow::Result<()>) {
        let error = result.err().map(|error| with_causes(&error));
        if let Some(error) = &error
            && self.cannot_keep.is_none()
        {
            tracing::warn!(
                error,
                "mesh: what other routers know of keys holds here, and would be forgotten by a restart, as it can't be written: it is tried again each second"
            );
        }
        self.cannot_keep = error;
    }

    fn check_stale(&self) {
        let Some(limit) = self.stale_after else {
            return;
        };
        let (was_stale, is_stale) = (self.known.keys.is_stale(), self.mesh.alone_for() > limit);
        self.known.keys.set_stale(is_stale);
        match (was_stale, is_stale) {
            (false, true) => tracing::warn!(
                "mesh: no other router was heard of for longer than --mesh-keys-stale: no key is taken until one is"
            ),
            (true, false) => tracing::info!("mesh: keys are taken again"),
            _ => {}
        }
    }
}

impl Known {
    /// Writes what was not written. Blocks on the disk, if there is something.
    fn keep(&self) -> anyhow::Result<()> {
        if !*self.keys.is_kept().borrow() {
            self.keys.keep()?;
        }
        self.signed_out.keep(SystemTime::now())
    }

    async fn fetch(
        self,
        hops: &Hops,
        from: &Member,
        told: KeyDigests,
        own: KeyDigests,
    ) -> anyhow::Result<()> {
        if told.keys != own.keys {
            let text = hops.fetch(from, keys::KEYS).await?;
            spawn_blocking(move || self.keys.merge(&text)).await??;
        }
        if told.signed_out != own.signed_out {
            let text = hops.fetch(from, keys::SIGNED_OUT).await?;
            let now = SystemTime::now();
            spawn_blocking(move || self.signed_out.merge(&text, now)).await??;
        }
        Ok(())
    }
}

/// Notes, after each change of the keys, which routers have heard of it.
async fn note_who_has_heard(mesh: &Mesh, keys: &KeyStore, mut own: watch::Receiver<u64>) {
    own.mark_unchanged();
    while own.changed().await.is_ok() {
        let mut end = Instant::now() + HEARING;
        let note = loop {
            // Of several changes the last is noted, and gets its time.
            if own.has_changed().is_ok_and(|has_changed| has_changed) {
                end = Instant::now() + HEARING;
            }
            let note = heard(mesh, *own.borrow_and_update());
            if note.is_complete() || Instant::now() >= end {
                break note;
            }
            sleep_until(end.min(Instant::now() + LOOK)).await;
        };
        let dir = keys.file().dir().to_owned();
        if let Ok(Err(error)) = spawn_blocking(move || note.leave(&dir)).await {
            tracing::warn!(%error, "`key revoke` can't say which routers have heard");
        }
    }
}

/// Notes which routers have the keys with this digest now.
fn heard(mesh: &Mesh, digest: u64) -> HeardNote {
    let mut note = HeardNote::new(digest);
    let mut all = mesh.told();
    all.sort_by(|one, other| one.router.cmp(&other.router));
    for told in all {
        let has_heard = told.keys.is_some_and(|told| told.keys == digest);
        note.add(told.router, has_heard, told.silence);
    }
    note
}

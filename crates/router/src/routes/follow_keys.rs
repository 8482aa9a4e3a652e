//! Brings what this router knows of keys together with what the other routers of its mesh know, and the same of
//! cookies that were signed out: each tells a number of what it knows, and fetches from another what differs. A
//! key that was revoked anywhere is void here at once.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use p2p_shared::os::with_causes;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, sleep};

use crate::auth::access::Access;
use crate::auth::key_store::{HeardNote, KeyStore};
use crate::auth::signed_out::{List, SignedOut};
use crate::context::Context;
use crate::mesh::hop::{Hops, keys};
use crate::mesh::message::KeyDigests;
use crate::mesh::{Member, Mesh};
use crate::ops::shutdown::spawn_blocking;

/// Pause after which what could not be kept is tried again, and what could not be fetched is looked at again.
const AGAIN: Duration = Duration::from_secs(1);
/// Time for the others to hear of a change and to say so, after which it is noted who has not: without a bus they
/// say it once a second.
const HEARING: Duration = Duration::from_secs(2);
/// Pause between looks at who has heard.
const LOOK: Duration = Duration::from_millis(20);
/// Seconds after which it is noted again that a router is there: so exact is it known after a crash.
const SEEN: u64 = 600;

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
        own_signed_out: signed_out.subscribe(),
        stale_after: config.and_then(|config| config.keys_stale),
        mesh: mesh.clone(),
        hops,
        fetches: Fetches::default(),
        fetching: FuturesUnordered::new(),
        keeping: JoinSet::new(),
        cannot_keep: None,
    };
    let noting = note_who_has_heard(&mesh, keys, keys.digest());
    tokio::join!(following.run(), noting);
}

/// Keys and signed-out cookies that are known here.
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
    own_signed_out: watch::Receiver<List>,
    /// Time after which keys may only stop cars if no other router knows the same.
    stale_after: Option<Duration>,
    fetches: Fetches,
    fetching: FuturesUnordered<BoxFuture<'static, (Member, anyhow::Result<()>)>>,
    keeping: JoinSet<Result<anyhow::Result<()>, JoinError>>,
    /// Why it was not kept last, which is logged once.
    cannot_keep: Option<String>,
}

impl Following {
    async fn run(mut self) {
        let mut own = self.tell();
        let mut tick = tokio::time::interval(AGAIN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.fetch(own);
            if let Some(limit) = self.stale_after {
                self.known.keys.set_stale(self.mesh.are_keys_stale(limit));
            }
            tokio::select! {
                biased;
                Ok(()) = self.own_keys.changed() => own = self.tell(),
                Ok(()) = self.own_signed_out.changed() => own = self.tell(),
                Some(fetched) = self.fetching.next() => self.fetched(fetched),
                Some(Ok(Ok(kept))) = self.keeping.join_next() => self.kept(kept),
                () = self.mesh.key_news() => {}
                _ = tick.tick() => self.keep(),
            }
        }
    }

    /// Tells what is known here now.
    fn tell(&mut self) -> KeyDigests {
        let own = KeyDigests {
            keys: *self.own_keys.borrow_and_update(),
            signed_out: self.own_signed_out.borrow_and_update().digest,
        };
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
            self.fetching.push(Box::pin(async move {
                let fetched = known.fetch(&hops, &member, told, own).await;
                (member, fetched)
            }));
        }
    }

    fn fetched(&mut self, (from, result): (Member, anyhow::Result<()>)) {
        let Err(error) = result else {
            self.fetches.done(from.start);
            self.mesh.merged_keys(from.start, from.keys);
            return self.keep();
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
            self.keeping.spawn(spawn_blocking(move || known.keep()));
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
}

impl Known {
    /// Writes what was not written. Blocks on the disk, if there is something.
    fn keep(&self) -> anyhow::Result<()> {
        self.keys.keep()?;
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

/// Notes which other routers there are, and which have heard of the last change of the keys.
async fn note_who_has_heard(mesh: &Mesh, keys: &KeyStore, mut own: watch::Receiver<u64>) {
    let (mut left, mut noted, mut end) = (HeardNote::default(), None, Instant::now());
    loop {
        let digest = *own.borrow_and_update();
        // Of several changes the last is noted, and gets its time.
        if noted.replace(digest) != Some(digest) {
            end = Instant::now() + HEARING;
        }
        let note = heard(mesh, digest);
        let is_early = Instant::now() < end && !note.is_complete();
        if !is_early && note != left {
            left = note.clone();
            let dir = keys.file().dir().to_owned();
            if let Ok(Err(error)) = spawn_blocking(move || note.leave(&dir)).await {
                tracing::warn!(%error, "`key revoke` can't say which routers have heard");
            }
        }
        tokio::select! {
            Ok(()) = own.changed() => {}
            () = sleep(if is_early { LOOK } else { AGAIN }) => {}
        }
    }
}

/// Notes which routers have the keys with this digest now.
fn heard(mesh: &Mesh, digest: u64) -> HeardNote {
    let (mut note, now) = (HeardNote::new(digest), SystemTime::now());
    let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let coarse = Duration::from_secs(since_1970.as_secs() / SEEN * SEEN);
    for told in mesh.told() {
        let has_heard = told.keys.is_some_and(|told| told.keys == digest);
        let seen = match told.is_away {
            true => now.checked_sub(told.silence),
            false => UNIX_EPOCH.checked_add(coarse),
        };
        note.add(told.router, has_heard, told.is_away, seen.unwrap_or(now));
    }
    note
}

//! Brings what this router knows of keys together with what the other routers of its mesh know, and the same of
//! cookies that were signed out: each tells a number of what it knows, and fetches from another what differs. A
//! key that was revoked anywhere is void here at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use p2p_shared::os::with_causes;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

use crate::auth::access::Access;
use crate::auth::key_store::{HeardNote, KeyStore};
use crate::auth::signed_out::{SignedOut, SignedOutDigest};
use crate::context::Context;
use crate::mesh::hop::{Hops, keys};
use crate::mesh::id::Start;
use crate::mesh::message::KeyDigests;
use crate::mesh::{Member, Mesh};

/// Pause after which what could not be fetched is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Time for the others to hear of a change and to say so, after which it is noted who has not: without a bus they
/// say it once a second.
const HEARING: Duration = Duration::from_secs(2);
/// Pause between looks at who has heard.
const LOOK: Duration = Duration::from_millis(20);

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
        fetched: HashMap::new(),
        fetching: JoinSet::new(),
        problem: None,
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
    /// What each member knew when it was fetched from there last, or is being fetched.
    fetched: HashMap<Start, KeyDigests>,
    fetching: JoinSet<(Member, anyhow::Result<()>)>,
    /// Last problem, which is logged once.
    problem: Option<String>,
}

impl Following {
    async fn run(mut self) {
        let mut own = self.own();
        loop {
            self.mesh.set_keys(own);
            self.fetch(own);
            self.check_stale();
            tokio::select! {
                biased;
                _ = self.own_keys.changed() => own = self.changed(),
                () = self.own_signed_out.changed() => own = self.changed(),
                Some(Ok(fetched)) = self.fetching.join_next() => self.fetched(fetched),
                () = self.mesh.key_news() => {}
                () = sleep(AGAIN) => {}
            }
        }
    }

    fn own(&mut self) -> KeyDigests {
        KeyDigests {
            keys: *self.own_keys.borrow_and_update(),
            signed_out: self.own_signed_out.get(),
        }
    }

    /// Notes that what is known here has changed: by hand somebody may have taken away what the others have.
    fn changed(&mut self) -> KeyDigests {
        self.fetched.clear();
        self.own()
    }

    /// Fetches from all members that know something else.
    fn fetch(&mut self, own: KeyDigests) {
        let members = self.mesh.members();
        self.fetched
            .retain(|start, _| members.iter().any(|member| member.start == *start));
        for member in members {
            let Some(told) = member.keys.filter(|told| *told != own) else {
                continue;
            };
            if self.fetched.insert(member.start, told) == Some(told) {
                continue;
            }
            let (hops, known) = (self.hops.clone(), self.known.clone());
            self.fetching.spawn(async move {
                let fetched = known.fetch(&hops, &member, told, own).await;
                (member, fetched)
            });
        }
    }

    fn fetched(&mut self, (from, result): (Member, anyhow::Result<()>)) {
        let Err(error) = result else {
            self.problem = None;
            return;
        };
        self.fetched.remove(&from.start);
        let error = with_causes(&error);
        if self.problem.as_ref() != Some(&error) {
            tracing::warn!(
                router = %from.address, error,
                "mesh: keys that were made or revoked there may not be known here: it is tried again each second"
            );
            self.problem = Some(error);
        }
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
        let end = Instant::now() + HEARING;
        let note = loop {
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

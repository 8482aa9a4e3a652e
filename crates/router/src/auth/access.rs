//! Owns who a caller is and what it may do.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use p2p_shared::key::{Key, Role};
use p2p_shared::names::Identity;

use crate::auth::key_store::{AuthError, Grant, KeyStore};
use crate::auth::session_cookie::{self, SessionCookieError, SessionCookies};
use crate::http::response::Problem;
use crate::net::client_net::QuotaOwner;
use crate::net::unauthenticated::PendingConnection;

/// How callers are told apart.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// Everyone may do everything: `--open`.
    Open,
    /// By their keys, and browsers by what they got for one.
    Keys(KeyStore, Arc<SessionCookies>),
}

/// Who is asking.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Nobody knows: `--open`.
    Anyone,
    /// The holder of this key.
    Holder(Grant, KeyStore),
}

impl Access {
    /// By these keys; everyone without. Blocks on the disk.
    pub(crate) fn by(keys: Option<KeyStore>) -> Result<Self, SessionCookieError> {
        Ok(match keys {
            None => Self::Open,
            Some(keys) => {
                let passes = SessionCookies::open(keys.state_dir())?;
                Self::Keys(keys, Arc::new(passes))
            }
        })
    }

    /// Whether what comes from this peer may be a key or a command: nobody on the way can read or
    /// change it, or there are no keys anyway. The peer's address decides and never a header, which
    /// anybody can write.
    pub(crate) fn is_private(&self, peer: IpAddr, is_tls: bool) -> bool {
        is_tls || peer.is_loopback() || matches!(self, Self::Open)
    }

    /// Whether this may still be somebody here.
    pub(crate) fn knows(&self, party: QuotaOwner) -> bool {
        match (self, party) {
            (Self::Open, QuotaOwner::At(_)) => true,
            (Self::Keys(keys, _), QuotaOwner::Key(id)) => keys.is_live(&id),
            _ => false,
        }
    }

    /// Who sent this request, if the router knows the key: then the pending is no stranger.
    pub(crate) fn caller(
        &self,
        pending: &PendingConnection,
        headers: &HeaderMap,
    ) -> Result<Caller, Problem> {
        let Self::Keys(keys, _) = self else {
            pending.is_known();
            return Ok(Caller::Anyone);
        };
        let authorization = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        known(pending, keys, keys.authenticate(authorization))
    }

    /// Who sent this request, of whom a browser's pass is taken for a key, too. A key that is
    /// shown counts before it.
    pub(crate) fn key_or_cookie(
        &self,
        pending: &PendingConnection,
        headers: &HeaderMap,
        is_tls: bool,
    ) -> Result<Caller, Problem> {
        match (self, session_cookie::shown(headers, is_tls)) {
            (Self::Keys(keys, passes), Some(pass)) if !headers.contains_key(AUTHORIZATION) => {
                let id = passes.check(pass, SystemTime::now(), |id| keys.hash(id));
                let grant = id.and_then(|id| keys.grant(&id));
                known(pending, keys, grant.ok_or(AuthError::SignedOut))
            }
            _ => self.caller(pending, headers),
        }
    }

    /// Who has this key, and a pass for it. The first pass of all blocks on the disk.
    pub(crate) fn sign_in(
        &self,
        pending: &PendingConnection,
        key: &Key,
    ) -> Result<(Caller, String), Problem> {
        let Self::Keys(keys, passes) = self else {
            return Ok((Caller::Anyone, String::new()));
        };
        let caller = known(pending, keys, keys.grant_of(key))?;
        let pass = passes.issue(key.id(), &key.hash(), SystemTime::now());
        let pass = pass.map_err(|error| {
            tracing::warn!(%error, "nobody can sign in");
            let sentence = "the router can't keep what signing in needs: its log says why";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
        })?;
        Ok((caller, pass))
    }

    /// The caller, if its role `may` do what it asks for, which is `what`.
    pub(crate) fn allow(
        &self,
        pending: &PendingConnection,
        headers: &HeaderMap,
        what: &str,
        may: fn(Role) -> bool,
    ) -> Result<Caller, Problem> {
        let caller = self.caller(pending, headers)?;
        caller.may(what, may)?;
        Ok(caller)
    }
}

fn known(
    pending: &PendingConnection,
    keys: &KeyStore,
    grant: Result<Grant, AuthError>,
) -> Result<Caller, Problem> {
    match grant {
        Ok(grant) => {
            pending.is_known();
            Ok(Caller::Holder(grant, keys.clone()))
        }
        Err(error) => Err(stranger(pending, error)),
    }
}

/// The answer to one who shows no key, or a wrong one.
fn stranger(pending: &PendingConnection, error: AuthError) -> Problem {
    let pause = match error {
        AuthError::Missing | AuthError::SignedOut => None,
        AuthError::Malformed | AuthError::Wrong => pending.wrong_key(),
    };
    let Some(pause) = pause else {
        return Problem::unauthorized(error.to_string());
    };
    let seconds = u32::try_from(pause.as_secs() + 1).unwrap_or(u32::MAX);
    let sentence = format!(
        "{error}; wrong keys came from your address: try again in {seconds} s (a correct key is accepted at once)"
    );
    // By which it is told from too much of what a right key may ask for.
    Problem::retry_after(StatusCode::TOO_MANY_REQUESTS, seconds, sentence).challenge()
}

impl Caller {
    /// Who is held to what one party may have.
    pub(crate) fn quota_owner(&self, from: IpAddr) -> QuotaOwner {
        match self {
            Self::Anyone => QuotaOwner::At(from.into()),
            Self::Holder(grant, _) => QuotaOwner::Key(grant.id),
        }
    }

    /// Who an inner with its key is; `None` without keys, or if no identity can be made of it.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match self {
            Self::Anyone => None,
            Self::Holder(grant, _) => Identity::try_from(grant.id.to_string()).ok(),
        }
    }

    /// Whether its role `may` do `what`.
    pub(crate) fn may(&self, what: &str, may: fn(Role) -> bool) -> Result<(), Problem> {
        match self {
            Self::Holder(grant, _) if !may(grant.role) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                format!(
                    "the key '{}' has the role {}, which may not {what}: use a key of another role",
                    grant.name, grant.role
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Its role: everything, where there are no keys.
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Anyone => Role::Admin,
            Self::Holder(grant, _) => grant.role,
        }
    }

    /// The name of its key; empty without keys.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Anyone => "",
            Self::Holder(grant, _) => &grant.name,
        }
    }

    /// Who that is, in a word: its key's name, or where it is.
    pub(crate) fn who(&self, peer: SocketAddr) -> String {
        match self {
            Self::Anyone => peer.ip().to_string(),
            Self::Holder(grant, _) => grant.name.clone(),
        }
    }

    /// The name of its key, for the log.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Anyone => "-",
            Self::Holder(grant, _) => &grant.name,
        }
    }

    /// Whether its key is revoked, or may do something else than it might.
    pub(crate) fn is_revoked(&self) -> bool {
        match self {
            Self::Anyone => false,
            Self::Holder(grant, keys) => keys.grant(&grant.id).as_ref() != Some(grant),
        }
    }

    /// Returns once that is so.
    pub(crate) async fn revoked(self) {
        let Self::Holder(_, keys) = &self else {
            return std::future::pending().await;
        };
        let mut changes = keys.changes();
        while !self.is_revoked() {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// Says in the log who was refused, but for those that show no key, which scanners do all day, or
/// keep trying wrong ones; and not of everyone, if there are many.
pub(crate) fn log_refusal(pending: &PendingConnection, what: &str, problem: &Problem) {
    let (from, why) = (pending.peer(), &problem.sentence);
    let is_common =
        problem.status == StatusCode::TOO_MANY_REQUESTS || *why == AuthError::Missing.to_string();
    if is_common || !pending.may_be_logged() {
        tracing::debug!(%from, why, "{what} refused");
    } else {
        tracing::info!(%from, why, "{what} refused");
    }
}

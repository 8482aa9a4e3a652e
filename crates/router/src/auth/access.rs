//! Identifies callers, and checks what they may do.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};
use p2p_shared::key::{Key, Role};
use p2p_shared::names::Identity;

use crate::auth::key_store::{AuthError, Grant, KeyStore};
use crate::auth::session_cookie::{self, SessionCookieError, SessionCookies};
use crate::http::response::Problem;
use crate::http::websocket;
use crate::net::client_net::QuotaOwner;
use crate::net::unauthenticated::PendingConnection;

/// Rule for access to the router.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// Everyone may do everything: `--open`.
    Open,
    /// Callers show a key; browsers may show a session cookie.
    Keys(KeyStore, Arc<SessionCookies>),
}

/// Caller of a request.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Unknown, with `--open`.
    Anyone,
    /// The holder of this key.
    Holder(Grant, KeyStore),
}

impl Access {
    /// Makes access by these keys; without keys everyone may do everything. Blocks on the disk.
    pub(crate) fn by(keys: Option<KeyStore>) -> Result<Self, SessionCookieError> {
        Ok(match keys {
            None => Self::Open,
            Some(keys) => {
                let cookies = SessionCookies::open(keys.state_dir())?;
                Self::Keys(keys, Arc::new(cookies))
            }
        })
    }

    /// Returns true if this peer may send a key or a command: nobody on the way can read or change
    /// it, or there are no keys. The peer's address decides, never a header, which anybody can
    /// write.
    pub(crate) fn is_private(&self, peer: IpAddr, is_tls: bool) -> bool {
        is_tls || peer.is_loopback() || matches!(self, Self::Open)
    }

    /// Returns true if this identity still exists.
    pub(crate) fn knows(&self, owner: QuotaOwner) -> bool {
        match (self, owner) {
            (Self::Open, QuotaOwner::At(_)) => true,
            (Self::Keys(keys, _), QuotaOwner::Key(id)) => keys.is_live(&id),
            _ => false,
        }
    }

    /// Returns the caller of a request with a valid key, and marks the connection as authenticated.
    pub(crate) fn caller(
        &self,
        pending: &PendingConnection,
        headers: &HeaderMap,
    ) -> Result<Caller, Problem> {
        let Self::Keys(keys, _) = self else {
            pending.set_known();
            return Ok(Caller::Anyone);
        };
        let authorization = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        known(pending, keys, keys.authenticate(authorization))
    }

    /// Returns the caller of a request with a valid key or session cookie. A key counts before a
    /// cookie.
    pub(crate) fn key_or_cookie(
        &self,
        pending: &PendingConnection,
        headers: &HeaderMap,
        is_tls: bool,
    ) -> Result<Caller, Problem> {
        match (self, session_cookie::shown(headers, is_tls)) {
            (Self::Keys(keys, cookies), Some(cookie)) if !headers.contains_key(AUTHORIZATION) => {
                let id = cookies.check(cookie, SystemTime::now(), |id| keys.hash(id));
                let grant = id.and_then(|id| keys.grant(&id));
                known(pending, keys, grant.ok_or(AuthError::SignedOut))
            }
            _ => self.caller(pending, headers),
        }
    }

    /// Returns the holder of this key, and a session cookie. The very first cookie blocks on the
    /// disk.
    pub(crate) fn sign_in(
        &self,
        pending: &PendingConnection,
        key: &Key,
    ) -> Result<(Caller, String), Problem> {
        let Self::Keys(keys, cookies) = self else {
            return Ok((Caller::Anyone, String::new()));
        };
        let caller = known(pending, keys, keys.grant_of(key))?;
        let cookie = cookies.issue(key.id(), &key.hash(), SystemTime::now());
        let cookie = cookie.map_err(|error| {
            tracing::warn!(%error, "nobody can sign in");
            let sentence = "the router can't keep what signing in needs: its log says why";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
        })?;
        Ok((caller, cookie))
    }

    /// Returns the caller, if its role `may` do `what`.
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

    /// Lets a program of ours in, before it has said anything of the protocol, if its role `may` do
    /// `what` and it speaks our version. Returns the answer that begins the WebSocket. The refusal of
    /// this `client` is logged.
    pub(crate) fn let_in(
        &self,
        pending: &PendingConnection,
        request: &Request<Incoming>,
        client: &str,
        (what, may): (&str, fn(Role) -> bool),
    ) -> Result<(Caller, Response<Bytes>), Problem> {
        self.allow(pending, request.headers(), what, may)
            .and_then(|caller| Ok((caller, websocket::handshake_ours(request)?)))
            .inspect_err(|problem| log_refusal(pending, client, problem))
    }
}

fn known(
    pending: &PendingConnection,
    keys: &KeyStore,
    grant: Result<Grant, AuthError>,
) -> Result<Caller, Problem> {
    match grant {
        Ok(grant) => {
            pending.set_known();
            Ok(Caller::Holder(grant, keys.clone()))
        }
        Err(error) => Err(refusal(pending, error)),
    }
}

/// Makes the answer to a caller without a key, or with a wrong one.
fn refusal(pending: &PendingConnection, error: AuthError) -> Problem {
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
    // Distinguishes this answer from one to a correct key that asks for too much.
    Problem::retry_after(StatusCode::TOO_MANY_REQUESTS, seconds, sentence).challenge()
}

impl Caller {
    /// Returns the owner whose quota counts.
    pub(crate) fn quota_owner(&self, from: IpAddr) -> QuotaOwner {
        match self {
            Self::Anyone => QuotaOwner::At(from.into()),
            Self::Holder(grant, _) => QuotaOwner::Key(grant.id),
        }
    }

    /// Returns the identity of an inner with this key; `None` without keys.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match self {
            Self::Anyone => None,
            Self::Holder(grant, _) => Identity::try_from(grant.id.to_string()).ok(),
        }
    }

    /// Checks that the caller's role `may` do `what`.
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

    /// Returns the caller's role; without keys, the one that may do everything.
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Anyone => Role::Admin,
            Self::Holder(grant, _) => grant.role,
        }
    }

    /// Returns the name of the caller's key; empty without keys.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Anyone => "",
            Self::Holder(grant, _) => &grant.name,
        }
    }

    /// Returns a name for the caller: the key's name, or the address.
    pub(crate) fn who(&self, peer: SocketAddr) -> String {
        match self {
            Self::Anyone => peer.ip().to_string(),
            Self::Holder(grant, _) => grant.name.clone(),
        }
    }

    /// Returns the name of the key, for the log.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Anyone => "-",
            Self::Holder(grant, _) => &grant.name,
        }
    }

    /// Returns true if the caller's key was revoked, or its rights have changed.
    pub(crate) fn is_revoked(&self) -> bool {
        match self {
            Self::Anyone => false,
            Self::Holder(grant, keys) => keys.grant(&grant.id).as_ref() != Some(grant),
        }
    }

    /// Waits until the caller's key is revoked, or its rights have changed.
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

/// Logs a refused caller. Callers without a key, as scanners are, and those that keep trying wrong
/// keys are logged at debug level, and others at a limited rate.
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

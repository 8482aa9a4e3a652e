//! Owns who a caller is and what it may do.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{HeaderMap, StatusCode};
use p2p_shared::key::Role;

use crate::answer::Problem;
use crate::keystore::{AuthError, Grant, KeyStore};
use crate::origin::Party;
use crate::strangers::Visitor;

/// How callers are told apart.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// Everyone may do everything: `--open`.
    Open,
    /// By their keys.
    Keys(KeyStore),
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
    /// Who sent this request, if the router knows the key: then the visitor is no stranger.
    pub(crate) fn caller(&self, visitor: &Visitor, headers: &HeaderMap) -> Result<Caller, Problem> {
        let Self::Keys(keys) = self else {
            visitor.is_known();
            return Ok(Caller::Anyone);
        };
        let authorization = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        match keys.authenticate(authorization) {
            Ok(grant) => {
                visitor.is_known();
                Ok(Caller::Holder(grant, keys.clone()))
            }
            Err(error) => Err(stranger(visitor, error)),
        }
    }

    /// The caller, if its role `may` do what it asks for, which is `what`.
    pub(crate) fn allow(
        &self,
        visitor: &Visitor,
        headers: &HeaderMap,
        what: &str,
        may: fn(Role) -> bool,
    ) -> Result<Caller, Problem> {
        let caller = self.caller(visitor, headers)?;
        caller.may(what, may)?;
        Ok(caller)
    }
}

/// The answer to one who shows no key, or a wrong one.
fn stranger(visitor: &Visitor, error: AuthError) -> Problem {
    let pause = match error {
        AuthError::Missing => None,
        AuthError::Malformed | AuthError::Wrong => visitor.wrong_key(),
    };
    let Some(pause) = pause else {
        return Problem::new(StatusCode::UNAUTHORIZED, error.to_string())
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    };
    let seconds = u32::try_from(pause.as_secs() + 1).unwrap_or(u32::MAX);
    let sentence = format!(
        "{error}; several wrong keys came from your address: try again in {seconds} s (a right key is let in at once)"
    );
    Problem::retry_after(StatusCode::TOO_MANY_REQUESTS, seconds, sentence)
}

impl Caller {
    /// Who is held to what one party may have.
    pub(crate) fn party(&self, from: IpAddr) -> Party {
        match self {
            Self::Anyone => Party::At(from.into()),
            Self::Holder(grant, _) => Party::Key(grant.id),
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

    /// Returns once its key is revoked, or may do something else than it might.
    pub(crate) async fn revoked(self) {
        let Self::Holder(grant, keys) = self else {
            return std::future::pending().await;
        };
        let mut changes = keys.changes();
        while keys.grant(&grant.id).as_ref() == Some(&grant) {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

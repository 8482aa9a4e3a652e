//! Identifies callers, and checks what they may do.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};
use p2p_shared::bounded::Text;
use p2p_shared::key::{Key, KeyHash, KeyId, Role};
use p2p_shared::names::Identity;

use crate::auth::key_store::{AuthError, KeyName, KeyRecord, KeyStore, KeysInForce};
use crate::auth::session_cookie::{Session, SessionCookies};
use crate::http::response::Problem;
use crate::http::websocket;
use crate::net::address_text;
use crate::net::client_net::QuotaOwner;
use crate::net::port_range::PortRange;
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
    /// The holder of this key, by the key itself or by a browser's session; and true if the key was stale
    /// already: the caller may stop cars, and be one.
    Holder(KeyRecord, KeyStore, Option<Session>, bool),
}

/// Reason why a caller may not stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Revoked {
    #[error("the key was revoked, or what it may do has changed")]
    Key,
    #[error("this browser was signed out")]
    Session,
    /// The router is in a mesh, and may not know what was revoked elsewhere.
    #[error(
        "this router takes keys only for a stop, until another one of its mesh says that it knows the same (--mesh-keys-stale): ask another router, or wait"
    )]
    Stale,
}

impl Access {
    /// Makes access by these keys; without keys everyone may do everything. Cookies are signed with the
    /// secret that a mesh has for them, if there is one. Blocks on the disk.
    pub(crate) fn by(keys: Option<KeyStore>, of_mesh: Option<&[u8; 32]>) -> anyhow::Result<Self> {
        let Some(keys) = keys else {
            return Ok(Self::Open);
        };
        let dir = keys.file().dir();
        let cookies = match of_mesh {
            Some(secret) => SessionCookies::of_mesh(dir, secret)?,
            None => SessionCookies::open(dir)?,
        };
        Ok(Self::Keys(keys, Arc::new(cookies)))
    }

    /// Follows for ever the files of the keys and of the cookies that are signed out.
    pub(crate) async fn follow(self) {
        if let Self::Keys(keys, cookies) = self {
            tokio::join!(keys.follow(), cookies.follow_signed_out());
        }
    }

    /// Returns true if this peer may send a key or a command: nobody on the way can read or change
    /// it, or there are no keys. The peer's address decides, never a header of HTTP, which anybody can
    /// write.
    pub(crate) fn is_private(&self, peer: IpAddr, is_tls: bool) -> bool {
        is_tls || peer.is_loopback() || matches!(self, Self::Open)
    }

    /// Returns the caller of a request with a valid key, stale or not, and marks the connection as
    /// authenticated.
    pub(crate) fn caller(
        &self,
        pending: &PendingConnection,
        headers: &HeaderMap,
    ) -> Result<Caller, Problem> {
        let Self::Keys(keys, _) = self else {
            // Everybody may, which says nothing of the caller's network.
            pending.stay(QuotaOwner::At(pending.peer.ip().into()));
            return Ok(Caller::Anyone);
        };
        let authorization = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let record = keys.authenticate(authorization);
        known(pending, keys, record.map(|record| (record, None)))
    }

    /// Returns the caller of a request with a valid key or session cookie, stale or not. A key counts before
    /// a cookie.
    pub(crate) fn key_or_cookie(
        &self,
        pending: &PendingConnection,
        headers: &HeaderMap,
        is_tls: bool,
    ) -> Result<Caller, Problem> {
        if let Self::Keys(keys, cookies) = self
            && !headers.contains_key(AUTHORIZATION)
            && let Some(cookie) = cookies.shown(headers, is_tls)
        {
            let checked = cookies.check(cookie, SystemTime::now(), |id| keys.record(id));
            let checked = checked.map(|(record, session)| (record, Some(session)));
            return known(pending, keys, checked.ok_or(AuthError::SignedOut));
        }
        self.caller(pending, headers)
    }

    /// Marks the connection of a request with a valid key or cookie as authenticated. Returns false for any
    /// other, which another router judges.
    pub(crate) fn recognise(
        &self,
        pending: &PendingConnection,
        headers: &HeaderMap,
        is_tls: bool,
    ) -> bool {
        let Self::Keys(keys, cookies) = self else {
            pending.stay(QuotaOwner::At(pending.peer.ip().into()));
            return true;
        };
        if keys.in_force().is_stale {
            return false;
        }
        let owner = match headers.get(AUTHORIZATION) {
            Some(key) => keys.authenticate(Some(key.as_bytes())).ok(),
            None => cookies.shown(headers, is_tls).and_then(|cookie| {
                let checked = cookies.check(cookie, SystemTime::now(), |id| keys.record(id));
                Some(checked?.0)
            }),
        };
        if let Some(record) = &owner {
            pending.set_known(QuotaOwner::Key(record.id));
        }
        owner.is_some()
    }

    /// Returns the holder of this key, and the header that lets a browser store a session cookie.
    /// The very first cookie blocks on the disk.
    pub(crate) fn sign_in(
        &self,
        pending: &PendingConnection,
        key: &Key,
        is_tls: bool,
    ) -> Result<(Caller, Option<HeaderValue>), Problem> {
        let Self::Keys(keys, cookies) = self else {
            return Ok((Caller::Anyone, None));
        };
        let record = keys.find(key).map(|record| (record, None));
        let caller = known(pending, keys, record)?;
        caller.check_stale()?;
        Ok((caller, issue(cookies, key.id(), &key.hash(), is_tls)?))
    }

    /// Returns the name of the key with this id, for whose holder somebody has been let in, and the header that
    /// lets a browser store a session cookie. The very first cookie blocks on the disk.
    pub(crate) fn sign_in_as(
        &self,
        pending: &PendingConnection,
        id: &KeyId,
        is_tls: bool,
    ) -> Result<(KeyName, Option<HeaderValue>), Problem> {
        let Self::Keys(keys, cookies) = self else {
            return Err(refusal(pending, AuthError::SignedOut));
        };
        let record = keys.record(id);
        let record = record.ok_or_else(|| refusal(pending, AuthError::SignedOut))?;
        known(pending, keys, Ok((record.clone(), None)))?.check_stale()?;
        let cookie = issue(cookies, record.id, &record.hash, is_tls)?;
        Ok((record.name, cookie))
    }

    /// Ends the session of the cookie in these headers, if it is valid, for everybody who has the
    /// cookie. Returns the header that lets a browser forget it.
    ///
    /// # Errors
    /// If that can't be kept over a restart of the router.
    pub(crate) async fn sign_out(
        &self,
        headers: &HeaderMap,
        is_tls: bool,
    ) -> Result<Option<HeaderValue>, Problem> {
        let Self::Keys(keys, cookies) = self else {
            return Ok(None);
        };
        let now = SystemTime::now();
        let cookie = cookies.shown(headers, is_tls);
        let checked = cookie.and_then(|cookie| cookies.check(cookie, now, |id| keys.record(id)));
        let forget = cookies.forget(is_tls);
        let Some((record, session)) = checked else {
            return Ok(forget);
        };
        let ending = tokio::task::spawn_blocking(move || session.sign_out(now));
        let ended = ending.await.map_err(anyhow::Error::from).flatten();
        tracing::info!(key = %record.name, "signed out");
        ended.map(|()| forget).map_err(|error| {
            tracing::warn!(%error, "a sign-out is lost when the router restarts");
            let sentence = "this browser is signed out, but only until the router restarts: its log says why. If others may have the cookie, let the router's owner revoke the key";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
        })
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

    /// Lets one of our programs in, before its hello, if its role `may` do `what`, with a stale key, too, and it
    /// speaks our version. Returns the answer that begins the WebSocket. The refusal of this `client` is
    /// logged. One that another router of the mesh passes on may have a `cookie`; true if that came over TLS.
    pub(crate) fn let_in(
        &self,
        pending: &PendingConnection,
        request: &Request<Incoming>,
        client: &str,
        (what, may): (&str, fn(Role) -> bool),
        cookie: Option<bool>,
    ) -> Result<(Caller, Response<Bytes>), Problem> {
        let headers = request.headers();
        let caller = match cookie {
            Some(is_tls) => self.key_or_cookie(pending, headers, is_tls),
            None => self.caller(pending, headers),
        };
        caller
            .and_then(|caller| {
                caller.has_role(what, may)?;
                Ok((caller, websocket::handshake_ours(request)?))
            })
            .inspect_err(|problem| log_refusal(pending, client, problem))
    }
}

fn issue(
    cookies: &SessionCookies,
    id: KeyId,
    hash: &KeyHash,
    is_tls: bool,
) -> Result<Option<HeaderValue>, Problem> {
    let cookie = cookies.issue(id, hash, SystemTime::now());
    let cookie = cookie.map_err(|error| {
        tracing::warn!(%error, "nobody can sign in");
        let sentence = "the router can't keep what signing in needs: its log says why";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
    })?;
    Ok(cookies.keep(&cookie, is_tls))
}

fn known(
    pending: &PendingConnection,
    keys: &KeyStore,
    checked: Result<(KeyRecord, Option<Session>), AuthError>,
) -> Result<Caller, Problem> {
    let (record, session) = checked.map_err(|error| refusal(pending, error))?;
    pending.set_known(QuotaOwner::Key(record.id));
    let is_stale = keys.in_force().is_stale;
    Ok(Caller::Holder(record, keys.clone(), session, is_stale))
}

/// Makes the answer to a caller without a key, or with a wrong one.
fn refusal(pending: &PendingConnection, error: AuthError) -> Problem {
    match error {
        AuthError::Missing | AuthError::SignedOut => Problem::unauthorized(error.to_string()),
        AuthError::Malformed | AuthError::Wrong => wrong(pending, &error.to_string()),
    }
}

/// Makes the answer to a wrong key, which counts.
pub(crate) fn wrong(pending: &PendingConnection, error: &str) -> Problem {
    let Some(pause) = pending.wrong_key() else {
        return Problem::unauthorized(error);
    };
    let seconds = u32::try_from(pause.as_secs() + 1).unwrap_or(u32::MAX);
    let sentence = format!(
        "{error}; wrong keys came from your address: try again in {seconds} s (a correct key is accepted at once)"
    );
    // Distinguishes this answer from one to a correct key that asks for too much.
    Problem::retry_after(StatusCode::TOO_MANY_REQUESTS, seconds, sentence).challenge()
}

impl Caller {
    /// Returns the record of the caller's key; `None` without keys.
    pub(crate) fn record(&self) -> Option<&KeyRecord> {
        match self {
            Self::Anyone => None,
            Self::Holder(record, ..) => Some(record),
        }
    }

    /// Returns the owner whose quota counts.
    pub(crate) fn quota_owner(&self, from: IpAddr) -> QuotaOwner {
        self.record().map_or_else(
            || QuotaOwner::At(from.into()),
            |record| QuotaOwner::Key(record.id),
        )
    }

    /// Returns the identity of an inner with this key; `None` without keys.
    pub(crate) fn identity(&self) -> Option<Identity> {
        Identity::try_from(self.record()?.id.to_string()).ok()
    }

    /// Checks that the caller's role `may` do `what`, and that the key is not stale.
    pub(crate) fn may(&self, what: &str, may: fn(Role) -> bool) -> Result<(), Problem> {
        self.has_role(what, may)?;
        self.check_stale()
    }

    fn is_stale(&self) -> bool {
        matches!(self, Self::Holder(_, _, _, true))
    }

    fn check_stale(&self) -> Result<(), Problem> {
        match self.is_stale() {
            true => Err(Problem::unavailable(Revoked::Stale.to_string())),
            false => Ok(()),
        }
    }

    /// Checks that the caller's role `may` do `what`, which is done with a stale key, too.
    pub(crate) fn has_role(&self, what: &str, may: fn(Role) -> bool) -> Result<(), Problem> {
        match self.record() {
            Some(KeyRecord { name, role, .. }) if !may(*role) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                format!(
                    "the key '{name}' has the role {role}, which may not {what}: use a key of another role"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Returns the service ports of the only cars that the caller may be, see and drive; `None`: any.
    pub(crate) fn ports(&self) -> Option<PortRange> {
        self.record()?.ports
    }

    /// Checks that the caller's key is for the car with this service port.
    pub(crate) fn is_for(&self, port: u16) -> Result<(), Problem> {
        match self.record() {
            Some(KeyRecord {
                name,
                ports: Some(ports),
                ..
            }) if !ports.contains(port) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                format!(
                    "the key '{name}' is for the service ports {ports}, not for {port}: use a key for this car"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Returns the caller's role; without keys, the one that may do everything; with a stale key, one that may
    /// do no more than stop.
    pub(crate) fn role(&self) -> Role {
        match self.record() {
            Some(record) if self.is_stale() && record.role.may_view() => Role::View,
            Some(record) => record.role,
            None => Role::Admin,
        }
    }

    /// Returns the name of the caller's key; empty without keys.
    pub(crate) fn key(&self) -> &str {
        self.record().map_or("", |record| record.name.as_str())
    }

    /// Returns the name of the key, for the log.
    pub(crate) fn name(&self) -> &str {
        self.record().map_or("-", |record| record.name.as_str())
    }

    /// Returns a name for the caller: the key's name, or the address.
    pub(crate) fn who(&self, peer: SocketAddr) -> Text {
        let name = self.record().map(|record| record.name.to_string());
        Text::new(name.unwrap_or_else(|| address_text::of_ip(peer.ip())))
    }

    /// Checks that the caller's key is still in force, with the same record, and the session not over.
    pub(crate) fn check_revoked(&self) -> Result<(), Revoked> {
        let Self::Holder(record, keys, session, was_stale) = self else {
            return Ok(());
        };
        check(record, &keys.in_force(), *was_stale)?;
        match session {
            Some(session) if session.is_over() => Err(Revoked::Session),
            _ => Ok(()),
        }
    }

    /// Waits until the key of a caller who came with a stale one is stale no more; for ever with another one.
    pub(crate) async fn fresh(&self) {
        if let Self::Holder(_, keys, _, true) = self
            && keys.changes().wait_for(|keys| !keys.is_stale).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    /// Waits until the caller's key is revoked or gets stale, its record has changed, or the session is over.
    pub(crate) async fn revoked(&self) -> Revoked {
        let Self::Holder(record, keys, session, was_stale) = self else {
            return std::future::pending().await;
        };
        let over = async {
            match session {
                Some(session) => session.over().await,
                None => std::future::pending().await,
            }
        };
        let (mut keys, mut was_stale) = (keys.changes(), *was_stale);
        let is_over = |keys: &KeysInForce| {
            was_stale &= keys.is_stale;
            check(record, keys, was_stale).is_err()
        };
        tokio::select! {
            // The store is here, and reports changes as long as it exists.
            Ok(keys) = keys.wait_for(is_over) => {
                check(record, &keys, false).err().unwrap_or(Revoked::Key)
            }
            () = over => Revoked::Session,
        }
    }
}

/// Checks that a key is in force, with this record, and did not get stale.
fn check(record: &KeyRecord, keys: &KeysInForce, was_stale: bool) -> Result<(), Revoked> {
    match keys.get(&record.id) {
        Some(known) if known != record => Err(Revoked::Key),
        None => Err(Revoked::Key),
        Some(_) if keys.is_stale && !was_stale => Err(Revoked::Stale),
        Some(_) => Ok(()),
    }
}

/// Logs a refused caller. Callers without a key, as scanners are, and those that keep trying wrong
/// keys are logged at debug level, and others at a limited rate.
pub(crate) fn log_refusal(pending: &PendingConnection, what: &str, problem: &Problem) {
    let (from, why) = (pending.peer, &problem.sentence);
    let is_common =
        problem.status == StatusCode::TOO_MANY_REQUESTS || *why == AuthError::Missing.to_string();
    if is_common || !pending.may_be_logged() {
        tracing::debug!(%from, why, "{what} refused");
    } else {
        tracing::info!(%from, why, "{what} refused");
    }
}

//! One request to the router's main port, and its whole answer: how an invitation is redeemed. Over TLS alone,
//! and to the very router that is asked for.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Invitation;
use crate::key::{Key, Role};
use crate::net::dialer::{self, DialError, RouterAddress};
use crate::net::tls::{self, Pin};
use crate::net::transport::Transport;
use crate::text::EscapedBytes;

/// Time for all of it.
const LIMIT: Duration = Duration::from_secs(20);
/// Most bytes of a usual answer, and most characters of a refusal that are shown.
const USUAL: u64 = 64 * 1024;
const SAID: usize = 500;

/// Program that redeems an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemer {
    /// A machine that is to run `p2p-inner`.
    Inner,
    /// A desk with `p2p-console`.
    Console,
    /// A router that joins a mesh.
    Router,
}

impl Redeemer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Inner, Self::Console, Self::Router];

    /// Path on the main port.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Inner => "/invited/inner",
            Self::Console => "/invited/console",
            Self::Router => "/invited/router",
        }
    }

    /// Command that redeems it.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Inner => "p2p-inner setup",
            Self::Console => "p2p-console login",
            Self::Router => "p2p-router mesh join",
        }
    }
}

/// Path at which somebody with a key asks for a [`PageCode`]: with `?port=` and a service port behind it.
pub const PAGE_CODE: &str = "/invite/browser";

/// Key that was just made for one that is invited, with what it is for.
#[derive(Serialize, Deserialize)]
pub struct GivenKey {
    /// The key's text.
    pub key: String,
    /// Its name.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// The lowest and the highest service port that it is for; `None`: all.
    pub ports: Option<(u16, u16)>,
}

/// Code that signs a browser in once.
#[derive(Serialize, Deserialize)]
pub struct PageCode {
    /// The code.
    pub code: String,
    /// Host name of the car's page, at the main port; `None`: the page is at the service port.
    pub host: Option<String>,
}

/// Answer of a router that has done what it was asked for.
#[derive(Debug)]
pub struct Answer {
    /// The body.
    pub body: Bytes,
    /// The router's clock, to the second.
    pub date: Option<SystemTime>,
}

/// Reason why there is no answer. Each sentence says at which step, and what to do.
#[derive(Debug, Error)]
pub enum PostError {
    /// The router is not reached.
    #[error(transparent)]
    Unreached(#[from] DialError),
    /// Another router answers, or something else.
    #[error("nothing was sent to what answers at {0}: {1}")]
    Untrusted(RouterAddress, String),
    /// Nobody knows whether the router has done what it was asked for.
    #[error("the connection to {0} was lost before it had answered ({1}): {2}")]
    Lost(RouterAddress, String, &'static str),
    /// The router refused with this status, and said this.
    #[error("the router at {0} says: {2}")]
    Refused(RouterAddress, u16, String),
    /// There is no such path.
    #[error(
        "what answers at {0} knows nothing of this: is it the main port of a p2p-router, and of a new one?"
    )]
    Older(RouterAddress),
    /// The router has done it, and says in another way what it has made.
    #[error("the answer of the router at {0} is not understood: update this program, and {1}")]
    Newer(RouterAddress, &'static str),
}

/// What to do about an invitation that may be used up.
const ANOTHER: &str = "make another invitation there, as this one may be used up";

/// Redeems an invitation for a key. Returns what came with it, the key itself, and the router's clock.
///
/// # Errors
/// See [`redeem`].
pub async fn redeem_key(
    invitation: &Invitation,
    redeemer: Redeemer,
) -> Result<(GivenKey, Key, Option<SystemTime>), PostError> {
    let answer = redeem(invitation, redeemer, USUAL).await?;
    let given = serde_json::from_slice::<GivenKey>(&answer.body).ok();
    let given = given.and_then(|given| Some((given.key.parse().ok()?, given)));
    let (key, given) = given.ok_or(PostError::Newer(invitation.router.clone(), ANOTHER))?;
    Ok((given, key, answer.date))
}

/// Redeems an invitation, for an answer of at most so many bytes.
///
/// # Errors
/// See [`PostError`]. Unless the connection was lost, the invitation is as good as before.
pub async fn redeem(
    invitation: &Invitation,
    redeemer: Redeemer,
    most: u64,
) -> Result<Answer, PostError> {
    let asking = Asking {
        router: &invitation.router,
        pins: (invitation.fingerprint.iter().copied())
            .map(Pin::Start)
            .collect(),
        path: redeemer.path(),
        bearer: &invitation.code.expose(),
        lost: ANOTHER,
        stranger: "it is not the router that made this invitation, or one without keys (--open), or somebody in between",
        most,
    };
    asking.ask().await
}

/// Asks the router for something as the holder of this key.
///
/// # Errors
/// See [`PostError`].
pub async fn post(router: &RouterAddress, key: &Key, path: &str) -> Result<Answer, PostError> {
    let fingerprints = key.fingerprints().iter().copied();
    let asking = Asking {
        router,
        pins: fingerprints.map(Pin::Whole).collect(),
        path,
        bearer: &key.bearer(),
        lost: "try again",
        stranger: "it is not the router that the key was made for, or somebody in between",
        most: USUAL,
    };
    asking.ask().await
}

struct Asking<'a> {
    router: &'a RouterAddress,
    pins: Vec<Pin>,
    path: &'a str,
    bearer: &'a str,
    lost: &'static str,
    stranger: &'static str,
    most: u64,
}

impl Asking<'_> {
    async fn ask(self) -> Result<Answer, PostError> {
        let answered = timeout(LIMIT, async { self.exchange(self.connect().await?).await });
        let late = |_| self.lost(&"it took too long");
        answered.await.map_err(late)?
    }

    async fn exchange(&self, stream: Transport) -> Result<Answer, PostError> {
        let router = self.router;
        let shaking_hands = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaking_hands.map_err(|error| self.lost(&error))?;
        // Ends with this exchange: an answer is whole without the connection's end.
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        let request = Request::post(self.path)
            .header(header::HOST, router.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.bearer))
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.lost(&error))?;
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| self.lost(&error))?;
        let status = response.status();
        let date = response.headers().get(header::DATE);
        let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        let body = Limited::new(response.into_body(), most).collect();
        let body = body.await.map_err(|error| self.lost(&error))?.to_bytes();
        match status {
            StatusCode::OK => Ok(Answer { body, date }),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                Err(PostError::Older(router.clone()))
            }
            status => {
                let said = EscapedBytes(body.trim_ascii()).cut(SAID).to_string();
                Err(PostError::Refused(router.clone(), status.as_u16(), said))
            }
        }
    }

    fn lost(&self, error: &dyn std::fmt::Display) -> PostError {
        PostError::Lost(self.router.clone(), error.to_string(), self.lost)
    }

    async fn connect(&self) -> Result<Transport, PostError> {
        let (router, pins) = (self.router, &self.pins);
        let stream = dialer::connect_once(router).await?;
        let connecting = tls::connect_pinned(stream, router.host_without_zone(), pins.clone());
        connecting.await.map_err(|error| {
            let why = match tls::explain(&error) {
                Some(_) if !pins.is_empty() => self.stranger.to_owned(),
                Some(why) => why,
                None => format!("the connection was lost ({error})"),
            };
            PostError::Untrusted(router.clone(), why)
        })
    }
}

#[cfg(test)]
mod tests;

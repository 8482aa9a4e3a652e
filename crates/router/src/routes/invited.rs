//! Gives whoever shows an invitation what it is good for: a key, or what a router needs to join the mesh. Makes
//! invitations of browsers for those who have a key.

use std::time::SystemTime;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use p2p_shared::invitation::post::{GivenKey, PAGE_CODE, PageCode, Redeemer};
use p2p_shared::key::{InviteCode, Key, Role};
use tokio::task::spawn_blocking;

use crate::auth::access::{self, Access, Caller};
use crate::auth::certificate::{self, Certificate};
use crate::auth::invites::{self, NotInvited, Purpose};
use crate::auth::key_store::{KeyName, KeyStore};
use crate::context::Context;
use crate::http::response::{Problem, plain};
use crate::http::{csrf, query};
use crate::mesh::join;
use crate::net::unauthenticated::PendingConnection;

/// What a request about invitations asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Invited {
    /// What an invitation is good for.
    Redeemer(Redeemer),
    /// An invitation for a browser, by somebody with a key.
    Browser,
}

/// Returns what a request for this path asks for, if it is about invitations here.
pub(crate) fn find(context: &Context, path: &str) -> Option<Invited> {
    let is_here = |it: &Redeemer| *it != Redeemer::Router || context.mesh.is_some();
    let redeemer = Redeemer::ALL.into_iter().find(|it| it.path() == path);
    let redeemer = redeemer.filter(is_here).map(Invited::Redeemer);
    redeemer.or((path == PAGE_CODE).then_some(Invited::Browser))
}

/// Answers one that was invited, or that invites a browser.
pub(crate) async fn answer<B>(
    context: &Context,
    pending: &PendingConnection,
    request: &Request<B>,
    invited: Invited,
) -> Result<Response<Bytes>, Problem> {
    query::refuse_keys(request.uri())?;
    if request.method() != Method::POST {
        let sentence = "only POST does something here";
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, sentence);
        return Err(problem.with(header::ALLOW, HeaderValue::from_static("POST")));
    }
    if let Some(sentence) = csrf::is_page(request.headers()) {
        return Err(Problem::new(StatusCode::FORBIDDEN, sentence));
    }
    let Access::Keys(keys, _) = &context.access else {
        let sentence = "this router has no keys (--open): nobody needs an invitation";
        return Err(Problem::new(StatusCode::FORBIDDEN, sentence));
    };
    let given = match invited {
        Invited::Redeemer(redeemer) => {
            redeem(context, keys, pending, request.headers(), redeemer).await
        }
        Invited::Browser => invite_browser(context, keys, pending, request).await,
    };
    let body = given.inspect_err(|problem| {
        access::log_refusal(pending, "one with an invitation", problem);
    })?;
    let mut response = plain(StatusCode::OK, Bytes::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

async fn redeem(
    context: &Context,
    keys: &KeyStore,
    pending: &PendingConnection,
    headers: &HeaderMap,
    redeemer: Redeemer,
) -> Result<Vec<u8>, Problem> {
    let code = code(headers);
    let certificate = context.config.certificate.clone();
    let keys = keys.clone();
    let giving = spawn_blocking(move || {
        let code = code.ok_or(NotInvited::Unknown)?;
        let (dir, now) = (keys.file().dir(), SystemTime::now());
        let give = |purpose: &Purpose| {
            give(&keys, certificate.as_ref(), purpose).map_err(NotInvited::NotGiven)
        };
        let take_back = |(_, made): Given| {
            let unmade = made.map_or(Ok(()), |(_, key)| keys.file().unmake(&key));
            let _ =
                unmade.inspect_err(|error| tracing::warn!(%error, "a key that nobody has is left"));
        };
        let given = invites::redeem(dir, &code, Some(redeemer), now, give, take_back)?;
        if let Err(error) = keys.reload() {
            tracing::warn!(%error, "a key that was made is not good yet");
        }
        Ok(given)
    });
    let given = giving.await.map_err(|error| unable(&error))?;
    let (body, made) = given.map_err(|error| not_invited(context, pending, &error))?;
    let from = pending.peer;
    match made {
        Some((name, _)) => tracing::info!(%from, %name, "a key was made by an invitation"),
        None => tracing::info!(%from, "mesh: a router has joined by an invitation"),
    }
    Ok(body)
}

/// Makes the answer to one whose invitation is not good: a guess counts as a wrong key, but not in a mesh, where
/// another router may have made it.
pub(crate) fn not_invited(
    context: &Context,
    pending: &PendingConnection,
    error: &NotInvited,
) -> Problem {
    match error {
        NotInvited::Unknown if context.mesh.is_some() => Problem::unauthorized(format!(
            "{error}; or another router of this mesh has made it: it is good there alone"
        )),
        NotInvited::Unknown => access::wrong(pending, &error.to_string()),
        NotInvited::Unreadable(_) => unable(error),
        NotInvited::NotGiven(_) => Problem::new(StatusCode::CONFLICT, error.to_string()),
        _ => Problem::unauthorized(error.to_string()),
    }
}

/// Answer to an invited one, and the key in it, if one was made for it.
type Given = (Vec<u8>, Option<(KeyName, Key)>);

/// Makes the answer to an invited one. Blocks on the disk.
fn give(
    keys: &KeyStore,
    certificate: Option<&Certificate>,
    purpose: &Purpose,
) -> anyhow::Result<Given> {
    let own = certificate.and_then(Certificate::fingerprint);
    let dir = keys.file().dir();
    match purpose {
        Purpose::Key { name, role, ports } => {
            let next = own.map(|_| certificate::next(dir)).transpose()?.flatten();
            let key = keys.file().add_soon(name, *role, *ports)?;
            let key = key.for_router(own.into_iter().chain(next));
            let given = GivenKey {
                key: key.expose(),
                name: name.to_string(),
                role: *role,
                ports: ports.map(|ports| (*ports.ports().start(), *ports.ports().end())),
            };
            Ok((serde_json::to_vec(&given)?, Some((name.clone(), key))))
        }
        Purpose::Mesh => {
            // Keys that were made a moment ago, too.
            keys.reload()?;
            let given = join::give(dir, keys.to_text()?, own.is_some())?;
            Ok((serde_json::to_vec(&given)?, None))
        }
        Purpose::Page { .. } => anyhow::bail!("a browser gets a session"),
    }
}

/// Makes an invitation by which a browser is signed in once, as the holder of the caller's key.
async fn invite_browser<B>(
    context: &Context,
    keys: &KeyStore,
    pending: &PendingConnection,
    request: &Request<B>,
) -> Result<Vec<u8>, Problem> {
    let may = Role::may_view;
    let caller = (context.access).allow(pending, request.headers(), "sign a browser in", may)?;
    let port = request
        .uri()
        .query()
        .and_then(|it| it.strip_prefix("port=")?.parse().ok());
    let port = port.ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "say for which car: ?port=SERVICE_PORT",
        )
    })?;
    caller.is_for(port)?;
    let Caller::Holder(record, ..) = &caller else {
        return Err(Problem::new(StatusCode::FORBIDDEN, "there are no keys"));
    };
    let purpose = Purpose::Page {
        key: record.id,
        port,
    };
    let dir = keys.file().dir().to_owned();
    let making = spawn_blocking(move || invites::make(&dir, purpose, SystemTime::now()));
    let code = making.await.map_err(anyhow::Error::from).flatten();
    let code = code.map_err(|error| unable(&error))?;
    let config = &context.config;
    let domain = config
        .domain
        .as_ref()
        .filter(|_| !config.service_ports.are_open());
    let page = PageCode {
        code: code.expose(),
        host: domain.map(|domain| format!("{port}.{}", domain.as_str())),
    };
    serde_json::to_vec(&page).map_err(|error| unable(&error))
}

fn code(headers: &HeaderMap) -> Option<InviteCode> {
    let shown = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    shown.strip_prefix("Bearer ")?.parse().ok()
}

/// Makes the answer to one for whom the disk fails: the reason is for the router's owner, in the log.
pub(crate) fn unable(error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(%error, "an invitation can't be made or redeemed");
    let sentence = "the router can't read or write what that needs: its log says why";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
}

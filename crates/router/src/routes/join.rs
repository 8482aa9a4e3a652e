//! Lets a router join the mesh: answers `POST /mesh/join` on the main port, to whoever shows an invitation.

use std::time::SystemTime;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::task::spawn_blocking;

use crate::auth::access::{self, Access};
use crate::auth::certificate::Certificate;
use crate::auth::key_store::KeyStore;
use crate::context::Context;
use crate::http::response::{Problem, plain};
use crate::http::{csrf, query};
use crate::mesh::invite::{self, InviteToken, NotInvited};
use crate::mesh::join;
use crate::net::unauthenticated::PendingConnection;

/// Answers a router that joins.
pub(crate) async fn answer<B>(
    context: &Context,
    pending: &PendingConnection,
    request: &Request<B>,
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
    let joined = join(context, pending, request.headers()).await;
    match &joined {
        Ok(_) => tracing::info!(from = %pending.peer, "mesh: a router has joined by an invitation"),
        Err(problem) => access::log_refusal(pending, "router that joins", problem),
    }
    joined
}

async fn join(
    context: &Context,
    pending: &PendingConnection,
    headers: &HeaderMap,
) -> Result<Response<Bytes>, Problem> {
    let Access::Keys(keys, _) = &context.access else {
        let sentence = "this router has no keys (--open): copy its mesh.toml by hand";
        return Err(Problem::new(StatusCode::FORBIDDEN, sentence));
    };
    let token = token(headers);
    let certificate = context.config.certificate.as_ref();
    let is_own = certificate.and_then(Certificate::fingerprint).is_some();
    let keys = keys.clone();
    let giving = spawn_blocking(move || {
        let dir = keys.file().dir();
        let token = token.ok_or(NotInvited::Unknown)?;
        invite::redeem(dir, &token, SystemTime::now())?;
        give(&keys, is_own).map_err(NotInvited::Unreadable)
    });
    let given = giving.await.map_err(|error| unable(&error))?;
    let body = given.map_err(|error| match &error {
        NotInvited::Unknown => access::wrong(pending, &error.to_string()),
        NotInvited::Used | NotInvited::Expired => Problem::unauthorized(error.to_string()),
        NotInvited::Unreadable(_) => unable(&error),
    })?;
    let mut response = plain(StatusCode::OK, Bytes::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// Returns what the other router gets: of keys, those that were made a moment ago, too.
fn give(keys: &KeyStore, is_own_certificate: bool) -> anyhow::Result<Vec<u8>> {
    keys.reload()?;
    let given = join::give(keys.file().dir(), keys.to_text()?, is_own_certificate)?;
    Ok(serde_json::to_vec(&given)?)
}

fn token(headers: &HeaderMap) -> Option<InviteToken> {
    let shown = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    shown.strip_prefix("Bearer ")?.parse().ok()
}

fn unable(error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(%error, "mesh: a router can't join");
    let sentence = "the router can't read what one that joins needs: its log says why";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
}

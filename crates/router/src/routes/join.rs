//! Lets a router join the mesh: answers `POST /mesh/join` on the main port, to whoever shows an invitation.

use std::time::SystemTime;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::auth::access::{self, Access};
use crate::auth::certificate::Certificate;
use crate::context::Context;
use crate::http::csrf;
use crate::http::response::{Problem, plain};
use crate::mesh::invite::{self, InviteToken, NotInvited};
use crate::mesh::join;
use crate::net::unauthenticated::PendingConnection;

/// Answers a router that joins. Blocks on the disk.
pub(crate) fn answer<B>(
    context: &Context,
    pending: &PendingConnection,
    request: &Request<B>,
) -> Result<Response<Bytes>, Problem> {
    if request.method() != Method::POST {
        let sentence = "only POST does something here";
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, sentence);
        return Err(problem.with(header::ALLOW, HeaderValue::from_static("POST")));
    }
    if let Some(sentence) = csrf::is_page(request.headers()) {
        return Err(Problem::new(StatusCode::FORBIDDEN, sentence));
    }
    let joined = join(context, pending, request.headers());
    match &joined {
        Ok(_) => tracing::info!(from = %pending.peer, "mesh: a router has joined by an invitation"),
        Err(problem) => access::log_refusal(pending, "router that joins", problem),
    }
    joined
}

fn join(
    context: &Context,
    pending: &PendingConnection,
    headers: &HeaderMap,
) -> Result<Response<Bytes>, Problem> {
    let Access::Keys(keys, _) = &context.access else {
        let sentence = "this router has no keys (--open): copy its mesh.toml by hand";
        return Err(Problem::new(StatusCode::FORBIDDEN, sentence));
    };
    let dir = keys.file().dir();
    let token = token(headers).ok_or(NotInvited::Unknown);
    let redeemed = token.and_then(|token| invite::redeem(dir, &token, SystemTime::now()));
    redeemed.map_err(|error| match &error {
        NotInvited::Unknown => access::wrong(pending, &error.to_string()),
        NotInvited::Used | NotInvited::Expired => Problem::unauthorized(error.to_string()),
        NotInvited::Unreadable(_) => unable(&error),
    })?;
    // A key that was made just now is given, too.
    let read = keys.reload();
    read.map_err(|error| unable(&error))?;
    let certificate = context.config.certificate.as_ref();
    let is_own = certificate.and_then(Certificate::fingerprint).is_some();
    let given = keys
        .to_text()
        .and_then(|keys| join::give(dir, keys, is_own));
    let body = given.and_then(|given| Ok(serde_json::to_vec(&given)?));
    let body = body.map_err(|error| unable(&error))?;
    let mut response = plain(StatusCode::OK, Bytes::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
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

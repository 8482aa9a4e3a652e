//! Signs in the browser of a phone that has read the code of `p2p-console qr`. The code is in the fragment of the
//! page's address, which is sent to nobody, and the page sends it as a form: a preview of the address uses nothing up.

use std::time::{Instant, SystemTime};

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use p2p_shared::key::InviteCode;
use p2p_shared::names::RunId;
use tokio::task::spawn_blocking;

use crate::auth::access::{Access, Caller};
use crate::auth::invites::{self, NotInvited, Purpose};
use crate::context::Context;
use crate::http::csrf;
use crate::http::response::{AnswerBody, Executed, Problem, Timing, whole};
use crate::net::unauthenticated::PendingConnection;
use crate::page;
use crate::routes::invited;
use crate::routes::sign_in::{self, HtmlAnswer};

/// Path of the page, at every car.
pub(crate) const PATH: &str = "/qr";

const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS, POST");

/// Answers a request for the page of the car with this port, which has passed all checks that come before a key.
pub(crate) async fn answer(
    context: &Context,
    pending: &PendingConnection,
    request: Request<Incoming>,
    is_tls: bool,
    port: Option<u16>,
    (run, begun): (RunId, Instant),
) -> Response<AnswerBody> {
    let is_seen = csrf::is_navigation(request.headers());
    let html = |status, html: String| {
        HtmlAnswer {
            status,
            executed: Executed::No,
            run,
            timing: Timing {
                link: begun.elapsed(),
                exec: None,
            },
        }
        .with(html)
    };
    let answered = match *request.method() {
        Method::GET => match csrf::unasked_ahead(request.headers()) {
            Some(sentence) => Err(Problem::new(StatusCode::FORBIDDEN, sentence)),
            None => {
                let mut response = html(StatusCode::OK, page::qr());
                let policy = header::CONTENT_SECURITY_POLICY;
                response.headers_mut().insert(policy, page::qr_policy());
                Ok(response)
            }
        },
        Method::POST => sign_in(context, pending, request, is_tls, port)
            .await
            .map(|cookie| {
                let mut response = html(StatusCode::SEE_OTHER, String::new());
                let headers = response.headers_mut();
                headers.insert(header::LOCATION, HeaderValue::from_static("./"));
                headers.extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
                response
            }),
        Method::HEAD | Method::OPTIONS => {
            let mut response = html(StatusCode::NO_CONTENT, String::new());
            let headers = response.headers_mut();
            headers.remove(header::CONTENT_TYPE);
            headers.insert(header::ALLOW, ALLOWED);
            Ok(response)
        }
        _ => {
            let sentence = "this method does nothing here: use GET or POST";
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, sentence);
            Err(problem.with(header::ALLOW, ALLOWED))
        }
    };
    answered.unwrap_or_else(|problem| match problem.status {
        StatusCode::UNAUTHORIZED if is_seen => {
            let mut response = html(problem.status, page::sign_in(Some(&problem.sentence), None));
            response.headers_mut().extend(problem.headers);
            response
        }
        _ => {
            let timing = Timing {
                link: begun.elapsed(),
                exec: None,
            };
            problem.into_response(run, timing).map(whole)
        }
    })
}

/// Returns the header that lets the browser store its cookie.
async fn sign_in(
    context: &Context,
    pending: &PendingConnection,
    request: Request<Incoming>,
    is_tls: bool,
    here: Option<u16>,
) -> Result<Option<HeaderValue>, Problem> {
    if let Some(sentence) = csrf::unasked(request.headers(), is_tls) {
        return Err(Problem::new(StatusCode::FORBIDDEN, sentence));
    }
    let Access::Keys(keys, _) = &context.access else {
        return Ok(None);
    };
    // Any page can lead the browser here: nobody's session gives way to that of a stranger.
    let signed_in = (context.access).key_or_cookie(pending, request.headers(), is_tls);
    let signed_in = match signed_in {
        Ok(Caller::Holder(record, ..)) => Some(record),
        _ => None,
    };
    let code = sign_in::form_field(context, request, "code").await?;
    let dir = keys.file().dir().to_owned();
    let check = move |purpose: &Purpose| match (purpose, &signed_in) {
        (Purpose::Page { port, .. }, _) if Some(*port) != here => Err(NotInvited::ForOthers(
            format!("the car with the service port {port}"),
        )),
        (Purpose::Page { key, .. }, Some(other)) if other.id != *key => {
            Err(NotInvited::NotGiven(anyhow::anyhow!(
                "this browser is signed in as {}: sign out on the page of the car first, and read the code again",
                other.name
            )))
        }
        (Purpose::Page { key, .. }, _) => Ok(*key),
        // Only a browser's is redeemed here.
        _ => Err(NotInvited::Unknown),
    };
    let redeeming = spawn_blocking(move || {
        let code: InviteCode = code.parse().map_err(|_| NotInvited::Unknown)?;
        invites::redeem(&dir, &code, None, SystemTime::now(), check, drop)
    });
    let redeemed = redeeming.await.map_err(|error| invited::unable(&error))?;
    let key = redeemed.map_err(|error| invited::not_invited(context, pending, &error))?;
    let (name, cookie) = context.access.sign_in_as(pending, &key, is_tls)?;
    tracing::info!(from = %pending.peer, key = %name, "signed in by a code");
    Ok(cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_sends_its_code_in_a_form_and_only_to_this_router() {
        let html = page::qr();
        assert!(
            html.contains(&format!("action=\"{}\"", &PATH[1..])),
            "{html}"
        );
        assert!(html.contains("method=\"post\""), "{html}");
        let policy = page::qr_policy();
        let policy = policy.to_str().unwrap();
        assert!(policy.contains("script-src 'sha256-") && policy.contains("form-action 'self'"));
    }
}

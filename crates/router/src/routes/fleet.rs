//! Serves the page of all cars on the main port, to a browser's user: who may see them sees their states, stops each,
//! and finds the page of each. No command runs here.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use p2p_shared::key::Role;

use crate::auth::access::Caller;
use crate::client::page_protocol::FLEET_PATH;
use crate::client::session;
use crate::context::Context;
use crate::http::response::{AnswerBody, Executed, Problem, Timing, whole};
use crate::http::{csrf, host, query};
use crate::net::unauthenticated::PendingConnection;
use crate::page::drive_page::Fleet;
use crate::page::files;
use crate::routes::sign_in::{self, HOME, HtmlAnswer, SIGN_IN, SIGN_OUT, sign_in_by_form};

/// Path of a car's newest picture, whose service port is between these two.
const PICTURE: (&str, &str) = ("/cars/", "/frame.jpg");

/// Returns true if a request on the main port is for the page of all cars. Programs that ask for the first path are
/// told what the port is for.
pub(crate) fn is_for<B>(request: &Request<B>) -> bool {
    match request.uri().path() {
        HOME => request.method() == Method::GET && csrf::is_navigation(request.headers()),
        SIGN_IN | SIGN_OUT | FLEET_PATH => true,
        path => files::at(path).is_some(),
    }
}

/// Returns the service port of the car whose picture a request on the main port is for, and makes it one for that
/// port.
pub(crate) fn picture_of<B>(request: &mut Request<B>) -> Option<u16> {
    let path = request.uri().path();
    let port = path.strip_prefix(PICTURE.0)?.strip_suffix(PICTURE.1)?;
    let port = port.parse().ok()?;
    // With its query, which must hold no key.
    let query = request.uri().query().unwrap_or_default();
    *request.uri_mut() = format!("{}?{query}", PICTURE.1).parse().ok()?;
    Some(port)
}

/// Answers a request for the page of all cars, or for what belongs to it.
pub(crate) async fn answer(
    context: &Arc<Context>,
    pending: &PendingConnection,
    request: Request<Incoming>,
    is_tls: bool,
) -> Response<AnswerBody> {
    let is_seen = csrf::is_navigation(request.headers());
    let asked = FleetRequest {
        context,
        pending,
        is_tls,
    };
    asked.answer(request).await.unwrap_or_else(|problem| {
        if problem.status != StatusCode::UNAUTHORIZED || !is_seen {
            return problem.into_plain_response().map(whole);
        }
        let mut response = asked.html(problem.status, sign_in::form(&problem, None));
        response.headers_mut().extend(problem.headers);
        response
    })
}

struct FleetRequest<'a> {
    context: &'a Arc<Context>,
    pending: &'a PendingConnection,
    is_tls: bool,
}

impl FleetRequest<'_> {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<AnswerBody>, Problem> {
        let headers = request.headers();
        host::check_count(&request)?;
        if let Some(names) = self.context.config.host_names() {
            host::check(names, headers)?;
        }
        query::refuse_keys(request.uri())?;
        let path = request.uri().path();
        let is_post = request.method() == Method::POST;
        let allowed = match path {
            SIGN_IN => "GET, HEAD, POST",
            SIGN_OUT => "POST",
            FLEET_PATH => "GET",
            _ => "GET, HEAD",
        };
        if !allowed.split(", ").any(|it| it == request.method()) {
            let sentence = format!("this method does nothing here: use one of {allowed}");
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, sentence)
                .with(header::ALLOW, HeaderValue::from_static(allowed)));
        }
        if let Some((content_type, content)) = files::at(path) {
            let mut response = self.html(StatusCode::OK, content);
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, content_type);
            headers.insert(header::CONTENT_SECURITY_POLICY, files::POLICY);
            return Ok(response);
        }
        let unasked = match path {
            HOME => None,
            FLEET_PATH => csrf::unasked(headers, self.is_tls)
                .or_else(|| csrf::refused_websocket(headers, self.is_tls)),
            _ => csrf::unasked(headers, self.is_tls),
        };
        if let Some(sentence) = unasked {
            return Err(Problem::new(StatusCode::FORBIDDEN, sentence));
        }
        let access = &self.context.access;
        match path {
            SIGN_IN if is_post => {
                let by = (&**self.context, self.pending, self.is_tls);
                Ok(self.go_home(sign_in_by_form(by, request, None).await?))
            }
            SIGN_IN => Ok(self.go_home(None)),
            SIGN_OUT => Ok(self.go_home(access.sign_out(headers, self.is_tls).await?)),
            _ => {
                let caller = access.key_or_cookie(self.pending, headers, self.is_tls)?;
                caller.may("see what there is", Role::may_view)?;
                if path == FLEET_PATH {
                    let from = (self.pending.peer, self.is_tls);
                    let response = session::upgrade_fleet(self.context, caller, from, request)?;
                    return Ok(response.map(whole));
                }
                Ok(self.page(&caller))
            }
        }
    }

    fn page(&self, caller: &Caller) -> Response<AnswerBody> {
        let config = &self.context.config;
        let domain = config.domain.as_ref();
        let domain = domain.filter(|_| !config.service_ports.are_open());
        let role = caller.role();
        let fleet = Fleet {
            domain: domain.map_or("", |domain| domain.as_str()),
            signed_in: caller.record().map(|record| (record.name.as_str(), role)),
        };
        let mut response = self.html(StatusCode::OK, fleet.html());
        let policy = header::CONTENT_SECURITY_POLICY;
        response.headers_mut().insert(policy, files::POLICY);
        response
    }

    fn go_home(&self, cookie: Option<HeaderValue>) -> Response<AnswerBody> {
        let mut response = self.html(StatusCode::SEE_OTHER, Bytes::new());
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, HeaderValue::from_static("./"));
        // A body may not have been read.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers.extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
        response
    }

    fn html(&self, status: StatusCode, html: impl Into<Bytes>) -> Response<AnswerBody> {
        let answer = HtmlAnswer {
            status,
            executed: Executed::No,
            run: self.context.next_run(),
            timing: Timing::default(),
        };
        answer.with(html)
    }
}

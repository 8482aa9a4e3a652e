//! Serves a browser's user: asks for a key, signs in and out, and shows the first page. Nothing
//! here ever runs a command. A request that was refused without a key is not repeated after signing
//! in, because its address may have come from anywhere.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use p2p_shared::key::{Key, Role};
use p2p_shared::names::{CommandName, RunId};

use crate::auth::access::Caller;
use crate::auth::key_store::AuthError;
use crate::context::Context;
use crate::http::csrf;
use crate::http::response::{AnswerBody, Executed, Problem, Timing, answer, whole};
use crate::net::unauthenticated::PendingConnection;
use crate::page;
use crate::page::drive_page::DrivePage;
use crate::page::files;
use crate::routes::request::RequestContext;
use crate::routes::run_result;

/// Path of the sign-in form.
pub(crate) const SIGN_IN: &str = "/sign-in";
/// Path of the sign-out button.
pub(crate) const SIGN_OUT: &str = "/sign-out";
/// Path of the first page.
pub(crate) const HOME: &str = "/";

/// Most bytes of the form: a key with two fingerprints has 172, and a browser may escape each.
const MAX_FORM: usize = 4096;

impl RequestContext<'_> {
    /// Answers `POST /sign-in`. A GET, from somebody who opens the address again, leads to the
    /// first page.
    pub(crate) async fn sign_in(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        if request.method() == Method::GET {
            return Ok(self.go_home(SIGN_IN, None));
        }
        let is_seen = csrf::is_navigation(request.headers());
        let by = (&**self.context, self.pending, self.is_tls);
        match sign_in_by_form(by, request, Some(self.car.port)).await {
            Ok(cookie) => Ok(self.go_home(SIGN_IN, cookie)),
            Err(problem) if is_seen => Ok(self.form(problem)),
            Err(problem) => Err(problem),
        }
    }

    /// Answers `POST /sign-out`. Somebody who has lost the browser has to revoke the key.
    pub(crate) async fn sign_out(
        &self,
        headers: &HeaderMap,
    ) -> Result<Response<AnswerBody>, Problem> {
        let cookie = self.context.access.sign_out(headers, self.is_tls).await?;
        let mut response = self.go_home(SIGN_OUT, cookie);
        // The body was not read.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        Ok(response)
    }

    /// Returns true if a browser asked for a command or a run and has to sign in. The browser is
    /// then sent to the first page: the refused address must not stay in the history, where *Back*
    /// would ask for it once more, with the cookie.
    pub(crate) fn has_to_sign_in(&self, problem: &Problem, request: &Request<Incoming>) -> bool {
        let headers = request.headers();
        problem.status == StatusCode::UNAUTHORIZED
            && request.method() == Method::GET
            && csrf::is_navigation(headers)
            && !headers.contains_key(header::AUTHORIZATION)
    }

    /// Sends the browser to the first page by `See Other` (RFC 9110, 15.4.4), which makes it a GET.
    /// The page's address is relative to this path, since a proxy may have put both under a prefix.
    pub(crate) fn go_home(&self, path: &str, cookie: Option<HeaderValue>) -> Response<AnswerBody> {
        let mut response = self.page(StatusCode::SEE_OTHER, Executed::No, String::new());
        let headers = response.headers_mut();
        let home = match path.starts_with(run_result::PATH) {
            true => "../",
            false => "./",
        };
        headers.insert(header::LOCATION, HeaderValue::from_static(home));
        if let Some(cookie) = cookie {
            headers.insert(header::SET_COOKIE, cookie);
        }
        response
    }

    /// Answers `GET /`.
    pub(crate) async fn home(&self, caller: &Caller) -> Result<Response<AnswerBody>, Problem> {
        let commands = match self.car.link() {
            Some(link) => link.list().await.ok(),
            None => None,
        };
        let stop = self.car.stop_command();
        let role = caller.role();
        let home = DrivePage {
            car: &self.car.name().to_string(),
            key: &self.car.key(),
            signed_in: caller.record().map(|record| (record.name.as_str(), role)),
            commands: commands.as_ref().map(|list| &*list.commands),
            stop: stop.as_ref().map_or("stop", CommandName::as_str),
            may_run: &|name| role.may_run() || self.car.is_stop(name),
        };
        let html = self.counted(caller, home.html().into())?;
        let mut response = self.page(StatusCode::OK, Executed::No, html);
        let policy = header::CONTENT_SECURITY_POLICY;
        response.headers_mut().insert(policy, files::POLICY);
        Ok(response)
    }

    /// Returns a file of the drive page.
    pub(crate) fn file(&self, path: &str) -> Option<Response<AnswerBody>> {
        let (content_type, content) = files::at(path)?;
        let mut response = self.page(StatusCode::OK, Executed::No, content.to_owned());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::CONTENT_SECURITY_POLICY, files::POLICY);
        Some(response)
    }

    /// Refuses a command that another site's page caused. If the browser doesn't say what caused
    /// the request, the user is asked.
    pub(crate) fn check_who_asks(
        &self,
        caller: &Caller,
        request: &Request<Incoming>,
    ) -> Result<Option<Response<AnswerBody>>, Problem> {
        let headers = request.headers();
        let is_by_browser = match caller {
            // Only with a cookie: a page can't make a browser send a key.
            Caller::Holder(..) => !headers.contains_key(header::AUTHORIZATION),
            Caller::Anyone => csrf::is_browser(headers),
        };
        if !is_by_browser || !csrf::says_nothing(headers) {
            return Ok(None);
        }
        let target = request.uri().path_and_query().map(|target| target.as_str());
        match target {
            Some(target) if request.method() == Method::GET && csrf::is_navigation(headers) => {
                let html = page::confirm(target.trim_start_matches('/'));
                Ok(Some(self.page(StatusCode::FORBIDDEN, Executed::No, html)))
            }
            _ => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "the browser doesn't say which page made this request (without TLS none does): ask by https://, or open the address yourself",
            )),
        }
    }

    /// Makes the answer for a person: with 401 the page that asks for a key, otherwise one
    /// sentence.
    pub(crate) fn error_response(&self, problem: Problem, is_seen: bool) -> Response<AnswerBody> {
        if problem.status == StatusCode::UNAUTHORIZED && is_seen {
            return self.form(problem);
        }
        let response = problem.into_response(self.run, self.timing());
        response.map(whole)
    }

    /// Makes the page that asks for a key.
    fn form(&self, problem: Problem) -> Response<AnswerBody> {
        let html = form(&problem, Some(&self.car.name().to_string()));
        let mut response = self.page(problem.status, problem.executed, html);
        response.headers_mut().extend(problem.headers);
        response
    }

    /// Makes an answer with the headers of a page: it may only send its forms here, and nobody may
    /// show it in a frame, where a click could be hijacked.
    pub(crate) fn page(
        &self,
        status: StatusCode,
        executed: Executed,
        html: impl Into<Bytes>,
    ) -> Response<AnswerBody> {
        HtmlAnswer {
            status,
            executed,
            run: self.run,
            timing: self.timing(),
        }
        .with(html)
    }
}

/// Signs in the holder of the key in the form that is a request's body, for the car with this service port, or for all
/// that the key is for. Returns the header that lets a browser store a session cookie.
pub(crate) async fn sign_in_by_form(
    (context, pending, is_tls): (&Context, &PendingConnection, bool),
    request: Request<Incoming>,
    port: Option<u16>,
) -> Result<Option<HeaderValue>, Problem> {
    let key = form_field(context, request, "key").await?;
    let key: Key = key
        .parse()
        .map_err(|error: p2p_shared::key::ParseKeyError| {
            Problem::unauthorized(error.to_string())
        })?;
    let (caller, cookie) = context.access.sign_in(pending, &key, is_tls)?;
    caller.may("sign in", Role::may_view)?;
    port.map_or(Ok(()), |port| caller.is_for(port))?;
    tracing::info!(from = %pending.peer, key = caller.name(), "signed in");
    Ok(cookie)
}

/// Makes the page that asks for a key, to this car or to the router.
pub(crate) fn form(problem: &Problem, car: Option<&str>) -> String {
    // Somebody who pastes a key need not know how a program sends it.
    let is_first = problem.sentence == AuthError::Missing.to_string();
    let wrong = Some(problem.sentence.as_str()).filter(|_| !is_first);
    page::sign_in(wrong, car)
}

/// Pause after which a browser asks again for the page of a car that is away, in seconds.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("3");

/// Makes the answer in place of a car's page, which a person sees: it asks again by itself.
pub(crate) fn away(problem: Problem, run: RunId) -> Response<AnswerBody> {
    let answer = HtmlAnswer {
        status: problem.status,
        executed: problem.executed,
        run,
        timing: Timing::default(),
    };
    let mut response = answer.with(page::away(&problem.sentence));
    let headers = response.headers_mut();
    headers.extend(problem.headers);
    headers.insert(header::REFRESH, ASK_AGAIN);
    response
}

/// Answer that is a page.
pub(crate) struct HtmlAnswer {
    pub status: StatusCode,
    pub executed: Executed,
    pub run: RunId,
    pub timing: Timing,
}

impl HtmlAnswer {
    pub(crate) fn with(self, html: impl Into<Bytes>) -> Response<AnswerBody> {
        const HEADERS: [(HeaderName, &str); 4] = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            // The page's address goes to this router only.
            (header::REFERRER_POLICY, "same-origin"),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "same-origin",
            ),
        ];
        let body = whole(html.into());
        let mut response = answer(self.status, self.executed, self.run, self.timing, body);
        let headers = response.headers_mut();
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::CONTENT_SECURITY_POLICY, page::policy());
        response
    }
}

/// Reads the field of this name from the form that is a request's body.
pub(crate) async fn form_field(
    context: &Context,
    request: Request<Incoming>,
    name: &str,
) -> Result<String, Problem> {
    let bad = |sentence: &str| Problem::new(StatusCode::BAD_REQUEST, sentence);
    let reading = Limited::new(request.into_body(), MAX_FORM).collect();
    let form = match tokio::time::timeout(context.config.patience.body, reading).await {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let sentence = format!("that is more than a {name}: paste the {name} alone");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, sentence));
        }
        Ok(Err(_)) => return Err(bad("the form came cut off or badly framed: send it again")),
        Err(_) => {
            let sentence = "the form did not come in time: send it again";
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, sentence));
        }
    };
    let mut fields = form_urlencoded::parse(&form);
    let found = fields.find(|(field, _)| field == name);
    let (_, value) =
        found.ok_or_else(|| bad(&format!("there is no {name} in the form ({name}=…)")))?;
    Ok(value.into_owned())
}

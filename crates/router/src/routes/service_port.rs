//! Owns a service port: its listener, its connections, and what each path and method answers.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use p2p_shared::key::Role;
use p2p_shared::net::transport::Transport;
use p2p_shared::timing;
use tokio::net::{TcpListener, TcpStream};

use crate::auth::access::Caller;
use crate::car::Car;
use crate::car::open_port::OpenPort;
use crate::car::registry::elsewhere::Occupant;
use crate::client::page_protocol::DRIVE_PATH;
use crate::client::session;
use crate::client::via::Via;
use crate::context::Context;
use crate::http::connection::{MAX_ADDRESS, MAX_HEADERS};
use crate::http::query::CgiQuery;
use crate::http::response::{AnswerBody, Problem, Timing, whole};
use crate::http::{connection, csrf, host, query, tls_or_plain};
use crate::link::work::NoAnswer;
use crate::net::accept::accept;
use crate::net::unauthenticated::PendingConnection;
use crate::ops::shutdown::own;
use crate::page::files;
use crate::routes::elsewhere::ElsewhereRequest;
use crate::routes::request::RequestContext;
use crate::routes::sign_in::{self, HOME, SIGN_IN, SIGN_OUT};
use crate::routes::video::FRAMES;
use crate::routes::{balancer, by_name, camera_elsewhere, cgi, incident, qr, run_result};

/// Serves the port of a car that is here.
pub(crate) fn begin_for(context: &Arc<Context>, car: &Car) {
    if let Some(port) = car.open_port() {
        begin(context, port);
    }
}

/// Accepts and answers until the port closes, whichever router has its car. Does nothing for a port that is
/// served.
pub(crate) fn begin(context: &Arc<Context>, port: Arc<OpenPort>) {
    if let Some(listener) = port.begin_serving() {
        let serving = serve(context.clone(), port, listener);
        context.shutdown.connections.spawn(own(serving));
    }
}

async fn serve(context: Arc<Context>, port: Arc<OpenPort>, listener: Arc<TcpListener>) {
    context.metrics.service_ports.inc();
    let ends = [&port.closed, &context.shutdown.handing_over];
    while let Some(connected) = accept(&context.unauthenticated, &listener, ends).await {
        let (shared, port) = (context.clone(), port.clone());
        let connection = async move {
            if let Some((stream, peer)) = balancer::caller(&shared, &port.closed, connected).await {
                connection(&shared, &port, stream, peer).await;
            }
        };
        context.shutdown.callers.spawn(connection);
    }
    context.metrics.service_ports.dec();
}

async fn connection(context: &Arc<Context>, port: &OpenPort, stream: TcpStream, peer: SocketAddr) {
    let pending = &context.unauthenticated.admit(peer, &port.closed);
    let refuse = |status| last_words(context, pending, status);
    let acceptor = context.config.acceptor();
    if let Some(stream) = tls_or_plain::enter(acceptor, pending, stream, refuse).await {
        answer_all(context, port, stream, pending).await;
    }
}

/// Answers all requests of a connection to a service port.
pub(crate) async fn answer_all(
    context: &Arc<Context>,
    port: &OpenPort,
    stream: Transport,
    pending: &PendingConnection,
) {
    let refuse = |status| last_words(context, pending, status);
    let callers = CallerConnection::new(context, pending, stream.is_tls());
    connection::serve_with(
        context.config.patience,
        stream,
        pending,
        context.config.strict_transport(callers.is_tls),
        refuse,
        |request| {
            let at = port.port;
            let occupant = || {
                context.registry.occupant(at).ok_or_else(|| {
                    let sentence = format!("service port {at} closes: nothing was run");
                    Problem::unavailable(sentence)
                })
            };
            let by_name = by_name::find_at(context, &request, at);
            let is_by_name = by_name.is_some();
            callers.answer(by_name.unwrap_or_else(occupant), is_by_name, request)
        },
    )
    .await;
}

/// Makes the answer to what is no request.
pub(crate) fn last_words(
    context: &Context,
    pending: &PendingConnection,
    status: StatusCode,
) -> Response<Bytes> {
    let problem = tls_or_plain::last_words(pending, status, context.config.patience.headers);
    let response = problem.into_response(context.next_run(), Timing::default());
    context.metrics.answered(response.status().as_u16());
    response
}

/// A connection whose requests are for cars.
pub(crate) struct CallerConnection<'a> {
    context: &'a Arc<Context>,
    pending: &'a PendingConnection,
    is_tls: bool,
    is_private: bool,
}

impl<'a> CallerConnection<'a> {
    pub(crate) fn new(
        context: &'a Arc<Context>,
        pending: &'a PendingConnection,
        is_tls: bool,
    ) -> Self {
        let is_private = context.access.is_private(pending.peer.ip(), is_tls);
        Self {
            context,
            pending,
            is_tls,
            is_private: context.config.allow_plain_http || is_private,
        }
    }

    /// Answers a request for this occupant of a port, at which it came; `is_by_name` if a name below the
    /// router's domain said which.
    pub(crate) async fn answer(
        &self,
        occupant: Result<Occupant, Problem>,
        is_by_name: bool,
        request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        let (context, pending) = (self.context, self.pending);
        let (run, begun) = (context.next_run(), timing::now());
        let port = occupant.as_ref().ok().map(Occupant::port);
        let path = request.uri().path();
        let is_page = path == HOME && csrf::is_navigation(request.headers());
        let is_away = |problem: &Problem| {
            is_page
                && matches!(
                    problem.status,
                    StatusCode::NOT_FOUND
                        | StatusCode::BAD_GATEWAY
                        | StatusCode::SERVICE_UNAVAILABLE
                )
        };
        let mut response = match occupant {
            _ if request.uri().path() == qr::PATH => match self.check_first(is_by_name, &request) {
                Ok(()) => {
                    Box::pin(qr::answer(
                        context,
                        pending,
                        request,
                        self.is_tls,
                        port,
                        (run, begun),
                    ))
                    .await
                }
                Err(problem) => problem.into_response(run, Timing::default()).map(whole),
            },
            Ok(Occupant::Here(car)) => {
                let asked = RequestContext {
                    context,
                    car: &car,
                    pending,
                    run,
                    begun,
                    is_tls: self.is_tls,
                    via: None,
                };
                let is_seen = csrf::is_navigation(request.headers());
                let answered = match self.check_first(is_by_name, &request) {
                    Ok(()) => asked.answer(request).await,
                    Err(problem) => Err(problem),
                };
                answered.unwrap_or_else(|problem| asked.error_response(problem, is_seen))
            }
            Ok(Occupant::Elsewhere(port)) => {
                let asked = ElsewhereRequest {
                    context,
                    port: &port,
                    pending,
                    run,
                    begun,
                    is_tls: self.is_tls,
                };
                let answered = match self.check_first(is_by_name, &request) {
                    Ok(()) => Box::pin(camera_elsewhere::answer(&asked, request)).await,
                    Err(problem) => Err(problem),
                };
                answered.unwrap_or_else(|problem| match is_away(&problem) {
                    true => sign_in::away(problem, run),
                    false => asked.error_response(problem),
                })
            }
            Err(nobody) => {
                let problem = self.refuse(nobody, is_by_name, &request);
                match is_away(&problem) {
                    true => sign_in::away(problem, run),
                    false => problem.into_response(run, Timing::default()).map(whole),
                }
            }
        };
        if context.shutdown.draining.is_cancelled() || pending.is_for_stop() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        context.metrics.answered(response.status().as_u16());
        response
    }

    /// The answer to a request that is for `nobody`. Which names there are is told to those alone who have a
    /// key.
    fn refuse(&self, nobody: Problem, is_by_name: bool, request: &Request<Incoming>) -> Problem {
        let may_know = self.check_first(is_by_name, request).and_then(|()| {
            if !is_by_name {
                return Ok(());
            }
            let access = &self.context.access;
            let caller = access.key_or_cookie(self.pending, request.headers(), self.is_tls)?;
            caller.may("see what there is", Role::may_view)
        });
        may_know.err().unwrap_or(nobody)
    }

    /// Checks what the router checks that a caller comes to, whichever has the car: size, host and privacy.
    fn check_first(&self, is_by_name: bool, request: &Request<Incoming>) -> Result<(), Problem> {
        check_size(request)?;
        host::check_count(request)?;
        // A host name below the router's domain is the router's own.
        if let Some(names) = self.context.config.host_names()
            && !is_by_name
        {
            host::check(names, request.headers())?;
        }
        query::refuse_keys(request.uri())?;
        if self.is_private {
            Ok(())
        } else {
            Err(tls_or_plain::in_the_clear(request))
        }
    }
}

impl RequestContext<'_> {
    /// Answers a request that was checked by the router that it came to.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let path = request.uri().path();
        let allowed = match path {
            "/cgi" | SIGN_IN => "GET, HEAD, OPTIONS, POST",
            SIGN_OUT | incident::PATH => "HEAD, OPTIONS, POST",
            "/commands" | "/video" | "/frame.jpg" | FRAMES | HOME | DRIVE_PATH => {
                "GET, HEAD, OPTIONS"
            }
            path if path.starts_with(run_result::PATH) || files::at(path).is_some() => {
                "GET, HEAD, OPTIONS"
            }
            _ => {
                return Err(Problem::new(
                    StatusCode::NOT_FOUND,
                    "there is no such path: /cgi?command=NAME runs a command, /commands lists them, /run/ID says what became of one",
                ));
            }
        };
        match *request.method() {
            Method::GET if allowed.starts_with("GET") => {}
            Method::POST if allowed.ends_with("POST") => {}
            Method::HEAD | Method::OPTIONS => {
                let mut response = self.ok("", whole(Bytes::new()));
                *response.status_mut() = StatusCode::NO_CONTENT;
                let headers = response.headers_mut();
                headers.remove(header::CONTENT_TYPE);
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
                return Ok(response);
            }
            _ => {
                let sentence = format!("this method does nothing here: use one of {allowed}");
                return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, sentence)
                    .with(header::ALLOW, HeaderValue::from_static(allowed)));
            }
        }
        let headers = request.headers();
        if let Some(file) = self.file(path) {
            return Ok(file);
        }
        // A link on another site may lead to the first page, which runs nothing. A stop is accepted
        // even if a proxy has changed `Host`, which makes our own page look foreign.
        let is_own_stop =
            || !csrf::has_fetch_metadata(headers) && self.stop_query(&request).is_some();
        let unasked = match path {
            HOME => None,
            DRIVE_PATH | FRAMES => csrf::unasked(headers, self.is_tls)
                .or_else(|| csrf::refused_websocket(headers, self.is_tls)),
            _ => csrf::unasked(headers, self.is_tls),
        };
        if let Some(sentence) = unasked
            && !is_own_stop()
        {
            return Err(Problem::new(StatusCode::FORBIDDEN, sentence));
        }
        let caller = |what: &str, may: fn(Role) -> bool| {
            let access = &self.context.access;
            let caller = access.key_or_cookie(self.pending, headers, self.is_tls)?;
            // With a stale key, too: `cgi` refuses it for all but a stop.
            match path {
                "/cgi" => caller.has_role(what, may)?,
                _ => caller.may(what, may)?,
            }
            caller.is_for(self.car.port)?;
            self.context.check_stays(self.pending, &caller, || {
                let stop = self.stop_query(&request);
                stop.is_some_and(|query| query.arguments.is_empty())
            })?;
            Ok(caller)
        };
        match path {
            SIGN_IN => self.sign_in(request).await,
            SIGN_OUT => self.sign_out(headers).await,
            "/cgi" => {
                // Everybody who may see the car may stop it; `cgi` refuses other commands.
                let caller = match caller("run commands", Role::may_stop) {
                    Err(problem) if self.has_to_sign_in(&problem, &request) => {
                        return Ok(self.go_home(path, None));
                    }
                    caller => caller?,
                };
                match self.check_who_asks(&caller, &request)? {
                    Some(question) => Ok(question),
                    None => cgi::run(self, caller, request).await,
                }
            }
            _ => {
                let caller = match caller("see what there is", Role::may_view) {
                    Err(problem)
                        if path.starts_with(run_result::PATH)
                            && self.has_to_sign_in(&problem, &request) =>
                    {
                        return Ok(self.go_home(path, None));
                    }
                    caller => caller?,
                };
                match path {
                    HOME => self.home(&caller).await,
                    path if let Some(id) = path.strip_prefix(run_result::PATH) => {
                        self.run_result(id).await
                    }
                    "/video" => self.camera().video(&caller).await,
                    "/frame.jpg" => self.camera().frame(&caller).await,
                    FRAMES => self.camera().frames(&caller, request),
                    DRIVE_PATH => self.drive(caller, request),
                    incident::PATH => self.incident(&caller, request).await,
                    _ => self.commands(&caller).await,
                }
            }
        }
    }

    /// Returns the query of a request for the car's stop command.
    fn stop_query(&self, request: &Request<Incoming>) -> Option<CgiQuery> {
        let uri = request.uri();
        let query = CgiQuery::parse(uri.query().unwrap_or_default());
        let query = query.ok().filter(|_| uri.path() == "/cgi");
        query.filter(|query| self.car.is_stop(&query.command))
    }

    /// Answers `GET /drive`, a page's WebSocket.
    fn drive(
        &self,
        caller: Caller,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let via = self.via.and_then(|from| Via::new(self.context, from));
        let (context, car, peer) = (self.context, self.car, self.pending.peer);
        let response = session::upgrade_page(context, car, caller, peer, request, via)?;
        Ok(response.map(whole))
    }

    /// Answers `GET /commands`.
    async fn commands(&self, caller: &Caller) -> Result<Response<AnswerBody>, Problem> {
        let answer = match self.car.link() {
            Some(link) => link.list().await,
            None => Err(NoAnswer::Away),
        };
        let list = answer.map_err(|why| self.no_answer(why))?;
        let json = self.counted(caller, list.json())?;
        Ok(self.ok("application/json", whole(json)))
    }
}

/// Refuses requests whose address or headers are too large.
fn check_size(request: &Request<Incoming>) -> Result<(), Problem> {
    let path = request.uri().path_and_query();
    let address = path.map_or(0, |path| path.as_str().len());
    if address > MAX_ADDRESS {
        let sentence = format!(
            "the address is longer than {MAX_ADDRESS} bytes: send long input as the body of a POST"
        );
        return Err(Problem::new(StatusCode::URI_TOO_LONG, sentence));
    }
    let sizes = request.headers().iter();
    let headers: usize = sizes
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if address + headers > MAX_HEADERS {
        let sentence = format!("the headers are larger than {MAX_HEADERS} bytes");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Problem::new(status, sentence));
    }
    Ok(())
}

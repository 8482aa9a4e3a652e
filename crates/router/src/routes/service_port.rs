//! Owns a service port: its listener, its connections, and what each path and method answers.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use p2p_shared::key::Role;
use p2p_shared::names::RunId;
use tokio::net::{TcpListener, TcpStream};

use crate::Context;
use crate::auth::access::Caller;
use crate::car::registry::{Occupant, ServicePort};
use crate::client::page_protocol::DRIVE_PATH;
use crate::client::page_session;
use crate::http::connection;
use crate::http::csrf;
use crate::http::host;
use crate::http::query;
use crate::http::response::{Executed, Problem, Timing, answer};
use crate::http::tls_or_plain;
use crate::net::unauthenticated::PendingConnection;
use crate::page::files;
use crate::routes::cgi::{self, Broken, RunBody};
use crate::routes::run_result;
use crate::routes::sign_in::{HOME, SIGN_IN, SIGN_OUT};
use crate::routes::video::Pictures;

/// Pause when the system has no descriptors left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts and answers until the port is given up.
pub(crate) async fn serve(context: Arc<Context>, service: Arc<ServicePort>) {
    let Some(listener) = service.listener() else {
        return;
    };
    context.metrics.service_ports.inc();
    while let Some((stream, peer)) = accept(&context, &listener, &service.closed).await {
        let (context, service) = (context.clone(), service.clone());
        let tracker = context.callers.clone();
        tracker.spawn(async move { connection(&context, &service, stream, peer).await });
    }
    context.metrics.service_ports.dec();
}

/// The next connection, or `None` when `closed`.
pub(crate) async fn accept(
    context: &Context,
    listener: &TcpListener,
    closed: &tokio_util::sync::CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = closed.cancelled() => return None,
            () = context.handing_over.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // IPv4 callers of a socket for both families are shown as what they are.
            Ok((stream, peer)) => {
                return Some((
                    stream,
                    SocketAddr::new(peer.ip().to_canonical(), peer.port()),
                ));
            }
            // Out of descriptors, or a caller that was gone before we got to it. The others
            // keep being served, and each that ends gives a descriptor back.
            Err(error) => {
                if context.strangers.may_be_logged() {
                    tracing::warn!(%error, "a connection can't be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    context: &Arc<Context>,
    service: &Arc<ServicePort>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let pending = &context.strangers.admit(peer, &service.closed);
    let refuse = |status: StatusCode| {
        let run = context.run_ids.next();
        let problem = tls_or_plain::last_words(pending, status, context.patience.headers);
        let response = problem.into_response(run, Timing::default());
        context.metrics.answered(response.status().as_u16());
        response
    };
    let Some(stream) = tls_or_plain::enter(context, pending, stream, refuse).await else {
        return;
    };
    let is_tls = stream.is_tls();
    let is_private =
        context.allow_plain_http || tls_or_plain::is_private(&context.access, peer.ip(), is_tls);
    connection::serve_with(
        context.patience,
        stream,
        pending,
        refuse,
        |request| async move {
            let asked = RequestContext {
                context,
                service,
                pending,
                peer,
                run: context.run_ids.next(),
                begun: Instant::now(),
                is_private,
                is_tls,
            };
            let is_seen = csrf::is_navigation(request.headers());
            let mut response = match asked.route(request).await {
                Ok(response) => response,
                Err(problem) => asked.told(problem, is_seen),
            };
            if context.draining.is_cancelled() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            context.metrics.answered(response.status().as_u16());
            response
        },
    )
    .await;
}

/// A request and what it is about.
pub(crate) struct RequestContext<'a> {
    pub context: &'a Arc<Context>,
    pub service: &'a Arc<ServicePort>,
    pub pending: &'a PendingConnection,
    pub peer: SocketAddr,
    pub run: RunId,
    pub begun: Instant,
    /// Nobody on the way can listen, or may.
    is_private: bool,
    /// Over TLS, as far as to us.
    pub is_tls: bool,
}

impl RequestContext<'_> {
    pub(crate) fn timing(&self) -> Timing {
        Timing {
            link: self.begun.elapsed(),
            exec: None,
        }
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<AnswerBody>, Problem> {
        check_size(&request)?;
        if let Some(names) = &self.context.host_names {
            host::check(names, request.headers())?;
        }
        query::refuse_keys(request.uri())?;
        if !self.is_private {
            return Err(tls_or_plain::in_the_clear(&request));
        }
        let path = request.uri().path();
        let allowed = match path {
            "/cgi" => "GET, HEAD, OPTIONS, POST",
            "/commands" | "/video" | "/frame.jpg" | "/frames" | HOME | DRIVE_PATH => {
                "GET, HEAD, OPTIONS"
            }
            path if path.starts_with(run_result::PATH) => "GET, HEAD, OPTIONS",
            SIGN_IN => "GET, HEAD, OPTIONS, POST",
            SIGN_OUT => "HEAD, OPTIONS, POST",
            path if files::at(path).is_some() => "GET, HEAD, OPTIONS",
            _ => {
                return Err(Problem::new(
                    StatusCode::NOT_FOUND,
                    "there is no such path: /cgi?command=NAME runs a command, /commands lists them, /run/ID says what became of one",
                ));
            }
        };
        match *request.method() {
            Method::GET if path != SIGN_OUT => {}
            Method::POST if allowed.ends_with("POST") => {}
            Method::HEAD | Method::OPTIONS => {
                let body = AnswerBody::whole(Bytes::new());
                let mut response = answer(
                    StatusCode::NO_CONTENT,
                    Executed::No,
                    self.run,
                    self.timing(),
                    body,
                );
                response.headers_mut().remove(header::CONTENT_TYPE);
                response
                    .headers_mut()
                    .insert(header::ALLOW, HeaderValue::from_static(allowed));
                return Ok(response);
            }
            _ => {
                let sentence = format!("this method does nothing here: use one of {allowed}");
                return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, sentence)
                    .with(header::ALLOW, HeaderValue::from_static(allowed)));
            }
        }
        let (access, headers) = (&self.context.access, request.headers());
        // A link elsewhere may lead to the first page: it runs nothing.
        if path != HOME
            && let Some(sentence) = csrf::unasked(headers, self.is_tls)
        {
            return Err(Problem::new(StatusCode::FORBIDDEN, sentence));
        }
        match path {
            SIGN_IN => self.sign_in(request).await,
            SIGN_OUT => Ok(self.sign_out()),
            "/cgi" => {
                let caller = match access.key_or_cookie(self.pending, headers, self.is_tls) {
                    Err(problem) if self.has_to_sign_in(&problem, &request) => {
                        return Ok(self.go_home(None));
                    }
                    caller => caller?,
                };
                // Whoever may see the car may stop it; the rest is for `cgi` to refuse.
                caller.may("run commands", Role::may_stop)?;
                match self.check_who_asks(&caller, &request)? {
                    Some(question) => Ok(question),
                    None => cgi::run(self, caller, request).await,
                }
            }
            _ => {
                let caller = access.key_or_cookie(self.pending, headers, self.is_tls)?;
                caller.may("see what there is", Role::may_view)?;
                match path {
                    HOME => Ok(self.home(&caller).await),
                    path if let Some(id) = path.strip_prefix(run_result::PATH) => {
                        self.run_story(id).await
                    }
                    "/video" => self.video(&caller).await,
                    "/frame.jpg" => self.frame(&caller).await,
                    "/frames" => self.frames(&caller, request),
                    DRIVE_PATH => self.drive(caller, request),
                    path => match self.file(path) {
                        Some(file) => Ok(file),
                        None => self.commands().await,
                    },
                }
            }
        }
    }

    /// Answers `GET /drive`, a page's WebSocket.
    fn drive(
        &self,
        caller: Caller,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let response =
            page_session::upgrade(self.context, self.service, caller, self.peer, request)?;
        Ok(response.map(AnswerBody::whole))
    }

    /// Answers `GET /commands`.
    async fn commands(&self) -> Result<Response<AnswerBody>, Problem> {
        let away = || {
            let sentence = format!("{} is not connected to the router", self.service.name());
            Problem::retry_after(StatusCode::SERVICE_UNAVAILABLE, 2, sentence)
        };
        let Occupant::Linked(link) = self.service.occupant() else {
            return Err(away());
        };
        let commands = link.list().await.ok_or_else(away)?;
        let json = serde_json::to_vec(&serde_json::json!({ "commands": commands }))
            .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let body = AnswerBody::whole(json.into());
        let mut response = answer(StatusCode::OK, Executed::No, self.run, self.timing(), body);
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        Ok(response)
    }
}

/// Refuses what is larger than a request of ours ever is.
fn check_size(request: &Request<Incoming>) -> Result<(), Problem> {
    let address = request
        .uri()
        .path_and_query()
        .map_or(0, |both| both.as_str().len());
    if address > connection::MAX_ADDRESS {
        return Err(Problem::new(
            StatusCode::URI_TOO_LONG,
            format!(
                "the address is longer than {} bytes: send long input as the body of a POST",
                connection::MAX_ADDRESS
            ),
        ));
    }
    let headers: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if address + headers > connection::MAX_HEADERS {
        return Err(Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!(
                "the headers are larger than {} bytes",
                connection::MAX_HEADERS
            ),
        ));
    }
    Ok(())
}

/// The body of an answer.
pub(crate) enum AnswerBody {
    /// All there, until it was taken.
    Whole(Option<Bytes>),
    /// To come.
    Run(Box<RunBody>),
    /// A camera's, which go on.
    Live(Pictures),
}

impl AnswerBody {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(Frame::data).map(Ok)),
            Self::Run(body) => body.poll_frame(task),
            Self::Live(pictures) => pictures
                .poll_next_unpin(task)
                .map(|bytes| bytes.map(Frame::data).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Run(_) | Self::Live(_) => SizeHint::default(),
        }
    }
}

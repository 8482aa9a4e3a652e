//! Serves a camera over plain HTTP: `GET /video` and `GET /frame.jpg`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use p2p_shared::names::{LinkName, RunId};
use p2p_shared::os::random_u64;
use p2p_shared::protocol::Picture;
use p2p_shared::text::Escaped;
use tokio_util::sync::CancellationToken;

use crate::auth::access::Caller;
use crate::camera::viewer::{Gone, Viewer};
use crate::camera::{Camera, Status, frame_socket, mjpeg};
use crate::context::Context;
use crate::http::flushed::Flushed;
use crate::http::response::{
    AnswerBody, Executed, Problem, Timing, UNBUFFERED, answer, text_value, whole,
};
use crate::http::websocket;
use crate::link::work::NoAnswer;
use crate::routes::request::RequestContext;

/// Path of the WebSocket for a page's pictures.
pub(crate) const FRAMES: &str = p2p_shared::protocol::PICTURES_PATH;

/// Longest time until a picture arrives: a camera on a busy Pi takes 5 s for its first.
const FIRST: Duration = Duration::from_secs(8);
/// Header with the capture time, as the parts of `/video` have it.
const X_TIMESTAMP: HeaderName = HeaderName::from_static("x-timestamp");

/// A request for a car's camera.
pub(crate) struct CameraRequest<'a> {
    pub context: &'a Arc<Context>,
    pub peer: SocketAddr,
    pub run: RunId,
    pub begun: Instant,
    pub camera: Arc<Camera>,
    /// Cancelled when the car's port is given up here.
    pub closed: &'a CancellationToken,
    /// The car's name.
    pub name: LinkName,
}

impl RequestContext<'_> {
    /// Returns this request as one for the car's camera.
    pub(crate) fn camera(&self) -> CameraRequest<'_> {
        CameraRequest {
            context: self.context,
            peer: self.pending.peer,
            run: self.run,
            begun: self.begun,
            camera: self.car.camera.clone(),
            closed: &self.car.closed,
            name: self.car.name(),
        }
    }
}

impl CameraRequest<'_> {
    /// Answers `GET /frames`, and upgrades to a WebSocket.
    pub(crate) fn frames(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let switching = websocket::handshake(&request, "the page's pictures")?;
        let viewer = self.viewer(caller)?;
        let serve = move |stream, read| frame_socket::serve(viewer, stream, read);
        let connections = &self.context.shutdown.connections;
        let response = websocket::accept(connections, request, switching, serve);
        Ok(response.map(whole))
    }

    /// Answers `GET /frame.jpg`.
    pub(crate) async fn frame(&self, caller: &Caller) -> Result<Response<AnswerBody>, Problem> {
        let mut viewer = self.viewer(caller)?;
        let picture = self.picture(&mut viewer).await?;
        let mut response = self.ok(whole(picture.jpeg()));
        let jpeg = HeaderValue::from_static("image/jpeg");
        response.headers_mut().insert(header::CONTENT_TYPE, jpeg);
        let time = text_value(&mjpeg::timestamp(&picture));
        response.headers_mut().insert(X_TIMESTAMP, time);
        Ok(response)
    }

    /// Answers `GET /video`.
    pub(crate) async fn video(&self, caller: &Caller) -> Result<Response<AnswerBody>, Problem> {
        let mut viewer = self.viewer(caller)?;
        let first = self.picture(&mut viewer).await?;
        let live = Flushed::default();
        let random = random_u64().map_err(|error| {
            let sentence = format!(
                "the router's kernel gives no random numbers ({error}): ask for /frame.jpg"
            );
            Problem::unavailable(sentence)
        })?;
        let boundary = mjpeg::Boundary::new(random);
        let content_type = text_value(&boundary.content_type());
        let pictures = mjpeg::pictures(viewer, first, live.clone(), boundary);
        let body = StreamBody::new(pictures.map(Frame::data).map(Ok)).boxed_unsync();
        let mut response = self.ok(body);
        let sandbox = HeaderValue::from_static("sandbox; default-src 'none'; img-src 'self'");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::CONTENT_SECURITY_POLICY, sandbox);
        headers.extend([UNBUFFERED]);
        response.extensions_mut().insert(live);
        Ok(response)
    }

    fn ok(&self, body: AnswerBody) -> Response<AnswerBody> {
        let timing = Timing::since(self.begun);
        answer(StatusCode::OK, Executed::No, self.run, timing, body)
    }

    /// Makes a viewer for this caller, if there is room for another.
    fn viewer(&self, caller: &Caller) -> Result<Viewer, Problem> {
        let context = self.context;
        let owner = caller.quota_owner(self.peer.ip());
        let permit = context.quotas.viewers.take(owner);
        let permit = permit.ok_or_else(|| {
            let sentence = format!(
                "{} has {} viewers of cameras open, the most that a key may have: close one",
                owner.whose(),
                context.limits.viewers
            );
            Problem::retry_after(StatusCode::TOO_MANY_REQUESTS, 10, sentence)
        })?;
        Ok(Viewer::new(
            self.camera.clone(),
            caller.clone(),
            Some(permit),
            &context.metrics.viewers,
            self.closed.clone(),
        ))
    }

    /// Returns the newest picture, or waits for the first.
    async fn picture(&self, viewer: &mut Viewer) -> Result<Picture, Problem> {
        let gone = viewer.gone();
        let coming = async {
            loop {
                if let Some(picture) = viewer.newest.borrow_and_update().clone() {
                    return Ok(picture);
                }
                // A copy, as `check` locks the car: a locked car may be waiting to change the state.
                let status = viewer.status.borrow_and_update().clone();
                self.check(&status)?;
                // Neither channel is closed before the camera, which the viewer holds.
                tokio::select! {
                    _ = viewer.newest.changed() => {}
                    _ = viewer.status.changed() => {}
                }
            }
        };
        tokio::select! {
            gone = gone => Err(went(gone)),
            picture = coming => picture,
            () = tokio::time::sleep(FIRST) => {
                let sentence = format!(
                    "no picture came from the camera within {} s: the car's log says what its program does",
                    FIRST.as_secs()
                );
                Err(Problem::unavailable(sentence))
            }
        }
    }

    /// Checks that a picture may arrive.
    fn check(&self, status: &Status) -> Result<(), Problem> {
        let later = |sentence| Err(Problem::unavailable(sentence));
        match status {
            Status::Starting | Status::Shows => Ok(()),
            Status::None => Err(Problem::new(
                StatusCode::NOT_FOUND,
                format!(
                    "{} has no camera: start its p2p-inner with --camera COMMAND",
                    self.name
                ),
            )),
            Status::Away => later(format!("{} {}", self.name, NoAnswer::Away)),
            Status::Failed(why) => later(format!(
                "the camera has failed and is started again: {}",
                Escaped(why)
            )),
        }
    }
}

/// Makes the answer to a viewer that has to go before there is a picture.
fn went(gone: Gone) -> Problem {
    match gone {
        Gone::Revoked(why) => Problem::unauthorized(why.to_string()),
        Gone::Closed => Problem::unavailable(
            "the router is restarting, or has given this port up: try again in a moment",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::SystemTime;

    use p2p_shared::names::InstanceId;
    use p2p_shared::protocol::{LinkHello, MotionInfo};

    use super::*;
    use crate::car::registry::claim::Claim;
    use crate::config::Config;

    fn context() -> Arc<Context> {
        let config = Config {
            max_body: 1,
            max_links: 1,
            ..Config::open()
        };
        let main_port = (Ipv4Addr::LOCALHOST, 1).into();
        Arc::new(Context::new(config, main_port, SystemTime::now()).unwrap())
    }

    #[tokio::test]
    async fn a_viewer_and_a_link_that_comes_and_goes_never_wait_for_each_other() {
        let (context, caller) = (context(), Caller::Anyone);
        let peer = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 2));
        let mut hello = LinkHello {
            service_port: 0,
            name: "car".parse().unwrap(),
            identity: "abcd2345".to_owned().try_into().unwrap(),
            instance: InstanceId(1),
            software: "".into(),
            clock_ms: 0,
            motion: MotionInfo {
                commands: Default::default(),
                stop: "stop".parse().unwrap(),
                lease_ms: 400,
                limit_ms: 2000,
            },
            camera: false,
            dial: 0,
            past: false,
        };
        let owner = caller.quota_owner(peer.ip());
        let registry = context.registry.clone();
        let mut link_up = move |service_port| {
            hello.service_port = service_port;
            let mut claim = Claim {
                owner,
                identity: hello.identity.clone(),
                ports: None,
                key: "",
                hello: &hello,
                grant: None,
            };
            let granted = registry.claim(&mut claim).unwrap();
            (granted.car, granted.link.id())
        };
        let (car, mut link) = link_up(0);
        let (flapping, end) = (car.clone(), context.shutdown.closed.clone());
        let flaps = std::thread::spawn(move || {
            while !end.is_cancelled() {
                flapping.link_down(link, "lost");
                link = link_up(flapping.port).1;
            }
        });
        let request = RequestContext {
            via: None,
            context: &context,
            car: &car,
            pending: &context.unauthenticated.admit(peer, &car.closed),
            run: RunId::from_number(1),
            begun: Instant::now(),
            is_tls: false,
        };
        for _ in 0..20_000 {
            let problem = request
                .camera()
                .frame(&caller)
                .await
                .map(|_| ())
                .unwrap_err();
            assert!([404, 503].contains(&problem.status.as_u16()));
        }
        context.shutdown.closed.cancel();
        flaps.join().unwrap();
    }
}

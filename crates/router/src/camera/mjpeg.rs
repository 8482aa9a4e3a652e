//! Format of `GET /video`: multipart/x-mixed-replace, which every MJPEG viewer understands. At most
//! one picture is under way to a viewer; when it is written, the newest one follows.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use p2p_shared::protocol::Picture;

use crate::camera::viewer::Viewer;
use crate::http::flushed::Flushed;

/// Random line between pictures. No camera can guess the line and send a part of another type.
pub(crate) struct Boundary(String);

impl Boundary {
    /// Makes a boundary, of this random number.
    pub(crate) fn new(random: u64) -> Self {
        Self(format!("p2p-{random:016x}"))
    }

    pub(crate) fn content_type(&self) -> String {
        format!("multipart/x-mixed-replace; boundary={}", self.0)
    }

    fn first(&self) -> Bytes {
        format!("--{}\r\n", self.0).into()
    }

    /// Start of the next part, sent right after a picture: browsers show a picture when the next
    /// part begins.
    fn next(&self) -> Bytes {
        format!("\r\n--{}\r\n", self.0).into()
    }

    fn last(&self) -> Bytes {
        format!("\r\n--{}--\r\n", self.0).into()
    }
}

/// Returns the stream of pictures for this viewer, from this one on, until the viewer has to go.
pub(crate) fn pictures(
    mut viewer: Viewer,
    first: Picture,
    live: Flushed,
    boundary: Boundary,
) -> BoxStream<'static, Bytes> {
    let gone = Box::pin(viewer.gone());
    // This picture was the newest a moment ago.
    viewer.newest.mark_unchanged();
    let begin = stream::once(std::future::ready(boundary.first()));
    let start = (viewer, gone, Some(first), live.clone(), boundary);
    let parts = stream::unfold(Some(start), async |state| {
        let (mut viewer, mut gone, first, live, boundary) = state?;
        let next = async {
            match first {
                Some(first) => Some(first),
                None => {
                    live.out().await;
                    next(&mut viewer).await
                }
            }
        };
        let picture = tokio::select! {
            biased;
            _ = &mut gone => None,
            picture = next => picture,
        };
        Some(match picture {
            Some(picture) => {
                let parts = vec![head(&picture), picture.jpeg(), boundary.next()];
                (parts, Some((viewer, gone, None, live, boundary)))
            }
            None => (vec![boundary.last()], None),
        })
    });
    let parts = parts.flat_map(stream::iter).inspect(move |_| live.say());
    begin.chain(parts).boxed()
}

/// Waits for the next picture; `None`: there will be none.
async fn next(viewer: &mut Viewer) -> Option<Picture> {
    loop {
        viewer.newest.changed().await.ok()?;
        let newest = viewer.newest.borrow_and_update().clone();
        if newest.is_some() {
            return newest;
        }
    }
}

/// Returns the headers of a picture, with the time on the car's clock in mjpg-streamer's form.
fn head(picture: &Picture) -> Bytes {
    let (length, time) = (picture.jpeg().len(), timestamp(picture));
    format!("Content-Type: image/jpeg\r\nContent-Length: {length}\r\nX-Timestamp: {time}\r\n\r\n")
        .into()
}

/// Returns the capture time in seconds on the car's clock.
pub(crate) fn timestamp(picture: &Picture) -> String {
    let ms = picture.captured_ms();
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

//! Format of `GET /video`: multipart/x-mixed-replace, which every MJPEG viewer understands. At most
//! one picture is under way to a viewer; when it is written, the newest one follows.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use p2p_shared::protocol::Picture;

use crate::camera::viewer::Viewer;
use crate::http::flushed::Flushed;

/// Boundary between pictures. No JPEG has a line like it.
pub(crate) const CONTENT_TYPE: &str = "multipart/x-mixed-replace; boundary=p2p-picture";
const FIRST: &[u8] = b"--p2p-picture\r\n";
/// Start of the next part, sent right behind a picture: browsers show a picture when the next part
/// begins.
const NEXT: &[u8] = b"\r\n--p2p-picture\r\n";
const LAST: &[u8] = b"\r\n--p2p-picture--\r\n";

/// Returns the stream of pictures for this viewer, from this one on, until the viewer has to go.
pub(crate) fn pictures(
    mut viewer: Viewer,
    first: Picture,
    live: Flushed,
) -> BoxStream<'static, Bytes> {
    let gone = Box::pin(viewer.gone());
    // This picture was the newest a moment ago.
    viewer.newest.mark_unchanged();
    let begin = stream::once(std::future::ready(Bytes::from_static(FIRST)));
    let start = (viewer, gone, Some(first), live.clone());
    let parts = stream::unfold(Some(start), async |state| {
        let (mut viewer, mut gone, first, live) = state?;
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
                let next = Bytes::from_static(NEXT);
                let parts = vec![head(&picture), picture.jpeg(), next];
                (parts, Some((viewer, gone, None, live)))
            }
            None => (vec![Bytes::from_static(LAST)], None),
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

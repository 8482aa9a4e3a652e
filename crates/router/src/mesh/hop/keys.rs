//! Fetches what another member knows of keys, and of cookies that were signed out, on a connection like that of
//! a request.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::header::HeaderName;
use hyper::{Request, StatusCode, Uri};

use super::Hops;
use super::connection::NoAnswer;
use super::upload::Upload;
use crate::mesh::Member;

/// Path of the keys.
pub(crate) const KEYS: &str = "/keys";
/// Path of the cookies that were signed out.
pub(crate) const SIGNED_OUT: &str = "/signed-out";
/// Header of a ping's answer: what the member knows of keys.
pub(crate) const DIGESTS: HeaderName = HeaderName::from_static("p2p-keys");

/// Most bytes that are read: more than either file may have.
const MOST: usize = 32 * 1024 * 1024;
/// Time for all of it.
const FETCH: Duration = Duration::from_secs(10);

impl Hops {
    /// Fetches what a member has under one of these paths.
    ///
    /// # Errors
    /// If it is not reached, or its answer does not come whole in time.
    pub(crate) async fn fetch(&self, from: &Member, path: &'static str) -> io::Result<String> {
        let fetching = tokio::time::timeout(FETCH, self.fetch_in_time(from, path));
        let fetched = fetching.await;
        fetched.unwrap_or_else(|_| Err(io::Error::other("it did not answer in time")))
    }

    async fn fetch_in_time(&self, from: &Member, path: &'static str) -> io::Result<String> {
        let peer = self.peer(from);
        loop {
            let taken = peer.take(false).await;
            let (mut hop, is_new) = taken.map_err(|why| io::Error::other(why.to_string()))?;
            let mut request = Request::new(Upload::none());
            *request.uri_mut() = Uri::from_static(path);
            let response = match hop.send(request).await {
                Ok(response) => response,
                Err(NoAnswer::NotSent) if !is_new => continue,
                Err(_) => return Err(io::Error::other("the connection was lost")),
            };
            if response.status() != StatusCode::OK {
                let why = format!("it answers {}", response.status());
                return Err(io::Error::other(why));
            }
            let body = Limited::new(response.into_body(), MOST).collect().await;
            let body = body.map_err(io::Error::other)?.to_bytes();
            peer.put(hop);
            return String::from_utf8(body.into()).map_err(io::Error::other);
        }
    }
}

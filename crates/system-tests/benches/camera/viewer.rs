//! A page that watches, and what it has seen.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// Pictures that some pages have received.
#[derive(Default)]
pub struct ViewerStats {
    /// How old each picture was when it came, in ms.
    pub ages: Vec<f64>,
    /// How many each page got.
    pub counts: Vec<usize>,
}

impl ViewerStats {
    /// Pictures a second of the page that got the least.
    pub fn least_rate(&self, time: Duration) -> f64 {
        self.counts.iter().copied().min().unwrap_or_default() as f64 / time.as_secs_f64()
    }

    pub fn add(&mut self, other: Self) {
        self.ages.extend(other.ages);
        self.counts.extend(other.counts);
    }
}

/// Watches for so long, from the first picture on.
pub async fn watch(port: u16, time: Duration) -> ViewerStats {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = "ws://127.0.0.1/frames".into_client_request().unwrap();
    let (mut page, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    for _ in 0..2 {
        page.send(Message::text("next")).await.unwrap();
    }
    let mut seen = ViewerStats::default();
    let mut ends = None;
    let mut count = 0;
    loop {
        let now = Instant::now();
        if ends.is_some_and(|ends| now >= ends) {
            break;
        }
        if let Message::Binary(picture) = page.next().await.unwrap().unwrap() {
            let captured = u64::from_be_bytes(*picture.first_chunk().unwrap());
            let age = p2p_inner::clock::now_ms().saturating_sub(captured);
            if ends.is_none() {
                // The first is that of the start, which takes what it takes.
                ends = Some(Instant::now() + time);
            } else {
                seen.ages.push(age as f64);
                count += 1;
            }
            page.send(Message::text("next")).await.unwrap();
        }
    }
    seen.counts.push(count);
    seen
}

/// The time below which this part of them is.
pub fn percentile(times: &[f64], part: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let index = (times.len() as f64 * part) as usize;
    times
        .get(index.min(times.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

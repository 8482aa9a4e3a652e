//! Owns what a worker says on its standard error: it goes to the log, as much of it as somebody
//! could read. It is read without end, since a worker whose complaints nobody takes would hang.

use std::time::Duration;

use p2p_shared::text::EscapedBytes;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStderr;
use tokio::time::Instant;

/// Most lines that are logged in a second.
const LOGGED_A_SECOND: u32 = 20;
/// Most bytes of a line in the log.
const LOGGED: usize = 1000;

/// Logs until there is no more.
pub(super) async fn log(worker: String, stderr: ChildStderr) {
    let mut stderr = BufReader::new(stderr);
    let mut tally = Tally::new(worker);
    let mut line = Vec::new();
    loop {
        let read = match stderr.fill_buf().await {
            Ok(read) if !read.is_empty() => read,
            _ => break,
        };
        let end = read.iter().position(|byte| *byte == b'\n');
        let piece = &read[..end.unwrap_or(read.len())];
        line.extend_from_slice(&piece[..piece.len().min(LOGGED - line.len())]);
        let used = end.map_or(read.len(), |end| end + 1);
        stderr.consume(used);
        if end.is_some() {
            tally.log(&line);
            line.clear();
        }
    }
    if !line.is_empty() {
        tally.log(&line);
    }
    tally.tell_more();
}

/// How much of it was logged.
struct Tally {
    worker: String,
    second: Instant,
    logged: u32,
    more: u64,
}

impl Tally {
    fn new(worker: String) -> Self {
        Self {
            worker,
            second: Instant::now(),
            logged: 0,
            more: 0,
        }
    }

    fn log(&mut self, line: &[u8]) {
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.tell_more();
            (self.second, self.logged) = (Instant::now(), 0);
        }
        if self.logged >= LOGGED_A_SECOND {
            self.more += 1;
            return;
        }
        self.logged += 1;
        tracing::info!(worker = self.worker, said = %EscapedBytes(line).cut(LOGGED), "the worker says");
    }

    fn tell_more(&mut self) {
        let more = std::mem::take(&mut self.more);
        if more > 0 {
            tracing::warn!(
                worker = self.worker,
                lines = more,
                "the worker said more than is logged"
            );
        }
    }
}

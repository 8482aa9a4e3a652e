//! Owns what a worker or the camera's program says on its standard error: it goes to the log, as
//! much of it as somebody could read. It is read without end, since a program whose stderr_log
//! nobody takes would hang.

use std::time::Duration;

use p2p_shared::text::EscapedBytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::time::Instant;

/// Most lines that are logged in a second.
const LOGGED_A_SECOND: u32 = 20;
/// Most bytes of a line in the log.
const LOGGED: usize = 1000;

/// Who complains.
#[derive(Debug)]
pub(crate) enum LogSource {
    /// The worker of this name.
    Worker(String),
    /// The camera's program.
    Camera,
}

/// Logs until there is no more. The last line that was not empty.
pub(crate) async fn log(speaker: LogSource, stderr: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut stderr = BufReader::new(stderr);
    let mut tally = LineLimit::new(speaker);
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
    tally.last
}

/// How much of it was logged.
struct LineLimit {
    speaker: LogSource,
    last: Vec<u8>,
    second: Instant,
    logged: u32,
    more: u64,
}

impl LineLimit {
    fn new(speaker: LogSource) -> Self {
        Self {
            speaker,
            last: Vec::new(),
            second: Instant::now(),
            logged: 0,
            more: 0,
        }
    }

    fn log(&mut self, line: &[u8]) {
        if !line.trim_ascii().is_empty() {
            line.trim_ascii().clone_into(&mut self.last);
        }
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.tell_more();
            (self.second, self.logged) = (Instant::now(), 0);
        }
        if self.logged >= LOGGED_A_SECOND {
            self.more += 1;
            return;
        }
        self.logged += 1;
        let said = EscapedBytes(line).cut(LOGGED);
        match &self.speaker {
            LogSource::Worker(worker) => tracing::info!(worker, %said, "the worker says"),
            LogSource::Camera => tracing::info!(%said, "the camera says"),
        }
    }

    fn tell_more(&mut self) {
        let more = std::mem::take(&mut self.more);
        if more > 0 {
            match &self.speaker {
                LogSource::Worker(worker) => {
                    tracing::warn!(worker, lines = more, "the worker said more than is logged")
                }
                LogSource::Camera => {
                    tracing::warn!(lines = more, "the camera said more than is logged")
                }
            }
        }
    }
}

//! Logs the standard error of a worker or of the camera's program, as much of it as somebody could
//! read. It is read without end, since a program whose messages nobody takes would hang.

use std::time::Duration;

use p2p_shared::logging::LogThrottle;
use p2p_shared::text::EscapedBytes;
use p2p_shared::timing;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

const LOGGED_A_SECOND: u32 = 20;
const LOGGED: usize = 1000;

#[derive(Debug)]
pub(crate) enum LogSource {
    Worker(String),
    Camera,
}

/// Logs until the end; returns the last line that was not empty.
pub(crate) async fn log(source: LogSource, stderr: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut stderr = BufReader::new(stderr);
    let throttle = LogThrottle::new(LOGGED_A_SECOND, Duration::from_secs(1));
    let mut stderr_log = StderrLog {
        source,
        throttle,
        last: Vec::new(),
    };
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
            stderr_log.log(&line);
            line.clear();
        }
    }
    if !line.is_empty() {
        stderr_log.log(&line);
    }
    let suppressed = stderr_log.throttle.take_suppressed();
    stderr_log.log_suppressed(suppressed);
    stderr_log.last
}

struct StderrLog {
    source: LogSource,
    throttle: LogThrottle,
    last: Vec<u8>,
}

impl StderrLog {
    fn log(&mut self, line: &[u8]) {
        if !line.trim_ascii().is_empty() {
            line.trim_ascii().clone_into(&mut self.last);
        }
        let Some(suppressed) = self.throttle.allow(timing::now()) else {
            return;
        };
        self.log_suppressed(suppressed);
        let said = EscapedBytes(line).cut(LOGGED);
        match &self.source {
            LogSource::Worker(worker) => tracing::info!(worker, %said, "the worker says"),
            LogSource::Camera => tracing::info!(%said, "the camera says"),
        }
    }

    fn log_suppressed(&self, lines: u64) {
        match &self.source {
            _ if lines == 0 => {}
            LogSource::Worker(worker) => {
                tracing::warn!(worker, lines, "the worker said more than is logged");
            }
            LogSource::Camera => tracing::warn!(lines, "the camera said more than is logged"),
        }
    }
}

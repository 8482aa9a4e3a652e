//! Logs the standard error of a worker or of the camera's program, at a rate that a person can
//! read. All of it is read, since a program whose output nobody reads would hang.

use std::time::Duration;

use p2p_shared::logging::LogThrottle;
use p2p_shared::text::EscapedBytes;
use p2p_shared::timing;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio_util::task::AbortOnDropHandle;

const LOGGED_A_SECOND: u32 = 20;
const LOGGED: usize = 1000;

/// Logs what this worker (`None`: the camera's program) writes, until it ends. The task returns the
/// last line that was not empty.
pub(crate) fn spawn(
    worker: Option<String>,
    stderr: impl AsyncRead + Send + Unpin + 'static,
) -> AbortOnDropHandle<Vec<u8>> {
    let stderr_log = StderrLog {
        program: if worker.is_some() { "worker" } else { "camera" },
        worker,
        throttle: LogThrottle::new(LOGGED_A_SECOND, Duration::from_secs(1)),
        last: Vec::new(),
    };
    AbortOnDropHandle::new(tokio::spawn(stderr_log.run(stderr)))
}

struct StderrLog {
    program: &'static str,
    worker: Option<String>,
    throttle: LogThrottle,
    last: Vec<u8>,
}

impl StderrLog {
    async fn run(mut self, stderr: impl AsyncRead + Unpin) -> Vec<u8> {
        let mut stderr = BufReader::new(stderr);
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
                self.log(&line);
                line.clear();
            }
        }
        if !line.is_empty() {
            self.log(&line);
        }
        let suppressed = self.throttle.take_suppressed();
        self.log_suppressed(suppressed);
        self.last
    }

    fn log(&mut self, line: &[u8]) {
        if !line.trim_ascii().is_empty() {
            line.trim_ascii().clone_into(&mut self.last);
        }
        if let Some(suppressed) = self.throttle.allow(timing::now()) {
            self.log_suppressed(suppressed);
            let (worker, said) = (&self.worker, EscapedBytes(line).cut(LOGGED));
            tracing::info!(worker, %said, "the {} says", self.program);
        }
    }

    fn log_suppressed(&self, lines: u64) {
        if lines > 0 {
            let worker = &self.worker;
            tracing::warn!(
                worker,
                lines,
                "the {} said more than is logged",
                self.program
            );
        }
    }
}

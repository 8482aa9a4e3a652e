//! Reports a run's start, output and end. A command that ends at once is reported in one message
//! rather than in three, each of which would wake the router.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use p2p_shared::names::RunId;
use p2p_shared::protocol::{End, InnerToRouter, OutputPiece, PIECE, StderrTail, cost};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Run;
use crate::process::Output;

/// Time that the report of a start waits for the end: as long as a short command takes. Viewers see
/// no difference, and a run that is lost meanwhile is reported as always.
pub(super) const START_WAITS: Duration = Duration::from_millis(5);
/// Time that output waits for more, or for the end, which mostly follows at once.
const OUTPUT_WAITS: Duration = Duration::from_millis(1);

/// Reports so far of a run's process.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    has_started: bool,
    /// The last output, which goes with the end.
    rest: OutputPiece,
    /// True for a run that another one answers, if its caller did not read the output fast enough.
    is_cut: bool,
}

impl Run {
    pub(super) fn has_started(&self) -> bool {
        self.progress.lock().has_started
    }

    pub(super) fn started(&self) {
        if !std::mem::replace(&mut self.progress.lock().has_started, true) {
            self.reporter
                .urgent(InnerToRouter::Started { run: self.id() });
        }
        for other in &self.others {
            other.started();
        }
    }

    /// Passes output on in pieces, as fast as the caller reads, until it ends; counts its bytes.
    /// Once `no_more` is cancelled, only what waits in the pipe is passed on.
    pub(super) async fn pass_on(
        &self,
        mut stdout: Box<dyn Output>,
        bytes: &mut u64,
        no_more: &CancellationToken,
    ) {
        let mut piece = BytesMut::new();
        let mut is_read = true;
        // Number of bytes to read before the end, once `no_more` is cancelled.
        let mut left = None;
        let mut waits = std::pin::pin!(sleep(OUTPUT_WAITS));
        while left != Some(0) {
            if piece.len() >= PIECE {
                is_read = self.flush(&mut piece, is_read).await;
            }
            piece.reserve(PIECE - piece.len());
            let most = left.unwrap_or(PIECE).min(PIECE - piece.len());
            let had = piece.len();
            let mut room = (&mut piece).limit(most);
            tokio::select! {
                biased;
                () = no_more.cancelled(), if left.is_none() => {
                    left = Some(stdout.unread());
                }
                read = stdout.read_buf(&mut room) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(length) => {
                        *bytes += length as u64;
                        left = left.map(|left| left - length);
                        if had == 0 {
                            waits.as_mut().reset(Instant::now() + OUTPUT_WAITS);
                        }
                    }
                },
                () = &mut waits, if had > 0 => is_read = self.flush(&mut piece, is_read).await,
            }
        }
        if !piece.is_empty() {
            let rest = OutputPiece::split_from(&mut piece.freeze());
            if is_read && self.window.take(cost(&rest)).await {
                for other in &self.others {
                    if other.has_room(&rest) {
                        other.progress.lock().rest = rest.clone();
                    }
                }
                self.progress.lock().rest = rest;
            } else {
                self.pass_on_piece(rest, false).await;
            }
        }
    }

    /// Sends a piece, if anyone reads; returns whether anyone still reads.
    async fn flush(&self, piece: &mut BytesMut, is_read: bool) -> bool {
        let bytes = OutputPiece::split_from(&mut piece.split().freeze());
        let is_read = is_read && self.window.take(cost(&bytes)).await;
        if is_read {
            self.started();
        }
        self.pass_on_piece(bytes, is_read).await;
        is_read
    }

    /// Takes room for a piece of the output of the run that answers this one, which does not wait for
    /// this one's caller. Returns false from the first piece on for which there is none.
    fn has_room(&self, bytes: &OutputPiece) -> bool {
        let mut progress = self.progress.lock();
        progress.is_cut |= !self.window.try_take(cost(bytes));
        !progress.is_cut
    }

    /// Sends a piece of output, or remembers it if nobody reads.
    async fn pass_on_piece(&self, bytes: OutputPiece, is_read: bool) {
        for other in self.others.iter().filter(|other| other.has_room(&bytes)) {
            other.started();
            let (run, bytes) = (other.id(), bytes.clone());
            let output = InnerToRouter::Output { run, bytes };
            self.reporter.output([output]).await;
        }
        let output = InnerToRouter::Output {
            run: self.id(),
            bytes,
        };
        if is_read {
            self.reporter.output([output]).await;
        } else {
            self.reporter.remember(&output);
        }
    }

    /// Passes on complete output in pieces, as fast as its reader takes them.
    pub(super) async fn pass_on_whole(&self, mut output: Bytes) {
        self.started();
        while !output.is_empty() {
            let bytes = OutputPiece::split_from(&mut output);
            let is_read = self.window.take(cost(&bytes)).await;
            self.pass_on_piece(bytes, is_read).await;
        }
    }

    /// Reports the end, with what was not reported yet.
    pub(super) async fn finished(&self, end: End, exec_us: u64, stderr: StderrTail) {
        for other in &self.others {
            let stderr = match other.progress.lock().is_cut {
                true => StderrTail::last_of(cut_off(self.id()).as_bytes()),
                false => stderr.clone(),
            };
            other.report_end(end, exec_us, stderr).await;
        }
        self.report_end(end, exec_us, stderr).await;
    }

    async fn report_end(&self, end: End, exec_us: u64, stderr: StderrTail) {
        let run = self.id();
        let (has_started, output) = {
            let mut progress = self.progress.lock();
            (progress.has_started, std::mem::take(&mut progress.rest))
        };
        if !has_started {
            let answered = InnerToRouter::Answered {
                run,
                end,
                exec_us,
                output,
                stderr,
            };
            return self.reporter.output([answered]).await;
        }
        let finished = InnerToRouter::Finished {
            run,
            end,
            exec_us,
            stderr,
        };
        if output.is_empty() {
            return self.reporter.output([finished]).await;
        }
        let rest = InnerToRouter::Output { run, bytes: output };
        self.reporter.output([rest, finished]).await;
    }
}

/// The sentence for a caller who gets only the beginning of the output.
fn cut_off(run: RunId) -> String {
    format!(
        "this stop ran together with others, as run {run}, and the rest of its output is not here\n"
    )
}

//! Records one run from the request to its end, for the log line, the metrics, the feed and
//! `Server-Timing`. Each of them gets the run once, however the run ends.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use p2p_shared::bounded::{Arguments, Piece, Text};
use p2p_shared::names::{Argument, LinkName, RunId};
use p2p_shared::protocol::{
    ARGUMENTS_SHOWN, CALLER_LEFT, End, RunInfo, RunResult, RunSource, SHOWN_OUTPUT,
};
use p2p_shared::timing::{self, millis_f64};

use crate::feed::{Feed, RunCounts, shortened};
use crate::http::response::Timing;
use crate::net::address_text;
use crate::net::quota::QuotaPermit;
use crate::ops::metrics::Metrics;
use crate::run::error::RunError;
use crate::run::{Finish, NewRun};

/// The record of one run. If dropped unfinished, it says that the caller went away.
#[derive(Debug)]
pub(crate) struct RunRecord {
    run: RunId,
    /// The run as consoles see it, until it is finished.
    open: Option<Arc<RunInfo>>,
    from: SocketAddr,
    metrics: Arc<Metrics>,
    feed: Arc<Feed>,
    counts: Arc<RunCounts>,
    begun: Instant,
    started: Option<Instant>,
    end: Option<End>,
    /// The times of a run whose process has ended.
    times: Option<Timing>,
    bytes: u64,
    output: Vec<u8>,
    stderr: Piece<SHOWN_OUTPUT>,
    /// The permit among the runs that a caller may have open, held until the run is over.
    pub permit: Option<QuotaPermit>,
}

impl RunRecord {
    pub(crate) fn new(
        feed: Arc<Feed>,
        metrics: Arc<Metrics>,
        counts: Arc<RunCounts>,
        (service_port, link): (u16, LinkName),
        new: &NewRun,
    ) -> Self {
        metrics.open_runs.inc();
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let info = Arc::new(RunInfo {
            run: new.run,
            service_port,
            link,
            command: new.command.clone(),
            arguments: first_arguments(&new.arguments),
            source: new.source,
            from: Text::new(address_text::of_ip(new.from.ip())),
            key: new.key.clone(),
            at_ms: timing::millis(since_1970),
            result: None,
        });
        feed.run(&info, &counts);
        Self {
            run: new.run,
            open: Some(info),
            from: new.from,
            metrics,
            feed,
            counts,
            begun: new.begun,
            started: None,
            end: None,
            times: None,
            bytes: 0,
            output: Vec::new(),
            stderr: Piece::default(),
            permit: None,
        }
    }

    pub(crate) fn run(&self) -> RunId {
        self.run
    }

    pub(crate) fn started(&mut self) {
        self.started.get_or_insert_with(timing::now);
    }

    pub(crate) fn has_started(&self) -> bool {
        self.started.is_some()
    }

    pub(crate) fn output(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let room = SHOWN_OUTPUT - self.output.len();
        self.output
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    pub(crate) fn run_finished(&mut self, finish: &Finish) {
        self.stderr = Piece::last_of(&finish.stderr);
        self.ended(finish.end, finish.exec);
    }

    /// Records the end of the run's process, which ran for `exec`.
    pub(crate) fn ended(&mut self, end: End, exec: Duration) {
        self.started();
        self.end = Some(end);
        let link = Timing::since(self.begun).link.saturating_sub(exec);
        self.times = Some(Timing {
            link,
            exec: Some(exec),
        });
        self.metrics.ran(link, exec);
    }

    /// The time that the run took: on the link, and in its process once that has ended.
    pub(crate) fn timing(&self) -> Timing {
        self.times.unwrap_or_else(|| match self.started {
            Some(started) => Timing {
                link: started - self.begun,
                exec: None,
            },
            None => Timing::since(self.begun),
        })
    }

    /// Finishes the record: the request was answered with this status, and `why` where that is an error.
    pub(crate) fn finish(&mut self, status: u16, why: &str) {
        let Some(info) = self.open.take() else {
            return;
        };
        self.permit = None;
        self.metrics.open_runs.dec();
        self.metrics.output_bytes.inc_by(self.bytes);
        let time = self.timing();
        let result = RunResult {
            status,
            end: self.end,
            why: shortened(why),
            link_us: timing::micros(time.link),
            exec_us: time.exec.map(timing::micros),
            bytes: self.bytes,
            output: Piece::first_of(&std::mem::take(&mut self.output)),
            stderr: std::mem::take(&mut self.stderr),
        };
        self.log(&info, &result, time);
        self.feed.run_over(info, result, &self.counts);
    }

    /// Finishes the record of a run that did not begin, or was cut off.
    pub(crate) fn fail(&mut self, error: &RunError) {
        self.finish(error.status(), &error.to_string());
    }

    fn log(&self, info: &RunInfo, result: &RunResult, timing: Timing) {
        let source = match info.source {
            RunSource::Http => "http",
            RunSource::Send => "send",
            RunSource::Drive => "drive",
        };
        tracing::info!(
            link = info.link.as_str(),
            service_port = info.service_port,
            run = %info.run,
            command = info.command.as_str(),
            arguments = %info.arguments,
            source,
            from = address_text::of_peer(self.from),
            key = info.key.raw(),
            status = result.status,
            executed = result.executed(),
            exit = %OrNothing(self.end),
            bytes = self.bytes,
            link_ms = millis_f64(timing.link),
            exec_ms = timing.exec.map(millis_f64).unwrap_or_default(),
            why = result.why.raw(),
            "run"
        );
    }
}

impl Drop for RunRecord {
    fn drop(&mut self) {
        self.finish(CALLER_LEFT, "the caller went away");
    }
}

/// Shows a value, and nothing if there is none.
struct OrNothing<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for OrNothing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |value| value.fmt(f))
    }
}

/// Returns the first arguments: 256 long ones would fill a whole message of the feed.
fn first_arguments(arguments: &[Argument]) -> Arguments {
    let mut left = ARGUMENTS_SHOWN;
    let shown = arguments.iter().map_while(|argument| {
        let length = argument.as_bytes().len();
        let cut = Bytes::copy_from_slice(&argument.as_bytes()[..length.min(left)]);
        let is_empty = left == 0;
        left = left.saturating_sub(length + 8);
        (!is_empty).then(|| Argument::try_from(cut).ok()).flatten()
    });
    shown.collect::<Vec<_>>().try_into().unwrap_or_default()
}

//! Owns the story of one request for a run: what the log line, the metrics and `Server-Timing`
//! say of it. Each is told once, whatever way the request ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_shared::names::{LinkName, RunId};
use p2p_shared::protocol::End;

use crate::answer::Timing;
use crate::metrics::Metrics;
use crate::query::CgiQuery;
use crate::run::Finish;

/// The story so far. Dropped untold, it says that the caller went away.
#[derive(Debug)]
pub(crate) struct Record {
    run: RunId,
    link: LinkName,
    command: String,
    arguments: String,
    from: SocketAddr,
    key: String,
    metrics: Arc<Metrics>,
    begun: Instant,
    started: Option<Instant>,
    end: Option<End>,
    exec: Option<Duration>,
    bytes: u64,
    told: bool,
}

impl Record {
    pub(crate) fn new(
        run: RunId,
        link: LinkName,
        query: &CgiQuery,
        from: SocketAddr,
        key: &str,
        metrics: Arc<Metrics>,
        begun: Instant,
    ) -> Self {
        metrics.open_runs.inc();
        Self {
            run,
            link,
            command: query.command.to_string(),
            arguments: if query.arguments.is_empty() {
                String::new()
            } else {
                format!("{:?}", query.arguments)
            },
            from,
            key: key.to_owned(),
            metrics,
            begun,
            started: None,
            end: None,
            exec: None,
            bytes: 0,
            told: false,
        }
    }

    pub(crate) fn started(&mut self) {
        self.started.get_or_insert_with(Instant::now);
    }

    pub(crate) fn has_started(&self) -> bool {
        self.started.is_some()
    }

    pub(crate) fn output(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
    }

    pub(crate) fn finished(&mut self, finish: &Finish) {
        self.started();
        self.end = Some(finish.end);
        self.exec = Some(finish.exec);
        self.metrics.ran(self.timing().link, finish.exec);
    }

    /// Where the time went: all but that of the process, whose own is known when it has ended.
    pub(crate) fn timing(&self) -> Timing {
        let link = match (self.exec, self.started) {
            (Some(exec), _) => self.begun.elapsed().saturating_sub(exec),
            (None, Some(started)) => started - self.begun,
            (None, None) => self.begun.elapsed(),
        };
        Timing {
            link,
            exec: self.exec,
        }
    }

    /// The request was answered with this status; `why` where that is an error.
    pub(crate) fn tell(&mut self, status: u16, why: &str) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        self.metrics.open_runs.dec();
        self.metrics.output_bytes.inc_by(self.bytes);
        let timing = self.timing();
        let millis = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        tracing::info!(
            link = %self.link,
            run = %self.run,
            command = self.command,
            arguments = self.arguments,
            from = %self.from,
            key = self.key,
            status,
            executed = self.has_started(),
            exit = self.end.map(|end| end.to_string()).unwrap_or_default(),
            bytes = self.bytes,
            link_ms = millis(timing.link),
            exec_ms = timing.exec.map(millis).unwrap_or_default(),
            why,
            "run"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // nginx's status for a client that closed its request.
        self.tell(499, "the caller went away");
    }
}

//! Restarts under load: callers ask 500 times a second, whatever has become of those before, while
//! the router restarts itself, or is killed and started again; and what they got is counted.
//!
//! In the suite it restarts three times. By hand, for the figures:
//!
//! ```text
//! P2P_RESTARTS=100 cargo nextest run --release --profile by-hand -E 'test(restarts::load)' --no-capture
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{executable, is_back};
use crate::common::program::{RunningProgram, inner_of};
use crate::common::raw::RawCaller;
use crate::common::{ReservedPort, local, until_so};

/// Between two requests: 500 a second.
const EVERY: Duration = Duration::from_millis(2);
/// Most connections that are kept: each is used often enough to be told that it is the last time.
const KEPT: usize = 16;
/// How long there is service between two restarts.
const SERVICE: Duration = Duration::from_secs(1);

/// A worker that notes each run before it answers with its id.
const WORKER: &str = r#"#!/usr/bin/perl
use strict;
open my $file, '>>', '../witness' or die;
syswrite STDOUT, "{\"serves\":[\"ask\"]}\n";
while (my $line = <STDIN>) {
    my ($id) = $line =~ /"id":(\d+)/ or next;
    my ($run) = $line =~ /"run":"([^"]+)"/ or next;
    syswrite $file, "$run\n";
    syswrite STDOUT, "{\"id\":$id,\"output\":\"$run\"}\n";
}
"#;

/// Result of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum CallOutcome {
    /// Status, and what is said of the execution.
    Answered(u16, String),
    /// There was no connection.
    Refused,
    /// There was one, and no answer began.
    Lost,
}

struct LoadCall {
    due: Instant,
    ended: Instant,
    outcome: CallOutcome,
    run: String,
    /// On a connection that was there before.
    is_kept: bool,
    /// The answer was whole, and this request's own.
    is_right: bool,
}

/// The callers, and the connections that they keep.
#[derive(Clone, Default)]
struct LoadCallers {
    calls: Arc<Mutex<Vec<LoadCall>>>,
    kept: Arc<Mutex<VecDeque<RawCaller>>>,
}

impl LoadCallers {
    /// Asks when it is time to, until the end: in turns on a new connection and on one that was
    /// kept, as long as there is one.
    async fn ask(self, port: u16, end: CancellationToken) -> Vec<LoadCall> {
        let mut tasks = JoinSet::new();
        let begun = tokio::time::Instant::now();
        for n in 0_u32.. {
            if end.is_cancelled() {
                break;
            }
            // The next is due by the clock, however late this one was.
            let due = begun + EVERY * n;
            tokio::time::sleep_until(due).await;
            let callers = self.clone();
            tasks.spawn(async move { callers.call(port, due.into(), n % 2 == 0).await });
            while tasks.try_join_next().is_some() {}
        }
        tasks.join_all().await;
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    async fn call(&self, port: u16, due: Instant, keeps: bool) {
        let kept = keeps.then(|| self.kept.lock().unwrap().pop_front());
        let kept = kept.flatten().filter(is_open);
        let is_kept = kept.is_some();
        let caller = match kept {
            Some(caller) => Ok(caller),
            None => TcpStream::connect(local(port)).await.map(RawCaller::new),
        };
        let mut call = LoadCall {
            due,
            ended: due,
            outcome: CallOutcome::Refused,
            run: String::new(),
            is_kept,
            is_right: true,
        };
        if let Ok(mut caller) = caller {
            let last = if keeps { "" } else { "Connection: close\r\n" };
            let head = format!("GET /cgi?command=ask HTTP/1.1\r\nHost: car\r\n{last}\r\n");
            caller.send(head).await;
            call.outcome = CallOutcome::Lost;
            if let Some(answer) = caller.try_answer().await {
                let executed = answer.header("p2p-executed").to_owned();
                call.run = answer.header("p2p-run").to_owned();
                let is_own = answer.status != 200 || answer.text() == call.run;
                call.is_right = answer.complete && is_own;
                call.outcome = CallOutcome::Answered(answer.status.as_u16(), executed);
                if keeps && answer.header("connection") != "close" {
                    let mut kept = self.kept.lock().unwrap();
                    if kept.len() < KEPT {
                        kept.push_back(caller);
                    }
                }
            }
        }
        call.ended = Instant::now();
        self.calls.lock().unwrap().push(call);
    }
}

/// Whether the other end has not closed it meanwhile, which callers look at before they ask.
fn is_open(caller: &RawCaller) -> bool {
    let looked = caller.stream.try_read(&mut [0]);
    looked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

struct Fixture {
    router: RunningProgram,
    _inner: RunningProgram,
    main: ReservedPort,
    service: ReservedPort,
    folder: tempfile::TempDir,
}

impl Fixture {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("command")).unwrap();
        executable(&folder.path().join("command/ask.worker"), WORKER);
        let (main, service) = (ReservedPort::new(), ReservedPort::new());
        let (router, _) = RunningProgram::open_router(folder.path(), main.port).await;
        let inner = inner_of(folder.path(), main.port, service.port);
        let fixture = Self {
            router,
            _inner: RunningProgram::start(&mut { inner }),
            main,
            service,
            folder,
        };
        is_back(fixture.service.port, "ask").await;
        fixture
    }

    /// Has this done to it as often as is wanted while it is asked; the calls, and when it was done.
    async fn under_load(
        &mut self,
        restart: impl AsyncFn(&mut Self),
    ) -> (Vec<LoadCall>, Vec<Instant>) {
        let wanted = std::env::var("P2P_RESTARTS").ok();
        let rounds = wanted.map_or(3, |rounds| rounds.parse().unwrap());
        let end = CancellationToken::new();
        let asking = tokio::spawn(LoadCallers::default().ask(self.service.port, end.clone()));
        let mut restarts = Vec::new();
        tokio::time::sleep(SERVICE).await;
        for _ in 0..rounds {
            restarts.push(Instant::now());
            restart(self).await;
            is_back(self.service.port, "ask").await;
            tokio::time::sleep(SERVICE).await;
        }
        end.cancel();
        (asking.await.unwrap(), restarts)
    }
}

/// What is promised of each: it ran once or not at all, as its answer says, which is its own.
fn broken(calls: &[LoadCall], folder: &Path) -> Vec<String> {
    let mut ran: BTreeMap<String, usize> = BTreeMap::new();
    for run in fs::read_to_string(folder.join("witness")).unwrap().lines() {
        *ran.entry(run.to_owned()).or_default() += 1;
    }
    let mut broken: Vec<_> = (ran.iter())
        .filter(|(_, times)| **times > 1)
        .map(|(run, times)| format!("run {run} was executed {times} times"))
        .collect();
    for call in calls {
        let CallOutcome::Answered(status, executed) = &call.outcome else {
            continue;
        };
        let is_true = match executed.as_str() {
            "yes" => ran.contains_key(&call.run),
            "no" => !ran.contains_key(&call.run),
            other => other == "unknown",
        };
        if !is_true || !call.is_right {
            broken.push(format!(
                "{status} of run {}, executed: {executed}",
                call.run
            ));
        }
    }
    broken
}

fn counts(calls: &[LoadCall]) -> BTreeMap<CallOutcome, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        *counts.entry(call.outcome.clone()).or_default() += 1;
    }
    counts
}

/// For each restart, how long there were some to whom that happened: from the first to the last, by
/// when they were to ask.
fn spans(
    calls: &[LoadCall],
    restarts: &[Instant],
    it_happened: impl Fn(&LoadCall) -> bool,
) -> Vec<Duration> {
    let mut calls: Vec<_> = calls.iter().filter(|call| it_happened(call)).collect();
    calls.sort_by_key(|call| call.due);
    let spans = restarts.iter().enumerate().map(|(n, restart)| {
        let next = restarts.get(n + 1);
        let is_here = |call: &&&LoadCall| {
            call.ended >= *restart && next.is_none_or(|next| call.ended < *next)
        };
        let mut here = calls.iter().filter(is_here).map(|call| call.due);
        let first = here.next();
        let last = here.next_back().or(first);
        let span = first.zip(last).map(|(first, last)| last - first + EVERY);
        span.unwrap_or_default()
    });
    spans.collect()
}

/// Median, 99th percentile and the most, in words.
fn figures(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1].as_millis();
    format!("p50 {} ms, p99 {} ms, most {} ms", at(50), at(99), at(100))
}

fn send(what: &str, calls: &[LoadCall], restarts: &[Instant]) {
    let not_served = |call: &LoadCall| !matches!(call.outcome, CallOutcome::Answered(200, _));
    let not_let_in =
        |call: &LoadCall| matches!(call.outcome, CallOutcome::Refused | CallOutcome::Lost);
    let on_kept = calls.iter().filter(|call| call.is_kept).count();
    let waits = calls.iter().map(|call| call.ended - call.due).collect();
    eprintln!(
        "{what}, {} times; {} requests, {on_kept} of them on kept connections: {:?}\n  not served at each: {}\n  without an answer at \
         each: {}\n  a request took: {}",
        restarts.len(),
        calls.len(),
        counts(calls),
        figures(spans(calls, restarts, not_served)),
        figures(spans(calls, restarts, not_let_in)),
        figures(waits),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_restarts_itself_under_load_loses_nobody() {
    let mut fixture = Fixture::start().await;
    let restart = async |fixture: &mut Fixture| {
        let before = fixture.router.errors().matches("listening on").count();
        fixture.router.signal(Signal::USR2);
        until_so("it listens anew", async || {
            fixture.router.errors().matches("listening on").count() > before
        })
        .await;
    };
    let (calls, restarts) = fixture.under_load(restart).await;
    send("restarted by itself", &calls, &restarts);
    assert_eq!(broken(&calls, fixture.folder.path()), Vec::<String>::new());
    let mut counts = counts(&calls);
    assert!(counts.remove(&CallOutcome::Answered(200, "yes".to_owned())) > Some(0));
    // While it restarts, and where a loaded machine can't keep up with 500 runs a second.
    for status in [503, 429] {
        counts.remove(&CallOutcome::Answered(status, "no".to_owned()));
    }
    assert_eq!(counts, BTreeMap::new());
}

/// Then those in between are refused, and nobody knows what became of those who waited for an
/// answer; but of the others all is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_is_killed_under_load_says_what_is_true() {
    let mut fixture = Fixture::start().await;
    let restart = async |fixture: &mut Fixture| {
        fixture.router.kill().await;
        (fixture.router, _) =
            RunningProgram::open_router(fixture.folder.path(), fixture.main.port).await;
    };
    let (calls, restarts) = fixture.under_load(restart).await;
    send("killed and started", &calls, &restarts);
    assert_eq!(broken(&calls, fixture.folder.path()), Vec::<String>::new());
}

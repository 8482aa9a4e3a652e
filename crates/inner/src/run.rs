//! Owns one run, from its process's start to the end of all that it left: input, output, time
//! limit, cancellation, and the reports of them.

use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::names::{LinkName, RunId};
use p2p_shared::protocol::{End, InnerToRouter, Refusal, RunRequest};
use p2p_shared::text::EscapedBytes;
use p2p_shared::timing;
use p2p_shared::timing::{KILL_GRACE, LEFTOVER_GRACE, millis_f64};
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::commands::Commands;
use crate::dispatch::EntryGuard;
use crate::drive::{DriveRequest, ProcessEvent};
use crate::guardian;
use crate::process::{self, Pipes, ProcessGroup, Program};
use crate::run::reporter::RunReporter;

mod by_worker;
mod history;
mod output;
mod output_reporter;
pub(crate) mod reporter;
mod role;
#[cfg(feature = "simulation")]
mod simulated;
pub(crate) mod stdin_buffer;
#[cfg(test)]
mod tests;

pub(crate) use output::{Tail, Window};
use output_reporter::{OutputReporter, START_WAITS};

pub(crate) use role::{MotionRole, StopResult, StopTarget, stop_failed};

/// Most characters of standard error in a log line.
pub(crate) const LOGGED_STDERR: usize = 2000;

/// A run that is to be done.
#[derive(Debug)]
pub(crate) struct Run {
    pub request: RunRequest,
    pub stdin: Bytes,
    pub link: LinkName,
    /// How long it may take; a motion has its own limits.
    pub limit: Option<Duration>,
    pub window: Window,
    pub cancel: CancellationToken,
    pub reports: RunReporter,
    /// What watches over leftovers beyond the run's end.
    pub tracker: TaskTracker,
    /// Its role in the car's motion, if it has one.
    pub role: Option<MotionRole>,
    /// By which it can be reached until it ends.
    pub _guard: Option<EntryGuard>,
}

/// Whether this may begin yet, by its deadline.
///
/// # Errors
/// If not: for who asked.
pub(crate) fn in_time(request: &RunRequest) -> Result<(), (Refusal, String)> {
    let late = clock::now_ms().saturating_sub(request.deadline_ms);
    if late == 0 {
        return Ok(());
    }
    let message = format!(
        "the command came {late} ms after its deadline and was not begun: the link or the car is slow; try again"
    );
    Err((Refusal::Late, message))
}

impl Run {
    /// Does it.
    pub(crate) async fn run(self, commands: &Commands) {
        #[cfg(feature = "simulation")]
        if let Some(world) = commands.world().cloned() {
            return self.simulated(commands, &*world).await;
        }
        match commands.worker(&self.request.command) {
            Some(worker) if self.may_be_by_worker(commands) => {
                self.by_worker(&worker, commands).await;
            }
            _ => self.by_file(commands).await,
        }
    }

    /// Whether a worker may do it: a role in the car's motion that a worker serves, but for a stop
    /// that is for the file.
    fn may_be_by_worker(&self, commands: &Commands) -> bool {
        self.role.as_ref().is_some_and(|role| {
            !role.is_stop
                || role.stop_target != StopTarget::File
                || commands.file(&self.request.command).is_err()
        })
    }

    async fn by_file(self, commands: &Commands) {
        let begun = Instant::now();
        match self.start(commands) {
            Ok((group, pipes)) => {
                if let Some(role) = &self.role {
                    role.send(ProcessEvent::Started {
                        token: role.token,
                        group: group.id().as_raw(),
                        is_workers: false,
                    });
                }
                let (story, telling) = self.live(group, pipes, begun).await;
                self.finish(begun, story, &telling, None).await;
            }
            Err((refusal, message)) => self.give_up(refusal, message),
        }
    }

    /// Whether it is cancelled before this has come about, or in the very moment.
    pub(crate) async fn cancelled_before(&self, ready: impl Future<Output = ()>) -> bool {
        tokio::select! {
            // Where both are so at once, the end counts: `run_until_cancelled` sees it otherwise.
            biased;
            () = self.cancel.cancelled() => true,
            () = ready => self.cancel.is_cancelled(),
        }
    }

    /// Whether it still begins: looked at as late as can be, for this process may have been stopped
    /// since it was let in, and what begins after its end would move after its stop. A stop is begun
    /// whatever becomes of it.
    ///
    /// # Errors
    /// If its deadline has passed, or it is a motion that was ended, or whose caller went away.
    pub(crate) fn may_begin(&self) -> Result<(), (Refusal, String)> {
        if let Some(role) = &self.role {
            if role.is_stop {
                return Ok(());
            }
            if self.cancel.is_cancelled() || role.caller.is_cancelled() {
                return Err((Refusal::Late, "it was over before it began".to_owned()));
            }
        }
        in_time(&self.request)
    }

    /// It does not begin.
    pub(crate) fn give_up(self, refusal: Refusal, message: String) {
        if let Some(role) = &self.role {
            role.send(ProcessEvent::NotStarted { token: role.token });
        }
        self.refuse(refusal, message);
    }

    fn run_id(&self) -> RunId {
        self.request.run
    }

    fn start(&self, commands: &Commands) -> Result<(ProcessGroup, Pipes), (Refusal, String)> {
        let file = commands.file(&self.request.command)?;
        let variables = [
            ("P2P_COMMAND", self.request.command.to_string()),
            ("P2P_RUN", self.run_id().to_string()),
            ("P2P_LINK", self.link.to_string()),
            ("P2P_REMOTE_ADDR", self.request.remote_addr.clone()),
            (guardian::MARK, std::process::id().to_string()),
        ];
        let program = Program {
            file: &file,
            arguments: &self.request.arguments,
            folder: commands.files().path(),
            variables: &variables,
            has_stdin: !self.stdin.is_empty(),
        };
        self.may_begin()?;
        ProcessGroup::start(&program)
            .map_err(|error| (Refusal::NotExecutable, process::why_not(&file, &error)))
    }

    /// From the process's start to the end of its output.
    async fn live(
        &self,
        group: ProcessGroup,
        pipes: Pipes,
        begun: Instant,
    ) -> (RunEnd, OutputReporter) {
        let telling = self.telling();
        self.reports
            .remember(&InnerToRouter::Started { run: self.run_id() });
        if self.role.is_some() {
            // What moves a car, or stops it, is told as it happens.
            telling.started();
        }
        let mut stderr = Tail::default();
        let mut bytes = 0;
        let no_more = CancellationToken::new();
        let end = {
            let io = std::pin::pin!(async {
                tokio::join!(
                    feed(pipes.stdin, self.stdin.clone(), &no_more),
                    telling.pass_on(pipes.stdout, &mut bytes, &no_more),
                    stderr.collect(pipes.stderr, &no_more),
                );
            });
            self.supervise(group, io, &telling, &no_more, begun).await
        };
        (RunEnd { end, bytes, stderr }, telling)
    }

    fn telling(&self) -> OutputReporter {
        OutputReporter::new(self.run_id(), &self.reports, &self.window)
    }

    /// Waits for the end, or sees to it; then for the pipes, of which `no_more` is waited for
    /// when it says so, and that nothing is left.
    async fn supervise(
        &self,
        mut group: ProcessGroup,
        mut io: Pin<&mut impl Future<Output = ()>>,
        telling: &OutputReporter,
        no_more: &CancellationToken,
        begun: Instant,
    ) -> End {
        let mut io_ended = false;
        let has_limit = self.limit.is_some();
        let limit = begun + self.limit.unwrap_or_default();
        let mut limit = std::pin::pin!(tokio::time::sleep_until(limit.into()));
        let caller = self
            .role
            .as_ref()
            .map(|role| role.caller.clone())
            .unwrap_or_default();
        let mut is_abandoned = false;
        let mut start_waits = std::pin::pin!(tokio::time::sleep(START_WAITS));
        let end = loop {
            tokio::select! {
                status = group.ended() => break ended(&status),
                () = &mut io, if !io_ended => io_ended = true,
                () = &mut start_waits, if !telling.has_started() => telling.started(),
                () = &mut limit, if has_limit => break End::TimedOut,
                () = self.cancel.cancelled() => break self.role.as_ref().map_or(End::Cancelled, MotionRole::cut_off),
                () = caller.cancelled(), if !is_abandoned => {
                    is_abandoned = true;
                    self.abandon();
                }
            }
        };
        let is_cut_off = matches!(end, End::TimedOut | End::Cancelled | End::Ended);
        if is_cut_off {
            // Whoever reads would wait for output that is of no use.
            self.window.close();
            group
                .end(self.role.as_ref().map_or(KILL_GRACE, MotionRole::grace))
                .await;
        }
        let left = group.id();
        if let Some(role) = &self.role {
            role.send(ProcessEvent::Ended {
                token: role.token,
                end,
                exec: begun.elapsed(),
            });
            self.tracker.spawn(role.reap(left, self.cancel.clone()));
        }
        if io_ended || tokio::time::timeout(LEFTOVER_GRACE, &mut io).await.is_ok() {
            if left.is_alive() {
                // The answer needn't wait for what the command left running.
                self.tracker.spawn(left.kill_after(LEFTOVER_GRACE));
            }
            return end;
        }
        // What holds the pipes has had its time; what was written to them still goes to a caller
        // that reads slowly.
        left.kill();
        no_more.cancel();
        let cut_off = tokio::select! {
            () = &mut io => return end,
            () = &mut limit, if has_limit && !is_cut_off => End::TimedOut,
            () = self.cancel.cancelled(), if !is_cut_off => End::Cancelled,
        };
        self.window.close();
        io.await;
        cut_off
    }

    async fn finish(
        self,
        begun: Instant,
        mut story: RunEnd,
        telling: &OutputReporter,
        worker: Option<&str>,
    ) {
        let exec = timing::now().saturating_duration_since(begun);
        let exec_us = u64::try_from(exec.as_micros()).unwrap_or(u64::MAX);
        let mut kept = story.stderr.kept();
        if let Some(stop_result) = self.role.as_ref().and_then(|role| role.stop_result())
            && let Ok(StopResult::Failed) = stop_result.await
        {
            (story.end, kept) = stop_failed(&kept);
        }
        telling.finished(story.end, exec_us, kept.clone()).await;
        self.record(&story, exec, &kept, worker);
    }

    /// A line of the log.
    fn record(&self, story: &RunEnd, exec: Duration, kept: &Bytes, worker: Option<&str>) {
        if self.is_old_news() && story.end != End::Exit(0) {
            return;
        }
        tracing::info!(
            link = %self.link,
            run = %self.run_id(),
            command = %self.request.command,
            arguments = %self.shown_arguments(),
            from = self.request.remote_addr,
            worker,
            exit = %story.end,
            bytes = story.bytes,
            exec_ms = millis_f64(exec),
            stderr = %EscapedBytes(kept).cut(LOGGED_STDERR),
            stderr_bytes = story.stderr.total,
            "run"
        );
    }

    /// Whoever asked for it has gone away: a stop goes on, a motion is over.
    fn abandon(&self) {
        self.window.close();
        if let Some(role) = &self.role
            && !role.is_stop
        {
            let _ = role
                .drive
                .send(DriveRequest::Abandoned { run: self.run_id() });
        }
    }

    /// Whether its failure was told before: it is tried every few seconds, for as long as it takes.
    fn is_old_news(&self) -> bool {
        self.role.as_ref().is_some_and(|role| role.is_retry)
    }

    fn refuse(&self, refusal: Refusal, message: String) {
        if self.is_old_news() {
            tracing::debug!(why = message, "the stop still can't be started");
            return;
        }
        tracing::info!(
            link = %self.link,
            run = %self.run_id(),
            command = %self.request.command,
            from = self.request.remote_addr,
            why = message,
            "{}",
            if refusal == Refusal::WorkerLost { "run lost" } else { "run refused" }
        );
        self.reports.urgent(InnerToRouter::Refused {
            run: self.run_id(),
            refusal,
            message,
        });
    }

    fn shown_arguments(&self) -> String {
        if self.request.arguments.is_empty() {
            return String::new();
        }
        format!("{:?}", self.request.arguments)
    }
}

/// What became of a run.
struct RunEnd {
    end: End,
    bytes: u64,
    stderr: Tail,
}

/// How a process ended, by what the kernel says of it.
pub(crate) fn ended(status: &std::io::Result<ExitStatus>) -> End {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => End::Exit(code),
            (None, Some(signal)) => End::Signal(signal),
            (None, None) => End::Exit(-1),
        },
        // Somebody else has reaped our child: what it said is lost.
        Err(_) => End::Exit(-1),
    }
}

/// Writes the input and closes it. A command needn't read it.
async fn feed(stdin: Option<ChildStdin>, input: Bytes, no_more: &CancellationToken) {
    if let Some(mut stdin) = stdin {
        let _ = no_more.run_until_cancelled(stdin.write_all(&input)).await;
    }
}

//! Owns one run, from its process's start to the end of all that the process left: input, output,
//! time limit, cancellation, and the reports of them.

use std::fmt::{self, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_shared::bounded::{Arguments, Text};
use p2p_shared::names::{CommandName, LinkName, RunId};
use p2p_shared::protocol::{
    ARGUMENTS_SHOWN, End, InnerToRouter, PressId, RUN_WINDOW, Refusal, RunRequest, STDERR_KEPT,
    StderrTail,
};
use p2p_shared::text::{EscapedBytes, Escaper};
use p2p_shared::timing;
use p2p_shared::timing::{KILL_GRACE, LEFTOVER_GRACE, micros, millis_f64};
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::CommandFile;
use crate::clock;
use crate::motion::{MOTION_GRACE, MotionRole, ProcessEvent, RoleKind, StopResult};
use crate::process::{self, GroupId, OWNER_VARIABLE, Pipes, ProcessGroup, Program, Spawn};

mod answer;
mod history;
mod output;
mod output_reporter;
mod reporter;
mod stdin_buffer;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use answer::WorkerResult;
pub(crate) use output::{Tail, Window};
pub(crate) use output_reporter::Progress;
use output_reporter::START_WAITS;
pub(crate) use reporter::{Outbox, RunReporter};
pub(crate) use stdin_buffer::StdinBuffer;
pub(crate) use table::{EntryGuard, RunTable};

/// Time in which nothing but the end of a process without input is waited for: as long as the shortest
/// commands take. They are then read whole, and nobody woke for each of their pipes. A process that fills
/// a pipe meanwhile waits with the rest.
const END_WAITS: Duration = Duration::from_millis(1);
const _: () = assert!(END_WAITS.as_nanos() < START_WAITS.as_nanos());

/// Time for the last output of a stop command that has ended: somebody waits to hear why it failed.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(5);

/// Most characters of standard error in a log line.
pub(crate) const LOGGED_STDERR: usize = 2000;

/// Reason why a run does not begin, or was lost: the kind, and a sentence that says what to do.
pub(crate) type Failure = (Refusal, String);

/// One execution of a command, handed along from the dispatcher to whatever executes it.
pub(crate) struct Run {
    pub request: RunRequest,
    pub stdin: Bytes,
    pub link: LinkName,
    /// Ids that its log lines have.
    pub logged: LoggedIds,
    /// Time limit; `None` for motions and stops, which the drive ends.
    pub limit: Option<Duration>,
    pub window: Window,
    /// Other stops, which this one answers.
    pub others: Vec<Self>,
    /// Cancelled when the caller has gone away.
    pub caller: CancellationToken,
    pub reporter: RunReporter,
    /// Waits for what the process left behind.
    pub tracker: TaskTracker,
    pub progress: Mutex<Progress>,
    /// The role in the car's motion; the drive gives it when the process starts.
    pub role: Option<MotionRole>,
    /// Keeps the run in the table, and the inner from ending.
    pub _entry: Option<EntryGuard>,
}

/// Ids by which the log lines of all programs are found that belong together: those of a run that was asked for, and of
/// a stop that nobody asked for those of the motion that it ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct LoggedIds {
    pub run: Option<RunId>,
    pub press: Option<PressId>,
}

/// Checks that a run's deadline has not passed.
pub(crate) fn in_time(request: &RunRequest) -> Result<(), Failure> {
    let late = clock::now_ms().saturating_sub(request.deadline_ms);
    if late == 0 {
        return Ok(());
    }
    let message = format!(
        "the command came {late} ms after its deadline and was not begun: the link or the car is slow; try again"
    );
    Err((Refusal::Late, message))
}

/// The refusal of every run while the inner ends.
pub(crate) fn draining() -> Failure {
    let message = "the car is restarting: try again in a moment";
    (Refusal::Draining, message.to_owned())
}

impl Run {
    /// A run that has not begun, with neither input nor a time limit.
    pub(crate) fn new(
        request: RunRequest,
        link: LinkName,
        reporter: &RunReporter,
        tracker: &TaskTracker,
    ) -> Self {
        Self {
            logged: LoggedIds {
                run: Some(request.run),
                press: None,
            },
            request,
            stdin: Bytes::new(),
            link,
            limit: None,
            window: Window::new(RUN_WINDOW),
            others: Vec::new(),
            caller: CancellationToken::new(),
            reporter: reporter.clone(),
            tracker: tracker.clone(),
            progress: Mutex::default(),
            role: None,
            _entry: None,
        }
    }

    /// A run of the drive, without a deadline and without a reader of its output.
    pub(crate) fn unread(
        run: RunId,
        command: CommandName,
        remote_addr: Text,
        link: LinkName,
        reporter: &RunReporter,
        tracker: &TaskTracker,
    ) -> Self {
        let request = RunRequest {
            run,
            command,
            arguments: Arguments::default(),
            deadline_ms: u64::MAX,
            remote_addr,
            by: None,
            stdin_bytes: 0,
            for_ms: None,
        };
        let run = Self::new(request, link, reporter, tracker);
        run.window.close();
        run
    }

    pub(crate) fn id(&self) -> RunId {
        self.request.run
    }

    /// Token that is cancelled when the process has to end: by the drive, or if the caller leaves.
    pub(crate) fn cancel(&self) -> &CancellationToken {
        self.role.as_ref().map_or(&self.caller, |role| &role.end)
    }

    /// Executes the command's file, if one was found.
    pub(crate) async fn by_file(
        self,
        found: Result<CommandFile, Failure>,
        processes: &Arc<dyn Spawn>,
    ) {
        let began = timing::now();
        match self.start(found, processes) {
            Ok((group, pipes)) => {
                if let Some(role) = &self.role {
                    (role.events)(ProcessEvent::Started {
                        group: group.id().number(),
                        is_workers: false,
                    });
                }
                let end = self.serve(group, pipes, began).await;
                self.finish(began, end, None).await;
            }
            Err((refusal, message)) => self.give_up(refusal, message),
        }
    }

    /// Waits for `ready`; returns whether the process has to end before, or at the same moment.
    pub(crate) async fn cancelled_before(&self, ready: impl Future<Output = ()>) -> bool {
        tokio::select! {
            // `run_until_cancelled` would prefer `ready` if both are ready.
            biased;
            () = self.cancel().cancelled() => true,
            () = ready => self.cancel().is_cancelled(),
        }
    }

    /// Checks, as late as possible, that the run still may begin: this process may have been
    /// stopped (SIGSTOP) since the run was admitted, and a motion that begins after its end would
    /// follow its stop. A stop always may begin.
    pub(crate) fn may_begin(&self) -> Result<(), Failure> {
        if let Some(role) = &self.role {
            if role.is_stop() {
                return Ok(());
            }
            if role.end.is_cancelled() || self.caller.is_cancelled() {
                return Err((Refusal::Late, "it was over before it began".to_owned()));
            }
        }
        in_time(&self.request)
    }

    /// Reports that the run does not begin.
    pub(crate) fn give_up(self, refusal: Refusal, message: String) {
        if let Some(role) = &self.role {
            (role.events)(ProcessEvent::NotStarted);
        }
        self.refuse(refusal, message);
    }

    fn start(
        &self,
        found: Result<CommandFile, Failure>,
        processes: &Arc<dyn Spawn>,
    ) -> Result<(ProcessGroup, Pipes), Failure> {
        let CommandFile { file, folder } = found?;
        let variables = [
            ("P2P_COMMAND", self.request.command.to_string()),
            ("P2P_RUN", self.id().to_string()),
            ("P2P_LINK", self.link.to_string()),
            ("P2P_REMOTE_ADDR", self.request.remote_addr.to_string()),
            (OWNER_VARIABLE, std::process::id().to_string()),
        ];
        let program = Program {
            file: &file,
            arguments: &self.request.arguments,
            folder: &folder,
            variables: &variables,
            has_stdin: !self.stdin.is_empty(),
        };
        self.may_begin()?;
        ProcessGroup::start(processes, &program)
            .map_err(|error| (Refusal::NotExecutable, process::why_not(&file, &error)))
    }

    /// Serves the process from its start to the end of its output.
    async fn serve(&self, group: ProcessGroup, pipes: Pipes, began: Instant) -> RunEnd {
        self.reporter
            .remember(&InnerToRouter::Started { run: self.id() });
        if self.role.is_some() {
            // A motion or a stop is reported as soon as it begins.
            self.started();
        }
        let stderr = Tail::default();
        let mut bytes = 0;
        let no_more = CancellationToken::new();
        let end = {
            let io = std::pin::pin!(async {
                tokio::join!(
                    feed(pipes.stdin, self.stdin.clone(), &no_more),
                    self.pass_on(pipes.stdout, &mut bytes, &no_more),
                    stderr.collect(pipes.stderr, &no_more),
                );
            });
            self.supervise(group, io, &stderr, &no_more, began).await
        };
        RunEnd { end, bytes, stderr }
    }

    /// Waits for exit, limit or cancel; then drains the pipes for `LEFTOVER_GRACE`; then kills what
    /// is left of the group. `no_more` is cancelled when only what waits in the pipes counts.
    async fn supervise(
        &self,
        mut group: ProcessGroup,
        mut io: Pin<&mut impl Future<Output = ()>>,
        stderr: &Tail,
        no_more: &CancellationToken,
        began: Instant,
    ) -> End {
        let mut io_ended = false;
        let has_limit = self.limit.is_some();
        let limit = began + self.limit.unwrap_or_default();
        let mut limit = std::pin::pin!(tokio::time::sleep_until(limit.into()));
        let role = self.role.as_ref();
        let mut is_abandoned = false;
        let mut waits_for_end = self.stdin.is_empty();
        let waits = if waits_for_end {
            END_WAITS
        } else {
            START_WAITS
        };
        let mut waits = std::pin::pin!(tokio::time::sleep(waits));
        let end = loop {
            tokio::select! {
                // What has just ended was not too slow, and its start is told with its end.
                biased;
                status = group.ended() => break ended(&status),
                () = &mut io, if !io_ended && !waits_for_end => io_ended = true,
                () = &mut waits, if waits_for_end || !self.has_started() => {
                    if std::mem::take(&mut waits_for_end) {
                        let started = waits.deadline() + (START_WAITS - END_WAITS);
                        waits.as_mut().reset(started);
                    } else {
                        self.started();
                    }
                }
                () = &mut limit, if has_limit => break End::TimedOut,
                () = self.cancel().cancelled() => {
                    break role.map_or(End::Cancelled, MotionRole::end_if_cancelled);
                }
                () = self.caller.cancelled(), if role.is_some() && !is_abandoned => {
                    is_abandoned = true;
                    self.abandon();
                }
            }
        };
        let is_cut_off = matches!(end, End::TimedOut | End::Cancelled | End::Ended);
        if is_cut_off {
            // No reader has to wait for the rest of the output, which is of no use.
            self.window.close();
            group.end(role.map_or(KILL_GRACE, MotionRole::grace)).await;
        }
        let left = group.id().clone();
        if let Some(role) = role {
            let exec = timing::now().saturating_duration_since(began);
            let has_failed = role.is_stop() && end != End::Exit(0);
            if has_failed && !io_ended {
                io_ended = tokio::time::timeout(LAST_WORDS, &mut io).await.is_ok();
            }
            let said = if has_failed {
                stderr.last_line()
            } else {
                Text::default()
            };
            (role.events)(ProcessEvent::Ended { end, exec, said });
            self.tracker.spawn(reap(role, left.clone()));
        }
        if io_ended || tokio::time::timeout(LEFTOVER_GRACE, &mut io).await.is_ok() {
            if left.is_alive() {
                // The answer needn't wait for what the command left running.
                self.tracker
                    .spawn(async move { left.kill_after(LEFTOVER_GRACE).await });
            }
            return end;
        }
        // Processes that still hold the pipes have had their time; output in the pipes still goes
        // to a slow caller.
        left.kill();
        no_more.cancel();
        let cut_off = tokio::select! {
            () = &mut io => return end,
            () = &mut limit, if has_limit && !is_cut_off => End::TimedOut,
            () = self.cancel().cancelled(), if !is_cut_off => End::Cancelled,
        };
        self.window.close();
        io.await;
        cut_off
    }

    /// Reports the end; if the answer waits for the car's stop, only after the stop.
    async fn finish(mut self, began: Instant, mut end: RunEnd, worker: Option<&str>) {
        let exec = timing::now().saturating_duration_since(began);
        let mut kept = end.stderr.kept();
        if let Some(RoleKind::Motion {
            stopped: Some(stopped),
        }) = self.role.as_mut().map(|role| &mut role.kind)
            && let Ok(StopResult::Failed) = stopped.await
        {
            (end.end, kept) = stop_failed(&kept);
        }
        self.finished(end.end, micros(exec), kept.clone()).await;
        self.log(&end, exec, &kept, worker);
    }

    fn log(&self, end: &RunEnd, exec: Duration, kept: &Bytes, worker: Option<&str>) {
        if self.is_retry() && end.end != End::Exit(0) {
            return;
        }
        tracing::info!(
            link = self.link.as_str(),
            run = self.logged.run.map(display),
            press = self.logged.press.map(display),
            command = self.request.command.as_str(),
            arguments = %ShownArguments(&self.request.arguments),
            from = self.request.remote_addr.raw(),
            worker,
            exit = %end.end,
            bytes = end.bytes,
            exec_ms = millis_f64(exec),
            stderr = %EscapedBytes(kept).cut(LOGGED_STDERR),
            stderr_bytes = end.stderr.total(),
            "run"
        );
    }

    /// Reports that the caller is gone: a stop goes on, a motion is over.
    pub(crate) fn abandon(&self) {
        self.window.close();
        if let Some(role) = &self.role
            && !role.is_stop()
        {
            (role.events)(ProcessEvent::Abandoned { run: self.id() });
        }
    }

    /// Returns true if the run repeats, every few seconds, a stop whose failure is known.
    fn is_retry(&self) -> bool {
        self.role.as_ref().is_some_and(MotionRole::is_retry)
    }

    /// Reports that the run did not begin, or was lost.
    pub(crate) fn refuse(&self, refusal: Refusal, message: String) {
        if self.is_retry() {
            tracing::debug!(why = message, "the stop still can't be started");
            return;
        }
        tracing::info!(
            link = %self.link,
            run = self.logged.run.map(display),
            press = self.logged.press.map(display),
            command = %self.request.command,
            from = self.request.remote_addr.raw(),
            why = message,
            "{}",
            if refusal == Refusal::WorkerLost { "run lost" } else { "run refused" }
        );
        for other in &self.others {
            other.refuse(refusal, message.clone());
        }
        self.reporter.urgent(InnerToRouter::Refused {
            run: self.id(),
            refusal,
            message: Text::new(message),
        });
    }
}

/// Shows a run's arguments, or the first part of many.
struct ShownArguments<'a>(&'a Arguments);

impl fmt::Display for ShownArguments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Escaper::cut(f, ARGUMENTS_SHOWN);
        match write!(out, "{}", self.0) {
            Err(fmt::Error) if out.is_full() => Ok(()),
            result => result,
        }
    }
}

/// Reports when the last of a motion's group is gone, and ends what lingers.
fn reap(role: &MotionRole, left: GroupId) -> impl Future<Output = ()> + use<> {
    let (events, end) = (role.events.clone(), role.end.clone());
    async move {
        tokio::select! {
            () = left.kill_after(LEFTOVER_GRACE) => {}
            () = end.cancelled() => left.end(MOTION_GRACE).await,
        }
        events(ProcessEvent::Reaped);
    }
}

/// Returns the end of a motion whose stop failed, and its standard error after a sentence that says
/// so: the motion ran, and is no success, whatever its own exit code was.
pub(crate) fn stop_failed(stderr: &[u8]) -> (End, StderrTail) {
    const SENTENCE: &[u8] =
        b"STOP FAILED: the motion ran, and the car's stop command failed three times: it may still move\n";
    let from = stderr
        .len()
        .saturating_sub(STDERR_KEPT.saturating_sub(SENTENCE.len()));
    let stderr = [SENTENCE, &stderr[from..]].concat();
    (End::Exit(1), StderrTail::first_of(&stderr))
}

/// End of a run, the length of its output, and its standard error.
#[derive(Debug)]
pub(crate) struct RunEnd {
    pub end: End,
    pub bytes: u64,
    pub stderr: Tail,
}

/// Returns the end of a process from its exit status.
pub(crate) fn ended(status: &std::io::Result<ExitStatus>) -> End {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => End::Exit(code),
            (None, Some(signal)) => End::Signal(signal),
            (None, None) => End::Exit(-1),
        },
        // Somebody else has reaped our child: its status is lost.
        Err(_) => End::Exit(-1),
    }
}

/// Writes the input and closes it. A command needn't read it.
async fn feed(
    stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    input: Bytes,
    no_more: &CancellationToken,
) {
    if let Some(mut stdin) = stdin {
        let _ = no_more.run_until_cancelled(stdin.write_all(&input)).await;
    }
}

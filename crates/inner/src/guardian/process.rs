//! Owns what the guardian does in the inner's place: stops the car if the inner dies or is silent
//! beyond its deadline, ends what a dead inner left running, and tells the log of it. It only
//! acts: what moves and until when, it is told.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use p2p_shared::names::CommandName;
use p2p_shared::protocol::End;
use p2p_shared::text::EscapedBytes;
use p2p_shared::timing::{KILL_GRACE, millis_f64};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::deadline::{GuardStep, InnerDeadline};
use super::orphans;
use crate::catalog::Catalog;
use crate::clock;
use crate::motion::{
    GuardState, MOTION_GRACE as GRACE, MotionOwner, STOP_AGAIN, STOP_LIMIT, STOP_PAUSE, STOP_TRIES,
};
use crate::process::{self, GroupId, Pipes, ProcessGroup, Program};
use crate::run::{LOGGED_STDERR, Tail, ended};

/// How long the last words of a stop command that has ended may take to come.
const LAST_WORDS: Duration = Duration::from_millis(5);

/// For how long a stop that fails is tried again once the inner is gone. What keeps it from running
/// (no more processes, a full disk) passes, or the car's owner comes; by then the next inner may be
/// driving, whose stop this is not.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the log says once it stands.
const STOPPED: &str = "the guardian has stopped the car";

/// Why the guardian acts.
#[derive(Debug, Clone, Copy)]
enum GuardReason {
    /// The inner's end of the pipe is closed: it has died.
    Gone,
    /// The deadline has passed, and the inner said nothing.
    Silent,
}

/// The guardian's half: does nothing, until it must. `inner` is the process that it guards.
///
/// # Errors
/// If the command directory can't be used.
pub async fn run(commands: PathBuf, stop: CommandName, inner: u32) -> anyhow::Result<()> {
    // Not the inner's name: who looks for that by name means the inner.
    let _ = rustix::thread::set_name(c"p2p-guardian");
    let car = CarStopper {
        catalog: Catalog::open(&commands)?,
        stop,
    };
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stdout = std::io::stdout().as_fd().try_clone_to_owned()?;
    let from = pipe::Receiver::from_owned_fd(stdin)?;
    let to = pipe::Sender::from_owned_fd(stdout)?;
    let car = &car;
    let stop = |step| async move {
        match step {
            GuardStep::Stop(guard) => car.act(GuardReason::Silent, &guard).await,
            GuardStep::Again(tries) => car.act_again(tries).await,
        }
    };
    let guard = watch_over(from, to, stop).await?;
    let has_stopped = car.act(GuardReason::Gone, &guard).await;
    end_orphans(inner).await;
    if guard != GuardState::Stand {
        // What the inner was just starting, or had asked a worker for, may have moved the car
        // since.
        car.stop_at_last(has_stopped).await;
    }
    Ok(())
}

/// Listens to the inner and has the car stopped when that is silent beyond its deadline, and again
/// for as long as that fails; until it is gone: what it said last.
///
/// # Errors
/// If the inner says what nobody understands.
pub(crate) async fn watch_over<Stopped: Future<Output = bool>>(
    from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    stop: impl Fn(GuardStep) -> Stopped,
) -> anyhow::Result<GuardState> {
    let mut lines = BufReader::new(from).lines();
    let mut deadline = InnerDeadline::default();
    loop {
        let left = deadline.left(clock::now());
        let step = left.map(|left| Instant::now() + clock::step(left));
        let acted = tokio::select! {
            biased;
            line = lines.next_line() => match line {
                Ok(Some(line)) => {
                    let guard = GuardState::read(&line).context("the inner sent a line that is not of the protocol")?;
                    deadline.ends(guard);
                    // The inner that doesn't listen is about to be found dead.
                    let _ = to.write_all(b"ok\n").await;
                    false
                }
                // The inner is gone.
                _ => return Ok(deadline.guard),
            },
            // A step of several, perhaps.
            () = sleep_until(step.unwrap_or_else(Instant::now)), if step.is_some() => {
                left.is_some_and(|left| left.is_zero())
            }
        };
        if acted {
            let has_stopped = stop(deadline.step()).await;
            deadline.acted(has_stopped, clock::now());
        }
    }
}

/// What stops the car.
struct CarStopper {
    catalog: Catalog,
    stop: CommandName,
}

impl CarStopper {
    /// Stops it, if it moves; whether it stands.
    async fn act(&self, cause: GuardReason, guard: &GuardState) -> bool {
        let GuardState::Until {
            deadline_ms,
            group,
            owner,
        } = guard
        else {
            return true;
        };
        let (deadline_ms, group) = (*deadline_ms, *group);
        let ending = async {
            if let Some(group) = GroupId::from_raw(group) {
                group.end(GRACE).await;
            }
        };
        let stopping = async {
            // Only when it has been started is there time for the log.
            let first = self.start();
            tell_why(cause, deadline_ms, owner);
            if self.end(first, 1).await {
                return true;
            }
            for attempt in 2..=STOP_TRIES {
                sleep(STOP_PAUSE).await;
                if self.end(self.start(), attempt).await {
                    return true;
                }
            }
            false
        };
        let (first, ()) = tokio::join!(stopping, ending);
        let has_stopped = if group == 0 {
            first
        } else {
            // Once more, since its process may have done something after the stop began: only this
            // one counts.
            self.end(self.start(), STOP_TRIES + 1).await
        };
        if has_stopped {
            tracing::info!("{STOPPED}");
        } else {
            tracing::error!("STOP FAILED: the guardian could not stop the car, and tries again");
        }
        has_stopped
    }

    /// Tries it again, after so many times that it has failed; whether it stands.
    async fn act_again(&self, tries: u32) -> bool {
        let has_stopped = self.end(self.start(), STOP_TRIES + 1 + tries).await;
        if has_stopped {
            tracing::info!("{STOPPED}");
        }
        has_stopped
    }

    /// Stops it once more, and goes on trying for [`PATIENCE`]: there is nobody else who would.
    async fn stop_at_last(&self, is_told: bool) {
        let patience = Instant::now() + PATIENCE;
        let mut attempt = STOP_TRIES + 2;
        while !self.end(self.start(), attempt).await {
            if Instant::now() >= patience {
                tracing::error!("STOP FAILED: the guardian gives up");
                return;
            }
            attempt += 1;
            sleep(STOP_AGAIN).await;
        }
        if !is_told {
            tracing::info!("{STOPPED}");
        }
    }

    /// Starts the stop command.
    fn start(&self) -> Result<StopCommand, String> {
        let file = (self.catalog.resolve(&self.stop)).map_err(|(_, why)| why)?;
        let program = Program {
            file: &file,
            arguments: &[],
            folder: self.catalog.path(),
            variables: &[("P2P_COMMAND", self.stop.to_string())],
            has_stdin: false,
        };
        let (group, pipes) =
            ProcessGroup::start(&program).map_err(|error| process::why_not(&file, &error))?;
        let began = Instant::now();
        Ok(StopCommand {
            group,
            pipes,
            began,
        })
    }

    /// Waits for its end, and tells it; whether it succeeded.
    async fn end(&self, started: Result<StopCommand, String>, attempt: u32) -> bool {
        let stopping = match started {
            Ok(started) => started,
            Err(why) => {
                tracing::error!(attempt, why, "the stop command can't be started");
                return false;
            }
        };
        let began = stopping.began;
        let (end, said) = stopping.end().await;
        let exec_ms = millis_f64(began.elapsed());
        let stderr = EscapedBytes(&said).cut(LOGGED_STDERR);
        tracing::info!(attempt, exit = %end, exec_ms, stderr = %stderr, "stopped");
        end == End::Exit(0)
    }
}

/// A stop command that runs.
struct StopCommand {
    group: ProcessGroup,
    pipes: Pipes,
    began: Instant,
}

impl StopCommand {
    /// How it ended, and the end of its standard error. What it writes is read: else it would be
    /// killed for it (SIGPIPE) before it has stopped anything.
    async fn end(self) -> (End, Bytes) {
        let Self {
            mut group, pipes, ..
        } = self;
        let (no_more, mut stderr) = (CancellationToken::new(), Tail::default());
        let mut stdout = Tail::default();
        let ending = async {
            let status = timeout(STOP_LIMIT, group.ended()).await;
            // What a child of it still holds open is not waited for.
            sleep(LAST_WORDS).await;
            no_more.cancel();
            status.map_or(End::TimedOut, |status| ended(&status))
        };
        let (end, (), ()) = tokio::join!(
            ending,
            stdout.collect(pipes.stdout, &no_more),
            stderr.collect(pipes.stderr, &no_more),
        );
        (end, stderr.kept())
    }
}

fn tell_why(cause: GuardReason, deadline_ms: u64, owner: &MotionOwner) {
    let cause = match cause {
        GuardReason::Gone => "the inner is gone",
        GuardReason::Silent => "the inner is silent",
    };
    // Below 0: before the lease, or the motion's limit, ran out. A motion without end has none.
    let late_ms =
        (deadline_ms > 0).then(|| clock::now_ms().cast_signed() - deadline_ms.cast_signed());
    tracing::error!(
        cause,
        who = %owner.who,
        run = owner.run.map(tracing::field::display),
        epoch = owner.press.map(|press| press.epoch),
        press = owner.press.map(|press| press.number),
        deadline_ms,
        late_ms,
        "the guardian stops the car"
    );
}

/// Ends what the inner left running: as its time limit would have.
async fn end_orphans(inner: u32) {
    let patience = Instant::now() + KILL_GRACE;
    let mut told = BTreeSet::new();
    let mut were_none = false;
    while Instant::now() < patience {
        let groups = orphans::of(inner);
        // Two looks: one that is just being executed has no environment for a moment.
        if groups.is_empty() && were_none {
            return;
        }
        were_none = groups.is_empty();
        let mut new = 0;
        for group in groups {
            if told.insert(group.as_raw()) {
                group.terminate();
                new += 1;
            }
        }
        if new > 0 {
            tracing::warn!(groups = new, "the inner is gone: what it ran is ended");
        }
        sleep(GRACE).await;
    }
    // Looked for anew: a number may be another's by now.
    let groups = orphans::of(inner);
    for group in &groups {
        group.kill();
    }
    if !groups.is_empty() {
        tracing::warn!(groups = groups.len(), "what did not end was killed");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;
    use crate::testing::{motion, script};

    #[tokio::test]
    async fn only_the_stop_after_the_end_of_what_moved_counts() {
        let folder = tempfile::tempdir().unwrap();
        let stop = motion().stop;
        let car = CarStopper {
            catalog: Catalog::open(folder.path()).unwrap(),
            stop,
        };
        for (body, stands) in [("mkdir once", false), ("mkdir once; [ -e once ]", true)] {
            script(&folder.path().join("stop"), body);
            let mut moves = std::process::Command::new("sleep");
            let mut moves = moves.arg("1000").process_group(0).spawn().unwrap();
            let guard = GuardState::Until {
                deadline_ms: 1,
                group: moves.id().cast_signed(),
                owner: MotionOwner::default(),
            };
            assert_eq!(car.act(GuardReason::Silent, &guard).await, stands);
            assert!(!moves.wait().unwrap().success());
            std::fs::remove_dir(folder.path().join("once")).unwrap();
        }
    }
}

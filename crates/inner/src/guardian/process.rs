//! Owns the guardian's process: stops the car if the inner dies, or is silent beyond its deadline,
//! ends what a dead inner left running, and logs all of it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use p2p_shared::names::CommandName;
use p2p_shared::protocol::{End, PastEvent};
use p2p_shared::text::EscapedBytes;
use p2p_shared::timing::millis_f64;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::deadline::InnerDeadline;
use super::orphans::end_orphans;
use crate::catalog::{Catalog, CommandFile};
use crate::clock;
use crate::motion::{
    GuardState, MOTION_GRACE, MotionOwner, STOP_AGAIN, STOP_LIMIT, STOP_TRIES, StopRetries,
};
use crate::process::{self, GroupId, OsProcesses, Pipes, ProcessGroup, Program, Spawn};
use crate::ring;
use crate::run::{LAST_WORDS, LOGGED_STDERR, Tail, ended};

/// Time for which a failing stop is tried again once the inner is gone: its cause may pass (no free
/// process, a full disk). Later the next inner may be driving, whose car must not be stopped.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest wait for the disk at the end of the guardian, once the car stands.
const NOTE_LIMIT: Duration = Duration::from_secs(1);

/// Log line for a car that was stopped.
const STOPPED: &str = "the guardian has stopped the car";

/// A stop command that runs, and when it began.
type StopCommand = (ProcessGroup, Pipes, Instant);

/// Runs the guardian of the process `inner`.
///
/// # Errors
/// If the pipes can't be used, or the inner sends a line that is not of the protocol.
#[tokio::main(flavor = "current_thread")]
pub async fn run(
    commands: &Path,
    stop: CommandName,
    inner: u32,
    ring: Option<PathBuf>,
) -> anyhow::Result<()> {
    // Not the inner's name: somebody who looks for that name means the inner.
    let _ = rustix::thread::set_name(c"p2p-guardian");
    let car = CarStopper {
        // A folder that is gone or refused is no reason not to guard: it may be mended any moment.
        catalog: Catalog::at(commands)?,
        stop,
        processes: Arc::new(OsProcesses),
        note: ring.map(|path| Arc::new(move |event| ring::add_to(&path, event)) as Note),
        noting: watch::Sender::default(),
    };
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stdout = std::io::stdout().as_fd().try_clone_to_owned()?;
    let from = pipe::Receiver::from_owned_fd(stdin)?;
    let to = pipe::Sender::from_owned_fd(stdout)?;
    guard(car, from, to, inner).await
}

/// Guards an inner until it is gone, and stops the car then if it moves.
pub(crate) async fn guard(
    car: CarStopper,
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    inner: u32,
) -> anyhow::Result<()> {
    let guard = car.watch_over(from, to).await?;
    let cause = "the inner is gone";
    let has_stopped = car.act(cause, &guard).await;
    end_orphans(&car.processes, inner).await;
    if guard != GuardState::Stand {
        // A motion that the inner was starting, or had asked a worker for, may have begun since.
        car.stop_at_last(cause, &guard, has_stopped).await;
    }
    let _ = timeout(NOTE_LIMIT, car.noting.closed()).await;
    Ok(())
}

/// Notes an event in the inner's ring: the inner can't. May hang with the disk.
pub(crate) type Note = Arc<dyn Fn(PastEvent) + Send + Sync>;

pub(crate) struct CarStopper {
    pub catalog: Catalog,
    pub stop: CommandName,
    pub processes: Arc<dyn Spawn>,
    pub note: Option<Note>,
    /// Closed while no thread notes anything.
    pub noting: watch::Sender<()>,
}

impl CarStopper {
    /// Listens to the inner; stops the car when the inner is silent beyond its deadline, and again
    /// for as long as that fails. Returns what the inner said last, once it is gone.
    async fn watch_over(
        &self,
        from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> anyhow::Result<GuardState> {
        let mut lines = BufReader::new(from).lines();
        let mut deadline = InnerDeadline::default();
        loop {
            let left = deadline.left(clock::now());
            let step = left.map(|left| Instant::now() + clock::step(left));
            let is_due = tokio::select! {
                biased;
                line = lines.next_line() => match line {
                    Ok(Some(line)) => {
                        let guard = serde_json::from_str(&line).context("the inner sent a line that is not of the protocol")?;
                        deadline.ends(guard);
                        // Writing fails only if the inner is dying, which the next read shows.
                        let _ = to.write_all(b"ok\n").await;
                        false
                    }
                    // The inner is gone.
                    _ => return Ok(deadline.guard),
                },
                // The step may be shorter than the time left: see `clock::step`.
                () = sleep_until(step.unwrap_or_else(Instant::now)), if step.is_some() => {
                    left.is_some_and(|left| left.is_zero())
                }
            };
            if is_due {
                let has_stopped = match deadline.failed_tries() {
                    None => self.act("the inner is silent", &deadline.guard).await,
                    Some(tries) => {
                        self.act_again("the inner is silent", &deadline.guard, tries)
                            .await
                    }
                };
                deadline.acted(has_stopped, clock::now());
            }
        }
    }

    /// Stops the car, if it moves; returns whether it stands.
    async fn act(&self, cause: &str, guard: &GuardState) -> bool {
        let GuardState::Until {
            deadline_ms,
            group,
            owner,
        } = guard
        else {
            return true;
        };
        let clock_ms = clock::now_ms();
        let group = GroupId::new(*group, &self.processes);
        let ending = async {
            if let Some(group) = &group {
                group.end(MOTION_GRACE).await;
            }
        };
        let stopping = async {
            // The stop is started first, and the reason logged after that.
            let first = self.start();
            log_why(cause, *deadline_ms, owner);
            let mut retries = StopRetries::default();
            self.stop_until(first, 1, || {
                let pause = retries.failed(false);
                (!retries.have_failed()).then_some(pause)
            })
            .await
        };
        let (first, ()) = tokio::join!(stopping, ending);
        let has_stopped = if group.is_none() {
            first
        } else {
            // Once more, since the motion's process may have moved the car after the first stop
            // began: only this stop counts.
            self.end(self.start(), STOP_TRIES + 1).await
        };
        self.note_action(cause, owner, clock_ms, has_stopped);
        if has_stopped {
            tracing::info!("{STOPPED}");
        } else {
            tracing::error!("STOP FAILED: the guardian could not stop the car, and tries again");
        }
        has_stopped
    }

    /// Notes what this process did in place of the inner, which moved the car for `owner`.
    fn note_action(&self, cause: &str, owner: &MotionOwner, clock_ms: u64, has_stopped: bool) {
        self.note(PastEvent::Guardian {
            cause: cause.into(),
            press: owner.press,
            run: owner.run,
            clock_ms,
            has_stopped,
        });
    }

    /// Notes that a later try has stopped the car.
    fn stopped_later(&self, cause: &str, guard: &GuardState) {
        tracing::info!("{STOPPED}");
        if let GuardState::Until { owner, .. } = guard {
            self.note_action(cause, owner, clock::now_ms(), true);
        }
    }

    /// Notes an event on a thread of its own: no stop, and no answer to the inner, waits for the disk.
    fn note(&self, event: PastEvent) {
        let Some(note) = self.note.clone() else {
            return;
        };
        let noting = self.noting.subscribe();
        let noted = std::thread::Builder::new().spawn(move || {
            note(event);
            drop(noting);
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "what the guardian did can't be noted");
        }
    }

    /// Tries the stop again, after `tries` failures since the deadline; returns if the car stands.
    async fn act_again(&self, cause: &str, guard: &GuardState, tries: u32) -> bool {
        let has_stopped = self.end(self.start(), STOP_TRIES + 1 + tries).await;
        if has_stopped {
            self.stopped_later(cause, guard);
        }
        has_stopped
    }

    /// Stops the car once more, and goes on trying for [`PATIENCE`]: nobody else would.
    async fn stop_at_last(&self, cause: &str, guard: &GuardState, is_logged: bool) {
        let patience = Instant::now() + PATIENCE;
        let pause = || (Instant::now() < patience).then_some(STOP_AGAIN);
        if !self.stop_until(self.start(), STOP_TRIES + 2, pause).await {
            tracing::error!("STOP FAILED: the guardian gives up");
        } else if !is_logged {
            self.stopped_later(cause, guard);
        }
    }

    /// Runs the stop command until it has succeeded, beginning with the run `started`. After each
    /// failure `pause` returns the time to wait, or `None` to give up.
    async fn stop_until(
        &self,
        mut started: Result<StopCommand, String>,
        mut attempt: u32,
        mut pause: impl FnMut() -> Option<Duration>,
    ) -> bool {
        loop {
            if self.end(started, attempt).await {
                return true;
            }
            let Some(pause) = pause() else { return false };
            sleep(pause).await;
            started = self.start();
            attempt += 1;
        }
    }

    fn start(&self) -> Result<StopCommand, String> {
        let found = self.catalog.resolve(&self.stop);
        let CommandFile { file, folder } = found.map_err(|(_, why)| why)?;
        let program = Program {
            file: &file,
            arguments: &[],
            folder: &folder,
            variables: &[("P2P_COMMAND", self.stop.to_string())],
            has_stdin: false,
        };
        let (group, pipes) = ProcessGroup::start(&self.processes, &program)
            .map_err(|error| process::why_not(&file, &error))?;
        Ok((group, pipes, Instant::now()))
    }

    /// Waits for the end of a stop command, and logs it; returns whether it succeeded.
    async fn end(&self, started: Result<StopCommand, String>, attempt: u32) -> bool {
        let (mut group, pipes, began) = match started {
            Ok(started) => started,
            Err(why) => {
                tracing::error!(attempt, why, "the stop command can't be started");
                return false;
            }
        };
        let no_more = CancellationToken::new();
        let (stdout, stderr) = (Tail::default(), Tail::default());
        let ending = async {
            let status = timeout(STOP_LIMIT, group.ended()).await;
            // A pipe that a child of the command still holds open is not waited for.
            sleep(LAST_WORDS).await;
            no_more.cancel();
            status.map_or(End::TimedOut, |status| ended(&status))
        };
        // The output is read: a command that writes to a closed pipe is killed (SIGPIPE), perhaps
        // before it has stopped anything.
        let (end, (), ()) = tokio::join!(
            ending,
            stdout.collect(pipes.stdout, &no_more),
            stderr.collect(pipes.stderr, &no_more),
        );
        let exec_ms = millis_f64(began.elapsed());
        let said = stderr.kept();
        let stderr = EscapedBytes(&said).cut(LOGGED_STDERR);
        tracing::info!(attempt, exit = %end, exec_ms, stderr = %stderr, "stopped");
        end == End::Exit(0)
    }
}

fn log_why(cause: &str, deadline_ms: u64, owner: &MotionOwner) {
    // Negative: the lease or the motion's limit had not run out. A motion without limit has none.
    let late_ms =
        (deadline_ms > 0).then(|| clock::now_ms().cast_signed() - deadline_ms.cast_signed());
    tracing::error!(
        cause,
        who = %owner.who,
        run = owner.run.map(tracing::field::display),
        press = owner.press.map(tracing::field::display),
        deadline_ms,
        late_ms,
        "the guardian stops the car"
    );
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
            processes: Arc::new(OsProcesses),
            note: None,
            noting: watch::Sender::default(),
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
            assert_eq!(car.act("the inner is silent", &guard).await, stands);
            assert!(!moves.wait().unwrap().success());
            std::fs::remove_dir(folder.path().join("once")).unwrap();
        }
    }

    #[tokio::test]
    async fn a_later_try_that_succeeds_is_noted_too() {
        let folder = tempfile::tempdir().unwrap();
        script(&folder.path().join("stop"), "exit 1");
        let (to, noted) = std::sync::mpsc::channel();
        let to = std::sync::Mutex::new(to);
        let car = CarStopper {
            catalog: Catalog::open(folder.path()).unwrap(),
            stop: motion().stop,
            processes: Arc::new(OsProcesses),
            note: Some(Arc::new(move |event| {
                let _ = to.lock().unwrap().send(event);
            })),
            noting: watch::Sender::default(),
        };
        let guard = GuardState::Until {
            deadline_ms: 1,
            group: 0,
            owner: MotionOwner::default(),
        };
        let has_stopped = || match noted.recv().unwrap() {
            PastEvent::Guardian { has_stopped, .. } => has_stopped,
            event => panic!("{event:?}"),
        };
        assert!(!car.act("the inner is silent", &guard).await);
        assert!(!has_stopped());
        assert!(!car.act_again("the inner is silent", &guard, 1).await);
        script(&folder.path().join("stop"), "exit 0");
        assert!(car.act_again("the inner is silent", &guard, 2).await);
        assert!(has_stopped(), "the failure between them is no news");
        car.stop_at_last("the inner is gone", &guard, false).await;
        assert!(has_stopped());
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_no_stop() {
        let folder = tempfile::tempdir().unwrap();
        script(&folder.path().join("stop"), "echo stop >> stops");
        let (until, hangs) = std::sync::mpsc::channel::<()>();
        let hangs = std::sync::Mutex::new(hangs);
        let car = CarStopper {
            catalog: Catalog::open(folder.path()).unwrap(),
            stop: motion().stop,
            processes: Arc::new(OsProcesses),
            note: Some(Arc::new(move |_| {
                let _ = hangs.lock().unwrap().recv();
            })),
            noting: watch::Sender::default(),
        };
        let moves = serde_json::to_string(&GuardState::Until {
            deadline_ms: 0,
            group: 0,
            owner: MotionOwner::default(),
        });
        let (mut inner, its) = tokio::io::duplex(4096);
        let line = moves.unwrap() + "\n";
        inner.write_all(line.as_bytes()).await.unwrap();
        inner.shutdown().await.unwrap();
        let (from, to) = tokio::io::split(its);
        // No process has this number.
        super::guard(car, from, to, u32::MAX).await.unwrap();
        let stops = std::fs::read_to_string(folder.path().join("stops")).unwrap();
        assert_eq!(stops, "stop\nstop\n");
        drop(until);
    }
}

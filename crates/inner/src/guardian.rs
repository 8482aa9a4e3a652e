//! The inner's side of the guardian, the second process at the car: starts it, reports to it, and
//! replaces it when it dies. The guardian knows when the car must have been stopped, and stops it
//! if the inner dies, is suspended, or runs out of memory: its own side is `guardian/process`.
//!
//! The two speak in lines over the guardian's standard input and output:
//!
//! ```text
//! inner    → guardian   {"until":{"deadline_ms":7,"group":9,"owner":{…}}}   the car moves
//! inner    → guardian   "stand"                                             the car stands
//! guardian → inner      ok                                                  to each of them
//! ```
//!
//! A deadline of 0 means that only the inner's death is a reason to stop; a group of 0 that no
//! process has to be ended.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use p2p_shared::os::with_causes;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::motion::{GuardState, STOP_LIMIT, STOP_TRIES};
use crate::process::OWNER_VARIABLE;

mod deadline;
mod orphans;
// The guardian's own half.
pub(crate) mod process;

pub use process::run;

/// Time for the guardian to answer while the car moves.
const ANSWER: Duration = Duration::from_millis(200);
/// Time for its first answer, before which nothing moves: a Raspberry Pi takes a while to start a program.
const START: Duration = Duration::from_secs(5);
/// Pause between two guardians.
const PAUSE: Duration = Duration::from_millis(500);

/// A guardian that runs, and our ends of its pipes.
pub(crate) struct Guardian {
    pub to: Box<dyn AsyncWrite + Send + Unpin>,
    pub from: Box<dyn AsyncRead + Send + Unpin>,
    /// The process, where it is not simulated.
    pub process: Option<Child>,
}

/// Starts the guardian, which is this program, with these arguments and the number of this process.
pub(crate) fn start(arguments: &[OsString]) -> anyhow::Result<Guardian> {
    // By this link it is the same program even after an update has replaced the file.
    let mut child = Command::new("/proc/self/exe")
        // Otherwise `ps` would show it as `exe`.
        .arg0("p2p-inner")
        .args(arguments)
        .arg(std::process::id().to_string())
        // If this inner is a command of another inner, the guardian must outlive that command.
        .env_remove(OWNER_VARIABLE)
        // The guardian needs no key.
        .env_remove("P2P_KEY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A signal to our group (Ctrl-C) must not reach the guardian, which ends after us.
        .process_group(0)
        .kill_on_drop(false)
        .spawn()
        .context("the guardian can't be started")?;
    let to = child.stdin.take().context("it has no pipes")?;
    let from = child.stdout.take().context("it has no pipes")?;
    Ok(Guardian {
        to: Box::new(to),
        from: Box::new(from),
        process: Some(child),
    })
}

/// Keeps a guardian running and tells it what `guard` says. What a living guardian has confirmed
/// goes to `confirmed`: nothing moves before. Calls `alarm` when a guardian died or hung while the
/// car moved, so that the car is stopped.
pub(crate) async fn supervise(
    start: impl Fn() -> anyhow::Result<Guardian>,
    mut guard: watch::Receiver<GuardState>,
    confirmed: watch::Sender<Option<GuardState>>,
    alarm: impl Fn(),
) {
    loop {
        let why = match start() {
            Ok(mut guardian) => {
                let why = report(&mut guardian, &mut guard, &confirmed).await;
                confirmed.send_replace(None);
                let Some(why) = why else {
                    // The inner ends, and the car stands or is stopped by the guardian.
                    if let Some(child) = &mut guardian.process {
                        drop(guardian.to);
                        let _ = timeout(STOP_LIMIT * STOP_TRIES, child.wait()).await;
                    }
                    return;
                };
                if guard.has_changed().is_err() {
                    return;
                }
                if let Some(child) = &mut guardian.process {
                    // The guardian may be stopped (SIGSTOP) rather than dead.
                    let _ = child.kill().await;
                }
                why
            }
            Err(error) => with_causes(&error),
        };
        let moves = *guard.borrow() != GuardState::Stand;
        tracing::error!(why, moves, "the guardian is gone; another is started");
        if moves {
            alarm();
        }
        sleep(PAUSE).await;
    }
}

/// Tells the guardian each change until the guardian fails. Returns why; `None` if the inner ends.
async fn report(
    guardian: &mut Guardian,
    guard: &mut watch::Receiver<GuardState>,
    confirmed: &watch::Sender<Option<GuardState>>,
) -> Option<String> {
    const DIED: &str = "it has died";
    let mut answers = BufReader::new(&mut guardian.from).lines();
    let mut limit = START;
    guard.mark_changed();
    loop {
        let changed = tokio::select! {
            biased;
            changed = guard.changed() => changed,
            line = answers.next_line() => match line {
                // A late answer to an earlier line.
                Ok(Some(_)) => continue,
                _ => return Some(DIED.to_owned()),
            },
        };
        if changed.is_err() {
            return None;
        }
        let news = guard.borrow_and_update().clone();
        let exchange = async {
            let line = serde_json::to_string(&news)? + "\n";
            guardian.to.write_all(line.as_bytes()).await?;
            answers.next_line().await
        };
        match timeout(limit, exchange).await {
            Ok(Ok(Some(_))) => {
                confirmed.send_replace(Some(news));
                limit = ANSWER;
            }
            Ok(_) => return Some(DIED.to_owned()),
            Err(_) => return Some("it does not answer".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::Instant;

    use super::*;
    use crate::motion::MotionOwner;

    #[tokio::test(start_paused = true)]
    async fn a_guardian_may_take_a_while_to_start_but_not_to_answer() {
        let (to, asked) = duplex(1024);
        let (mut answers, from) = duplex(1024);
        let mut guardian = Guardian {
            to: Box::new(to),
            from: Box::new(from),
            process: None,
        };
        let slow = async {
            let mut asked = BufReader::new(asked).lines();
            while let Ok(Some(_)) = asked.next_line().await {
                sleep(Duration::from_secs(1)).await;
                answers.write_all(b"ok\n").await.unwrap();
            }
        };
        let (state, mut guard) = watch::channel(GuardState::Stand);
        let (confirmed, mut stands) = watch::channel(None);
        let moves = async {
            stands.wait_for(Option::is_some).await.unwrap();
            state.send_replace(GuardState::Until {
                deadline_ms: 7,
                group: 9,
                owner: MotionOwner::default(),
            });
        };
        let began = Instant::now();
        let why = tokio::select! {
            why = report(&mut guardian, &mut guard, &confirmed) => why,
            _ = async { tokio::join!(slow, moves) } => None,
        };
        assert_eq!(why.as_deref(), Some("it does not answer"));
        assert_eq!(began.elapsed(), Duration::from_secs(1) + ANSWER);
    }
}

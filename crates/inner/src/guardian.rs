//! Owns the second process at the car, as the inner sees it: what is said to it, how it is
//! started, and that it lives. It is told by when the car must have been stopped, and stops it if
//! the inner dies, is stopped, or has no more memory: that half is `guardian/process`.
//!
//! The two speak in lines over the guardian's standard input and output:
//!
//! ```text
//! inner    → guardian   guard DEADLINE GROUP RUN PRESS WHO   the car moves; DEADLINE in ms of its clock
//! inner    → guardian   stand                                it stands
//! guardian → inner      ok                                   to each of them
//! ```
//!
//! A deadline of 0 means that only the inner's death is a reason to stop; a group of 0 that no
//! process has to be ended. RUN, PRESS and WHO tell the log what moves (`-`: nobody knows, or there
//! is none): the inner's own lines about it may die with the inner.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use p2p_shared::names::RunId;
use p2p_shared::protocol::PressId;
use p2p_shared::text::Escaped;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::motion::{STOP_LIMIT, STOP_TRIES};

mod deadline;
mod orphans;
// The guardian's own half.
mod process;

#[cfg(feature = "simulation")]
pub(crate) use deadline::GuardStep;
pub(crate) use orphans::MARK;
pub use process::run;
#[cfg(feature = "simulation")]
pub(crate) use process::{GRACE, watch_over};

/// How long a guardian may take to answer while the car moves.
const ANSWER: Duration = Duration::from_millis(200);
/// Most characters of who moves the car.
const MAX_WHO: usize = 200;
/// Between two guardians.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// What the guardian is to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum GuardState {
    /// The car stands.
    #[default]
    Stand,
    /// It moves.
    Until {
        /// By when it must have been stopped, in ms of the car's clock; 0: no such time.
        deadline_ms: u64,
        /// The group of its motion's process; 0: none.
        group: i32,
        /// What moves it.
        owner: MotionOwner,
    },
}

/// What moves the car, or moved it last: for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MotionOwner {
    /// The run of its process; `None`: nobody knows.
    pub run: Option<RunId>,
    /// The driver's press that it is.
    pub press: Option<PressId>,
    /// The driver, or the address that asked for it.
    pub who: Arc<str>,
}

impl GuardState {
    fn line(&self) -> String {
        let Self::Until {
            deadline_ms,
            group,
            owner,
        } = self
        else {
            return "stand\n".to_owned();
        };
        let run = owner
            .run
            .map_or_else(|| "-".to_owned(), |run| run.to_string());
        let press = (owner.press).map_or_else(
            || "-".to_owned(),
            |press| format!("{}.{}", press.epoch, press.number),
        );
        let who = Escaped(&owner.who).cut(MAX_WHO);
        format!("guard {deadline_ms} {group} {run} {press} {who}\n")
    }

    fn read(line: &str) -> Option<Self> {
        if line == "stand" {
            return Some(Self::Stand);
        }
        let mut words = line.strip_prefix("guard ")?.splitn(5, ' ');
        Some(Self::Until {
            deadline_ms: words.next()?.parse().ok()?,
            group: words.next()?.parse().ok()?,
            // Only the log wants these: no reason to leave the car alone.
            owner: MotionOwner {
                run: words.next()?.parse().ok(),
                press: read_press(words.next()?),
                who: words.next()?.into(),
            },
        })
    }
}

fn read_press(text: &str) -> Option<PressId> {
    let (epoch, number) = text.split_once('.')?;
    Some(PressId {
        epoch: epoch.parse().ok()?,
        number: number.parse().ok()?,
    })
}

/// How a guardian is started.
#[derive(Debug, Clone)]
pub struct GuardianProgram {
    /// The program: this one.
    pub program: PathBuf,
    /// Its arguments. The number of the inner's process is added to them.
    pub arguments: Vec<OsString>,
}

/// The inner's half: keeps a guardian running and tells it what `guard` says. What the one that
/// lives has confirmed goes to `confirmed`: nothing moves before. Calls `alarm` when a guardian
/// died or hung, so that a car which moves is stopped.
pub(crate) async fn supervise(
    program: GuardianProgram,
    mut guard: watch::Receiver<GuardState>,
    confirmed: watch::Sender<Option<GuardState>>,
    alarm: impl Fn(),
) {
    loop {
        let why = match start(&program) {
            Ok(mut child) => {
                let why = serve(&mut child, &mut guard, &confirmed).await;
                confirmed.send_replace(None);
                if guard.has_changed().is_err() {
                    return;
                }
                // It may be stopped rather than dead.
                let _ = child.kill().await;
                why
            }
            Err(error) => error,
        };
        let moves = *guard.borrow() != GuardState::Stand;
        tracing::error!(
            why = format!("{why:#}"),
            moves,
            "the guardian is gone; another is started"
        );
        if moves {
            alarm();
        }
        sleep(PAUSE).await;
    }
}

fn start(program: &GuardianProgram) -> anyhow::Result<Child> {
    Command::new(&program.program)
        // Else people would see it as `exe`.
        .arg0("p2p-inner")
        .args(&program.arguments)
        .arg(std::process::id().to_string())
        // An inner that is itself a command of another one: this is not to go with that command.
        .env_remove(orphans::MARK)
        // Which is nothing that it needs.
        .env_remove("P2P_KEY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A signal to our group, Ctrl-C, is not for it: it ends when we do.
        .process_group(0)
        .kill_on_drop(false)
        .spawn()
        .context("the guardian can't be started")
}

/// Tells a guardian everything until it fails.
async fn serve(
    child: &mut Child,
    guard: &mut watch::Receiver<GuardState>,
    confirmed: &watch::Sender<Option<GuardState>>,
) -> anyhow::Error {
    let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
        return anyhow::anyhow!("it has no pipes");
    };
    match report(to, from, guard, confirmed).await {
        Some(why) => why,
        None => {
            // The inner ends, and the car stands or is stopped by the guardian.
            let _ = timeout(STOP_LIMIT * STOP_TRIES, child.wait()).await;
            anyhow::anyhow!("the inner has ended")
        }
    }
}

/// Tells it over these pipes; why that came to an end, if it was not the inner that ended.
pub(crate) async fn report(
    mut to: impl AsyncWrite + Unpin,
    from: impl AsyncRead + Unpin,
    guard: &mut watch::Receiver<GuardState>,
    confirmed: &watch::Sender<Option<GuardState>>,
) -> Option<anyhow::Error> {
    let mut answers = BufReader::new(from).lines();
    guard.mark_changed();
    loop {
        let changed = tokio::select! {
            biased;
            changed = guard.changed() => changed,
            line = answers.next_line() => match line {
                // It was late with an answer to something that is no news any more.
                Ok(Some(_)) => continue,
                _ => return Some(anyhow::anyhow!("it has died")),
            },
        };
        if changed.is_err() {
            return None;
        }
        let news = guard.borrow_and_update().clone();
        let exchange = async {
            to.write_all(news.line().as_bytes()).await?;
            answers.next_line().await
        };
        match timeout(ANSWER, exchange).await {
            Ok(Ok(Some(_))) => {
                confirmed.send_replace(Some(news));
            }
            Ok(_) => return Some(anyhow::anyhow!("it has died")),
            Err(_) => return Some(anyhow::anyhow!("it does not answer")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read() {
        for guard in [
            GuardState::Stand,
            GuardState::Until {
                deadline_ms: 12_345,
                group: 678,
                owner: MotionOwner {
                    run: Some(RunId::from_number(9)),
                    press: Some(PressId {
                        epoch: 5,
                        number: 6,
                    }),
                    who: "the desk, 10.0.0.1".into(),
                },
            },
            GuardState::Until {
                deadline_ms: 0,
                group: 0,
                owner: MotionOwner::default(),
            },
        ] {
            assert_eq!(
                GuardState::read(guard.line().trim_end_matches('\n')),
                Some(guard)
            );
        }
        for strange in [
            "",
            "guard",
            "guard x 1 - - x",
            "guard 1",
            "guard 1 2",
            "run",
        ] {
            assert_eq!(GuardState::read(strange), None);
        }
    }
}

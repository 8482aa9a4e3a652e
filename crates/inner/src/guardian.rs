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
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::motion::{GuardState, STOP_LIMIT, STOP_TRIES};
use crate::process::OWNER_VARIABLE;

mod deadline;
mod orphans;
// The guardian's own half.
mod process;

#[cfg(feature = "simulation")]
pub(crate) use deadline::GuardStep;
pub use process::run;
#[cfg(feature = "simulation")]
pub(crate) use process::watch_over;

/// How long a guardian may take to answer while the car moves.
const ANSWER: Duration = Duration::from_millis(200);
/// Between two guardians.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

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
        .env_remove(OWNER_VARIABLE)
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

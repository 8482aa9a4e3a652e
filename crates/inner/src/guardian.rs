//! Owns the second process at the car: it is told by when the car must have been stopped, and
//! stops it if the inner dies, is stopped, or has no more memory. The other half of this file
//! runs in the inner, and sees to it that the guardian lives.
//!
//! The two speak in lines over the guardian's standard input and output:
//!
//! ```text
//! inner    → guardian   guard DEADLINE GROUP     the car moves; DEADLINE in ms of the car's clock
//! inner    → guardian   stand                    it stands
//! guardian → inner      ok                       to each of them
//! ```
//!
//! A deadline of 0 means that only the inner's death is a reason to stop; a group of 0 that no
//! process has to be ended.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use p2p_shared::names::CommandName;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::catalog::Catalog;
use crate::clock;
use crate::process::{GroupId, ProcessGroup, Program};

/// How long after its deadline the inner's own stop must have been told to the guardian: what
/// the inner needs to notice and to say so.
const MARGIN: Duration = Duration::from_millis(20);
/// How long a guardian may take to answer while the car moves.
const ANSWER: Duration = Duration::from_millis(200);
/// Between two guardians.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a stop command may take, and how often it is tried: as the inner does.
const STOP_LIMIT: Duration = Duration::from_secs(1);
/// See [`STOP_LIMIT`].
const STOP_TRIES: u32 = 3;
/// What a motion's process gets between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(150);

/// What the guardian is to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The car stands.
    #[default]
    Stand,
    /// It moves.
    Until {
        /// By when it must have been stopped, in ms of the car's clock; 0: no such time.
        deadline_ms: u64,
        /// The group of its motion's process; 0: none.
        group: i32,
    },
}

impl Guard {
    fn line(self) -> String {
        match self {
            Self::Stand => "stand\n".to_owned(),
            Self::Until { deadline_ms, group } => format!("guard {deadline_ms} {group}\n"),
        }
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        match words.next()? {
            "stand" => Some(Self::Stand),
            "guard" => Some(Self::Until {
                deadline_ms: words.next()?.parse().ok()?,
                group: words.next()?.parse().ok()?,
            }),
            _ => None,
        }
    }

    /// When it is time to act.
    fn due(self) -> Option<Instant> {
        match self {
            Self::Until { deadline_ms, .. } if deadline_ms > 0 => {
                let left = deadline_ms.saturating_sub(clock::now_ms());
                Some(Instant::now() + Duration::from_millis(left) + MARGIN)
            }
            _ => None,
        }
    }
}

/// How a guardian is started.
#[derive(Debug, Clone)]
pub struct GuardianProgram {
    /// The program: this one.
    pub program: PathBuf,
    /// The command directory.
    pub commands: PathBuf,
    /// The stop command.
    pub stop: CommandName,
}

/// The inner's half: keeps a guardian running and tells it what `guard` says. What the one that
/// lives has confirmed goes to `confirmed`: nothing moves before. Returns through `alarm` that a guardian died or hung while the car moved.
pub(crate) async fn keep(
    program: GuardianProgram,
    mut guard: watch::Receiver<Guard>,
    confirmed: watch::Sender<Option<Guard>>,
    alarm: impl Fn(),
) {
    loop {
        let why = match start(&program) {
            Ok(mut child) => {
                let why = talk(&mut child, &mut guard, &confirmed).await;
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
        let moves = *guard.borrow() != Guard::Stand;
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
        .arg("guardian")
        .arg(&program.commands)
        .arg(program.stop.as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A signal to our group, Ctrl-C, is not for it: it ends when we do.
        .process_group(0)
        .kill_on_drop(false)
        .spawn()
        .context("the guardian can't be started")
}

/// Tells a guardian everything until it fails.
async fn talk(
    child: &mut Child,
    guard: &mut watch::Receiver<Guard>,
    confirmed: &watch::Sender<Option<Guard>>,
) -> anyhow::Error {
    let (Some(mut to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
        return anyhow::anyhow!("it has no pipes");
    };
    let mut answers = BufReader::new(from).lines();
    guard.mark_changed();
    loop {
        let changed = tokio::select! {
            changed = guard.changed() => changed,
            line = answers.next_line() => match line {
                // It was late with an answer to something that is no news any more.
                Ok(Some(_)) => continue,
                _ => return anyhow::anyhow!("it has died"),
            },
        };
        if changed.is_err() {
            // The inner ends, and the car stands or is stopped by the guardian.
            drop(to);
            let _ = timeout(STOP_LIMIT * STOP_TRIES, child.wait()).await;
            return anyhow::anyhow!("the inner has ended");
        }
        let news = *guard.borrow_and_update();
        let exchange = async {
            to.write_all(news.line().as_bytes()).await?;
            answers.next_line().await
        };
        match timeout(ANSWER, exchange).await {
            Ok(Ok(Some(_))) => {
                confirmed.send_replace(Some(news));
            }
            Ok(_) => return anyhow::anyhow!("it has died"),
            Err(_) => return anyhow::anyhow!("it does not answer"),
        }
    }
}

/// The guardian's half: does nothing, until it must.
///
/// # Errors
/// If the command directory can't be used.
pub async fn run(commands: PathBuf, stop: CommandName) -> anyhow::Result<()> {
    let catalog = Catalog::open(&commands)?;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stdout = std::io::stdout().as_fd().try_clone_to_owned()?;
    let mut lines = BufReader::new(pipe::Receiver::from_owned_fd(stdin)?).lines();
    let mut out = pipe::Sender::from_owned_fd(stdout)?;
    let mut guard = Guard::Stand;
    loop {
        let due = guard.due();
        let acted = tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => {
                    guard = Guard::read(&line).context("the inner said something strange")?;
                    // The inner that doesn't listen is about to be found dead.
                    let _ = out.write_all(b"ok\n").await;
                    false
                }
                // The inner is gone.
                _ => {
                    act(&catalog, &stop, guard).await;
                    return Ok(());
                }
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => true,
        };
        if acted {
            act(&catalog, &stop, guard).await;
            // Whether it stands is the inner's to find out, if it ever comes back.
            if let Guard::Until { group, .. } = guard {
                guard = Guard::Until {
                    deadline_ms: 0,
                    group,
                };
            }
        }
    }
}

/// Stops the car.
async fn act(catalog: &Catalog, stop: &CommandName, guard: Guard) {
    let Guard::Until { group, .. } = guard else {
        return;
    };
    let ending = async {
        if let Some(group) = GroupId::from_raw(group) {
            group.end(GRACE).await;
        }
    };
    let stopping = async {
        for _ in 0..STOP_TRIES {
            if stopped(catalog, stop).await {
                return true;
            }
        }
        false
    };
    let ((), first) = tokio::join!(ending, stopping);
    // Once more, since its process may have done something after the stop began.
    let again = group != 0 && stopped(catalog, stop).await;
    let outcome = if first || again {
        "stopped the car"
    } else {
        "STOP FAILED"
    };
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("p2p-inner guardian: the inner died or hung while the car moved: {outcome}\n"),
    );
}

/// Runs the stop command; whether it succeeded.
async fn stopped(catalog: &Catalog, stop: &CommandName) -> bool {
    let Ok(file) = catalog.resolve(stop) else {
        return false;
    };
    let program = Program {
        file: &file,
        arguments: &[],
        folder: catalog.path(),
        variables: &[("P2P_COMMAND", stop.to_string())],
        has_stdin: false,
    };
    let Ok((mut group, _pipes)) = ProcessGroup::start(&program) else {
        return false;
    };
    matches!(timeout(STOP_LIMIT, group.ended()).await, Ok(Ok(status)) if status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read() {
        for guard in [
            Guard::Stand,
            Guard::Until {
                deadline_ms: 12_345,
                group: 678,
            },
        ] {
            assert_eq!(Guard::read(&guard.line()), Some(guard));
        }
        for strange in ["", "guard", "guard x 1", "guard 1", "run"] {
            assert_eq!(Guard::read(strange), None);
        }
    }
}

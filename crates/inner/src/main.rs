//! `p2p-inner`: reads the command line and runs the inner until it is told to end.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use p2p_inner::config::{self, Options, Task};
use p2p_inner::link_lock::LinkLock;
use p2p_inner::{Inner, guardian, setup};
use p2p_shared::os::{EndSignals, sd_notify};
use p2p_shared::{logging, os, settings};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Name of the second process in logs.
const GUARDIAN: &str = "p2p-inner-guardian";

fn main() -> ExitCode {
    os::no_core_dumps();
    let mut options = config::parse();
    match options.task.take() {
        Some(Task::Setup(asked)) => os::exit_code(setup::run(asked)),
        Some(Task::CheckCommands {
            directory,
            stop,
            motions,
        }) => os::exit_code(setup::check_commands(&directory, &stop, &motions)),
        Some(Task::Common(task)) => task.run::<Options>(),
        Some(Task::Guardian {
            commands,
            stop,
            inner,
            ring,
        }) => {
            // A log file of its own: two processes can't rotate and remove the same files.
            let _logs = logging::start(options.common.log_options(GUARDIAN));
            settings::log_start::<Options>(GUARDIAN);
            tracing::info!(inner, commands = %commands.display(), %stop, "guards the inner");
            os::exit_code(guardian::run(&commands, stop, inner, ring))
        }
        None => os::take_front().unwrap_or_else(|| os::exit_code(run(options))),
    }
}

fn run(options: Options) -> anyhow::Result<()> {
    let _logs = logging::start(options.common.log_options("p2p-inner"));
    settings::log_start::<Options>("p2p-inner");
    let runtime = Runtime::new()?;
    let result = runtime.block_on(serve(options));
    // A resolver that hangs must not hold up our end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn serve(options: Options) -> anyhow::Result<()> {
    // As early as possible: until then these signals end us without a word.
    let mut ends = EndSignals::listen().context("SIGINT and SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP")?;
    let state_dir = options.state_dir();
    let config = options.into_config()?;
    let lock = match &state_dir {
        Ok(folder) => Some(LinkLock::take(folder, &config).await?),
        Err(_) => None,
    };
    let inner = Inner::start(config)?;
    sd_notify::ready();
    let alive = tokio::spawn(inner.proofs_of_life());
    loop {
        tokio::select! {
            _ = hang_up.recv() => inner.reconnect_now(),
            () = ends.next() => break,
        }
    }
    sd_notify::stopping();
    // From now on another may take this one's place.
    drop(lock);
    tracing::info!(
        "ending: running commands have 30 s (Ctrl-C, or SIGTERM again after a second, to end at once)"
    );
    ends.before(inner.shut_down()).await;
    alive.abort();
    Ok(())
}

//! `p2p-inner`: reads the command line and runs the inner until it is told to end.

use std::process::ExitCode;

use anyhow::Context;
use p2p_inner::Inner;
use p2p_inner::settings::{Options, Task};
use p2p_shared::{exit, logging, settings};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let options: Options = settings::parse();
    match &options.task {
        Some(Task::Completions { shell }) => {
            exit::code(settings::print_completions::<Options>(*shell).map_err(Into::into))
        }
        Some(Task::Man) => exit::code(settings::print_man::<Options>().map_err(Into::into)),
        None => exit::code(run(options)),
    }
}

#[tokio::main]
async fn run(options: Options) -> anyhow::Result<()> {
    let _logs = logging::start(options.common.log_options("p2p-inner"));
    let inner = Inner::start(options.into_config()?)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP")?;
    loop {
        tokio::select! {
            _ = hang_up.recv() => inner.hurry(),
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    tracing::info!("ending: running commands have 30 s (once more to end at once)");
    tokio::select! {
        () = inner.shut_down() => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

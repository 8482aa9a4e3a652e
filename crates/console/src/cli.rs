//! Runs the subcommands, which need no screen, or the screens.

mod client;
mod json;
mod list;
mod output;
mod recover_run;
mod replay;
mod send;
mod watch;

use std::pin::Pin;
use std::process::ExitCode;

use p2p_shared::key;
use p2p_shared::net::reconnect;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::AppSetup;
use crate::config::{Options, Task};
use crate::connection::RouterTarget;
use crate::drive::KeyReleases;
use crate::event_loop::{self, AppParts, ScreenSource};
use crate::exit_code::{Failure, INTERRUPTED, TERMINATED};
use crate::terminal;

/// Runs the subcommand, or the screens.
pub(crate) async fn run(options: Options, parts: AppParts) -> anyhow::Result<ExitCode> {
    let colour = options.wants_colour(|name| std::env::var_os(name));
    let mut setup = AppSetup {
        router: String::new(),
        wanted: options.link.clone(),
        readonly: options.readonly,
        colour,
        releases: KeyReleases::Guessed,
        size: (0, 0),
    };
    if let Some(Task::Replay { file }) = &options.task {
        let name = file.display().to_string();
        let log = replay::read(file)?;
        if !terminal::is_available() {
            return replay::print(&log, options.json);
        }
        let source = ScreenSource::Past(name, Box::new(log));
        return Box::pin(event_loop::run(source, setup, parts)).await;
    }
    if options.router.is_empty() {
        let why = "which router? Say --router HOST:PORT, or set P2P_ROUTER (see --help)";
        return Err(Failure::usage(why).into());
    }
    let routers = reconnect::distinct(options.router.iter().cloned());
    let target = RouterTarget {
        routers: routers.map_err(|why| Failure::usage(format!("--router: {why}")))?,
        key: key::load(options.common.key_file.as_deref())?,
        open: options.open,
        readonly: options.readonly,
    };
    match &options.task {
        Some(Task::List) => list::run(&target, options.json).await,
        Some(Task::Send(send)) => Box::pin(send::run(&target, send, options.json)).await,
        None if terminal::is_available() && !options.json => {
            let routers = target.routers.iter().map(ToString::to_string);
            setup.router = routers.collect::<Vec<_>>().join(",");
            Box::pin(event_loop::run(ScreenSource::Live(target), setup, parts)).await
        }
        _ => watch::run(target, options.link.as_deref(), options.json).await,
    }
}

/// Wait for a signal that ends a command without screens; the result is the exit code.
type StopSignal = Pin<Box<dyn Future<Output = u8> + Send>>;

fn stop_signal() -> std::io::Result<StopSignal> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = interrupt.recv() => INTERRUPTED,
            _ = terminate.recv() => TERMINATED,
        }
    }))
}

//! Runs the subcommands, which need no screen, or the screens.

mod client;
mod json;
mod list;
mod output;
mod recover_run;
mod replay;
mod send;
mod watch;

use std::process::ExitCode;

use p2p_shared::key;
use tokio::signal::unix::{Signal, SignalKind, signal};

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
    let Some(router) = options.router.clone() else {
        let why = "which router? Say --router HOST:PORT, or set P2P_ROUTER (see --help)";
        return Err(Failure::usage(why).into());
    };
    let target = RouterTarget {
        router,
        key: key::load(options.common.key_file.as_deref())?,
        readonly: options.readonly,
    };
    match &options.task {
        Some(Task::List) => list::run(&target, options.json).await,
        Some(Task::Send(send)) => Box::pin(send::run(&target, send, options.json)).await,
        None if terminal::is_available() && !options.json => {
            setup.router = target.router.to_string();
            Box::pin(event_loop::run(ScreenSource::Live(target), setup, parts)).await
        }
        _ => watch::run(target, options.link.as_deref(), options.json).await,
    }
}

/// The signals that end a command without screens.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for a signal; returns its exit code.
    async fn received(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
        }
    }
}

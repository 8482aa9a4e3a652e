//! Owns what the program does without screens, and which of both it does.

mod client;
mod json;
mod list;
mod output;
mod recover_run;
mod send;
mod watch;

use std::process::ExitCode;

use p2p_shared::key;

use crate::app::AppSetup;
use crate::app::saved_log;
use crate::config::{Options, Task};
use crate::connection::RouterTarget;
use crate::drive::KeyReleases;
use crate::event_loop::{self, AppParts, ScreenSource};
use crate::exit_code::{ERROR, Failure};
use crate::terminal;

/// Largest log that is replayed, in bytes: about a month of driving.
const LARGEST_LOG: u64 = 512 << 20;

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
        let replay = read(file)?;
        if !terminal::is_available() {
            return output::runs(&replay, options.json);
        }
        return Box::pin(event_loop::run(
            ScreenSource::Past(name, Box::new(replay.log)),
            setup,
            parts,
        ))
        .await;
    }
    let Some(router) = options.router.clone() else {
        return Err(Failure::usage(
            "which router? Say --router HOST:PORT, or set P2P_ROUTER (see --help)",
        )
        .into());
    };
    let loaded = key::load(options.common.key_file.as_deref())?;
    let target = RouterTarget {
        router: router.0,
        key: loaded.map(|loaded| loaded.key),
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

fn read(file: &std::path::Path) -> anyhow::Result<saved_log::ReadLog> {
    let name = file.display();
    let fail = |why: String| Failure::new(ERROR, format!("{name} can't be replayed: {why}"));
    let meta = std::fs::metadata(file).map_err(|why| fail(why.to_string()))?;
    if !meta.is_file() {
        return Err(fail("it is not a file".to_owned()).into());
    }
    if meta.len() > LARGEST_LOG {
        return Err(fail(format!(
            "it has {} bytes, and at most {LARGEST_LOG} are read",
            meta.len()
        ))
        .into());
    }
    let bytes = std::fs::read(file).map_err(|why| fail(why.to_string()))?;
    Ok(saved_log::read(&bytes).map_err(|why| fail(why.to_string()))?)
}

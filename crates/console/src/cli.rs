//! Runs the subcommands, which need no screen, or the screens.

mod client;
mod commands;
mod incident;
mod json;
mod list;
mod login;
mod output;
mod qr;
mod record;
mod recover_run;
mod replay;
mod send;
mod watch;

use std::pin::Pin;
use std::process::ExitCode;

use p2p_shared::key;
use p2p_shared::net::reconnect;
use p2p_shared::setup::say;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::AppSetup;
use crate::config::{Options, Task};
use crate::connection::RouterTarget;
use crate::drive::KeyReleases;
use crate::event_loop::{self, AppParts, ScreenSource};
use crate::exit_code::{Failure, INTERRUPTED, TERMINATED};
use crate::routers::{KnownRouter, Routers};
use crate::screen::theme::Colours;
use crate::terminal;

/// Runs the subcommand, or the screens.
pub(crate) async fn run(options: Options, parts: AppParts) -> anyhow::Result<ExitCode> {
    let colour = options.wants_colour(|name| std::env::var_os(name));
    let mut setup = AppSetup {
        router: String::new(),
        wanted: options.link.clone(),
        readonly: options.readonly,
        colour,
        colours: match colour {
            true => Colours::of_terminal(|name| std::env::var_os(name)),
            false => Colours::Few,
        },
        releases: KeyReleases::Guessed,
        size: (0, 0),
    };
    if let Some(Task::Replay { file }) = &options.task {
        let name = file.display().to_string();
        let recording = replay::read(file)?;
        if !terminal::is_available() || options.json {
            return replay::print(&recording, options.json);
        }
        let source = ScreenSource::Past(name, Box::new(recording));
        return Box::pin(event_loop::run(source, setup, parts)).await;
    }
    if let Some(Task::Login(login)) = &options.task {
        return login::run(&options, login).await;
    }
    let target = target(&options)?;
    match &options.task {
        Some(Task::List) => list::run(&target, options.json).await,
        Some(Task::Qr { car }) => {
            let link = car.as_deref().or(options.link.as_deref());
            qr::run(&target, link, colour && terminal::is_available()).await
        }
        Some(Task::Commands { car }) => commands::run(&target, car, options.json).await,
        Some(Task::Incident { car, last }) => {
            incident::run(&target, car, *last, &options.common.log_dir, options.json).await
        }
        Some(Task::Record { car, off }) => record::run(&target, car, !off, options.json).await,
        Some(Task::Send(send)) => Box::pin(send::run(&target, send, options.json)).await,
        None if terminal::is_available() && !options.json => {
            let routers = target.routers.iter().map(ToString::to_string);
            setup.router = routers.collect::<Vec<_>>().join(",");
            Box::pin(event_loop::run(ScreenSource::Live(target), setup, parts)).await
        }
        _ => watch::run(target, options.link.as_deref(), options.json).await,
    }
}

/// Finds the routers and the key: those that are said, or those of a router that this desk has logged in to.
fn target(options: &Options) -> anyhow::Result<RouterTarget> {
    let said = &options.router;
    let known = match Routers::open() {
        // An address needs no list.
        Err(error) if !said.is_empty() => {
            say(&format!("{error:#}"));
            Routers::default()
        }
        known => known?,
    };
    let (routers, own_key) = match known.find(said).cloned() {
        Some(KnownRouter { name, address }) => {
            let own_key = known.key_file(&name);
            if options.task.is_none() && !said.is_empty() && terminal::is_available() {
                let _ = known.use_first(&name);
            }
            (vec![address], Some(own_key))
        }
        None if said.is_empty() => {
            let why = "which router? Say --router HOST:PORT, or log in to one: p2p-console login INVITATION, which `p2p-router key add NAME --role drive --invite` prints there";
            return Err(Failure::usage(why).into());
        }
        None => (said.iter().map(|it| it.address.clone()).collect(), None),
    };
    let routers = reconnect::distinct(routers);
    let is_said = options.common.key_file.is_some() || key::is_in_environment();
    let key_file = (options.common.key_file.clone()).or(own_key.filter(|_| !is_said));
    Ok(RouterTarget {
        routers: routers.map_err(|why| Failure::usage(format!("--router: {why}")))?,
        key: key::load(key_file.as_deref())?,
        open: options.open,
        readonly: options.readonly,
    })
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

//! Runs the router as a process: starts it, restarts it in place at SIGUSR2, ends it at SIGINT or
//! SIGTERM, and reports each to systemd.

use std::pin::pin;

use anyhow::Context;
use p2p_shared::os::{EndSignals, sd_notify, with_causes};
use p2p_shared::{logging, settings};
use tokio::signal::unix::{SignalKind, signal};

use crate::auth::bootstrap_keys;
use crate::auth::certificate::{self, Certificate};
use crate::auth::public_address;
use crate::config::Options;
use crate::net::limits;
use crate::ops::inherited_listeners::{HandedOver, InheritedListeners, ThisProgram};
use crate::ops::signals::Signals;
use crate::server::Router;

/// Runs the router to its end; for a restart, then runs the program in the router's file instead.
///
/// # Errors
/// If the router can't be started, or can't be replaced.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let signals = Signals::note().context("signals")?;
    let Some((program, over)) = serve(options, &signals)? else {
        return Ok(());
    };
    Signals::hold().context("signals")?;
    if signals.end() {
        // A signal to end came after the last loop that waits for signals. No run is open.
        sd_notify::stopping();
        return Ok(());
    }
    Err(program.execute_anew(over))
}

/// Runs the router to its end, or to a restart: then returns the program to run, and what it gets.
#[tokio::main]
async fn serve(
    options: &Options,
    signals: &Signals,
) -> anyhow::Result<Option<(ThisProgram, HandedOver)>> {
    // Found before anybody replaces the file.
    let program = ThisProgram::find().context("what this program is")?;
    let mut restarts = signal(SignalKind::user_defined2()).context("SIGUSR2")?;
    let mut ends = EndSignals::listen().context("SIGINT and SIGTERM")?;
    // Signals that came before somebody waited for them.
    let (is_to_end, mut is_to_restart) = (signals.end(), signals.restart());
    let _logs = logging::start(options.common.log_options("p2p-router"));
    settings::log_start::<Options>("p2p-router");
    limits::raise_open_files();
    let mut router = start(options)?;
    while !is_to_end
        && (std::mem::take(&mut is_to_restart) || ends.before(restarts.recv()).await.is_some())
    {
        sd_notify::reloading();
        // If the new program could not start, the router goes on as it is.
        let Some(checked) = ends.before(program.check()).await else {
            break;
        };
        if let Err(error) = checked {
            let error = with_causes(&error);
            tracing::error!(error, "not restarted: the router goes on as it was");
            sd_notify::ready();
            continue;
        }
        tracing::info!("restarting: running commands have 30 s; the ports stay open");
        let mut handing_over = pin!(router.hand_over(|| !signals.end()));
        let Some(over) = ends.before(&mut handing_over).await else {
            // Open runs keep their time to end; only the restart is given up.
            log_end();
            ends.before(handing_over).await;
            return Ok(None);
        };
        // Checked again: there was time to edit the settings.
        let Some(checked) = ends.before(program.check()).await else {
            log_end();
            return Ok(None);
        };
        let Err(error) = checked else {
            return Ok(Some((program, over)));
        };
        let error = with_causes(&error);
        tracing::error!(
            error,
            "not restarted: the settings have changed meanwhile: the router goes on with those that it had, and the inners come back"
        );
        // Not with the exit code for mistakes in the settings, after which systemd would not start
        // the router again.
        let again = options.config(InheritedListeners::handed_over(over));
        router = again
            .and_then(Router::start)
            .map_err(|error| anyhow::anyhow!("the router can't go on: {}", with_causes(&error)))?;
        sd_notify::ready();
    }
    log_end();
    ends.before(router.shut_down()).await;
    Ok(None)
}

/// Starts the router, and makes the keys of a first start.
fn start(options: &Options) -> anyhow::Result<Router> {
    let config = options.config(InheritedListeners::from_environment())?;
    let (keys, certificate) = (config.keys.clone(), config.certificate.clone());
    if options.allow_plain_http && !options.open {
        tracing::warn!("--allow-plain-http: anybody on the way can read keys and change commands");
    }
    let router = Router::start(config)?;
    let address = options.address(router.address().port());
    // Before anybody is told that it runs, and invites somebody.
    let noted = match &keys {
        Some(_) => public_address::leave_note(
            &options.state_dir()?,
            &address,
            options.service_ports.range(),
        ),
        None => Ok(()),
    };
    if let Err(error) = noted {
        tracing::warn!(%error, "`p2p-router key add` does not learn of this router's address and ports");
    }
    tracing::info!("listening on {}", router.address());
    if let Some(keys) = keys {
        if let Some(warning) = certificate.as_ref().and_then(Certificate::warning)
            && !keys.is_empty()
        {
            tracing::warn!("{warning}");
        }
        if let Err(error) =
            certificate::leave_note(&options.state_dir()?, options.tls_cert.as_deref())
        {
            tracing::warn!(%error, "`p2p-router key add` does not learn of --tls-cert: give it there, too");
        }
        let fingerprint = certificate.as_ref().and_then(Certificate::fingerprint);
        let offered = options.service_ports.range();
        bootstrap_keys::offer(&keys, &address, fingerprint, offered)?;
    } else {
        tracing::warn!("--open: everyone who reaches the ports may run commands");
    }
    sd_notify::ready();
    Ok(router)
}

/// Reports the end of the router to systemd and in the log.
fn log_end() {
    sd_notify::stopping();
    tracing::info!(
        "ending: running commands have 30 s (Ctrl-C, or SIGTERM again after a second, to end at once)"
    );
}

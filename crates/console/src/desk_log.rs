//! Logs what a person at this desk did to a car and was shown of it, for whoever asks later what happened.

use std::time::Duration;

use p2p_shared::names::{CommandName, LinkName, RunId};
use p2p_shared::protocol::{ConsoleToRouter, DriveCommand, Refusal, RouterToConsole, SendEvent};
use p2p_shared::timing::millis_f64;
use tracing::field::display;

use crate::app::App;
use crate::app::contact::{Contact, Silence};
use crate::connection::ConnectionEvent;

#[derive(Debug, Default)]
pub(crate) struct DeskLog {
    silence: Option<Silence>,
    notice: String,
}

impl DeskLog {
    /// Logs a message to a car. Renewals are many and tell nothing.
    pub(crate) fn sent(&self, message: &ConsoleToRouter, app: &App) {
        let name = |port: u16| {
            app.fleet
                .links
                .get(&port)
                .map(|link| link.info.name.clone())
        };
        match message {
            ConsoleToRouter::Drive {
                service_port,
                command,
            } => {
                let link = name(*service_port);
                let link = link.as_ref().map(display);
                match command {
                    DriveCommand::Press { press, command, .. } => {
                        tracing::info!(link, %press, %command, "press");
                    }
                    DriveCommand::Release(press) => tracing::info!(link, %press, "release"),
                    DriveCommand::Stop => tracing::info!(link, "stop"),
                    DriveCommand::Renew { .. } => {}
                }
            }
            ConsoleToRouter::Control {
                service_port,
                request,
            } => {
                let link = name(*service_port);
                tracing::info!(link = link.as_ref().map(display), ?request, "control");
            }
            ConsoleToRouter::Record { service_port, on } => {
                let link = name(*service_port);
                tracing::info!(link = link.as_ref().map(display), on, "record");
            }
            _ => {}
        }
    }

    /// Logs what became of a run that this desk asked for.
    pub(crate) fn heard(&self, event: &ConnectionEvent, app: &App) {
        let ConnectionEvent::Message(message) = event else {
            return;
        };
        if let RouterToConsole::SendEvent { request, event } = &**message
            && let Some(sent) = app.commands.run.as_ref()
            && sent.request == *request
        {
            let link = app.link().map(|link| &link.info.name);
            run_event(link, &sent.command, sent.id, event);
        }
    }

    /// Logs what the screen says of the car, when that changes.
    pub(crate) fn shown(&mut self, app: &App) {
        let link = app.link().map(|link| &link.info.name);
        let link = link.map(display);
        let silence = app.chosen_contact().silence().or(app.router_silence());
        if silence.is_some() != self.silence.is_some() {
            match silence {
                Some(silence) => tracing::info!(link, hop = silence.hop, "no answer"),
                None if app.chosen_contact() == Contact::Answers => {
                    tracing::info!(link, "answers again");
                }
                None => tracing::info!(link, "no connection to the car"),
            }
        }
        self.silence = silence;
        let notice = app.notice.as_ref().map_or("", |notice| &notice.text);
        if notice != self.notice {
            notice.clone_into(&mut self.notice);
            if !notice.is_empty() {
                tracing::info!(link, text = notice, "shown");
            }
        }
    }
}

/// Logs what a router tells of a run that was asked for here, of this car and with this id, if that is known. A run that
/// was refused is not one whose connection was lost.
pub(crate) fn run_event(
    link: Option<&LinkName>,
    command: &CommandName,
    run: Option<RunId>,
    event: &SendEvent,
) {
    let (link, run) = (link.map(display), run.map(display));
    match event {
        SendEvent::Queued { run } => tracing::info!(link, %run, %command, "send"),
        SendEvent::Finished { end, exec_us, .. } => {
            let exec_ms = millis_f64(Duration::from_micros(*exec_us));
            tracing::info!(link, run, %command, exit = %end, exec_ms, "send ended");
        }
        SendEvent::Refused {
            refusal: Some(Refusal::WorkerLost),
            message,
            ..
        } => tracing::info!(link, run, %command, why = %message, "send lost"),
        SendEvent::Refused { message, .. } => {
            tracing::info!(link, run, %command, why = %message, "send refused");
        }
        SendEvent::Lost => {
            let why = "the link to the car was lost";
            tracing::info!(link, run, %command, why, "send lost");
        }
        SendEvent::Started | SendEvent::Output(_) => {}
    }
}

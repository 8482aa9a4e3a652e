//! Logs what a person at this desk did to a car and was shown of it, for whoever asks later what happened.

use p2p_shared::protocol::{ConsoleToRouter, DriveCommand};
use tracing::field::display;

use crate::app::App;
use crate::app::contact::Silence;

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
            _ => {}
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
                None => tracing::info!(link, "answers, or the link is lost"),
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

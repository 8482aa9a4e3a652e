//! Handles a console's messages: each is checked against the console's role, then passed to its
//! car.

use std::sync::Arc;
use std::time::Instant;

use p2p_shared::names::{Argument, CommandName};
use p2p_shared::protocol::{ConsoleToRouter, DriveCommand, RefusedReason, RunSource, SendEvent};
use p2p_shared::websocket::WebSocketError;

use super::{Console, ConsoleEnd};
use crate::car::dispatch::RunRequest;
use crate::car::{Car, Press, Refused};
use crate::client::client_socket::ClientSocket;
use crate::client::runs::{self, failed};
use crate::http::query::MAX_ARGUMENTS;
use crate::net::limits;
use crate::net::quota::QuotaPermit;
use crate::run::error::RunError;
use crate::run::record::NewRun;

impl<W: ClientSocket> Console<'_, W> {
    pub(super) fn on_message(&mut self, message: ConsoleToRouter) -> Result<(), ConsoleEnd> {
        if self.is_too_much(&message) {
            self.context.metrics.over_quota.inc();
            return Ok(self.refuse_too_much(&message)?);
        }
        let mut pressed = None;
        let refused = match message {
            ConsoleToRouter::Hello { .. } => {
                let why = "the console said hello twice".to_owned();
                return Err(ConsoleEnd::ProtocolViolation(why));
            }
            ConsoleToRouter::Send {
                request,
                service_port,
                command,
                arguments,
                for_ms,
            } => {
                let wanted = self.run_request(command, arguments, for_ms);
                return Ok(self.on_send(request, service_port, wanted)?);
            }
            ConsoleToRouter::Window { request, more } => {
                self.runs.grant(request, more);
                Ok(())
            }
            ConsoleToRouter::Cancel { request } => {
                self.runs.cancel(request);
                Ok(())
            }
            ConsoleToRouter::ListCommands {
                request,
                service_port,
            } => {
                self.on_list_commands(request, service_port);
                Ok(())
            }
            ConsoleToRouter::AskRun {
                request,
                service_port,
                run,
            } => {
                self.on_ask_run(request, service_port, run);
                Ok(())
            }
            ConsoleToRouter::Watch { service_port } => {
                // A console that may not drive needs no ticks.
                self.watched = service_port.filter(|_| self.person.role.may_run());
                self.presence.watch(service_port);
                Ok(())
            }
            ConsoleToRouter::Control {
                service_port,
                request,
            } => self.check_may_run("drive").and_then(|()| {
                self.car(service_port)?
                    .request_control(&self.person, request)
            }),
            ConsoleToRouter::Drive {
                service_port,
                command,
            } => {
                if let DriveCommand::Press { press, .. } = &command {
                    pressed = Some(*press);
                }
                self.on_drive(service_port, command)
            }
        };
        match refused {
            Ok(()) => Ok(()),
            Err(refused) => Ok(self.refuse(pressed, refused)?),
        }
    }

    fn on_drive(&self, service_port: u16, command: DriveCommand) -> Result<(), Refused> {
        // Renewals and releases count only for the driver. Nobody is told when they don't count: they
        // come many times a second.
        let shown = || self.context.registry.shown(service_port);
        match command {
            DriveCommand::Press {
                press,
                command,
                tick_ms,
            } => {
                self.check_may_run("drive")?;
                let press = Press {
                    id: press,
                    command,
                    tick_ms,
                };
                let run = self.context.run_ids.next();
                self.car(service_port)?.press(&self.person, press, run)?;
            }
            DriveCommand::Renew { press, tick_ms } => {
                if let Some(car) = shown() {
                    car.renew(self.person.driver.session, press, tick_ms);
                }
            }
            DriveCommand::Release(press) => {
                if let Some(car) = shown() {
                    car.release(self.person.driver.session, press);
                }
            }
            DriveCommand::Stop => {
                let car = self.car(service_port)?;
                car.stop(&self.person.driver.name, self.person.from)?;
            }
        }
        Ok(())
    }

    /// Whether the consoles of this key ask for more than they may. A stop is never too much, nor what
    /// ends something.
    fn is_too_much(&self, message: &ConsoleToRouter) -> bool {
        let is_stop = match message {
            ConsoleToRouter::Send {
                service_port,
                command,
                ..
            } => {
                let car = self.context.registry.shown(*service_port);
                car.is_some_and(|car| car.is_stop(command))
            }
            ConsoleToRouter::Drive { command, .. } => {
                matches!(command, DriveCommand::Stop | DriveCommand::Release(_))
            }
            ConsoleToRouter::Cancel { .. } | ConsoleToRouter::Window { .. } => true,
            ConsoleToRouter::Hello { .. }
            | ConsoleToRouter::ListCommands { .. }
            | ConsoleToRouter::AskRun { .. }
            | ConsoleToRouter::Watch { .. }
            | ConsoleToRouter::Control { .. } => false,
        };
        !is_stop && !self.permit.may_ask(limits::REQUESTS_A_SECOND)
    }

    /// Refuses a message that is too much. A renewal that is dropped ends its press by itself, and needs
    /// no answer; a console that asks on without reading gets none, or it would be closed, and its stop
    /// not heard.
    fn refuse_too_much(&mut self, message: &ConsoleToRouter) -> Result<(), WebSocketError> {
        let message_for_people = format!(
            "the consoles of this key send more than {} requests a second: this one was not done",
            limits::REQUESTS_A_SECOND
        );
        match message {
            _ if !self.socket.has_room() => Ok(()),
            ConsoleToRouter::Drive {
                command: DriveCommand::Renew { .. },
                ..
            } => Ok(()),
            ConsoleToRouter::Send { request, .. } => {
                self.send(*request, failed(RunError::TooMuch(message_for_people)))
            }
            other => {
                let press = match other {
                    ConsoleToRouter::Drive {
                        command: DriveCommand::Press { press, .. },
                        ..
                    } => Some(*press),
                    _ => None,
                };
                self.refuse(
                    press,
                    Refused::new(RefusedReason::Denied, message_for_people),
                )
            }
        }
    }

    fn car(&self, service_port: u16) -> Result<Arc<Car>, Refused> {
        let car = self.context.registry.shown(service_port);
        car.ok_or_else(|| {
            let message = format!("no car has the service port {service_port}");
            Refused::new(RefusedReason::Offline, message)
        })
    }

    fn run_request(
        &self,
        command: CommandName,
        arguments: Vec<Argument>,
        for_ms: Option<u64>,
    ) -> RunRequest {
        RunRequest {
            command,
            arguments,
            stdin: bytes::Bytes::new(),
            for_ms,
            by: self.person.driver.name.clone(),
            from: self.person.from,
        }
    }

    fn on_send(
        &mut self,
        request: u64,
        service_port: u16,
        wanted: RunRequest,
    ) -> Result<(), WebSocketError> {
        let begun = Instant::now();
        let run = self.context.run_ids.next();
        let rejected = |status, refused: Refused| {
            failed(RunError::Rejected {
                status,
                reason: Some(refused.reason),
                message: refused.message,
            })
        };
        let car = match self.car(service_port) {
            Ok(car) => car,
            Err(refused) => return self.send(request, rejected(503, refused)),
        };
        let is_stop = car.is_stop(&wanted.command);
        if !is_stop && let Err(refused) = self.check_may_run("run commands") {
            return self.send(request, rejected(403, refused));
        }
        let mut record = car.record(&NewRun {
            run,
            command: &wanted.command,
            arguments: &wanted.arguments,
            source: RunSource::Send,
            from: self.person.from,
            key: &self.person.key,
            begun,
        });
        self.send(request, SendEvent::Queued { run })?;
        let dispatched = match self.check_send(request, &wanted, is_stop) {
            Ok(permit) => {
                if let Some(permit) = permit {
                    record.counts(permit);
                }
                car.dispatch(wanted, record, &self.context.shutdown)
            }
            Err(error) => {
                record.fail(&error);
                Err(error)
            }
        };
        match dispatched {
            Ok(run) => {
                self.runs.insert(request, run);
                Ok(())
            }
            Err(error) => self.send(request, failed(error)),
        }
    }

    /// Checks a console's run before it is dispatched. Returns its part in the runs that its key may have
    /// open; a stop needs none.
    fn check_send(
        &self,
        request: u64,
        wanted: &RunRequest,
        is_stop: bool,
    ) -> Result<Option<QuotaPermit>, RunError> {
        let bad = |message: String| RunError::Rejected {
            status: 400,
            reason: None,
            message,
        };
        if self.runs.has(request) {
            return Err(bad(
                "this console has a run of that number already".to_owned()
            ));
        }
        if wanted.arguments.len() > MAX_ARGUMENTS {
            let message = format!("more than {MAX_ARGUMENTS} arguments: nothing was run");
            return Err(bad(message));
        }
        if is_stop {
            return Ok(None);
        }
        if self.runs.is_full() {
            let message = format!("this console has {} runs open: wait for one", runs::OPEN);
            return Err(RunError::TooMuch(message));
        }
        let permit = self.context.quotas.runs.take(self.permit.owner());
        permit.map(Some).ok_or(RunError::OverQuota)
    }
}

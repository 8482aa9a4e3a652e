//! Handles a console's messages: each is checked against the console's role, then passed to its
//! car.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use p2p_shared::protocol::{
    ConsoleToRouter, DriveCommand, PressId, RefusedReason, RunSource, SendEvent,
};
use p2p_shared::timing;
use p2p_shared::websocket::WebSocketError;

use super::{ClientEnd, Console, refusal};
use crate::car::{Car, Refused};
use crate::client::runs::{self, failed};
use crate::net::limits;
use crate::net::quota::QuotaPermit;
use crate::run::NewRun;
use crate::run::error::RunError;

impl Console<'_> {
    pub(super) fn on_message(&mut self, message: ConsoleToRouter) -> Result<(), ClientEnd> {
        if self.is_too_much(&message) {
            self.context.metrics.over_quota.inc();
            return Ok(self.refuse_too_much(&message)?);
        }
        let message = match &mut self.elsewhere {
            Some(elsewhere) => elsewhere.pass(message),
            None => Some(message),
        };
        match message {
            Some(ConsoleToRouter::Again) if self.via.is_none() => {
                let why = "only another router asks for all again".to_owned();
                Err(ClientEnd::Refused(why))
            }
            Some(message) => self.do_here(message),
            None => Ok(()),
        }
    }

    /// Does what is asked of this router.
    pub(super) fn do_here(&mut self, message: ConsoleToRouter) -> Result<(), ClientEnd> {
        match message {
            ConsoleToRouter::Again => self.take_new_snapshot(0),
            ConsoleToRouter::Hello { .. } => {
                let why = "the console said hello twice".to_owned();
                return Err(ClientEnd::Refused(why));
            }
            ConsoleToRouter::Send {
                request,
                service_port,
                command,
                arguments,
                for_ms,
            } => {
                let new = NewRun {
                    run: self.context.next_run(),
                    command,
                    arguments,
                    stdin: Bytes::new(),
                    for_ms,
                    source: RunSource::Send,
                    by: self.person.driver.name.clone(),
                    key: self.person.key.clone(),
                    from: self.person.from,
                    begun: timing::now(),
                };
                self.on_send(request, service_port, new)?;
            }
            ConsoleToRouter::Window { request, more } => self.runs.grant(request, more),
            ConsoleToRouter::Cancel { request } => self.runs.cancel(request),
            ConsoleToRouter::ListCommands {
                request,
                service_port,
            } => self.on_list_commands(request, service_port),
            ConsoleToRouter::AskRun {
                request,
                service_port,
                run,
            } => self.on_ask_run(request, service_port, run),
            ConsoleToRouter::AskPast {
                request,
                service_port,
                last_ms,
                log,
            } => {
                let last = Duration::from_millis(last_ms.min(limits::LONGEST_PAST_MS));
                self.on_ask_past(request, service_port, last, log);
            }
            ConsoleToRouter::Watch { service_port } => {
                // A console that may not drive needs no ticks.
                self.watched = self.guard.watch(service_port);
                if let Some(elsewhere) = &mut self.elsewhere {
                    elsewhere.watch(self.watched);
                }
            }
            ConsoleToRouter::Control {
                service_port,
                request,
            } => {
                let done = self.check_may_run("drive").and_then(|()| {
                    self.car(service_port)?
                        .request_control(&self.person, request)
                });
                if let Err(refused) = done {
                    self.socket.push(refusal(None, refused))?;
                }
            }
            ConsoleToRouter::Record { service_port, on } => {
                let asked = self
                    .check_may_run("record")
                    .and_then(|()| self.car(service_port)?.ask_to_record(&self.person, on));
                if let Err(refused) = asked {
                    self.socket.push(refusal(None, refused))?;
                }
            }
            ConsoleToRouter::Drive {
                service_port,
                command,
            } => {
                let press = press_of(&command);
                if let Err(refused) = self.on_drive(service_port, command) {
                    self.socket.push(refusal(press, refused))?;
                }
            }
        }
        Ok(())
    }

    fn on_drive(&self, service_port: u16, command: DriveCommand) -> Result<(), Refused> {
        let driver = &self.person.driver;
        let shown = || self.guard.car(service_port);
        match command {
            DriveCommand::Press {
                press,
                command,
                tick_ms,
            } => {
                self.check_may_run("drive")?;
                let run = self.context.next_run();
                let car = self.car(service_port)?;
                car.press(&self.person, press, command, tick_ms, run)
            }
            DriveCommand::Stop => self
                .car(service_port)?
                .stop(driver.name.clone(), self.person.from),
            // Renewals and releases count only for the driver. They come many times a second: no
            // answer says that they don't count.
            DriveCommand::Renew { press, tick_ms } => {
                if let Some(car) = shown() {
                    car.renew(driver.session, press, tick_ms);
                }
                Ok(())
            }
            DriveCommand::Release(press) => {
                if let Some(car) = shown() {
                    car.release(driver.session, press);
                }
                Ok(())
            }
        }
    }

    /// Returns true if the consoles of this key ask for more than they may. A stop is never too much,
    /// nor is a message that ends something.
    fn is_too_much(&self, message: &ConsoleToRouter) -> bool {
        let is_free = match message {
            ConsoleToRouter::Send {
                service_port,
                command,
                ..
            } => {
                let car = self.guard.car(*service_port);
                car.is_some_and(|car| car.is_stop(command))
                    || (self.elsewhere.as_ref()).is_some_and(|it| it.is_stop(message))
            }
            ConsoleToRouter::Drive { command, .. } => {
                matches!(command, DriveCommand::Stop | DriveCommand::Release(_))
                    || (self.via.is_some() && matches!(command, DriveCommand::Renew { .. }))
            }
            // The router that the console came by has counted it, and asks once.
            ConsoleToRouter::Watch { .. } | ConsoleToRouter::Again => self.via.is_some(),
            ConsoleToRouter::Cancel { .. } | ConsoleToRouter::Window { .. } => true,
            _ => false,
        };
        !is_free && !self.permit.may_ask(limits::REQUESTS_A_SECOND)
    }

    /// Refuses a message beyond the limit. A dropped renewal needs no answer: its press ends by
    /// itself. A console that doesn't read gets no answer: answers would close its connection, and
    /// its stop would not be heard.
    fn refuse_too_much(&mut self, message: &ConsoleToRouter) -> Result<(), WebSocketError> {
        if !self.socket.has_room() {
            return Ok(());
        }
        let sentence = format!(
            "the consoles of this key send more than {} requests a second: this one was not done",
            limits::REQUESTS_A_SECOND
        );
        let press = match message {
            ConsoleToRouter::Send { request, .. } => {
                return self.send(*request, failed(RunError::TooMuch(sentence)));
            }
            ConsoleToRouter::Drive {
                command: DriveCommand::Renew { .. },
                ..
            } => return Ok(()),
            ConsoleToRouter::Drive { command, .. } => press_of(command),
            _ => None,
        };
        let refused = Refused::new(RefusedReason::Denied, sentence);
        self.socket.push(refusal(press, refused))
    }

    fn car(&self, service_port: u16) -> Result<Arc<Car>, Refused> {
        let car = self.guard.car(service_port);
        car.ok_or_else(|| {
            let message = format!("no car has the service port {service_port}");
            Refused::new(RefusedReason::Offline, message)
        })
    }

    fn on_send(
        &mut self,
        request: u64,
        service_port: u16,
        new: NewRun,
    ) -> Result<(), WebSocketError> {
        let (car, is_stop) = match self.car_to_run(service_port, &new) {
            Ok(car) => car,
            Err(error) => return self.send(request, failed(error)),
        };
        let mut record = car.record(&new);
        let own = new.run;
        self.send(request, SendEvent::Queued { run: own })?;
        let dispatched = match self.check_send(request, is_stop) {
            Ok(permit) => {
                record.permit = permit;
                car.dispatch(new, record, &self.context.shutdown)
            }
            Err(error) => {
                record.fail(&error);
                Err(error)
            }
        };
        match dispatched {
            Ok(run) => {
                let answers = run.handle.answers();
                if answers != own {
                    // The car knows this run, and not the console's own.
                    self.send(request, SendEvent::Queued { run: answers })?;
                }
                match self.runs.insert(request, is_stop, run) {
                    Some(request) => self.send(request, SendEvent::Lost),
                    None => Ok(()),
                }
            }
            Err(error) => self.send(request, failed(error)),
        }
    }

    /// Returns the car for this run, and true if that is of the car's stop command. A stop needs no
    /// role, unless it has arguments: who may only stop gives the command nothing to act on.
    fn car_to_run(&self, service_port: u16, new: &NewRun) -> Result<(Arc<Car>, bool), RunError> {
        let rejected = |status| {
            move |refused: Refused| RunError::Rejected {
                status,
                reason: Some(refused.reason),
                message: refused.message,
            }
        };
        let car = self.car(service_port).map_err(rejected(503))?;
        let is_stop = car.is_stop(&new.command);
        if !is_stop || !new.arguments.is_empty() {
            self.check_may_run("run commands").map_err(rejected(403))?;
        }
        Ok((car, is_stop))
    }

    /// Checks a console's run before it is dispatched. Returns its permit among the runs that its key
    /// may have open; a stop needs none.
    fn check_send(&self, request: u64, is_stop: bool) -> Result<Option<QuotaPermit>, RunError> {
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

/// Returns the press that this command begins, if any.
fn press_of(command: &DriveCommand) -> Option<PressId> {
    match command {
        DriveCommand::Press { press, .. } => Some(*press),
        _ => None,
    }
}

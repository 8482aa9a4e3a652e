//! Owns what a console's messages come to: each checked against its role, then passed to its car.

use std::time::Instant;

use p2p_shared::names::{Argument, CommandName};
use p2p_shared::protocol::{ConsoleToRouter, Refusal, RefusedReason, RunSource, SendEvent};
use p2p_shared::timing;
use p2p_shared::websocket::WebSocketError;

use crate::car::{AdmissionError, Car, Press, Refused};
use crate::client::client_socket::ClientSocket;
use crate::client::runs;
use crate::client::task::{Console, ConsoleEnd};
use crate::http::query::MAX_ARGUMENTS;
use crate::link::handle::QueueError;
use crate::link::handle::RunHandle;
use crate::net::limits;
use crate::net::quota::QuotaPermit;
use crate::run::RunKind;
use crate::run::RunOrder;
use crate::run::record::NewRun;

/// A command that a console wants run.
struct Send {
    service_port: u16,
    command: CommandName,
    arguments: Vec<Argument>,
    for_ms: Option<u64>,
}

/// Why a run did not even reach its link: the status that it would have been answered with.
struct NotSent {
    status: u16,
    refusal: Option<Refusal>,
    reason: Option<RefusedReason>,
    message: String,
}

impl NotSent {
    fn because(status: u16, reason: Option<RefusedReason>, message: impl Into<String>) -> Self {
        Self {
            status,
            refusal: None,
            reason,
            message: message.into(),
        }
    }
}

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
                let send = Send {
                    service_port,
                    command,
                    arguments,
                    for_ms,
                };
                return Ok(self.on_send(request, send)?);
            }
            ConsoleToRouter::Window { request, more } => {
                self.sends.grant(request, more);
                Ok(())
            }
            ConsoleToRouter::Cancel { request } => {
                self.sends.cancel(request);
                Ok(())
            }
            ConsoleToRouter::ListCommands {
                request,
                service_port,
            } => return Ok(self.on_list_commands(request, service_port)?),
            ConsoleToRouter::AskRun {
                request,
                service_port,
                run,
            } => {
                self.on_ask_run(request, service_port, run);
                Ok(())
            }
            ConsoleToRouter::Watch { service_port } => {
                // Who may not drive needs no ticks.
                self.watched = service_port.filter(|_| self.person.role.may_run());
                self.presence.watch(service_port);
                Ok(())
            }
            ConsoleToRouter::Control { service_port, wish } => self
                .check_may_run("drive")
                .and_then(|()| self.car(service_port)?.request_control(&self.person, wish)),
            ConsoleToRouter::Press {
                service_port,
                press,
                command,
                tick_ms,
            } => {
                pressed = Some(press);
                self.check_may_run("drive").and_then(|()| {
                    let press = Press {
                        id: press,
                        command,
                        tick_ms,
                    };
                    let run = self.context.run_ids.next();
                    self.car(service_port)?.press(&self.person, press, run)
                })
            }
            // These two count only for who has control, and nobody needs to hear of it when they
            // don't: they come many times a second.
            ConsoleToRouter::Renew {
                service_port,
                press,
                tick_ms,
            } => {
                if let Some(car) = self.context.registry.shown(service_port) {
                    car.renew(self.person.driver.session, press, tick_ms);
                }
                Ok(())
            }
            ConsoleToRouter::Release {
                service_port,
                press,
            } => {
                if let Some(car) = self.context.registry.shown(service_port) {
                    car.release(self.person.driver.session, press);
                }
                Ok(())
            }
            ConsoleToRouter::Stop { service_port } => self
                .car(service_port)
                .and_then(|car| car.stop(&self.person.driver.name, self.person.from)),
        };
        match refused {
            Ok(()) => Ok(()),
            Err(refused) => Ok(self.refuse(pressed, refused)?),
        }
    }

    /// Whether the consoles of this key ask for more than they may. A stop never is, nor what
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
            ConsoleToRouter::Stop { .. }
            | ConsoleToRouter::Release { .. }
            | ConsoleToRouter::Cancel { .. }
            | ConsoleToRouter::Window { .. } => true,
            ConsoleToRouter::Hello { .. }
            | ConsoleToRouter::ListCommands { .. }
            | ConsoleToRouter::AskRun { .. }
            | ConsoleToRouter::Watch { .. }
            | ConsoleToRouter::Control { .. }
            | ConsoleToRouter::Press { .. }
            | ConsoleToRouter::Renew { .. } => false,
        };
        !is_stop && !self.permit.may_ask(limits::REQUESTS_A_SECOND)
    }

    /// A renewal that is not heard ends its press by itself, and nobody has to be told; nor is
    /// who asks on without reading: it would be closed for it, and its stop not heard.
    fn refuse_too_much(&mut self, message: &ConsoleToRouter) -> Result<(), WebSocketError> {
        let message_for_people = format!(
            "the consoles of this key ask for more than {} things a second: it was not done",
            limits::REQUESTS_A_SECOND
        );
        match message {
            _ if !self.socket.has_room() => Ok(()),
            ConsoleToRouter::Renew { .. } => Ok(()),
            ConsoleToRouter::Send { request, .. } => {
                let not_sent = NotSent {
                    refusal: Some(Refusal::Busy),
                    ..NotSent::because(429, None, message_for_people)
                };
                self.tell(*request, not_sent.into())
            }
            other => {
                let press = match other {
                    ConsoleToRouter::Press { press, .. } => Some(*press),
                    _ => None,
                };
                let refused = Refused {
                    reason: RefusedReason::Denied,
                    message: message_for_people,
                };
                self.refuse(press, refused)
            }
        }
    }

    fn car(&self, service_port: u16) -> Result<std::sync::Arc<Car>, Refused> {
        let car = self.context.registry.shown(service_port);
        car.ok_or_else(|| Refused {
            reason: RefusedReason::Offline,
            message: format!("no car has the service port {service_port}"),
        })
    }

    fn on_send(&mut self, request: u64, send: Send) -> Result<(), WebSocketError> {
        let begun = Instant::now();
        let run = self.context.run_ids.next();
        let car = match self.car(send.service_port) {
            Ok(car) => car,
            Err(Refused { reason, message }) => {
                let not_sent = NotSent::because(503, Some(reason), message);
                return self.tell(request, not_sent.into());
            }
        };
        if !car.is_stop(&send.command)
            && let Err(Refused { reason, message }) = self.check_may_run("run commands")
        {
            let not_sent = NotSent::because(403, Some(reason), message);
            return self.tell(request, not_sent.into());
        }
        let wanted = NewRun {
            run,
            command: &send.command,
            arguments: &send.arguments,
            source: RunSource::Send,
            from: self.person.from,
            key: &self.person.key,
            begun,
        };
        let mut record = car.record(&wanted);
        let order = RunOrder {
            run,
            command: send.command,
            arguments: send.arguments,
            stdin: bytes::Bytes::new(),
            remote_addr: self.person.from.ip().to_string(),
            kind: RunKind::Plain,
            asked: timing::now(),
        };
        self.tell(request, SendEvent::Queued { run })?;
        // Before it is looked at whether the router is going down: who comes through is waited for.
        let token = self.context.shutdown.open_runs.token();
        match self.begin(request, &car, order, send.for_ms) {
            Ok((handle, permit)) => {
                record.counts(permit);
                self.sends.insert(request, handle, record, token);
                Ok(())
            }
            Err(not_sent) => {
                record.finish(not_sent.status, &not_sent.message);
                self.tell(request, not_sent.into())
            }
        }
    }

    fn begin(
        &self,
        request: u64,
        car: &Car,
        mut order: RunOrder,
        for_ms: Option<u64>,
    ) -> Result<(RunHandle, Option<QuotaPermit>), NotSent> {
        if self.sends.has(request) {
            let message = "this console has a run of that number already";
            return Err(NotSent::because(400, None, message));
        }
        if order.arguments.len() > MAX_ARGUMENTS {
            let message = format!("more than {MAX_ARGUMENTS} arguments: nothing was run");
            return Err(NotSent::because(400, None, message));
        }
        order.kind = car.admit(&order.command, for_ms)?;
        let is_stop = order.kind == RunKind::Stop;
        if is_stop {
            car.stop_by_run(&self.person.driver.name, self.person.from, order.run);
        } else if self.context.shutdown.draining.is_cancelled() {
            let message = "the router is restarting: try again in a moment";
            let reason = Some(RefusedReason::Offline);
            return Err(NotSent::because(503, reason, message));
        } else if self.sends.is_full() {
            let message = format!("this console has {} runs open: wait for one", runs::OPEN);
            return Err(NotSent {
                refusal: Some(Refusal::Busy),
                ..NotSent::because(429, None, message)
            });
        }
        let permit = if is_stop {
            None
        } else {
            Some(self.run_permit()?)
        };
        let Some(link) = car.link() else {
            let message = format!(
                "{} is not connected to the router: nothing was run",
                car.name()
            );
            let reason = Some(RefusedReason::Offline);
            return Err(NotSent::because(503, reason, message));
        };
        Ok((link.begin(order)?, permit))
    }

    /// Its part in the runs that its key may have open.
    fn run_permit(&self) -> Result<QuotaPermit, NotSent> {
        self.context
            .quotas
            .runs
            .take(self.permit.owner())
            .ok_or_else(|| {
                self.context.metrics.over_quota.inc();
                let message = format!(
                    "{} runs of this key are open, which is all it may: wait for one",
                    limits::RUNS
                );
                NotSent {
                    refusal: Some(Refusal::Busy),
                    ..NotSent::because(429, None, message)
                }
            })
    }
}

impl From<AdmissionError> for NotSent {
    fn from(why: AdmissionError) -> Self {
        let (status, reason) = match why {
            AdmissionError::Driven(_) => (409, Some(RefusedReason::Locked)),
            AdmissionError::ForNoMotion | AdmissionError::ForTooLong(_) => (400, None),
        };
        Self::because(status, reason, why.to_string())
    }
}

impl From<QueueError> for NotSent {
    fn from(why: QueueError) -> Self {
        let (status, refusal, message) = match why {
            QueueError::TooMany => (
                429,
                Refusal::Busy,
                "the router waits for as many runs of this car as it may: try again in a moment",
            ),
            QueueError::Draining => (
                503,
                Refusal::Draining,
                "the car is restarting: try again in a moment",
            ),
        };
        Self {
            refusal: Some(refusal),
            ..Self::because(status, None, message)
        }
    }
}

impl From<NotSent> for SendEvent {
    fn from(not_sent: NotSent) -> Self {
        let NotSent {
            refusal,
            reason,
            message,
            ..
        } = not_sent;
        Self::Refused {
            refusal,
            reason,
            message,
        }
    }
}

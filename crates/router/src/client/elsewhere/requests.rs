//! Passes what a console asks of a car elsewhere on to its router, and answers in its place if that is lost:
//! of a command that was passed on nobody knows then what became of it.

use p2p_shared::bounded::{List, Text};
use p2p_shared::protocol::{
    ConsoleToRouter, DriveCommand, RefusedReason, RouterToConsole, RunAnswer, SendEvent,
};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{CarsElsewhere, LATE, NO_SESSION};
use crate::mesh::id::Start;
use crate::mesh::record::HeldState;

/// Most requests of a console that await answers of other routers.
const OPEN: usize = 1024;

/// Why a router that drains passes no run on.
const DRAINING: &str = "this router is going down: nothing was done; try again at another";

/// A request that another router has.
#[derive(Debug)]
pub(super) struct OpenRequest {
    router: Start,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A run. This router waits for it as it goes down, as for its own.
    Send {
        _token: Option<TaskTrackerToken>,
    },
    List,
    Ask,
}

impl CarsElsewhere {
    /// Passes a message on, if it is about a car elsewhere. Returns it if not.
    pub(crate) fn pass(&mut self, message: ConsoleToRouter) -> Option<ConsoleToRouter> {
        let port = match &message {
            ConsoleToRouter::Window { request, .. } | ConsoleToRouter::Cancel { request } => {
                let Some(router) = self.requests.get(request).map(|it| it.router) else {
                    return Some(message);
                };
                if let ConsoleToRouter::Cancel { request } = message {
                    // No more events of it come.
                    self.requests.remove(&request);
                }
                self.send(router, message);
                return None;
            }
            ConsoleToRouter::Send { service_port, .. }
            | ConsoleToRouter::ListCommands { service_port, .. }
            | ConsoleToRouter::AskRun { service_port, .. }
            | ConsoleToRouter::Control { service_port, .. }
            | ConsoleToRouter::Drive { service_port, .. } => *service_port,
            ConsoleToRouter::Hello { .. }
            | ConsoleToRouter::Watch { .. }
            | ConsoleToRouter::Again => return Some(message),
        };
        let Some(router) = self.router_of(port) else {
            return Some(message);
        };
        let is_stop = self.is_stop(&message);
        let is_draining = self.origin.context.shutdown.draining.is_cancelled();
        if is_draining && !is_stop && matches!(message, ConsoleToRouter::Send { .. }) {
            self.refuse(&message, DRAINING.to_owned());
            return None;
        }
        if let Some((request, kind)) = self.kind(&message) {
            let most = if is_stop { 2 * OPEN } else { OPEN };
            if self.requests.contains_key(&request) || self.requests.len() >= most {
                let why =
                    "this console has a request of that number, or too many, at another router";
                self.refuse(&message, why.to_owned());
                return None;
            }
            self.requests.insert(request, OpenRequest { router, kind });
        }
        if let Some(message) = self.send(router, message) {
            if let Some((request, _)) = self.kind(&message) {
                self.requests.remove(&request);
            }
            let why = self.why_not(port, router);
            self.refuse(&message, why);
        }
        None
    }

    /// The router that has this car, if it is another. The directory says so, which knows of a car that came here
    /// while news of it from there were on the way; what the console was told counts only if it knows nothing.
    fn router_of(&self, port: u16) -> Option<Start> {
        if !self.ports.contains(port) {
            return None;
        }
        let there = self.mesh.holder_elsewhere(port);
        let there = there.filter(|it| it.record.state != HeldState::Kept);
        if let Some(there) = there {
            return Some(there.member.start);
        }
        if self.origin.context.registry.car(port).is_some() {
            return None;
        }
        self.cars.get(&port).map(|car| car.router)
    }

    fn kind(&self, message: &ConsoleToRouter) -> Option<(u64, Kind)> {
        let shutdown = &self.origin.context.shutdown;
        let is_awaited = !shutdown.draining.is_cancelled();
        Some(match message {
            ConsoleToRouter::Send { request, .. } => {
                let _token = is_awaited.then(|| shutdown.open_runs.token());
                (*request, Kind::Send { _token })
            }
            ConsoleToRouter::ListCommands { request, .. } => (*request, Kind::List),
            ConsoleToRouter::AskRun { request, .. } => (*request, Kind::Ask),
            _ => return None,
        })
    }

    /// Sends a message to a router. Returns it if the console has no line there, or one without room.
    fn send(&mut self, to: Start, message: ConsoleToRouter) -> Option<ConsoleToRouter> {
        let router = self.routers.get(&to).filter(|it| it.session != NO_SESSION);
        let Some(line) = router.and_then(|router| router.line.as_ref()) else {
            return Some(message);
        };
        let dropped = match &message {
            ConsoleToRouter::Drive {
                service_port,
                command: DriveCommand::Stop,
            } => line.orders().stop(*service_port),
            ConsoleToRouter::Send { service_port, .. } if self.is_stop(&message) => {
                return line.orders().stop_by_run(*service_port, message);
            }
            _ => return line.orders().push(message),
        };
        for press in dropped {
            self.answer(RouterToConsole::Refused {
                reason: RefusedReason::Offline,
                press: Some(press),
                message: Text::new("it was not sent yet when the car was stopped".to_owned()),
            });
        }
        None
    }

    /// Tells an answer of this or of another router.
    pub(super) fn answer(&mut self, message: RouterToConsole) {
        if let RouterToConsole::Tick { service_port, .. } = &message {
            let port = *service_port;
            self.answers.retain(
                |old| !matches!(old, RouterToConsole::Tick { service_port, .. } if *service_port == port),
            );
        }
        self.answers.push_back(message);
    }

    /// Why nothing can be asked of this car.
    fn why_not(&self, port: u16, router: Start) -> String {
        let is_reached = (self.routers.get(&router))
            .is_some_and(|it| it.line.is_some() && it.session != NO_SESSION);
        if is_reached {
            return "the way to its router is full: this was not done; try again in a moment"
                .to_owned();
        }
        let why = (self.mesh.holder_elsewhere(port)).map(|there| self.why_lost(&there));
        let why = why.unwrap_or_else(|| "its router is not reached".to_owned());
        format!("{why}: nothing was done; try again in a moment")
    }

    /// Refuses what was not passed on. Renewals and releases count only for a driver, who learns by other events
    /// that the car's router is lost.
    /// A console that does not read gets no answer.
    fn refuse(&mut self, message: &ConsoleToRouter, why: String) {
        if self.answers.len() >= LATE {
            return;
        }
        let offline = RefusedReason::Offline;
        let why = Text::new(why);
        let refused = |press| RouterToConsole::Refused {
            reason: offline,
            press,
            message: why.clone(),
        };
        match message {
            ConsoleToRouter::Send { request, .. } => {
                self.answers.push_back(RouterToConsole::SendEvent {
                    request: *request,
                    event: SendEvent::Refused {
                        refusal: None,
                        reason: Some(offline),
                        message: why,
                    },
                });
            }
            ConsoleToRouter::ListCommands { request, .. } => {
                self.answers.push_back(refused(None));
                self.answers.push_back(no_commands(*request));
            }
            ConsoleToRouter::AskRun { request, .. } => self.answers.push_back(away(*request)),
            ConsoleToRouter::Drive { command, .. } => {
                let press = match command {
                    DriveCommand::Press { press, .. } => Some(*press),
                    DriveCommand::Stop => None,
                    DriveCommand::Renew { .. } | DriveCommand::Release(_) => return,
                };
                self.answers.push_back(refused(press));
            }
            _ => self.answers.push_back(refused(None)),
        }
    }

    /// Forgets a request whose last answer this is.
    pub(super) fn answered(&mut self, message: &RouterToConsole) {
        let request = match message {
            RouterToConsole::SendEvent {
                request,
                event: SendEvent::Finished { .. } | SendEvent::Refused { .. } | SendEvent::Lost,
            }
            | RouterToConsole::Commands {
                request,
                more: false,
                ..
            }
            | RouterToConsole::Run { request, .. } => request,
            _ => return,
        };
        self.requests.remove(request);
    }

    /// Ends the requests that a router has, which is lost.
    pub(super) fn requests_lost(&mut self, router: Start) {
        let lost = self
            .requests
            .extract_if(.., |_, open| open.router == router);
        for (request, open) in lost {
            self.answers.push_back(match open.kind {
                Kind::Send { .. } => RouterToConsole::SendEvent {
                    request,
                    event: SendEvent::Lost,
                },
                Kind::List => no_commands(request),
                Kind::Ask => away(request),
            });
        }
    }

    /// Returns true if this is a run of the stop command of a car elsewhere.
    pub(crate) fn is_stop(&self, message: &ConsoleToRouter) -> bool {
        let ConsoleToRouter::Send {
            service_port,
            command,
            ..
        } = message
        else {
            return false;
        };
        (self.cars.get(service_port)).is_some_and(|car| car.stop == *command)
    }
}

fn no_commands(request: u64) -> RouterToConsole {
    RouterToConsole::Commands {
        request,
        commands: List::default(),
        more: false,
    }
}

fn away(request: u64) -> RouterToConsole {
    let answer = RunAnswer::Away;
    RouterToConsole::Run { request, answer }
}

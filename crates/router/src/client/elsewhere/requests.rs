//! Passes what a console asks of a car elsewhere on to its router, and answers in its place if that is lost:
//! of a command that was passed on nobody knows then what became of it.

use p2p_shared::bounded::{List, Text};
use p2p_shared::protocol::{
    ConsoleToRouter, DriveCommand, OutputPiece, PastSource, PressId, RefusedReason,
    RouterToConsole, RunAnswer, SendEvent,
};
use p2p_shared::timing;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::away::KnownMesh;
use super::merge::stop;
use super::{ANSWERS, CarsElsewhere};
use crate::mesh::id::Start;

/// Most requests of a console that await answers of other routers.
const OPEN: usize = 1024;

/// Why a router that drains passes no run on.
const DRAINING: &str = "this router is going down: nothing was done; try again at another";
const TAKEN: &str = "this console has a request of that number, or too many, at another router";
const FULL: &str = "the way to its router is full: this was not done; try again in a moment";

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
        /// The message, of a stop: it goes on with its car.
        stop: Option<Box<ConsoleToRouter>>,
        _token: Option<TaskTrackerToken>,
    },
    List,
    Ask,
    Past,
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
            | ConsoleToRouter::AskPast { service_port, .. }
            | ConsoleToRouter::Control { service_port, .. }
            | ConsoleToRouter::Record { service_port, .. }
            | ConsoleToRouter::Drive { service_port, .. } => *service_port,
            ConsoleToRouter::Hello { .. }
            | ConsoleToRouter::Watch { .. }
            | ConsoleToRouter::Again => return Some(message),
        };
        if !self.ports.contains(port) {
            return Some(message);
        }
        let here = self.mesh.start();
        let place = (self.feed).place(port, &KnownMesh(&self.mesh, &self.routers));
        if message == stop(port) {
            let at = place.unwrap_or(here);
            self.feed.stopped(port, at, timing::now());
        }
        match place.filter(|place| *place != here) {
            Some(router) => self.pass_to(router, port, message),
            None => return Some(message),
        }
        None
    }

    /// Passes a message on to this router, about the car with this port, or refuses it.
    fn pass_to(&mut self, router: Start, port: u16, message: ConsoleToRouter) {
        let is_stop = self.is_stop(&message);
        let shutdown = &self.origin.context.shutdown;
        let is_draining = shutdown.draining.is_cancelled();
        let open = match &message {
            ConsoleToRouter::Send { .. } if is_draining && !is_stop => {
                return self.refuse(&message, DRAINING.to_owned());
            }
            ConsoleToRouter::Send {
                request, arguments, ..
            } => {
                let is_plain = is_stop && arguments.is_empty();
                let stop = is_plain.then(|| Box::new(message.clone()));
                let _token = (!is_draining).then(|| shutdown.open_runs.token());
                Some((*request, Kind::Send { stop, _token }))
            }
            ConsoleToRouter::ListCommands { request, .. } => Some((*request, Kind::List)),
            ConsoleToRouter::AskRun { request, .. } => Some((*request, Kind::Ask)),
            ConsoleToRouter::AskPast { request, .. } => Some((*request, Kind::Past)),
            _ => None,
        };
        let number = open.as_ref().map(|(request, _)| *request);
        if let Some((request, kind)) = open {
            let most = if is_stop { 2 * OPEN } else { OPEN };
            if self.requests.contains_key(&request) || self.requests.len() >= most {
                return self.refuse(&message, TAKEN.to_owned());
            }
            self.requests.insert(request, OpenRequest { router, kind });
        }
        if let Some(message) = self.send(router, message) {
            if let Some(request) = number {
                self.requests.remove(&request);
            }
            let why = self.why_not(port, router);
            self.refuse(&message, why);
        }
    }

    /// Sends a message to a router. Returns it if the console has no line there, or one without room.
    pub(super) fn send(&mut self, to: Start, message: ConsoleToRouter) -> Option<ConsoleToRouter> {
        let is_early = matches!(message, ConsoleToRouter::Watch { .. });
        let router = (self.routers.get(&to)).filter(|it| it.is_reached || is_early);
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
        let why = "it was not sent yet when the car was stopped";
        for press in dropped {
            self.answers.push_back(refused(Some(press), why));
        }
        None
    }

    /// Why nothing can be asked of this car.
    fn why_not(&self, port: u16, router: Start) -> String {
        let mesh = KnownMesh(&self.mesh, &self.routers);
        if mesh.is_reached(router) {
            return FULL.to_owned();
        }
        let why = (self.mesh.holder_elsewhere(port)).map(|there| mesh.why(&there));
        let why = why.unwrap_or_else(|| "its router is not reached".to_owned());
        format!("{why}: nothing was done; try again in a moment")
    }

    /// Refuses what was not passed on. Renewals and releases count only for a driver, who learns by other events
    /// that the car's router is lost.
    /// A console that does not read gets no answer.
    fn refuse(&mut self, message: &ConsoleToRouter, why: String) {
        if self.answers.len() >= ANSWERS {
            return;
        }
        let press = match message {
            ConsoleToRouter::Send { request, .. } => {
                let event = SendEvent::Refused {
                    refusal: None,
                    reason: Some(RefusedReason::Offline),
                    message: Text::new(why),
                };
                return self.answers.push_back(send_event(*request, event));
            }
            ConsoleToRouter::AskRun { request, .. } => {
                return self.answers.push_back(away(*request));
            }
            ConsoleToRouter::AskPast { request, .. } => {
                return self.answers.push_back(no_past(*request));
            }
            ConsoleToRouter::Drive { command, .. } => match command {
                DriveCommand::Press { press, .. } => Some(*press),
                DriveCommand::Stop => None,
                DriveCommand::Renew { .. } | DriveCommand::Release(_) => return,
            },
            _ => None,
        };
        self.answers.push_back(refused(press, &why));
        if let ConsoleToRouter::ListCommands { request, .. } = message {
            self.answers.push_back(no_commands(*request));
        }
    }

    /// Takes in an answer of another router. A stop that it refuses, as it does not have the car any more, goes on to
    /// the one that has it.
    pub(super) fn answered(&mut self, from: Start, message: RouterToConsole) {
        let offline = Some(RefusedReason::Offline);
        match &message {
            RouterToConsole::Refused {
                reason: RefusedReason::Offline,
                press: None,
                ..
            } => {
                let mesh = KnownMesh(&self.mesh, &self.routers);
                if let Some((port, place)) = self.feed.stop_refused(from, &mesh) {
                    return self.go_on(place, port, stop(port));
                }
            }
            RouterToConsole::SendEvent { request, event } => {
                let is_over = matches!(
                    event,
                    SendEvent::Finished { .. } | SendEvent::Refused { .. } | SendEvent::Lost
                );
                let open = is_over.then(|| self.requests.remove(request)).flatten();
                if let SendEvent::Refused { reason, .. } = event
                    && *reason == offline
                    && let Some(Kind::Send {
                        stop: Some(stop), ..
                    }) = open.map(|open| open.kind)
                    && let ConsoleToRouter::Send { service_port, .. } = &*stop
                {
                    let port = *service_port;
                    let mesh = KnownMesh(&self.mesh, &self.routers);
                    if let Some(place) = self.feed.place(port, &mesh).filter(|it| *it != from) {
                        return self.go_on(place, port, *stop);
                    }
                }
            }
            RouterToConsole::Commands {
                request,
                more: false,
                ..
            }
            | RouterToConsole::Past {
                request,
                more: false,
                ..
            }
            | RouterToConsole::Run { request, .. } => {
                self.requests.remove(request);
            }
            RouterToConsole::Tick { service_port, .. } => {
                let port = *service_port;
                (self.answers).retain(|old| !matches!(old, RouterToConsole::Tick { service_port, .. } if *service_port == port));
            }
            _ => {}
        }
        self.answers.push_back(message);
    }

    fn go_on(&mut self, place: Start, port: u16, message: ConsoleToRouter) {
        match place == self.mesh.start() {
            true => self.feed.ask_here(message),
            false => self.pass_to(place, port, message),
        }
    }

    /// Ends the requests that a router has, which is lost.
    pub(super) fn requests_lost(&mut self, router: Start) {
        let lost = (self.requests).extract_if(.., |_, open| open.router == router);
        for (request, open) in lost {
            self.answers.push_back(match open.kind {
                Kind::Send { .. } => send_event(request, SendEvent::Lost),
                Kind::List => no_commands(request),
                Kind::Ask => away(request),
                Kind::Past => no_past(request),
            });
        }
    }

    /// Returns true if this is a run of the stop command of a car elsewhere.
    pub(crate) fn is_stop(&self, message: &ConsoleToRouter) -> bool {
        match message {
            ConsoleToRouter::Send {
                service_port,
                command,
                ..
            } => self.feed.is_stop(*service_port, command),
            _ => false,
        }
    }
}

fn refused(press: Option<PressId>, why: &str) -> RouterToConsole {
    RouterToConsole::Refused {
        reason: RefusedReason::Offline,
        press,
        message: Text::new(why.to_owned()),
    }
}

fn send_event(request: u64, event: SendEvent) -> RouterToConsole {
    RouterToConsole::SendEvent { request, event }
}

fn no_commands(request: u64) -> RouterToConsole {
    RouterToConsole::Commands {
        request,
        commands: List::default(),
        more: false,
    }
}

/// The end of an answer of which nothing more comes.
fn no_past(request: u64) -> RouterToConsole {
    RouterToConsole::Past {
        request,
        source: PastSource::Car,
        lines: OutputPiece::default(),
        more: false,
    }
}

fn away(request: u64) -> RouterToConsole {
    let answer = RunAnswer::Away;
    RouterToConsole::Run { request, answer }
}

//! Owns what waits for a line: a stop goes ahead of all, and drops the presses before it; of several renewals,
//! releases or choices of a car only the newest is kept. So there is a bound, and a full queue concerns no stop.

use std::collections::{BTreeSet, VecDeque};

use p2p_shared::protocol::{ConsoleToRouter, DriveCommand, PressId};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Most requests that wait for the line.
const ORDERS: usize = 64;
/// Most bytes of arguments that wait for it.
const BYTES: usize = 256 * 1024;
/// Most runs of stop commands that wait for it, or were sent while it has no room.
const STOP_RUNS: usize = 16;

/// Orders that wait for a line.
#[derive(Debug, Default)]
pub(super) struct Orders {
    waiting: Mutex<Waiting>,
    come: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The cars that are to be stopped.
    stops: BTreeSet<u16>,
    stop_runs: VecDeque<ConsoleToRouter>,
    rest: VecDeque<ConsoleToRouter>,
    /// Stops that were sent without room: another one says no more.
    sent_stops: BTreeSet<u16>,
    sent_runs: usize,
    is_closed: bool,
}

impl Orders {
    /// Queues a stop, ahead of everything. Returns the presses that waited, which are dropped.
    pub(super) fn stop(&self, port: u16) -> Vec<PressId> {
        let mut waiting = self.waiting.lock();
        waiting.stops.insert(port);
        self.come.notify_one();
        waiting.drop_presses(port)
    }

    /// Queues a run of the stop command. One too many is returned: then its car is stopped by others, or by the
    /// stop that this queues in its place.
    pub(super) fn stop_by_run(&self, port: u16, run: ConsoleToRouter) -> Option<ConsoleToRouter> {
        let mut waiting = self.waiting.lock();
        self.come.notify_one();
        if waiting.stop_runs.len() >= STOP_RUNS {
            waiting.stops.insert(port);
            return Some(run);
        }
        waiting.stop_runs.push_back(run);
        None
    }

    /// Queues something else. Returns it if there is no room: then nothing of it leaves.
    pub(super) fn push(&self, message: ConsoleToRouter) -> Option<ConsoleToRouter> {
        let mut waiting = self.waiting.lock();
        let message = waiting.push(message);
        self.come.notify_one();
        message
    }

    /// Drops all but the stops, which are the last.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.is_closed = true;
        waiting.rest.clear();
        self.come.notify_one();
    }

    /// Waits for what is to be sent next; without `room` only for a stop. `None` after the last.
    pub(super) async fn next(&self, room: bool) -> Option<ConsoleToRouter> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if let Some(message) = waiting.take(room) {
                    return Some(message);
                }
                if waiting.is_closed {
                    return None;
                }
            }
            self.come.notified().await;
        }
    }
}

impl Waiting {
    fn drop_presses(&mut self, port: u16) -> Vec<PressId> {
        let mut dropped = Vec::new();
        self.rest.retain(|message| match message {
            ConsoleToRouter::Drive {
                service_port,
                command,
            } if *service_port == port => {
                if let DriveCommand::Press { press, .. } = command {
                    dropped.push(*press);
                }
                false
            }
            _ => true,
        });
        dropped
    }

    fn push(&mut self, message: ConsoleToRouter) -> Option<ConsoleToRouter> {
        let mut replaced = None;
        for (at, old) in self.rest.iter_mut().enumerate().rev() {
            match (old, &message) {
                (
                    ConsoleToRouter::Window { request, more },
                    ConsoleToRouter::Window {
                        request: of,
                        more: also,
                    },
                ) if request == of => {
                    *more = more.saturating_add(*also);
                    return None;
                }
                (old, message) if is_renewal_of(old, message) => {
                    replaced = Some(at);
                    break;
                }
                // A renewal does not go ahead of its press.
                (old, message) if is_press_before(old, message) => break,
                _ => {}
            }
        }
        if let Some(at) = replaced {
            self.rest.remove(at);
        } else if is_limited(&message) {
            let size: usize = self.rest.iter().chain([&message]).map(size).sum();
            if self.rest.len() >= ORDERS || size > BYTES {
                return Some(message);
            }
        }
        self.rest.push_back(message);
        None
    }

    fn take(&mut self, room: bool) -> Option<ConsoleToRouter> {
        if room {
            self.sent_stops.clear();
            self.sent_runs = 0;
        }
        while let Some(service_port) = self.stops.pop_first() {
            if room || self.sent_stops.insert(service_port) {
                let command = DriveCommand::Stop;
                return Some(ConsoleToRouter::Drive {
                    service_port,
                    command,
                });
            }
        }
        if room || self.sent_runs < STOP_RUNS {
            self.sent_runs += usize::from(!room && !self.stop_runs.is_empty());
            if let Some(run) = self.stop_runs.pop_front() {
                return Some(run);
            }
        }
        room.then(|| self.rest.pop_front()).flatten()
    }
}

/// Returns true if only the newer of the two counts.
fn is_renewal_of(old: &ConsoleToRouter, new: &ConsoleToRouter) -> bool {
    use ConsoleToRouter::{Again, Drive, Watch};
    use DriveCommand::{Release, Renew};
    match (old, new) {
        (Again, Again) | (Watch { .. }, Watch { .. }) => true,
        (
            Drive {
                service_port: port,
                command: old,
            },
            Drive {
                service_port,
                command,
            },
        ) => {
            port == service_port
                && matches!(
                    (old, command),
                    (Renew { .. }, Renew { .. }) | (Renew { .. } | Release(_), Release(_))
                )
        }
        _ => false,
    }
}

fn is_press_before(old: &ConsoleToRouter, new: &ConsoleToRouter) -> bool {
    let (
        ConsoleToRouter::Drive {
            service_port: port,
            command: DriveCommand::Press { .. },
        },
        ConsoleToRouter::Drive { service_port, .. },
    ) = (old, new)
    else {
        return false;
    };
    port == service_port
}

/// Returns true for what may be refused as there is no room. Of all else little waits.
fn is_limited(message: &ConsoleToRouter) -> bool {
    match message {
        ConsoleToRouter::Send { .. }
        | ConsoleToRouter::ListCommands { .. }
        | ConsoleToRouter::AskRun { .. }
        | ConsoleToRouter::AskPast { .. }
        | ConsoleToRouter::Control { .. }
        | ConsoleToRouter::Record { .. } => true,
        ConsoleToRouter::Drive { command, .. } => matches!(command, DriveCommand::Press { .. }),
        _ => false,
    }
}

fn size(message: &ConsoleToRouter) -> usize {
    match message {
        ConsoleToRouter::Send { arguments, .. } => {
            arguments.iter().map(|it| it.as_bytes().len()).sum()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests;

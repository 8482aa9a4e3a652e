//! Queue of messages to send: stops first, then the newest press or release, the newest renewal,
//! and a bounded number of others in order. Pure.

use std::collections::VecDeque;

use p2p_shared::protocol::{ConsoleToRouter, DriveCommand};

/// Most other messages that wait: more than a person types while the link stands still.
const OTHERS: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    stops: Vec<ConsoleToRouter>,
    /// The newest press or release.
    drive: Option<ConsoleToRouter>,
    renew: Option<ConsoleToRouter>,
    others: VecDeque<ConsoleToRouter>,
}

impl Outbox {
    /// Queues a message. Drops the driving messages that it makes obsolete: nothing is played back.
    pub(crate) fn put(&mut self, message: ConsoleToRouter) {
        match message {
            ConsoleToRouter::Drive { ref command, .. } => match command {
                DriveCommand::Stop => {
                    (self.drive, self.renew) = (None, None);
                    if !self.stops.contains(&message) {
                        self.stops.push(message);
                    }
                }
                DriveCommand::Renew { .. } => self.renew = Some(message),
                DriveCommand::Press { .. } | DriveCommand::Release(_) => {
                    self.renew = None;
                    self.drive = Some(message);
                }
            },
            ConsoleToRouter::Watch { .. } => {
                // Only the last one counts, and it is never dropped.
                self.others
                    .retain(|other| !matches!(other, ConsoleToRouter::Watch { .. }));
                self.others.push_back(message);
            }
            // Sent after a release; a press waits for the answer. For each car only the last one
            // counts, and it is never dropped.
            ConsoleToRouter::Control { service_port, .. } => {
                self.others.retain(|other| {
                    !matches!(other, ConsoleToRouter::Control { service_port: port, .. } if *port == service_port)
                });
                self.others.push_back(message);
            }
            // A run that gets no more window would wait for ever: windows are added up.
            ConsoleToRouter::Window { request, more } => {
                let waits = self.others.iter_mut().find_map(|other| match other {
                    ConsoleToRouter::Window {
                        request: same,
                        more,
                    } if *same == request => Some(more),
                    _ => None,
                });
                match waits {
                    Some(waiting) => *waiting = waiting.saturating_add(more),
                    None => self.others.push_back(message),
                }
            }
            ConsoleToRouter::Cancel { request } => self.cancel(request),
            message if self.requests() < OTHERS => self.others.push_back(message),
            _ => {}
        }
    }

    /// Number of waiting messages that may be dropped.
    fn requests(&self) -> usize {
        let is_kept = |message: &&ConsoleToRouter| {
            matches!(
                message,
                ConsoleToRouter::Watch { .. }
                    | ConsoleToRouter::Control { .. }
                    | ConsoleToRouter::Window { .. }
                    | ConsoleToRouter::Cancel { .. }
            )
        };
        self.others.iter().filter(|other| !is_kept(other)).count()
    }

    /// Cancels a run: its window messages are dropped, and the request too if it was not sent yet.
    fn cancel(&mut self, request: u64) {
        let mut is_unasked = false;
        self.others.retain(|other| match other {
            ConsoleToRouter::Window { request: of, .. }
            | ConsoleToRouter::Cancel { request: of } => *of != request,
            ConsoleToRouter::Send { request: of, .. } if *of == request => {
                is_unasked = true;
                false
            }
            _ => true,
        });
        if !is_unasked {
            self.others.push_back(ConsoleToRouter::Cancel { request });
        }
    }

    /// The next message to send.
    pub(crate) fn take(&mut self) -> Option<ConsoleToRouter> {
        self.stops
            .pop()
            .or_else(|| self.drive.take())
            .or_else(|| self.renew.take())
            .or_else(|| self.others.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use p2p_shared::protocol::{ControlRequest, PressId};

    use super::*;

    fn press(number: u64) -> ConsoleToRouter {
        ConsoleToRouter::Drive {
            service_port: 9000,
            command: DriveCommand::Press {
                press: PressId { epoch: 1, number },
                command: "forward".parse().unwrap(),
                tick_ms: 1,
            },
        }
    }

    fn renew(number: u64, tick_ms: u64) -> ConsoleToRouter {
        ConsoleToRouter::Drive {
            service_port: 9000,
            command: DriveCommand::Renew {
                press: PressId { epoch: 1, number },
                tick_ms,
            },
        }
    }

    const STOP: ConsoleToRouter = ConsoleToRouter::Drive {
        service_port: 9000,
        command: DriveCommand::Stop,
    };

    fn drained(mut outbox: Outbox) -> Vec<ConsoleToRouter> {
        std::iter::from_fn(|| outbox.take()).collect()
    }

    #[test]
    fn of_what_waits_only_the_newest_press_and_renewal_go() {
        let mut outbox = Outbox::default();
        for message in [press(1), renew(1, 5), press(2), renew(2, 6), renew(2, 7)] {
            outbox.put(message);
        }
        assert_eq!(drained(outbox), [press(2), renew(2, 7)]);
    }

    #[test]
    fn stop_overtakes_everything_and_drops_motion_before_it() {
        let mut outbox = Outbox::default();
        let take = ConsoleToRouter::Control {
            service_port: 9000,
            request: ControlRequest::Take,
        };
        for message in [take.clone(), press(1), STOP, STOP] {
            outbox.put(message);
        }
        assert_eq!(drained(outbox), [STOP, take]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outbox = Outbox::default();
        for request in 0..10_000 {
            outbox.put(list(request));
            outbox.put(window(1, 5));
            outbox.put(control(ControlRequest::Take));
            outbox.put(ConsoleToRouter::Cancel { request: 3 });
        }
        assert_eq!(drained(outbox).len(), OTHERS + 3);
    }

    fn list(request: u64) -> ConsoleToRouter {
        ConsoleToRouter::ListCommands {
            request,
            service_port: 9000,
        }
    }

    fn window(request: u64, more: u32) -> ConsoleToRouter {
        ConsoleToRouter::Window { request, more }
    }

    fn control(request: ControlRequest) -> ConsoleToRouter {
        ConsoleToRouter::Control {
            service_port: 9000,
            request,
        }
    }

    #[test]
    fn what_must_arrive_is_not_dropped_however_much_waits() {
        let mut outbox = Outbox::default();
        (0..100).for_each(|request| outbox.put(list(request)));
        for message in [
            window(1, 5),
            window(2, 7),
            window(1, 6),
            control(ControlRequest::Take),
            ConsoleToRouter::Cancel { request: 2 },
            control(ControlRequest::Release),
            ConsoleToRouter::Cancel { request: 9 },
        ] {
            outbox.put(message);
        }
        assert_eq!(
            drained(outbox)[OTHERS..],
            [
                window(1, 11),
                ConsoleToRouter::Cancel { request: 2 },
                control(ControlRequest::Release),
                ConsoleToRouter::Cancel { request: 9 },
            ]
        );
    }

    #[test]
    fn a_run_that_is_ended_before_it_was_asked_for_is_never_asked_for() {
        let mut outbox = Outbox::default();
        outbox.put(ConsoleToRouter::Send {
            request: 4,
            service_port: 9000,
            command: "forward".parse().unwrap(),
            arguments: Default::default(),
            for_ms: None,
        });
        outbox.put(ConsoleToRouter::Cancel { request: 4 });
        assert_eq!(drained(outbox), []);
    }
}

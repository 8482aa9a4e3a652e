//! Owns what waits to be sent to the router: of driving the newest alone, stops always first,
//! everything else in order and bounded. Pure.

use std::collections::VecDeque;

use p2p_shared::protocol::console::ConsoleToRouter;

/// Most other messages that wait: a person's keys, over a link that stands still.
const OTHERS: usize = 64;

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    stops: Vec<ConsoleToRouter>,
    /// In order: at most the newest press or release, and its renewal.
    drive: Option<ConsoleToRouter>,
    renew: Option<ConsoleToRouter>,
    others: VecDeque<ConsoleToRouter>,
}

impl Outbox {
    /// Another message. Of driving, what it makes old is dropped: nothing is played back.
    pub(crate) fn put(&mut self, message: ConsoleToRouter) {
        match message {
            ConsoleToRouter::Stop { .. } => {
                (self.drive, self.renew) = (None, None);
                if !self.stops.contains(&message) {
                    self.stops.push(message);
                }
            }
            ConsoleToRouter::Renew { .. } => self.renew = Some(message),
            ConsoleToRouter::Press { .. } | ConsoleToRouter::Release { .. } => {
                self.renew = None;
                self.drive = Some(message);
            }
            ConsoleToRouter::Watch { .. } => {
                // Only the last counts, and it is never lost.
                self.others
                    .retain(|other| !matches!(other, ConsoleToRouter::Watch { .. }));
                self.others.push_back(message);
            }
            // Control is given back only after the press has ended, and taken before one begins.
            message if self.others.len() < OTHERS => self.others.push_back(message),
            _ => {}
        }
    }

    /// What goes next.
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
    use p2p_shared::protocol::console::{ControlWish, PressId};

    use super::*;

    fn press(number: u64) -> ConsoleToRouter {
        ConsoleToRouter::Press {
            service_port: 9000,
            press: PressId { epoch: 1, number },
            command: "forward".parse().unwrap(),
            tick_ms: 1,
        }
    }

    fn renew(number: u64, tick_ms: u64) -> ConsoleToRouter {
        ConsoleToRouter::Renew {
            service_port: 9000,
            press: PressId { epoch: 1, number },
            tick_ms,
        }
    }

    const STOP: ConsoleToRouter = ConsoleToRouter::Stop { service_port: 9000 };

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
            wish: ControlWish::Take,
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
            outbox.put(ConsoleToRouter::Cancel { request });
        }
        assert_eq!(drained(outbox).len(), OTHERS);
    }
}

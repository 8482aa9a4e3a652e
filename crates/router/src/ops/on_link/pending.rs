//! Events that wait for `--on-link`: of each car the newest only, in the order in which the cars
//! came. The bound is the number of ports.

use std::collections::{HashMap, HashSet, VecDeque};

/// Waiting events, by service port.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    order: VecDeque<u16>,
    newest: HashMap<u16, T>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            order: VecDeque::new(),
            newest: HashMap::new(),
        }
    }
}

impl<T> Waiting<T> {
    /// Adds an event, in place of the car's waiting one.
    pub(super) fn add(&mut self, port: u16, news: T) {
        if self.newest.insert(port, news).is_none() {
            self.order.push_back(port);
        }
    }

    /// Takes the next event, of a car whose program doesn't run just now.
    pub(super) fn next(&mut self, busy: &HashSet<u16>) -> Option<T> {
        let at = self.order.iter().position(|port| !busy.contains(port))?;
        let port = self.order.remove(at)?;
        self.newest.remove(&port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_news_of_a_car_only_the_newest_is_told_and_in_its_turn() {
        let mut waiting = Waiting::default();
        let nobody = HashSet::new();
        for (port, news) in [(1, "up"), (2, "up"), (1, "down"), (1, "up again")] {
            waiting.add(port, news);
        }
        assert_eq!(waiting.next(&nobody), Some("up again"));
        assert_eq!(waiting.next(&nobody), Some("up"));
        assert_eq!(waiting.next(&nobody), None);
    }

    #[test]
    fn a_car_whose_program_still_runs_waits_and_holds_up_nobody() {
        let mut waiting = Waiting::default();
        waiting.add(1, "down");
        waiting.add(2, "up");
        let busy = HashSet::from([1]);
        assert_eq!(waiting.next(&busy), Some("up"));
        assert_eq!(waiting.next(&busy), None);
        assert_eq!(waiting.next(&HashSet::new()), Some("down"));
    }
}

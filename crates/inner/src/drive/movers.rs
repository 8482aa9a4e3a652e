//! Owns what moved the car since it stood last, and so by whom it may be stopped. Pure: it never
//! looks whether any of it lives.
//!
//! A worker that moved the car knows best how to stop it. What another worker answers, or the same
//! one after it was started again, says nothing of what is still moving: that is for the stop
//! command's file.

use crate::runner::StopBy;

/// What moved the car.
#[derive(Debug)]
pub(super) struct Movers {
    /// Something that is no worker that lives: a file, a worker that is gone, or nobody knows what.
    others: bool,
    /// The groups of workers, in order.
    workers: Vec<i32>,
}

impl Movers {
    /// Nobody knows.
    pub(super) fn unknown() -> Self {
        Self {
            others: true,
            workers: Vec::new(),
        }
    }

    /// The car stands.
    pub(super) fn clear(&mut self) {
        self.others = false;
        self.workers.clear();
    }

    /// A file moves it.
    pub(super) fn add_file(&mut self) {
        self.others = true;
    }

    /// The worker of this group moves it.
    pub(super) fn add_worker(&mut self, group: i32) {
        self.workers.retain(|other| *other != group);
        self.workers.push(group);
    }

    /// The worker of this group is gone; whether it had moved the car.
    pub(super) fn is_gone(&mut self, group: i32) -> bool {
        let before = self.workers.len();
        self.workers.retain(|other| *other != group);
        let had_moved = self.workers.len() < before;
        self.others |= had_moved;
        had_moved
    }

    /// The worker that moved it last; 0: none that lives.
    pub(super) fn newest_worker(&self) -> i32 {
        self.workers.last().copied().unwrap_or(0)
    }

    /// By whom it may be stopped.
    pub(super) fn stop_by(&self) -> StopBy {
        match (self.others, self.workers.len()) {
            (false, 0) => StopBy::AnyWorker,
            (true, 0) => StopBy::File,
            (others, many) => StopBy::Workers {
                groups: self.workers.clone(),
                and_file: others || many > 1,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(groups: &[i32], and_file: bool) -> StopBy {
        let groups = groups.to_vec();
        StopBy::Workers { groups, and_file }
    }

    #[test]
    fn a_worker_stops_what_it_moved_and_the_file_whatever_else_did() {
        let mut movers = Movers::unknown();
        assert_eq!(movers.stop_by(), StopBy::File);
        movers.clear();
        assert_eq!(movers.stop_by(), StopBy::AnyWorker);
        movers.add_worker(7);
        movers.add_worker(7);
        assert_eq!(movers.stop_by(), workers(&[7], false));
        movers.add_worker(8);
        assert_eq!(movers.stop_by(), workers(&[7, 8], true));
        movers.clear();
        movers.add_worker(7);
        movers.add_file();
        assert_eq!(movers.stop_by(), workers(&[7], true));
        movers.clear();
        movers.add_file();
        assert_eq!(movers.stop_by(), StopBy::File);
    }

    #[test]
    fn a_worker_that_is_gone_leaves_what_it_moved() {
        let mut movers = Movers::unknown();
        movers.clear();
        movers.add_worker(7);
        movers.add_worker(8);
        assert_eq!(movers.newest_worker(), 8);
        assert!(!movers.is_gone(9));
        assert!(movers.is_gone(8));
        assert!(!movers.is_gone(8));
        assert_eq!(movers.newest_worker(), 7);
        // What 8 has moved is not for 7 alone to stop.
        assert_eq!(movers.stop_by(), workers(&[7], true));
        assert!(movers.is_gone(7));
        assert_eq!(movers.stop_by(), StopBy::File);
        movers.clear();
        assert_eq!(movers.stop_by(), StopBy::AnyWorker);
        assert_eq!(movers.newest_worker(), 0);
    }
}

//! Remembers what moved the car since it stood last, and so what has to stop it. Pure: nothing here
//! checks whether a process lives.
//!
//! A worker that moved the car knows best how to stop it. The success of another worker, or of the
//! same one after it was started again, doesn't prove that the car stands: then the stop command's
//! file has to run.

/// What has to stop the car. If a worker is asked and can't, the stop command's file takes its
/// place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StopTarget {
    /// Any worker that serves the stop command.
    AnyWorker,
    /// The worker that serves the stop command, if it has one of these process groups; and also the
    /// file, if something else moved the car.
    Workers { groups: Vec<i32>, and_file: bool },
    /// The file; if there is none, any worker is better than nothing.
    File,
}

#[derive(Debug)]
pub(crate) struct StopTargets {
    /// True if something other than a living worker moved the car: a file, a worker that is gone,
    /// or something unknown.
    others: bool,
    /// Process groups of workers, in order.
    workers: Vec<i32>,
}

impl StopTargets {
    /// Starts without knowing what moved the car.
    pub(crate) fn unknown() -> Self {
        Self {
            others: true,
            workers: Vec::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.others = false;
        self.workers.clear();
    }

    pub(crate) fn add_file(&mut self) {
        self.others = true;
    }

    pub(crate) fn add_worker(&mut self, group: i32) {
        self.workers.retain(|other| *other != group);
        self.workers.push(group);
    }

    /// Reports that the worker of this group is gone. Returns true if it had moved the car.
    pub(crate) fn is_gone(&mut self, group: i32) -> bool {
        let before = self.workers.len();
        self.workers.retain(|other| *other != group);
        let had_moved = self.workers.len() < before;
        self.others |= had_moved;
        had_moved
    }

    /// Returns the group of the worker that moved the car last; 0: none that lives.
    pub(crate) fn newest_worker(&self) -> i32 {
        self.workers.last().copied().unwrap_or(0)
    }

    pub(crate) fn stop_target(&self) -> StopTarget {
        match (self.others, self.workers.len()) {
            (false, 0) => StopTarget::AnyWorker,
            (true, 0) => StopTarget::File,
            (others, many) => StopTarget::Workers {
                groups: self.workers.clone(),
                and_file: others || many > 1,
            },
        }
    }
}

impl StopTarget {
    /// Returns true if the file has to run after a worker has succeeded.
    pub(crate) fn needs_file_too(&self) -> bool {
        matches!(self, Self::Workers { and_file: true, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(groups: &[i32], and_file: bool) -> StopTarget {
        let groups = groups.to_vec();
        StopTarget::Workers { groups, and_file }
    }

    #[test]
    fn a_worker_stops_what_it_moved_and_the_file_whatever_else_did() {
        let mut stop_targets = StopTargets::unknown();
        assert_eq!(stop_targets.stop_target(), StopTarget::File);
        stop_targets.clear();
        assert_eq!(stop_targets.stop_target(), StopTarget::AnyWorker);
        stop_targets.add_worker(7);
        stop_targets.add_worker(7);
        assert_eq!(stop_targets.stop_target(), workers(&[7], false));
        stop_targets.add_worker(8);
        assert_eq!(stop_targets.stop_target(), workers(&[7, 8], true));
        stop_targets.clear();
        stop_targets.add_worker(7);
        stop_targets.add_file();
        assert_eq!(stop_targets.stop_target(), workers(&[7], true));
        stop_targets.clear();
        stop_targets.add_file();
        assert_eq!(stop_targets.stop_target(), StopTarget::File);
    }

    #[test]
    fn a_worker_that_is_gone_leaves_what_it_moved() {
        let mut stop_targets = StopTargets::unknown();
        stop_targets.clear();
        stop_targets.add_worker(7);
        stop_targets.add_worker(8);
        assert_eq!(stop_targets.newest_worker(), 8);
        assert!(!stop_targets.is_gone(9));
        assert!(stop_targets.is_gone(8));
        assert!(!stop_targets.is_gone(8));
        assert_eq!(stop_targets.newest_worker(), 7);
        // Worker 7 alone can't stop what worker 8 has moved.
        assert_eq!(stop_targets.stop_target(), workers(&[7], true));
        assert!(stop_targets.is_gone(7));
        assert_eq!(stop_targets.stop_target(), StopTarget::File);
        stop_targets.clear();
        assert_eq!(stop_targets.stop_target(), StopTarget::AnyWorker);
        assert_eq!(stop_targets.newest_worker(), 0);
    }
}

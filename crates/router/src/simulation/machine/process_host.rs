//! Starts and ends processes on a simulated machine for one inner, until that inner is killed.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use p2p_inner::simulation::{Process, World};
use p2p_shared::names::{CommandName, RunId};

use super::Machine;

/// Access of one inner to its machine's processes.
#[derive(Debug)]
pub(in crate::simulation) struct ProcessHost {
    machine: Machine,
    is_dead: AtomicBool,
}

impl ProcessHost {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            machine,
            is_dead: AtomicBool::new(false),
        }
    }

    /// Marks the inner as killed: its tasks start no more processes.
    pub(in crate::simulation) fn kill(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }
}

impl World for ProcessHost {
    fn start(&self, run: RunId, command: &CommandName) -> Option<Process> {
        let is_guardians = run == RunId::from_number(0);
        if self.is_dead.load(Ordering::Relaxed) && !is_guardians {
            return None;
        }
        Some(self.machine.start(run, command))
    }

    fn end_group(&self, group: i32, grace: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let process = self.machine.lock().processes.get(&group).cloned();
        Box::pin(async move {
            if let Some(process) = process {
                let _ = process.send(grace);
                process.closed().await;
            }
        })
    }

    fn end_survivors(&self) {
        let groups: Vec<i32> = self.machine.lock().processes.keys().copied().collect();
        groups
            .into_iter()
            .for_each(|group| self.machine.terminate(group));
    }
}

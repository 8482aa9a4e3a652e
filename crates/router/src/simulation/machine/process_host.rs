//! Starts and ends processes on a simulated machine for one inner until that inner is killed, or for
//! its guardian.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use p2p_inner::simulation::{Program, Spawn, Spawned};
use p2p_shared::names::RunId;
use rustix::process::Signal;

use super::Machine;

/// Access of one inner, or of its guardian, to the machine's processes.
#[derive(Debug)]
pub(in crate::simulation) struct ProcessHost {
    machine: Machine,
    /// Number of the inner.
    pub inner: u32,
    is_guardian: bool,
    is_dead: AtomicBool,
}

impl ProcessHost {
    pub(super) fn new(machine: Machine, inner: u32, is_guardian: bool) -> Self {
        Self {
            machine,
            inner,
            is_guardian,
            is_dead: AtomicBool::new(false),
        }
    }

    /// Host of this inner's guardian, which outlives the inner.
    pub(in crate::simulation) fn guardian(&self) -> Arc<Self> {
        Arc::new(Self::new(self.machine.clone(), self.inner, true))
    }

    /// Marks the inner as killed: its tasks start no more processes.
    pub(in crate::simulation) fn kill(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }
}

impl Spawn for ProcessHost {
    fn spawn(&self, program: &Program<'_>) -> io::Result<Spawned> {
        if self.is_dead.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let variable = |name| {
            let mut variables = program.variables.iter();
            variables.find_map(|(other, value)| (*other == name).then_some(value))
        };
        // A guardian's stop is no run.
        let run = variable("P2P_RUN").map_or(RunId::from_number(0), |run| run.parse().unwrap());
        let command = variable("P2P_COMMAND").unwrap().parse().unwrap();
        let inner = (!self.is_guardian).then_some(self.inner);
        Ok(self.machine.start(inner, run, &command))
    }

    fn signal(&self, group: i32, signal: Signal) {
        if let Some((_, _, signals)) = self.machine.lock().processes.get(&group) {
            let _ = signals.send(signal);
        }
    }

    fn is_alive(&self, group: i32) -> bool {
        self.machine.lock().processes.contains_key(&group)
    }

    fn groups_of(&self, inner: u32) -> Vec<i32> {
        let state = self.machine.lock();
        let groups = state.processes.iter();
        groups
            .filter(|(_, (starter, ..))| *starter == Some(inner))
            .map(|(group, _)| *group)
            .collect()
    }
}

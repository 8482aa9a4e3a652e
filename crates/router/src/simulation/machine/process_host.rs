//! Starts and ends processes on a simulated machine for one inner, until that inner is killed.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use p2p_inner::simulation::{Program, Spawn, Spawned};
use p2p_shared::names::RunId;
use rustix::process::Signal;

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
        Ok(self.machine.start(run, &command))
    }

    fn signal(&self, group: i32, signal: Signal) {
        if let Some(process) = self.machine.lock().processes.get(&group) {
            let _ = process.send(signal);
        }
    }

    fn is_alive(&self, group: i32) -> bool {
        self.machine.lock().processes.contains_key(&group)
    }

    fn groups_of(&self, _inner: u32) -> Vec<i32> {
        self.machine.lock().processes.keys().copied().collect()
    }
}

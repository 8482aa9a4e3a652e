//! Knows the commands: the files of the catalog, and what workers serve. A file wins over a worker,
//! except for the stop command: the worker that moves the car knows best how to stop it, and the
//! file takes its place when it is gone.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use p2p_shared::bounded::Text;
use p2p_shared::names::CommandName;
use p2p_shared::protocol::{CommandInfo, MotionInfo, Refusal};
use p2p_shared::text::Escaped;
use parking_lot::RwLock;

use crate::catalog::{Catalog, CommandFile};
use crate::process::Spawn;
use crate::run::{Failure, Run};

mod listing;
mod worker_handle;

pub(crate) use listing::{Listing, Question};
pub(crate) use worker_handle::{
    AcceptedCall, WorkerCall, WorkerHandle, WorkerQueue, WorkerRequest,
};

/// Most commands of one worker.
const MAX_SERVED: usize = 1000;

#[derive(Debug)]
pub(crate) struct Commands {
    pub files: Catalog,
    /// Commands that move the car, and the one that stops it.
    pub motion: MotionInfo,
    pub processes: Arc<dyn Spawn>,
    served: RwLock<Served>,
}

#[derive(Debug, Default)]
struct Served {
    by: HashMap<CommandName, WorkerHandle>,
    /// Workers that have not announced anything yet, and why, if they have failed.
    unknown: Vec<(WorkerHandle, Option<String>)>,
}

impl Commands {
    /// Makes commands of files only: workers announce later what they serve.
    pub(crate) fn new(files: Catalog, motion: MotionInfo, processes: Arc<dyn Spawn>) -> Arc<Self> {
        Arc::new(Self {
            files,
            motion,
            processes,
            served: RwLock::default(),
        })
    }

    /// Executes a run by the file of its command.
    pub(crate) async fn execute(&self, run: Run) {
        let found = self.file(&run.request.command);
        run.by_file(found, &self.processes).await;
    }

    /// Returns true if there is a stop command, whether or not it can be run.
    pub(crate) fn has_stop(&self) -> bool {
        self.has_file(&self.motion.stop)
    }

    /// Returns true if there is a file of this name, whether or not it can be run: it may have been
    /// fine when the car last moved.
    fn has_file(&self, name: &CommandName) -> bool {
        let found = self.files.locate(name);
        !matches!(found, Err((Refusal::NotFound, _)))
    }

    /// Returns true if there is a motion command, whether or not it can be run, or a worker that may
    /// serve one.
    pub(crate) fn may_move(&self) -> bool {
        let mut motions = self.motion.commands.iter();
        motions.any(|motion| self.has_file(motion))
            // A folder that can't be read may hold any worker.
            || !self.files.workers().is_ok_and(|workers| workers.is_empty())
    }

    /// Adds a worker, which will announce what it serves.
    pub(crate) fn expect(&self, worker: &WorkerHandle) {
        let mut served = self.served.write();
        served.unknown.push((worker.clone(), None));
    }

    /// Notes that a worker has failed, or can't be started.
    pub(crate) fn away(&self, worker: &WorkerHandle, what: &str) {
        for (other, why) in &mut self.served.write().unknown {
            if other.is_same(worker) {
                *why = Some(what.to_owned());
            }
        }
    }

    /// The worker that serves a command.
    pub(crate) fn worker(&self, name: &CommandName) -> Option<WorkerHandle> {
        let served = self.served.read();
        served.by.get(name).cloned()
    }

    /// The file of a command that is executed at once, where no worker serves it.
    fn file(&self, name: &CommandName) -> Result<CommandFile, Failure> {
        self.files.locate(name).map_err(|(refusal, message)| {
            let served = self.served.read();
            let starting = "is starting: try again in a moment";
            // A worker may have announced this command after the caller found none to serve it.
            let just_now = served.by.get(name).map(|worker| (worker, starting));
            let unknown = served.unknown.first();
            let unknown = unknown.map(|(worker, why)| (worker, why.as_deref().unwrap_or(starting)));
            match just_now.or(unknown) {
                Some((worker, why)) if refusal == Refusal::NotFound => {
                    let (name, worker) = (Escaped(name.as_str()), worker.name());
                    let message =
                        format!("there is no file {name}, and {worker}, which may serve it, {why}");
                    (Refusal::WorkerAway, message)
                }
                _ => (refusal, message),
            }
        })
    }

    /// Takes a worker's announcement, in place of its earlier one.
    pub(crate) fn announced(&self, worker: &WorkerHandle, names: &[String]) {
        let mut serves = Vec::new();
        for name in names.iter().take(MAX_SERVED) {
            let why_not = match name.parse::<CommandName>() {
                Err(error) => error.to_string(),
                Ok(name) if name != self.motion.stop && self.files.resolve(&name).is_ok() => {
                    "there is a file of this name, which is run instead".to_owned()
                }
                Ok(name) => match self.worker(&name) {
                    Some(other) if !other.is_same(worker) => {
                        format!("{} serves it already", other.name())
                    }
                    _ => {
                        serves.push(name);
                        continue;
                    }
                },
            };
            let name = Escaped(name).cut(100);
            tracing::warn!(worker = worker.name(), command = %name, why = why_not, "not served by this worker");
        }
        let all: Vec<&str> = serves.iter().map(CommandName::as_str).collect();
        tracing::info!(
            worker = worker.name(),
            serves = all.join(" "),
            "the worker is ready"
        );
        let MotionInfo { commands, stop, .. } = &self.motion;
        if (serves.iter()).any(|name| name == stop || commands.contains(name))
            && let Err((_, why)) = self.files.resolve(stop)
        {
            tracing::error!(
                worker = worker.name(),
                stop = stop.as_str(),
                why,
                "nothing moves without a file for the stop command, which stops the car when its worker or this inner is gone"
            );
        }
        let mut served = self.served.write();
        served.unknown.retain(|(other, _)| !other.is_same(worker));
        served.by.retain(|_, other| !other.is_same(worker));
        let new = serves.into_iter().map(|name| (name, worker.clone()));
        served.by.extend(new);
    }

    /// All commands, by name, with what is wrong with those that can't be run.
    pub(crate) fn list(&self) -> io::Result<Vec<CommandInfo>> {
        let mut commands = self.files.list()?;
        let served = self.served.read();
        commands.retain(|info| !served.by.contains_key(&info.name));
        commands.extend(served.by.keys().map(|name| CommandInfo {
            name: name.clone(),
            problem: None,
        }));
        let unknown = served.unknown.iter();
        commands.extend(unknown.filter_map(|(worker, why)| {
            let what = why.as_ref()?;
            let name = worker.name().parse().ok()?;
            let problem = Some(Text::new(format!("{} {what}", worker.name())));
            Some(CommandInfo { name, problem })
        }));
        drop(served);
        commands.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(commands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_served_only_just_is_not_said_not_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let files = Catalog::open(folder.path()).unwrap();
        let commands = crate::testing::commands(files);
        let refusal = || {
            let name = "lights/on".parse().unwrap();
            commands.file(&name).unwrap_err().0
        };
        assert_eq!(refusal(), Refusal::NotFound);
        let (worker, _queue) = WorkerHandle::new("car.worker");
        commands.expect(&worker);
        assert_eq!(refusal(), Refusal::WorkerAway);
        commands.announced(&worker, &["lights/on".to_owned()]);
        assert_eq!(refusal(), Refusal::WorkerAway);
        commands.announced(&worker, &[]);
        assert_eq!(refusal(), Refusal::NotFound);
    }

    #[test]
    fn a_motion_command_or_a_worker_may_move_the_car_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let files = Catalog::open(folder.path()).unwrap();
        let commands = crate::testing::commands(files);
        for (name, may_move) in [
            ("stop", false),
            ("lights", false),
            ("forward", true),
            ("car.worker", true),
        ] {
            let file = folder.path().join(name);
            crate::testing::script(&file, "true");
            assert_eq!(commands.may_move(), may_move, "{name}");
            if may_move {
                std::fs::remove_file(file).unwrap();
            }
        }
    }
}

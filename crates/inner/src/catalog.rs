//! Finds the executable file of a command's name in the command directory, and never anything
//! outside of it.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use p2p_shared::bounded::Text;
use p2p_shared::names::CommandName;
use p2p_shared::protocol::{CommandInfo, Refusal};
use p2p_shared::text::Escaped;

use crate::process::check_execution;

mod executable;
#[cfg(test)]
mod tests;
mod trust;

pub(crate) use executable::Unusable;
use executable::{check, shown, unreachable_file, unseen, unusable, unusable_folder};

/// Most commands in a list.
const MAX_LISTED: usize = 10_000;
/// Most workers that are started.
const MAX_WORKERS: usize = 64;
/// Deepest directory that can hold a command: names have four parts.
const MAX_DEPTH: usize = 4;

/// Extension of workers' files, which are no commands themselves.
const WORKER: &str = ".worker";

/// Command directory. Its path may lead over symbolic links, which are followed anew for each
/// command: a new release counts as soon as its link is there.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    path: PathBuf,
}

/// The command directory as it is at this moment.
struct Folder {
    /// Without symbolic links.
    path: PathBuf,
    /// Says why nothing in the directory is run, if others may change the way to it.
    fault: Option<String>,
}

/// File of a command or worker, and the command directory, where it runs: paths without symbolic
/// links up to the command directory.
#[derive(Debug)]
pub(crate) struct CommandFile {
    pub file: PathBuf,
    pub folder: PathBuf,
}

impl Catalog {
    /// Opens a command directory; fails if there is none at the path, which is a mistake of whoever
    /// wrote the path. A directory that can't be read or trusted is opened: it may be the one whose
    /// commands moved the car before, and each command says why it isn't run.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let catalog = Self::at(path)?;
        let shown = shown(&catalog.path);
        match catalog.path.metadata() {
            Ok(metadata) => anyhow::ensure!(
                metadata.is_dir(),
                "the command directory {shown} is no folder"
            ),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "the command directory {shown} can't be used: make it, or say --commands DIR"
                    )
                });
            }
        }
        Ok(catalog)
    }

    /// Returns the catalog of a command directory that may be gone or refused at the moment.
    pub(crate) fn at(path: &Path) -> anyhow::Result<Self> {
        // For those who see it in a sentence.
        let path = std::path::absolute(path).context("the command directory")?;
        Ok(Self { path })
    }

    /// Returns the reason why no command at all can be run, if there is one.
    pub(crate) fn problem(&self) -> Option<String> {
        let opened = self.folder().and_then(|folder| {
            folder.open()?;
            Ok(folder.fault)
        });
        opened.unwrap_or_else(|error| Some(unusable_folder(&self.path, &error).1))
    }

    /// Returns the file of a command, if it can be executed.
    pub(crate) fn resolve(&self, name: &CommandName) -> Result<CommandFile, Unusable> {
        let found = self.locate(name)?;
        check_execution(&found.file).map_err(unusable)?;
        Ok(found)
    }

    /// Returns the file of a command that is executed at once: whether it can be, the kernel says.
    pub(crate) fn locate(&self, name: &CommandName) -> Result<CommandFile, Unusable> {
        if name.as_str().ends_with(WORKER) {
            let sentence = format!(
                "{} is a worker: ask for the commands that it serves (GET /commands lists them)",
                Escaped(name.as_str())
            );
            return Err((Refusal::NotFound, sentence));
        }
        self.find(name)
    }

    /// Returns the file of a worker.
    pub(crate) fn worker(&self, name: &str) -> Result<CommandFile, Unusable> {
        let parsed = name.parse::<CommandName>();
        let name = parsed.map_err(|error| unusable(format!("{}: {error}", Escaped(name))))?;
        self.find(&name)
    }

    /// Lists the workers in the directory, not in those below it.
    pub(crate) fn workers(&self) -> io::Result<Vec<String>> {
        let entries = self.folder()?.open()?.entries()?.flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names
            .filter(|name| name.ends_with(WORKER) && !name.starts_with('.'))
            .collect();
        names.sort();
        names.truncate(MAX_WORKERS);
        Ok(names)
    }

    /// Lists all commands, by name, with what is wrong with those that can't be run.
    pub(crate) fn list(&self) -> io::Result<Vec<CommandInfo>> {
        let mut commands = Vec::new();
        let folder = self.folder()?;
        folder.list_into(&folder.open()?, "", 1, &mut commands);
        commands.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(commands)
    }

    /// Says what the directory lacks to drive the car; `None`: nothing, or a worker may serve it.
    pub(crate) fn lacking(
        &self,
        stop: &CommandName,
        motions: &[CommandName],
    ) -> io::Result<Option<String>> {
        if !self.workers()?.is_empty() {
            return Ok(None);
        }
        let listed = self.list()?;
        let has = |name: &CommandName| listed.iter().any(|it| it.name == *name);
        let names: Vec<_> = motions.iter().map(CommandName::as_str).collect();
        let there_is_no = match (has(stop), motions.iter().any(has)) {
            (true, true) => return Ok(None),
            (false, true) => format!("`{stop}`"),
            (true, false) => names.join(", "),
            (false, false) => format!("`{stop}`, and none of {}", names.join(", ")),
        };
        Ok(Some(format!(
            "to drive, {} lacks {there_is_no}: `p2p-inner setup` puts samples into an empty directory",
            shown(&self.path)
        )))
    }

    fn find(&self, name: &CommandName) -> Result<CommandFile, Unusable> {
        let folder = self.folder();
        let folder = folder.map_err(|error| unusable_folder(&self.path, &error))?;
        let found = folder.executable(name)?;
        match folder.fault {
            Some(fault) => Err(unusable(fault)),
            None => Ok(found),
        }
    }

    /// Finds the directory anew each time, so that a replaced one (by a checkout, by rsync, by another
    /// symbolic link) is used.
    fn folder(&self) -> io::Result<Folder> {
        let found = trust::follow(Path::new("/"), &self.path, true)?;
        // The directory itself must not be open to all even if nobody can replace what is in it.
        let itself = || trust::fault_of(&found.place, &found.metadata, false);
        Ok(Folder {
            fault: found.fault.or_else(itself),
            path: found.place,
        })
    }
}

impl Folder {
    fn open(&self) -> io::Result<Dir> {
        Dir::open_ambient_dir(&self.path, ambient_authority())
    }

    /// Returns the file of this name, if it is one that can be executed and that nobody else could
    /// have put there.
    fn executable(&self, name: &CommandName) -> Result<CommandFile, Unusable> {
        let file = self.path.join(name.as_str());
        let found = trust::follow(&self.path, Path::new(name.as_str()), false);
        // A name has no `..`: without symbolic links nothing leads out of the directory.
        if !found.as_ref().is_ok_and(|found| !found.has_links) {
            let dir = self.open();
            let dir = dir.map_err(|error| unusable_folder(&self.path, &error))?;
            dir.metadata(name.as_str())
                .map_err(|error| unreachable_file(&dir, name, &file, &error))?;
        }
        let found = found.map_err(|error| unusable(unseen(&file, &error)))?;
        check(&found.metadata, &file)?;
        if let Some(fault) = found.fault {
            return Err(unusable(fault));
        }
        Ok(CommandFile {
            file,
            folder: self.path.clone(),
        })
    }

    /// Returns the reason why the file of this name can't be run, if there is one.
    fn problem(&self, name: &CommandName) -> Option<String> {
        let found = self.executable(name).map_err(|(_, why)| why);
        found.and_then(|found| check_execution(&found.file)).err()
    }

    /// Adds the commands in `inside`.
    fn list_into(&self, inside: &Dir, prefix: &str, depth: usize, commands: &mut Vec<CommandInfo>) {
        let Ok(entries) = inside.entries() else {
            return;
        };
        for entry in entries.flatten() {
            if commands.len() >= MAX_LISTED {
                return;
            }
            let Ok(file) = entry.file_name().into_string() else {
                continue;
            };
            let Ok(name) = CommandName::try_from(format!("{prefix}{file}")) else {
                continue;
            };
            // Symbolic links to directories are not followed: they could form a loop.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth < MAX_DEPTH
                    && let Ok(inside) = entry.open_dir()
                {
                    let prefix = format!("{name}/");
                    self.list_into(&inside, &prefix, depth + 1, commands);
                }
                continue;
            }
            let problem = if !file.ends_with(WORKER) {
                self.fault.clone().or_else(|| self.problem(&name))
            } else if depth > 1 {
                let shown = Escaped(name.as_str());
                Some(format!(
                    "{shown} is not started: move it into the command directory itself"
                ))
            } else {
                continue;
            };
            let problem = problem.map(Text::new);
            commands.push(CommandInfo { name, problem });
        }
    }
}

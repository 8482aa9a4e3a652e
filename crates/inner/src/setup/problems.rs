//! Owns what `setup` says of a directory of commands: what keeps them from being run by the inner's user, and what is
//! missing to drive.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use p2p_shared::names::CommandName;
use p2p_shared::setup::{Owner, say};
use p2p_shared::text::EscapedBytes;

use super::{SERVICE, Setup};
use crate::catalog::Catalog;
use crate::config::{DEFAULT_MOTION, DEFAULT_STOP};

impl Setup {
    /// Says what keeps commands from being run by the user of the inner.
    pub(super) fn say_problems(&self, directory: &Path) {
        let found = match self.user {
            None => self.problems(directory),
            Some(user) => self.problems_for(user.owner, directory),
        };
        let sentences = found.unwrap_or_else(|error| vec![format!("{error:#}")]);
        sentences.iter().for_each(|sentence| say(sentence));
    }

    fn problems(&self, directory: &Path) -> anyhow::Result<Vec<String>> {
        let (stop, motions) = self.motion();
        problems(
            directory,
            &stop.parse()?,
            &motions
                .split(',')
                .map(str::parse)
                .collect::<Result<Vec<_>, _>>()?,
        )
    }

    /// Names of the stop command and of the motions.
    fn motion(&self) -> (String, String) {
        let named = |option, default: &str| self.settings.get(option).unwrap_or(default.to_owned());
        (
            named("stop-command", DEFAULT_STOP),
            named("motion", DEFAULT_MOTION),
        )
    }

    /// Lets this program look as another user.
    fn problems_for(&self, (user, group): Owner, directory: &Path) -> anyhow::Result<Vec<String>> {
        let (stop, motions) = self.motion();
        let program = std::env::current_exe()?;
        let looked = Command::new(&program)
            .args([
                "check-commands".as_ref(),
                directory.as_os_str(),
                stop.as_ref(),
                motions.as_ref(),
            ])
            .current_dir("/")
            // Root's may have secrets.
            .env_clear()
            .uid(user)
            .gid(group)
            .output();
        let looked = looked.with_context(|| {
            format!(
                "the user {} can't execute {}: install it in /usr/local/bin",
                SERVICE.name,
                program.display()
            )
        })?;
        if !looked.status.success() {
            bail!("{}", EscapedBytes(looked.stderr.trim_ascii()));
        }
        let said = String::from_utf8_lossy(&looked.stdout);
        Ok(said.lines().map(str::to_owned).collect())
    }
}

/// Prints what keeps commands from being run by the user of this process, a line each.
///
/// # Errors
/// If it can't be found out.
#[expect(clippy::print_stdout, reason = "it is what was asked for")]
pub fn check_commands(
    directory: &Path,
    stop: &CommandName,
    motions: &[CommandName],
) -> anyhow::Result<()> {
    for problem in problems(directory, stop, motions)? {
        println!("{problem}");
    }
    Ok(())
}

fn problems(
    directory: &Path,
    stop: &CommandName,
    motions: &[CommandName],
) -> anyhow::Result<Vec<String>> {
    let catalog = Catalog::at(directory)?;
    if let Some(problem) = catalog.problem() {
        return Ok(vec![problem]);
    }
    let listed = catalog.list()?;
    let broken = listed.iter().filter_map(|it| it.problem.as_ref());
    let broken = broken.map(|why| why.raw().to_owned());
    Ok(broken.chain(catalog.lacking(stop, motions)?).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(directory: &Path, name: &str, mode: u32) {
        let path = directory.join(name);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn said(directory: &Path) -> String {
        let names = |list: &[&str]| -> Vec<CommandName> {
            list.iter().map(|name| name.parse().unwrap()).collect()
        };
        let motions = names(&["forward", "back"]);
        problems(directory, &names(&["stop"])[0], &motions)
            .unwrap()
            .join("\n")
    }

    #[test]
    fn what_keeps_a_car_from_being_driven_is_said() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            said(dir.path()).contains("lacks `stop`, and none of forward, back"),
            "{}",
            said(dir.path())
        );
        script(dir.path(), "back", 0o755);
        assert!(
            said(dir.path()).contains("lacks `stop`:"),
            "{}",
            said(dir.path())
        );
        script(dir.path(), "stop", 0o644);
        assert!(said(dir.path()).contains("chmod"), "{}", said(dir.path()));
        script(dir.path(), "stop", 0o755);
        assert_eq!(said(dir.path()), "");
        fs::remove_file(dir.path().join("back")).unwrap();
        assert!(
            said(dir.path()).contains("lacks forward, back"),
            "{}",
            said(dir.path())
        );
        script(dir.path(), "car.worker", 0o755);
        assert_eq!(said(dir.path()), "", "the worker may serve them");
    }
}

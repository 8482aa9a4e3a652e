//! Default of the state directory.

use std::ffi::OsString;
use std::path::PathBuf;

/// Returns the default of `--state-dir`: systemd's `$STATE_DIRECTORY` (the first of several), else
/// `$XDG_STATE_HOME/p2prouter`, else `~/.local/state/p2prouter`. It need not exist.
///
/// # Errors
///
/// If `HOME` is not set either.
pub fn default_state_dir() -> Result<PathBuf, NoStateDir> {
    state_dir(|name| std::env::var_os(name))
}

fn state_dir(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, NoStateDir> {
    // Relative paths are ignored, as the XDG specification asks; systemd sets none.
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let folder = |name| variable(name).map(PathBuf::from).and_then(absolute);
    variable("STATE_DIRECTORY")
        .and_then(|list| std::env::split_paths(&list).next())
        .and_then(absolute)
        .or_else(|| Some(folder("XDG_STATE_HOME")?.join("p2prouter")))
        .or_else(|| Some(folder("HOME")?.join(".local/state/p2prouter")))
        .ok_or(NoStateDir)
}

/// No environment variable says where state belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no place for what this program keeps, as HOME is not set: say where with --state-dir DIR"
)]
pub struct NoStateDir;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<PathBuf, NoStateDir> {
        state_dir(|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.into())
        })
    }

    #[test]
    fn systemd_beats_xdg_which_beats_home() {
        let home = ("HOME", "/home/pi");
        let xdg = ("XDG_STATE_HOME", "/xdg");
        let systemd = ("STATE_DIRECTORY", "/var/lib/p2prouter:/var/lib/other");
        assert_eq!(with(&[]), Err(NoStateDir));
        assert_eq!(
            with(&[home]).unwrap(),
            Path::new("/home/pi/.local/state/p2prouter")
        );
        assert_eq!(with(&[home, xdg]).unwrap(), Path::new("/xdg/p2prouter"));
        assert_eq!(
            with(&[home, xdg, systemd]).unwrap(),
            Path::new("/var/lib/p2prouter")
        );
    }

    #[test]
    fn empty_and_relative_ones_are_passed_over() {
        let home = ("HOME", "/home/pi");
        for wrong in ["", "state", ":/var"] {
            let variables = [("STATE_DIRECTORY", wrong), ("XDG_STATE_HOME", wrong), home];
            assert_eq!(
                with(&variables).unwrap(),
                Path::new("/home/pi/.local/state/p2prouter")
            );
        }
        assert_eq!(with(&[("HOME", "")]), Err(NoStateDir));
    }
}

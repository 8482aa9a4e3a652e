//! Finds a program's own key: in a file that the user names, in the environment, or in the usual
//! place. Never in an argument, as every user of the machine can read those.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail, ensure};

use super::{Key, read_secret_file};

/// Environment variable that holds a key.
const VARIABLE: &str = "P2P_KEY";

/// Most bytes that are read of a key file; a key has 119.
const MAX_FILE: u64 = 4 * 1024;

/// Finds this program's key: in `key_file` when given, else in the environment variable `P2P_KEY`,
/// else in `$XDG_CONFIG_HOME/p2prouter/key` (`~/.config/p2prouter/key`).
///
/// Returns `None` if no file is given and the other places have no key. A variable that is set but
/// empty counts as not set, as everywhere.
///
/// # Errors
///
/// If the key of a place can't be used, its file may be read by others, or `key_file` does not exist:
/// the next place is not tried then. No error repeats any of the key.
pub fn load(key_file: Option<&Path>) -> anyhow::Result<Option<Key>> {
    load_with(key_file, |name| std::env::var_os(name))
}

/// Returns true if the environment has a key.
#[must_use]
pub fn is_in_environment() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty())
}

fn load_with(
    key_file: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Option<Key>> {
    let (text, place) = if let Some(path) = key_file {
        ensure!(
            !is_key(path),
            "a key was given where the name of a file belongs (--key-file, {VARIABLE}_FILE): write the key into a file that you alone can read, or set {VARIABLE}; as an argument every user of this machine could read it"
        );
        (
            read_secret_file(path, MAX_FILE)?,
            path.display().to_string(),
        )
    } else if let Some(value) = variable(VARIABLE).filter(|value| !value.is_empty()) {
        let Ok(text) = value.into_string() else {
            bail!("the environment variable {VARIABLE} is not text");
        };
        (text, format!("the environment variable {VARIABLE}"))
    } else if let Some(path) = config_dir_by(variable).map(|dir| dir.join("key")) {
        match read_secret_file(&path, MAX_FILE) {
            Err(error) if error.is_missing() => return Ok(None),
            text => (text?, path.display().to_string()),
        }
    } else {
        return Ok(None);
    };
    // Some editors write a byte order mark at the beginning of a file.
    let key = text.trim_start_matches('\u{feff}').parse::<Key>();
    let key = key.map_err(|why| anyhow!("the key in {place} can't be used: {why}"))?;
    Ok(Some(key))
}

/// Returns true for a key where a file's name belongs.
fn is_key(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_prefix(super::PREFIX))
        .is_some_and(|rest| rest.starts_with('_'))
}

/// Returns the folder of this user's keys and settings, which need not exist: `$XDG_CONFIG_HOME/p2prouter`
/// (`~/.config/p2prouter`); `None` if not even a home is known.
#[must_use]
pub fn config_dir() -> Option<PathBuf> {
    config_dir_by(|name| std::env::var_os(name))
}

/// A relative `XDG_CONFIG_HOME` is ignored, as its specification asks.
fn config_dir_by(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let config =
        folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))?;
    Some(config.join("p2prouter"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ffi::OsStr;
    use std::fs::{self, Permissions};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[derive(Default)]
    struct Environment(HashMap<&'static str, OsString>);

    impl Environment {
        fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
            self.0.insert(name, value.into());
            self
        }

        fn load(&self, key_file: Option<&Path>) -> anyhow::Result<Option<Key>> {
            load_with(key_file, |name| self.0.get(name).cloned())
        }
    }

    fn write_key(path: &Path, mode: u32) -> Key {
        let key = Key::generate().unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, key.expose() + "\n").unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        key
    }

    #[test]
    fn the_file_beats_the_variable_which_beats_the_usual_places() {
        let dir = tempfile::tempdir().unwrap();
        let given_path = dir.path().join("given");
        let xdg_path = dir.path().join("xdg/p2prouter/key");
        let home_path = dir.path().join("home/.config/p2prouter/key");
        let given = write_key(&given_path, 0o600);
        let in_xdg = write_key(&xdg_path, 0o600);
        let in_home = write_key(&home_path, 0o600);
        let in_variable = Key::generate().unwrap();
        let found = |environment: &Environment, file: Option<&Path>| {
            environment.load(file).unwrap().unwrap().expose()
        };

        let home = || Environment::default().with("HOME", dir.path().join("home"));
        assert_eq!(found(&home(), None), in_home.expose());
        let relative = home().with("XDG_CONFIG_HOME", "xdg");
        assert_eq!(found(&relative, None), in_home.expose());
        let xdg = home().with("XDG_CONFIG_HOME", dir.path().join("xdg"));
        assert_eq!(found(&xdg, None), in_xdg.expose());
        let empty = xdg.with("P2P_KEY", "");
        assert_eq!(found(&empty, None), in_xdg.expose());
        let all = empty.with("P2P_KEY", in_variable.expose());
        assert_eq!(found(&all, None), in_variable.expose());
        assert_eq!(found(&all, Some(&given_path)), given.expose());
    }

    #[test]
    fn a_key_behind_a_byte_order_mark_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let key = write_key(&path, 0o600);
        fs::write(&path, format!("\u{feff}{}\r\n", key.expose())).unwrap();
        let found = Environment::default().load(Some(&path)).unwrap().unwrap();
        assert_eq!(found.expose(), key.expose());
    }

    #[test]
    fn no_key_anywhere_is_none() {
        assert!(Environment::default().load(None).unwrap().is_none());
        for home in ["/nonexistent", "/dev/null"] {
            let environment = Environment::default().with("HOME", home);
            assert!(environment.load(None).unwrap().is_none(), "{home}");
        }
    }

    #[test]
    fn a_given_file_that_is_missing_is_an_error_even_with_a_variable() {
        let key = Key::generate().unwrap();
        let environment = Environment::default().with("P2P_KEY", key.expose());
        let error = environment
            .load(Some(Path::new("/nonexistent/key")))
            .unwrap_err();
        assert!(error.to_string().contains("/nonexistent/key"), "{error}");
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_wherever_it_was_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".config/p2prouter/key");
        let key = write_key(&path, 0o644);
        let environment = Environment::default().with("HOME", dir.path());
        for given in [None, Some(path.as_path())] {
            let error = environment.load(given).unwrap_err().to_string();
            assert!(
                error.contains(&format!("chmod 600 {}", path.display())),
                "{error}"
            );
            assert!(!error.contains(&key.expose()[14..]), "{error}");
        }
    }

    #[test]
    fn a_text_that_is_no_key_is_named_by_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_key(&path, 0o600);
        fs::write(&path, "").unwrap();
        let error = Environment::default()
            .load(Some(&path))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("the key in {} ", path.display())),
            "{error}"
        );
        assert!(error.contains("there is no key in it"), "{error}");

        let environment = Environment::default().with("P2P_KEY", "hunter2");
        let error = environment.load(None).unwrap_err().to_string();
        assert!(
            error.contains("P2P_KEY") && !error.contains("hunter2"),
            "{error}"
        );

        let environment = Environment::default().with("P2P_KEY", OsStr::from_bytes(b"\xff"));
        let error = environment.load(None).unwrap_err().to_string();
        assert_eq!(error, "the environment variable P2P_KEY is not text");
    }

    #[test]
    fn a_key_in_the_place_of_a_files_name_is_not_repeated() {
        let key = Key::generate().unwrap().expose();
        for given in [key.clone(), format!("./{key}"), key[..40].to_owned()] {
            let loaded = Environment::default().load(Some(Path::new(&given)));
            let error = loaded.unwrap_err();
            for said in [error.to_string(), format!("{error:?}")] {
                assert!(!said.contains(&key[14..30]), "{said}");
            }
            assert!(error.to_string().contains("--key-file"), "{error}");
        }
    }

    #[test]
    fn a_huge_file_is_not_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_key(&path, 0o600);
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        let error = Environment::default().load(Some(&path)).unwrap_err();
        assert!(error.to_string().contains("is larger than 4096 bytes"));
    }
}

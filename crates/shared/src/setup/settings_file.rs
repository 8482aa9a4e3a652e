//! A file of settings that `setup` writes and people edit: lines of others stay as they are.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context as _, bail};

use super::{own_path, write_file};
use crate::text::Escaped;

/// Form of a file of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsForm {
    /// `P2P_NAME=value` (systemd.exec(5), `EnvironmentFile=`).
    Environment,
    /// `name = "value"`, as `--config` reads it.
    Toml,
}

/// A file of settings. A setting goes by the long name of its option (`service-port`).
#[derive(Debug)]
pub struct SettingsFile {
    path: PathBuf,
    form: SettingsForm,
    before: String,
    lines: Vec<String>,
}

impl SettingsFile {
    /// Reads a file, which need not exist.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn read(path: &Path, form: SettingsForm) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            text => text.with_context(|| format!("can't read {}", path.display())),
        }?;
        Ok(Self {
            path: path.to_owned(),
            form,
            lines: text.lines().map(str::to_owned).collect(),
            before: text,
        })
    }

    /// Returns the file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the value of a setting; `None` if it has none, or one that is not understood.
    #[must_use]
    pub fn get(&self, option: &str) -> Option<String> {
        let line = (self.lines.iter()).rfind(|line| is_of(line, &self.name(option)))?;
        match self.form {
            SettingsForm::Environment => unquoted(line.split_once('=')?.1),
            SettingsForm::Toml => {
                let table: toml::Table = line.parse().ok()?;
                Some(plain(table.get(option)?))
            }
        }
        .filter(|value| !value.is_empty())
    }

    /// Sets a value; `None` takes the setting out.
    pub fn set(&mut self, option: &str, value: Option<&str>) {
        if self.get(option).as_deref() == value {
            return;
        }
        let name = self.name(option);
        let line = value.map(|value| match self.form {
            SettingsForm::Environment => format!("{name}={}", quoted(value)),
            SettingsForm::Toml if value.parse::<u32>().is_ok() => format!("{name} = {value}"),
            SettingsForm::Toml => format!("{name} = {}", toml::Value::String(value.to_owned())),
        });
        let at = (self.lines.iter()).position(|line| is_of(line, &name));
        let at = at.unwrap_or(self.lines.len());
        self.lines.retain(|line| !is_of(line, &name));
        if let Some(line) = line {
            self.lines.insert(at, line);
        }
    }

    /// Returns the value of the variable by which a program knows a setting (`P2P_SERVICE_PORTS`).
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        let option = name.strip_prefix("P2P_")?.to_lowercase().replace('_', "-");
        self.get(&option)
    }

    /// Returns true if there was nothing in the file.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.before.is_empty()
    }

    /// Writes the file if it has changed. Returns whether it has. It may have secrets: one that is new is its owner's
    /// alone, any other keeps its mode and owner.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(&self) -> anyhow::Result<bool> {
        let text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        if text == self.before && self.path.exists() {
            return Ok(false);
        }
        let is_torn = |line: &&String| line.contains(['\n', '\r', '\0']);
        if let Some(line) = self.lines.iter().find(is_torn) {
            bail!("a setting can't have ends of lines: {}", Escaped(line));
        }
        let path = own_path(&self.path)?;
        let (mode, owner) = match path.metadata() {
            Ok(file) => (file.mode() & 0o777, Some((file.uid(), file.gid()))),
            Err(_) => (0o600, None),
        };
        write_file(&path, &text, mode, owner)?;
        Ok(true)
    }

    fn name(&self, option: &str) -> String {
        if self.form == SettingsForm::Toml {
            return option.to_owned();
        }
        let variable = option.to_uppercase().replace('-', "_");
        match option {
            // The units give these as arguments.
            "router-host" | "router-port" | "service-port" => variable,
            _ => format!("P2P_{variable}"),
        }
    }
}

fn is_of(line: &str, name: &str) -> bool {
    let rest = line.trim_start().strip_prefix(name);
    rest.is_some_and(|rest| rest.trim_start().starts_with('='))
}

/// Returns a value as the command line has it.
fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Characters that have a meaning between double quotes (systemd.exec(5), `EnvironmentFile=`).
const SPECIAL: [char; 4] = ['"', '\\', '`', '$'];

fn quoted(value: &str) -> String {
    let mut quoted = String::from('"');
    for c in value.chars() {
        if SPECIAL.contains(&c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

/// Reads the value of a variable as systemd does; `None`: it has several parts or lines.
fn unquoted(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('\'') {
        return (rest.strip_suffix('\''))
            .filter(|value| !value.contains('\''))
            .map(str::to_owned);
    }
    let inner = text.strip_prefix('"');
    let mut chars = inner.unwrap_or(text).chars();
    let mut value = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' if inner.is_some() => return chars.as_str().is_empty().then_some(value),
            '\\' => {
                let next = chars.next()?;
                if inner.is_some() && !SPECIAL.contains(&next) {
                    value.push('\\');
                }
                value.push(next);
            }
            c => value.push(c),
        }
    }
    inner.is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const VALUES: [(&str, &str); 4] = [
        ("router-host", "router.test"),
        ("service-port", "9000"),
        ("name", "car of Tom's \"lab\" $HOME"),
        ("camera", r"rpicam-vid -o - 'a\b'"),
    ];

    #[test]
    fn what_is_set_is_read_again_in_either_form_and_the_lines_of_others_stay() {
        for form in [SettingsForm::Environment, SettingsForm::Toml] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("sub/settings");
            let open = || SettingsFile::read(&path, form).unwrap();
            let mut file = open();
            for (option, value) in VALUES {
                assert_eq!(file.get(option), None);
                file.set(option, Some(value));
            }
            assert!(file.write().unwrap());
            let others = "# mine\nP2P_LEASE=300\nlease = 300\n";
            let text = others.to_owned() + &fs::read_to_string(&path).unwrap();
            fs::write(&path, &text).unwrap();
            let mut file = open();
            for (option, value) in VALUES {
                assert_eq!(file.get(option).as_deref(), Some(value), "{form:?}");
                file.set(option, Some(value));
            }
            assert!(!file.write().unwrap());
            file.set("camera", None);
            file.set("service-port", Some("9001"));
            assert!(file.write().unwrap());
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with(others), "{text}");
            let changed = text.lines().nth(4).unwrap();
            assert!(
                changed.contains("9001") && !text.contains("rpicam"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_name_that_begins_alike_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        fs::write(&path, "P2P_NAMES=a\nP2P_NAME=b\nP2P_NAME=c\n").unwrap();
        let mut file = SettingsFile::read(&path, SettingsForm::Environment).unwrap();
        assert_eq!(file.get("name").as_deref(), Some("c"), "the last counts");
        file.set("name", Some("d"));
        file.write().unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "P2P_NAMES=a\nP2P_NAME=\"d\"\n"
        );
    }

    #[test]
    fn values_are_written_and_read_as_systemd_has_them() {
        assert_eq!(quoted(r#"a "b" $c `d` \e"#), r#""a \"b\" \$c \`d\` \\e""#);
        for (text, value) in [
            ("Tom's car", Some("Tom's car")),
            ("/srv/my car  ", Some("/srv/my car")),
            (r"a\ b\\c", Some(r"a b\c")),
            (r#"" a \"b\" \$c \x""#, Some(r#" a "b" $c \x"#)),
            (r"'a \b'", Some(r"a \b")),
            (r#"a"b""#, Some(r#"a"b""#)),
            ("", Some("")),
            (r#""a"b"#, None),
            ("\"a", None),
            (r"a\", None),
        ] {
            assert_eq!(unquoted(text).as_deref(), value, "{text}");
        }
    }

    #[test]
    fn a_file_keeps_its_mode_a_new_one_is_private_and_no_value_makes_a_line_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("s"), dir.path().join("link"));
        let mode = || path.metadata().unwrap().mode() & 0o777;
        let set = |path: &Path, name: &str| {
            let mut file = SettingsFile::read(path, SettingsForm::Environment).unwrap();
            file.set("name", Some(name));
            file.write()
        };
        assert!(set(&path, "a").unwrap());
        assert_eq!(mode(), 0o600);
        for kept in [0o640, 0o644, 0o600] {
            fs::set_permissions(&path, PermissionsExt::from_mode(kept)).unwrap();
            assert!(set(&path, &format!("a{kept}")).unwrap());
            assert_eq!(mode(), kept);
        }
        std::os::unix::fs::symlink("s", &link).unwrap();
        assert!(set(&link, "b").unwrap());
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "P2P_NAME=\"b\"\n");
        assert!(set(&path, "b\nP2P_OPEN=1").is_err());
    }
}

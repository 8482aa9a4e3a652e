//! Reads the TOML file of settings. Errors name the file and the key.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Arg, ArgAction, Command};
use toml::Value;

use crate::text::Escaped;

/// Name that people would use for a secret. Files of settings get shown and copied around.
const SECRET: &str = "key";

/// File whose keys are all known.
pub(super) struct ConfigFile {
    path: PathBuf,
    table: toml::Table,
}

impl fmt::Display for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.path.to_string_lossy()).fmt(f)
    }
}

impl ConfigFile {
    /// Reads a file that may have `keys` and no others.
    pub(super) fn read(path: PathBuf, keys: &[&str]) -> Result<Self, Error> {
        let mut file = Self {
            path,
            table: toml::Table::new(),
        };
        let text = std::fs::read_to_string(&file.path).map_err(|error| {
            Error::raw(
                ErrorKind::Io,
                format!("can't read the settings in {file}: {error}"),
            )
        })?;
        file.table = text.parse().map_err(|error: toml::de::Error| {
            let before = error
                .span()
                .and_then(|span| text.get(..span.start))
                .unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let message = Escaped(error.message());
            Error::raw(ErrorKind::Io, format!("{file}, line {line}: {message}"))
        })?;
        match file.table.keys().find(|key| !keys.contains(&key.as_str())) {
            None => Ok(file),
            Some(key) => Err(Error::raw(
                ErrorKind::UnknownArgument,
                file.unknown(key, keys),
            )),
        }
    }

    fn unknown(&self, key: &str, keys: &[&str]) -> String {
        if key == SECRET {
            return format!(
                "`{SECRET}` in {self}: a secret does not belong in a file of settings; put it in \
                 a file of its own, with mode 0600, and that file's name under `key-file`"
            );
        }
        let hint = match nearest(key, keys) {
            Some(near) => format!("; `{near}` is one"),
            None => String::new(),
        };
        let key = Escaped(key);
        format!(
            "`{key}` in {self} is not a setting{hint}. All there are: {}",
            keys.join(", ")
        )
    }

    /// Returns the value of an argument, as words of a command line.
    pub(super) fn get(&self, key: &str, arg: &Arg) -> Result<Option<Vec<OsString>>, Error> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let wrong = |reason| {
            let message = format!("`{key}` in {self}: {reason}");
            Error::raw(ErrorKind::ValueValidation, message)
        };
        words(value, arg).map(Some).map_err(wrong)
    }
}

/// Turns a value into the words of a command line.
fn words(value: &Value, arg: &Arg) -> Result<Vec<OsString>, String> {
    let wanted = match (arg.get_action(), value) {
        (ArgAction::SetTrue, Value::Boolean(_))
        | (ArgAction::Count, Value::Boolean(_) | Value::Integer(_)) => None,
        (ArgAction::SetTrue, _) => Some("true or false is wanted"),
        (ArgAction::Count, _) => Some("a number, true or false is wanted"),
        (_, Value::Array(list)) if list.is_empty() => Some("an empty list says nothing"),
        (_, Value::Array(_)) if !takes_list(arg) => Some("one value is wanted, not a list"),
        _ => None,
    };
    if let Some(wanted) = wanted {
        return Err(wanted.to_owned());
    }
    match value {
        Value::Array(list) => list.iter().map(|value| word(value, arg, true)).collect(),
        single => Ok(vec![word(single, arg, false)?]),
    }
}

fn word(value: &Value, arg: &Arg, in_list: bool) -> Result<OsString, String> {
    let word = match value {
        Value::String(text) => text.clone(),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            value.to_string()
        }
        Value::Array(_) | Value::Table(_) => {
            return Err(format!("a plain value is wanted, not {}", value.type_str()));
        }
    };
    // clap splits defaults as it does the command line.
    match arg.get_value_delimiter() {
        Some(delimiter) if in_list && word.contains(delimiter) => {
            Err(format!("'{}' has a '{delimiter}' in it", Escaped(&word)))
        }
        _ => Ok(word.into()),
    }
}

fn takes_list(arg: &Arg) -> bool {
    arg.get_value_delimiter().is_some()
        || matches!(arg.get_action(), ArgAction::Append)
        || arg
            .get_num_args()
            .is_some_and(|count| count.max_values() > 1)
}

/// Guesses the key that was meant, as clap does for options.
fn nearest(key: &str, keys: &[&str]) -> Option<String> {
    let options = keys
        .iter()
        .map(|key| Arg::new((*key).to_owned()).long((*key).to_owned()));
    let probe = Command::new("probe")
        .no_binary_name(true)
        .disable_help_flag(true)
        .args(options);
    let error = probe.try_get_matches_from([format!("--{key}")]).err()?;
    match error.get(ContextKind::SuggestedArg)? {
        ContextValue::String(option) => option.strip_prefix("--").map(str::to_owned),
        _ => None,
    }
}

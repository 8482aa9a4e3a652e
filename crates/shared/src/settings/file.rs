//! Reads the TOML file of settings. Errors name the file and the key.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Arg, ArgAction, Command};
use toml::Value;

use crate::text::Escaped;

/// Name that people would use for a secret. Files of settings get shown and copied around.
const SECRET: &str = "key";

/// Makes the error for a wrong setting.
pub(super) fn mistake(message: String) -> Error {
    Error::raw(ErrorKind::ValueValidation, message)
}

/// File whose keys are all known.
pub(super) struct ConfigFile {
    name: String,
    table: toml::Table,
}

impl ConfigFile {
    /// Reads a file that may have `keys` and no others.
    pub(super) fn read(path: &Path, keys: &[String]) -> Result<Self, Error> {
        let name = Escaped(&path.to_string_lossy()).to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| mistake(format!("can't read the settings in {name}: {error}")))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            let message = Escaped(error.message());
            mistake(format!("{name}, line {line}: {message}"))
        })?;
        let file = Self { name, table };
        match file.table.keys().find(|key| !keys.contains(key)) {
            None => Ok(file),
            Some(key) => Err(mistake(file.unknown(key, keys))),
        }
    }

    fn unknown(&self, key: &str, keys: &[String]) -> String {
        let place = self.place(&Escaped(key).to_string());
        if key == SECRET {
            return format!(
                "{place}: a secret does not belong in a file of settings; put it in a file of its \
                 own, with mode 0600, and that file's name under `key-file`"
            );
        }
        let hint = nearest(key, keys).map(|near| format!("; `{near}` is one"));
        let hint = hint.unwrap_or_default();
        format!(
            "{place} is not a setting{hint}. All there are: {}",
            keys.join(", ")
        )
    }

    /// Returns the place of a key, for error sentences.
    pub(super) fn place(&self, key: &str) -> String {
        format!("`{key}` in {}", self.name)
    }

    /// Returns the value of an argument, as words of a command line.
    pub(super) fn get(&self, key: &str, arg: &Arg) -> Result<Option<Vec<OsString>>, Error> {
        let value = self.table.get(key);
        let words = value.map(|value| words(value, arg)).transpose();
        words.map_err(|reason| mistake(format!("{}: {reason}", self.place(key))))
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
        (ArgAction::Append, Value::Array(_)) => None,
        (_, Value::Array(_)) => Some("one value is wanted, not a list"),
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
        Value::Array(_) | Value::Table(_) => {
            return Err(format!("a plain value is wanted, not {}", value.type_str()));
        }
        plain => plain.to_string(),
    };
    // clap splits defaults as it does the command line.
    match arg.get_value_delimiter() {
        Some(delimiter) if in_list && word.contains(delimiter) => {
            Err(format!("'{}' has a '{delimiter}' in it", Escaped(&word)))
        }
        _ => Ok(word.into()),
    }
}

/// Guesses the key that was meant, as clap does for options.
fn nearest(key: &str, keys: &[String]) -> Option<String> {
    let probe = Command::new("probe")
        .no_binary_name(true)
        .disable_help_flag(true)
        .args(
            keys.iter()
                .map(|key| Arg::new(key.clone()).long(key.clone())),
        );
    let error = probe.try_get_matches_from([format!("--{key}")]).err()?;
    match error.get(ContextKind::SuggestedArg)? {
        ContextValue::String(option) => option.strip_prefix("--").map(str::to_owned),
        _ => None,
    }
}

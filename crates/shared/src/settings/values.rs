//! Values from environment and file as clap takes them. It owns their check at a point where
//! their origin is still known, since clap says of a wrong default only that it is wrong.

use std::error::Error as _;
use std::ffi::OsString;
use std::fmt::Display;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Arg, ArgAction, Command};

use crate::text::Escaped;

/// The most characters of a wrong value that an error repeats.
const SHOWN_CHARS: usize = 100;

/// A usage error about a value that came from `origin`.
pub(super) fn error(origin: impl Display, reason: impl Display) -> Error {
    Error::raw(ErrorKind::ValueValidation, format!("{origin}: {reason}"))
}

/// The values that an argument gets from a variable.
pub(super) fn from_variable(
    arg: &Arg,
    variable: &str,
    value: OsString,
) -> Result<Vec<OsString>, Error> {
    checked(arg, vec![value])
        .map_err(|reason| error(format_args!("{variable} in the environment"), reason))
}

/// The values in the form in which clap takes them, or the reason why it won't.
pub(super) fn checked(arg: &Arg, values: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let word = values
        .first()
        .map(|value| value.to_string_lossy())
        .unwrap_or_default();
    let (canonical, what) = match arg.get_action() {
        ArgAction::SetTrue => (boolean(&word).map(|on| on.to_string()), ""),
        ArgAction::Count => (
            count(&word).map(|count| count.to_string()),
            "a number up to 255 nor ",
        ),
        _ => return probe(arg, &values).map(|()| values),
    };
    let word = Escaped(&word).cut(SHOWN_CHARS);
    let value = canonical.ok_or_else(|| format!("'{word}' is neither {what}true nor false"))?;
    Ok(vec![value.into()])
}

/// What people write for a switch in an environment file.
fn boolean(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn count(word: &str) -> Option<u8> {
    word.parse().ok().or_else(|| boolean(word).map(u8::from))
}

/// Has clap parse the values as those of the only option of a command.
fn probe(arg: &Arg, values: &[OsString]) -> Result<(), String> {
    let mut option = Arg::new("probe")
        .long("probe")
        .value_parser(arg.get_value_parser().clone())
        .action(ArgAction::Append)
        .ignore_case(arg.is_ignore_case_set());
    if let Some(delimiter) = arg.get_value_delimiter() {
        option = option.value_delimiter(delimiter);
    }
    for value in values {
        let mut given = OsString::from("--probe=");
        given.push(value);
        let command = Command::new("probe")
            .no_binary_name(true)
            .arg(option.clone());
        command.try_get_matches_from([given]).map_err(|error| {
            let value = value.to_string_lossy();
            let value = Escaped(&value).cut(SHOWN_CHARS);
            format!("'{value}' is not valid{}", reason(&error))
        })?;
    }
    Ok(())
}

fn reason(error: &Error) -> String {
    if let Some(source) = error.source() {
        return format!(": {}", Escaped(&source.to_string()));
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) if !valid.is_empty() => {
            format!("; valid are {}", valid.join(", "))
        }
        _ => String::new(),
    }
}

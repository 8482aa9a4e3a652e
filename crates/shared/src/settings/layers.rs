//! Layers below the command line: environment and file become clap's defaults.

use std::collections::HashMap;
use std::error::Error as _;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Id};

use super::file::{ConfigFile, mistake};
use crate::text::Escaped;

/// Id of the argument that names the file; the file itself can't set it.
const CONFIG: &str = "config";

/// Ids of `-v` and `-q`, which undo each other: if one of them is on the command line, the other
/// layers count for neither.
const VERBOSITY: [&str; 2] = ["verbose", "quiet"];

/// Most characters of a wrong value that an error repeats.
const SHOWN_CHARS: usize = 100;

/// Returns the name of an argument in the file.
pub(super) fn key(arg: &Arg) -> String {
    let value_name = || Some(arg.get_value_names()?.first()?.as_str());
    let name = arg.get_long().or_else(value_name);
    let name = name.unwrap_or(arg.get_id().as_str());
    name.to_lowercase().replace('_', "-")
}

/// Returns the name of an argument in the environment.
fn variable(arg: &Arg) -> String {
    format!("P2P_{}", key(arg).to_uppercase().replace('-', "_"))
}

/// Adds every argument's variable to the help.
pub(super) fn with_variables(command: Command) -> Command {
    command.mut_args(|arg| {
        let variable = variable(&arg);
        arg.env(variable).hide_env_values(true)
    })
}

/// Returns a command whose help has every argument's variable, and of each subcommand those settings of the program
/// alone that it uses.
fn with_help(command: Command, used_by: impl Fn(&str) -> Used) -> Command {
    let mut command = with_variables(command);
    // Until then the subcommands don't have them.
    command.build();
    command.mut_subcommands(|task| match used(task.get_name(), &used_by) {
        Some(used) => without_others(task, used),
        None => task,
    })
}

fn without_others(command: Command, used: &[&str]) -> Command {
    let is_used = |arg: &Arg| match arg.get_id() == CONFIG {
        true => !used.is_empty(),
        false => used.contains(&key(arg).as_str()),
    };
    command
        .mut_args(|arg| {
            let is_hidden = arg.is_hide_set() || arg.is_global_set() && !is_used(&arg);
            arg.hide(is_hidden)
        })
        .mut_subcommands(|task| without_others(task, used))
}

/// Value of a setting in environment or file: its place for error sentences, and the words as they
/// would be on the command line.
struct Layered {
    origin: String,
    words: Vec<OsString>,
}

/// Subcommands of every program that need no settings.
const WITHOUT_SETTINGS: [&str; 3] = ["completions", "help", "man"];

/// Names of the settings that a subcommand uses; `None`: all.
type Used = Option<&'static [&'static str]>;

fn used(task: &str, used_by: impl Fn(&str) -> Used) -> Used {
    match WITHOUT_SETTINGS.contains(&task) {
        true => Some(&[]),
        false => used_by(task),
    }
}

/// Parses `args`, with what environment and file have as defaults. `used_by` names the settings of a
/// subcommand, as in [`Settings`](super::Settings).
pub(super) fn parse(
    command: Command,
    used_by: impl Fn(&str) -> Used,
    args: &[OsString],
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<ArgMatches, Error> {
    // A first, lenient pass shows what the command line has. Help and version end here; mistakes
    // are for the second pass, which knows everything.
    let lenient = command.clone().ignore_errors(true);
    let given = with_help(lenient, &used_by).try_get_matches_from(args)?;
    let task = given.subcommand_name();
    let used = task.and_then(|task| used(task, &used_by));
    if used.is_some_and(<[_]>::is_empty) {
        return parse_with_defaults(command, args, &HashMap::new());
    }
    let is_used = |key: &str| used.is_none_or(|used| used.contains(&key));
    let is_given = |id: &str| {
        // clap panics when it is asked for the source of an argument that it doesn't know.
        given.ids().any(|known| known == id)
            && given.value_source(id) == Some(ValueSource::CommandLine)
    };
    let is_settled = |id: &str| {
        is_given(id) || VERBOSITY.contains(&id) && VERBOSITY.iter().any(|other| is_given(other))
    };
    let in_environment = |arg: &Arg| environment(&variable(arg)).filter(|value| !value.is_empty());

    let is_config = |arg: &&Arg| arg.get_id() == CONFIG;
    let path = match command.get_arguments().find(is_config) {
        Some(_) if is_given(CONFIG) => given.get_one::<PathBuf>(CONFIG).cloned(),
        Some(config) => in_environment(config).map(PathBuf::from),
        None => None,
    };
    let in_file = command.get_arguments().filter(|arg| !is_config(arg));
    let keys: Vec<String> = in_file.map(key).collect();
    let file = path
        .map(|path| ConfigFile::read(&path, &keys))
        .transpose()?;

    let mut layered = HashMap::new();
    for arg in command.get_arguments() {
        if is_settled(arg.get_id().as_str()) || !is_used(&key(arg)) {
            continue;
        }
        let (origin, words) = if let Some(value) = in_environment(arg) {
            (format!("{} in the environment", variable(arg)), vec![value])
        } else if let Some(file) = &file
            && let Some(words) = file.get(&key(arg), arg)?
        {
            (file.place(&key(arg)), words)
        } else {
            continue;
        };
        let words = switches_as_clap_has_them(arg, words);
        layered.insert(arg.get_id().clone(), Layered { origin, words });
    }
    parse_with_defaults(command, args, &layered)
}

/// Replaces the words that people write for switches and counts by those that clap takes.
fn switches_as_clap_has_them(arg: &Arg, words: Vec<OsString>) -> Vec<OsString> {
    let (on, off) = match arg.get_action() {
        ArgAction::SetTrue => ("true", "false"),
        ArgAction::Count => ("1", "0"),
        _ => return words,
    };
    let switch = |word: OsString| match word.to_ascii_lowercase().to_str() {
        Some("true" | "yes" | "on" | "1") => on.into(),
        Some("false" | "no" | "off" | "0") => off.into(),
        _ => word,
    };
    words.into_iter().map(switch).collect()
}

fn parse_with_defaults(
    command: Command,
    args: &[OsString],
    layered: &HashMap<Id, Layered>,
) -> Result<ArgMatches, Error> {
    // clap allows no required positional after one with a default. So once a positional has got a
    // default, the required ones are checked here.
    let is_filled = (command.get_positionals()).any(|arg| layered.contains_key(arg.get_id()));
    let required: Vec<Arg> = command
        .get_positionals()
        .filter(|arg| is_filled && arg.is_required_set())
        .cloned()
        .collect();
    let mut command = command.mut_args(|arg| match layered.get(arg.get_id()) {
        Some(Layered { words, .. }) => arg.required(false).default_values(words.clone()),
        None if is_filled && arg.is_positional() => arg.required(false),
        None => arg,
    });
    let matches = command.try_get_matches_from_mut(args);
    let matches = matches.map_err(|error| with_origin(error, &command, layered))?;
    let missing: String = required
        .iter()
        .filter(|arg| !matches.contains_id(arg.get_id().as_str()))
        .map(|arg| format!("\n  <{}>", variable(arg).trim_start_matches("P2P_")))
        .collect();
    let is_negated = command.is_subcommand_negates_reqs_set() && matches.subcommand().is_some();
    if missing.is_empty() || is_negated {
        return Ok(matches);
    }
    Err(Error::raw(
        ErrorKind::MissingRequiredArgument,
        format!("the following required arguments were not provided:{missing}"),
    ))
}

/// Adds the place of a wrong value to clap's error, which takes the value for a default.
fn with_origin(error: Error, command: &Command, layered: &HashMap<Id, Layered>) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let is_of = |arg: &&Arg| arg.to_string() == text(ContextKind::InvalidArg);
    let arg = command.get_arguments().find(is_of);
    let Some(Layered { origin, .. }) = arg.and_then(|arg| layered.get(arg.get_id())) else {
        return error;
    };
    let reason = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => format!(": {}", Escaped(&source.to_string())),
        (None, Some(ContextValue::Strings(valid))) if !valid.is_empty() => {
            format!("; valid are {}", valid.join(", "))
        }
        _ => String::new(),
    };
    let value = Escaped(text(ContextKind::InvalidValue)).cut(SHOWN_CHARS);
    mistake(format!("{origin}: '{value}' is not valid{reason}"))
}

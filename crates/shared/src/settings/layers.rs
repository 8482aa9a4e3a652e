//! Layers below the command line: environment and file become clap's defaults.

use std::collections::HashMap;
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::{OsStr as ClapOsStr, Resettable};
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Id};

use super::file::ConfigFile;
use crate::text::Escaped;

/// Id of the argument that names the file; the file itself can't set it.
const CONFIG: &str = "config";

/// Ids of `-v` and `-q`, which undo each other: if one of them is on the command line, the other
/// layers count for neither.
const VERBOSITY: [&str; 2] = ["verbose", "quiet"];

/// Most characters of a wrong value that an error repeats.
const SHOWN_CHARS: usize = 100;

/// Argument with its names in environment and file.
struct Setting {
    arg: Arg,
    key: String,
    variable: String,
}

impl Setting {
    fn of(arg: &Arg) -> Self {
        let value_name = arg.get_value_names().and_then(<[_]>::first);
        let name = match (arg.get_long(), value_name) {
            (Some(long), _) => long,
            (None, Some(value_name)) => value_name.as_str(),
            (None, None) => arg.get_id().as_str(),
        };
        let key = name.to_lowercase().replace('_', "-");
        let variable = match arg.get_env().and_then(OsStr::to_str) {
            Some(variable) => variable.to_owned(),
            None => format!("P2P_{}", key.to_uppercase().replace('-', "_")),
        };
        Self {
            arg: arg.clone(),
            key,
            variable,
        }
    }

    fn id(&self) -> &Id {
        self.arg.get_id()
    }
}

/// Adds every argument's variable to the help.
pub(super) fn with_variables(command: Command) -> Command {
    command.mut_args(|arg| {
        let variable = Setting::of(&arg).variable;
        arg.env(variable).hide_env_values(true)
    })
}

/// Value of a setting in environment or file: its place for error sentences, and the words as they
/// would be on the command line.
struct Layered {
    origin: String,
    words: Vec<OsString>,
}

/// Parses `args`, with what environment and file have as defaults.
pub(super) fn parse(
    command: Command,
    args: &[OsString],
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<ArgMatches, Error> {
    // A first, lenient pass shows what the command line has. Help and version end here; mistakes
    // are for the second pass, which knows everything.
    let given = with_variables(command.clone())
        .ignore_errors(true)
        .try_get_matches_from(args)?;
    let settings: Vec<Setting> = command.get_arguments().map(Setting::of).collect();
    let variable =
        |setting: &Setting| environment(&setting.variable).filter(|value| !value.is_empty());

    let file = match settings.iter().find(|setting| setting.id() == CONFIG) {
        Some(_) if from_command_line(&given, CONFIG) => given.get_one::<PathBuf>(CONFIG).cloned(),
        Some(config) => variable(config).map(PathBuf::from),
        None => None,
    };
    let in_file = || settings.iter().filter(|setting| setting.id() != CONFIG);
    let keys: Vec<&str> = in_file().map(|setting| setting.key.as_str()).collect();
    let file = file.map(|path| ConfigFile::read(path, &keys)).transpose()?;

    let mut layered = HashMap::new();
    for setting in settings {
        if is_settled(&given, setting.id()) {
            continue;
        }
        let found = match (variable(&setting), &file) {
            (Some(value), _) => Some(Layered {
                origin: format!("{} in the environment", setting.variable),
                words: vec![value],
            }),
            (None, Some(file)) => (file.get(&setting.key, &setting.arg)?).map(|words| Layered {
                origin: format!("`{}` in {file}", setting.key),
                words,
            }),
            (None, None) => None,
        };
        if let Some(mut found) = found {
            found.words = switches_as_clap_has_them(&setting.arg, found.words);
            layered.insert(setting.id().clone(), found);
        }
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
    // clap won't have a required positional after one with a default. So as soon as one has got one,
    // the required ones are looked after here.
    let is_filled = (command.get_positionals()).any(|arg| layered.contains_key(arg.get_id()));
    let required: Vec<Setting> = command
        .get_positionals()
        .filter(|arg| is_filled && arg.is_required_set())
        .map(Setting::of)
        .collect();
    let mut command = command.mut_args(|arg| {
        // clap would read the environment of the process by itself.
        let arg = arg.env(Resettable::<ClapOsStr>::Reset);
        match layered.get(arg.get_id()) {
            Some(Layered { words, .. }) => arg.required(false).default_values(words.clone()),
            None if is_filled && arg.is_positional() => arg.required(false),
            None => arg,
        }
    });
    let matches = command.try_get_matches_from_mut(args);
    let matches = matches.map_err(|error| with_origin(error, &command, layered))?;
    let missing: Vec<String> = required
        .iter()
        .filter(|setting| !matches.contains_id(setting.id().as_str()))
        .map(|setting| format!("\n  <{}>", setting.key.to_uppercase().replace('-', "_")))
        .collect();
    let is_negated = command.is_subcommand_negates_reqs_set() && matches.subcommand().is_some();
    if missing.is_empty() || is_negated {
        return Ok(matches);
    }
    Err(Error::raw(
        ErrorKind::MissingRequiredArgument,
        format!(
            "the following required arguments were not provided:{}",
            missing.concat()
        ),
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
    let message = format!("{origin}: '{value}' is not valid{reason}");
    Error::raw(ErrorKind::ValueValidation, message)
}

/// Returns true if the command line decides about the argument.
fn is_settled(given: &ArgMatches, id: &Id) -> bool {
    let is_verbosity = VERBOSITY.contains(&id.as_str());
    from_command_line(given, id.as_str())
        || is_verbosity
            && VERBOSITY
                .iter()
                .any(|other| from_command_line(given, other))
}

fn from_command_line(given: &ArgMatches, id: &str) -> bool {
    // clap panics when it is asked for the source of an argument that it doesn't know.
    given.ids().any(|known| known == id) && given.value_source(id) == Some(ValueSource::CommandLine)
}

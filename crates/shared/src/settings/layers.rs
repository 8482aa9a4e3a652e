//! Environment and file as clap's defaults. It owns the order of the layers and the names under
//! which they have each setting.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::{OsStr as ClapOsStr, Resettable};
use clap::error::{Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Id};

use super::config_file::ConfigFile;
use super::values;

/// The argument that names the file; the file itself can't set it.
const CONFIG: &str = "config";

/// `-v` and `-q` undo each other: one of them on the command line is the last word on both.
const VERBOSITY: [&str; 2] = ["verbose", "quiet"];

/// An argument and its names in the layers below the command line.
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

/// The command with every argument's variable in its help.
pub(super) fn with_variables(command: Command) -> Command {
    command.mut_args(|arg| {
        let variable = Setting::of(&arg).variable;
        arg.env(variable).hide_env_values(true)
    })
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

    let mut layered: HashMap<Id, Vec<OsString>> = HashMap::new();
    for setting in settings
        .iter()
        .filter(|setting| !is_settled(&given, setting.id()))
    {
        let values = match (variable(setting), &file) {
            (Some(value), _) => Some(values::from_variable(
                &setting.arg,
                &setting.variable,
                value,
            )?),
            (None, Some(file)) => file.get(&setting.key, &setting.arg)?,
            (None, None) => None,
        };
        if let Some(values) = values {
            layered.insert(setting.id().clone(), values);
        }
    }
    parse_with_defaults(command, args, &layered)
}

fn parse_with_defaults(
    command: Command,
    args: &[OsString],
    defaults: &HashMap<Id, Vec<OsString>>,
) -> Result<ArgMatches, Error> {
    // clap won't have a required positional after one with a default. So as soon as one has got
    // one, the required ones are looked after here.
    let filled = command
        .get_positionals()
        .any(|arg| defaults.contains_key(arg.get_id()));
    let required: Vec<Setting> = command
        .get_positionals()
        .filter(|arg| filled && arg.is_required_set())
        .map(Setting::of)
        .collect();
    let command = command.mut_args(|arg| {
        // clap would read the environment of the process by itself.
        let arg = arg.env(Resettable::<ClapOsStr>::Reset);
        let is_required = arg.is_required_set() && !(filled && arg.is_positional());
        match defaults.get(arg.get_id()) {
            Some(values) => arg.required(false).default_values(values.clone()),
            None => arg.required(is_required),
        }
    });
    let negated = command.is_subcommand_negates_reqs_set();
    let matches = command.try_get_matches_from(args)?;
    let missing: Vec<String> = required
        .iter()
        .filter(|setting| !matches.contains_id(setting.id().as_str()))
        .map(|setting| format!("\n  <{}>", setting.key.to_uppercase().replace('-', "_")))
        .collect();
    if missing.is_empty() || negated && matches.subcommand().is_some() {
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

/// Whether the command line has had its say on an argument.
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

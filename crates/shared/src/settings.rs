//! Settings of a program: flag beats environment beats file beats default. Each program says what its
//! settings are in its own clap types.
//!
//! Every argument of the top command has
//!
//! - a key in the TOML file that `--config` names: its long name (`service-ports`), or a
//!   positional's value name in lower case (`router-host`);
//! - an environment variable: `P2P_` and that key in upper case (`P2P_SERVICE_PORTS`). A variable
//!   that is empty counts as not set.
//!
//! Subcommands see a setting if [`Settings::used_by`] names it; what they don't use is not even
//! checked. A value from environment or file takes the
//! place of the argument's default, is checked by the argument's own parser, and satisfies
//! `required`. Therefore:
//!
//! - clap's `requires` and `conflicts_with` look at the command line alone; a rule about two
//!   settings belongs in the program, after parsing;
//! - a positional that the program requires, but its subcommands don't, is an `Option` with
//!   `required = true`, under `subcommand_negates_reqs`;
//! - positionals on the command line fill up from the left, whatever is in the file;
//! - a switch (`--open`) that the file turns on can be turned off by the environment only.

mod command_line;
mod common;
mod file;
mod layers;
mod shown;

use std::ffi::OsString;

use clap::Parser;

pub use clap_complete::Shell;
pub use command_line::{CommandLine, NoCommandLine};
pub use common::{CommonOptions, CommonTask};
pub use shown::log_start;

/// The command line of a program, with its settings.
pub trait Settings: Parser {
    /// Returns the keys of the settings that a subcommand uses; `None`: all. Others are not looked at
    /// in environment and file, so that a mistake there does not keep the subcommand from its work.
    #[must_use]
    fn used_by(_subcommand: &str) -> Option<&'static [&'static str]> {
        None
    }
}

/// Reads the settings of this process. Ends the process as clap does: with 0 after help and version,
/// with 2 and a sentence on standard error after a mistake.
pub fn parse<T: Settings>() -> T {
    let environment = |name: &str| std::env::var_os(name);
    try_parse_from(std::env::args_os(), &environment).unwrap_or_else(|error| error.exit())
}

/// Reads settings from arguments (the first is the program's name), the environment given, and
/// the file that `--config` or `P2P_CONFIG` names.
///
/// # Errors
///
/// Help and version count as errors, as in clap. A usage error names the place of the mistake: the
/// argument, the variable, or the file and the key in it.
pub fn try_parse_from<T: Settings>(
    args: impl IntoIterator<Item = impl Into<OsString>>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<T, clap::Error> {
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    layers::parse(T::command(), T::used_by, &args, environment)
        .and_then(|mut matches| T::from_arg_matches_mut(&mut matches))
        .map_err(|error| error.format(&mut T::command()))
}

#[cfg(test)]
mod tests;

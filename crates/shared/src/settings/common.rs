//! Options that all programs have, shell completions and the man page.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory};
use clap_complete::Shell;

use super::layers::with_variables;
use crate::logging::LogOptions;

/// Options that every program has.
#[derive(Args, Clone, Debug)]
// Else the line above would be taken for what the program is about.
#[command(about = None, long_about = None)]
pub struct CommonOptions {
    /// Read this program's key from FILE; else P2P_KEY, else $XDG_CONFIG_HOME/p2prouter/key
    #[arg(
        long,
        value_name = "FILE",
        env = "P2P_KEY_FILE",
        hide_env_values = true
    )]
    pub key_file: Option<PathBuf>,

    /// Keep the log files in DIR
    #[arg(long, value_name = "DIR", env = "P2P_LOG_DIR", default_value = "logs")]
    pub log_dir: PathBuf,

    /// Read settings from FILE: option = value, in TOML
    #[arg(long, value_name = "FILE", env = "P2P_CONFIG", global = true)]
    pub config: Option<PathBuf>,

    /// Show more on the terminal: -v for debugging, -vv for everything
    #[arg(short, long, env = "P2P_VERBOSE", action = ArgAction::Count, global = true)]
    pub verbose: u8,

    /// Show less on the terminal: -q for warnings and errors, -qq for errors
    #[arg(short, long, env = "P2P_QUIET", action = ArgAction::Count, global = true)]
    pub quiet: u8,
}

impl CommonOptions {
    /// Returns the options of the logs, for the program of this name.
    #[must_use]
    pub fn log_options(&self, program: &'static str) -> LogOptions {
        LogOptions {
            program,
            log_dir: self.log_dir.clone(),
            verbosity: self.verbosity(),
        }
    }

    /// Returns the verbosity as [`LogOptions`] has it, from -2 (errors) to 2 (everything).
    #[must_use]
    pub fn verbosity(&self) -> i8 {
        let level = |count: u8| i8::try_from(count.min(4)).unwrap_or(4);
        (level(self.verbose) - level(self.quiet)).clamp(-2, 2)
    }
}

/// Prints the completions for a shell, for `completions SHELL`.
///
/// # Errors
///
/// If standard output can't be written; a reader that went away is no error.
pub fn print_completions<T: CommandFactory>(shell: Shell) -> io::Result<()> {
    print(&completions::<T>(shell))
}

fn completions<T: CommandFactory>(shell: Shell) -> Vec<u8> {
    let mut command = T::command();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    text
}

/// Prints the man page, for `man`.
///
/// # Errors
///
/// If standard output can't be written; a reader that went away is no error.
pub fn print_man<T: CommandFactory>() -> io::Result<()> {
    print(&man::<T>()?)
}

fn man<T: CommandFactory>() -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(with_variables(T::command())).render(&mut text)?;
    Ok(text)
}

fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    #[command(name = "p2p-test")]
    struct Test {
        #[command(flatten)]
        _common: CommonOptions,
    }

    #[test]
    fn completions_know_program_and_options() {
        let text = String::from_utf8(completions::<Test>(Shell::Bash)).unwrap();
        assert!(text.contains("-F _p2p__test") && text.contains("--key-file"));
    }

    #[test]
    fn the_man_page_names_options_and_variables() {
        let text = String::from_utf8(man::<Test>().unwrap()).unwrap();
        assert!(
            text.contains("p2p\\-test") && text.contains("P2P_LOG_DIR"),
            "{text}"
        );
    }
}

//! Options that all programs have, shell completions and the man page.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, CommandFactory, Subcommand};
use clap_complete::Shell;

use super::layers::with_variables;
use crate::logging::LogOptions;
use crate::os;

/// Options that every program has.
#[derive(Args, Clone, Debug)]
// Otherwise clap would show the line above as the program's description.
#[command(about = None, long_about = None)]
pub struct CommonOptions {
    /// Read this program's key from FILE; else P2P_KEY, else $XDG_CONFIG_HOME/p2prouter/key
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Keep the log files in DIR
    #[arg(long, value_name = "DIR", default_value = "logs")]
    pub log_dir: PathBuf,

    /// Read settings from FILE: option = value, in TOML
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Show more on the terminal: -v for debugging, -vv for everything
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,

    /// Show less on the terminal: -q for warnings and errors, -qq for errors
    #[arg(short, long, action = ArgAction::Count, global = true)]
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
    pub fn verbosity(&self) -> i16 {
        (i16::from(self.verbose) - i16::from(self.quiet)).clamp(-2, 2)
    }
}

/// Subcommands that every program has.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum CommonTask {
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

impl CommonTask {
    /// Prints what the subcommand asks for, of the program with this command line. Returns its exit
    /// code; a reader that went away is no error.
    pub fn run<T: CommandFactory>(self) -> ExitCode {
        let text = match self {
            Self::Completions { shell } => Ok(completions::<T>(shell)),
            Self::Man => man::<T>(),
        };
        let printed = text.and_then(|text| print(&text));
        os::exit_code(printed.map_err(Into::into))
    }
}

fn completions<T: CommandFactory>(shell: Shell) -> Vec<u8> {
    let mut command = T::command();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    text
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

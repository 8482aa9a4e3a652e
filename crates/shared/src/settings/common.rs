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

    /// Keep the log files within SIZE, such as 64MiB or 1GiB; one day takes half of it at most
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = bytes)]
    pub log_size: u64,

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
            log_size: self.log_size,
            verbosity: self.verbosity(),
        }
    }

    /// Returns the verbosity as [`LogOptions`] has it, from -2 (errors) to 2 (everything).
    #[must_use]
    pub fn verbosity(&self) -> i16 {
        (i16::from(self.verbose) - i16::from(self.quiet)).clamp(-2, 2)
    }
}

/// Least size of the log files: a part of less would be renamed again and again.
const LEAST_LOG_SIZE: u64 = 1 << 20;

/// Parses a size in bytes, with a binary unit or without.
fn bytes(text: &str) -> Result<u64, &'static str> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|size| *size >= LEAST_LOG_SIZE)
        .ok_or("a size is a number with KiB, MiB or GiB, such as 256MiB, and at least 1MiB")
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
    fn a_size_has_a_unit_and_is_large_enough() {
        for (text, size) in [
            ("1048576", 1 << 20),
            ("64MiB", 64 << 20),
            ("2048KiB", 2 << 20),
            ("3GiB", 3 << 30),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in [
            "",
            "MiB",
            "-5MiB",
            "1MB",
            "1.5GiB",
            "1048575",
            "99999999999GiB",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
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

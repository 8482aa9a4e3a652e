//! Small pieces of the operating system: exit codes, signal names, the environment of child
//! processes, the front of a process, core dumps, random numbers, the state directory, systemd.

mod end_signals;
mod front;
mod random;
pub mod sd_notify;
#[cfg(feature = "simulation")]
mod simulated;
mod state_dir;

use std::ffi::OsString;
use std::process::ExitCode;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::text::Escaped;

pub use end_signals::EndSignals;
pub use front::take_front;
pub use random::{jitter, random_u64};
pub use state_dir::{NoStateDir, default_state_dir};

#[cfg(feature = "simulation")]
pub use simulated::seed as seed_randomness;

/// Exit code of an error that has no code of its own.
const ERROR: u8 = 1;
/// Exit code of a mistake on the command line or in the settings.
const USAGE: u8 = 2;

/// Returns the exit code of a result: 0, or after printing the error with all its causes, the
/// error's code. What peers and files put into the error is escaped.
#[must_use]
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        // Standard error may be closed, and then there is nobody to tell.
        let _ = usage.print();
        return USAGE.into();
    }
    let sentence = with_causes(&error);
    let line = format!("error: {}\n", Escaped(&sentence));
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    ERROR.into()
}

/// Returns an error with all its causes, each once: many errors repeat their cause in their own
/// sentence, and `{error:#}` would print it again.
#[must_use]
pub fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Returns the standard name of a Linux signal (signal(7)), or its number.
#[must_use]
pub fn signal_name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let known = number
        .checked_sub(1)
        .and_then(|index| NAMES.get(usize::try_from(index).ok()?));
    known.map_or_else(|| format!("signal {number}"), |name| format!("SIG{name}"))
}

/// Returns true unless the environment refuses colours, by `NO_COLOR` or `TERM=dumb`.
pub fn allow_colour(environment: impl Fn(&str) -> Option<OsString>) -> bool {
    let refused = environment("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = environment("TERM").is_some_and(|term| term == "dumb");
    !refused && !dumb
}

const CHILD_ENV: [&str; 5] = ["PATH", "HOME", "LANG", "USER", "TMPDIR"];

/// Returns the environment variables for programs that others wrote and we run: none that may hold
/// a key.
pub fn child_env() -> impl Iterator<Item = (&'static str, OsString)> {
    CHILD_ENV
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
}

/// Forbids core dumps of this process, and closes its memory, environment and open files to other
/// processes of the same user, such as an inner's commands (prctl(2), `PR_SET_DUMPABLE`). Programs
/// that it executes are not affected. Call this before a key is read.
pub fn no_core_dumps() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        // There is no log yet, and an old kernel is no reason not to drive.
        eprintln!("warning: this process can't be kept from making core dumps ({error})");
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn the_kernel_keeps_this_process_to_itself() {
        no_core_dumps();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }

    #[test]
    fn a_cause_that_its_error_repeats_is_printed_once() {
        use anyhow::Context;

        #[derive(Debug, thiserror::Error)]
        #[error("can't write it: {source}")]
        struct Repeats {
            source: std::io::Error,
        }
        let full = std::io::Error::other("the disk is full");
        let error = anyhow::Error::from(Repeats { source: full });
        assert_eq!(with_causes(&error), "can't write it: the disk is full");
        let error = Err::<(), _>(error).context("no key was made").unwrap_err();
        assert_eq!(
            with_causes(&error),
            "no key was made: can't write it: the disk is full"
        );
    }

    #[test]
    fn signals_have_their_names_and_others_their_numbers() {
        assert_eq!(signal_name(1), "SIGHUP");
        assert_eq!(signal_name(9), "SIGKILL");
        assert_eq!(signal_name(15), "SIGTERM");
        assert_eq!(signal_name(31), "SIGSYS");
        assert_eq!(signal_name(34), "signal 34");
        assert_eq!(signal_name(0), "signal 0");
        assert_eq!(signal_name(i32::MIN), format!("signal {}", i32::MIN));
    }
}

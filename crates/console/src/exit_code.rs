//! Exit codes of the console, and the sentences that it ends with.

use std::process::ExitCode;

use p2p_shared::net::dialer::DialError;
use p2p_shared::protocol::{End, RefusedReason};
use p2p_shared::websocket::WebSocketError;

/// A failure without a code of its own.
pub(crate) const ERROR: u8 = 1;
/// A mistake on the command line.
const USAGE: u8 = 2;
/// The router was not reached.
pub(crate) const UNREACHABLE: u8 = 3;
/// The car is not connected.
pub(crate) const OFFLINE: u8 = 4;
/// The key may not do this, or another session drives.
pub(crate) const DENIED: u8 = 5;
/// The command took too long.
const TIMED_OUT: u8 = 124;
/// Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;
/// The terminal is gone: a shell's code for SIGHUP.
pub(crate) const HUNG_UP: u8 = 129;
/// SIGTERM.
pub(crate) const TERMINATED: u8 = 143;

/// A failure with its own exit code and a sentence that says what to do. Whatever prints the sentence
/// escapes it: a peer may have had a hand in it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A refusal by the router.
    pub(crate) fn refused(reason: Option<RefusedReason>, message: impl Into<String>) -> Self {
        let code = match reason {
            Some(RefusedReason::Offline | RefusedReason::TooSlow) => OFFLINE,
            Some(_) => DENIED,
            None => ERROR,
        };
        Self::new(code, message)
    }

    /// Failures at all routers: the code is that of the first.
    pub(crate) fn of_all(failures: impl Iterator<Item = Self>) -> Self {
        let together =
            |all: Self, next: Self| Self::new(all.code, all.message + "; " + &next.message);
        let none = || Self::usage("there is no router");
        failures.reduce(together).unwrap_or_else(none)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        let code = match error {
            DialError::Denied(..)
            | DialError::NoKey(_)
            | DialError::Unprotected(_)
            | DialError::Untrusted(..) => DENIED,
            _ => UNREACHABLE,
        };
        Self::new(code, error.to_string())
    }
}

/// Describes a connection that broke.
pub(crate) fn connection_error(error: &WebSocketError) -> String {
    if error.is_violation() {
        format!(
            "this router speaks another version of the protocol ({error}): update it or this console, the older of the two"
        )
    } else {
        error.to_string()
    }
}

/// Describes a connection that the router closed.
pub(crate) fn closed_connection(why: &str) -> String {
    match why {
        "" => "the router closed the connection".to_owned(),
        why => format!("the router closed the connection: {why}"),
    }
}

/// Exit code for the end of a command: its own, or 128 and the signal as in a shell.
pub(crate) fn for_end(end: End) -> u8 {
    match end {
        End::Exit(code) => u8::try_from(code & 0xff).unwrap_or(ERROR),
        End::Signal(number) => u8::try_from(number)
            .ok()
            .and_then(|number| number.checked_add(128))
            .unwrap_or(ERROR),
        End::TimedOut => TIMED_OUT,
        End::Cancelled => INTERRUPTED,
        End::Ended => 0,
    }
}

/// Prints the failure, if there is one, and returns the exit code.
pub(crate) fn report(ended: anyhow::Result<ExitCode>) -> ExitCode {
    ended.unwrap_or_else(|error| {
        let code = error.downcast_ref::<Failure>().map(|failure| failure.code);
        // Prints the sentence; the code of a `Failure` replaces the general one.
        let general = p2p_shared::os::exit_code(Err(error));
        code.map_or(general, ExitCode::from)
    })
}

#[cfg(test)]
mod tests {
    use p2p_shared::net::dialer::RouterAddress;

    use super::*;

    #[test]
    fn who_has_no_key_is_denied_and_who_has_to_wait_is_not() {
        let router = || RouterAddress {
            host: "router".to_owned(),
            port: 8888,
        };
        let no_key = DialError::NoKey(router());
        assert_eq!(Failure::from(no_key).code, DENIED);
        let busy = DialError::Refused(router(), "close one".to_owned(), None);
        assert_eq!(Failure::from(busy).code, UNREACHABLE);
    }

    #[test]
    fn a_commands_end_is_ours_as_a_shell_would_say_it() {
        for (end, code) in [
            (End::Exit(0), 0),
            (End::Exit(7), 7),
            (End::Exit(256 + 3), 3),
            (End::Signal(9), 137),
            (End::TimedOut, 124),
            (End::Ended, 0),
        ] {
            assert_eq!(for_end(end), code, "{end}");
        }
    }
}

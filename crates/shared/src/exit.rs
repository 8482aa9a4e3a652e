//! Owns how our programs end: the exit codes, and the last sentence on standard error.

use std::process::ExitCode;

/// The exit code of an error that has no code of its own.
const ERROR: u8 = 1;
/// The exit code of a mistake on the command line or in the settings.
const USAGE: u8 = 2;

/// Ends with 0, or says what went wrong, with each cause behind it, and ends with its code.
#[must_use]
pub fn code(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        // Standard error may be closed, and then there is nobody to tell.
        let _ = usage.print();
        return USAGE.into();
    }
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("error: {error:#}\n"));
    ERROR.into()
}

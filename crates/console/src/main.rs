//! `p2p-console`: reads the command line and does what it says.

use std::process::ExitCode;

use p2p_console::settings;

fn main() -> ExitCode {
    p2p_console::run(settings::parse())
}

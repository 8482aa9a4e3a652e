//! `p2p-console`: reads the command line and does what it says.

use std::process::ExitCode;

use p2p_console::config;
use p2p_shared::os;

fn main() -> ExitCode {
    os::no_core_dumps();
    p2p_console::run(config::parse())
}

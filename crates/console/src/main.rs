//! `p2p-console`: runs what the command line asks for.

use std::process::ExitCode;

use p2p_console::config;
use p2p_shared::os;

fn main() -> ExitCode {
    os::no_core_dumps();
    p2p_console::run(config::parse())
}

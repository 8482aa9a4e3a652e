//! `p2p-console`: reads the command line and does what it says.

use std::process::ExitCode;

use p2p_console::config;
use p2p_shared::private_memory;

fn main() -> ExitCode {
    private_memory::close();
    p2p_console::run(config::parse())
}

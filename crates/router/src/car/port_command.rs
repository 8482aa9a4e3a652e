//! `p2p-router port free`: makes a service port anybody's. The running router follows the file of
//! ports; this command never talks to it.

use std::io::{self, Write};

use clap::Subcommand;

use crate::car::saved_ports;
use crate::ops::state_file::StateFile;

#[derive(Debug, Subcommand)]
pub enum PortCommand {
    /// Make a service port, and its car's name, anybody's: both stay with the key that had them
    /// last. A car that is connected keeps them
    Free {
        /// The service port
        #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
        service_port: u16,
    },
}

/// Runs a subcommand on this file of ports. Blocks on the disk.
///
/// # Errors
/// A sentence for the terminal.
pub fn run(command: &PortCommand, file: &StateFile) -> anyhow::Result<()> {
    let PortCommand::Free { service_port } = *command;
    let freed = saved_ports::free(file, service_port)?;
    if file.is_of_mesh() {
        writeln!(
            io::stderr(),
            "the service port {service_port} is free now at all routers of the mesh, once the one that runs here has seen it, unless its car is connected (p2p-router key revoke disconnects it)"
        )?;
        return Ok(());
    }
    let name = freed.called.unwrap_or(freed.name);
    writeln!(
        io::stderr(),
        "the service port {service_port} of '{name}' is free now, unless that car is connected (p2p-router key revoke disconnects it)"
    )?;
    Ok(())
}

//! `p2p-router`: reads the command line and does what it asks for.

use std::process::ExitCode;

use p2p_router::auth::certificate_command::{self, CertificateCommand};
use p2p_router::auth::key_command::{self, KeyCommand};
use p2p_router::car::port_command::{self, PortCommand};
use p2p_router::config::{Options, Task};
use p2p_router::mesh::{self, config::MeshCommand};
use p2p_router::net::proxy_protocol;
use p2p_router::ops::health_command;
use p2p_router::ops::inherited_listeners::InheritedListeners;
use p2p_router::{process, setup};
use p2p_shared::{os, settings};

fn main() -> ExitCode {
    os::no_core_dumps();
    let mut options: Options = settings::parse();
    let task = options.task.take();
    if let Some(Task::Key(_) | Task::Certificate(_) | Task::Port(_) | Task::Mesh(_)) = &task {
        options.take_service_state();
    }
    match task {
        Some(Task::Common(task)) => task.run::<Options>(),
        Some(Task::Setup(asked)) => os::exit_code(setup::run(&options, asked)),
        Some(Task::Check) => os::exit_code(check(&options)),
        Some(Task::Health) => {
            let main_port = (options.bind, options.port).into();
            let balancers = options.proxy_protocol;
            health_command::run(main_port, |address| {
                proxy_protocol::own_header(&balancers, address)
            })
        }
        Some(Task::Key(command)) => os::exit_code(key(&options, command)),
        Some(Task::Certificate(command)) => os::exit_code(certificate(&options, &command)),
        Some(Task::Port(command)) => os::exit_code(port(&options, &command)),
        Some(Task::Mesh(command)) => os::exit_code(mesh(&options, &command)),
        None => os::take_front().unwrap_or_else(|| os::exit_code(process::run(&options))),
    }
}

fn key(options: &Options, command: KeyCommand) -> anyhow::Result<()> {
    let (proof, address) = (|| options.proof(), || options.address_to_invite());
    let ports = options.ports_of_cars()?;
    key_command::run(command, &options.state_dir()?, ports, proof, address)
}

fn certificate(options: &Options, command: &CertificateCommand) -> anyhow::Result<()> {
    certificate_command::run(
        command,
        &options.state_dir()?,
        &options.certificate_names(),
        || options.proof(),
    )
}

fn port(options: &Options, command: &PortCommand) -> anyhow::Result<()> {
    port_command::run(command, &options.known_links()?)
}

fn mesh(options: &Options, command: &MeshCommand) -> anyhow::Result<()> {
    let (address, fingerprint) = (|| options.mesh_address(), || options.fingerprint());
    mesh::config::run(command, &options.state_dir()?, address, fingerprint)
}

fn check(options: &Options) -> anyhow::Result<()> {
    options.config(InheritedListeners::default())?;
    #[expect(clippy::print_stdout, reason = "it is what was asked for")]
    {
        println!("the settings are fine");
    }
    Ok(())
}

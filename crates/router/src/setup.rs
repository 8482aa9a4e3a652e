//! `p2p-router setup`: asks what is needed, writes the settings, starts the service where systemd runs one, and
//! invites the first car and its operator. Run again, it changes what has changed.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv6Addr, TcpListener, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{anyhow, bail, ensure};
use p2p_shared::net::dialer::parse_host;
use p2p_shared::settings;
use p2p_shared::setup::{Place, Questions, Service, SettingsFile, is_systemds, say};

use crate::auth::bootstrap_keys;
use crate::auth::key_store::KeyFile;
use crate::auth::public_address;
use crate::config::setup_options::SetupOptions;
use crate::config::{Options, SERVICE_STATE};
use crate::net::port_range::ServicePorts;
use crate::net::proxy_protocol::own_header;
use crate::ops::health_command;

/// The service of a router, and its state directory.
const SERVICE: Service = Service {
    name: "p2p-router",
    unit: include_str!("../../../scripts/systemd/p2p-router.service"),
};
/// Name of the settings.
const PROGRAM: &str = "router";
/// Service ports that are suggested: those that cars' keys are for.
const PORTS: &str = "9000-9999";
/// Those of a router that has not said which.
const ALL_PORTS: &str = "1024-65535";

/// Host name or address.
#[derive(Clone)]
struct Host(String);

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_host(text).map(Self)
    }
}

impl Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The main port.
#[derive(Clone)]
struct Port(u16);

impl FromStr for Port {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text.parse() {
            Ok(0) | Err(_) => Err("a port is a number from 1 to 65535"),
            Ok(port) => Ok(Self(port)),
        }
    }
}

impl Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// Sets this machine up, by these options of the router and of the setup.
///
/// # Errors
/// A sentence for the terminal.
pub fn run(said: &Options, asked: SetupOptions) -> anyhow::Result<()> {
    let place = Place::find(asked.user)?;
    place.make()?;
    let (path, form) = place.settings(PROGRAM);
    let mut settings = SettingsFile::read(&path, form)?;
    let questions = Questions { yes: asked.yes };
    // What nobody says now is as the router has it.
    let environment =
        |name: &str| std::env::var_os(name).or_else(|| settings.variable(name).map(Into::into));
    let mut options: Options = settings::try_parse_from(std::env::args_os(), &environment)?;
    let user = place.is_service.then(|| SERVICE.user(&[])).transpose()?;
    if place.is_service {
        let known = settings.get("state-dir");
        let dir = known.map_or_else(|| SERVICE_STATE.into(), PathBuf::from);
        ensure!(
            options.state_dir.as_ref().is_none_or(|said| *said == dir),
            "the service keeps its keys in {}: leave --state-dir out, or say --user",
            dir.display()
        );
        options.state_dir = Some(dir);
    }
    // The unit has it as its argument.
    let port_option = if place.is_service {
        "router-port"
    } else {
        "port"
    };
    let before = settings.get(port_option);

    let kept = |option: &str, other: &str| settings.get(option).unwrap_or(other.to_owned());
    let port = kept(port_option, &options.port.to_string()).parse().ok();
    // The one that it has is its own.
    let is_free = |port: &Port| match before == Some(port.to_string()) {
        true => Ok(()),
        false => check_port(options.bind, port.0),
    };
    let Port(port) =
        questions.ask_for("The main port", asked.main_port.map(Port), port, is_free)?;
    let host = kept("public-host", &public_address::own_host(options.bind));
    let what = "The name or address by which others reach this machine";
    let host = questions.ask(what, said.public_host.clone().map(Host), host.parse().ok())?;
    // A router that has cars goes on with their ports.
    let is_new = settings.is_new() && KeyFile::in_dir(options.state_dir()?).list()?.is_empty();
    let ports = kept("service-ports", if is_new { PORTS } else { ALL_PORTS });
    let are_ports = |ports: &String| match ports.parse::<ServicePorts>() {
        Ok(_) => Ok(()),
        Err(why) => Err(anyhow!("{why}")),
    };
    let given = asked.service_ports;
    let ports = questions.ask_for("The service ports", given, Some(ports), are_ports)?;
    options.service_ports = ports.parse().map_err(|why| anyhow!("{why}"))?;
    settings.set(port_option, Some(&port.to_string()));
    settings.set("public-host", Some(&host.0));
    settings.set("service-ports", Some(&ports));
    keep_said(said, &mut settings)?;
    (options.port, options.public_host) = (port, Some(host.0));
    settings.write()?;
    check_host(&options);
    if let Some(user) = user {
        let has_changed = user.has_changed || SERVICE.is_older_than(&[settings.path()])?;
        if SERVICE.is_active()? {
            say(match has_changed {
                true => "p2p-router is started anew: links are back within seconds",
                false => "nothing has changed, so p2p-router goes on as it was",
            });
        }
        SERVICE.start(has_changed)?;
        health_command::check((options.bind, port).into(), |address| {
            own_header(&options.proxy_protocol, address)
        })?;
        say("p2p-router runs, now and at each boot");
    }
    match settings.get("open").as_deref() {
        None | Some("0" | "false" | "no" | "off") => {
            invite(&options, place.is_service, asked.show_invitations)?;
        }
        _ => say("This router works without keys (open): nobody needs an invitation."),
    }
    say(&format!(
        "Open the ports {port} and {ports} (TCP) in the firewall.{}",
        match place.is_service {
            true => " The log is `journalctl -fu p2p-router`.".to_owned(),
            false => how_to_start(settings.path(), port),
        }
    ));
    Ok(())
}

/// Writes what was said of the options that an invitation depends on.
fn keep_said(said: &Options, settings: &mut SettingsFile) -> anyhow::Result<()> {
    let path = |path: &Option<PathBuf>| {
        let absolute = path.as_ref().map(std::path::absolute).transpose()?;
        anyhow::Ok(absolute.map(|it| it.to_string_lossy().into_owned()))
    };
    let bind = Some(said.bind).filter(|it| *it != IpAddr::from(Ipv6Addr::UNSPECIFIED));
    let balancers: Vec<_> = said
        .proxy_protocol
        .iter()
        .map(ToString::to_string)
        .collect();
    for (option, value) in [
        ("bind", bind.map(|it| it.to_string())),
        ("tls-cert", path(&said.tls_cert)?),
        ("tls-key", path(&said.tls_key)?),
        ("state-dir", path(&said.state_dir)?),
        ("domain", said.domain.as_ref().map(ToString::to_string)),
        (
            "proxy-protocol",
            Some(balancers.join(",")).filter(|it| !it.is_empty()),
        ),
    ] {
        if value.is_some() {
            settings.set(option, value.as_deref());
        }
    }
    Ok(())
}

/// Prints the lines that invite the first car and its operator, or how to get them.
#[expect(clippy::print_stdout, reason = "it is what was asked for")]
fn invite(options: &Options, is_service: bool, may_be_kept: bool) -> anyhow::Result<()> {
    let file = KeyFile::in_dir(options.state_dir()?);
    if !file.list()?.is_empty() {
        say(
            "There are keys: `p2p-router key list` shows them, and `p2p-router key add NAME --role link --invite` invites another car.",
        );
        return Ok(());
    }
    if !may_be_kept && !io::stdout().is_terminal() {
        say(&bootstrap_keys::how_to_make(file.dir()));
        return Ok(());
    }
    if !may_be_kept && !is_service {
        say(
            "At its first start at a terminal the router shows two lines to run: one on the car, one at your desk.",
        );
        return Ok(());
    }
    let (address, proof) = (options.address_to_invite()?, options.proof()?);
    let fingerprint = proof.fingerprints.first().copied();
    let offered = options.service_ports.range();
    print!(
        "{}",
        bootstrap_keys::lines(&file, &address, fingerprint, offered)?
    );
    Ok(())
}

fn how_to_start(settings: &Path, port: u16) -> String {
    let settings = settings.display();
    let service = match is_systemds() {
        true => "\nTo start it at boot: sudo p2p-router setup",
        false => "",
    };
    format!(
        "\nStart it:\n\n  p2p-router --config {settings}\n\n\
         or, to have it started again whenever it dies, by a script of the source and of the .tar.gz:\n\n  \
         scripts/p2p-router-server.sh {port} --config {settings}\n{service}"
    )
}

/// Checks that nobody else has the main port.
fn check_port(bind: IpAddr, port: u16) -> anyhow::Result<()> {
    match TcpListener::bind((bind, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!(
            "port {port} is taken: `ss -ltnp 'sport = :{port}'` says by whom. End that, or choose another port"
        ),
        // A port that this user may not open may be the service's.
        _ => Ok(()),
    }
}

/// Says if the host's name leads nowhere, or elsewhere.
fn check_host(options: &Options) {
    let Some(host) = &options.public_host else {
        return;
    };
    match (host.as_str(), options.port).to_socket_addrs() {
        Err(error) => say(&format!(
            "{host} does not resolve ({error}): make its entry in DNS, or let others say --router with an address"
        )),
        Ok(mut addresses) => {
            let is_here = |ip| UdpSocket::bind((ip, 0)).is_ok();
            let found: Vec<_> = addresses.by_ref().map(|it| it.ip()).collect();
            if !found.iter().any(|ip| is_here(*ip)) {
                let found: Vec<_> = found.iter().map(ToString::to_string).collect();
                say(&format!(
                    "{host} leads to {}, which is not on this machine: fine if a router or provider passes its ports on to here",
                    found.join(", ")
                ));
            }
        }
    }
}

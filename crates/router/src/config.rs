//! Command line of `p2p-router`, and the values that a router is started with.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use hyper::header::{self, HeaderName, HeaderValue};
use p2p_shared::key::Fingerprint;
use p2p_shared::net::dialer::{RouterAddress, parse_host};
use p2p_shared::os;
use p2p_shared::settings::{CommandLine, CommonOptions, CommonTask, Settings};
use tokio_rustls::TlsAcceptor;

use crate::auth::certificate::{self, Certificate, CertificateFiles};
use crate::auth::certificate_command::CertificateCommand;
use crate::auth::key_command::{KeyCommand, Proof};
use crate::auth::key_store::{KeyFile, KeyStore};
use crate::auth::public_address;
use crate::car::port_command::PortCommand;
use crate::http::connection::Patience;
use crate::http::domain::Domain;
use crate::http::host::HostName;
use crate::mesh::config::MeshCommand;
use crate::mesh::{self, MemberAddress, MeshConfig, ServerUrl};
use crate::net::limits::OpenFileLimits;
use crate::net::port_range::{PortRange, ServicePorts};
use crate::net::proxy_protocol::BalancerNet;
use crate::ops::inherited_listeners::InheritedListeners;
use crate::ops::state_file::StateFile;

mod service_state;
pub(crate) mod setup_options;

pub(crate) use service_state::SERVICE_STATE;
use setup_options::SetupOptions;

/// Values that a router is started with.
#[derive(Debug)]
pub struct Config {
    /// Address of main port and service ports.
    pub bind: IpAddr,
    /// Main port; 0: any.
    pub port: u16,
    /// Service ports that inners may ask for.
    pub service_ports: ServicePorts,
    /// Keys; `None`: everyone may do everything (`--open`).
    pub keys: Option<KeyStore>,
    /// Certificate for TLS; `None`: there is no TLS, and plain connections are accepted from
    /// anywhere.
    pub certificate: Option<Certificate>,
    /// True if keys and commands for cars are accepted without TLS, too, at a port or by name.
    pub allow_plain_http: bool,
    /// Folder of the log files, of which consoles are told what concerns their car; `None`: there are none.
    pub log_dir: Option<PathBuf>,
    /// Names by which browsers reach a router without keys.
    pub host_names: Vec<HostName>,
    /// Domain below which each car has a host name.
    pub domain: Option<Domain>,
    /// Where cars send the pictures of their cameras; `None`: to the address that they dialled.
    pub media_address: Option<MemberAddress>,
    /// Balancers, which say by the PROXY protocol for whom they connect.
    pub balancers: Vec<BalancerNet>,
    /// Most bytes of a request's body.
    pub max_body: usize,
    /// Time limits for callers.
    pub patience: Patience,
    /// Most service ports of one key, or with `--open` of one address.
    pub max_links: usize,
    /// Program and arguments of `--on-link`.
    pub on_link: Option<Vec<String>>,
    /// File of the open service ports, which are opened again after a restart.
    pub known_links: Option<StateFile>,
    /// The mesh that this router is a member of; `None`: it is alone.
    pub mesh: Option<MeshConfig>,
    /// Where drives are recorded, if they are.
    pub record: Option<RecordConfig>,
    /// Sockets inherited from systemd or from the previous router.
    pub sockets: InheritedListeners,
}

/// Where recordings go.
#[derive(Debug, Clone)]
pub struct RecordConfig {
    pub dir: PathBuf,
    /// Most bytes of all recordings.
    pub most_bytes: u64,
}

impl Config {
    /// Returns the settings of a router on loopback, on any port, that is alone and has no keys.
    #[cfg(test)]
    pub(crate) fn open() -> Self {
        Self {
            bind: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 0,
            service_ports: "1024-65535".parse().unwrap(),
            keys: None,
            certificate: None,
            allow_plain_http: true,
            log_dir: None,
            host_names: Vec::new(),
            domain: None,
            media_address: None,
            balancers: Vec::new(),
            max_body: 1 << 20,
            patience: Patience::default(),
            max_links: crate::net::limits::LINKS,
            on_link: None,
            known_links: None,
            mesh: None,
            record: None,
            sockets: InheritedListeners::default(),
        }
    }

    /// Returns the names that a request may be for; `None`: any.
    pub(crate) fn host_names(&self) -> Option<&[HostName]> {
        self.keys.is_none().then_some(&self.host_names)
    }

    /// Returns the acceptor of TLS connections; `None`: there is no TLS.
    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.certificate.as_ref().map(Certificate::acceptor)
    }

    /// Returns the header by which browsers use TLS alone from now on (RFC 6797): over TLS, with an
    /// authority's certificate. With a self-signed one they would let nobody in any more.
    pub(crate) fn strict_transport(&self, is_tls: bool) -> Option<(HeaderName, HeaderValue)> {
        /// 30 days, as long as a session cookie: so long a wrong choice lasts, too.
        const STRICT: HeaderValue = HeaderValue::from_static("max-age=2592000");
        let certificate = self.certificate.as_ref().filter(|_| is_tls)?;
        let is_strict = certificate.is_by_authority();
        is_strict.then_some((header::STRICT_TRANSPORT_SECURITY, STRICT))
    }
}

/// The public relay: takes links of p2p-inner, and opens a service port for each
#[derive(Debug, Parser)]
#[command(
    name = "p2p-router",
    version,
    before_help = "Examples:\n  \
        p2p-router                        main port 8888; at a terminal, the first start invites a car\n  \
        sudo p2p-router setup             asks what is needed, starts at boot, and invites a car\n  \
        p2p-router key add car2 --role link --ports 9001 --invite\n  \
        p2p-router 8888 --open --bind 127.0.0.1   without keys, for this machine only"
)]
pub struct Options {
    /// What to do instead of running
    #[command(subcommand)]
    pub task: Option<Task>,
    /// The main port, for inners and consoles; 0: any that is free
    #[arg(default_value = "8888")]
    pub port: u16,
    /// The address to listen on; the default takes IPv4 and IPv6
    #[arg(long, value_name = "ADDR", default_value = "::", value_parser = bind_address)]
    pub bind: IpAddr,
    /// Work without keys: everyone who reaches the ports may do everything
    #[arg(long, value_parser = clap::builder::BoolishValueParser::new())]
    pub open: bool,
    /// With --open on an address that others reach: yes, everyone may run commands here
    #[arg(long, value_parser = clap::builder::BoolishValueParser::new())]
    pub open_to_everyone: bool,
    /// The service ports that inners may ask for. With --domain, `none` opens no port: cars are reached
    /// by their names alone, and a service port is only the number by which links and keys go
    #[arg(long, value_name = "LOW-HIGH", default_value = "1024-65535")]
    pub service_ports: ServicePorts,
    /// Also serve each car at a host name of its own, on the main port: NAME.DOMAIN, or
    /// SERVICE_PORT.DOMAIN for a car whose name can't be part of a host name. *.DOMAIN has to
    /// lead to this router, and the certificate to be for it
    #[arg(long, value_name = "DOMAIN", global = true)]
    pub domain: Option<Domain>,
    /// The largest body of a request, in bytes
    #[arg(long, value_name = "BYTES", default_value = "1048576",
        value_parser = clap::value_parser!(u32).range(0..=64 * 1024 * 1024))]
    pub max_body: u32,
    /// Most links of one key; with --open of one address
    /// [default: 256; less where `ulimit -Hn` is below 4096]
    #[arg(long, value_name = "N")]
    pub max_links: Option<usize>,
    /// Run this program when a link is there for the first time, or gone for good (a minute after
    /// it was lost, or its key was revoked or its port was freed). The words are split as a shell
    /// splits them, but no shell runs. Its environment has P2P_EVENT (up or down), P2P_LINK,
    /// P2P_SERVICE_PORT, P2P_SINCE and P2P_WHY
    #[arg(long, value_name = "COMMAND")]
    pub on_link: Option<CommandLine>,
    /// A certificate of an authority with its chain, in PEM; without one the router makes its
    /// own, and the keys made here contain its fingerprint
    #[arg(long, value_name = "FILE", global = true)]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", global = true)]
    pub tls_key: Option<PathBuf>,
    /// Accept keys and commands without TLS on the service ports and at the cars' host names: anybody on
    /// the way can read and change them
    #[arg(long, value_parser = clap::builder::BoolishValueParser::new())]
    pub allow_plain_http: bool,
    /// With --open: the names by which browsers reach this router; addresses and localhost always
    /// do
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub host_names: Vec<HostName>,
    /// The addresses of balancers in front of this router, which begin each connection with a header
    /// of the PROXY protocol, version 2, on all ports: callers count by the address in it. A
    /// connection from there without it is refused, and so is one with it from anywhere else
    #[arg(long, value_name = "NET,…", value_delimiter = ',', global = true)]
    pub proxy_protocol: Vec<BalancerNet>,
    /// Behind a balancer for several routers: how cars reach the main port of this very router, past the
    /// balancer. The pictures of a camera go there, beside the link
    #[arg(long, value_name = "HOST:PORT")]
    pub media_address: Option<MemberAddress>,
    /// Be one of several routers that act as one, which meet at these NATS servers: nats://HOST:4222
    /// or tls://HOST:4222
    #[arg(long, value_name = "URL,…", value_delimiter = ',', hide = cfg!(not(feature = "mesh")))]
    pub mesh: Vec<ServerUrl>,
    /// With --mesh: a file of credentials for the NATS servers (.creds)
    #[arg(long, value_name = "FILE", hide = cfg!(not(feature = "mesh")))]
    pub mesh_credentials: Option<PathBuf>,
    /// With --mesh: how the other routers reach the main port of this one, and whoever it invites
    /// [default: this host's name and the main port]
    #[arg(long, value_name = "HOST:PORT", hide = cfg!(not(feature = "mesh")), global = true)]
    pub mesh_address: Option<MemberAddress>,
    /// With --mesh: take keys only for a stop, and end what they have open, unless another router was reached in
    /// this time that knows no other keys: some may have been revoked. So it is at a router that is started
    /// until it has met another, and at the first router of a mesh until there is a second
    /// [default: keys are taken for ever]
    #[arg(long, value_name = "SECONDS", hide = cfg!(not(feature = "mesh")),
        value_parser = clap::value_parser!(u32).range(5..))]
    pub mesh_keys_stale: Option<u32>,
    /// The host name or address by which others reach this router, for the invitations that it makes; with --mesh
    /// they have --mesh-address [default: an address of this machine]
    #[arg(long, value_name = "HOST", value_parser = parse_host, global = true)]
    pub public_host: Option<String>,
    /// Where the router keeps its keys and its certificate
    /// [default: $XDG_STATE_HOME/p2prouter or ~/.local/state/p2prouter]
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
    /// Record each drive in a file in this folder: what happened to the car, and what its camera saw (MCAP, which
    /// Foxglove opens)
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// With --record: the most that all recordings may have, in MB; then the oldest are removed
    #[arg(long, value_name = "MB", default_value = "2048", value_parser = clap::value_parser!(u32).range(16..))]
    pub record_mb: u32,
    /// What all our programs have
    #[command(flatten)]
    pub common: CommonOptions,
}

/// What to do instead of running.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Make, show and revoke keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Change the router's own certificate, and the fingerprints in the keys
    #[command(subcommand)]
    Certificate(CertificateCommand),
    /// Free service ports that are kept for the keys that had them last
    #[command(subcommand)]
    Port(PortCommand),
    /// Make several routers act as one
    #[command(subcommand, hide = cfg!(not(feature = "mesh")))]
    Mesh(MeshCommand),
    /// Set this machine up as a router: write the settings, start at boot where systemd runs, and invite a car and
    /// its operator. Asks for what is not said
    Setup(SetupOptions),
    /// Read the settings, the keys and the certificate, say what is wrong with them, and end
    Check,
    /// Ask the router that runs with these settings on this machine whether it can do its job: ends
    /// with 0 if it says so, with 3 if not
    Health,
    #[command(flatten)]
    Common(CommonTask),
}

impl Settings for Options {
    fn used_by(subcommand: &str) -> Option<&'static [&'static str]> {
        match subcommand {
            "health" => Some(&["port", "bind", "proxy-protocol"]),
            "key" => Some(&[
                "port",
                "bind",
                "public-host",
                "state-dir",
                "tls-cert",
                "tls-key",
                "domain",
            ]),
            "certificate" => Some(&["state-dir", "tls-cert", "tls-key", "domain"]),
            "port" => Some(&["port", "state-dir"]),
            "setup" => Some(&[
                "port",
                "bind",
                "public-host",
                "state-dir",
                "tls-cert",
                "tls-key",
                "domain",
                "proxy-protocol",
            ]),
            "mesh" => Some(&["port", "mesh-address", "state-dir", "tls-cert", "tls-key"]),
            // `check` is there to find mistakes.
            _ => None,
        }
    }
}

/// Sentence about an address of which each interface has one of its own.
const LINK_LOCAL: &str = "a link-local address can't be bound: bind ::, to which such addresses of this machine lead as well, and close other ways by a firewall";

/// Parses an address of the command line: IPv6 with or without brackets.
fn bind_address(text: &str) -> Result<IpAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bare.unwrap_or(text).parse() {
        Ok(IpAddr::V6(address)) if address.is_unicast_link_local() => Err(LINK_LOCAL.to_owned()),
        Err(_) if text.contains('%') => Err(LINK_LOCAL.to_owned()),
        Ok(address) => Ok(address),
        Err(error) => Err(error.to_string()),
    }
}

impl Options {
    /// Returns the state directory.
    pub fn state_dir(&self) -> Result<PathBuf, os::NoStateDir> {
        self.state_dir
            .clone()
            .map_or_else(os::default_state_dir, Ok)
    }

    /// Checks settings that need each other, wherever each comes from.
    fn check(&self) -> Result<(), clap::Error> {
        let address = self.bind.to_canonical();
        if self.open && !self.open_to_everyone && !address.is_loopback() {
            return Err(usage(format!(
                "--open lets everyone who reaches {address} run commands: add --bind 127.0.0.1 to have this machine only, or --open-to-everyone if that is what you want; without --open there are keys"
            )));
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(usage(
                "--tls-cert and --tls-key go together: one is given, and the other is not",
            ));
        }
        if self.service_ports == ServicePorts::None && self.domain.is_none() {
            return Err(usage(
                "--service-ports none needs --domain: without ports and names nobody reaches a car",
            ));
        }
        #[cfg(not(feature = "mesh"))]
        if !self.mesh.is_empty() {
            return Err(usage(format!("--mesh: {}", mesh::config::NOT_BUILT)));
        }
        let is_for_mesh = self.mesh_credentials.is_some()
            || self.mesh_address.is_some()
            || self.mesh_keys_stale.is_some();
        if self.mesh.is_empty() && is_for_mesh {
            return Err(usage(
                "--mesh-credentials, --mesh-address and --mesh-keys-stale are of no use without --mesh",
            ));
        }
        // One of them may be reached without TLS, or be somebody else's.
        let mut pairs = self.mesh.windows(2);
        if pairs.any(|two| two[0].login() != two[1].login()) {
            return Err(usage(
                "--mesh: the user and password of one server would be shown to all: write the same for each of them",
            ));
        }
        Ok(())
    }

    /// Reads the mesh's secret, if this router is to be in one.
    fn mesh(&self) -> anyhow::Result<Option<MeshConfig>> {
        if self.mesh.is_empty() {
            return Ok(None);
        }
        Ok(Some(MeshConfig {
            servers: self.mesh.clone(),
            credentials: self.mesh_credentials.clone(),
            address: self.mesh_address.clone(),
            secret: mesh::config::read_secret(&self.state_dir()?)?,
            keys_stale: self
                .mesh_keys_stale
                .map(|seconds| Duration::from_secs(seconds.into())),
        }))
    }

    fn certificate_files(&self) -> Option<CertificateFiles> {
        let (certificate, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(CertificateFiles { certificate, key })
    }

    /// Returns the names for which the router's own certificate is made.
    pub fn certificate_names(&self) -> Vec<String> {
        let below = self.domain.iter().flat_map(Domain::certificate_names);
        std::iter::once("localhost".to_owned())
            .chain(below)
            .collect()
    }

    /// Reads the certificate. Makes the router's own if need be.
    fn certificate(&self) -> anyhow::Result<Certificate> {
        match self.certificate_files() {
            Some(files) => Certificate::of_authority(files),
            None => Certificate::own_for(&self.state_dir()?, &self.certificate_names()),
        }
    }

    /// Returns how other routers reach the main port of this one.
    ///
    /// # Errors
    /// If that is not known.
    pub fn mesh_address(&self) -> anyhow::Result<MemberAddress> {
        match &self.mesh_address {
            Some(address) => Ok(address.clone()),
            None => MemberAddress::of_this_host(self.port),
        }
    }

    /// Returns how others reach the main port, which is this one once the router runs: of a member of a mesh its
    /// own address, as no other router knows its invitations.
    pub(crate) fn address(&self, port: u16) -> RouterAddress {
        if let (Some(MemberAddress(own)), false) = (&self.mesh_address, self.mesh.is_empty()) {
            return own.clone();
        }
        let host = self.public_host.clone();
        let host = host.unwrap_or_else(|| public_address::own_host(self.bind));
        RouterAddress { host, port }
    }

    /// Returns how others reach the main port, for an invitation: as the router was started last.
    ///
    /// # Errors
    /// If there is no state directory.
    pub fn address_to_invite(&self) -> anyhow::Result<RouterAddress> {
        let noted = public_address::read_note(&self.state_dir()?).map(|(address, _)| address);
        Ok(match (noted, &self.public_host) {
            (Some(noted), None) => noted,
            (noted, _) => self.address(noted.map_or(self.port, |it| it.port)),
        })
    }

    /// Returns the ports of a car's key for which none are said: of those of the router's last start if these are
    /// among those said here, which are all if nobody says any.
    ///
    /// # Errors
    /// If there is no state directory.
    pub fn ports_of_cars(&self) -> anyhow::Result<PortRange> {
        let said = self.service_ports.range();
        let noted = public_address::read_note(&self.state_dir()?).and_then(|(_, ports)| ports);
        Ok(PortRange::of_cars(
            noted.filter(|noted| said.covers(*noted)).unwrap_or(said),
        ))
    }

    /// Returns the fingerprint of the router's own certificate, which is made if need be; `None`: the router
    /// shows one of an authority.
    ///
    /// # Errors
    /// If the certificate can't be read or stored.
    pub fn fingerprint(&self) -> anyhow::Result<Option<Fingerprint>> {
        let state_dir = self.state_dir()?;
        if self.certificate_files().is_some() || certificate::read_note(&state_dir)?.is_some() {
            return Ok(None);
        }
        Ok(Certificate::own(&state_dir)?.fingerprint())
    }

    /// Returns the proof for keys that are made now: from the settings here, otherwise from the
    /// certificate that the router had when it was last started.
    ///
    /// # Errors
    /// A `clap::Error` if the settings don't go together; otherwise if the certificate can't be
    /// read or stored.
    pub fn proof(&self) -> anyhow::Result<Proof> {
        let state_dir = self.state_dir()?;
        if self.certificate_files().is_none()
            && let Some(file) = certificate::read_note(&state_dir)?
        {
            let file = file.display();
            let note = format!(
                "the router shows the certificate in {file}, of an authority: the key has no fingerprint, and its holder checks the certificate and its name"
            );
            return Ok(Proof {
                fingerprints: Vec::new(),
                note: Some(note),
            });
        }
        self.check()?;
        let certificate = self.certificate()?;
        let has_keys = !KeyFile::in_dir(&state_dir).list()?.is_empty();
        let warning = certificate.warning().filter(|_| has_keys);
        let own = certificate.fingerprint();
        let next = own.map(|_| certificate::next(&state_dir)).transpose()?;
        Ok(Proof {
            fingerprints: own.into_iter().chain(next.flatten()).collect(),
            note: warning.map(str::to_owned),
        })
    }

    /// Returns the file of the service ports of the router with this main port.
    ///
    /// # Errors
    /// If there is none.
    pub fn known_links(&self) -> anyhow::Result<StateFile> {
        // The next start may get another port, and other service ports saved under it.
        anyhow::ensure!(
            self.port != 0,
            "a router whose main port is 0, any that is free, keeps no service ports"
        );
        let name = format!("links-{}.json", self.port);
        Ok(StateFile::new(self.state_dir()?, &name))
    }

    /// Makes the values for a router with these sockets. Reads the keys and the certificate.
    ///
    /// # Errors
    /// A `clap::Error` if the settings don't go together; otherwise if something can't be read.
    pub fn config(&self, sockets: InheritedListeners) -> anyhow::Result<Config> {
        self.check()?;
        // Without keys, no caller could check a certificate of the router's own.
        let has_certificate = !self.open || self.tls_cert.is_some();
        Ok(Config {
            certificate: has_certificate.then(|| self.certificate()).transpose()?,
            allow_plain_http: self.allow_plain_http || self.open,
            bind: self.bind,
            port: self.port,
            service_ports: self.service_ports,
            keys: if self.open {
                None
            } else {
                Some(KeyStore::open(self.state_dir()?)?)
            },
            log_dir: Some(self.common.log_dir.clone()),
            host_names: self.host_names.clone(),
            domain: self.domain.clone(),
            media_address: self.media_address.clone(),
            balancers: self.proxy_protocol.clone(),
            max_body: self.max_body as usize,
            patience: Patience::default(),
            max_links: (self.max_links).unwrap_or_else(|| OpenFileLimits::of_this_process().links),
            on_link: self.on_link.clone().map(CommandLine::into_words),
            known_links: self.known_links().ok(),
            mesh: self.mesh()?,
            record: self.record.clone().map(|dir| RecordConfig {
                dir,
                most_bytes: u64::from(self.record_mb) * 1_000_000,
            }),
            sockets,
        })
    }
}

fn usage(sentence: impl std::fmt::Display) -> clap::Error {
    Options::command().error(ErrorKind::ArgumentConflict, sentence)
}

#[cfg(test)]
mod tests;

//! Owns the command line of `p2p-inner`, and the configuration made from it.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use p2p_shared::key::Key;
use p2p_shared::names::{CommandName, Identity, LinkName, NameError};
use p2p_shared::net::dialer::{RouterAddress, parse_host, parse_router};
use p2p_shared::net::reconnect;
use p2p_shared::os::NoStateDir;
use p2p_shared::protocol::MotionInfo;
use p2p_shared::settings::{self, CommandLine, CommonOptions, CommonTask, Settings};
use p2p_shared::{key, os};

use crate::identity;

pub(crate) mod setup_options;

use setup_options::SetupOptions;

/// Time limit of a worker's announcement: Python's imports take 10 s on a small Pi.
pub const WORKER_HELLO: Duration = Duration::from_secs(30);

/// Configuration of an inner.
#[derive(Debug)]
pub struct Config {
    /// The routers, each with another address; the link is at one of them.
    pub routers: Vec<RouterAddress>,
    /// The service port to ask for; 0: the router chooses.
    pub service_port: u16,
    /// The name that people know the machine by.
    pub name: LinkName,
    /// Identity of the inner, for a router that works without keys.
    pub identity: Identity,
    pub key: Option<Key>,
    /// True to go without protection: see [`dial`](p2p_shared::net::dialer::dial).
    pub open: bool,
    /// The command directory.
    pub commands: PathBuf,
    /// Time limit of a command.
    pub timeout: Duration,
    /// Most commands that run at a time.
    pub max_runs: usize,
    /// Time limit of a worker's announcement: see [`WORKER_HELLO`].
    pub worker_hello: Duration,
    /// The motion commands, the stop command, and their limits.
    pub motion: MotionInfo,
    /// The guardian's arguments; `None`: nobody stops the car if this process dies.
    pub guardian: Option<Vec<OsString>>,
    /// Path of the files of the car's past: see `ring`; `None`: it is kept in memory only.
    pub ring: Option<PathBuf>,
    /// The camera's program and its arguments, if there is one.
    pub camera: Option<Vec<String>>,
}

/// Names of the commands that move the car, and of the one that stops it.
pub(crate) const DEFAULT_MOTION: &str = "forward,back,left,right";
pub(crate) const DEFAULT_STOP: &str = "stop";

/// Name of a link whose machine has no host name that can be one.
const UNNAMED: &str = "inner";

/// Longest time limit of a command: a week, in seconds.
const MAX_TIMEOUT: u64 = 7 * 24 * 3600;

/// Runs on the machine behind NAT: dials the router and runs the commands it is asked for
#[derive(Debug, Parser)]
#[command(
    name = "p2p-inner",
    version,
    subcommand_negates_reqs = true,
    override_usage = "p2p-inner setup [INVITATION]\n       \
        p2p-inner [OPTIONS] <ROUTER_HOST> <ROUTER_PORT> <SERVICE_PORT>",
    before_help = "Examples:\n  \
        p2p-inner setup p2pi1_…        with what the router has printed; then `p2p-inner` alone starts it\n  \
        p2p-inner router.example.org 8888 9000\n  \
        p2p-inner router.example.org 8888 9000 --name car --commands ~/car/command\n  \
        p2p-inner a.example.org,b.example.org 8888 9000    a second router stands by\n  \
        p2p-inner router.example.org 8888 9000 --camera 'rpicam-vid -t 0 -n --codec mjpeg -o -'\n\
        Then https://router.example.org:9000/cgi?command=hello runs the file `hello` of that folder."
)]
pub struct Options {
    /// What to do instead of running
    #[command(subcommand)]
    pub task: Option<Task>,
    /// The router's host name or address; of several, with commas between them, the first that
    /// answers, and another one when that is lost
    #[arg(required = true)]
    pub router_host: Option<RouterHosts>,
    /// The router's main port (8888 unless it was changed there)
    #[arg(required = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub router_port: Option<u16>,
    /// The port that the router opens for this machine; 0: the one that its key had last under this
    /// name, else any that is free
    #[arg(required = true)]
    pub service_port: Option<u16>,
    /// Further routers with main ports of their own
    #[arg(long, value_name = "HOST[:PORT],…", value_delimiter = ',', value_parser = parse_router)]
    pub routers: Vec<RouterAddress>,
    /// What people call this machine: any words, but no number [default: its host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<LinkName>,
    /// The directory whose executable files are the commands; its NAME.worker files serve further ones
    #[arg(long, value_name = "DIR", default_value = "command")]
    pub commands: PathBuf,
    /// How long a command may run, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30",
        value_parser = clap::value_parser!(u64).range(1..=MAX_TIMEOUT))]
    pub timeout: u64,
    /// How many commands may run at a time, beside what workers do
    #[arg(long, value_name = "N", default_value = "16",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_runs: u16,
    /// The commands that move the car, 16 at most: forward, back, left, right
    #[arg(long, value_name = "A,B,C,D", value_delimiter = ',',
        num_args = 1.., default_value = DEFAULT_MOTION)]
    pub motion: Vec<CommandName>,
    /// The command that stops the car; it may run more than once
    #[arg(long, value_name = "NAME", default_value = DEFAULT_STOP)]
    pub stop_command: CommandName,
    /// How long a motion by /cgi or send lasts, in seconds; 0: until somebody stops it
    #[arg(long, value_name = "SECONDS", default_value = "2",
        value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub motion_limit: u64,
    /// How long the car moves without hearing from its driver, in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value = "400",
        value_parser = clap::value_parser!(u64).range(150..=1000))]
    pub lease: u64,
    /// A program that writes MJPEG to its standard output, for /video and the drive page: words as
    /// a shell splits them, but no shell runs. It runs in the command directory, and only while
    /// somebody watches
    #[arg(long, value_name = "COMMAND")]
    pub camera: Option<CommandLine>,
    /// Without a key, obey a router that is not on this machine: whoever answers there, or is on the
    /// way, may run commands here
    #[arg(long)]
    pub open: bool,
    /// Where this machine keeps its identity, for routers that run without keys, what moved and stopped
    /// it (16 MiB at most for each name), and what tells it that an inner of the same key and service port already
    /// runs here
    /// [default: $XDG_STATE_HOME/p2prouter or ~/.local/state/p2prouter]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// What all our programs have
    #[command(flatten)]
    pub common: CommonOptions,
}

/// Hosts of routers. Not a list to clap, which has lists last.
#[derive(Debug, Clone)]
pub struct RouterHosts(Vec<String>);

impl FromStr for RouterHosts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hosts = text.split(',').map(|host| parse_host(host.trim()));
        hosts.collect::<Result<_, _>>().map(Self)
    }
}

/// What to do instead of running.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Set this machine up: redeem an invitation for a key, write the settings, and start at boot where systemd
    /// runs. Asks for what is not said
    Setup(SetupOptions),
    #[command(flatten)]
    Common(CommonTask),
    /// Say what keeps commands from being run: started by `setup`, as the user of the service
    #[command(hide = true)]
    CheckCommands {
        /// The command directory
        directory: PathBuf,
        /// The stop command
        stop: CommandName,
        /// The commands that move the car
        #[arg(value_delimiter = ',')]
        motions: Vec<CommandName>,
    },
    /// Watch over an inner that drives: started by it, and by nobody else
    #[command(hide = true)]
    Guardian {
        /// The command directory
        commands: PathBuf,
        /// The stop command
        stop: CommandName,
        /// The number of the inner's process
        inner: u32,
        /// The files of the car's past, for what the guardian does
        #[arg(long)]
        ring: Option<PathBuf>,
    },
}

impl Settings for Options {
    /// The guardian needs none: a mistake in environment or file must not leave a car without one.
    fn used_by(_subcommand: &str) -> Option<&'static [&'static str]> {
        Some(&[])
    }
}

/// Reads the settings of this process, as [`settings::parse`] does: if nobody says which router, those that
/// `setup` has written.
pub fn parse() -> Options {
    let words: Vec<OsString> = std::env::args_os().collect();
    let written = key::config_dir().map(|dir| dir.join("inner.toml"));
    parse_from(words, &|name| std::env::var_os(name), written).unwrap_or_else(|error| error.exit())
}

fn parse_from(
    words: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
    written: Option<PathBuf>,
) -> Result<Options, clap::Error> {
    settings::try_parse_from(words.clone(), environment).or_else(|error| {
        let is_host = |missing: &String| missing == "<ROUTER_HOST>";
        let is_without_router = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::Strings(missing)) => missing.iter().any(is_host),
            _ => false,
        };
        let has_config = environment("P2P_CONFIG").is_some_and(|path| !path.is_empty());
        match written.filter(|path| is_without_router && !has_config && path.exists()) {
            Some(path) => {
                let more = ["--config".into(), path.into()];
                settings::try_parse_from(words.into_iter().chain(more), environment)
            }
            None => Err(error),
        }
    })
}

impl Options {
    /// Returns the state directory, which need not exist.
    ///
    /// # Errors
    /// If there is no place for one.
    pub fn state_dir(&self) -> Result<PathBuf, NoStateDir> {
        let chosen = self.state_dir.clone();
        chosen.map_or_else(os::default_state_dir, Ok)
    }

    /// Makes the configuration. Reads the key and the identity.
    ///
    /// # Errors
    /// If the key can't be used, or the identity can't be kept.
    pub fn into_config(self) -> anyhow::Result<Config> {
        let (guardian, state_dir) = (self.guardian_arguments(), self.state_dir());
        let (Some(hosts), Some(port), Some(service_port)) =
            (self.router_host, self.router_port, self.service_port)
        else {
            anyhow::bail!("ROUTER_HOST, ROUTER_PORT and SERVICE_PORT are needed: see --help");
        };
        let routers = hosts.0.into_iter().map(|host| RouterAddress { host, port });
        let routers = reconnect::distinct(routers.chain(self.routers)).map_err(|why| {
            Options::command().error(ErrorKind::TooManyValues, format!("ROUTER_HOST: {why}"))
        })?;
        let key = key::load(self.common.key_file.as_deref())?;
        let identity = match &key {
            // The router knows the inner by its key, so nothing needs to be kept.
            Some(key) => key.id().to_string().parse()?,
            None => identity::load_or_make(state_dir.as_ref().map_err(|error| *error)?)?,
        };
        let name = self.name.map_or_else(host_name, Ok)?;
        let ring = state_dir.ok().map(|folder| {
            let name = name.as_str().replace('%', "%25");
            let name = name.replace('/', "%2F").replace('.', "%2E");
            folder.join("past").join(format!("{identity}.{name}"))
        });
        Ok(Config {
            routers,
            service_port,
            name,
            identity,
            key,
            open: self.open,
            commands: self.commands,
            timeout: Duration::from_secs(self.timeout),
            max_runs: self.max_runs.into(),
            worker_hello: WORKER_HELLO,
            motion: MotionInfo {
                commands: self.motion.try_into().map_err(too_many_motions)?,
                stop: self.stop_command,
                lease_ms: self.lease,
                limit_ms: self.motion_limit * 1000,
            },
            ring,
            guardian: Some(guardian),
            camera: self.camera.map(CommandLine::into_words),
        })
    }

    /// Arguments of the guardian, which logs as its inner does, as far as flags say how.
    fn guardian_arguments(&self) -> Vec<OsString> {
        let verbosity = self.common.verbosity();
        let flag = if verbosity < 0 { "-q" } else { "-v" };
        let flags = (0..verbosity.unsigned_abs()).map(|_| flag.into());
        let log_dir = ["--log-dir".into(), self.common.log_dir.clone().into()];
        let log_size = ["--log-size".into(), self.common.log_size.to_string().into()];
        let (commands, stop) = (&self.commands, self.stop_command.as_str());
        let task = ["guardian".into(), commands.into(), stop.into()];
        flags.chain(log_dir).chain(log_size).chain(task).collect()
    }
}

/// Makes an error of usage. clap can't count the names: they may come by several options.
fn too_many_motions(error: impl Display) -> clap::Error {
    let sentence = format!("--motion: {error}");
    Options::command().error(ErrorKind::TooManyValues, sentence)
}

pub(crate) fn host_name() -> anyhow::Result<LinkName> {
    let system = rustix::system::uname();
    name_of(&system.nodename().to_string_lossy())
}

/// The link's name where nobody gave one. A host name that can't be one is no reason not to start.
fn name_of(host: &str) -> anyhow::Result<LinkName> {
    let why = match host.parse::<LinkName>() {
        Ok(name) => return Ok(name),
        Err(why) => why,
    };
    let name = match why {
        NameError::Number => format!("inner-{host}").parse().or_else(|_| UNNAMED.parse()),
        _ => UNNAMED.parse(),
    };
    let name: LinkName = name.context("say --name NAME")?;
    let sentence = "the host name can't be a link's name: say --name NAME to choose another";
    tracing::warn!(host, %why, %name, "{sentence}");
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guardian_looks_at_no_settings() {
        let environment = |name: &str| match name {
            "P2P_CONFIG" => Some("/nowhere".into()),
            "P2P_ROUTER_PORT" => Some("tcp://10.0.0.1:8888".into()),
            _ => Some("x".into()),
        };
        let words = "p2p-inner -v --log-dir there guardian command stop 7".split(' ');
        let options = settings::try_parse_from::<Options>(words, &environment).unwrap();
        assert!(matches!(
            options.task,
            Some(Task::Guardian { inner: 7, .. })
        ));
        assert_eq!(options.common.verbosity(), 1);
        assert_eq!(options.common.log_dir, PathBuf::from("there"));
    }

    #[test]
    fn who_says_no_router_gets_the_settings_that_setup_has_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("inner.toml");
        let parse = |words: &str, config: &'static str| {
            let words = format!("p2p-inner {words}");
            let words = words.split_whitespace().map(OsString::from).collect();
            let environment = |name: &str| (name == "P2P_CONFIG").then(|| config.into());
            let parsed = parse_from(words, &environment, Some(path.clone()));
            parsed.map(|options| {
                (
                    options.router_port,
                    options.name.map(|name| name.to_string()),
                )
            })
        };
        assert!(parse("", "").is_err());
        let text = "router-host = \"a\"\nrouter-port = 7\nservice-port = 0\nname = \"car\"\n";
        std::fs::write(&path, text).unwrap();
        assert_eq!(parse("-v", "").unwrap(), (Some(7), Some("car".to_owned())));
        assert_eq!(parse("b 8 9", "").unwrap(), (Some(8), None));
        assert!(parse("b", "").is_err(), "what is said in part");
        assert!(parse("", "/nowhere").is_err());
    }

    #[test]
    fn routers_are_hosts_with_one_port_and_others_with_their_own_each_once() {
        let state = tempfile::tempdir().unwrap();
        let routers = |words: &str, variable: &'static str| {
            let environment = |name: &str| match name {
                "P2P_STATE_DIR" => Some(state.path().into()),
                "P2P_ROUTERS" => Some(variable.into()),
                _ => None,
            };
            let words = format!("p2p-inner {words}");
            let options = settings::try_parse_from::<Options>(words.split(' '), &environment)?;
            let config = options.into_config()?;
            let routers = config.routers.iter().map(ToString::to_string);
            anyhow::Ok(routers.collect::<Vec<_>>().join(" "))
        };
        assert_eq!(routers("a 1 2", "").unwrap(), "a:1");
        assert_eq!(routers("a,b,[::1],a 1 2", "").unwrap(), "a:1 b:1 [::1]:1");
        let more = "a,b 1 2 --routers c,a:1,[::1]:7";
        assert_eq!(routers(more, "d").unwrap(), "a:1 b:1 c:8888 [::1]:7");
        assert_eq!(routers("a 1 2", "c:7,d").unwrap(), "a:1 c:7 d:8888");
        for (words, says) in [
            ("a,,b 1 2", "no host"),
            ("a 1 2 --routers b:x", "not a port"),
        ] {
            let error = routers(words, "").unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let many: Vec<_> = (0..17).map(|n| format!("host{n}")).collect();
        let error = routers(&format!("{} 1 2", many.join(",")), "").unwrap_err();
        assert!(error.to_string().contains("16 at most"), "{error}");
        assert!(error.downcast_ref::<clap::Error>().is_some());
    }

    #[test]
    fn too_many_motions_are_an_error_of_usage_that_says_how_many_there_may_be() {
        let state = tempfile::tempdir().unwrap();
        let into_config = |motions: usize| {
            let names: Vec<_> = (0..motions).map(|n| format!("m{n}")).collect();
            let arguments = ["p2p-inner", "h", "1", "2", "--motion", &names.join(",")];
            let environment = |name: &str| (name == "P2P_STATE_DIR").then(|| state.path().into());
            let options = settings::try_parse_from::<Options>(arguments, &environment);
            options.unwrap().into_config()
        };
        assert_eq!(into_config(16).unwrap().motion.commands.len(), 16);
        let error = into_config(17).unwrap_err();
        let error = error.downcast_ref::<clap::Error>().unwrap();
        assert_eq!(error.exit_code(), 2);
        let said = error.to_string();
        assert!(said.contains("--motion") && said.contains("16"), "{said}");
    }

    #[test]
    fn no_host_name_stops_an_inner() {
        let long_number = "7".repeat(64);
        for (host, name) in [
            ("car", "car"),
            ("42", "inner-42"),
            ("", "inner"),
            (&long_number, "inner"),
        ] {
            assert_eq!(name_of(host).unwrap().as_str(), name, "{host:?}");
        }
    }

    #[test]
    fn a_camera_is_words_and_an_open_quote_is_an_error_of_usage() {
        let parse = |camera: &str| {
            let arguments = ["p2p-inner", "h", "1", "2", "--camera", camera];
            settings::try_parse_from::<Options>(arguments, &|_| None)
        };
        let camera = parse("rpicam-vid -o '$x y'").unwrap().camera.unwrap();
        assert_eq!(camera.into_words(), ["rpicam-vid", "-o", "$x y"]);
        let error = parse("rpicam-vid 'x").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let said = error.to_string();
        assert!(
            said.contains("--camera") && said.contains("a quote is open"),
            "{said}"
        );
        // The environment works, too.
        let environment = |name: &str| (name == "P2P_CAMERA").then(|| "cam -o -".into());
        let arguments = ["p2p-inner", "h", "1", "2"];
        let options = settings::try_parse_from::<Options>(arguments, &environment).unwrap();
        assert_eq!(options.camera.unwrap().into_words(), ["cam", "-o", "-"]);
    }
}

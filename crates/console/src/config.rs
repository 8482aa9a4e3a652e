//! The command line of `p2p-console`.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use p2p_shared::names::CommandName;
use p2p_shared::os;
use p2p_shared::settings::{CommonOptions, CommonTask, Settings};

use crate::routers::{RouterName, SaidRouter};

/// The way to pass arguments that begin with '-': for the help, and after a mistake.
const DASHES: &str = "\
    Arguments that begin with '-' come after a --, and options of p2p-console before it:\n  \
    p2p-console --router router.example.org --json send car ls -- -l";

/// Shows every link and every command of a router, and drives the car
#[derive(Debug, Parser)]
#[command(
    name = "p2p-console",
    version,
    before_help = "Examples:\n  \
        p2p-console login p2pi1_…                           with what the router has printed\n  \
        p2p-console                                         the screens of the router used last\n  \
        p2p-console --router router.example.org:8888        the screens; arrow keys drive\n  \
        p2p-console --router router.example.org list --json which machines are there\n  \
        p2p-console --router router.example.org send car hello world\n  \
        p2p-console --router router.example.org send car forward --for 300ms\n  \
        p2p-console replay recordings/car-20261122T170200Z.mcap",
    // People write these options after the subcommand, too.
    mut_arg("key_file", |arg| arg.global(true)),
    mut_arg("log_dir", |arg| arg.global(true)
        .help("Keep the log files in DIR [default: $XDG_STATE_HOME/p2prouter/logs or ~/.local/state/p2prouter/logs]")
        .default_value(log_dir().into_os_string())
        .hide_default_value(true)),
    mut_arg("log_size", |arg| arg.global(true))
)]
pub struct Options {
    /// What to do instead of showing the screens
    #[command(subcommand)]
    pub task: Option<Task>,
    /// The router: HOST or HOST:PORT (its main port, default 8888), or the name that it has here by `login`;
    /// of several, with commas between them, the first that answers [default: the one that was logged in to or
    /// shown on the screens last]
    #[arg(long, value_name = "HOST:PORT", global = true, value_delimiter = ',')]
    pub router: Vec<SaidRouter>,
    /// Open this link, by its name or its service port, on the Drive screen
    #[arg(long, value_name = "LINK", global = true)]
    pub link: Option<String>,
    /// Only watch, even with a key that may do more
    #[arg(long, global = true)]
    pub readonly: bool,
    /// Without a key, believe a router that is not on this machine: whoever answers there, or is on
    /// the way, sees and changes what you do
    #[arg(long, global = true)]
    pub open: bool,
    /// Print JSON, one value a line (list, commands, send, watch, replay)
    #[arg(long, global = true)]
    pub json: bool,
    /// No colours; NO_COLOR does the same (with TERM=dumb there are no screens, but a line an event)
    #[arg(long, global = true)]
    pub no_color: bool,
    #[command(flatten)]
    pub common: CommonOptions,
}

/// Not whatever folder somebody stands in: a desk is no server's folder.
fn log_dir() -> PathBuf {
    os::default_state_dir().map_or("logs".into(), |dir| dir.join("logs"))
}

/// Subcommands, which do without the screens.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Get a key for a router by an invitation, and remember both
    Login(LoginOptions),
    /// Show a code that a phone's camera opens: it signs the phone in at a car's page, once, within 5 minutes
    Qr {
        /// The link's name, or its service port [default: the only one]
        #[arg(value_name = "LINK")]
        car: Option<String>,
    },
    /// Print the links of the router
    List,
    /// Print the commands of a car
    Commands {
        /// The link's name, or its service port
        #[arg(value_name = "LINK")]
        car: String,
    },
    /// Run a command and print its output as it comes; ends with the command's exit code
    #[command(after_help = format!("{DASHES}\n\n\
        Exit codes: the command's own, and 1 error, 2 usage, 3 router not reached or lost,\n\
        4 car offline, or its link was lost meanwhile: nobody knows then whether the command ran,\n\
        5 denied or locked, 124 timed out, 130 interrupted; if none of several routers lets\n\
        us in, the code of the first in the list"))]
    Send(SendOptions),
    /// Print each event as a line, until interrupted; without a terminal this is the default
    Watch,
    /// Say what became of a car: what car, router and this desk know of its last minutes, on one clock, as a page
    /// and as lines of JSON, which are written into files here; with --json print the lines only
    Incident {
        /// The link's name, or its service port
        #[arg(value_name = "LINK")]
        car: String,
        /// How far back (60s, 10m)
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "60s")]
        last: Duration,
    },
    /// Have a car recorded at its router (p2p-router --record) from now on, 15 minutes at most, whether somebody drives
    /// or not; says which file that is there
    Record {
        /// The link's name, or its service port
        #[arg(value_name = "LINK")]
        car: String,
        /// No longer; a drive is recorded anyway
        #[arg(long)]
        off: bool,
    },
    /// Play a past drive on the screens: what car, driver and link did, with the camera's pictures if they were
    /// recorded. Without a terminal, or with --json, print it
    Replay {
        /// A router's log (logs/p2p-router.DAY.jsonl), what `incident` or s in the Log screen saved (.jsonl), or a
        /// recording of p2p-router --record (.mcap)
        file: PathBuf,
    },
    #[command(flatten)]
    Common(CommonTask),
}

/// A router to get a key for.
#[derive(Debug, Args)]
pub struct LoginOptions {
    /// What `p2p-router key add NAME --role ROLE --invite` printed behind `p2p-console login`; asked for if it is
    /// left out. --router HOST:PORT says how this desk reaches that router, if that is another way
    pub invitation: Option<String>,
    /// What to call the router here [default: its host, with its port if that is not 8888]
    #[arg(long, value_name = "NAME")]
    pub name: Option<RouterName>,
    /// Print the routers that this desk has logged in to, first the one that `p2p-console` opens
    #[arg(long)]
    pub list: bool,
    /// Forget a router and its key
    #[arg(long, value_name = "NAME")]
    pub forget: Option<RouterName>,
}

/// One command to run.
#[derive(Debug, Args)]
pub struct SendOptions {
    /// The link's name, or its service port
    #[arg(value_name = "LINK")]
    pub to: String,
    /// The command
    pub command: CommandName,
    /// Its arguments, passed as they are; those that begin with '-' after a --
    pub arguments: Vec<std::ffi::OsString>,
    /// End a motion command after this time (300ms, 1s), by the stop command
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub lasting: Option<Duration>,
}

impl Settings for Options {
    fn used_by(subcommand: &str) -> Option<&'static [&'static str]> {
        match subcommand {
            // It reads a file and asks no router.
            "replay" => Some(&[
                "json", "no-color", "log-dir", "log-size", "verbose", "quiet",
            ]),
            // Which router, the invitation says, unless --router does.
            "login" => Some(&["log-dir", "log-size", "verbose", "quiet"]),
            _ => None,
        }
    }
}

/// Reads the settings of this process. Ends it after help and version, and with code 2 and a
/// sentence after a mistake.
pub fn parse() -> Options {
    let environment = |name: &str| std::env::var_os(name);
    let parsed = p2p_shared::settings::try_parse_from(std::env::args_os(), &environment);
    parsed.unwrap_or_else(|error: clap::Error| {
        let _ = error.print();
        let is_send = std::env::args_os().any(|word| word == "send");
        if is_send && error.kind() == ErrorKind::UnknownArgument {
            eprintln!("\n{DASHES}");
        }
        std::process::exit(error.exit_code())
    })
}

impl Options {
    /// Returns true if settings and environment allow colours.
    pub fn wants_colour(&self, variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> bool {
        !self.no_color && os::allow_colour(variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_the_contracts() {
        let parse = |words: &str| {
            Options::try_parse_from(format!("p2p-console {words}").split(' ')).map(|o| o.task)
        };
        assert!(matches!(parse("--router a:1"), Ok(None)));
        assert!(matches!(
            parse("list --router a --json"),
            Ok(Some(Task::List))
        ));
        let key_file = |words: &str| {
            let words = format!("p2p-console {words}");
            let options = Options::try_parse_from(words.split(' ')).unwrap();
            options.common.key_file
        };
        let behind = "--router a send car hello --key-file k --log-dir l";
        assert_eq!(key_file(behind), Some("k".into()));
        let Ok(Some(Task::Send(send))) = parse("--router a send car forward x --for 300ms") else {
            panic!("send");
        };
        assert_eq!(send.lasting, Some(Duration::from_millis(300)));
        let Ok(Some(Task::Send(send))) = parse("--router a send car ls -- -l --for") else {
            panic!("send");
        };
        assert_eq!(send.arguments, ["-l", "--for"]);
        assert!(parse("send car ../x").is_err());
    }

    #[test]
    fn a_replay_asks_no_router_and_needs_no_address() {
        let environment = |name: &str| (name == "P2P_ROUTER").then(|| "a b".into());
        let parse = |words: &str| {
            let words = format!("p2p-console {words}");
            p2p_shared::settings::try_parse_from::<Options>(words.split(' '), &environment)
        };
        let replay = parse("--json replay router.jsonl").unwrap();
        assert!(replay.json && matches!(replay.task, Some(Task::Replay { .. })));
        assert!(
            parse("list")
                .unwrap_err()
                .to_string()
                .contains("P2P_ROUTER")
        );
    }

    #[test]
    fn an_argument_with_a_dash_gets_the_way_to_write_it() {
        for (line, tip) in [
            ("p2p-console send car --json ls -l $x", "'-- -l'"),
            ("p2p-console send car cmd a -xyz", "'-- -x'"),
            ("p2p-console send car cmd --bright=7", "'-- --bright'"),
        ] {
            let error = Options::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnknownArgument);
            assert!(error.to_string().contains(tip), "{error}");
        }
        // No argument at all.
        let error = Options::try_parse_from("p2p-console send car ../x".split(' ')).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::UnknownArgument);
        let ours = "p2p-console send --json --for 300ms car forward";
        assert!(Options::try_parse_from(ours.split(' ')).is_ok());
        let ours = "p2p-console send car forward a --for 300ms --json";
        assert!(Options::try_parse_from(ours.split(' ')).is_ok());
    }

    #[test]
    fn colours_are_refused_by_flag_variable_and_terminal() {
        let plain = Options::parse_from(["p2p-console"]);
        let with = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| value.into())
        };
        assert!(plain.wants_colour(|_| None));
        assert!(plain.wants_colour(with("NO_COLOR", "")));
        assert!(!plain.wants_colour(with("NO_COLOR", "1")));
        assert!(!plain.wants_colour(with("TERM", "dumb")));
        assert!(!Options::parse_from(["p2p-console", "--no-color"]).wants_colour(|_| None));
    }
}

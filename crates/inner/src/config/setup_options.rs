//! What may be said to `p2p-inner setup` beforehand.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use p2p_shared::names::LinkName;
use p2p_shared::net::dialer::{RouterAddress, parse_router};

/// Answers that may be given beforehand.
#[derive(Debug, Args)]
pub struct SetupOptions {
    /// What `p2p-router key add NAME --role link --invite` printed behind `p2p-inner setup`; asked for if it is
    /// left out and there is no key yet
    #[arg(env = "P2P_INVITATION", hide_env_values = true)]
    pub(crate) invitation: Option<String>,
    /// The router, if this machine reaches it in another way than the invitation says
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_router)]
    pub(crate) router: Option<RouterAddress>,
    /// What people call this machine [default: the name of its key]
    #[arg(long, value_name = "NAME", env = "P2P_NAME")]
    pub(crate) name: Option<LinkName>,
    /// The directory of commands [default: /etc/p2prouter/commands for a service, else ./command]
    #[arg(long, value_name = "DIR", env = "P2P_COMMANDS")]
    pub(crate) commands: Option<PathBuf>,
    /// The service port to ask for; 0: any that the key is for
    #[arg(long, value_name = "PORT", env = "P2P_SERVICE_PORT")]
    pub(crate) service_port: Option<u16>,
    /// The camera's program and its arguments; `none`: no camera
    #[arg(long, value_name = "COMMAND", env = "P2P_CAMERA")]
    pub(crate) camera: Option<String>,
    /// The sample commands for a directory that has none
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) samples: Option<SampleKind>,
    /// For this user alone, also for root where systemd runs: writes into ~/.config/p2prouter, and starts nothing
    #[arg(long)]
    pub(crate) user: bool,
    /// Take the defaults for what is not said, and ask nothing
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// Kind of sample commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SampleKind {
    /// A car that only prints what it would do
    Text,
    /// Two motors at GPIO pins, by a worker in Python with gpiozero
    Gpiozero,
    /// Two motors at GPIO pins, by shell scripts with pinctrl
    Pinctrl,
    /// No commands
    None,
}

impl fmt::Display for SampleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Gpiozero => "gpiozero",
            Self::Pinctrl => "pinctrl",
            Self::None => "none",
        })
    }
}

impl FromStr for SampleKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        clap::ValueEnum::from_str(text, true)
            .map_err(|_| "write text, gpiozero, pinctrl or none".to_owned())
    }
}

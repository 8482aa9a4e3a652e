//! What may be said to `p2p-router setup` beforehand.

use clap::Args;

/// Answers that may be given beforehand, beside `--public-host`.
#[derive(Debug, Args)]
pub struct SetupOptions {
    /// The main port
    #[arg(long, value_name = "PORT", env = "P2P_PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) main_port: Option<u16>,
    /// The service ports that inners may ask for
    #[arg(long, value_name = "LOW-HIGH", env = "P2P_SERVICE_PORTS")]
    pub(crate) service_ports: Option<String>,
    /// For this user alone, also for root where systemd runs: writes into ~/.config/p2prouter, and starts nothing
    #[arg(long)]
    pub(crate) user: bool,
    /// Print the first invitations also where no terminal shows them: who reads a log of the output may use them
    #[arg(long)]
    pub(crate) show_invitations: bool,
    /// Take the defaults for what is not said, and ask nothing
    #[arg(long, short)]
    pub(crate) yes: bool,
}

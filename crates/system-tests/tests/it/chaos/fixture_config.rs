//! How the programs of a fixture are started: as usual, or as a fault needs it.

use std::fs;
use std::path::Path;

use crate::common::program::{RunningProgram, inner, path, router};

/// The inner's settings file, if the folder has one.
pub(crate) const SETTINGS: &str = "inner.toml";

/// How the programs are run where a fault needs more than the usual.
#[derive(Debug, Clone, Default)]
pub(crate) struct FixtureConfig {
    /// Words of a command line that starts the inner, if there is one.
    pub(crate) starter: Vec<String>,
    /// The router's host as the inner is told it, rather than this machine's own address.
    pub(crate) host: Option<String>,
    /// The inner is in another network: there is no proxy on its way.
    pub(crate) is_elsewhere: bool,
    /// The inner runs as this user, who owns the folder.
    pub(crate) user: Option<u32>,
    /// All have keys, and the link TLS.
    pub(crate) has_keys: bool,
    /// What the programs find in their environment.
    pub(crate) inner_variables: Vec<(&'static str, String)>,
    pub(crate) router_variables: Vec<(&'static str, String)>,
}

pub(crate) fn start_router(
    folder: &Path,
    fixture_config: &FixtureConfig,
    port: u16,
) -> RunningProgram {
    let mut router = router(folder);
    router.arg(port.to_string());
    if !fixture_config.has_keys {
        router.arg("--open");
    }
    if fixture_config.is_elsewhere {
        router.args(["--open-to-everyone", "--bind", "0.0.0.0"]);
    } else {
        router.args(["--bind", "127.0.0.1"]);
    }
    router.envs(fixture_config.router_variables.iter().cloned());
    RunningProgram::start(&mut router)
}

/// The ports are the proxy's, the router's, and the one to ask for.
pub(crate) fn start_inner(
    folder: &Path,
    fixture_config: &FixtureConfig,
    ports: (u16, u16, u16),
) -> RunningProgram {
    let mut command = inner(folder);
    if let Some(user) = fixture_config.user {
        command = started_by(&[folder.join(OWN_INNER).display().to_string()], folder);
        command.uid(user).gid(user);
    } else if !fixture_config.starter.is_empty() {
        let program = command.as_std().get_program().to_owned();
        command = started_by(&fixture_config.starter, folder);
        command.arg(program);
    }
    let (proxy, main, service) = ports;
    let port = if fixture_config.is_elsewhere {
        main
    } else {
        proxy
    };
    let host = fixture_config.host.as_deref().unwrap_or("127.0.0.1");
    command.args([host, &port.to_string(), &service.to_string()]);
    command.args(["--name", "car", "--max-runs", "50"]);
    if fixture_config.is_elsewhere && !fixture_config.has_keys {
        command.arg("--open");
    }
    if folder.join(SETTINGS).exists() {
        command.args(["--config", SETTINGS]);
    }
    command.envs(fixture_config.inner_variables.iter().cloned());
    RunningProgram::start(&mut command)
}

fn started_by(words: &[String], folder: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(&words[0]);
    command.args(&words[1..]);
    command.env_clear().env("HOME", folder).current_dir(folder);
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command
}

/// A copy of the inner, for a user who may not look where it was built.
const OWN_INNER: &str = "p2p-inner";

pub(crate) fn belongs_to(folder: &Path, user: u32) {
    let copy = folder.join(OWN_INNER);
    // By another process: see `World::file`.
    run("cp", &[&path("p2p-inner"), &copy]);
    // Else it is the router's, who comes first.
    fs::create_dir(folder.join("logs")).unwrap();
    let owner = format!("{user}:{user}");
    run("chown", &[Path::new("-R"), Path::new(&owner), folder]);
}

fn run(program: &str, arguments: &[&Path]) {
    let status = std::process::Command::new(program).args(arguments).status();
    assert!(status.unwrap().success(), "{program} {arguments:?}");
}

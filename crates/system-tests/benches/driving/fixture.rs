//! The real router, inner and console on this machine, and the keys that drive the car.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::common::ReservedPort;
use super::common::program::{RunningProgram, command, path};
use super::common::pty::TestTerminal;
use super::namespaces::{Namespaces, ROUTER};
use super::proxy::Proxy;
use super::witness::{CommandStart, CommandStarts, MOTION, STOP, now};

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(20);
const SIZE: (u16, u16) = (100, 32);

/// An arrow key, as kitty reports it.
#[derive(Debug, Clone, Copy)]
pub struct ArrowKey(pub usize);

impl ArrowKey {
    pub const UP: Self = Self(0);
    pub const LEFT: Self = Self(2);

    pub fn command(self) -> &'static str {
        MOTION[self.0]
    }

    fn bytes(self, stroke: u8) -> String {
        // In the order of the motion commands: up, down, left, right.
        let letter = ["A", "B", "D", "C"][self.0];
        format!("\x1b[1;1:{stroke}{letter}")
    }
}

/// What is between the programs.
#[derive(Default)]
pub struct FixtureOptions {
    /// A proxy with this delay each way between the inner and the router.
    pub link: Option<Duration>,
    /// The same between the console and the router.
    pub console_proxy: Option<Duration>,
    /// Namespaces with a middle that drops packets.
    pub namespaces: Option<Namespaces>,
}

/// The running programs. Dropping it ends them.
pub struct Fixture {
    pub console: TestTerminal,
    pub inner: RunningProgram,
    pub router: RunningProgram,
    pub starts: CommandStarts,
    pub link: Option<Proxy>,
    pub console_proxy: Option<Proxy>,
    pub namespaces: Option<Namespaces>,
    delay: Duration,
    router_port: u16,
    service_port: ReservedPort,
    folder: TempDir,
}

impl Fixture {
    pub fn start(options: FixtureOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let commands = folder.path().join("command");
        fs::create_dir(&commands).unwrap();
        fs::copy(std::env::current_exe().unwrap(), commands.join(STOP)).unwrap();
        for name in MOTION {
            fs::hard_link(commands.join(STOP), commands.join(name)).unwrap();
        }
        let starts = CommandStarts::of(folder.path());
        let bind = if options.namespaces.is_some() {
            "0.0.0.0"
        } else {
            "127.0.0.1"
        };
        let space = options.namespaces.as_ref().map(Namespaces::router);
        let mut router = program("p2p-router", folder.path(), space.as_deref());
        router.args(["0", "--open", "--open-to-everyone", "--bind", bind]);
        let router = RunningProgram::start(&mut router);
        let router_port = wait_for(router.number_behind(&format!("listening on {bind}:")));
        let proxy = |delay: Option<Duration>| delay.map(|delay| Proxy::to(router_port, delay));
        let (link, console_proxy) = (proxy(options.link), proxy(options.console_proxy));
        let service_port = ReservedPort::new();
        let namespaces = options.namespaces;
        let link_port = link.as_ref().map_or(router_port, Proxy::port);
        let inner = start_inner(
            folder.path(),
            namespaces.as_ref(),
            link_port,
            service_port.port,
        );
        let desk_port = console_proxy.as_ref().map_or(router_port, Proxy::port);
        let console = start_console(folder.path(), namespaces.as_ref(), desk_port);
        Self {
            console,
            inner,
            router,
            starts,
            link,
            console_proxy,
            namespaces,
            delay: options.link.unwrap_or_default() + options.console_proxy.unwrap_or_default(),
            router_port,
            service_port,
            folder,
        }
    }

    pub fn restart_inner(&mut self) {
        let port = self.link.as_ref().map_or(self.router_port, Proxy::port);
        let (namespaces, service_port) = (self.namespaces.as_ref(), self.service_port.port);
        self.inner = start_inner(self.folder.path(), namespaces, port, service_port);
    }

    pub fn restart_console(&mut self) {
        let port = self
            .console_proxy
            .as_ref()
            .map_or(self.router_port, Proxy::port);
        self.console = start_console(self.folder.path(), self.namespaces.as_ref(), port);
    }

    /// Takes control, and tries until a press moves the car: then it drives, and stands.
    pub fn arm(&self) {
        let begun = now();
        while now() < begun + PATIENCE {
            self.console.send(b"a");
            std::thread::sleep(self.delay * 2 + Duration::from_millis(30));
            self.down(ArrowKey::UP);
            let answer = self.delay * 3 + Duration::from_millis(150);
            let moved = self
                .starts
                .first(answer, |act| act.name == ArrowKey::UP.command());
            self.up(ArrowKey::UP);
            if moved.is_some() && self.starts.first(PATIENCE, CommandStart::is_stop).is_some() {
                self.starts
                    .until_quiet(self.delay * 2 + Duration::from_millis(60));
                return;
            }
        }
        panic!("the car can't be driven: {:?}", self.console.shown());
    }

    /// The car moves by this key, which is held.
    pub fn set_off(&self, arrow: ArrowKey) {
        for _ in 0..5 {
            if self.drive(arrow).is_some() {
                return;
            }
            eprintln!("{arrow:?} moved nothing: armed and pressed again");
            self.up(arrow);
            self.arm();
        }
        panic!("the car can't be driven: {:?}", self.console.shown());
    }

    /// Presses, and waits for the motion.
    pub fn drive(&self, arrow: ArrowKey) -> Option<CommandStart> {
        self.down(arrow);
        self.starts
            .first(Duration::from_secs(2), |act| act.name == arrow.command())
    }

    pub fn down(&self, arrow: ArrowKey) {
        self.console.send(arrow.bytes(1).as_bytes());
    }

    pub fn repeat(&self, arrow: ArrowKey) {
        self.console.send(arrow.bytes(2).as_bytes());
    }

    pub fn up(&self, arrow: ArrowKey) {
        self.console.send(arrow.bytes(3).as_bytes());
    }

    /// The floor: the same program started from here, as the inner starts it. Its first act.
    pub fn spawn_alone(&self, name: &str) -> Option<Duration> {
        let commands = self.folder.path().join("command");
        let mut command = Command::new(commands.join(name));
        command
            .current_dir(&commands)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let begun = now();
        let mut child = command.spawn().unwrap();
        let act = self.starts.first(PATIENCE, |act| act.process == child.id());
        child.wait().unwrap();
        Some(act?.at - begun)
    }
}

fn start_inner(
    folder: &Path,
    namespaces: Option<&Namespaces>,
    port: u16,
    service_port: u16,
) -> RunningProgram {
    let space = namespaces.map(Namespaces::car);
    let mut inner = program("p2p-inner", folder, space.as_deref());
    let host = if namespaces.is_some() {
        ROUTER
    } else {
        "127.0.0.1"
    };
    inner.args([host, &port.to_string(), &service_port.to_string()]);
    inner.args(["--name", "car", "--open"]);
    let inner = RunningProgram::start(&mut inner);
    wait_for(inner.says(&format!("link up: http://{host}:")));
    inner
}

fn start_console(folder: &Path, namespaces: Option<&Namespaces>, port: u16) -> TestTerminal {
    let space = namespaces.map(Namespaces::router);
    let mut console = program("p2p-console", folder, space.as_deref()).into_std();
    console.args(["--router", &format!("127.0.0.1:{port}"), "--link", "car"]);
    // The terminal's own starter adds to our environment.
    console.env_remove("P2P_KEY").env_remove("XDG_CONFIG_HOME");
    let console = TestTerminal::start(&console, true, SIZE);
    let begun = now();
    while !console.shown().contains("VIEW") {
        assert!(now() < begun + PATIENCE, "{:?}", console.shown());
        std::thread::sleep(Duration::from_millis(5));
    }
    console
}

/// A program of ours, in this network namespace if there is one.
fn program(name: &str, folder: &Path, space: Option<&str>) -> tokio::process::Command {
    let Some(space) = space else {
        return command(&path(name), folder);
    };
    let mut command = command(Path::new("ip"), folder);
    command.args(["netns", "exec", space]).arg(path(name));
    command
}

/// Waits for what a program says.
fn wait_for<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(what)
}

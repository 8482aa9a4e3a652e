//! The real programs as processes, which can be killed, stopped and listened to.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::{PATIENCE, soon};

/// A running program, in a folder that holds all it needs. Dropping it kills the program.
pub struct RunningProgram {
    child: Child,
    out: CollectedOutput,
    errors: CollectedOutput,
}

/// What a program has written so far.
type CollectedOutput = Arc<Mutex<String>>;

/// `p2p-router` in this folder.
pub fn router(folder: &Path) -> Command {
    let mut router = without_terminal("p2p-router", folder);
    // By which the callers here ask.
    router.env("P2P_HOST_NAMES", "car,car.test");
    router
}

/// `p2p-inner` in this folder, where the commands are in `command`.
pub fn inner(folder: &Path) -> Command {
    without_terminal("p2p-inner", folder)
}

/// A program that has no terminal, even if the tests have one: there a front process would get the
/// signals that are for the program.
fn without_terminal(name: &str, folder: &Path) -> Command {
    if File::open("/dev/tty").is_err() {
        return command(&path(name), folder);
    }
    let mut setsid = command(Path::new("setsid"), folder);
    setsid.arg(path(name));
    setsid
}

/// `p2p-console` with this router, for a terminal of the tests' own.
pub fn console(folder: &Path, router_port: u16) -> std::process::Command {
    console_called("p2p-console", folder, router_port)
}

/// The same with a fault: see the example `p2p-console-that-panics`.
pub fn console_that_panics(folder: &Path, router_port: u16) -> std::process::Command {
    console_called("p2p-console-that-panics", folder, router_port)
}

fn console_called(name: &str, folder: &Path, router_port: u16) -> std::process::Command {
    let console = command(&path(name), folder);
    let mut console = console.into_std();
    console.args(["--router", &format!("127.0.0.1:{router_port}")]);
    // The terminal is started by another program, which keeps what is not taken away by name.
    console.env_remove("P2P_KEY").env_remove("XDG_CONFIG_HOME");
    console
}

/// Folder of the programs where these are not the examples of this package: benchmarks set it.
pub static PRODUCTS: OnceLock<PathBuf> = OnceLock::new();

/// A program of the workspace: in tests an example of this package.
pub fn path(name: &str) -> PathBuf {
    if let Some(folder) = PRODUCTS.get() {
        return folder.join(name);
    }
    let car = Path::new(env!("CARGO_BIN_EXE_sim-car"));
    if name == "sim-car" {
        return car.to_owned();
    }
    let path = car.with_file_name("examples").join(name);
    assert!(
        path.exists(),
        "{} is not there: `cargo build -p p2p-system-tests --examples` makes it, as `cargo test` does \
         unless it is told which tests to build",
        path.display()
    );
    path
}

/// An inner of this router in this folder, whose commands are in `command`.
pub fn inner_of(folder: &Path, router_port: u16, service_port: u16) -> Command {
    let mut command = inner(folder);
    let arguments = [
        "127.0.0.1",
        &router_port.to_string(),
        &service_port.to_string(),
    ];
    command.args(arguments).args(["--name", "car"]);
    command
}

/// With nothing of our own environment, and its home in the folder.
pub fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var_os("PATH").unwrap();
    command.env_clear().env("PATH", path).env("HOME", folder);
    command.current_dir(folder);
    command
}

impl RunningProgram {
    pub fn start(command: &mut Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        Self {
            out: collect(child.stdout.take().unwrap()),
            errors: collect(child.stderr.take().unwrap()),
            child,
        }
    }

    /// The same with a terminal as its standard output.
    pub fn start_at_terminal(command: &mut Command) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let terminal = terminal.unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let its_side = File::options().write(true).open(name.to_str().unwrap());
        command
            .stdin(Stdio::null())
            .stdout(its_side.unwrap())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        Self {
            out: collect(tokio::fs::File::from_std(File::from(terminal))),
            errors: collect(child.stderr.take().unwrap()),
            child,
        }
    }

    /// A router without keys on this port, or any; and its port.
    pub async fn open_router(folder: &Path, port: u16) -> (Self, u16) {
        let port = port.to_string();
        let arguments = [&port, "--open", "--bind", "127.0.0.1"];
        let router = Self::start(router(folder).args(arguments));
        let port = router.main_port().await;
        (router, port)
    }

    /// The port of a router, once it listens.
    pub async fn main_port(&self) -> u16 {
        self.number_behind(&format!("listening on {}:", Ipv4Addr::LOCALHOST))
            .await
    }

    /// The service port of an inner, once its link is up.
    pub async fn service_port(&self) -> u16 {
        self.says("link up: http").await;
        let scheme = if self.errors().contains("link up: https:") {
            "https"
        } else {
            "http"
        };
        self.number_behind(&format!("link up: {scheme}://127.0.0.1:"))
            .await
    }

    /// The number that follows this on standard error, once it is there.
    pub async fn number_behind(&self, what: &str) -> u16 {
        self.says(what).await;
        let errors = self.errors();
        let (_, rest) = errors.rsplit_once(what).unwrap();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    }

    /// Waits until it has said this on standard error, in whole lines.
    pub async fn says(&self, what: &str) {
        let said = || {
            let errors = self.errors();
            let lines = errors.rsplit_once('\n').map_or("", |(lines, _)| lines);
            lines.contains(what)
        };
        let until_said = async {
            while !said() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, until_said).await.is_err() {
            panic!("it never said {what:?}, but: {}", self.errors());
        }
    }

    pub fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    pub fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }

    /// The number of its process.
    pub fn id(&self) -> i32 {
        i32::try_from(self.child.id().unwrap()).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.id()).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub async fn end(&mut self) -> ExitStatus {
        soon("the program's end", self.child.wait()).await.unwrap()
    }

    /// Kills it with SIGKILL.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.end().await;
    }
}

fn collect(mut stream: impl AsyncRead + Unpin + Send + 'static) -> CollectedOutput {
    let text = CollectedOutput::default();
    let end = text.clone();
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            let piece = String::from_utf8_lossy(&buffer[..length]);
            end.lock().unwrap().push_str(&piece);
        }
    });
    text
}

/// Exit code and output of a program that has ended.
pub struct ProgramResult {
    pub code: Option<i32>,
    pub out: String,
    pub errors: String,
}

/// Runs a program to its end.
pub async fn run(command: &mut Command) -> ProgramResult {
    let output = soon("the program's end", command.kill_on_drop(true).output());
    let output = output.await.unwrap();
    ProgramResult {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// All files below a folder, as text.
pub fn all_text_in(folder: &Path) -> String {
    let mut text = String::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = std::fs::read(entry.path()).unwrap();
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
    }
    text
}

//! What systemd hears of the programs: that they are ready, live, restart and end; and what
//! whoever else looks after a router learns of it.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::program::{RunningProgram, inner_of, router, run};
use crate::common::raw::RawCaller;
use crate::common::{ReservedPort, World, elsewhere, get, router_config, soon, until, until_so};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::process::Command;

/// A socket that receives what programs send to systemd.
struct FakeSystemd {
    socket: UnixDatagram,
    path: PathBuf,
}

impl FakeSystemd {
    fn new(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path }
    }

    /// Starts it as systemd does, which wants to hear of it twice in this time.
    fn start(&self, program: &mut Command) -> RunningProgram {
        program.env("NOTIFY_SOCKET", &self.path);
        RunningProgram::start(program.env("WATCHDOG_USEC", "100000"))
    }

    async fn receives(&self, what: &str) {
        soon(what, async {
            let mut said = [0; 256];
            loop {
                let length = self.socket.recv(&mut said).await.unwrap();
                let said = str::from_utf8(&said[..length]).unwrap();
                if said.lines().any(|line| line == what) {
                    return;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_router_says_that_it_is_ready_lives_restarts_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let systemd = FakeSystemd::new(folder.path());
    let main = ReservedPort::new();
    let mut command = router(folder.path());
    command.args([&main.port.to_string(), "--open", "--bind", "127.0.0.1"]);
    let mut program = systemd.start(&mut command);
    systemd.receives("READY=1").await;
    for _ in 0..2 {
        systemd.receives("WATCHDOG=1").await;
    }
    program.signal(Signal::USR2);
    for news in ["RELOADING=1", "READY=1", "WATCHDOG=1"] {
        systemd.receives(news).await;
    }
    program.signal(Signal::TERM);
    systemd.receives("STOPPING=1").await;
    assert!(program.end().await.success());
}

#[tokio::test]
async fn an_inner_says_that_it_is_ready_lives_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let commands = folder.path().join("command");
    std::fs::create_dir(&commands).unwrap();
    std::fs::set_permissions(&commands, std::fs::Permissions::from_mode(0o755)).unwrap();
    let systemd = FakeSystemd::new(folder.path());
    let mut program = systemd.start(&mut inner_of(folder.path(), 1, 0));
    systemd.receives("READY=1").await;
    for _ in 0..2 {
        systemd.receives("WATCHDOG=1").await;
    }
    program.signal(Signal::TERM);
    systemd.receives("STOPPING=1").await;
    assert!(program.end().await.success());
}

#[tokio::test]
async fn a_router_without_descriptors_says_so_until_it_has_some() {
    let folder = tempfile::tempdir().unwrap();
    // So that it looks often.
    let systemd = FakeSystemd::new(folder.path());
    let main = ReservedPort::new();
    let mut command = router(folder.path());
    command.args([&main.port.to_string(), "--open", "--bind", "127.0.0.1"]);
    let program = systemd.start(&mut command);
    program.main_port().await;
    // It keeps what it has.
    let mut caller = RawCaller::connect(main.port).await;
    assert_eq!(caller.get("/healthz").await.status, 200);
    let process = Pid::from_raw(program.id());
    let limit = |current| Rlimit {
        current: Some(current),
        maximum: rustix::process::getrlimit(Resource::Nofile).maximum,
    };
    let before = prlimit(process, Resource::Nofile, limit(3)).unwrap();
    let mut said = String::new();
    until_so("it is found out", async || {
        let answer = caller.get("/healthz").await;
        said = answer.text();
        answer.status == 503
    })
    .await;
    assert!(said.contains("the router can't call itself"), "{said}");
    prlimit(process, Resource::Nofile, before).unwrap();
    until_so("it is found out that it can again", async || {
        caller.get("/healthz").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_router_with_keys_is_asked_at_an_address_that_others_reach_whatever_its_certificate() {
    let Some(here) = elsewhere() else {
        assert!(std::env::var_os("CI").is_none(), "no address but loopback");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let main = ReservedPort::new();
    let arguments = [&main.port.to_string(), "--bind", &here.to_string()];
    let program = RunningProgram::start(router(folder.path()).args(arguments));
    program.says(&format!("listening on {here}:")).await;
    let ask = async || run(router(folder.path()).args(arguments).arg("health")).await;
    let first = ask().await;
    assert_eq!(first.code, Some(0), "{}", first.errors);
    let file = folder.path().join(".local/state/p2prouter/tls.pem");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ask().await.out, first.out);
    assert!(!file.exists());
}

#[tokio::test]
async fn only_this_machine_learns_which_start_of_the_router_answers() {
    let Some(here) = elsewhere() else {
        assert!(std::env::var_os("CI").is_none(), "no address but loopback");
        return;
    };
    let config = p2p_router::Config {
        bind: Ipv4Addr::UNSPECIFIED.into(),
        ..router_config()
    };
    let world = World::with(config, tempfile::tempdir().unwrap());
    let loopback = Ipv4Addr::LOCALHOST.into();
    for (address, host, learns) in [
        (here, "localhost", false),
        (loopback, "localhost", true),
        (loopback, "car.test", false),
    ] {
        let stream = TcpStream::connect((address, world.main_port())).await;
        let mut caller = RawCaller::new(stream.unwrap());
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
        caller.send(request).await;
        let answer = caller.answer().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers.contains_key("p2p-start"), learns);
    }
}

/// A start script, which is ended with its program when this is dropped.
struct StartScript {
    script: RunningProgram,
    state: PathBuf,
}

impl StartScript {
    /// The program that it runs, as it has noted.
    fn program(&self) -> Option<Pid> {
        let state = std::fs::read_to_string(&self.state).ok()?;
        Pid::from_raw(state.split_whitespace().nth(3)?.parse().ok()?)
    }
}

impl Drop for StartScript {
    fn drop(&mut self) {
        // It takes its note away when it ends well.
        if let Some(program) = self.program() {
            self.script.signal(Signal::KILL);
            let _ = kill_process(program, Signal::KILL);
        }
    }
}

#[tokio::test]
async fn a_start_script_replaces_a_router_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let main = ReservedPort::new();
    let port = main.port.to_string();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts");
    let mut command = Command::new(scripts.join("p2p-router-server.sh"));
    command
        .args([&port, "--open", "--bind", "127.0.0.1"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", folder.path())
        .current_dir(folder.path())
        .env("P2P_ROUTER_BIN", crate::common::program::path("p2p-router"))
        // By which this test asks.
        .env("P2P_HOST_NAMES", "car.test")
        .env("P2P_RUN_DIR", folder.path().join("run"))
        .env("SUPERVISE_HEALTH_EVERY", "0.1")
        .env("SUPERVISE_HEALTH_LIMIT", "1")
        .env("SUPERVISE_START_LIMIT", "5")
        .env("SUPERVISE_HEALTH_FAILURES", "1")
        .env("SUPERVISE_END_LIMIT", "1")
        .env("SUPERVISE_PAUSE", "0");
    let mut start = StartScript {
        script: RunningProgram::start(&mut command),
        state: folder.path().join(format!("run/router-{port}.state")),
    };
    start.script.main_port().await;
    let first = start.program().unwrap();
    kill_process(first, Signal::STOP).unwrap();
    let why = format!("(the router at 127.0.0.1:{port} has not answered for 10 s): ending it");
    start.script.says(&why).await;
    until("another runs", || {
        start.program().is_some_and(|program| program != first)
    })
    .await;
    until("and listens", || {
        start.script.errors().matches("listening on").count() == 2
    })
    .await;
    assert_eq!(get(main.port, "/healthz").await.status, 200);
    start.script.signal(Signal::TERM);
    assert!(start.script.end().await.success());
}

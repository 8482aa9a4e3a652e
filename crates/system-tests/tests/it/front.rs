//! Router and inner at a terminal and as PID 1: a front process keeps the terminal from what they
//! run, and reaps orphans.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::procfs::{child_named, children};
use crate::common::program::{RunningProgram, command, inner_of, path};
use crate::common::pty::TestTerminal;
use crate::common::{ReservedPort, answered, asking, get, until, until_so};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

const SIZE: (u16, u16) = (100, 32);

/// Says whether there is a terminal, and writes to it. At one, reading would stop the process.
const ASK: &str = "if read x </dev/tty; then echo \"read $x\"; else echo no terminal; fi\n\
    echo raw-text >/dev/tty || true";

/// A folder with these commands.
fn folder(scripts: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let commands = folder.path().join("command");
    fs::create_dir(&commands).unwrap();
    fs::set_permissions(&commands, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, body) in scripts {
        let file = commands.join(name);
        fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// A program in a terminal of its own, where it leads the session.
fn at_terminal(name: &str, folder: &Path, arguments: &[&str]) -> TestTerminal {
    let mut program = command(&path(name), folder);
    program.args(arguments);
    TestTerminal::start(program.as_std(), false, SIZE)
}

fn kill(process: i32) {
    kill_process(Pid::from_raw(process).unwrap(), Signal::KILL).unwrap();
}

/// Runs `forward`, kills the inner behind its front, and waits for the guardian's stop, which says
/// whether it had a terminal.
async fn guardian_stops(did: &Path, front: i32, port: u16) {
    let _moving = asking(port, "/cgi?command=forward");
    let said = || fs::read_to_string(did).unwrap_or_default();
    until("the car moves", || said().contains("forward\n")).await;
    fs::write(did, "").unwrap();
    kill(child_named(front, "p2p-inner").unwrap());
    until("the guardian stops it", || said().contains("no terminal\n")).await;
}

/// The commands for that, and the file in which they say what they did.
fn car() -> (tempfile::TempDir, PathBuf) {
    let folder = folder(&[
        ("forward", "echo forward >> did; exec sleep 1000"),
        ("stop", &format!("{{ {ASK}; }} >> did")),
    ]);
    let did = folder.path().join("command").join("did");
    (folder, did)
}

#[tokio::test]
async fn commands_of_an_inner_at_a_terminal_have_none_and_ctrl_c_ends_it() {
    let folder = folder(&[("ask", ASK)]);
    let (_router, main) = RunningProgram::open_router(folder.path(), 0).await;
    let reserved = ReservedPort::new();
    let (main, port) = (main.to_string(), reserved.port.to_string());
    let arguments = [
        "127.0.0.1",
        &main,
        &port,
        "--name",
        "car",
        "--timeout",
        "10",
    ];
    let mut terminal = at_terminal("p2p-inner", folder.path(), &arguments);
    terminal.await_text("link up: http").await;
    let answer = get(reserved.port, "/cgi?command=ask").await;
    assert_eq!(answer.verdict(), (200, "yes"), "{}", answer.text());
    assert_eq!(answer.text(), "no terminal\n");
    // It has neither read what is typed, nor written past the log.
    assert!(
        !terminal.shown().contains("raw-text"),
        "{}",
        terminal.shown()
    );
    terminal.send(b"\x03");
    assert_eq!(terminal.end().await, Some(0));
    assert!(terminal.shown().contains("ending: running commands have"));
}

#[tokio::test]
async fn the_guardian_of_an_inner_at_a_terminal_stops_the_car_without_it() {
    let (folder, did) = car();
    let (_router, main) = RunningProgram::open_router(folder.path(), 0).await;
    let reserved = ReservedPort::new();
    let (main, port) = (main.to_string(), reserved.port.to_string());
    let arguments = ["127.0.0.1", &main, &port, "--name", "car"];
    let mut terminal = at_terminal("p2p-inner", folder.path(), &arguments);
    terminal.await_text("link up: http").await;
    let front = i32::try_from(terminal.id()).unwrap();
    guardian_stops(&did, front, reserved.port).await;
    assert_eq!(terminal.end().await, Some(128 + 9));
}

#[tokio::test]
async fn on_link_of_a_router_at_a_terminal_has_none_and_it_restarts_in_place() {
    let folder = folder(&[]);
    let told = folder.path().join("told");
    let script = folder.path().join("tell");
    fs::write(&script, format!("{{ {ASK}; }} >> {}", told.display())).unwrap();
    let on_link = format!("sh {}", script.display());
    let main = ReservedPort::new();
    let port = main.port.to_string();
    let arguments = [
        &port,
        "--open",
        "--bind",
        "127.0.0.1",
        "--on-link",
        &on_link,
        "--host-names",
        "car.test",
    ];
    let mut terminal = at_terminal("p2p-router", folder.path(), &arguments);
    terminal.await_text("listening on").await;
    let car = RunningProgram::start(&mut inner_of(folder.path(), main.port, 0));
    let service = car.service_port().await;
    let said = || fs::read_to_string(&told).unwrap_or_default();
    until("it is told", || said().contains("no terminal\n")).await;
    let router = child_named(terminal.child.id().cast_signed(), "p2p-router").unwrap();
    terminal.signal(Signal::USR2);
    terminal.await_text("restarting: ").await;
    until("the new router listens", || {
        terminal.shown().matches("listening on").count() == 2
    })
    .await;
    until_so("the car is back", async || {
        get(service, "/commands").await.status == 200
    })
    .await;
    // In the same process.
    let now = child_named(terminal.child.id().cast_signed(), "p2p-router");
    assert_eq!(now, Some(router));
    terminal.send(b"\x03");
    assert_eq!(terminal.end().await, Some(0));
}

#[tokio::test]
async fn a_router_that_ignores_hang_ups_stays_when_its_terminal_is_gone() {
    let folder = folder(&[]);
    let main = ReservedPort::new();
    let ignoring = "trap '' HUP; exec \"$0\" \"$@\"";
    let mut program = command(Path::new("/bin/sh"), folder.path());
    program.args(["-c", ignoring]).arg(path("p2p-router"));
    program.args([&main.port.to_string(), "--open", "--bind", "127.0.0.1"]);
    program.args(["--host-names", "car.test"]);
    let mut terminal = TestTerminal::start(program.as_std(), false, SIZE);
    terminal.await_text("listening on").await;
    let router = child_named(terminal.child.id().cast_signed(), "p2p-router").unwrap();
    for process in [router, terminal.child.id().cast_signed()] {
        kill_process(Pid::from_raw(process).unwrap(), Signal::HUP).unwrap();
    }
    let answer = get(main.port, "/healthz").await;
    assert_eq!(answer.status, 200);
    terminal.send(b"\x03");
    assert_eq!(terminal.end().await, Some(0));
}

#[tokio::test]
async fn a_sigterm_to_the_front_and_to_the_program_is_one_and_lets_what_runs_end() {
    let wait = "touch begun; while [ ! -e gate ]; do sleep 0.01; done; echo done";
    let folder = folder(&[("wait", wait)]);
    let commands = folder.path().join("command");
    let (_router, main) = RunningProgram::open_router(folder.path(), 0).await;
    let reserved = ReservedPort::new();
    let (main, port) = (main.to_string(), reserved.port.to_string());
    let arguments = ["127.0.0.1", &main, &port, "--name", "car"];
    let mut terminal = at_terminal("p2p-inner", folder.path(), &arguments);
    terminal.await_text("link up: http").await;
    let run = asking(reserved.port, "/cgi?command=wait");
    until("it runs", || commands.join("begun").exists()).await;
    // As `pkill -f p2p-inner`.
    let front = terminal.child.id().cast_signed();
    let inner = child_named(front, "p2p-inner").unwrap();
    for process in [front, inner] {
        kill_process(Pid::from_raw(process).unwrap(), Signal::TERM).unwrap();
        terminal.await_text("ending: running commands have").await;
    }
    // The router knows by now if the link was cut.
    until_so("nothing more begins", async || {
        get(reserved.port, "/cgi?command=wait").await.verdict() == (503, "no")
    })
    .await;
    fs::write(commands.join("gate"), "").unwrap();
    let answer = answered(run).await;
    assert_eq!(answer.verdict(), (200, "yes"), "{}", answer.text());
    assert_eq!(terminal.end().await, Some(0));
}

#[tokio::test]
async fn a_program_that_can_have_no_front_obeys_all_signals() {
    // On the programs' file system.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let link = folder.path().join("p2p-router");
    fs::hard_link(path("p2p-router"), &link).unwrap();
    // Its file is gone once it runs, so that it can't be started again by its name.
    let line = "exec 9<\"$0\"; rm \"$0\"; exec /proc/self/fd/9 \"$@\"";
    let mut program = command(Path::new("/bin/sh"), folder.path());
    program.args(["-c", line]).arg(link);
    program.args(["0", "--open", "--bind", "127.0.0.1"]);
    let mut terminal = TestTerminal::start(program.as_std(), false, SIZE);
    terminal.await_text("listening on").await;
    assert!(
        terminal
            .shown()
            .contains("warning: commands have this terminal"),
        "{}",
        terminal.shown()
    );
    // What nobody handles ends it.
    terminal.signal(Signal::QUIT);
    assert_eq!(terminal.end().await, None);
}

/// The same program as PID 1 of a namespace of its own; `None` where that can't be.
fn as_first_process(program: &Command, folder: &Path) -> Option<RunningProgram> {
    let new = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let trying = std::process::Command::new("unshare")
        .args(new)
        .arg("true")
        .output();
    if !trying.is_ok_and(|tried| tried.status.success()) {
        eprintln!("skipped: no program can be made PID 1 here");
        return None;
    }
    let mut command = command(Path::new("unshare"), folder);
    let program = program.as_std();
    command
        .args(new)
        .arg(program.get_program())
        .args(program.get_args());
    Some(RunningProgram::start(&mut command))
}

/// What `unshare` has started, which is PID 1 there.
fn first_process(unshare: &RunningProgram) -> i32 {
    children(unshare.id())[0].0
}

/// Leaves a process to whoever looks after orphans, and gives it the time to end.
const ORPHAN: &str = "(setsid sleep 0.01 &) ; sleep 0.2";

async fn no_orphan_stays(front: i32) {
    until("orphans are reaped", || {
        children(front).iter().all(|(_, name)| name != "sleep")
    })
    .await;
}

#[tokio::test]
async fn an_inner_as_pid_1_reaps_orphans_and_its_guardian_stops_the_car() {
    let (folder, did) = car();
    let orphan = folder.path().join("command").join("orphan");
    fs::write(&orphan, format!("#!/bin/sh\n{ORPHAN}\n")).unwrap();
    fs::set_permissions(&orphan, fs::Permissions::from_mode(0o755)).unwrap();
    let (_router, main) = RunningProgram::open_router(folder.path(), 0).await;
    let inner = inner_of(folder.path(), main, 0);
    let Some(mut inner) = as_first_process(&inner, folder.path()) else {
        return;
    };
    let port = inner.service_port().await;
    for _ in 0..3 {
        let answer = get(port, "/cgi?command=orphan").await;
        assert_eq!(answer.verdict(), (200, "yes"));
    }
    let front = first_process(&inner);
    no_orphan_stays(front).await;
    // With the first process of a container, all others end.
    guardian_stops(&did, front, port).await;
    assert_eq!(inner.end().await.code(), Some(128 + 9));
}

#[tokio::test]
async fn a_router_as_pid_1_reaps_what_on_link_leaves() {
    let folder = folder(&[]);
    let (told, script) = (folder.path().join("told"), folder.path().join("tell"));
    fs::write(
        &script,
        format!("{ORPHAN}; echo told >> {}", told.display()),
    )
    .unwrap();
    let mut router = command(&path("p2p-router"), folder.path());
    let on_link = format!("sh {}", script.display());
    router.args(["0", "--open", "--bind", "127.0.0.1", "--on-link", &on_link]);
    let Some(router) = as_first_process(&router, folder.path()) else {
        return;
    };
    let main = router.main_port().await;
    let car = RunningProgram::start(&mut inner_of(folder.path(), main, 0));
    car.service_port().await;
    until("it is told", || told.exists()).await;
    no_orphan_stays(first_process(&router)).await;
}

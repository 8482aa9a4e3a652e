//! Routers that restart themselves, are killed and started again, or get their sockets from
//! somebody else: what callers see meanwhile.

mod load;
mod signals;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common;
use crate::common::peer::{self, hello};
use crate::common::program::{self, RunningProgram, inner_of, router};
use crate::common::raw::RawCaller;
use crate::common::{ReservedPort, get, local, until_so};
use command_fds::{CommandFdExt, FdMapping};
use p2p_shared::protocol::Rejection;
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

/// A folder with a command that says hello, and one that takes until `gate` is there.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let commands = folder.path().join("command");
    fs::create_dir(&commands).unwrap();
    for (name, body) in [
        ("hello", "echo hello"),
        (
            "wait",
            "touch ../begun; until [ -e ../gate ]; do sleep 0.01; done; echo done",
        ),
    ] {
        executable(&commands.join(name), &format!("#!/bin/sh\n{body}\n"));
    }
    folder
}

fn executable(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

async fn serves(port: u16) {
    is_back(port, "hello").await;
}

/// Waits until the car runs this.
async fn is_back(port: u16, command: &str) {
    let target = format!("/cgi?command={command}");
    until_so("the car is back", async || {
        std::net::TcpStream::connect(local(port)).is_ok() && get(port, &target).await.status == 200
    })
    .await;
}

/// Waits until it has said so often that it listens.
async fn listens_anew(router: &RunningProgram, times: usize) {
    until_so("it listens anew", async || {
        router.errors().matches("listening on").count() == times
    })
    .await;
}

/// A router that listens, and the file of its settings.
async fn router_with_settings(folder: &Path, port: u16) -> (RunningProgram, PathBuf) {
    let config = folder.join("router.toml");
    fs::write(&config, "max-links = 50\n").unwrap();
    let arguments = [&port.to_string(), "--open", "--bind", "127.0.0.1"];
    let mut command = router(folder);
    let router = RunningProgram::start(command.args(arguments).arg("--config").arg(&config));
    router.main_port().await;
    (router, config)
}

/// Asks again and again until the end, by one connection as long as that is kept, or by a new one
/// each time. How often it got which status, and nothing else.
async fn asks(port: u16, keeps: bool, end: CancellationToken) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    let mut kept = None;
    while !end.is_cancelled() {
        let mut caller = match kept.take() {
            Some(caller) => caller,
            None => RawCaller::connect(port).await,
        };
        caller
            .send("GET /cgi?command=hello HTTP/1.1\r\nHost: car\r\n\r\n")
            .await;
        let answer = caller.try_answer().await.expect("a status");
        *counts.entry(answer.status.as_u16()).or_default() += 1;
        if keeps && answer.header("connection") != "close" {
            kept = Some(caller);
        }
    }
    counts
}

#[tokio::test]
async fn a_router_that_restarts_itself_leaves_nobody_without_a_status() {
    let folder = folder();
    let (main, service) = (ReservedPort::new(), ReservedPort::new());
    let (router, _) = RunningProgram::open_router(folder.path(), main.port).await;
    let mut inner = inner_of(folder.path(), main.port, service.port);
    let _inner = RunningProgram::start(inner.args(["--max-runs", "100"]));
    serves(service.port).await;
    let end = CancellationToken::new();
    let callers = [true, false, true, false]
        .map(|keeps| tokio::spawn(asks(service.port, keeps, end.clone())));
    for n in 2..=4 {
        router.signal(Signal::USR2);
        listens_anew(&router, n).await;
        serves(service.port).await;
    }
    end.cancel();
    for caller in callers {
        let mut counts = caller.await.unwrap();
        assert!(counts.remove(&200).unwrap() > 0);
        counts.remove(&503);
        assert_eq!(counts, BTreeMap::new());
    }
    let errors = router.errors();
    assert!(errors.contains("service ports are open again"), "{errors}");
    assert!(!errors.contains("error"), "{errors}");
}

#[tokio::test]
async fn what_runs_while_a_router_restarts_itself_is_answered_before() {
    let folder = folder();
    let (main, service) = (ReservedPort::new(), ReservedPort::new());
    let (router, _) = RunningProgram::open_router(folder.path(), main.port).await;
    let _inner = RunningProgram::start(&mut inner_of(folder.path(), main.port, service.port));
    serves(service.port).await;
    let run = common::asking(service.port, "/cgi?command=wait");
    until_so("it runs", async || folder.path().join("begun").exists()).await;
    router.signal(Signal::USR2);
    router.says("restarting").await;
    let meanwhile = get(service.port, "/cgi?command=hello").await;
    assert_eq!(meanwhile.verdict(), (503, "no"));
    assert_eq!(meanwhile.header("connection"), "close");
    fs::write(folder.path().join("gate"), "").unwrap();
    let answer = common::answered(run).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "done\n")
    );
    serves(service.port).await;
}

#[tokio::test]
async fn after_a_kill_the_ports_are_open_again_before_their_inners_are_back() {
    let folder = folder();
    let (main, service) = (ReservedPort::new(), ReservedPort::new());
    let (mut first, _) = RunningProgram::open_router(folder.path(), main.port).await;
    let inner = RunningProgram::start(&mut inner_of(folder.path(), main.port, service.port));
    serves(service.port).await;
    let links = folder.path().join(".local/state/p2prouter");
    let links = links.join(format!("links-{}.json", main.port));
    until_so("the link is known", async || {
        fs::read_to_string(&links).is_ok_and(|text| text.contains(&service.port.to_string()))
    })
    .await;
    inner.signal(Signal::STOP);
    first.kill().await;
    let (_router, _) = RunningProgram::open_router(folder.path(), main.port).await;
    let answer = get(service.port, "/cgi?command=hello").await;
    assert_eq!(answer.verdict(), (503, "no"));
    assert!(
        answer.text().contains("car is not connected"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("retry-after"), "2");
    // It is kept for its owner.
    let mut other = peer::dial(main.port, None).await.unwrap();
    let asking = hello("somebodyelse", service.port);
    other
        .send(p2p_shared::protocol::InnerToRouter::Hello(asking))
        .await;
    let (rejection, why) = other.is_rejected().await;
    assert_eq!(rejection, Rejection::PortUnavailable);
    assert!(why.contains("is kept for 'car'"), "{why}");
    inner.signal(Signal::CONT);
    serves(service.port).await;
}

#[tokio::test]
async fn a_list_of_links_that_is_garbled_is_said_and_stops_nobody() {
    let folder = folder();
    let (main, service) = (ReservedPort::new(), ReservedPort::new());
    let state = folder.path().join(".local/state/p2prouter");
    fs::create_dir_all(&state).unwrap();
    let links = state.join(format!("links-{}.json", main.port));
    fs::write(&links, "[{\"service_port\":").unwrap();
    fs::set_permissions(&links, fs::Permissions::from_mode(0o600)).unwrap();
    let (router, _) = RunningProgram::open_router(folder.path(), main.port).await;
    router.says("is not a list of links: remove it").await;
    let _inner = RunningProgram::start(&mut inner_of(folder.path(), main.port, service.port));
    serves(service.port).await;
}

/// A router that gets these sockets as systemd gives them.
fn given(folder: &Path, main: u16, sockets: &[&TcpListener]) -> tokio::process::Command {
    let real = router(folder);
    let real = real.as_std();
    let mut shell = std::process::Command::new("sh");
    // The number of the process has to be said, and is the shell's.
    shell
        .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""])
        .arg(real.get_program());
    shell.args([&main.to_string(), "--open", "--bind", "127.0.0.1"]);
    shell.current_dir(folder).env_clear().env("HOME", folder);
    shell.env("PATH", std::env::var_os("PATH").unwrap());
    shell
        .env("P2P_HOST_NAMES", "car,car.test")
        .env("LISTEN_FDS", sockets.len().to_string());
    let mappings = (3..).zip(sockets).map(|(child_fd, socket)| FdMapping {
        parent_fd: socket.try_clone().unwrap().into(),
        child_fd,
    });
    shell.fd_mappings(mappings.collect()).unwrap();
    shell.into()
}

#[tokio::test]
async fn a_router_takes_its_ports_from_whoever_opened_them_for_it() {
    let folder = folder();
    let main = TcpListener::bind(local(0)).unwrap();
    let other = TcpListener::bind(local(0)).unwrap();
    let port = main.local_addr().unwrap().port();
    let other_port = other.local_addr().unwrap().port();
    let router = RunningProgram::start(&mut given(folder.path(), port, &[&other, &main]));
    assert_eq!(router.main_port().await, port);
    let inner = RunningProgram::start(&mut inner_of(folder.path(), port, 0));
    serves(inner.service_port().await).await;
    let closed = format!("port={other_port}");
    router.says(&closed).await;
}

#[tokio::test]
async fn a_router_that_would_not_start_again_goes_on_as_it_is() {
    let folder = folder();
    let (main, service) = (ReservedPort::new(), ReservedPort::new());
    let (router, config) = router_with_settings(folder.path(), main.port).await;
    let _inner = RunningProgram::start(&mut inner_of(folder.path(), main.port, service.port));
    serves(service.port).await;
    fs::write(&config, "max-lynx = 50\n").unwrap();
    router.signal(Signal::USR2);
    router
        .says("not restarted: the router goes on as it was")
        .await;
    assert!(router.errors().contains("max-lynx"), "{}", router.errors());
    let answer = get(service.port, "/cgi?command=hello").await;
    assert_eq!(answer.verdict(), (200, "yes"));
    fs::write(&config, "max-links = 60\n").unwrap();
    router.signal(Signal::USR2);
    listens_anew(&router, 2).await;
    serves(service.port).await;
}

#[tokio::test]
async fn a_router_whose_settings_break_while_commands_end_goes_on_with_those_it_had() {
    let folder = folder();
    let (main, service) = (ReservedPort::new(), ReservedPort::new());
    let (router, config) = router_with_settings(folder.path(), main.port).await;
    let _inner = RunningProgram::start(&mut inner_of(folder.path(), main.port, service.port));
    serves(service.port).await;
    let run = common::asking(service.port, "/cgi?command=wait");
    until_so("it runs", async || folder.path().join("begun").exists()).await;
    router.signal(Signal::USR2);
    router.says("restarting").await;
    fs::write(&config, "max-lynx = 50\n").unwrap();
    fs::write(folder.path().join("gate"), "").unwrap();
    assert_eq!(common::answered(run).await.verdict(), (200, "yes"));
    router.says("goes on with those that it had").await;
    assert!(router.errors().contains("max-lynx"), "{}", router.errors());
    serves(service.port).await;
    // And when they are mended it restarts.
    fs::write(&config, "max-links = 60\n").unwrap();
    router.signal(Signal::USR2);
    listens_anew(&router, 2).await;
    serves(service.port).await;
}

#[tokio::test]
async fn a_router_at_any_port_keeps_it_when_it_restarts_itself() {
    let folder = folder();
    let (router, port) = RunningProgram::open_router(folder.path(), 0).await;
    router.signal(Signal::USR2);
    listens_anew(&router, 2).await;
    assert_eq!(router.main_port().await, port, "{}", router.errors());
}

#[tokio::test]
async fn a_link_that_leads_to_another_program_by_now_is_followed() {
    let folder = folder();
    let main = ReservedPort::new();
    let link = folder.path().join("p2p-router");
    let real = router(folder.path());
    std::os::unix::fs::symlink(real.as_std().get_program(), &link).unwrap();
    let mut command = tokio::process::Command::new(&link);
    let arguments = [&main.port.to_string(), "--open", "--bind", "127.0.0.1"];
    command.args(arguments).current_dir(folder.path());
    let router = RunningProgram::start(command.env("HOME", folder.path()));
    router.main_port().await;
    let newer = folder.path().join("newer");
    let script = "case $* in *check) exit ;; esac\necho \"newer: $*\" >&2\nexec sleep 60";
    executable(&newer, &format!("#!/bin/sh\n{script}\n"));
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&newer, &link).unwrap();
    router.signal(Signal::USR2);
    router
        .says(&format!("newer: {}", arguments.join(" ")))
        .await;
}

#[tokio::test]
async fn whoever_asks_learns_whether_the_router_can_do_its_job_and_which_start_of_it() {
    let folder = folder();
    let main = ReservedPort::new();
    let arguments = [&main.port.to_string(), "--open", "--bind", "127.0.0.1"];
    let ask = async |more: &[&str]| {
        let mut command = router(folder.path());
        program::run(command.args(arguments).args(more).arg("health")).await
    };
    let nobody = ask(&[]).await;
    assert_eq!(nobody.code, Some(3));
    assert!(nobody.errors.contains("no router answers at 127.0.0.1:"));
    let (router, _) = RunningProgram::open_router(folder.path(), main.port).await;
    let first = ask(&[]).await;
    assert_eq!(first.code, Some(0), "{}", first.errors);
    assert!(first.out.contains("can do its job (start "));
    assert_eq!(ask(&[]).await.out, first.out);
    router.signal(Signal::USR2);
    until_so("another start says so", async || {
        let then = ask(&[]).await;
        then.code == Some(0) && then.out != first.out
    })
    .await;
    // Who could not ask knows nothing of the router.
    assert_eq!(ask(&["--max-lynx", "3"]).await.code, Some(2));
    // Another program at the port.
    let other = TcpListener::bind(local(0)).unwrap();
    let port = other.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
    });
    let mut command = program::router(folder.path());
    let stranger = program::run(command.args([&port.to_string(), "health"])).await;
    assert_eq!(stranger.code, Some(3), "{}", stranger.errors);
}

#[tokio::test]
async fn a_narrower_address_counts_after_a_restart() {
    let folder = folder();
    let main = ReservedPort::new();
    let config = folder.path().join("router.toml");
    fs::write(&config, "bind = \"0.0.0.0\"\n").unwrap();
    let mut command = router(folder.path());
    let arguments = [&main.port.to_string(), "--open", "--open-to-everyone"];
    let router = RunningProgram::start(command.args(arguments).arg("--config").arg(&config));
    router.says("listening on 0.0.0.0").await;
    fs::write(&config, "bind = \"127.0.0.1\"\n").unwrap();
    router.signal(Signal::USR2);
    router.says("listening on 127.0.0.1").await;
    let elsewhere = ([127, 0, 0, 2], main.port);
    assert!(std::net::TcpStream::connect(std::net::SocketAddr::from(elsewhere)).is_err());
}

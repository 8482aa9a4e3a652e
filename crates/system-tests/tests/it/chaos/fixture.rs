//! The real router, the real inner and its commands, and a proxy between them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use p2p_shared::key::Key;
use rustix::process::{Pid, Signal, kill_process};

use super::driver::DriverFaults;
use super::fixture_config::{FixtureConfig, belongs_to, start_inner, start_router};
use super::history::{CarAct, SharedHistory, acts, now};
use super::load::{self, CallTarget};
use crate::common::procfs::{child_named, processes};
use crate::common::program::{RunningProgram, router, run as run_to_its_end};
use crate::common::proxy::Proxy;
use crate::common::{ReservedPort, local, until, until_so};

/// A worker that notes each run and answers with it.
const WORKER: &str = r#"#!/usr/bin/perl
use strict;
use JSON::PP;
use Time::HiRes qw(time);
my $json = JSON::PP->new->utf8;
sub say_line { syswrite STDOUT, $json->encode($_[0]) . "\n" }
say_line({ serves => ['ask'] });
while (my $line = <STDIN>) {
    my $r = $json->decode($line);
    open my $file, '>>', '../witness' or die;
    syswrite $file, sprintf("%s %d\n", $r->{run}, time * 1e9);
    select undef, undef, undef, 0.05;
    say_line({ id => $r->{id}, output => "$r->{run} $r->{args}[0]\n" });
}
"#;

/// Keys of the car and of the driver.
pub(crate) struct Keys {
    pub(crate) link: Key,
    pub(crate) driver: Key,
}

/// The programs of a round. Dropping it ends them.
pub(crate) struct Fixture {
    pub(crate) router: RunningProgram,
    pub(crate) inner: RunningProgram,
    pub(crate) proxy: Proxy,
    pub(crate) driver_faults: DriverFaults,
    pub(crate) history: SharedHistory,
    pub(crate) main: ReservedPort,
    pub(crate) service: ReservedPort,
    pub(crate) keys: Option<Keys>,
    fixture_config: FixtureConfig,
    folder: tempfile::TempDir,
}

impl Fixture {
    /// Starts all in this folder, and waits until it serves.
    pub(crate) async fn start(
        folder: tempfile::TempDir,
        mut fixture_config: FixtureConfig,
    ) -> Self {
        let keys = if fixture_config.has_keys {
            let keys = Keys::make(folder.path()).await;
            let key = keys.link.expose().to_owned();
            fixture_config.inner_variables.push(("P2P_KEY", key));
            Some(keys)
        } else {
            None
        };
        write_commands(folder.path());
        if let Some(user) = fixture_config.user {
            belongs_to(folder.path(), user);
        }
        let (main, service) = (ReservedPort::new(), ReservedPort::new());
        let router = start_router(folder.path(), &fixture_config, main.port);
        router.says("listening on").await;
        let proxy = Proxy::to(main.port).await;
        let ports = (proxy.port(), main.port, service.port);
        let inner = start_inner(folder.path(), &fixture_config, ports);
        let fixture = Self {
            router,
            inner,
            proxy,
            driver_faults: DriverFaults::default(),
            history: SharedHistory::default(),
            main,
            service,
            keys,
            fixture_config,
            folder,
        };
        fixture.serves().await;
        fixture
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where callers reach the car.
    pub(crate) fn car(&self) -> CallTarget {
        CallTarget {
            at: local(self.service.port),
            host: "car",
            key: self.keys.as_ref().map(|keys| keys.driver.clone()),
        }
    }

    /// Waits until the car is there.
    pub(crate) async fn serves(&self) {
        until_so("the car serves", async || {
            let answer = load::ask(&self.car(), "/commands").await;
            matches!(answer, Ok(Some(answer)) if answer.status == 200)
        })
        .await;
    }

    /// Waits until the car moves.
    pub(crate) async fn moves(&self) {
        until("the car moves", || {
            let acts = acts(self.path());
            acts.last().is_some_and(|(_, act)| *act != CarAct::Stops)
        })
        .await;
    }

    /// Waits until it stands.
    pub(crate) async fn stands(&self) {
        until("the car stands", || {
            let acts = acts(self.path());
            acts.last().is_some_and(|(_, act)| *act == CarAct::Stops)
        })
        .await;
    }

    /// Records that the fault strikes now.
    pub(crate) fn strikes(&self) {
        let mut history = self.history.lock().unwrap();
        history.struck = now();
        history.healed = None;
    }

    /// Records that the fault is over now.
    pub(crate) fn heals(&self) {
        self.history.lock().unwrap().healed = Some(now());
    }

    /// Records a fault that is over at once: nothing keeps the programs from going on.
    pub(crate) fn strikes_once(&self) {
        self.strikes();
        self.heals();
    }

    pub(crate) fn start_router(&mut self) {
        self.router = start_router(self.folder.path(), &self.fixture_config, self.main.port);
    }

    pub(crate) fn start_inner(&mut self) {
        self.history.lock().unwrap().inner_is_new = true;
        self.inner = self.another_inner();
    }

    /// One more inner with the same identity.
    pub(crate) fn another_inner(&self) -> RunningProgram {
        let ports = (self.proxy.port(), self.main.port, self.service.port);
        start_inner(self.path(), &self.fixture_config, ports)
    }

    /// How many descriptors the router and the inner have open.
    pub(crate) fn descriptors(&self) -> [usize; 2] {
        [self.router.id(), self.inner.id()]
            .map(|process| fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count))
    }

    /// The process of this name that the inner has started.
    pub(crate) async fn child_of_inner(&self, name: &str) -> i32 {
        let mut found = None;
        until(name, || {
            found = child_named(self.inner.id(), name);
            found.is_some()
        })
        .await;
        found.unwrap()
    }
}

impl Keys {
    /// By the router of this folder.
    pub(crate) async fn make(folder: &Path) -> Self {
        let key = async |name: &str, role: &str| {
            let mut router = router(folder);
            let made =
                run_to_its_end(router.args(["key", "add", name, "--role", role, "--ports", "any"]))
                    .await;
            made.out.trim().parse().unwrap()
        };
        Self {
            link: key("car", "link").await,
            driver: key("desk", "admin").await,
        }
    }
}

/// Sleeps.
pub(crate) async fn pause(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// Signals a process that is no program of the tests' own.
pub(crate) fn signal(process: i32, signal: Signal) {
    kill_process(Pid::from_raw(process).unwrap(), signal).unwrap();
}

/// What runs and works in this folder, in words.
pub(crate) fn processes_in(folder: &Path) -> Vec<String> {
    let works_there = |process: &i32| {
        fs::read_link(format!("/proc/{process}/cwd")).is_ok_and(|at| at.starts_with(folder))
    };
    let words = |process: i32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        format!(
            "process {process}: {}",
            String::from_utf8_lossy(&line).replace('\0', " ")
        )
    };
    let left = processes().filter(works_there);
    left.map(words).collect()
}

/// The commands, which write down that they ran.
pub(crate) fn write_commands(folder: &Path) {
    let note = "echo \"$P2P_RUN $(date +%s%N)\" >>../witness";
    let answer = "echo \"$P2P_RUN $1\"";
    let act = |act: &str| format!("echo \"{act} $(date +%s%N)\" >>../motion");
    let motion = |name| (name, format!("{note}\n{}\nexec sleep 1000", act(name)));
    for (name, body) in [
        ("say", format!("{note}\n{answer}")),
        ("slow", format!("{note}\nsleep 0.3\n{answer}")),
        motion("forward"),
        motion("back"),
        ("stop", act("stop")),
    ] {
        let file = folder.join("command").join(name);
        write(&file, &format!("#!/bin/sh\n{body}\n"));
    }
    write(&folder.join("command/ask.worker"), WORKER);
}

/// By another process: see `World::file`.
fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = std::process::Command::new("tee");
    writer.arg(path).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut writer = writer.spawn().unwrap();
    std::io::Write::write_all(&mut writer.stdin.take().unwrap(), content.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

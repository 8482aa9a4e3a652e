//! The two processes at the car, killed and stopped: the car stands, nothing is left running, and
//! the log says what happened.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::console::FakeConsole;
use crate::common::procfs::child_named;
use crate::common::program::{RunningProgram, inner_of};
use crate::common::{ReservedPort, asking, get, is_alive, until, until_so};
use p2p_shared::key::Key;
use p2p_shared::protocol::{MotionEvent, PressId, RunSource, StopCause};
use rustix::process::{Pid, Signal, kill_process};

/// A car whose `forward` and `stop` write a line of the note `did`, and what else it can do.
struct GuardedCar {
    folder: tempfile::TempDir,
}

impl GuardedCar {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("command")).unwrap();
        let car = Self { folder };
        let did = car.note("did");
        let did = did.display();
        car.script(
            "forward",
            &format!("echo forward >> {did}; exec sleep 1000"),
        );
        car.script("stop", &format!("echo stop >> {did}"));
        car
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn note(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn script(&self, name: &str, body: &str) {
        let file = self.path().join("command").join(name);
        fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What it did, in order.
    fn did(&self) -> Vec<String> {
        let text = fs::read_to_string(self.note("did")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn has_stopped_since(&self, before: usize) -> bool {
        self.did()[before..].contains(&"stop".to_owned())
    }

    /// The records of a program's log that have this message.
    fn records(&self, program: &str, message: &str) -> Vec<serde_json::Value> {
        let files = fs::read_dir(self.note("logs")).unwrap().flatten();
        let logs = files.filter(|file| {
            let name = file.file_name().into_string().unwrap();
            name.strip_prefix(program)
                .is_some_and(|rest| rest.starts_with(".2"))
        });
        let text: String = logs
            .map(|file| fs::read_to_string(file.path()).unwrap())
            .collect();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let records = whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        records
            .filter(|record: &serde_json::Value| record["message"] == message)
            .collect()
    }

    /// The only record of this message, once it is there.
    async fn record(&self, program: &str, message: &str) -> serde_json::Value {
        until(message, || !self.records(program, message).is_empty()).await;
        self.records(program, message).remove(0)
    }
}

/// A driver who presses forward, and the press; the car moves.
async fn drives(car: &GuardedCar, main: u16, port: u16) -> (FakeConsole, PressId, u64) {
    let mut driver = FakeConsole::open(main).await;
    let epoch = driver.takes(port).await;
    driver
        .sees_motion(|event| *event == MotionEvent::Stands)
        .await;
    let tick = driver.receives_tick().await;
    let press = PressId { epoch, number: 1 };
    driver.presses(port, press, "forward", tick).await;
    driver
        .sees_motion(
            |event| matches!(event, MotionEvent::Started(moving) if moving.press == Some(press)),
        )
        .await;
    until("it moves", || car.did().contains(&"forward".to_owned())).await;
    (driver, press, tick)
}

/// The guardian of this process, as people find it.
fn guardian_of(inner: i32) -> Option<i32> {
    child_named(inner, "p2p-guardian")
}

async fn guarded(inner: &RunningProgram) -> i32 {
    until("the guardian is there", || {
        guardian_of(inner.id()).is_some()
    })
    .await;
    guardian_of(inner.id()).unwrap()
}

#[tokio::test]
async fn a_guardian_needs_no_settings() {
    let car = GuardedCar::new();
    let (_router, main) = RunningProgram::open_router(car.path(), 0).await;
    let settings = car.note("p2p.toml");
    fs::write(&settings, "timeout = 20\n").unwrap();
    let mut command = inner_of(car.path(), main, 0);
    // As Kubernetes sets it by itself for a service called p2p-router.
    command.env("P2P_ROUTER_PORT", "tcp://10.0.0.1:8888");
    let inner = RunningProgram::start(command.env("P2P_CONFIG", &settings));
    let port = inner.service_port().await;
    let first = guarded(&inner).await;
    // Edited while the inner runs.
    fs::write(&settings, "tiemout = 20\n").unwrap();
    kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    // Nothing moves without a guardian that lives.
    until_so("the car moves with another guardian", async || {
        get(port, "/cgi?command=forward").await;
        car.did().contains(&"forward".to_owned())
    })
    .await;
    assert_ne!(guarded(&inner).await, first);
}

/// A car that a driver moves, and the programs by which it does.
async fn driven() -> (GuardedCar, RunningProgram, RunningProgram, FakeConsole) {
    let car = GuardedCar::new();
    let (router, main) = RunningProgram::open_router(car.path(), 0).await;
    let inner = RunningProgram::start(&mut inner_of(car.path(), main, 0));
    let port = inner.service_port().await;
    guarded(&inner).await;
    let (driver, ..) = drives(&car, main, port).await;
    (car, router, inner, driver)
}

#[tokio::test]
async fn an_inner_that_is_killed_while_driven_leaves_a_car_that_stands_and_a_log_that_says_so() {
    let car = GuardedCar::new();
    let reserved = ReservedPort::new();
    let (_router, main) = RunningProgram::open_router(car.path(), 0).await;
    // Nobody hears the guardian but the log: standard error is closed.
    let real = inner_of(car.path(), main, reserved.port);
    let real = real.as_std();
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" 2>&-"]);
    shell.arg(real.get_program()).args(real.get_args());
    shell.current_dir(car.path()).env("HOME", car.path());
    let mut inner = RunningProgram::start(&mut shell);
    until_so("the link is up", async || {
        std::net::TcpStream::connect(("127.0.0.1", reserved.port)).is_ok()
            && get(reserved.port, "/commands").await.status == 200
    })
    .await;
    let guardian = guarded(&inner).await;
    let arguments = fs::read(format!("/proc/{guardian}/cmdline")).unwrap();
    assert!(arguments.starts_with(b"p2p-inner\0"));
    let started = car.record("p2p-inner-guardian", "started").await;
    assert_eq!(started["program"], "p2p-inner-guardian");
    let guards = car.record("p2p-inner-guardian", "guards the inner").await;
    assert_eq!(
        (&guards["inner"], &guards["stop"]),
        (&inner.id().into(), &"stop".into())
    );
    let (mut driver, press, _) = drives(&car, main, reserved.port).await;
    let before = car.did().len();
    inner.kill().await;
    until("the stop runs", || car.has_stopped_since(before)).await;
    let told = car
        .record("p2p-inner-guardian", "the guardian stops the car")
        .await;
    assert_eq!(told["cause"], "the inner is gone");
    assert_eq!(told["press"], press.to_string());
    let run = driver.sees_run(|run| run.source == RunSource::Drive).await;
    assert_eq!(told["run"], run.run.to_string());
    assert_eq!(told["who"], "127.0.0.1");
    assert!(told["late_ms"].as_i64().unwrap() < 400, "{told}");
    let stopped = car.record("p2p-inner-guardian", "stopped").await;
    assert_eq!(
        (&stopped["attempt"], &stopped["exit"]),
        (&1.into(), &"0".into())
    );
    car.record("p2p-inner-guardian", "the guardian has stopped the car")
        .await;
    let since = &car.did()[before..];
    assert!(since.iter().all(|line| line == "stop"), "{since:?}");
}

#[tokio::test]
async fn what_an_inner_that_is_killed_was_running_is_ended_and_what_was_left_on_purpose_is_not() {
    let car = GuardedCar::new();
    let note = |name: &str| car.note(name).display().to_string();
    let (stays, stubborn, daemon) = (note("stays"), note("stubborn"), note("daemon"));
    car.script("stay", &format!("echo $$ > {stays}; exec sleep 1000"));
    car.script(
        "stubborn",
        &format!(
            "trap '' TERM; echo $$ > {stubborn}; while [ -e {stubborn} ]; do sleep 0.05; done"
        ),
    );
    car.script(
        "leave",
        &format!(
            "setsid sh -c 'echo $$ > {daemon}; while [ -e {daemon} ]; do sleep 0.05; done' >/dev/null 2>&1 </dev/null &"
        ),
    );
    let (_router, main) = RunningProgram::open_router(car.path(), 0).await;
    let mut inner = RunningProgram::start(&mut inner_of(car.path(), main, 0));
    let port = inner.service_port().await;
    let mut other =
        RunningProgram::start(inner_of(car.path(), main, 0).args(["--state-dir", "other"]));
    let other_port = other.service_port().await;
    guarded(&inner).await;
    let notes = ["stays", "stubborn", "daemon"].map(|name| car.note(name));
    // It has ended, but for what it left.
    assert_eq!(get(port, "/cgi?command=leave").await.status, 200);
    let waiting = [
        asking(port, "/cgi?command=stay"),
        asking(port, "/cgi?command=stubborn"),
    ];
    until("all run", || notes.iter().all(|note| is_alive(note))).await;
    inner.kill().await;
    until("they are ended", || {
        !notes[..2].iter().any(|note| is_alive(note))
    })
    .await;
    let ended = "the inner is gone: what it ran is ended";
    car.record("p2p-inner-guardian", "what did not end was killed")
        .await;
    let ended = car.records("p2p-inner-guardian", ended);
    let groups = ended
        .iter()
        .map(|record| record["groups"].as_i64().unwrap());
    assert_eq!(groups.sum::<i64>(), 2, "{ended:?}");
    assert!(is_alive(&notes[2]));
    // Another inner of the same folder is not meant.
    assert_eq!(get(other_port, "/commands").await.status, 200);
    fs::remove_file(&notes[2]).unwrap();
    drop(waiting);
    other.kill().await;
}

#[tokio::test]
async fn an_inner_that_is_stopped_while_driven_is_replaced_and_plays_nothing_back() {
    let car = GuardedCar::new();
    let (_router, main) = RunningProgram::open_router(car.path(), 0).await;
    let inner = RunningProgram::start(&mut inner_of(car.path(), main, 0));
    let port = inner.service_port().await;
    guarded(&inner).await;
    let (mut driver, press, tick) = drives(&car, main, port).await;
    let before = car.did().len();
    inner.signal(Signal::STOP);
    until("the stop runs", || car.has_stopped_since(before)).await;
    let told = car
        .record("p2p-inner-guardian", "the guardian stops the car")
        .await;
    assert_eq!(told["cause"], "the inner is silent");
    assert!(told["late_ms"].as_i64().unwrap() >= 0, "{told}");
    // What is asked for meanwhile is too old when the inner goes on.
    let later = PressId { number: 2, ..press };
    driver.presses(port, later, "forward", tick).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    inner.signal(Signal::CONT);
    let over = driver
        .sees_motion(
            |event| matches!(event, MotionEvent::Over { press: Some(p), .. } if *p == press),
        )
        .await;
    let cause_of = |event| match event {
        MotionEvent::Over { cause, .. } => Some(cause),
        _ => None,
    };
    assert_eq!(cause_of(over), Some(StopCause::Lease));
    driver
        .sees_motion(|event| matches!(event, MotionEvent::Refused { press: p, .. } if *p == later))
        .await;
    driver
        .sees_motion(|event| *event == MotionEvent::Stands)
        .await;
    let since = &car.did()[before..];
    assert!(since.iter().all(|line| line == "stop"), "{since:?}");
    let over = car.record("p2p-inner", "motion over").await;
    assert_eq!(over["cause"], "the lease ran out");
    let refused = car.record("p2p-inner", "press refused").await;
    assert!(
        refused["press"].as_str().unwrap().ends_with(".2"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_guardian_gets_no_key() {
    let car = GuardedCar::new();
    let (_router, main) = RunningProgram::open_router(car.path(), 0).await;
    let key = Key::generate().unwrap().expose();
    let inner = RunningProgram::start(inner_of(car.path(), main, 0).env("P2P_KEY", &key));
    let guardian = guarded(&inner).await;
    let environment = fs::read(format!("/proc/{guardian}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("PATH=") && !environment.contains("P2P_KEY"));
}

#[tokio::test]
async fn a_guardian_that_is_killed_while_the_car_is_driven_stops_it_and_is_replaced() {
    let car = GuardedCar::new();
    let (_router, main) = RunningProgram::open_router(car.path(), 0).await;
    let mut inner = RunningProgram::start(&mut inner_of(car.path(), main, 0));
    let port = inner.service_port().await;
    let guardian = guarded(&inner).await;
    let (mut driver, press, _) = drives(&car, main, port).await;
    let before = car.did().len();
    kill_process(Pid::from_raw(guardian).unwrap(), Signal::KILL).unwrap();
    until("the stop runs", || car.has_stopped_since(before)).await;
    driver
        .sees_motion(|event| {
            let cause = StopCause::Watchdog;
            matches!(event, MotionEvent::Stopped { cause: c, .. } if *c == cause)
        })
        .await;
    driver
        .sees_motion(|event| *event == MotionEvent::Stands)
        .await;
    inner.says("the guardian is gone; another is started").await;
    until("another is there", || {
        guardian_of(inner.id()).is_some_and(|new| new != guardian)
    })
    .await;
    // It does its work.
    let later = PressId { number: 2, ..press };
    let newest = p2p_inner::clock::now_ms();
    driver.presses(port, later, "forward", newest).await;
    driver
        .sees_motion(
            |event| matches!(event, MotionEvent::Started(moving) if moving.press == Some(later)),
        )
        .await;
    let before = car.did().len();
    inner.kill().await;
    until("the stop runs", || car.has_stopped_since(before)).await;
    let told = car
        .record("p2p-inner-guardian", "the guardian stops the car")
        .await;
    assert!(told["press"].as_str().unwrap().ends_with(".2"), "{told}");
}

#[tokio::test]
async fn a_stop_that_can_be_run_again_in_a_moment_is_not_given_up_by_the_guardian() {
    let (car, _router, mut inner, _driver) = driven().await;
    let tries = car.note("tries");
    let (shown, did) = (tries.display(), car.note("did"));
    car.script(
        "stop",
        &format!(
            "date +%s%3N >> {shown}; [ $(wc -l < {shown}) -gt 2 ] && echo stop >> {}",
            did.display()
        ),
    );
    let before = car.did().len();
    inner.kill().await;
    until("the stop runs", || car.has_stopped_since(before)).await;
    let tries = fs::read_to_string(&tries).unwrap();
    let tries: Vec<u64> = tries.lines().map(|time| time.parse().unwrap()).collect();
    // They are not over within the moment in which a file is being copied.
    assert!(tries[2] - tries[0] >= 190, "{tries:?}");
}

#[tokio::test]
async fn a_stop_that_fails_for_long_is_tried_by_the_guardian_as_long_as_the_inner_hangs() {
    let (car, _router, inner, mut driver) = driven().await;
    inner.signal(Signal::STOP);
    let tries = car.note("tries");
    let (tries, did) = (tries.display(), car.note("did"));
    car.script(
        "stop",
        &format!(
            "echo >> {tries}; [ $(wc -l < {tries}) -gt 5 ] && echo stop >> {}",
            did.display()
        ),
    );
    let before = car.did().len();
    car.record(
        "p2p-inner-guardian",
        "STOP FAILED: the guardian could not stop the car, and tries again",
    )
    .await;
    until("a stop succeeds", || car.has_stopped_since(before)).await;
    car.record("p2p-inner-guardian", "the guardian has stopped the car")
        .await;
    inner.signal(Signal::CONT);
    driver
        .sees_motion(|event| *event == MotionEvent::Stands)
        .await;
    let since = &car.did()[before..];
    assert!(since.iter().all(|line| line == "stop"), "{since:?}");
}

#[tokio::test]
async fn an_inner_that_hangs_after_its_stop_has_failed_has_a_guardian_that_tries_it_again() {
    let (car, _router, inner, mut driver) = driven().await;
    car.script("stop", "exit 1");
    driver
        .sees_motion(|event| *event == MotionEvent::StopFailed)
        .await;
    inner.signal(Signal::STOP);
    let did = car.note("did");
    car.script("stop", &format!("echo stop >> {}", did.display()));
    let before = car.did().len();
    until("the stop runs", || car.has_stopped_since(before)).await;
    let told = car
        .record("p2p-inner-guardian", "the guardian stops the car")
        .await;
    assert_eq!(told["cause"], "the inner is silent");
    inner.signal(Signal::CONT);
    driver
        .sees_motion(|event| *event == MotionEvent::Stands)
        .await;
}

/// A deploy that makes the folder writable for others while the car moves, and then starts the inner
/// again.
#[tokio::test]
async fn an_inner_whose_folder_is_refused_starts_and_stops_the_car_once_that_is_mended() {
    let car = GuardedCar::new();
    let mode = |mode| {
        let commands = car.path().join("command");
        fs::set_permissions(commands, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o777);
    let (_router, main) = RunningProgram::open_router(car.path(), 0).await;
    let inner = RunningProgram::start(&mut inner_of(car.path(), main, 0));
    let port = inner.service_port().await;
    let why = "anyone on its machine may put commands into";
    let failed = "STOP FAILED: nothing moves until a stop has succeeded";
    inner.says(failed).await;
    let errors = inner.errors();
    let line = errors.lines().find(|line| line.contains(failed)).unwrap();
    assert!(line.contains(why), "{line}");
    let list = get(port, "/commands").await;
    assert!(list.text().contains(why), "{}", list.text());
    for command in ["stop", "forward"] {
        let answer = get(port, &format!("/cgi?command={command}")).await;
        assert_eq!(answer.verdict().1, "no", "{command}");
        assert!(answer.text().contains(why), "{command}: {}", answer.text());
    }
    assert!(car.did().is_empty());
    // It needs no trusted folder either, to be there when that is mended.
    let guardian = || child_named(inner.id(), "p2p-guardian");
    assert!(guardian().is_some());
    assert!(!inner.errors().contains("the guardian is gone"));
    mode(0o755);
    until("a stop runs", || car.has_stopped_since(0)).await;
    until_so("it moves again", async || {
        get(port, "/cgi?command=forward&for=1").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_stop_that_has_much_to_say_stops_the_car_by_the_guardian_too() {
    let (car, _router, mut inner, _driver) = driven().await;
    let did = car.note("did");
    // More than a pipe holds, before it does anything.
    car.script(
        "stop",
        &format!(
            "seq 20000; seq 20000 >&2; echo its last words >&2; echo stop >> {}",
            did.display()
        ),
    );
    let before = car.did().len();
    inner.kill().await;
    until("the stop runs", || car.has_stopped_since(before)).await;
    let stopped = car.record("p2p-inner-guardian", "stopped").await;
    assert_eq!(stopped["exit"], "0", "{stopped}");
    let said = stopped["stderr"].as_str().unwrap();
    assert!(said.starts_with("1\\n2") || said.contains("\\n"), "{said}");
}

#[tokio::test]
async fn a_car_without_a_stop_command_never_moved_and_raises_no_alarm() {
    let car = GuardedCar::new();
    fs::remove_file(car.path().join("command/stop")).unwrap();
    let (_router, main) = RunningProgram::open_router(car.path(), 0).await;
    let mut inner = RunningProgram::start(&mut inner_of(car.path(), main, 0));
    let port = inner.service_port().await;
    guarded(&inner).await;
    let mut driver = FakeConsole::open(main).await;
    let epoch = driver.takes(port).await;
    let tick = driver.receives_tick().await;
    let press = PressId { epoch, number: 1 };
    driver.presses(port, press, "forward", tick).await;
    driver
        .sees_motion(|event| matches!(event, MotionEvent::Refused { press: p, .. } if *p == press))
        .await;
    let answer = get(port, "/cgi?command=stop").await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    inner.signal(Signal::TERM);
    inner.end().await;
    assert!(car.did().is_empty());
    let errors = inner.errors();
    assert!(
        !errors.contains("STOP FAILED") && !errors.contains("error:"),
        "{errors}"
    );
}

//! Workers of the real programs: what their owner finds in the log, and what becomes of them when
//! the inner is killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;

use super::car::{CarFolder, NOTING};
use crate::common::program::{RunningProgram, inner_of};
use crate::common::{get, until, until_so};

/// A folder with commands, and the programs that run in it.
struct WorkerFolder {
    folder: tempfile::TempDir,
}

impl WorkerFolder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("command")).unwrap();
        Self { folder }
    }

    fn with_stop() -> Self {
        let folder_of_workers = Self::new();
        folder_of_workers.file("stop", &CarFolder(folder_of_workers.path()).stop(), 0o755);
        folder_of_workers
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Written before any other process could hold it open.
    fn file(&self, name: &str, content: &str, mode: u32) {
        let file = self.path().join("command").join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn worker(&self, name: &str, commands: &str, each: &str) {
        let program = CarFolder(self.path()).server(commands, each);
        self.file(&format!("{name}.worker"), &program, 0o755);
    }

    fn did(&self) -> Vec<String> {
        CarFolder(self.path()).lines("did")
    }

    /// The records of the inner's log that have this message.
    fn records(&self, message: &str) -> Vec<serde_json::Value> {
        let Ok(files) = fs::read_dir(self.path().join("logs")) else {
            return Vec::new();
        };
        let text: String = files
            .flatten()
            .filter(|file| {
                file.file_name()
                    .to_str()
                    .unwrap()
                    .starts_with("p2p-inner.2")
            })
            .map(|file| fs::read_to_string(file.path()).unwrap())
            .collect();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|record: &serde_json::Value| record["message"] == message)
            .collect()
    }

    /// The first record of this message, once it is there.
    async fn record(&self, message: &str) -> serde_json::Value {
        until(message, || !self.records(message).is_empty()).await;
        self.records(message).remove(0)
    }
}

fn has(record: &serde_json::Value, field: &str, text: &str) {
    let found = record[field].as_str().unwrap_or_default();
    assert!(found.contains(text), "{record}");
}

#[tokio::test]
async fn a_file_wins_over_a_worker_which_the_log_says() {
    let folder_of_workers = WorkerFolder::with_stop();
    folder_of_workers.worker("car", "hello lights stop", "answer($r, output => 'worker')");
    folder_of_workers.file("hello", "#!/bin/sh\nprintf file\n", 0o755);
    let (_router, main) = RunningProgram::open_router(folder_of_workers.path(), 0).await;
    let inner = RunningProgram::start(&mut inner_of(folder_of_workers.path(), main, 0));
    let port = inner.service_port().await;
    let ready = folder_of_workers.record("the worker is ready").await;
    assert_eq!(
        (&ready["worker"], &ready["serves"]),
        (&"car.worker".into(), &"lights stop".into())
    );
    let not = folder_of_workers.record("not served by this worker").await;
    assert_eq!(not["command"], "hello");
    has(&not, "why", "there is a file of this name");
    assert_eq!(get(port, "/cgi?command=hello").await.text(), "file");
    assert_eq!(get(port, "/cgi?command=lights").await.text(), "worker");
    for (command, worker) in [
        ("hello", serde_json::Value::Null),
        ("lights", "car.worker".into()),
    ] {
        until("its run", || {
            let runs = folder_of_workers.records("run");
            (runs.iter()).any(|run| run["command"] == command && run["worker"] == worker)
        })
        .await;
    }
}

#[tokio::test]
async fn a_worker_that_moves_the_car_without_a_file_that_stops_it_is_told_so_at_its_start() {
    let folder_of_workers = WorkerFolder::new();
    folder_of_workers.worker("car", "forward", NOTING);
    let (_router, main) = RunningProgram::open_router(folder_of_workers.path(), 0).await;
    let inner = RunningProgram::start(&mut inner_of(folder_of_workers.path(), main, 0));
    inner
        .says("nothing moves without a file for the stop command")
        .await;
    let told = folder_of_workers
        .record("nothing moves without a file for the stop command, which stops the car when its worker or this inner is gone")
        .await;
    assert_eq!(
        (&told["worker"], &told["stop"]),
        (&"car.worker".into(), &"stop".into())
    );
    has(&told, "why", "there is no command stop");
}

#[tokio::test]
async fn what_a_worker_complains_of_is_in_the_log() {
    let folder_of_workers = WorkerFolder::with_stop();
    folder_of_workers.worker(
        "car",
        "hello",
        r#"print "a stray print\n"; print STDERR "the \e[31mbattery\n"; answer($r)"#,
    );
    folder_of_workers.file("lights.worker", "#!/bin/sh\n", 0o644);
    let (_router, main) = RunningProgram::open_router(folder_of_workers.path(), 0).await;
    let inner = RunningProgram::start(&mut inner_of(folder_of_workers.path(), main, 0));
    let port = inner.service_port().await;
    until_so("hello", async || {
        get(port, "/cgi?command=hello").await.status == 200
    })
    .await;
    let says = folder_of_workers.record("the worker says").await;
    has(&says, "said", "battery");
    assert!(!says["said"].as_str().unwrap().contains('\x1b'), "{says}");
    let strange = folder_of_workers
        .record("the worker wrote a line that is not an answer")
        .await;
    has(&strange, "line", "a stray print");
    has(&strange, "why", "print to standard error instead");
    let gone = folder_of_workers
        .record("the worker is gone; it is started again")
        .await;
    has(&gone, "why", "chmod +x");
}

#[tokio::test]
async fn an_inner_that_is_killed_while_its_worker_moves_the_car_leaves_neither() {
    let folder_of_workers = WorkerFolder::with_stop();
    // One that neither heeds the end of its input nor what asks it to end.
    folder_of_workers.worker(
        "car",
        "forward stop",
        &format!("{NOTING} if ($c eq 'forward') {{ $SIG{{TERM}} = 'IGNORE'; sleep 1000 while 1 }}"),
    );
    let (_router, main) = RunningProgram::open_router(folder_of_workers.path(), 0).await;
    // Nothing but its death is a reason to stop.
    let mut inner = RunningProgram::start(
        inner_of(folder_of_workers.path(), main, 0).args(["--motion-limit", "0"]),
    );
    let port = inner.service_port().await;
    folder_of_workers.record("the worker is ready").await;
    assert_eq!(get(port, "/cgi?command=forward").await.status, 200);
    let before = folder_of_workers.did().len();
    inner.kill().await;
    until("the stop runs", || {
        folder_of_workers.did()[before..].contains(&"file stop".to_owned())
    })
    .await;
    until("the worker is gone", || {
        !CarFolder(folder_of_workers.path()).lives(0)
    })
    .await;
    // It may have done something between the stop and its end.
    until("nothing is left to chance", || {
        folder_of_workers.did()[before..].len() >= 2
    })
    .await;
    assert!(
        folder_of_workers.did()[before..]
            .iter()
            .all(|did| did == "file stop"),
        "{:?}",
        folder_of_workers.did()
    );
}

#[tokio::test]
async fn an_inner_that_is_stopped_while_its_worker_moves_the_car_leaves_it_to_the_guardian() {
    let folder_of_workers = WorkerFolder::with_stop();
    folder_of_workers.worker("car", "forward stop", NOTING);
    let (_router, main) = RunningProgram::open_router(folder_of_workers.path(), 0).await;
    let inner = RunningProgram::start(&mut inner_of(folder_of_workers.path(), main, 0));
    let port = inner.service_port().await;
    folder_of_workers.record("the worker is ready").await;
    assert_eq!(get(port, "/cgi?command=forward").await.status, 200);
    let before = folder_of_workers.did().len();
    inner.signal(Signal::STOP);
    until("the stop runs", || {
        folder_of_workers.did()[before..].contains(&"file stop".to_owned())
    })
    .await;
    until("the worker is gone", || {
        !CarFolder(folder_of_workers.path()).lives(0)
    })
    .await;
    inner.signal(Signal::CONT);
    folder_of_workers
        .record("the worker is gone; it is started again")
        .await;
    until_so("it is there again", async || {
        get(port, "/cgi?command=stop").await.status == 200
    })
    .await;
    assert!(
        !folder_of_workers.did()[before..].contains(&"worker forward".to_owned()),
        "{:?}",
        folder_of_workers.did()
    );
}

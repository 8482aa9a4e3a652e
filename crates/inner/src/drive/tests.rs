//! The drive with a router's and a guardian's ends held by the test.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use p2p_shared::names::RunId;
use p2p_shared::protocol::{InnerToRouter, MotionInfo, PressId, RUN_WINDOW};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::catalog::Catalog;
use crate::process::OsProcesses;
use crate::run::{Outbox, Window};
use crate::testing::{motion, script};

/// A car whose scripts write a line of the note `did`, and what it says to the router.
struct Bench {
    folder: tempfile::TempDir,
    car: DriveHandle,
    outbox: Outbox,
    tracker: TaskTracker,
    reporter: RunReporter,
    _drive: AbortOnDropHandle<()>,
}

impl Bench {
    /// A car that stands.
    async fn new() -> Self {
        Self::with(motion()).await
    }

    async fn with(info: MotionInfo) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("command")).unwrap();
        let (mut bench, commands) = Self::in_folder(folder, info);
        bench.script("forward", "echo forward >> ../did; exec sleep 1000");
        bench.script("stop", "echo stop >> ../did");
        bench.car.stop_first(&commands).await;
        bench.tells(|event| *event == MotionEvent::Stands).await;
        bench
    }

    fn in_folder(folder: tempfile::TempDir, info: MotionInfo) -> (Self, Arc<Commands>) {
        let files = Catalog::open(&folder.path().join("command")).unwrap();
        let commands = Commands::new(files, info, Arc::new(OsProcesses));
        let tracker = TaskTracker::new();
        let (reporter, outbox) = RunReporter::new(crate::ring::Ring::in_memory());
        let (drive, car) = Drive::new(
            commands.clone(),
            reporter.clone(),
            tracker.clone(),
            "car".parse().unwrap(),
        );
        let bench = Self {
            folder,
            car,
            outbox,
            tracker,
            reporter,
            _drive: AbortOnDropHandle::new(tokio::spawn(drive.run())),
        };
        (bench, commands)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn script(&self, name: &str, body: &str) {
        script(&self.path("command").join(name), body);
    }

    fn did(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("did")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn run(&self, run: u64, command: &str, for_ms: Option<u64>) -> Box<Run> {
        let (run, command) = (RunId::from_number(run), command.parse().unwrap());
        let (from, link) = ("10.0.0.1".into(), "car".parse().unwrap());
        let mut run = Run::unread(run, command, from, link, &self.reporter, &self.tracker);
        run.window = Window::new(RUN_WINDOW);
        run.request.for_ms = for_ms;
        Box::new(run)
    }

    fn press(&self, number: u64) -> PressId {
        let press = PressId { epoch: 1, number };
        self.car.send(DriveRequest::Press {
            press,
            tick_ms: clock::now_ms(),
            driver: "ann".into(),
            run: self.run(number, "forward", None),
        });
        press
    }

    /// The next thing that is said, of both kinds.
    async fn says(&mut self) -> InnerToRouter {
        let saying = async {
            tokio::select! {
                biased;
                Some(message) = self.outbox.urgent.recv() => message,
                Some(message) = self.outbox.output.recv() => message,
            }
        };
        tokio::time::timeout(Duration::from_secs(10), saying)
            .await
            .unwrap()
    }

    /// Waits until this of its motion is told.
    async fn tells(&mut self, is: impl Fn(&MotionEvent) -> bool) -> MotionEvent {
        loop {
            if let InnerToRouter::Motion(event) = self.says().await
                && is(&event)
            {
                return event;
            }
        }
    }

    async fn refuses(&mut self, press: PressId) -> MotionRefusal {
        let is = |event: &MotionEvent| matches!(event, MotionEvent::Refused { press: p, .. } if *p == press);
        match self.tells(is).await {
            MotionEvent::Refused { why, .. } => why,
            _ => unreachable!(),
        }
    }
}

#[tokio::test]
async fn a_car_that_moves_while_the_inner_does_not_get_to_run_is_stopped() {
    let mut bench = Bench::with(MotionInfo {
        lease_ms: 60_000,
        ..motion()
    })
    .await;
    let press = bench.press(1);
    bench.moves(press).await;
    // All that runs here runs in this thread.
    std::thread::sleep(STALL + Duration::from_millis(1));
    let over = bench
        .tells(|event| matches!(event, MotionEvent::Over { .. }))
        .await;
    let MotionEvent::Over {
        press: Some(ended),
        cause: StopCause::Watchdog,
        clock_ms: Some(clock_ms),
        ..
    } = over
    else {
        panic!("{over:?}");
    };
    assert_eq!(ended, press);
    assert!(clock_ms <= clock::now_ms());
    bench.tells(|event| *event == MotionEvent::Stands).await;
    // While it stands nobody minds.
    std::thread::sleep(STALL + Duration::from_millis(1));
    let next = bench.press(2);
    bench.moves(next).await;
}

#[tokio::test]
async fn a_car_whose_stop_command_may_not_be_run_is_not_said_to_stand() {
    let folder = tempfile::tempdir().unwrap();
    let commands = folder.path().join("command");
    fs::create_dir(&commands).unwrap();
    script(&commands.join("stop"), "echo stop >> ../did");
    let everybody = Permissions::from_mode(0o777);
    fs::set_permissions(commands.join("stop"), everybody).unwrap();
    let (mut bench, commands) = Bench::in_folder(folder, motion());
    bench.car.stop_first(&commands).await;
    bench
        .tells(|event| {
            assert_ne!(*event, MotionEvent::Stands);
            *event == MotionEvent::StopFailed
        })
        .await;
    assert!(bench.did().is_empty());
}

/// A deploy that makes the folder writable for others while the car moves, and then starts the inner
/// again.
#[tokio::test]
async fn a_car_whose_folder_is_refused_is_not_said_to_stand_and_is_stopped_once_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let commands = folder.path().join("command");
    fs::create_dir(&commands).unwrap();
    script(&commands.join("stop"), "echo stop >> ../did");
    script(&commands.join("forward"), "echo forward >> ../did");
    let mode = |mode| fs::set_permissions(&commands, Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    let (mut bench, known) = Bench::in_folder(folder, motion());
    bench.car.stop_first(&known).await;
    bench
        .tells(|event| {
            assert_ne!(*event, MotionEvent::Stands);
            *event == MotionEvent::StopFailed
        })
        .await;
    assert!(bench.did().is_empty());
    mode(0o755);
    // Nobody asks for this stop.
    bench.tells(|event| *event == MotionEvent::Stands).await;
    assert_eq!(bench.did(), ["stop"]);
}

#[tokio::test]
async fn a_press_does_not_begin_when_the_stop_command_is_gone() {
    let mut bench = Bench::new().await;
    fs::remove_file(bench.path("command/stop")).unwrap();
    let press = bench.press(1);
    assert_eq!(bench.refuses(press).await, MotionRefusal::StopFailed);
    bench.script("stop", "echo stop >> ../did");
    let press = bench.press(2);
    bench.moves(press).await;
    assert!(!bench.did().is_empty());
}

impl Bench {
    async fn moves(&mut self, press: PressId) {
        let is = |event: &MotionEvent| matches!(event, MotionEvent::Started(moving) if moving.press == Some(press));
        self.tells(is).await;
    }
}

#[tokio::test]
async fn a_car_that_drains_is_stopped_and_begins_no_press() {
    let mut bench = Bench::new().await;
    let press = bench.press(1);
    bench.moves(press).await;
    // The first try fails: what waits for our end waits for the second, too.
    bench.script("stop", "[ -e ../works ] && echo stop >> ../did");
    let leaving = bench.tracker.token();
    bench.car.send(DriveRequest::Drain { leaving });
    bench.tracker.close();
    let press = bench.press(2);
    assert_eq!(bench.refuses(press).await, MotionRefusal::NotStarted);
    bench
        .tells(|event| matches!(event, MotionEvent::Stopped { .. }))
        .await;
    fs::write(bench.path("works"), "").unwrap();
    let before = bench.did().len();
    let ended = tokio::time::timeout(Duration::from_secs(10), bench.tracker.wait());
    ended.await.unwrap();
    assert_eq!(bench.did()[before], "stop");
}

fn number_of(run: RunId) -> u64 {
    (0..100).find(|n| RunId::from_number(*n) == run).unwrap()
}

impl Bench {
    fn is_asked(&self, run: u64, for_ms: Option<u64>) {
        let run = self.run(run, "forward", for_ms);
        self.car.send(DriveRequest::Timed(run));
    }

    /// What is said of runs and of the end of motion, up to the ends of so many runs.
    async fn report(&mut self, ends: usize) -> Vec<String> {
        let mut report = Vec::new();
        let mut ended = 0;
        while ended < ends {
            match self.says().await {
                InnerToRouter::Started { run } if run != RunId::from_number(0) => {
                    report.push(format!("{} started", number_of(run)));
                }
                InnerToRouter::Output { run, bytes } if run != RunId::from_number(0) => {
                    let said = String::from_utf8(bytes.to_vec()).unwrap();
                    report.push(format!("{} printed {}", number_of(run), said.trim()));
                }
                InnerToRouter::Finished {
                    run, end, stderr, ..
                } if run != RunId::from_number(0) => {
                    let said = String::from_utf8(stderr.to_vec()).unwrap();
                    let said = said.split(':').next().unwrap();
                    report.push(format!("{} {end} {said}", number_of(run)).trim().to_owned());
                    ended += 1;
                }
                InnerToRouter::Motion(MotionEvent::Stands) => report.push("stands".to_owned()),
                InnerToRouter::Motion(MotionEvent::StopFailed) => report.push("failed".to_owned()),
                _ => {}
            }
        }
        report
    }
}

#[tokio::test]
async fn a_motion_for_a_time_whose_stop_fails_is_answered_as_failed() {
    let mut bench = Bench::new().await;
    bench.script("stop", "exit 3");
    bench.is_asked(1, Some(50));
    let report = bench.report(1).await;
    assert_eq!(report, ["1 started", "failed", "1 1 STOP FAILED"]);
}

#[tokio::test]
async fn a_stop_that_goes_on_failing_tells_how_often_and_why_and_then_that_it_succeeds() {
    let mut bench = Bench::new().await;
    let press = bench.press(1);
    bench.moves(press).await;
    bench.script(
        "stop",
        "echo 'first line' >&2; echo 'no such pin' >&2; exit 3",
    );
    bench.tells(|event| *event == MotionEvent::StopFailed).await;
    // Each further try is told.
    let failure = loop {
        let told = bench.tells(|event| matches!(event, MotionEvent::Stopped { .. }));
        if let MotionEvent::Stopped {
            failure: Some(failure),
            ..
        } = told.await
            && failure.tries >= 5
        {
            break failure;
        }
    };
    assert_eq!(failure.said.raw(), "no such pin");
    assert!(
        failure
            .again_ms
            .is_some_and(|ms| (1..=10_000).contains(&ms))
    );
    bench.script("stop", "echo stop >> ../did");
    let (mut ends, mut failed, mut stalled) = (Vec::new(), false, false);
    loop {
        match bench.tells(|_| true).await {
            MotionEvent::Stopped { cause, end, .. } => {
                ends.push(end);
                stalled |= cause == StopCause::Watchdog;
            }
            MotionEvent::StopFailed => failed = true,
            MotionEvent::Stands => break,
            _ => {}
        }
    }
    // A machine that does not let this run has the car stopped for it, and that is news.
    assert!(
        stalled || !failed && ends.last() == Some(&End::Exit(0)),
        "{ends:?}"
    );
    let entries = bench.reporter.ring().past(Duration::from_secs(60));
    let entries = String::from_utf8(entries).unwrap();
    assert!(entries.contains("no such pin"), "{entries}");
}

#[tokio::test]
async fn who_stops_a_car_without_a_stop_command_is_told_that_nothing_ran() {
    let mut bench = Bench::new().await;
    fs::remove_file(bench.path("command/stop")).unwrap();
    bench.car.send(DriveRequest::Stop {
        by: "anna".into(),
        over: None,
        cause: StopCause::Asked,
    });
    let told = bench
        .tells(|event| matches!(event, MotionEvent::Stopped { .. }))
        .await;
    let MotionEvent::Stopped {
        end,
        failure: Some(failure),
        ..
    } = told
    else {
        panic!("{told:?}")
    };
    assert_eq!((end, failure.tries), (End::Exit(127), 0));
    assert!(failure.said.raw().contains("stop"), "{failure:?}");
}

#[tokio::test]
async fn a_motion_for_a_time_that_extends_another_is_answered_when_the_car_stands() {
    let mut bench = Bench::new().await;
    bench.is_asked(1, Some(100));
    bench
        .tells(|event| matches!(event, MotionEvent::Started(_)))
        .await;
    bench.is_asked(2, Some(150));
    // Without a time it is answered at once.
    bench.is_asked(3, None);
    let mut report = bench.report(3).await;
    report.retain(|line| line != "1 started");
    assert_eq!(report[..3], ["2 started", "3 started", "3 ended"]);
    let stands = report.iter().position(|line| line == "stands").unwrap();
    for run in ["1 ended", "2 ended"] {
        let end = report.iter().position(|line| line == run).unwrap();
        assert!(end > stands, "{report:?}");
    }
}

#[tokio::test]
async fn stops_in_a_loop_are_two_processes_at_a_time_and_all_are_answered() {
    let mut bench = Bench::new().await;
    bench.script(
        "stop",
        "echo begins >> ../did; sleep 0.3; echo ends >> ../did; echo said; exit 4",
    );
    let before = bench.did().len();
    for run in 1..=20 {
        let run = bench.run(run, "stop", None);
        bench.car.send(DriveRequest::StopRun(run));
    }
    let report = bench.report(20).await;
    for run in 1..=20 {
        assert!(report.contains(&format!("{run} started")), "{report:?}");
        assert!(
            report.contains(&format!("{run} printed said")),
            "{report:?}"
        );
        assert!(report.contains(&format!("{run} 4")), "{report:?}");
    }
    let mut running = 0;
    for line in &bench.did()[before..] {
        running += if line == "begins" { 1 } else { -1 };
        assert!(running <= 2);
    }
}

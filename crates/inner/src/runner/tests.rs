//! What becomes of a run that is over, or abandoned, before it begins.

use std::sync::Mutex;

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::catalog::Catalog;
use crate::motion::{Effect, Event, Motion, Rules, Token};
use crate::testing::script;
use p2p_shared::protocol::RUN_WINDOW;
use p2p_shared::protocol::console::StopCause;

/// A command that leaves the note `begun`, as a motion or as the stop, and what is told of it.
struct Bench {
    folder: tempfile::TempDir,
    told: mpsc::UnboundedReceiver<ToDrive>,
    urgent: mpsc::UnboundedReceiver<InnerToRouter>,
    _output: mpsc::Receiver<InnerToRouter>,
}

fn a_token() -> Token {
    let rules = Rules {
        lease: Duration::from_secs(1),
        limit: None,
    };
    let effects = Motion::new(rules).on(Duration::ZERO, Event::Stop(StopCause::Beginning));
    let token = effects.into_iter().find_map(|effect| match effect {
        Effect::RunStop { token, .. } => Some(token),
        _ => None,
    });
    token.unwrap()
}

fn bench(is_stop: bool) -> (Bench, Job, Commands) {
    let folder = tempfile::tempdir().unwrap();
    let command = folder.path().join("move");
    script(&command, "touch begun");
    let files = Catalog::open(folder.path()).unwrap();
    let commands = Commands::new(files, crate::testing::motion());
    let (drive, told) = mpsc::unbounded_channel();
    let (urgent, urgent_out) = mpsc::unbounded_channel();
    let (output, output_out) = mpsc::channel(4);
    let part = Part {
        token: a_token(),
        is_stop,
        stop_by: StopBy::AnyWorker,
        drive,
        stood: Mutex::new(None),
        caller: CancellationToken::new(),
    };
    let job = Job {
        request: RunRequest {
            run: RunId::from_number(1),
            command: "move".parse().unwrap(),
            arguments: Vec::new(),
            deadline_ms: 0,
            remote_addr: String::new(),
            stdin_bytes: 0,
            for_ms: None,
        },
        stdin: Bytes::new(),
        link: "car".parse().unwrap(),
        limit: None,
        window: Window::new(RUN_WINDOW),
        cancel: CancellationToken::new(),
        reports: Reports { urgent, output },
        tracker: TaskTracker::new(),
        part: Some(part),
        _entry: None,
    };
    let bench = Bench {
        folder,
        told,
        urgent: urgent_out,
        _output: output_out,
    };
    (bench, job, commands)
}

impl Bench {
    fn has_begun(&self) -> bool {
        self.folder.path().join("begun").exists()
    }
}

#[tokio::test]
async fn a_motion_that_is_ended_as_its_guardian_answers_is_over() {
    let (_bench, job, _) = bench(false);
    let (answers, answer) = oneshot::channel();
    let cancel = job.cancel.clone();
    let waiting = tokio::spawn(async move {
        let ready = async move { answer.await.unwrap() };
        job.cancelled_before(ready).await
    });
    // It has looked once, and both come about before it looks again.
    tokio::task::yield_now().await;
    cancel.cancel();
    answers.send(()).unwrap();
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn a_motion_that_was_ended_or_abandoned_starts_no_process() {
    for is_abandoned in [false, true] {
        let (mut bench, job, catalog) = bench(false);
        match &job.part {
            Some(part) if is_abandoned => part.caller.cancel(),
            _ => job.cancel.cancel(),
        }
        job.run(&catalog).await;
        assert!(!bench.has_begun());
        let told = bench.told.recv().await;
        assert!(matches!(told, Some(ToDrive::Told(Told::NotStarted { .. }))));
        let refused = bench.urgent.recv().await;
        assert!(matches!(
            refused,
            Some(InnerToRouter::Refused {
                refusal: Refusal::Late,
                ..
            })
        ));
    }
}

#[tokio::test]
async fn a_stop_whose_caller_has_gone_runs_all_the_same() {
    let (bench, job, catalog) = bench(true);
    if let Some(part) = &job.part {
        part.caller.cancel();
    }
    job.run(&catalog).await;
    assert!(bench.has_begun());
}

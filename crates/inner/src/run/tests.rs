//! What becomes of a run that is over, or abandoned, before it begins; and what is told of one.

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::catalog::Catalog;
use crate::commands::Commands;
use crate::motion::StopTarget;
use crate::testing::script;
use p2p_shared::protocol::{PIECE, RUN_WINDOW};

/// A command that leaves the note `begun`, as a motion or as the stop, and what is told of it.
struct Bench {
    folder: tempfile::TempDir,
    told: mpsc::UnboundedReceiver<ProcessEvent>,
    outbox: Outbox,
}

fn bench(is_stop: bool) -> (Bench, Run, Arc<Commands>) {
    let folder = tempfile::tempdir().unwrap();
    let command = folder.path().join("move");
    script(&command, "touch begun");
    let files = Catalog::open(folder.path()).unwrap();
    let commands = crate::testing::commands(files);
    let (drive, told) = mpsc::unbounded_channel();
    let kind = if is_stop {
        RoleKind::Stop {
            target: StopTarget::AnyWorker,
            is_retry: false,
        }
    } else {
        RoleKind::Motion { stopped: None }
    };
    let (reporter, outbox) = RunReporter::new(crate::ring::Ring::in_memory());
    let (command, link) = ("move".parse().unwrap(), "car".parse().unwrap());
    let (id, tracker) = (RunId::from_number(1), TaskTracker::new());
    let mut run = Run::unread(id, command, "".into(), link, &reporter, &tracker);
    run.window = Window::new(RUN_WINDOW);
    run.role = Some(MotionRole {
        kind,
        end: CancellationToken::new(),
        events: std::sync::Arc::new(move |event| {
            let _ = drive.send(event);
        }),
    });
    let bench = Bench {
        folder,
        told,
        outbox,
    };
    (bench, run, commands)
}

impl Bench {
    fn has_begun(&self) -> bool {
        self.folder.path().join("begun").exists()
    }
}

#[tokio::test]
async fn a_motion_that_is_ended_as_its_guardian_answers_is_over() {
    let (_bench, run, _) = bench(false);
    let (answers, answer) = oneshot::channel();
    let cancel = run.cancel().clone();
    let waiting = tokio::spawn(async move {
        let ready = async move { answer.await.unwrap() };
        run.cancelled_before(ready).await
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
        let (mut bench, run, commands) = bench(false);
        if is_abandoned {
            run.caller.cancel();
        } else {
            run.cancel().cancel();
        }
        commands.execute(run).await;
        assert!(!bench.has_begun());
        let told = bench.told.recv().await;
        assert!(matches!(told, Some(ProcessEvent::NotStarted)));
        let refused = bench.outbox.urgent.recv().await;
        assert!(matches!(
            refused,
            Some(InnerToRouter::Refused {
                refusal: Refusal::Late,
                ..
            })
        ));
    }
}

/// As where the inner was stopped between letting it in and starting it.
#[tokio::test]
async fn what_is_past_its_deadline_starts_no_process_and_a_stop_does() {
    for is_stop in [false, true] {
        let (mut bench, mut run, commands) = bench(is_stop);
        run.request.deadline_ms = crate::clock::now_ms().saturating_sub(1);
        commands.execute(run).await;
        assert_eq!(bench.has_begun(), is_stop);
        if !is_stop {
            let refused = bench.outbox.urgent.recv().await;
            let late = Refusal::Late;
            assert!(
                matches!(refused, Some(InnerToRouter::Refused { refusal, .. }) if refusal == late)
            );
        }
    }
}

#[tokio::test]
async fn a_stop_whose_caller_has_gone_runs_all_the_same() {
    let (bench, run, commands) = bench(true);
    run.caller.cancel();
    commands.execute(run).await;
    assert!(bench.has_begun());
}

/// What is told of a command that does this; `go` is made once it has said something.
async fn told_of(body: &str) -> Vec<InnerToRouter> {
    let (mut bench, mut run, commands) = bench(false);
    run.role = None;
    script(&bench.folder.path().join("move"), body);
    let running = tokio::spawn(async move { commands.execute(run).await });
    let mut told = Vec::new();
    loop {
        let message = tokio::select! {
            biased;
            Some(message) = bench.outbox.urgent.recv() => message,
            Some(message) = bench.outbox.output.recv() => message,
        };
        if matches!(message, InnerToRouter::Output { .. }) {
            std::fs::write(bench.folder.path().join("go"), "").unwrap();
        }
        let is_over = matches!(
            message,
            InnerToRouter::Finished { .. } | InnerToRouter::Answered { .. }
        );
        told.push(message);
        if is_over {
            running.await.unwrap();
            return told;
        }
    }
}

/// All of its output; whatever the pace, its start is told first and once, and nothing after its
/// end.
fn output_of(told: &[InnerToRouter]) -> Vec<u8> {
    let mut output = Vec::new();
    for (at, message) in told.iter().enumerate() {
        let is_last = at + 1 == told.len();
        match message {
            InnerToRouter::Started { .. } => assert_eq!(at, 0),
            InnerToRouter::Output { bytes, .. } => {
                assert!(at > 0 && bytes.len() <= PIECE);
                output.extend_from_slice(bytes);
            }
            InnerToRouter::Finished { .. } => assert!(is_last && at > 0),
            InnerToRouter::Answered { output: all, .. } => {
                assert!(at == 0 && is_last && all.len() <= PIECE);
                output.extend_from_slice(all);
            }
            other => panic!("{other:?}"),
        }
    }
    output
}

#[tokio::test]
async fn what_a_command_says_is_told_whole_and_in_order_whatever_its_pace() {
    assert_eq!(output_of(&told_of("printf hello").await), b"hello");
    assert_eq!(output_of(&told_of("exit 3").await), b"");
    let told = told_of("head -c 100000 /dev/zero; printf end").await;
    let output = output_of(&told);
    assert_eq!(output.len(), 100_003);
    assert!(output.ends_with(b"\0end"));
}

#[tokio::test]
async fn a_command_that_goes_on_is_told_to_have_started_and_what_it_says_meanwhile() {
    let told = told_of("echo first; until [ -e go ]; do sleep 0.01; done; echo last").await;
    assert!(matches!(told[0], InnerToRouter::Started { .. }));
    assert!(matches!(&told[1], InnerToRouter::Output { bytes, .. } if &bytes[..] == b"first\n"));
    assert_eq!(output_of(&told), b"first\nlast\n");
}

#[tokio::test]
async fn a_command_that_says_nothing_is_told_to_have_started_all_the_same() {
    let (mut bench, mut run, commands) = bench(false);
    run.role = None;
    script(&bench.folder.path().join("move"), "exec sleep 1000");
    let cancel = run.cancel().clone();
    let running = tokio::spawn(async move { commands.execute(run).await });
    let started = bench.outbox.urgent.recv().await;
    assert!(matches!(started, Some(InnerToRouter::Started { .. })));
    cancel.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn what_ended_before_its_start_was_told_is_told_in_one_message() {
    let (mut bench, run, _) = bench(false);
    run.finished(End::Exit(0), 5, Default::default()).await;
    let told = bench.outbox.output.recv().await;
    assert!(matches!(told, Some(InnerToRouter::Answered { .. })));
    run.started();
    run.started();
    run.finished(End::Exit(0), 5, Default::default()).await;
    let told = bench.outbox.urgent.recv().await;
    assert!(matches!(told, Some(InnerToRouter::Started { .. })));
    assert!(bench.outbox.urgent.try_recv().is_err());
    let told = bench.outbox.output.recv().await;
    assert!(matches!(told, Some(InnerToRouter::Finished { .. })));
}

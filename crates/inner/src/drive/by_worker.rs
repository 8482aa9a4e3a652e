//! Owns a motion or a stop that a worker executes: what becomes of its answer, a worker that gives
//! none, and the file that takes a worker's place for a stop.

use std::time::{Duration, Instant};

use p2p_shared::bounded::Text;
use p2p_shared::protocol::{End, Refusal};
use p2p_shared::text::EscapedBytes;
use tokio::sync::oneshot::error::RecvError;
use tokio::time::{sleep_until, timeout};

use crate::commands::{AcceptedCall, Commands, WorkerHandle};
use crate::motion::{MOTION_GRACE, MotionRole, ProcessEvent, RoleKind, StopTarget};
use crate::run::{Failure, Run, WorkerResult};

/// Time for a worker to answer a stop, before the stop command's file takes its place: short, since
/// the car still moves, but longer than a busy Pi needs to answer.
const STOP_ANSWER: Duration = Duration::from_millis(250);

enum Waited {
    Answered(WorkerResult),
    /// The motion is over, and the worker did not end it.
    CutOff,
    TooLong,
    Lost(Failure),
}

/// Executes a motion or a stop: by the worker that serves it, else by its file.
pub(super) async fn execute(run: Run, commands: &Commands) {
    let command = &run.request.command;
    // A stop that is for the file needs a worker only if there is no file.
    let may_be_by_worker =
        |role: &MotionRole| !role.is_for_file() || commands.files.resolve(command).is_err();
    let worker = commands.worker(command);
    let worker = worker.filter(|_| run.role.as_ref().is_some_and(may_be_by_worker));
    let Some(worker) = worker else {
        return commands.execute(run).await;
    };
    if let Some((run, why)) = by_worker(run, &worker).await {
        tracing::warn!(
            why,
            "the stop command's file is run, rather than the worker alone"
        );
        commands.execute(run).await;
    }
}

/// Executes a motion or a stop by a worker. Returns the stop if its file has to run as well, and
/// why.
async fn by_worker(run: Run, worker: &WorkerHandle) -> Option<(Run, String)> {
    let role = run.role.as_ref()?;
    let began = Instant::now();
    let stop_target = match &role.kind {
        RoleKind::Stop { target, .. } => Some(target),
        RoleKind::Motion { .. } => None,
    };
    let accepted = match (
        ask(&run, worker, role, stop_target, began).await,
        stop_target,
    ) {
        (Some(Ok(accepted)), _) => accepted,
        (Some(Err((_, why))), Some(_)) => return Some((run, why)),
        (None, Some(_)) => return Some((run, "it takes no request".to_owned())),
        (refused, None) => {
            let over = || (Refusal::Late, "it was over before it began".to_owned());
            let (refusal, message) = refused.and_then(Result::err).unwrap_or_else(over);
            run.give_up(refusal, message);
            return None;
        }
    };
    let group = accepted.group;
    match wait_for(&run, role, accepted, began).await {
        Waited::Answered(answer) if stop_target.is_some() && answer.end.end != End::Exit(0) => {
            let error = answer.end.stderr.kept();
            let error = EscapedBytes(&error).cut(200);
            let why = format!("it says that its stop failed: {error}");
            return Some((run, why));
        }
        Waited::Answered(_) if stop_target.is_some_and(StopTarget::needs_file_too) => {
            return Some((run, "something else moved the car, too".to_owned()));
        }
        Waited::Answered(answer) => {
            report_end(role, answer.end.end, began);
            run.pass_on_answer(worker.name(), answer, began).await;
        }
        // The worker may be busy, without having read the request.
        Waited::CutOff => {
            let why = "it did not end a motion that is over";
            worker.kill(group, why);
            report_end(role, role.end_if_cancelled(), began);
            let message =
                format!("the worker was killed, since {why}: nobody knows whether it had begun it");
            run.refuse(Refusal::WorkerLost, message);
        }
        // Nobody knows how far the worker came: the file takes its place.
        Waited::TooLong => {
            let limit = STOP_ANSWER.as_millis();
            let why = format!("it did not answer a stop within {limit} ms");
            worker.kill(group, &why);
            return Some((run, why));
        }
        Waited::Lost((_, why)) if stop_target.is_some() => return Some((run, why)),
        Waited::Lost((refusal, message)) => {
            report_end(role, End::Exit(-1), began);
            run.refuse(refusal, message);
        }
    }
    None
}

/// Asks the worker, and waits until it accepts or refuses the request. `None`: the motion was over
/// before, or the stop has waited too long; then the worker never sees the request.
async fn ask(
    run: &Run,
    worker: &WorkerHandle,
    role: &MotionRole,
    stop_target: Option<&StopTarget>,
    began: Instant,
) -> Option<Result<AcceptedCall, Failure>> {
    let among = match stop_target {
        Some(StopTarget::Workers { groups, .. }) => Some(groups.clone()),
        _ => None,
    };
    if let Err(refused) = run.may_begin() {
        return Some(Err(refused));
    }
    let mut reply = worker.call(run.request.clone(), role.events.clone(), among);
    let given_up = async {
        if stop_target.is_some() {
            return sleep_until((began + STOP_ANSWER).into()).await;
        }
        tokio::select! {
            () = role.end.cancelled() => {}
            () = run.caller.cancelled() => {}
        }
    };
    tokio::select! {
        biased;
        accepted = &mut reply => return accepted.ok(),
        () = given_up => {}
    }
    // The worker may have accepted the request just now; after this it can't.
    reply.close();
    reply.try_recv().ok()
}

async fn wait_for(run: &Run, role: &MotionRole, call: AcceptedCall, began: Instant) -> Waited {
    let mut answer = call.answer;
    let read = |answered| match answered {
        Ok(Ok(answer)) => Waited::Answered(answer),
        Ok(Err(failure)) => Waited::Lost(failure),
        Err(RecvError { .. }) => {
            let message = "the worker was lost before it answered: look before you run it again";
            Waited::Lost((Refusal::WorkerLost, message.to_owned()))
        }
    };
    let mut too_long = std::pin::pin!(sleep_until((began + STOP_ANSWER).into()));
    let mut is_abandoned = false;
    loop {
        tokio::select! {
            answered = &mut answer => return read(answered),
            () = &mut too_long, if role.is_stop() => return Waited::TooLong,
            () = role.end.cancelled(), if !role.is_stop() => {
                return timeout(MOTION_GRACE, answer).await.map_or(Waited::CutOff, read);
            }
            () = run.caller.cancelled(), if !is_abandoned => {
                is_abandoned = true;
                run.abandon();
            }
        }
    }
}

/// Reports the end to the drive, and that no process is left, as the motion had none of its own.
fn report_end(role: &MotionRole, end: End, began: Instant) {
    let exec = began.elapsed();
    let said = Text::default();
    (role.events)(ProcessEvent::Ended { end, exec, said });
    if !role.is_stop() {
        (role.events)(ProcessEvent::Reaped);
    }
}

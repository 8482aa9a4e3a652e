//! Talks with a worker that lives: requests and answers by their numbers, the announcement, time
//! limits, other output, and when the worker has to be killed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use p2p_shared::protocol::{MAX_OPEN_RUNS, Refusal, RunRequest};
use p2p_shared::text::EscapedBytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::codec::{AnyDelimiterCodec, AnyDelimiterCodecError, FramedRead};
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::WorkerSupervisor;
use super::protocol::{self, Announcement, MAX_LINE, WorkerAnswer};
use crate::commands::{AcceptedCall, WorkerCall, WorkerRequest};
use crate::drive::DriveRequest;
use crate::motion::ProcessEvent;
use crate::process::{Output, Pipes, ProcessGroup};
use crate::run::{Failure, Run, WorkerResult, ended};
use crate::stderr_log::{self, LogSource};

/// Most bytes of requests that the worker has not read.
const MAX_UNREAD: usize = 4 * 1024 * 1024;
/// Most lines in a row that are no answers.
const MAX_STRANGE: u32 = 100;
/// Time for a worker that has closed its output to end, so that its exit code can be logged: short,
/// since it may have left the car moving.
const LAST_MOMENT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) enum ConnectionEnd {
    Ended,
    /// The reason, as a sentence.
    Failed(String),
}

/// A request that was written and not answered.
enum OpenRequest {
    Run {
        run: Box<Run>,
        began: Instant,
        _waited_for: TaskTrackerToken,
    },
    Call(oneshot::Sender<Result<WorkerResult, Failure>>),
}

type Stdin = Box<dyn AsyncWrite + Send + Unpin>;
type Lines = FramedRead<Box<dyn Output>, AnyDelimiterCodec>;

pub(super) struct WorkerConnection {
    group: i32,
    limit: Duration,
    hello: Duration,
    stdin: Option<Stdin>,
    lines: Option<Lines>,
    unwritten: BytesMut,
    last_id: u64,
    open: BTreeMap<u64, OpenRequest>,
    has_announced: bool,
    strange: u32,
    /// Time of the next look at the time limits.
    timer: Pin<Box<Sleep>>,
    is_timed: bool,
    _stderr: Option<AbortOnDropHandle<Vec<u8>>>,
}

impl WorkerConnection {
    pub(super) fn new(supervisor: &WorkerSupervisor, group: i32, pipes: Pipes) -> Self {
        let name = supervisor.worker.name().to_owned();
        let codec = AnyDelimiterCodec::new_with_max_length(b"\n".to_vec(), Vec::new(), MAX_LINE);
        let stderr = pipes
            .stderr
            .map(|stderr| stderr_log::log(LogSource::Worker(name), stderr));
        let stderr = stderr.map(|logging| AbortOnDropHandle::new(tokio::spawn(logging)));
        Self {
            group,
            limit: supervisor.limit,
            hello: supervisor.hello,
            stdin: pipes.stdin,
            lines: pipes.stdout.map(|stdout| FramedRead::new(stdout, codec)),
            unwritten: BytesMut::new(),
            last_id: 0,
            open: BTreeMap::new(),
            has_announced: false,
            strange: 0,
            timer: Box::pin(sleep_until(Instant::now() + supervisor.hello)),
            is_timed: true,
            _stderr: stderr,
        }
    }

    /// Serves requests and answers until the worker or the inner ends.
    pub(super) async fn until_its_end(
        &mut self,
        supervisor: &mut WorkerSupervisor,
        group: &mut ProcessGroup,
    ) -> ConnectionEnd {
        loop {
            tokio::select! {
                biased;
                () = supervisor.end.cancelled() => return ConnectionEnd::Ended,
                Some(ask) = supervisor.queue.recv() => {
                    let mut next = Some(ask);
                    // Several requests a write when several wait.
                    while let Some(ask) = next {
                        if let Err(why) = self.on_ask(supervisor, ask) {
                            return ConnectionEnd::Failed(why);
                        }
                        next = supervisor.queue.try_recv().ok();
                    }
                }
                written = write(&mut self.stdin, &mut self.unwritten), if !self.unwritten.is_empty() => {
                    if let Err(error) = written {
                        return self.last_words(group, format!("it reads no more requests: {error}")).await;
                    }
                }
                line = next(&mut self.lines) => {
                    let read = match line {
                        Some(Ok(line)) => self.on_line(supervisor, &line),
                        Some(Err(AnyDelimiterCodecError::MaxChunkLengthExceeded)) => {
                            Err(format!("it wrote a line of more than {MAX_LINE} bytes"))
                        }
                        Some(Err(error)) => Err(format!("it can't be read: {error}")),
                        None => return self.last_words(group, "it closed its output".to_owned()).await,
                    };
                    if let Err(why) = read {
                        return ConnectionEnd::Failed(why);
                    }
                }
                status = group.ended() => return ConnectionEnd::Failed(format!("it ended with {}", ended(&status))),
                () = &mut self.timer, if self.is_timed => {
                    if let Err(why) = self.on_time() {
                        return ConnectionEnd::Failed(why);
                    }
                }
            }
        }
    }

    /// The reason for the end: the exit status, if the process ends soon.
    async fn last_words(&mut self, group: &mut ProcessGroup, otherwise: String) -> ConnectionEnd {
        let status = tokio::time::timeout(LAST_MOMENT, group.ended()).await;
        ConnectionEnd::Failed(status.map_or(otherwise, |status| {
            format!("it ended with {}", ended(&status))
        }))
    }

    fn on_ask(&mut self, supervisor: &WorkerSupervisor, ask: WorkerRequest) -> Result<(), String> {
        if let WorkerRequest::Kill { group, why } = ask {
            return if group == self.group {
                Err(why)
            } else {
                Ok(())
            };
        }
        let refusal = if !self.has_announced {
            Some((Refusal::WorkerAway, "is starting: try again in a moment"))
        } else if self.open.len() >= MAX_OPEN_RUNS || self.unwritten.len() > MAX_UNREAD {
            Some((
                Refusal::Busy,
                "has as many open requests as it may: try again in a moment",
            ))
        } else {
            None
        };
        if let Some((refusal, what)) = refusal {
            let name = supervisor.worker.name();
            let sentence = format!("{name}, which serves this command, {what}");
            ask.fail((refusal, sentence));
            return Ok(());
        }
        match ask {
            WorkerRequest::Run(run, token) => self.on_run(run, token),
            WorkerRequest::Call(call) => self.on_call(supervisor, *call),
            WorkerRequest::Kill { .. } => {}
        }
        Ok(())
    }

    fn on_run(&mut self, run: Box<Run>, token: TaskTrackerToken) {
        let written = run
            .may_begin()
            .and_then(|()| self.write_request(&run.request, &run.stdin));
        if let Err((refusal, why)) = written {
            return run.give_up(refusal, why);
        }
        let began = Instant::now();
        if !self.is_timed {
            self.set_timer(began + self.limit);
        }
        let open = OpenRequest::Run {
            run,
            began,
            _waited_for: token,
        };
        self.open.insert(self.last_id, open);
    }

    fn on_call(&mut self, supervisor: &WorkerSupervisor, call: WorkerCall) {
        if call.accepted.is_closed() {
            return;
        }
        if (call.among.as_ref()).is_some_and(|groups| !groups.contains(&self.group)) {
            let why = "it is not this process of a worker that moves the car".to_owned();
            let _ = call.accepted.send(Err((Refusal::WorkerAway, why)));
            return;
        }
        let before = self.unwritten.len();
        if let Err(failure) = self.write_request(&call.request, &[]) {
            let _ = call.accepted.send(Err(failure));
            return;
        }
        // Before the worker hears of it, so that its death can't be told before this.
        supervisor
            .drive
            .send(DriveRequest::Process(ProcessEvent::Started {
                token: call.token,
                group: self.group,
                is_workers: true,
            }));
        let (reply, answer) = oneshot::channel();
        let group = self.group;
        if call
            .accepted
            .send(Ok(AcceptedCall { group, answer }))
            .is_err()
        {
            // Nobody would see to its end.
            self.unwritten.truncate(before);
            return;
        }
        self.open.insert(self.last_id, OpenRequest::Call(reply));
    }

    fn write_request(&mut self, request: &RunRequest, input: &[u8]) -> Result<(), Failure> {
        protocol::write_request(&mut self.unwritten, self.last_id + 1, request, input)?;
        self.last_id += 1;
        Ok(())
    }

    fn on_line(&mut self, supervisor: &WorkerSupervisor, line: &[u8]) -> Result<(), String> {
        if !self.has_announced {
            return self.on_first_line(supervisor, line);
        }
        let read = serde_json::from_slice::<WorkerAnswer>(line);
        let id = match &read {
            Ok(answer) => Some(answer.id()),
            Err(_) => protocol::id_of(line),
        };
        let open = id.and_then(|id| self.open.remove(&id));
        let why = match (open, read) {
            (Some(open), Ok(answer)) => {
                self.strange = 0;
                let answer = WorkerResult::new(answer.exit, answer.output, &answer.error);
                match open {
                    OpenRequest::Run { run, began, .. } => {
                        run.answered(supervisor.worker.name(), answer, began.into_std());
                    }
                    OpenRequest::Call(reply) => drop(reply.send(Ok(answer))),
                }
                return Ok(());
            }
            (None, Ok(_)) => {
                "an answer to no open request: its id was answered before, or never asked"
                    .to_owned()
            }
            (Some(open), Err(error)) => {
                let why = format!("its answer can't be read: {error}");
                open.abort(&why);
                why
            }
            (None, Err(error)) => format!("no answer ({error}): print to standard error instead"),
        };
        self.on_strange(supervisor, line, &why)
    }

    fn on_first_line(&mut self, supervisor: &WorkerSupervisor, line: &[u8]) -> Result<(), String> {
        let announcement: Announcement = serde_json::from_slice(line).map_err(|error| {
            format!(
                "its first line does not say what it serves, {{\"serves\":[…]}}: {} ({error})",
                EscapedBytes(line).cut(100)
            )
        })?;
        if announcement.serves.is_empty() {
            return Err("it serves nothing".to_owned());
        }
        supervisor
            .commands
            .announced(&supervisor.worker, &announcement.serves);
        self.has_announced = true;
        self.is_timed = false;
        Ok(())
    }

    /// Logs a line that is no answer: a stray `print` is forgiven, a flood of them isn't.
    fn on_strange(
        &mut self,
        supervisor: &WorkerSupervisor,
        line: &[u8],
        why: &str,
    ) -> Result<(), String> {
        self.strange += 1;
        if self.strange > MAX_STRANGE {
            return Err(format!(
                "it wrote {MAX_STRANGE} lines in a row that are no answers"
            ));
        }
        tracing::warn!(
            worker = supervisor.worker.name(),
            line = %EscapedBytes(line).cut(200),
            why,
            "the worker wrote a line that is not an answer"
        );
        Ok(())
    }

    /// Checks the time limits of the announcement and of the oldest run.
    fn on_time(&mut self) -> Result<(), String> {
        if !self.has_announced {
            return Err(format!(
                "it did not say what it serves within {} s",
                self.hello.as_secs_f32()
            ));
        }
        self.is_timed = false;
        let oldest = self.open.iter().find_map(|(id, open)| match open {
            OpenRequest::Run { began, .. } => Some((*id, *began)),
            OpenRequest::Call(_) => None,
        });
        let Some((id, began)) = oldest else {
            return Ok(());
        };
        if began.elapsed() < self.limit {
            self.set_timer(began + self.limit);
            return Ok(());
        }
        if let Some(OpenRequest::Run { run, began, .. }) = self.open.remove(&id) {
            run.timed_out(began.into_std());
        }
        Err(format!(
            "it did not answer within {} s (--timeout)",
            self.limit.as_secs_f32()
        ))
    }

    fn set_timer(&mut self, at: Instant) {
        self.timer.as_mut().reset(at);
        self.is_timed = true;
    }

    /// Closes the worker's standard input.
    pub(super) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Reports that all open requests are lost.
    pub(super) fn abort(&mut self, why: &str) {
        for (_, open) in std::mem::take(&mut self.open) {
            open.abort(why);
        }
    }
}

impl OpenRequest {
    /// Reports that the request is lost.
    fn abort(self, why: &str) {
        let message = format!(
            "the worker that serves this command was lost before it answered ({why}): look before you run it again"
        );
        match self {
            Self::Run { run, .. } => run.give_up(Refusal::WorkerLost, message),
            Self::Call(reply) => drop(reply.send(Err((Refusal::WorkerLost, message)))),
        }
    }
}

async fn write(stdin: &mut Option<Stdin>, unwritten: &mut BytesMut) -> std::io::Result<()> {
    match stdin {
        Some(stdin) => stdin.write_buf(unwritten).await.map(drop),
        None => std::future::pending().await,
    }
}

async fn next(lines: &mut Option<Lines>) -> Option<Result<Bytes, AnyDelimiterCodecError>> {
    match lines {
        Some(lines) => lines.next().await,
        None => None,
    }
}

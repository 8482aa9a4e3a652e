//! Talks with a running worker: numbered requests and answers, the announcement, time limits, other
//! output, and reasons to kill the worker.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::OptionFuture;
use futures_util::{FutureExt, StreamExt};
use p2p_shared::protocol::{End, MAX_OPEN_RUNS, Refusal, RunRequest};
use p2p_shared::text::EscapedBytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::codec::{AnyDelimiterCodec, AnyDelimiterCodecError, FramedRead};
use tokio_util::task::AbortOnDropHandle;

use super::WorkerSupervisor;
use super::protocol::{self, Announcement, MAX_LINE, WorkerAnswer};
use crate::commands::{AcceptedCall, WorkerCall, WorkerRequest};
use crate::motion::ProcessEvent;
use crate::process::{Output, Pipes, ProcessGroup};
use crate::run::{Failure, Run, WorkerResult, ended};
use crate::stderr_log;

/// Most bytes of requests that the worker has not read.
const MAX_UNREAD: usize = 4 * 1024 * 1024;
/// Most lines in a row that are no answers.
const MAX_STRANGE: u32 = 100;
/// Most lines that are read in one turn of the `select!`, which costs as much as a line.
const LINES_A_TURN: usize = 32;
/// Time for a worker that has closed its output to end, so that its exit code can be logged: short,
/// since it may have left the car moving.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// A request that was written and not answered.
enum OpenRequest {
    Run { run: Box<Run>, began: Instant },
    Call(oneshot::Sender<Result<WorkerResult, Failure>>),
}

pub(super) struct WorkerConnection<'a> {
    supervisor: &'a mut WorkerSupervisor,
    group: i32,
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    lines: FramedRead<Box<dyn Output>, AnyDelimiterCodec>,
    unwritten: BytesMut,
    last_id: u64,
    open: BTreeMap<u64, OpenRequest>,
    has_announced: bool,
    strange: u32,
    /// Time of the next check of the time limits.
    timer: Option<Instant>,
    _stderr: AbortOnDropHandle<Vec<u8>>,
}

impl<'a> WorkerConnection<'a> {
    pub(super) fn new(supervisor: &'a mut WorkerSupervisor, group: i32, pipes: Pipes) -> Self {
        let name = supervisor.worker.name().to_owned();
        let codec = AnyDelimiterCodec::new_with_max_length(b"\n".to_vec(), Vec::new(), MAX_LINE);
        Self {
            group,
            stdin: pipes.stdin,
            lines: FramedRead::new(pipes.stdout, codec),
            unwritten: BytesMut::new(),
            last_id: 0,
            open: BTreeMap::new(),
            has_announced: false,
            strange: 0,
            timer: Some(Instant::now() + supervisor.hello),
            _stderr: stderr_log::spawn(Some(name), pipes.stderr),
            supervisor,
        }
    }

    /// Serves requests and answers until the inner ends. An error is the reason why the worker has
    /// ended, or has to.
    pub(super) async fn serve(&mut self, group: &mut ProcessGroup) -> Result<(), String> {
        loop {
            let stdin = self.stdin.as_mut().filter(|_| !self.unwritten.is_empty());
            let write = stdin.map(|stdin| stdin.write_buf(&mut self.unwritten));
            tokio::select! {
                biased;
                () = self.supervisor.end.cancelled() => return Ok(()),
                Some(ask) = self.supervisor.queue.recv() => {
                    self.on_ask(ask)?;
                    // One write sends all requests that wait.
                    while let Ok(ask) = self.supervisor.queue.try_recv() {
                        self.on_ask(ask)?;
                    }
                }
                Some(written) = OptionFuture::from(write) => {
                    if let Err(error) = written {
                        return Err(last_words(group, format!("it reads no more requests: {error}")).await);
                    }
                }
                line = self.lines.next() => {
                    self.on_read(line, group).await?;
                    // A request may be a stop, which waits for no answers of others.
                    for _ in 1..LINES_A_TURN {
                        if !self.supervisor.queue.is_empty() {
                            break;
                        }
                        let Some(line) = self.lines.next().now_or_never() else { break };
                        self.on_read(line, group).await?;
                    }
                }
                status = group.ended() => return Err(format!("it ended with {}", ended(&status))),
                () = sleep_until(self.timer.unwrap_or_else(Instant::now)), if self.timer.is_some() => {
                    self.on_time()?;
                }
            }
        }
    }

    fn on_ask(&mut self, ask: WorkerRequest) -> Result<(), String> {
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
            let name = self.supervisor.worker.name();
            let sentence = format!("{name}, which serves this command, {what}");
            ask.fail((refusal, sentence));
            return Ok(());
        }
        match ask {
            WorkerRequest::Run(run) => self.on_run(run),
            WorkerRequest::Call(call) => self.on_call(*call),
            WorkerRequest::Kill { .. } => {}
        }
        Ok(())
    }

    fn on_run(&mut self, run: Box<Run>) {
        let written = run
            .may_begin()
            .and_then(|()| self.write_request(&run.request, &run.stdin));
        if let Err((refusal, why)) = written {
            return run.give_up(refusal, why);
        }
        let began = Instant::now();
        self.timer.get_or_insert(began + self.supervisor.limit);
        let open = OpenRequest::Run { run, began };
        self.open.insert(self.last_id, open);
    }

    fn on_call(&mut self, call: WorkerCall) {
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
        // The start is reported before the worker gets the request, so never after the end.
        let group = self.group;
        (call.events)(ProcessEvent::Started {
            group,
            is_workers: true,
        });
        let (reply, answer) = oneshot::channel();
        let accepted = Ok(AcceptedCall { group, answer });
        if call.accepted.send(accepted).is_err() {
            // Nobody waits for the answer any more.
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

    async fn on_read(
        &mut self,
        line: Option<Result<Bytes, AnyDelimiterCodecError>>,
        group: &mut ProcessGroup,
    ) -> Result<(), String> {
        match line {
            Some(Ok(line)) => self.on_line(&line),
            Some(Err(AnyDelimiterCodecError::MaxChunkLengthExceeded)) => {
                Err(format!("it wrote a line of more than {MAX_LINE} bytes"))
            }
            Some(Err(error)) => Err(format!("it can't be read: {error}")),
            None => Err(last_words(group, "it closed its output".to_owned()).await),
        }
    }

    fn on_line(&mut self, line: &[u8]) -> Result<(), String> {
        if !self.has_announced {
            return self.on_first_line(line);
        }
        let read = serde_json::from_slice::<WorkerAnswer>(line);
        let id = match &read {
            Ok(answer) => Some(answer.id),
            Err(_) => protocol::id_of(line),
        };
        let open = id.and_then(|id| self.open.remove(&id));
        let why = match (open, read) {
            (Some(open), Ok(answer)) => {
                self.strange = 0;
                let answer =
                    WorkerResult::new(End::Exit(answer.exit), answer.output, &answer.error);
                match open {
                    OpenRequest::Run { run, began, .. } => {
                        run.answered(self.supervisor.worker.name(), answer, began.into_std());
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
        self.on_strange(line, &why)
    }

    fn on_first_line(&mut self, line: &[u8]) -> Result<(), String> {
        let announcement: Announcement = serde_json::from_slice(line).map_err(|error| {
            format!(
                "its first line does not say what it serves, {{\"serves\":[…]}}: {} ({error})",
                EscapedBytes(line).cut(100)
            )
        })?;
        if announcement.serves.is_empty() {
            return Err("it serves nothing".to_owned());
        }
        let WorkerSupervisor {
            commands, worker, ..
        } = &*self.supervisor;
        commands.announced(worker, &announcement.serves);
        self.has_announced = true;
        self.timer = None;
        Ok(())
    }

    /// Logs a line that is no answer: a stray `print` is forgiven, a flood of them isn't.
    fn on_strange(&mut self, line: &[u8], why: &str) -> Result<(), String> {
        self.strange += 1;
        if self.strange > MAX_STRANGE {
            return Err(format!(
                "it wrote {MAX_STRANGE} lines in a row that are no answers"
            ));
        }
        tracing::warn!(
            worker = self.supervisor.worker.name(),
            line = %EscapedBytes(line).cut(200),
            why,
            "the worker wrote a line that is not an answer"
        );
        Ok(())
    }

    /// Checks the time limits of the announcement and of the oldest run.
    fn on_time(&mut self) -> Result<(), String> {
        let WorkerSupervisor { limit, hello, .. } = *self.supervisor;
        if !self.has_announced {
            let hello = hello.as_secs_f32();
            return Err(format!("it did not say what it serves within {hello} s"));
        }
        let oldest = self.open.iter().find_map(|(id, open)| match open {
            OpenRequest::Run { began, .. } => Some((*id, *began)),
            OpenRequest::Call(_) => None,
        });
        self.timer = oldest.map(|(_, began)| began + limit);
        let Some((id, _)) = oldest.filter(|(_, began)| began.elapsed() >= limit) else {
            return Ok(());
        };
        if let Some(OpenRequest::Run { run, began }) = self.open.remove(&id) {
            run.timed_out(began.into_std());
        }
        let limit = limit.as_secs_f32();
        Err(format!("it did not answer within {limit} s (--timeout)"))
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

/// Returns the reason for the end: the exit status if the process ends soon.
async fn last_words(group: &mut ProcessGroup, otherwise: String) -> String {
    let status = timeout(LAST_MOMENT, group.ended()).await;
    status.map_or(otherwise, |status| {
        format!("it ended with {}", ended(&status))
    })
}

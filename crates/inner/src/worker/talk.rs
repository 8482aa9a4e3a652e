//! Owns the conversation with a worker that lives: requests and answers by their numbers, its
//! announcement, its time limits, what it says beside that, and when it has to be killed.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use p2p_shared::protocol::{MAX_OPEN_RUNS, Refusal};
use p2p_shared::text::{Escaped, EscapedBytes};
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::codec::{AnyDelimiterCodec, AnyDelimiterCodecError, FramedRead};
use tokio_util::task::AbortOnDropHandle;

use super::lines::{self, Announcement, Answer, MAX_LINE};
use super::{Ask, Failure, Resident, Taken};
use crate::process::{Pipes, ProcessGroup};
use crate::runner::{Job, ended};

/// How long a worker may take to say what it serves: Python's imports take 10 s on a small Pi.
const HELLO: Duration = Duration::from_secs(30);
/// Most bytes of requests that wait for it to read them.
const MAX_UNREAD: usize = 4 * 1024 * 1024;
/// Most lines in a row that are none of the protocol's.
const MAX_STRANGE: u32 = 100;
/// Most lines of its standard error that are logged in a second.
const LOGGED_A_SECOND: u32 = 20;
/// Most characters of a line of it in the log.
const LOGGED: usize = 1000;
/// How long one that has closed its output may take to end.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// Why a worker ended.
#[derive(Debug)]
pub(super) enum Why {
    /// The inner ends.
    Ended,
    /// In words.
    Failed(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the car is restarting"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// A request that was written and not answered.
enum Open {
    Run { job: Box<Job>, begun: Instant },
    Call(oneshot::Sender<Result<Answer, Failure>>),
}

type Lines = FramedRead<ChildStdout, AnyDelimiterCodec>;

/// The conversation.
pub(super) struct Talk {
    group: i32,
    limit: Duration,
    stdin: Option<ChildStdin>,
    lines: Option<Lines>,
    unwritten: BytesMut,
    next_id: u64,
    open: BTreeMap<u64, Open>,
    has_announced: bool,
    strange: u32,
    /// When the next of its time limits is looked at.
    timer: Pin<Box<Sleep>>,
    is_timed: bool,
    _stderr: Option<AbortOnDropHandle<()>>,
}

impl Talk {
    pub(super) fn new(resident: &Resident, group: i32, pipes: Pipes) -> Self {
        let name = resident.worker.name().to_owned();
        let codec = || AnyDelimiterCodec::new_with_max_length(b"\n".to_vec(), Vec::new(), MAX_LINE);
        let stderr = pipes.stderr.map(|stderr| {
            let logging = log(name, FramedRead::new(stderr, codec()));
            AbortOnDropHandle::new(tokio::spawn(logging))
        });
        Self {
            group,
            limit: resident.limit,
            stdin: pipes.stdin,
            lines: pipes.stdout.map(|stdout| FramedRead::new(stdout, codec())),
            unwritten: BytesMut::new(),
            next_id: 1,
            open: BTreeMap::new(),
            has_announced: false,
            strange: 0,
            timer: Box::pin(sleep_until(Instant::now() + HELLO)),
            is_timed: true,
            _stderr: stderr,
        }
    }

    /// Talks until there is nobody to talk to, or no sense in it.
    pub(super) async fn until_its_end(
        &mut self,
        resident: &mut Resident,
        group: &mut ProcessGroup,
    ) -> Why {
        loop {
            tokio::select! {
                biased;
                () = resident.end.cancelled() => return Why::Ended,
                Some(ask) = resident.queue.0.recv() => {
                    let mut next = Some(ask);
                    // Several requests a write when several wait.
                    while let Some(ask) = next {
                        if let Err(why) = self.on_ask(resident, ask) {
                            return Why::Failed(why);
                        }
                        next = resident.queue.0.try_recv().ok();
                    }
                }
                written = write(&mut self.stdin, &mut self.unwritten), if !self.unwritten.is_empty() => {
                    if let Err(error) = written {
                        return self.last_words(group, format!("it reads no more requests: {error}")).await;
                    }
                }
                line = next(&mut self.lines) => {
                    let read = match line {
                        Some(Ok(line)) => self.on_line(resident, &line),
                        Some(Err(AnyDelimiterCodecError::MaxChunkLengthExceeded)) => {
                            Err(format!("it wrote a line of more than {MAX_LINE} bytes"))
                        }
                        Some(Err(error)) => Err(format!("it can't be read: {error}")),
                        None => return self.last_words(group, "it closed its output".to_owned()).await,
                    };
                    if let Err(why) = read {
                        return Why::Failed(why);
                    }
                }
                status = group.ended() => return Why::Failed(format!("it ended with {}", ended(&status))),
                () = &mut self.timer, if self.is_timed => {
                    if let Err(why) = self.on_time() {
                        return Why::Failed(why);
                    }
                }
            }
        }
    }

    /// Why it talks no more: its end, if that is what it is.
    async fn last_words(&mut self, group: &mut ProcessGroup, otherwise: String) -> Why {
        let status = tokio::time::timeout(LAST_MOMENT, group.ended()).await;
        Why::Failed(status.map_or(otherwise, |status| {
            format!("it ended with {}", ended(&status))
        }))
    }

    fn on_ask(&mut self, resident: &Resident, ask: Ask) -> Result<(), String> {
        let refusal = if !self.has_announced {
            Some((Refusal::WorkerAway, "is starting: try again in a moment"))
        } else if self.open.len() >= MAX_OPEN_RUNS || self.unwritten.len() > MAX_UNREAD {
            Some((
                Refusal::Busy,
                "has all the requests that may wait for it: try again in a moment",
            ))
        } else {
            None
        };
        if let Ask::Kill(why) = ask {
            return Err(why);
        }
        if let Some((refusal, what)) = refusal {
            ask.fail((
                refusal,
                format!(
                    "{}, which serves this command, {what}",
                    resident.worker.name()
                ),
            ));
            return Ok(());
        }
        let id = self.next_id;
        let (request, input) = match &ask {
            Ask::Run(job) => (&job.request, &job.stdin[..]),
            Ask::Call { request, .. } => (&**request, &[][..]),
            Ask::Kill(_) => return Ok(()),
        };
        if let Err(failure) = lines::write_request(&mut self.unwritten, id, request, input) {
            ask.fail(failure);
            return Ok(());
        }
        self.next_id += 1;
        let open = match ask {
            Ask::Run(job) => {
                let begun = Instant::now();
                if !self.is_timed {
                    self.set_timer(begun + self.limit);
                }
                Open::Run { job, begun }
            }
            Ask::Call { taken, .. } => {
                let (reply, answer) = oneshot::channel();
                let group = self.group;
                let _ = taken.send(Ok(Taken { group, answer }));
                Open::Call(reply)
            }
            Ask::Kill(_) => return Ok(()),
        };
        self.open.insert(id, open);
        Ok(())
    }

    fn on_line(&mut self, resident: &Resident, line: &[u8]) -> Result<(), String> {
        if !self.has_announced {
            return self.on_first_line(resident, line);
        }
        let why = match serde_json::from_slice::<Answer>(line) {
            Ok(answer) => match self.open.remove(&answer.id()) {
                Some(open) => {
                    self.strange = 0;
                    match open {
                        Open::Run { job, begun } => {
                            job.answered(resident.worker.name(), answer, begun)
                        }
                        Open::Call(reply) => drop(reply.send(Ok(answer))),
                    }
                    return Ok(());
                }
                None => {
                    "an answer to nothing that is open: an id twice, or one never asked".to_owned()
                }
            },
            Err(error) => format!("no answer ({error}): print to standard error instead"),
        };
        self.on_strange(resident, line, &why)
    }

    fn on_first_line(&mut self, resident: &Resident, line: &[u8]) -> Result<(), String> {
        let announcement: Announcement = serde_json::from_slice(line).map_err(|error| {
            format!(
                "its first line is not what it serves, {{\"serves\":[…]}}: {} ({error})",
                EscapedBytes(line).cut(100)
            )
        })?;
        if announcement.serves.is_empty() {
            return Err("it serves nothing".to_owned());
        }
        resident
            .commands
            .announced(&resident.worker, &announcement.serves);
        self.has_announced = true;
        self.is_timed = false;
        Ok(())
    }

    /// A line that is none of the protocol's: a stray `print` is forgiven, a flood of them isn't.
    fn on_strange(&mut self, resident: &Resident, line: &[u8], why: &str) -> Result<(), String> {
        self.strange += 1;
        if self.strange > MAX_STRANGE {
            return Err(format!(
                "it wrote {MAX_STRANGE} lines in a row that are no answers"
            ));
        }
        tracing::warn!(
            worker = resident.worker.name(),
            line = %EscapedBytes(line).cut(200),
            why,
            "the worker wrote what is no answer"
        );
        Ok(())
    }

    /// The time of the announcement, or of a run, may be over.
    fn on_time(&mut self) -> Result<(), String> {
        if !self.has_announced {
            return Err(format!(
                "it did not say what it serves within {} s",
                HELLO.as_secs()
            ));
        }
        self.is_timed = false;
        let oldest = self.open.iter().find_map(|(id, open)| match open {
            Open::Run { begun, .. } => Some((*id, *begun)),
            Open::Call(_) => None,
        });
        let Some((id, begun)) = oldest else {
            return Ok(());
        };
        if begun.elapsed() < self.limit {
            self.set_timer(begun + self.limit);
            return Ok(());
        }
        if let Some(Open::Run { job, begun }) = self.open.remove(&id) {
            job.timed_out(begun);
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

    /// Nobody knows what became of what is open.
    pub(super) fn lose(&mut self, why: &Why) {
        let message = format!(
            "the worker that serves this command was lost before it answered ({why}): look before you run it again"
        );
        for (_, open) in std::mem::take(&mut self.open) {
            let failure = (Refusal::WorkerLost, message.clone());
            match open {
                Open::Run { job, .. } => job.give_up(failure.0, failure.1),
                Open::Call(reply) => drop(reply.send(Err(failure))),
            }
        }
    }
}

async fn write(stdin: &mut Option<ChildStdin>, unwritten: &mut BytesMut) -> std::io::Result<()> {
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

/// What it says on standard error goes to the log, as much of it as somebody could read.
async fn log(worker: String, mut lines: FramedRead<ChildStderr, AnyDelimiterCodec>) {
    let (mut second, mut logged, mut more) = (Instant::now(), 0, 0_u64);
    while let Some(line) = lines.next().await {
        if second.elapsed() >= Duration::from_secs(1) {
            if more > 0 {
                tracing::warn!(worker, lines = more, "the worker said more than is logged");
            }
            (second, logged, more) = (Instant::now(), 0, 0);
        }
        match line {
            Ok(line) if logged < LOGGED_A_SECOND => {
                logged += 1;
                let line = String::from_utf8_lossy(&line);
                tracing::info!(worker, said = %Escaped(&line).cut(LOGGED), "the worker says");
            }
            Ok(_) => more += 1,
            // A line without end: what comes of it is thrown away.
            Err(AnyDelimiterCodecError::MaxChunkLengthExceeded) => more += 1,
            Err(_) => return,
        }
    }
}

//! Runs the program of `--on-link` when a link is there for the first time and when it is gone for
//! good. For each car the program runs in order and once at a time, gets no key, and ends with the
//! router. Nobody waits for it.

use std::collections::HashSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use p2p_shared::names::LinkName;
use p2p_shared::os;
use p2p_shared::text::EscapedBytes;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod pending;

use pending::Waiting;

/// Time limit of the program: enough for a slow mail server.
const LIMIT: Duration = Duration::from_secs(30);
/// Most programs that run at a time, when a whole fleet comes or goes.
const AT_ONCE: usize = 8;
/// Most bytes of the program's output in the log.
const TOLD: usize = 1024;

/// Event of a link.
#[derive(Debug, Clone)]
struct LinkChange {
    event: &'static str,
    link: String,
    service_port: u16,
    since: SystemTime,
    why: String,
}

/// Events that wait for the program. Without a program nothing is kept.
#[derive(Debug, Default)]
pub(crate) struct OnLink {
    /// `None` until there is a program.
    waiting: Mutex<Option<Waiting<LinkChange>>>,
    come: Notify,
}

impl OnLink {
    /// Reports that a port was opened for its link.
    pub(crate) fn up(&self, port: u16, name: &LinkName) {
        self.add((port, name), "up", SystemTime::now(), "");
    }

    /// Reports that a port was given up, after its car had been `away` for this long.
    pub(crate) fn down(&self, port: u16, name: &LinkName, away: Duration, why: &str) {
        let since = SystemTime::now() - away;
        self.add((port, name), "down", since, why);
    }

    fn add(
        &self,
        (port, name): (u16, &LinkName),
        event: &'static str,
        since: SystemTime,
        why: &str,
    ) {
        self.with(|waiting| {
            let change = LinkChange {
                event,
                link: name.to_string(),
                service_port: port,
                since,
                why: why.to_owned(),
            };
            waiting.add(port, change);
        });
        self.come.notify_one();
    }

    fn with<T>(&self, look: impl FnOnce(&mut Waiting<LinkChange>) -> T) -> Option<T> {
        let mut waiting = self.waiting.lock();
        waiting.as_mut().map(look)
    }

    /// Runs the program for each change until `closed`.
    pub(crate) fn tell(
        self: Arc<Self>,
        program: Vec<String>,
        closed: CancellationToken,
    ) -> impl Future<Output = ()> {
        // Set now, so that an event before the task's first run is not lost.
        *self.waiting.lock() = Some(Waiting::default());
        async move {
            let _ = closed.run_until_cancelled(self.run(&program)).await;
        }
    }

    async fn run(&self, program: &[String]) {
        // Dropped with all running programs.
        let mut running = JoinSet::new();
        let mut busy = HashSet::new();
        loop {
            while running.len() < AT_ONCE
                && let Some(Some(change)) = self.with(|waiting| waiting.next(&busy))
            {
                busy.insert(change.service_port);
                running.spawn(tell(command(program, &change), change, LIMIT));
            }
            tokio::select! {
                () = self.come.notified() => {}
                Some(Ok(port)) = running.join_next(), if !running.is_empty() => {
                    busy.remove(&port);
                }
            }
        }
    }
}

fn command(program: &[String], change: &LinkChange) -> Command {
    let mut words = program.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command
        .args(words)
        .env_clear()
        .envs(os::child_env())
        .env("P2P_EVENT", change.event)
        .env("P2P_LINK", &change.link)
        .env("P2P_SERVICE_PORT", change.service_port.to_string())
        .env(
            "P2P_SINCE",
            humantime::format_rfc3339_seconds(change.since).to_string(),
        )
        .env("P2P_WHY", &change.why)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

/// Runs the program and logs its result.
async fn tell(mut command: Command, change: LinkChange, limit: Duration) -> u16 {
    let (event, link) = (change.event, &change.link);
    let service_port = change.service_port;
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            tracing::warn!(event, %link, %error, "--on-link: the program can't be run");
            return service_port;
        }
    };
    let group = Group(
        child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)),
    );
    let (out, errors) = (child.stdout.take(), child.stderr.take());
    let mut said = (Vec::new(), Vec::new());
    let ran = async {
        let outputs = async { tokio::join!(read(out, &mut said.0), read(errors, &mut said.1)) };
        tokio::pin!(outputs);
        let ended = tokio::select! {
            ended = child.wait() => ended,
            // The program closed both outputs, and ends.
            _ = &mut outputs => return child.wait().await,
        };
        // Processes that it left behind may hold them open.
        drop(group);
        outputs.await;
        ended
    };
    let ended = tokio::time::timeout(limit, ran).await;
    let output = [said.0, said.1].concat();
    let output = EscapedBytes(&output).to_string();
    match ended {
        Ok(Ok(status)) if status.success() => {
            tracing::info!(event, %link, service_port, output, "--on-link: told");
        }
        Ok(Ok(status)) => {
            tracing::warn!(event, %link, service_port, %status, output, "--on-link: the program failed");
        }
        Ok(Err(error)) => tracing::warn!(event, %link, %error, "--on-link: the program is lost"),
        Err(_) => {
            let limit = limit.as_secs();
            tracing::warn!(event, %link, service_port, output, "--on-link: the program was ended after {limit} s");
        }
    }
    service_port
}

/// Keeps the first bytes of the output, and reads on so that the program is never held up.
async fn read(stream: Option<impl AsyncRead + Unpin>, said: &mut Vec<u8>) {
    let Some(mut stream) = stream else {
        return;
    };
    let mut first = (&mut stream).take(TOLD as u64);
    // A pipe that fails has no more output.
    let _ = first.read_to_end(said).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

/// Process group that is killed on drop, however its leader ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            // It is fine if no process is left.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_takes_too_long_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("process");
        let line = format!("sleep 1000 & echo $! > {}; wait", note.display());
        let program = ["sh", "-c", &line].map(str::to_owned);
        let change = LinkChange {
            event: "up",
            link: "car".to_owned(),
            service_port: 9000,
            since: SystemTime::now(),
            why: String::new(),
        };
        let telling = tell(command(&program, &change), change, Duration::from_secs(1));
        let told = tokio::time::timeout(LIMIT, telling).await;
        assert_eq!(told.unwrap(), 9000);
        let process = std::fs::read_to_string(&note).unwrap();
        let stat = format!("/proc/{}/stat", process.trim());
        let is_alive = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        let ended = async {
            while is_alive() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, ended).await.unwrap();
    }
}

//! Runs the program of `--on-link` when a link is there for the first time and when it is gone for
//! good. For one car the program runs in order and one at a time. It gets no key, and ends with the
//! router. Nobody waits for it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use p2p_shared::names::LinkName;
use p2p_shared::os;
use p2p_shared::text::EscapedBytes;
use parking_lot::Mutex;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::ops::open_files;

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

/// Changes that wait for the program: of each car the newest only, in the order in which the cars
/// came. The bound is the number of ports.
#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<u16>,
    newest: HashMap<u16, LinkChange>,
}

impl Waiting {
    /// Adds a change, in place of the car's waiting one.
    fn add(&mut self, change: LinkChange) {
        let port = change.service_port;
        if self.newest.insert(port, change).is_none() {
            self.order.push_back(port);
        }
    }

    /// Takes the next change, of a car whose program doesn't run just now.
    fn next(&mut self, busy: &HashSet<u16>) -> Option<LinkChange> {
        let at = self.order.iter().position(|port| !busy.contains(port))?;
        let port = self.order.remove(at)?;
        self.newest.remove(&port)
    }
}

/// Program of `--on-link`, and the changes that wait for it.
#[derive(Debug)]
pub(crate) struct OnLink {
    /// Program and arguments; `None`: no change is kept.
    program: Option<Vec<String>>,
    waiting: Mutex<Waiting>,
    come: Notify,
}

impl OnLink {
    pub(crate) fn new(program: Option<Vec<String>>) -> Self {
        Self {
            program,
            waiting: Mutex::default(),
            come: Notify::new(),
        }
    }

    /// Reports that a port was opened for its link.
    pub(crate) fn up(&self, port: u16, name: &LinkName) {
        self.add(port, name, "up", SystemTime::now(), "");
    }

    /// Reports that a port was given up, after its car had been `away` for this long.
    pub(crate) fn down(&self, port: u16, name: &LinkName, away: Duration, why: &str) {
        self.add(port, name, "down", SystemTime::now() - away, why);
    }

    fn add(&self, port: u16, name: &LinkName, event: &'static str, since: SystemTime, why: &str) {
        if self.program.is_some() {
            self.waiting.lock().add(LinkChange {
                event,
                link: name.to_string(),
                service_port: port,
                since,
                why: why.to_owned(),
            });
            self.come.notify_one();
        }
    }

    /// Runs the program for each change.
    pub(crate) async fn run(self: Arc<Self>) {
        let Some(program) = &self.program else {
            return;
        };
        // Dropping this ends all running programs.
        let mut running = JoinSet::new();
        let mut busy = HashSet::new();
        loop {
            while running.len() < AT_ONCE
                && let Some(change) = self.waiting.lock().next(&busy)
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
    let since = humantime::format_rfc3339_seconds(change.since);
    command
        .args(words)
        .env_clear()
        .envs(os::child_env())
        .env("P2P_EVENT", change.event)
        .env("P2P_LINK", &change.link)
        .env("P2P_SERVICE_PORT", change.service_port.to_string())
        .env("P2P_SINCE", since.to_string())
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
    lower_open_files(group.0);
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
        // Processes that the program left behind may hold its outputs open.
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

/// Gives the program the limit of open files that the router had before it raised its own: some
/// programs close every number up to the limit, or use `select`. The program has only just begun.
fn lower_open_files(program: Option<Pid>) {
    // Without a process this would be the router's own limit.
    let (Some(before), Some(_)) = (open_files::open_files_before(), program) else {
        return;
    };
    let limit = Rlimit {
        current: Some(before),
        ..getrlimit(Resource::Nofile)
    };
    // A program that has ended needs none.
    let _ = prlimit(program, Resource::Nofile, limit);
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

    fn change(service_port: u16, event: &'static str) -> LinkChange {
        LinkChange {
            event,
            link: "car".to_owned(),
            service_port,
            since: SystemTime::now(),
            why: String::new(),
        }
    }

    #[test]
    fn of_several_changes_of_a_car_only_the_newest_is_told_and_in_its_turn() {
        let mut waiting = Waiting::default();
        for (port, event) in [(1, "up"), (2, "up"), (1, "down"), (1, "up again")] {
            waiting.add(change(port, event));
        }
        let mut next = || {
            waiting
                .next(&HashSet::new())
                .map(|change| (change.service_port, change.event))
        };
        assert_eq!(next(), Some((1, "up again")));
        assert_eq!(next(), Some((2, "up")));
        assert_eq!(next(), None);
    }

    #[test]
    fn a_car_whose_program_still_runs_waits_and_holds_up_nobody() {
        let mut waiting = Waiting::default();
        waiting.add(change(1, "down"));
        waiting.add(change(2, "up"));
        let mut next = |busy: &[u16]| {
            let change = waiting.next(&busy.iter().copied().collect());
            change.map(|change| change.service_port)
        };
        assert_eq!(next(&[1]), Some(2));
        assert_eq!(next(&[1]), None);
        assert_eq!(next(&[]), Some(1));
    }

    #[tokio::test]
    async fn a_program_does_not_inherit_the_raised_limit_of_open_files() {
        let before = getrlimit(Resource::Nofile);
        let low = Rlimit {
            current: Some(200),
            ..before
        };
        rustix::process::setrlimit(Resource::Nofile, low).unwrap();
        open_files::raise_open_files();
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("limit");
        let line = format!("sleep 0.2; ulimit -n > {}", note.display());
        let program = ["sh", "-c", &line].map(str::to_owned);
        let change = change(9000, "up");
        tell(command(&program, &change), change, LIMIT).await;
        assert_eq!(std::fs::read_to_string(&note).unwrap(), "200\n");
    }

    #[tokio::test]
    async fn a_program_that_takes_too_long_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("process");
        let line = format!("sleep 1000 & echo $! > {}; wait", note.display());
        let program = ["sh", "-c", &line].map(str::to_owned);
        let change = change(9000, "up");
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

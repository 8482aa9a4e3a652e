//! The load: callers that ask one after the other and record the answers, and an observer of the
//! number of links.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_shared::key::Key;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::history::{AnswerRecord, CallRecord, SharedHistory, now};
use crate::common::raw::RawCaller;
use crate::common::{HttpAnswer, local};

/// What is asked: a script, one that takes a while, and a worker.
const COMMANDS: [&str; 3] = ["say", "slow", "ask"];
/// Between two requests of a caller.
const PAUSE: Duration = Duration::from_millis(20);

/// Whom to ask, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct CallTarget {
    pub(crate) at: SocketAddr,
    pub(crate) host: &'static str,
    pub(crate) key: Option<Key>,
}

impl CallTarget {
    /// A router's main port on loopback, as this machine itself asks it.
    pub(crate) fn main_port(port: u16) -> Self {
        Self {
            at: local(port),
            host: "localhost",
            key: None,
        }
    }
}

/// Asks for each of the commands, until the end.
pub(crate) async fn calls(
    caller: usize,
    car: CallTarget,
    history: SharedHistory,
    end: CancellationToken,
) {
    for number in 0.. {
        if end.is_cancelled() {
            return;
        }
        let command = COMMANDS[(caller + number) % COMMANDS.len()];
        let call = call(&car, command, format!("c{caller}-{number}")).await;
        note(call, &history);
        tokio::time::sleep(PAUSE).await;
    }
}

/// In the order of the answers.
fn note(mut call: CallRecord, history: &SharedHistory) {
    let mut history = history.lock().unwrap();
    call.answered = now();
    history.calls.push(call);
}

async fn call(car: &CallTarget, command: &'static str, argument: String) -> CallRecord {
    let asked = now();
    let target = format!("/cgi?command={command}&arg={argument}");
    let answer = ask(car, &target).await;
    let connected = answer.is_ok();
    let answer = answer.ok().flatten().map(|answer| AnswerRecord {
        status: answer.status.as_u16(),
        run: answer.header("p2p-run").to_owned(),
        executed: answer.header("p2p-executed").to_owned(),
        exit: answer.header("p2p-exit").to_owned(),
        body: answer.text(),
    });
    CallRecord {
        command,
        argument,
        asked,
        answered: now(),
        connected,
        answer,
    }
}

/// The answer, if there is a connection, and one comes.
pub(crate) async fn ask(door: &CallTarget, target: &str) -> std::io::Result<Option<HttpAnswer>> {
    let stream = TcpStream::connect(door.at).await?;
    let mut caller = RawCaller::new(stream);
    let host = door.host;
    let key = door.key.as_ref().map_or(String::new(), |key| {
        format!("Authorization: Bearer {}\r\n", key.bearer())
    });
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{key}Connection: close\r\n\r\n");
    caller.send(head).await;
    Ok(caller.try_answer().await)
}

/// One of the router's metrics, if it answers.
pub(crate) async fn metric(main: &CallTarget, name: &str) -> Option<i64> {
    let answer = ask(main, "/metrics").await.ok()??;
    let text = answer.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

/// Looks again and again how many links are up.
pub(crate) async fn looks(main: CallTarget, history: SharedHistory, end: CancellationToken) {
    while !end.is_cancelled() {
        if let Some(links) = metric(&main, "p2p_router_links ").await {
            history.lock().unwrap().links.push(links);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

//! Owns `p2p-router health`: asks the router that runs with these settings whether it can do its
//! job. For start scripts and containers, which have no curl, and would have to know of address
//! and TLS what the settings say already.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use p2p_shared::key::Fingerprint;
use p2p_shared::text::EscapedBytes;
use p2p_shared::transport::Transport;
use p2p_shared::{exit, tls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::health::{ANSWER, INSTANCE, REQUEST, reachable};
use crate::settings::Options;

/// Most bytes of an answer: a status, some headers, a sentence.
const MAX_ANSWER: u64 = 8 * 1024;
/// Most characters of its sentence that are shown.
const SAID: usize = 500;

/// The exit code where there is no router that can do its job, as p2p-console has it for one that
/// can't be reached. With 1 and 2 nobody was asked.
const ILL: u8 = 3;

/// Asks, and says what came of it: ends with 0 if the router says that it can do its job.
pub fn run(options: &Options) -> ExitCode {
    match asked(options) {
        Ok(Ok(sentence)) => {
            #[expect(clippy::print_stdout, reason = "it is what was asked for")]
            {
                println!("{sentence}");
            }
            ExitCode::SUCCESS
        }
        Ok(Err(ill)) => {
            // For the sentence: its exit code is of errors of all kinds.
            let _ = exit::code(Err(ill));
            ILL.into()
        }
        Err(error) => exit::code(Err(error)),
    }
}

/// What the router says, or why it says nothing, or why it can't be asked.
#[tokio::main(flavor = "current_thread")]
async fn asked(options: &Options) -> anyhow::Result<anyhow::Result<String>> {
    if options.port == 0 {
        bail!("the main port is any that is free: which one, only the router's log says");
    }
    let address = reachable(SocketAddr::new(options.bind.0, options.port));
    // What comes from this machine's own address only needs TLS as what comes from anywhere else.
    let known_by = if options.open || address.ip().to_canonical().is_loopback() {
        None
    } else {
        Some(options.certificate()?.public_key()?)
    };
    let limit = ANSWER.as_secs();
    let answer = match timeout(ANSWER, ask(address, known_by)).await {
        Ok(answer) => answer.with_context(|| format!("no router answers at {address}")),
        Err(_) => Err(anyhow::anyhow!(
            "the router at {address} has not answered for {limit} s"
        )),
    };
    let instance = answer
        .and_then(|answer| understand(&answer).with_context(|| format!("the router at {address}")));
    Ok(instance
        .map(|instance| format!("the router at {address} can do its job (instance {instance})")))
}

async fn ask(address: SocketAddr, known_by: Option<Fingerprint>) -> io::Result<Vec<u8>> {
    let stream = TcpStream::connect(address).await?;
    let mut stream = match known_by {
        None => Transport::Plain(stream),
        Some(_) => tls::connect(stream, &address.ip().to_string(), known_by).await?,
    };
    stream.write_all(REQUEST).await?;
    stream.flush().await?;
    read(stream).await
}

/// All of it. That it is cut off behind what it says takes nothing from that.
async fn read(stream: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    match stream.take(MAX_ANSWER).read_to_end(&mut answer).await {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

/// Which start of the router says that all is well.
fn understand(answer: &[u8]) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3));
    let instance = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case(INSTANCE.as_str()))
        .map(|(_, value)| value.trim());
    match (status, instance) {
        (Some("200"), Some(instance)) => {
            Ok(EscapedBytes(instance.as_bytes()).cut(SAID).to_string())
        }
        (Some("200"), None) | (None, _) => bail!("what answers there is no p2p-router"),
        (Some(status), _) => {
            let body = EscapedBytes(body.as_bytes().trim_ascii()).cut(SAID);
            bail!("answers {}: {body}", EscapedBytes(status.as_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_router_that_says_so_is_well() {
        let well = understand(b"HTTP/1.1 200 OK\r\nP2P-Instance: 0f\r\n\r\nok\n");
        assert_eq!(well.unwrap(), "0f");
        for (answer, said) in [
            ("", "no p2p-router"),
            ("HTTP/1.1 200 OK\r\n\r\nhello", "no p2p-router"),
            ("SSH-2.0-OpenSSH\r\n", "no p2p-router"),
            (
                "HTTP/1.1 503 x\r\nA: b\r\n\r\nthe router is\x1b[2J going down\n",
                "answers 503: the router is\\u{1b}[2J going down",
            ),
        ] {
            let error = understand(answer.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}

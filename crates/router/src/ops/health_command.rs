//! Runs `p2p-router health`: asks the router that runs with these settings whether it can do its
//! job. Made for start scripts and containers, which may have no curl. Reads no key and no
//! certificate, and writes nothing.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use p2p_shared::os;
use p2p_shared::text::EscapedBytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::ops::health::{ANSWER, START, ask, reachable};

/// Most characters of the router's sentence that are shown.
const SAID: usize = 500;

/// Exit code if no router can do its job; p2p-console uses the same if the router can't be reached.
/// 1 and 2 mean that no router was asked.
const ILL: u8 = 3;

/// Asks the router and prints the result. The exit code is 0 if the router can do its job. A
/// connection from an address begins with its `header`.
pub fn run(main_port: SocketAddr, header: impl Fn(IpAddr) -> &'static [u8]) -> ExitCode {
    match asked(main_port, header) {
        Ok(Ok(sentence)) => {
            #[expect(clippy::print_stdout, reason = "it is what was asked for")]
            {
                println!("{sentence}");
            }
            ExitCode::SUCCESS
        }
        Ok(Err(ill)) => {
            // Printed here, because the exit code of other errors doesn't fit.
            let _ = os::exit_code(Err(ill));
            ILL.into()
        }
        Err(error) => os::exit_code(Err(error)),
    }
}

/// Checks that the router with this main port on this machine can do its job.
///
/// # Errors
/// If it can't, or does not answer.
pub(crate) fn check(
    main_port: SocketAddr,
    header: impl Fn(IpAddr) -> &'static [u8],
) -> anyhow::Result<()> {
    asked(main_port, header)?.map(drop)
}

/// Returns the router's answer, or why there is none, or why the router can't be asked.
#[tokio::main(flavor = "current_thread")]
async fn asked(
    main_port: SocketAddr,
    header: impl Fn(IpAddr) -> &'static [u8],
) -> anyhow::Result<anyhow::Result<String>> {
    if main_port.port() == 0 {
        bail!("the main port is 0, which means any free one: only the router's log says which");
    }
    let address = reachable(main_port);
    let limit = ANSWER.as_secs();
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        let header = header(stream.local_addr()?.ip());
        stream.write_all(header).await?;
        ask(stream).await
    };
    let answer = match timeout(ANSWER, asking).await {
        Ok(answer) => answer.with_context(|| format!("no router answers at {address}")),
        Err(_) => Err(anyhow::anyhow!(
            "the router at {address} has not answered for {limit} s"
        )),
    };
    let start = answer
        .and_then(|answer| understand(&answer).with_context(|| format!("the router at {address}")));
    Ok(start.map(|start| format!("the router at {address} can do its job (start {start})")))
}

/// Returns the router's start, if its answer says that all is well.
fn understand(answer: &[u8]) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3));
    let start = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case(START.as_str()))
        .map(|(_, value)| value.trim());
    match (status, start) {
        (Some("200"), Some(start)) => Ok(EscapedBytes(start.as_bytes()).cut(SAID).to_string()),
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
        let well = understand(b"HTTP/1.1 200 OK\r\nP2P-Start: 0f\r\n\r\nok\n");
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

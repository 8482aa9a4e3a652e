//! The fault of names that are not found: a name server of the test's own falls silent, so that who
//! asks it waits as long as a resolver does. It needs root, for the port of name servers and for a
//! `resolv.conf` of the inner's own.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fixture::{Fixture, pause};
use super::fixture_config::FixtureConfig;
use super::resources::run;
use super::round::Fault;

const NAME: &str = "router.p2p.test";

/// A name server that finds one address for every name. Dropped, it is silent.
struct NameServer {
    address: Ipv4Addr,
    is_silent: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl NameServer {
    /// At an address of this machine that nobody else uses.
    fn start() -> std::io::Result<Self> {
        let id = std::process::id();
        let [.., high, low] = id.to_be_bytes();
        let address = Ipv4Addr::new(127, 53, high, low);
        let socket = UdpSocket::bind((address, 53))?;
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let is_silent = Arc::new(AtomicBool::new(false));
        let silent = is_silent.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                if !silent.load(Ordering::SeqCst)
                    && let Some(answer) = answer(&buffer[..length])
                {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Ok(Self {
            address,
            is_silent,
            task,
        })
    }

    fn is_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::SeqCst);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// To a question for a name's IPv4 address: this machine; for anything else: there is none (RFC
/// 1035, 4.1).
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let labels = question.get(HEADER..)?;
    let name = labels.iter().position(|byte| *byte == 0)? + 1;
    let end = HEADER + name + 4;
    let asks_for = question.get(HEADER + name..HEADER + name + 2)?;
    let is_found = asks_for == [0, 1];
    let mut answer = question.get(..2)?.to_vec();
    // An answer, of one who may be asked again for other names; one question, and what is found.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_found), 0, 0, 0, 0]);
    answer.extend(question.get(HEADER..end)?);
    if is_found {
        // The name of the question; IPv4, Internet; to be kept for no time; four bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(Ipv4Addr::LOCALHOST.octets());
    }
    Some(answer)
}

/// The inner asks this server, and nobody else.
fn asks(server: &NameServer, folder: &Path) -> FixtureConfig {
    std::fs::write(
        folder.join("resolv.conf"),
        format!("nameserver {}\n", server.address),
    )
    .unwrap();
    std::fs::write(folder.join("nsswitch.conf"), "hosts: dns\n").unwrap();
    let at = |file: &str| folder.join(file).display().to_string();
    let script = format!(
        "mount --bind {} /etc/resolv.conf && mount --bind {} /etc/nsswitch.conf && exec \"$@\"",
        at("resolv.conf"),
        at("nsswitch.conf"),
    );
    let starter = ["unshare", "--mount", "sh", "-c", &script, "sh"];
    FixtureConfig {
        starter: starter.map(str::to_owned).into(),
        host: Some(NAME.to_owned()),
        ..FixtureConfig::default()
    }
}

/// A server, the files that lead to it, and the configuration; or none, where that can't be.
fn server() -> Option<(NameServer, tempfile::TempDir, FixtureConfig)> {
    let may = run("unshare", &["--mount", "true"]);
    let server = may.and_then(|()| NameServer::start().map_err(|error| error.to_string()));
    let server = server
        .inspect_err(|why| eprintln!("skipped: no names can be kept from being found: {why}"))
        .ok()?;
    let folder = tempfile::tempdir().unwrap();
    let fixture_config = asks(&server, folder.path());
    Some((server, folder, fixture_config))
}

/// The router is where it was.
#[tokio::test]
async fn names_are_not_found() {
    let Some((server, _folder, fixture_config)) = server() else {
        return;
    };
    let mut fault = Fault::named("link cut, names not found").severs();
    fault.fixture_config = fixture_config;
    let strike = async |fixture: &mut Fixture| {
        server.is_silent(true);
        fixture.strikes_once();
        fixture.proxy.cut();
        fixture.stands().await;
        fixture.moves().await;
        server.is_silent(false);
    };
    fault.strikes(strike).await;
}

/// Nobody knows where the router is: each try is as long as its hello may take.
#[tokio::test]
async fn names_are_not_found_at_the_start() {
    let Some((server, _folder, fixture_config)) = server() else {
        return;
    };
    let mut fault = Fault::named("inner restarted, names not found, 4 s").severs();
    fault.fixture_config = fixture_config;
    let strike = async |fixture: &mut Fixture| {
        fixture.strikes();
        server.is_silent(true);
        fixture.inner.kill().await;
        fixture.start_inner();
        pause(4.0).await;
        server.is_silent(false);
        fixture.heals();
    };
    fault.strikes(strike).await;
}

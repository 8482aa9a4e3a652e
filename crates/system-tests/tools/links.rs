//! Many inners in one process, to load a router with links:
//! `cargo run --release --bin links -- ROUTER_HOST,… ROUTER_PORT COUNT FIRST_PORT`
//!
//! The router needs a `--max-links` of COUNT. Each asks for the next service port from FIRST_PORT
//! on (stay below the kernel's ephemeral ports: 32768). With a link key in `P2P_KEY` they come over
//! TLS. Prints how long they took to come up, and holds them until Ctrl-C; if the router is restarted
//! meanwhile, how long it took until all were back. With `--known-at` they come one after the other, and it
//! prints how long it took from when a link was up until the other routers had opened its service port.

use std::convert::Infallible;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use p2p_inner::{Config, Inner, LinkState};
use p2p_shared::key::Key;
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::protocol::MotionInfo;
use tokio::net::TcpStream;

/// So many dial at a time: as many as a router's accept queue holds at the least.
const AT_ONCE: usize = 64;

/// Many inners in one process
#[derive(Parser)]
struct Options {
    /// One router, or several with commas between them
    hosts: String,
    /// Their main port
    port: u16,
    /// How many links
    count: u16,
    /// The first of their service ports
    first: u16,
    /// Other routers of the mesh
    #[arg(long, value_delimiter = ',')]
    known_at: Vec<IpAddr>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let routers: Vec<_> = (options.hosts.split(','))
        .map(|host| RouterAddress {
            host: host.to_owned(),
            port: options.port,
        })
        .collect();
    let key: Option<Key> = std::env::var("P2P_KEY")
        .ok()
        .map(|key| key.parse())
        .transpose()
        .context("P2P_KEY")?;
    let commands = std::env::temp_dir().join(format!("links-{}", std::process::id()));
    std::fs::create_dir(&commands)?;
    let begun = Instant::now();
    let mut inners = Vec::new();
    let mut known = Histogram::<u64>::new(3)?;
    let ports: Vec<u16> = (options.first..).take(options.count.into()).collect();
    let at_once = match options.known_at.is_empty() {
        true => AT_ONCE,
        false => 1,
    };
    for wave in ports.chunks(at_once) {
        let start = |port: &u16| {
            let config = config(&routers, *port, key.clone(), commands.clone())?;
            Inner::start(config)
        };
        let started: Vec<Inner> = wave.iter().map(start).collect::<anyhow::Result<_>>()?;
        for inner in &started {
            inner.link_state().wait_for(is_up).await?;
        }
        let up = Instant::now();
        for at in &options.known_at {
            join_all(wave.iter().map(|port| open(*at, *port))).await;
        }
        known.record(u64::try_from(up.elapsed().as_micros())?)?;
        inners.extend(started);
    }
    println!(
        "{} links are up after {:.2?}",
        inners.len(),
        begun.elapsed()
    );
    if !options.known_at.is_empty() {
        let at = |quantile| known.value_at_quantile(quantile);
        println!("known everywhere: p50_us={} p99_us={}", at(0.5), at(0.99));
    }
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended?,
        never = tell_returns(&inners) => match never? {},
    }
    drop(inners);
    std::fs::remove_dir_all(&commands)?;
    Ok(())
}

fn is_up(state: &LinkState) -> bool {
    matches!(state, LinkState::Up { .. })
}

/// Waits until this router has opened the service port.
async fn open(router: IpAddr, port: u16) {
    while TcpStream::connect((router, port)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Prints, each time that the links were lost, when they were back.
async fn tell_returns(inners: &[Inner]) -> anyhow::Result<Infallible> {
    let first = inners.first().context("no links")?;
    loop {
        first.link_state().wait_for(|state| !is_up(state)).await?;
        let lost = Instant::now();
        println!("the links are lost");
        for inner in inners {
            inner.link_state().wait_for(is_up).await?;
        }
        println!("all links are back after {:.2?}", lost.elapsed());
    }
}

fn config(
    routers: &[RouterAddress],
    service_port: u16,
    key: Option<Key>,
    commands: PathBuf,
) -> anyhow::Result<Config> {
    Ok(Config {
        routers: routers.to_vec(),
        service_port,
        name: format!("car-{service_port}").parse()?,
        identity: format!("identity{service_port}").parse()?,
        key,
        open: false,
        commands,
        timeout: Duration::from_secs(30),
        max_runs: 1,
        worker_hello: p2p_inner::WORKER_HELLO,
        motion: MotionInfo {
            commands: Default::default(),
            stop: "stop".parse()?,
            lease_ms: 400,
            limit_ms: 2000,
        },
        ring: None,
        guardian: None,
        camera: None,
    })
}

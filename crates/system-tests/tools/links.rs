//! Many inners in one process, to load a router with links:
//! `cargo run --release --bin links -- ROUTER_HOST ROUTER_PORT COUNT FIRST_PORT`
//!
//! The router needs a `--max-links` of COUNT. Each asks for the next service port from FIRST_PORT
//! on (stay below the kernel's ephemeral ports: 32768). With a link key in `P2P_KEY` they come over
//! TLS. Prints how long they took to come up, and holds them until Ctrl-C; if the router is restarted
//! meanwhile, how long it took until all were back.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use p2p_inner::{Config, Inner, LinkState};
use p2p_shared::key::Key;
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::protocol::MotionInfo;

/// So many dial at a time: as many as a router's accept queue holds at the least.
const AT_ONCE: usize = 64;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, count, first] = arguments.as_slice() else {
        anyhow::bail!("usage: links ROUTER_HOST ROUTER_PORT COUNT FIRST_PORT");
    };
    let router = RouterAddress {
        host: host.clone(),
        port: port.parse().context("ROUTER_PORT")?,
    };
    let count: u16 = count.parse().context("COUNT")?;
    let first: u16 = first.parse().context("FIRST_PORT")?;
    let key: Option<Key> = std::env::var("P2P_KEY")
        .ok()
        .map(|key| key.parse())
        .transpose()
        .context("P2P_KEY")?;
    let commands = std::env::temp_dir().join(format!("links-{}", std::process::id()));
    std::fs::create_dir(&commands)?;
    let begun = Instant::now();
    let mut inners = Vec::new();
    for wave in (0..count).collect::<Vec<_>>().chunks(AT_ONCE) {
        let start = |n: &u16| {
            let config = config(&router, first + n, key.clone(), commands.clone())?;
            Inner::start(config)
        };
        let wave: Vec<Inner> = wave.iter().map(start).collect::<anyhow::Result<_>>()?;
        for inner in &wave {
            let mut state = inner.link_state();
            state
                .wait_for(|state| matches!(state, LinkState::Up { .. }))
                .await?;
        }
        inners.extend(wave);
    }
    println!("{count} links are up after {:.2?}", begun.elapsed());
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended?,
        never = tell_returns(&inners) => match never? {},
    }
    drop(inners);
    std::fs::remove_dir_all(&commands)?;
    Ok(())
}

/// Prints, each time that the links were lost, when they were back.
async fn tell_returns(inners: &[Inner]) -> anyhow::Result<Infallible> {
    let is_up = |state: &LinkState| matches!(state, LinkState::Up { .. });
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
    router: &RouterAddress,
    service_port: u16,
    key: Option<Key>,
    commands: PathBuf,
) -> anyhow::Result<Config> {
    Ok(Config {
        routers: vec![router.clone()],
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
        guardian: None,
        camera: None,
    })
}

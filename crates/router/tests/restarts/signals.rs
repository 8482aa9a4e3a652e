//! Signals that come at the wrong moment: while a router is about to be another program, or is it
//! already and has not got far yet.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use super::common::program::{Program, router};
use super::common::{ReservedPort, get, until, until_so};

/// How often it has listened.
fn starts(router: &Program) -> usize {
    router.errors().matches("listening on").count()
}

/// The signals that each of a process's threads holds back, as a set of bits.
fn held(pid: i32) -> Vec<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let held = threads.flatten().filter_map(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let line = status.lines().find_map(|it| it.strip_prefix("SigBlk:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    });
    held.collect()
}

#[tokio::test]
async fn a_router_that_is_told_to_restart_again_and_again_lives() {
    let folder = tempfile::tempdir().unwrap();
    let main = ReservedPort::new();
    let (router, _) = Program::open_router(folder.path(), main.port).await;
    // At each moment of five restarts, from the first to the last.
    until_so("it has restarted five times", async || {
        for _ in 0..20 {
            router.signal(Signal::USR2);
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        starts(&router) > 5
    })
    .await;
    until_so("it serves", async || {
        std::net::TcpStream::connect(("127.0.0.1", main.port)).is_ok()
            && get(main.port, "/healthz").await.status == 200
    })
    .await;
    // What it starts would take over what its threads hold back, other than for a moment.
    let ours = [Signal::USR2, Signal::TERM, Signal::INT].map(|it| 1 << (it.as_raw() - 1));
    let ours = ours.iter().fold(0, |all, it| all | it);
    until("no thread holds them back", || {
        let held = held(router.id());
        !held.is_empty() && held.iter().all(|held| held & ours == 0)
    })
    .await;
}

#[tokio::test]
async fn a_router_that_is_told_to_end_while_it_restarts_ends() {
    let folder = tempfile::tempdir().unwrap();
    let main = ReservedPort::new();
    for n in 0..40 {
        let mut command = router(folder.path());
        let port = main.port.to_string();
        let mut router = Program::start(command.args([&port, "--open", "--bind", "127.0.0.1"]));
        router.main_port().await;
        router.signal(Signal::USR2);
        router.says("restarting").await;
        // Until it is the other program it takes some milliseconds, and some more to its loop.
        tokio::time::sleep(Duration::from_micros(n * 500)).await;
        router.signal(Signal::TERM);
        let status = router.end().await;
        assert!(status.success(), "{n}: {status}: {}", router.errors());
    }
}

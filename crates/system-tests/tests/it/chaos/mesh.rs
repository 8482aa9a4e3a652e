//! Faults of three routers of a mesh, of their nats-servers, and of the lines between their hosts. The
//! car's link is at the first router; a caller asks each; who drives is at the third.

use std::time::{Duration, Instant};

use p2p_shared::key::Key;
use rustix::process::Signal;

use super::clocks::{library, off_by};
use super::fixture::pause;
use super::load::{self, CallTarget};
use super::mesh_fixture::{HOSTS, MeshConfig, MeshFixture};
use super::mesh_network::{HostNetwork, LineFault};
use super::mesh_round::MeshFault;
use super::round::rounds;
use crate::common::until_so;

/// Until a connection that is used and says nothing is given up.
const SILENCE: Duration = Duration::from_secs(6);

#[tokio::test]
async fn holder_killed() {
    let fault = MeshFault::named("mesh: holder killed")
        .severs()
        .router_dies();
    let strike = async |fixture: &mut MeshFixture| {
        fixture.strikes_once();
        fixture.routers[0].kill().await;
        pause(2.0).await;
        fixture.start_router(0);
    };
    fault.strikes(strike).await;
}

/// The car's link stays open, and silent.
#[tokio::test]
async fn holder_stopped() {
    let mut fault = MeshFault::named("mesh: holder stopped, 10 s")
        .severs()
        .noticed_after(SILENCE);
    // It passes on what came meanwhile, to the router that has the car by then.
    fault.promises.waits_unread = Duration::from_secs(10);
    let strike = async |fixture: &mut MeshFixture| {
        fixture.strikes_once();
        fixture.routers[0].signal(Signal::STOP);
        pause(10.0).await;
        fixture.routers[0].signal(Signal::CONT);
    };
    fault.strikes(strike).await;
}

#[tokio::test]
async fn holder_ended() {
    let fault = MeshFault::named("mesh: holder ended")
        .severs()
        .router_dies();
    let strike = async |fixture: &mut MeshFixture| {
        fixture.strikes_once();
        fixture.routers[0].signal(Signal::TERM);
        fixture.routers[0].end().await;
        pause(2.0).await;
        fixture.start_router(0);
    };
    fault.strikes(strike).await;
}

#[tokio::test]
async fn holder_restarted() {
    let fault = MeshFault::named("mesh: holder restarts itself").severs();
    let strike = async |fixture: &mut MeshFixture| {
        fixture.strikes();
        fixture.routers[0].signal(Signal::USR2);
        let is_back = "service ports are open again";
        fixture.routers[0].says(is_back).await;
        fixture.heals();
    };
    fault.strikes(strike).await;
}

/// The one between the driver and the car's router.
#[tokio::test]
async fn router_between_killed() {
    let fault = MeshFault::named("mesh: router between driver and holder killed")
        .severs()
        .router_dies();
    let strike = async |fixture: &mut MeshFixture| {
        fixture.strikes_once();
        fixture.routers[2].kill().await;
        pause(1.0).await;
        fixture.start_router(2);
    };
    fault.strikes(strike).await;
}

/// Between the driver's router and the car's: for consoles, requests, and messages of the mesh.
async fn line_fails(fault: MeshFault, ways: &[(usize, usize)], how: LineFault) {
    let fault = fault.severs().with(|| {
        Some(MeshConfig {
            network: Some(HostNetwork::make()?),
            ..MeshConfig::default()
        })
    });
    let strike = async |fixture: &mut MeshFixture| {
        fixture.strikes();
        for (from, to) in ways {
            fixture.network().fails(*from, *to, how);
        }
        pause(6.0).await;
        for (from, to) in ways {
            fixture.network().heals(*from, *to);
        }
        fixture.heals();
    };
    fault.strikes(strike).await;
}

#[tokio::test]
async fn line_cut() {
    let fault = MeshFault::named("mesh: line between two routers cut, 6 s");
    line_fails(fault, &[(0, 2), (2, 0)], LineFault::Cut).await;
}

#[tokio::test]
async fn line_silent() {
    let fault = MeshFault::named("mesh: line between two routers silent, 6 s");
    line_fails(fault, &[(0, 2), (2, 0)], LineFault::Silent).await;
}

#[tokio::test]
async fn line_silent_one_way() {
    let mut fault = MeshFault::named("mesh: line to the driver's router silent, 6 s");
    // The lease is renewed for as long as the car's clock, as the driver saw it last, is young.
    fault.promises.stop_margin += Duration::from_millis(600);
    line_fails(fault, &[(0, 2)], LineFault::Silent).await;
}

#[tokio::test]
async fn nats_killed() {
    let fault = MeshFault::named("mesh: each nats-server killed").changes_nothing();
    let strike = async |fixture: &mut MeshFixture| {
        fixture.strikes_once();
        for host in HOSTS {
            fixture.nats[host].kill().await;
            pause(1.0).await;
            fixture.start_nats(host);
            pause(0.5).await;
        }
    };
    fault.strikes(strike).await;
}

#[tokio::test]
async fn all_of_nats_killed() {
    let fault = MeshFault::named("mesh: all nats-servers killed, 5 s").changes_nothing();
    let strike = async |fixture: &mut MeshFixture| {
        fixture.strikes_once();
        for host in HOSTS {
            fixture.nats[host].kill().await;
        }
        pause(5.0).await;
        for host in HOSTS {
            fixture.start_nats(host);
        }
    };
    fault.strikes(strike).await;
}

/// The car can't reach its router any more, and goes to another.
async fn moves_the_car(fixture: &mut MeshFixture) {
    fixture.strikes_once();
    let proxy = fixture.proxy.as_ref().unwrap();
    proxy.refuse(true);
    proxy.cut();
    pause(3.0).await;
    fixture.proxy.as_ref().unwrap().refuse(false);
}

#[tokio::test]
async fn car_moves() {
    MeshFault::named("mesh: the car moves")
        .severs()
        .strikes(moves_the_car)
        .await;
}

/// The router that it leaves is not told.
#[tokio::test]
async fn car_moves_silently() {
    let fault = MeshFault::named("mesh: the car moves, and its router is not told")
        .severs()
        .noticed_after(SILENCE);
    let strike = async |fixture: &mut MeshFixture| {
        fixture.strikes_once();
        let proxy = fixture.proxy.as_ref().unwrap();
        proxy.refuse(true);
        proxy.silence();
        pause(10.0).await;
        fixture.proxy.as_ref().unwrap().refuse(false);
    };
    fault.strikes(strike).await;
}

/// Those of two routers, by two hours apart; and the car moves.
#[tokio::test]
async fn clocks_are_off() {
    if library().is_none() {
        eprintln!("skipped: no clock can be set without faketime");
        return;
    }
    let fault = MeshFault::named("mesh: clocks two hours apart, the car moves")
        .severs()
        .with(|| {
            let library = library()?;
            let off = |by: &str| off_by(&library, by);
            Some(MeshConfig {
                router_variables: [off("+1h"), off("-1h"), Vec::new()],
                ..MeshConfig::default()
            })
        });
    fault.strikes(moves_the_car).await;
}

/// A key that is used at all routers is revoked at one.
#[tokio::test]
async fn key_revoked() {
    let fault = MeshFault::named("mesh: key revoked")
        .changes_nothing()
        .with(|| {
            Some(MeshConfig {
                has_keys: true,
                ..MeshConfig::default()
            })
        });
    let most = if rounds().is_some() { 1 } else { 30 };
    let strike = async |fixture: &mut MeshFixture| {
        let add = ["key", "add", "guest", "--role", "drive", "--ports", "any"];
        let said = fixture.router_command(0, &add).await;
        let key: Key = (said.split_whitespace())
            .find_map(|word| word.parse().ok())
            .unwrap();
        let status = async |host| {
            let guest = CallTarget {
                key: Some(key.clone()),
                ..fixture.car(host)
            };
            let answer = load::ask(&guest, "/commands").await;
            answer.ok().flatten().map(|answer| answer.status.as_u16())
        };
        for host in HOSTS {
            until_so("the key is known", async || status(host).await == Some(200)).await;
        }
        fixture.strikes_once();
        let said = fixture.router_command(0, &["key", "revoke", "guest"]).await;
        assert!(said.contains("revoked here and at"), "{said}");
        let heard = Instant::now();
        for host in HOSTS {
            // Of too many wrong keys each gets 429.
            until_so("the key is refused", async || {
                matches!(status(host).await, Some(401 | 429))
            })
            .await;
        }
        assert!(heard.elapsed() < Duration::from_secs(most));
    };
    fault.strikes(strike).await;
}

/// By hand: an inner of another version, from the folder in P2P_OLD_PROGRAMS. It knows one router.
#[tokio::test]
async fn programs_of_two_versions() {
    if std::env::var_os("P2P_OLD_PROGRAMS").is_none() {
        return;
    }
    let fault = MeshFault::named("mesh: holder killed, the inner is of another version")
        .severs()
        .router_dies()
        .with(|| {
            Some(MeshConfig {
                old_programs: std::env::var_os("P2P_OLD_PROGRAMS").map(Into::into),
                ..MeshConfig::default()
            })
        });
    let strike = async |fixture: &mut MeshFixture| {
        fixture.strikes();
        fixture.routers[0].kill().await;
        pause(1.0).await;
        fixture.start_router(0);
        fixture.heals();
    };
    fault.strikes(strike).await;
}

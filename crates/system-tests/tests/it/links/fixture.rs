//! What the tests of links have in common.

use p2p_inner::Config;
use p2p_shared::net::dialer::RouterAddress;
use p2p_shared::protocol::RouterToInner;
use tokio::task::JoinHandle;

use crate::common::peer::FakeInner;
use crate::common::{HttpAnswer, World, inner_config, post};

/// An inner's settings, by way of this port.
pub(crate) fn by_way_of(world: &World, port: u16) -> Config {
    Config {
        routers: vec![RouterAddress {
            host: "127.0.0.1".to_owned(),
            port,
        }],
        ..inner_config(world)
    }
}

/// An inner that has stopped to read when the first input came, and the POST that it came of.
pub(crate) async fn stuck_inner(world: &World) -> (FakeInner, u16, JoinHandle<HttpAnswer>) {
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let large =
        tokio::spawn(async move { post(port, "/cgi?command=large", vec![0; 1 << 20]).await });
    let first = inner.receive().await;
    assert!(matches!(first, Some(RouterToInner::Stdin { .. })));
    (inner, port, large)
}

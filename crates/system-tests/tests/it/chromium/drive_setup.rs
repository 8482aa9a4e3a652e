//! A car that records what it does, and its drive page.

use std::time::Duration;

use p2p_inner::Inner;

use crate::common::chromium::Chromium;
use crate::common::{World, inner_config, until};

/// The car's router, and the car.
pub(crate) struct DriveSetup {
    pub(crate) world: World,
    pub(crate) port: u16,
    pub(crate) inner: Inner,
}

impl DriveSetup {
    pub(crate) async fn new() -> Self {
        Self::with(World::open()).await
    }

    pub(crate) async fn with(world: World) -> Self {
        for name in ["forward", "back", "left", "right", "stop"] {
            world.script(name, &format!("echo {name} >> ../motion"));
        }
        world.script("hello", "echo \"hello $*\"; cat");
        world.script("fails", "echo no >&2; exit 3");
        let (inner, port) = world.inner_with(inner_config(&world)).await;
        Self { world, port, inner }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A browser whose page is ready to drive.
    pub(crate) async fn page(&self) -> Chromium {
        let browser = Chromium::start(&[]).await;
        browser.open(&self.origin()).await;
        browser.reads("press a direction").await;
        browser
    }

    /// All that it did.
    pub(crate) fn did(&self) -> Vec<String> {
        let did = std::fs::read_to_string(self.world.note("motion")).unwrap_or_default();
        did.lines().map(str::to_owned).collect()
    }

    /// How often it did this.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.did().iter().filter(|did| *did == what).count()
    }

    /// Waits until this is what it did last.
    pub(crate) async fn does(&self, what: &str) {
        until(what, || self.did().last().is_some_and(|last| last == what)).await;
    }

    /// Looks for a while whether it moves again.
    pub(crate) async fn stays(&self) {
        let before = self.did();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let moves = |did: &String| did != "stop";
        assert!(!self.did()[before.len()..].iter().any(moves));
    }
}

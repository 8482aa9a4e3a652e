//! A car that records what it does, and its drive page.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use p2p_inner::Inner;

use crate::common::chromium::Chromium;
use crate::common::{World, inner_config, until};

/// Time for what takes some seconds on a page that is not held up.
const IN_TIME: Duration = Duration::from_secs(30);

/// The car's router, and the car.
pub(crate) struct DriveSetup {
    pub(crate) world: World,
    pub(crate) port: u16,
    pub(crate) inner: Inner,
    /// How many of the things that it did were waited for.
    seen: AtomicUsize,
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
        Self {
            world,
            port,
            inner,
            seen: AtomicUsize::new(0),
        }
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

    /// Runs this on a page; again with new ones, six times in all, while the machine holds up the page for so
    /// long that it stops the car and gives control back.
    pub(crate) async fn on_a_page_in_time(drive: impl AsyncFn(&Self, &Chromium)) {
        for _ in 0..6 {
            let drive_setup = Self::new().await;
            let browser = drive_setup.page().await;
            let driving = drive(&drive_setup, &browser);
            if tokio::time::timeout(IN_TIME, driving).await.is_ok() {
                return;
            }
            let text = browser.text().await;
            assert!(text.contains("FAILSAFE"), "it never ends: {text}");
        }
        panic!("no page was in time");
    }

    pub(crate) fn did(&self) -> Vec<String> {
        let did = std::fs::read_to_string(self.world.note("motion")).unwrap_or_default();
        did.lines().map(str::to_owned).collect()
    }

    /// How often it did this.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.did().iter().filter(|did| *did == what).count()
    }

    /// Waits until it stands, or until it has begun this motion since it was waited for last: where the machine is
    /// slow the lease may have ended that already.
    pub(crate) async fn does(&self, what: &str) {
        let seen = self.seen.load(Ordering::Relaxed);
        let is_so = |did: &[String]| match what {
            "stop" => did.last().is_some_and(|last| last == what),
            _ => did[seen..].iter().any(|did| did == what),
        };
        until(what, || is_so(&self.did())).await;
        self.seen.store(self.did().len(), Ordering::Relaxed);
    }

    /// Looks for a while whether it moves again.
    pub(crate) async fn stays(&self) {
        let before = self.did();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let moves = |did: &String| did != "stop";
        assert!(!self.did()[before.len()..].iter().any(moves));
    }
}

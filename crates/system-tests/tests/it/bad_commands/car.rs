//! A car whose commands misbehave.

use std::path::PathBuf;
use std::time::Duration;

use p2p_inner::Inner;

use crate::common::{self, HttpAnswer, World, get};

pub(crate) struct Car {
    pub(crate) world: World,
    pub(crate) port: u16,
    _inner: Inner,
}

impl Car {
    /// With the contract's time limit.
    pub(crate) async fn new() -> Self {
        Self::with_limit(Duration::from_secs(30)).await
    }

    pub(crate) async fn with_limit(timeout: Duration) -> Self {
        let world = World::open();
        world.script("hello", "echo hello");
        let config = p2p_inner::Config {
            timeout,
            ..common::inner_config(&world)
        };
        let (inner, port) = world.inner_with(config).await;
        Self {
            world,
            port,
            _inner: inner,
        }
    }

    /// A command that is this shell script, in which `@name` stands for the note of that name.
    pub(crate) fn script(&self, name: &str, body: &str) {
        let notes = format!("{}/", self.world.folder.path().display());
        self.world.script(name, &body.replace('@', &notes));
    }

    pub(crate) fn note(&self, name: &str) -> PathBuf {
        self.world.note(name)
    }

    pub(crate) async fn run(&self, name: &str) -> HttpAnswer {
        get(self.port, &format!("/cgi?command={name}")).await
    }

    /// That it still runs commands.
    pub(crate) async fn is_unharmed(&self) {
        let answer = self.run("hello").await;
        assert_eq!(
            (answer.verdict(), answer.text().as_str()),
            ((200, "yes"), "hello\n")
        );
    }
}

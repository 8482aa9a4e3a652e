//! A car to send bad requests to, and what every refusal must look like.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use p2p_inner::Inner;
use p2p_router::Patience;

use crate::common::raw::RawCaller;
use crate::common::{self, HttpAnswer, World, get};

/// A car with two commands: `hello`, and `mark`, which leaves a mark if it is ever run.
pub(crate) struct Fixture {
    pub(crate) world: World,
    pub(crate) port: u16,
    mark: PathBuf,
    _inner: Inner,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(common::router_config()).await
    }

    /// With a router that loses its patience soon.
    pub(crate) async fn impatient(patience: Patience) -> Self {
        Self::with(p2p_router::Config {
            patience,
            ..common::router_config()
        })
        .await
    }

    async fn with(config: p2p_router::Config) -> Self {
        let world = World::with(config, tempfile::tempdir().unwrap());
        let mark = world.note("mark");
        let body = format!("echo \"$0\" \"$@\" >> {}", mark.display());
        world.script("hello", "echo hello");
        world.script("mark", &body);
        world.script("folder/mark", &body);
        // Ways out of the folder lead to a command that would leave its mark too.
        std::fs::copy(world.commands().join("mark"), world.note("outside")).unwrap();
        symlink("../outside", world.commands().join("escapes")).unwrap();
        let (inner, port) = world.inner().await;
        Self {
            world,
            port,
            mark,
            _inner: inner,
        }
    }

    /// The answer to these bytes, sent as they are.
    pub(crate) async fn answer_to(&self, bytes: impl AsRef<[u8]>) -> HttpAnswer {
        RawCaller::saying(self.port, bytes).await.answer().await
    }

    /// The answer to a GET of exactly this address.
    pub(crate) async fn get(&self, target: &str) -> HttpAnswer {
        self.answer_to(format!("GET {target} HTTP/1.1\r\nHost: car\r\n\r\n"))
            .await
    }

    /// That nothing but `hello` ever ran, and that others are served.
    pub(crate) async fn is_unharmed(&self) {
        let answer = get(self.port, "/cgi?command=hello").await;
        assert_eq!(answer.verdict(), (200, "yes"));
        assert_eq!(answer.text(), "hello\n");
        let mark = std::fs::read_to_string(&self.mark).unwrap_or_default();
        assert_eq!(mark, "", "something ran");
    }
}

/// A patience of a fifth of a second for everything that a test names, and the contract's for
/// the rest.
pub(crate) fn soon_out_of(change: impl FnOnce(&mut Patience, Duration)) -> Patience {
    let mut patience = Patience::default();
    change(&mut patience, Duration::from_millis(200));
    patience
}

/// That this refuses with the status, and says truly that nothing ran.
#[track_caller]
pub(crate) fn assert_refusal(answer: &HttpAnswer, status: u16, what: &str) {
    assert_eq!(answer.verdict(), (status, "no"), "{what}: {answer:?}");
    assert_form(answer, what);
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let sentence = text.strip_suffix('\n').unwrap();
    assert!(
        sentence.contains(' ') && !sentence.chars().any(char::is_control),
        "{what}: no sentence: {text:?}"
    );
    assert!((20..300).contains(&sentence.len()), "{what}: {text:?}");
}

/// That this has what every answer has.
#[track_caller]
pub(crate) fn assert_form(answer: &HttpAnswer, what: &str) {
    assert!(answer.complete, "{what}: {answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    assert!(
        answer
            .header("p2p-run")
            .parse::<p2p_shared::names::RunId>()
            .is_ok(),
        "{what}: {answer:?}"
    );
    assert!(
        answer.header("server-timing").starts_with("link;dur="),
        "{what}: {answer:?}"
    );
    if !answer.body.is_empty() {
        assert_eq!(
            answer.header("content-type"),
            "text/plain; charset=utf-8",
            "{what}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
    }
}

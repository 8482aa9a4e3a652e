//! A real Chromium: people who sign in and drive, and other sites' pages that try to have a
//! signed-in browser run commands. What counts is what the car did.

mod camera;
mod commands;
mod drive_setup;
mod driving;
mod fleet;
mod hostile;
mod incident;
mod page_driving;
mod page_layout;

use p2p_inner::Inner;
use p2p_router::Config;
use p2p_router::auth::certificate::Certificate;
use p2p_router::auth::key_store::KeyStore;
use p2p_shared::key::{Key, Role};

use crate::common::chromium::Chromium;
use crate::common::{World, inner_config, router_config, until};

/// A car with a command that leaves a mark, and the key of an operator, if there are keys.
pub(crate) struct Fixture {
    pub(crate) world: World,
    pub(crate) port: u16,
    page_layout: Option<Key>,
    _inner: Inner,
}

impl Fixture {
    async fn keyed() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let config = Config {
            keys: Some(KeyStore::open(&state).unwrap()),
            certificate: Some(Certificate::own(&state).unwrap()),
            ..router_config()
        };
        Self::with(World::with(config, folder)).await
    }

    async fn open() -> Self {
        Self::with(World::open()).await
    }

    async fn with(world: World) -> Self {
        world.script("mark", "echo \"it ran\"; echo \"$@\" >> ../ran");
        world.script("stop", ":");
        world.file("broken", "", 0o644);
        let mut config = inner_config(&world);
        let mut page_layout = None;
        if world.keys.is_some() {
            config.key = Some(world.key("car", Role::Link).await);
            page_layout = Some(world.key("desk", Role::Drive).await);
        }
        let (inner, port) = world.inner_with(config).await;
        Self {
            world,
            port,
            page_layout,
            _inner: inner,
        }
    }

    /// What ran so far, by its arguments.
    pub(crate) fn ran(&self) -> Vec<String> {
        let ran = std::fs::read_to_string(self.world.note("ran")).unwrap_or_default();
        ran.lines().map(str::to_owned).collect()
    }

    pub(crate) async fn sign_in(&self, browser: &Chromium, origin: &str) {
        browser.open(&format!("{origin}/")).await;
        let Some(page_layout) = &self.page_layout else {
            return;
        };
        browser.fill("#key", &page_layout.expose()).await;
        browser.click("main button").await;
        browser.reads("Signed in as desk").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_runs_a_command_from_the_address_bar_and_is_signed_out_by_revoking() {
    let fixture = Fixture::keyed().await;
    let browser = Chromium::start(&["car.test"]).await;
    let nothing = Vec::<String>::new();
    for (scheme, name) in [("https", "__Host-p2p"), ("http", "p2p")] {
        let origin = format!("{scheme}://127.0.0.1:{}", fixture.port);
        let command = format!("{origin}/cgi?command=mark&arg={scheme}");
        let before = fixture.ran().len();

        browser.open(&command).await;
        browser.reads("This needs a key").await;
        browser.picture("sign-in").await;
        let wrong = Key::generate().unwrap().expose();
        browser.fill("#key", &wrong).await;
        browser.click("main button").await;
        browser.reads("this key is wrong or was revoked").await;
        browser
            .fill("#key", &fixture.page_layout.as_ref().unwrap().expose())
            .await;
        browser.click("main button").await;
        browser.reads("Signed in as desk (drive)").await;
        assert_eq!(browser.address().await, format!("{origin}/"));
        assert_eq!(fixture.ran().len(), before, "signing in ran something");
        browser.picture("home").await;

        let cookies = browser.cookies().await;
        let cookies = cookies.as_array().unwrap();
        let cookie = cookies
            .iter()
            .find(|cookie| {
                let cookie = cookie["name"].as_str().unwrap();
                cookie
                    .rsplit_once('-')
                    .is_some_and(|(begins, _)| begins == name)
            })
            .unwrap();
        assert_eq!(cookie["httpOnly"], true);
        assert_eq!(cookie["secure"], scheme == "https");
        assert_eq!(cookie["sameSite"], "Strict");
        assert_eq!(browser.script("return document.cookie").await, "");
        let scrolls = "return document.documentElement.scrollWidth > innerWidth";
        assert_eq!(browser.script(scrolls).await, false);

        browser.open(&command).await;
        browser.reads("it ran").await;
        browser.open(&format!("{origin}/")).await;
        browser.click("button[value=mark]").await;
        browser.reads("it ran").await;
        assert_eq!(fixture.ran()[before..], [scheme, ""]);

        browser.open(&format!("{origin}/")).await;
        browser.click("form[action='sign-out'] button").await;
        browser.reads("This needs a key").await;
        browser.open(&command).await;
        browser.reads("This needs a key").await;
        assert_eq!(fixture.ran().len(), before + 2);
        fixture.sign_in(&browser, &origin).await;
    }
    let before = fixture.ran();
    fixture.world.revoke("desk");
    let (keys, id) = (
        fixture.world.keys.clone().unwrap(),
        fixture.page_layout.as_ref().unwrap().id(),
    );
    until("the key is void", || !keys.is_live(&id)).await;
    for scheme in ["https", "http"] {
        let address = format!("{scheme}://127.0.0.1:{}/cgi?command=mark", fixture.port);
        browser.open(&address).await;
        browser.reads("you are signed out").await;
    }
    assert_eq!(fixture.ran(), before);
    assert_ne!(before, nothing);
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_after_signing_in_runs_nothing_that_was_refused_before() {
    let fixture = Fixture::keyed().await;
    let browser = Chromium::start(&["car.test"]).await;
    let origin = format!("https://127.0.0.1:{}", fixture.port);
    browser.open(&format!("{origin}/cgi?command=mark")).await;
    browser.reads("This needs a key").await;
    let key = fixture.page_layout.as_ref().unwrap().expose();
    browser.fill("#key", &key).await;
    browser.click("main button").await;
    browser.reads("Signed in as desk").await;
    for _ in 0..3 {
        browser.back().await;
        assert_eq!(fixture.ran(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn to_a_name_without_tls_the_address_bar_asks_once_more() {
    // Such an address is not "potentially trustworthy": Chromium sends no Fetch Metadata there.
    let fixture = Fixture::open().await;
    let browser = Chromium::start(&["car.test", "evil.test"]).await;
    let command = format!("http://car.test:{}/cgi?command=mark&arg=%22x", fixture.port);
    browser.open(&command).await;
    browser.reads("Run this?").await;
    browser.picture("confirm").await;
    assert_eq!(fixture.ran(), [""; 0]);
    browser.click("main a").await;
    browser.reads("it ran").await;
    assert_eq!(fixture.ran(), ["\"x"]);
    // On this machine it says who asks.
    let here = command.replace("car.test", "127.0.0.1");
    browser.open(&here).await;
    browser.reads("it ran").await;
    assert_eq!(fixture.ran().len(), 2);
    // A name that somebody has resolve to this machine.
    browser
        .open(&command.replace("car.test", "evil.test"))
        .await;
    browser.reads("--host-names evil.test").await;
    assert_eq!(fixture.ran().len(), 2);
}

//! The page of all cars, on the main port.

use p2p_shared::key::Role;

use super::Fixture;
use super::drive_setup::DriveSetup;
use crate::common::chromium::Chromium;
use crate::common::{get, inner_config, until};

#[tokio::test(flavor = "multi_thread")]
async fn all_cars_are_on_one_page_as_they_are_and_each_is_stopped_there() {
    let setup = DriveSetup::new().await;
    let main = setup.world.main_port();
    let browser = Chromium::start(&[]).await;
    browser.open(&format!("http://127.0.0.1:{main}/")).await;
    browser.reads("1 of 1 here").await;
    browser.reads("stands").await;
    // One that comes later.
    let mut config = inner_config(&setup.world);
    config.name = "truck".parse().unwrap();
    let (truck, port) = setup.world.inner_with(config).await;
    browser.reads("2 of 2 here").await;
    browser.reads("truck").await;
    browser.picture("fleet").await;
    let driver = setup.page().await;
    driver.key_down("ArrowUp", false).await;
    setup.does("forward").await;
    browser.reads("MOVES forward").await;
    browser.reads("driven by 127.0.0.1").await;
    browser
        .click(
            "#cars li:has(a[href$=':PORT/']) button"
                .replace("PORT", &setup.port.to_string())
                .as_str(),
        )
        .await;
    setup.does("stop").await;
    driver.reads("127.0.0.1 stopped the car at").await;
    browser.reads("stands").await;
    drop(truck);
    browser.reads("OFFLINE").await;
    browser.reads("1 of 2 here").await;
    // Its page is a click away.
    browser.click(&format!("a[href$=':{}/']", setup.port)).await;
    browser.reads("STOP").await;
    assert_eq!(browser.address().await, format!("{}/", setup.origin()));
    // A program is told what the port is for.
    assert_eq!(get(main, "/").await.status, 404);
    assert_ne!(port, setup.port);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_see_some_cars_sees_these_and_may_stop_them_after_signing_in() {
    let fixture = Fixture::keyed().await;
    let world = &fixture.world;
    world.script("stop", "echo stop >> ../ran");
    let other = world.key("other", Role::Link).await;
    let config = p2p_inner::Config {
        name: "other".parse().unwrap(),
        key: Some(other),
        ..inner_config(world)
    };
    let (_other, _) = world.inner_with(config).await;
    let only = format!("{0}-{0}", fixture.port).parse().unwrap();
    let viewer = world.key_for("viewer", Role::View, Some(only)).await;
    let browser = Chromium::start(&[]).await;
    let origin = format!("https://127.0.0.1:{}/", world.main_port());
    browser.open(&origin).await;
    browser.reads("This needs a key").await;
    browser.fill("#key", &viewer.expose()).await;
    browser.click("main button").await;
    browser.reads("1 of 1 here").await;
    browser
        .reads("Signed in as viewer (view): may watch and stop")
        .await;
    assert!(!browser.text().await.contains("other"));
    let before = fixture.ran().len();
    browser.click("#cars button").await;
    until("it stops", || fixture.ran().len() > before).await;
    // The same browser is signed in at the car's own page.
    browser.click("#cars a").await;
    browser.reads("watching; STOP stops the car").await;
    browser.open(&origin).await;
    browser.reads("1 of 1 here").await;
    world.revoke("viewer");
    browser.reads("you are signed out").await;
}

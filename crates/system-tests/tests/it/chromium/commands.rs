//! The drive page's other commands: what is said of a run, and of one whose answer was lost.

use super::drive_setup::DriveSetup;
use crate::common::chromium::Chromium;
use crate::common::proxy::Proxy;
use crate::common::{World, inner_config};

async fn verdict(browser: &Chromium) -> String {
    let script = "return document.getElementById('verdict').textContent";
    let said = browser.script(script).await;
    said.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_after_it_has_said_something_is_not_told_as_a_success() {
    let world = World::open();
    world.script("late", "echo before; sleep 0.3; echo oops >&2; exit 3");
    let drive_setup = DriveSetup::with(world).await;
    let browser = drive_setup.page().await;
    browser.click("button[value=late]").await;
    browser.reads("late: exit 3").await;
    browser.reads("before\noops").await;
    // Nobody has to look for this one.
    assert!(!verdict(&browser).await.contains("run "));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_one_whose_link_was_lost_is_shown_when_the_car_is_back() {
    let world = World::open();
    world.gated("silent", "echo after; echo oops >&2; exit 3");
    let (folder, gate) = (world.commands(), world.note("second"));
    let (folder, gate) = (folder.display(), gate.display());
    // It ends with the folder, too.
    let waits = format!("while [ -e {folder} ] && [ ! -e {gate} ]; do sleep 0.01; done");
    world.script("loud", &format!("echo before; {waits}; echo after"));
    let proxy = Proxy::to(world.main_port()).await;
    let mut config = inner_config(&world);
    config.routers[0].port = proxy.port();
    let (_inner, port) = world.inner_with(config).await;
    let browser = Chromium::start(&[]).await;
    browser.open(&format!("http://127.0.0.1:{port}/")).await;

    // A 502, and an answer that breaks off.
    for (command, outcome, output) in [
        ("silent", "silent: exit 3", "after\noops"),
        ("loud", "loud: exit 0", "before\nafter"),
    ] {
        browser.reads("press a direction").await;
        browser.click(&format!("button[value={command}]")).await;
        if command == "silent" {
            world.has_begun().await;
        } else {
            browser.reads("before").await;
        }
        proxy.refuse(true);
        proxy.cut();
        browser.reads("the link was lost").await;
        browser.reads("OFFLINE").await;
        let said = verdict(&browser).await;
        let (_, run) = said.split_once(" (run ").unwrap();
        assert_eq!(run.len(), "0123456789abcdef)".len(), "{said}");
        // While it still runs, and after.
        proxy.refuse(false);
        browser.reads("VIEW").await;
        assert_eq!(verdict(&browser).await, said);
        world.open_gate();
        if command == "loud" {
            std::fs::write(world.note("second"), "").unwrap();
        }
        browser.reads(outcome).await;
        browser.reads(output).await;
        let said = verdict(&browser).await;
        assert!(said.ends_with(run), "{said} instead of {run}");
    }
}

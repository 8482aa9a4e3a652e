//! The drive page in a real browser: what is held moves the car, and everything that ends a hold,
//! or hides that it ended, stops it.

use super::drive_setup::DriveSetup;
use crate::common::chromium::Chromium;
use crate::common::{until, until_so};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_held_moves_the_car_and_its_release_stops_it() {
    let drive_setup = DriveSetup::new().await;
    let browser = drive_setup.page().await;
    for (code, what) in [
        ("ArrowUp", "forward"),
        ("ArrowDown", "back"),
        ("KeyA", "left"),
        ("KeyD", "right"),
    ] {
        browser.key_down(code, false).await;
        drive_setup.does(what).await;
        browser.reads("DRIVING").await;
        for _ in 0..5 {
            browser.key_down(code, true).await;
        }
        assert_eq!(drive_setup.count(what), 1, "a repeat ran it again");
        browser.key_up(code).await;
        drive_setup.does("stop").await;
        browser.reads("ARMED").await;
    }
    // Longer than the lease, and longer than a motion by /cgi may last.
    browser.key_down("KeyW", false).await;
    drive_setup.does("forward").await;
    let begun = std::time::Instant::now();
    while begun.elapsed().as_millis() < 2500 {
        browser.key_down("KeyW", true).await;
        assert_eq!(drive_setup.did().last().unwrap(), "forward");
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    browser.key_up("KeyW").await;
    drive_setup.does("stop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn space_stops_and_latches_and_a_takes_control_again() {
    let drive_setup = DriveSetup::new().await;
    let browser = drive_setup.page().await;
    browser.key_down("ArrowUp", false).await;
    drive_setup.does("forward").await;
    browser.key_down("Space", false).await;
    drive_setup.does("stop").await;
    browser.reads("STOPPED").await;
    browser.key_up("Space").await;
    browser.key_up("ArrowUp").await;
    browser.key_down("ArrowUp", false).await;
    browser.reads("take control again first").await;
    drive_setup.stays().await;
    browser.key_up("ArrowUp").await;
    browser.key_down("KeyA", false).await;
    browser.key_up("KeyA").await;
    browser.reads("ARMED").await;
    browser.key_down("KeyA", false).await;
    drive_setup.does("left").await;
    browser.key_down("Escape", false).await;
    drive_setup.does("stop").await;
    browser.reads("VIEW").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finger_drives_and_is_lost_in_no_way_that_keeps_the_car_moving() {
    DriveSetup::on_a_page_in_time(drive_by_finger).await;
}

async fn drive_by_finger(drive_setup: &DriveSetup, browser: &Chromium) {
    browser.resize(360, 640, true).await;
    let (x, y) = browser.middle("[data-direction='0']").await;
    for end in ["touchEnd", "touchCancel"] {
        browser.touch("touchStart", x, y).await;
        drive_setup.does("forward").await;
        browser.touch(end, x, y).await;
        drive_setup.does("stop").await;
    }
    // Let go far from the pad.
    browser.touch("touchStart", x, y).await;
    drive_setup.does("forward").await;
    browser.touch("touchMove", x, y - 150.0).await;
    browser.touch("touchMove", 5.0, 5.0).await;
    browser.touch("touchEnd", 5.0, 5.0).await;
    drive_setup.does("stop").await;
    browser.reads("ARMED").await;
    // The browser takes the finger for something else.
    browser.touch("touchStart", x, y).await;
    drive_setup.does("forward").await;
    let take = "const pad = document.querySelector('[data-direction=\"0\"]'); pad.addEventListener('pointermove', e => pad.releasePointerCapture(e.pointerId), { once: true })";
    browser.script(take).await;
    // It is told with the next event.
    browser.touch("touchMove", x + 2.0, y - 150.0).await;
    browser.touch("touchMove", x + 4.0, y - 150.0).await;
    drive_setup.does("stop").await;
    browser.touch("touchEnd", x, y).await;
    drive_setup.stays().await;
    // The stop button, by touch.
    browser.touch("touchStart", x, y).await;
    drive_setup.does("forward").await;
    browser.touch("touchEnd", x, y).await;
    let (x, y) = browser.middle("#stop").await;
    browser.touch("touchStart", x, y).await;
    drive_setup.does("stop").await;
    browser.reads("STOPPED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gamepad_drives_and_stops_the_car_when_it_is_gone() {
    let drive_setup = DriveSetup::new().await;
    let browser = drive_setup.page().await;
    let fake = "window.pad = { connected: true, axes: [0, 0], buttons: Array.from({ length: 16 }, () => ({ pressed: false })) }; navigator.getGamepads = () => [window.pad, null]";
    browser.script(fake).await;
    browser.script("pad.axes = [0.1, -0.9]").await;
    drive_setup.does("forward").await;
    browser.script("pad.axes = [0, 0]").await;
    drive_setup.does("stop").await;
    browser.script("pad.buttons[14].pressed = true").await;
    drive_setup.does("left").await;
    browser.script("pad.buttons[1].pressed = true").await;
    drive_setup.does("stop").await;
    browser.reads("STOPPED").await;
    browser
        .script("pad.buttons[1].pressed = pad.buttons[14].pressed = false")
        .await;
    browser.reads("STOPPED").await;
    until_so("it takes control", async || {
        let press = "pad.buttons[9].pressed = !pad.buttons[9].pressed";
        browser.script(press).await;
        browser.text().await.contains("ARMED")
    })
    .await;
    browser.script("pad.axes = [0.9, 0]").await;
    drive_setup.does("right").await;
    browser.script("pad.connected = false").await;
    drive_setup.does("stop").await;
}

/// What befalls a page while a key is held in it, which is not told of the release.
async fn befalls(what: &str, browser: &Chromium) {
    match what {
        "blur" => {
            browser
                .script("window.dispatchEvent(new Event('blur'))")
                .await;
        }
        "another tab" => {
            browser.new_tab().await;
        }
        "a closed tab" => {
            let here = browser.new_tab().await;
            browser.tab(&here).await;
            browser.close().await;
        }
        "reload" => browser.reload().await,
        "another page" => browser.open("about:blank").await,
        "frozen" => {
            let state = serde_json::json!({ "state": "frozen" });
            browser.devtools("Page.setWebLifecycleState", &state).await;
        }
        "gamepad" => {
            browser
                .script("window.dispatchEvent(new Event('gamepaddisconnected'))")
                .await;
        }
        _ => unreachable!("{what}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_a_page_that_drives_the_car_stops() {
    for what in [
        "blur",
        "another tab",
        "a closed tab",
        "reload",
        "another page",
        "frozen",
        "gamepad",
    ] {
        let drive_setup = DriveSetup::new().await;
        let browser = drive_setup.page().await;
        browser.key_down("ArrowUp", false).await;
        drive_setup.does("forward").await;
        befalls(what, &browser).await;
        drive_setup.does("stop").await;
        drive_setup.stays().await;
        if what == "reload" {
            browser.reads("press a direction").await;
            assert_eq!(drive_setup.did().last().unwrap(), "stop");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_script_hangs_lets_the_lease_run_out_and_throws_away_what_waited() {
    let drive_setup = DriveSetup::new().await;
    let browser = drive_setup.page().await;
    browser.key_down("ArrowUp", false).await;
    drive_setup.does("forward").await;
    let hang = "setTimeout(() => { window.hung = Date.now(); while (Date.now() < window.hung + 3000); window.over = Date.now() }, 0)";
    browser.script(hang).await;
    let begun = std::time::Instant::now();
    drive_setup.does("stop").await;
    let after = begun.elapsed();
    assert!(after.as_millis() < 2500, "it moved for {after:?}");
    // Pressed while it hung.
    browser.key_down("ArrowDown", false).await;
    until_so("the script goes on", async || {
        browser.script("return window.over ?? 0").await != 0
    })
    .await;
    browser.reads("FAILSAFE").await;
    drive_setup.stays().await;
    assert_eq!(drive_setup.count("back"), 0);
    browser.key_up("ArrowDown").await;
    browser.key_up("ArrowUp").await;
    browser.click("#arm").await;
    browser.reads("ARMED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_who_want_control_ask_each_other() {
    let drive_setup = DriveSetup::new().await;
    let (first, second) = (drive_setup.page().await, drive_setup.page().await);
    first.key_down("ArrowUp", false).await;
    drive_setup.does("forward").await;
    second.reads("driven by 127.0.0.1").await;
    second.click("#arm").await;
    second.reads("You asked 127.0.0.1 for control (").await;
    first.reads("127.0.0.1 asks for control (").await;
    first.picture("request").await;
    // Silence means no, which takes ten seconds; here somebody says so.
    first.click("#deny").await;
    until("the first goes on", || {
        drive_setup.did().last().unwrap() == "forward"
    })
    .await;
    second.reads("drives: you may ask for control").await;
    second.click("#arm").await;
    first.reads("asks for control (").await;
    first.click("#grant").await;
    drive_setup.does("stop").await;
    second.reads("ARMED").await;
    first.reads("you gave control to 127.0.0.1").await;
    second.key_down("ArrowLeft", false).await;
    drive_setup.does("left").await;
    // Anyone stops.
    first.key_down("Space", false).await;
    drive_setup.does("stop").await;
    second.reads("127.0.0.1 stopped the car at ").await;
}

//! Several operators at one car: who drives, who asks, and that anyone may stop.

use super::fixture::{Fixture, LEFT, LEFT_RELEASED, UP, UP_RELEASED, UP_REPEATED, holding};
use crate::common::get;

#[tokio::test]
async fn of_two_that_press_at_the_same_time_one_drives_and_the_other_is_told() {
    let fixture = Fixture::new().await;
    let (one, two) = tokio::join!(fixture.terminal(), fixture.terminal());
    one.send(UP);
    two.send(LEFT);
    let refused = "drives: [a] asks for control";
    crate::common::until("one is refused", || {
        let told = |terminal: &crate::common::pty::TestTerminal| {
            let seen = terminal.picture();
            seen.contains(refused) || seen.contains("control is gone") || seen.contains("driven by")
        };
        told(&one) != told(&two)
    })
    .await;
    one.send(UP_RELEASED);
    two.send(LEFT_RELEASED);
    let ran = fixture.ran_after(0).await;
    let moved = ran.iter().filter(|ran| *ran != "stop").count();
    // None, where the machine has no time to answer the winner within half a second.
    assert!(moved <= 1, "{ran:?}");
    assert_eq!(ran.last().unwrap(), "stop");
}

#[tokio::test]
async fn control_is_asked_for_refused_and_handed_over() {
    let fixture = Fixture::new().await;
    let driver = fixture.driving().await;
    driver.send(UP_RELEASED);
    driver.sees("ARMED").await;
    let other = fixture.terminal().await;
    other.sees("driven by").await;
    other.send(b"a");
    other.sees("⚑ you asked").await;
    driver.sees("asks for control (").await;
    driver.sees("[g] hands it over, [n] keeps it").await;
    driver.send(b"\x1b[110u");
    other.sees("driven by").await;
    crate::common::until("the request is over", || {
        !other.picture().contains("⚑") && !driver.picture().contains("⚑")
    })
    .await;
    other.send(b"a");
    driver.sees("asks for control (").await;
    let before = fixture.ran().len();
    driver.send(b"\x1b[103u");
    other.sees("ARMED").await;
    driver.sees("VIEW").await;
    // Handing over passes through stop.
    assert_eq!(fixture.ran_after(before).await, ["stop"]);
    other.send(LEFT);
    fixture.last_ran("left").await;
    other.send(LEFT_RELEASED);
    fixture.last_ran("stop").await;
}

#[tokio::test]
async fn a_viewers_stop_ends_the_press_and_only_a_new_one_moves() {
    let fixture = Fixture::new().await;
    let viewer = fixture.desk_with(&["--readonly"], true).await;
    let driver = fixture.driving().await;
    let before = fixture.ran().len();
    let stopped = async {
        // It may not drive.
        viewer.send(UP);
        viewer.send(UP_RELEASED);
        viewer.send(b" ");
        fixture.last_ran("stop").await;
        driver.sees("the car was stopped at ").await;
    };
    holding(&driver, UP_REPEATED, stopped).await;
    driver.send(UP_REPEATED);
    let ran = fixture.ran_after(before).await;
    assert!(ran.iter().all(|ran| ran == "stop"), "{ran:?}");
    driver.send(UP_RELEASED);
    driver.send(UP);
    fixture.last_ran("forward").await;
    driver.send(UP_RELEASED);
    fixture.last_ran("stop").await;
}

#[tokio::test]
async fn while_somebody_drives_motion_by_http_gets_409_and_a_stop_passes() {
    let fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    let requests = async {
        let answer = get(fixture.port, "/cgi?command=left").await;
        assert_eq!(answer.verdict(), (409, "no"), "{}", answer.text());
        let answer = get(fixture.port, "/cgi?command=hello").await;
        assert_eq!(answer.verdict(), (200, "yes"));
        assert!(terminal.picture().contains("DRIVING"));
        let answer = get(fixture.port, "/cgi?command=stop").await;
        assert_eq!(answer.verdict(), (200, "yes"));
        terminal.sees("the car was stopped at ").await;
    };
    holding(&terminal, UP_REPEATED, requests).await;
    assert_eq!(fixture.count("left"), 0);
}

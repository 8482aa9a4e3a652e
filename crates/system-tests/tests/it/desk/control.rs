//! Owns several at one car: who drives, who asks, and that anyone may stop.

use super::stand::{LEFT, LEFT_RELEASED, Stand, UP, UP_RELEASED};
use crate::common::get;

#[tokio::test]
async fn of_two_that_press_at_the_same_time_one_drives_and_the_other_is_told() {
    let stand = Stand::new().await;
    let (one, two) = tokio::join!(stand.desk(), stand.desk());
    one.send(UP);
    two.send(LEFT);
    let refused = "drives: press a to ask for control";
    crate::common::until("one is refused", || {
        let told = |desk: &crate::common::pty::Pty| {
            let seen = desk.picture();
            seen.contains(refused) || seen.contains("control is gone") || seen.contains("driven by")
        };
        told(&one) != told(&two)
    })
    .await;
    one.send(UP_RELEASED);
    two.send(LEFT_RELEASED);
    let ran = stand.ran_after(0).await;
    let moved = ran.iter().filter(|ran| *ran != "stop").count();
    // None, where the machine has no time to answer the winner within half a second.
    assert!(moved <= 1, "{ran:?}");
    assert_eq!(ran.last().unwrap(), "stop");
}

#[tokio::test]
async fn control_is_asked_for_refused_and_handed_over() {
    let stand = Stand::new().await;
    let driver = stand.driving().await;
    driver.send(UP_RELEASED);
    driver.sees("ARMED").await;
    let other = stand.desk().await;
    other.sees("driven by").await;
    other.send(b"a");
    other.sees("⚑ you asked").await;
    driver.sees("asks for control (").await;
    driver.sees("g hands it over, n keeps it").await;
    driver.send(b"\x1b[110u");
    other.sees("driven by").await;
    crate::common::until("the request is over", || {
        !other.picture().contains("⚑") && !driver.picture().contains("⚑")
    })
    .await;
    other.send(b"a");
    driver.sees("asks for control (").await;
    let before = stand.ran().len();
    driver.send(b"\x1b[103u");
    other.sees("ARMED").await;
    driver.sees("VIEW").await;
    // Handing over passes through stop.
    assert_eq!(stand.ran_after(before).await, ["stop"]);
    other.send(LEFT);
    stand.last_ran("left").await;
    other.send(LEFT_RELEASED);
    stand.last_ran("stop").await;
}

#[tokio::test]
async fn a_viewers_stop_ends_the_press_and_only_a_new_one_moves() {
    let stand = Stand::new().await;
    let driver = stand.driving().await;
    let viewer = stand.desk_with(&["--readonly"], true).await;
    let before = stand.ran().len();
    // It may not drive.
    viewer.send(UP);
    viewer.send(UP_RELEASED);
    viewer.send(b" ");
    stand.last_ran("stop").await;
    driver.sees("somebody stopped the car").await;
    driver.send(b"\x1b[1;1:2A");
    let ran = stand.ran_after(before).await;
    assert!(ran.iter().all(|ran| ran == "stop"), "{ran:?}");
    driver.send(UP_RELEASED);
    driver.send(UP);
    stand.last_ran("forward").await;
    driver.send(UP_RELEASED);
    stand.last_ran("stop").await;
}

#[tokio::test]
async fn while_somebody_drives_motion_by_http_gets_409_and_a_stop_passes() {
    let stand = Stand::new().await;
    let desk = stand.driving().await;
    let answer = get(stand.port, "/cgi?command=left").await;
    assert_eq!(answer.verdict(), (409, "no"), "{}", answer.text());
    let answer = get(stand.port, "/cgi?command=hello").await;
    assert_eq!(answer.verdict(), (200, "yes"));
    assert!(desk.picture().contains("DRIVING"));
    let answer = get(stand.port, "/cgi?command=stop").await;
    assert_eq!(answer.verdict(), (200, "yes"));
    desk.sees("somebody stopped the car").await;
    assert_eq!(stand.count("left"), 0);
}

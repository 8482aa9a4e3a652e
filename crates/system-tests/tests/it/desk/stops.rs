//! Owns a stop command that fails: it is said everywhere, and nothing is offered but stop.

use super::stand::{LEFT, LEFT_RELEASED, Stand, UP, UP_RELEASED};
use crate::common::get;

async fn is_told_and_offered_nothing_but_stop(stand: &Stand, desk: &crate::common::pty::Pty) {
    desk.sees("STOP FAILED").await;
    let before = stand.count("forward") + stand.count("left");
    // Other screens, control and motion: nothing of it.
    for keys in [b"\x1b[97u" as &[u8], UP, UP_RELEASED, LEFT, LEFT_RELEASED] {
        desk.send(keys);
    }
    desk.send(b"3");
    desk.sees("STOP FAILED").await;
    let answer = get(stand.port, "/cgi?command=left").await;
    // The driver still has control, and the stop fails: both forbid it.
    assert_eq!(answer.verdict(), (409, "no"), "{}", answer.text());
    assert_eq!(stand.count("forward") + stand.count("left"), before);
    desk.sees(" Space STOP  q quit\n").await;
    desk.sees("‼ may still move").await;
}

#[tokio::test]
async fn a_stop_that_fails_fills_the_header_until_one_succeeds() {
    let stand = Stand::new().await;
    let desk = stand.driving().await;
    stand.sh("touch broken");
    desk.send(UP_RELEASED);
    is_told_and_offered_nothing_but_stop(&stand, &desk).await;
    stand.sh("rm broken");
    desk.send(b" ");
    desk.sees("STOPPED").await;
    desk.sees("1 Fleet").await;
    desk.send(b"\x1b[97u");
    desk.sees("ARMED").await;
    desk.send(UP);
    stand.last_ran("forward").await;
    desk.send(UP_RELEASED);
    stand.last_ran("stop").await;
}

#[tokio::test]
async fn a_stop_that_is_deleted_while_driving_is_told() {
    let stand = Stand::new().await;
    let desk = stand.driving().await;
    stand.sh("mv command/stop kept");
    desk.send(UP_RELEASED);
    is_told_and_offered_nothing_but_stop(&stand, &desk).await;
    stand.sh("mv kept command/stop");
    desk.send(b" ");
    desk.sees("STOPPED").await;
}

//! A stop command that fails: it is shown everywhere, and nothing is offered but stop.

use super::fixture::{Fixture, LEFT, LEFT_RELEASED, UP, UP_RELEASED};
use crate::common::get;

async fn is_told_and_offered_nothing_but_stop(
    fixture: &Fixture,
    terminal: &crate::common::pty::TestTerminal,
) {
    terminal.sees("STOP FAILED").await;
    let before = fixture.count("forward") + fixture.count("left");
    // Control and motion: nothing of it.
    for keys in [b"\x1b[97u" as &[u8], UP, UP_RELEASED, LEFT, LEFT_RELEASED] {
        terminal.send(keys);
    }
    let answer = get(fixture.port, "/cgi?command=left").await;
    // The driver still has control, and the stop fails: both forbid it.
    assert_eq!(answer.verdict(), (409, "no"), "{}", answer.text());
    assert_eq!(fixture.count("forward") + fixture.count("left"), before);
    terminal.sees(" Space STOP  ? help  q quit").await;
    terminal.sees("‼ may still move").await;
    // What happened can be read meanwhile.
    for (key, said) in [(b"3", "Runs, newest first"), (b"2", "‼ may still move")] {
        terminal.send(key);
        terminal.sees(said).await;
        terminal.sees("‼ STOP FAILED").await;
    }
}

#[tokio::test]
async fn a_stop_that_fails_fills_the_header_until_one_succeeds() {
    let fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    fixture.sh("touch broken");
    terminal.send(UP_RELEASED);
    is_told_and_offered_nothing_but_stop(&fixture, &terminal).await;
    fixture.sh("rm broken");
    terminal.send(b" ");
    terminal.sees("STOPPED").await;
    terminal.sees("1 Fleet").await;
    terminal.send(b"\x1b[97u");
    terminal.sees("ARMED").await;
    terminal.send(UP);
    fixture.last_ran("forward").await;
    terminal.send(UP_RELEASED);
    fixture.last_ran("stop").await;
}

#[tokio::test]
async fn a_stop_that_is_deleted_while_driving_is_told() {
    let fixture = Fixture::new().await;
    let terminal = fixture.driving().await;
    fixture.sh("mv command/stop kept");
    terminal.send(UP_RELEASED);
    is_told_and_offered_nothing_but_stop(&fixture, &terminal).await;
    fixture.sh("mv kept command/stop");
    terminal.send(b" ");
    terminal.sees("STOPPED").await;
}

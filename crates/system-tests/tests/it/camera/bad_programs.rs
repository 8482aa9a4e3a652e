//! Programs that are no good cameras.

use super::fixture::{Camera, Page, SHOWS, jpeg, number};
use crate::common::{World, get, until};

#[tokio::test]
async fn garbage_between_pictures_is_skipped() {
    let world = World::open();
    let camera = Camera(&world);
    camera.pictures(&[10, 700]);
    let garbage = r"printf 'hello \377\330 \377\377\377 \377\330\377'";
    let script = format!(
        "{garbage}; while [ -e pid ]; do for file in *.jpg; do cat $file; {garbage}; sleep 0.02; done; done"
    );
    let (_inner, port) = camera.inner(&script).await;
    let mut page = Page::open(port, None).await;
    let mut seen = [false; 2];
    while seen != [true; 2] {
        let (_, picture) = page.picture().await;
        seen[usize::from(number(&picture))] = true;
    }
    assert_eq!(camera.starts(), 1);
}

#[tokio::test]
async fn a_frame_of_100_mb_is_thrown_away_and_the_next_one_shown() {
    let world = World::open();
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let head = jpeg(0, 0);
    std::fs::write(world.note("head"), &head[..head.len() - 2]).unwrap();
    let script = format!(
        "if [ $(wc -l < starts) = 1 ]; then cat head; head -c 104857600 /dev/zero; printf '\\377\\331'; fi; {SHOWS}"
    );
    let (_inner, port) = camera.inner(&script).await;
    let mut page = Page::open(port, None).await;
    assert_eq!(number(&page.picture().await.1), 0);
}

#[tokio::test]
async fn one_that_hangs_in_the_middle_of_a_picture_is_started_again() {
    let world = World::open();
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let head = jpeg(0, 0);
    std::fs::write(world.note("half"), &head[..30]).unwrap();
    let script =
        format!("if [ $(wc -l < starts) = 1 ]; then cat 0.jpg half; sleep 1000; fi; {SHOWS}");
    let (_inner, port) = camera.inner(&script).await;
    let mut page = Page::open(port, None).await;
    page.picture().await;
    let said = page.receives_send_event("failed").await;
    assert!(said.contains("half a picture"), "{said}");
    number(&page.picture().await.1);
    assert_eq!(camera.starts(), 2);
}

#[tokio::test]
async fn one_that_dies_is_started_again_and_everyone_told_why() {
    let world = World::open();
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let script =
        format!("if [ ! -e gate ]; then echo 'no sensor \u{1b}[31m' >&2; exit 3; fi; {SHOWS}");
    let (_inner, port) = camera.inner(&script).await;
    let mut page = Page::open(port, None).await;
    let said = page.receives_send_event("failed").await;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["why"], r"it ended (3): no sensor \u{1b}[31m");
    // As long as it dies, and no more often than it may be started.
    until("it was started again", || camera.starts() >= 3).await;
    let answer = get(port, "/video").await;
    assert_eq!(answer.verdict(), (503, "no"));
    world.open_gate();
    number(&page.picture().await.1);
}

#[tokio::test]
async fn one_that_is_not_there_says_what_to_do() {
    let world = World::open();
    let config = p2p_inner::Config {
        camera: Some(vec!["no-such-camera".to_owned()]),
        ..Camera(&world).config("")
    };
    let (_inner, port) = world.inner_with(config).await;
    let mut page = Page::open(port, None).await;
    let said = page.receives_send_event("failed").await;
    assert!(
        said.contains("there is no program no-such-camera in the PATH"),
        "{said}"
    );
    let answer = get(port, "/frame.jpg").await;
    assert_eq!(answer.status, 503);
}

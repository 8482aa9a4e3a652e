//! The drive page's pure driving code, tested in a browser.

use crate::common::World;
use crate::common::chromium::Chromium;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_makes_of_keys_messages_and_time_is_what_a_console_would() {
    let world = World::open();
    let (_inner, port) = world.inner().await;
    let browser = Chromium::start(&[]).await;
    // A file of the page, without its life.
    browser
        .open(&format!("http://127.0.0.1:{port}/page/icon.svg"))
        .await;
    let tests = include_str!("page_driving.js");
    let told = browser
        .script(&format!("return (async () => {{\n{tests}\n}})()"))
        .await;
    assert_eq!(told["failures"], serde_json::json!([]));
    assert!(told["passed"].as_u64().unwrap() > 20, "{told}");
}

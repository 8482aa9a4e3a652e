//! When the camera's program begins and ends.

use std::fs;

use p2p_shared::key::Role;
use rustix::process::Signal;

use super::fixture::{Camera, Page, SHOWS, Sent, Video, jpeg, number};
use crate::common::program::{RunningProgram, inner_of};
use crate::common::proxy::Proxy;
use crate::common::{World, get, is_alive, request, send, until, until_so};

#[tokio::test]
async fn it_runs_from_the_first_viewer_to_the_last() {
    let world = World::open();
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let (_inner, port) = camera.inner(SHOWS).await;
    assert_eq!(camera.starts(), 0);
    let mut first = Page::open(port, None).await;
    first.picture().await;
    let mut second = Video::open(port).await;
    second.picture().await.unwrap();
    drop(first);
    // One that is loaded anew finds it running.
    drop(second);
    let mut third = Page::open(port, None).await;
    third.picture().await;
    assert_eq!(camera.starts(), 1);
    assert!(is_alive(&world.note("pid")));
    let begun = std::time::Instant::now();
    drop(third);
    until("it is ended", || !is_alive(&world.note("pid"))).await;
    assert!(begun.elapsed() >= std::time::Duration::from_secs(5));
    // And it begins again.
    number(&get(port, "/frame.jpg").await.body);
    assert_eq!(camera.starts(), 2);
}

#[tokio::test]
async fn one_that_ignores_sigterm_is_killed_with_all_of_its_group() {
    let world = World::open();
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let script = format!("trap '' TERM; (echo $PPID > /dev/null; {SHOWS}) & echo $! > child; wait");
    let (inner, port) = camera.inner(&script).await;
    get(port, "/frame.jpg").await;
    assert!(is_alive(&world.note("child")));
    let begun = std::time::Instant::now();
    inner.shut_down().await;
    assert!(!is_alive(&world.note("pid")));
    until("its child is gone", || !is_alive(&world.note("child"))).await;
    assert!(begun.elapsed() >= std::time::Duration::from_secs(2));
}

#[tokio::test]
async fn a_page_that_asks_for_nothing_keeps_no_camera_running() {
    let world = World::open();
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let (_inner, port) = camera.inner(SHOWS).await;
    let mut page = Page::open(port, None).await;
    page.picture().await;
    // Its WebSocket is kept alive by its browser.
    let browser = async { while let Sent::Camera(_) = page.receive().await {} };
    tokio::select! {
        () = until("it is ended", || !is_alive(&world.note("pid"))) => {}
        () = browser => panic!("closed, or sent a picture that it has no room for"),
    }
    // It looks again.
    number(&page.picture().await.1);
    assert_eq!(camera.starts(), 2);
}

#[tokio::test]
async fn viewers_stay_while_the_link_is_lost_and_see_again_when_it_is_back() {
    let world = World::open();
    let proxy = Proxy::to(world.main_port()).await;
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let mut config = camera.config(SHOWS);
    config.routers[0].port = proxy.port();
    let (_inner, port) = world.inner_with(config).await;
    let mut page = Page::open(port, None).await;
    let mut video = Video::open(port).await;
    for _ in 0..2 {
        page.picture().await;
        video.picture().await.unwrap();
        proxy.refuse(true);
        proxy.cut();
        page.receives_send_event(r#"{"camera":"away"}"#).await;
        proxy.refuse(false);
        page.receives_send_event(r#"{"camera":"starting"}"#).await;
        number(&page.picture().await.1);
        number(&video.picture().await.unwrap().1);
    }
    // The camera went on meanwhile.
    assert_eq!(camera.starts(), 1);
}

#[tokio::test]
async fn a_key_that_is_revoked_sees_nothing_from_then_on() {
    let world = World::keyed();
    let car = world.key("car", Role::Link).await;
    let viewer = world.key("viewer", Role::View).await;
    let other = world.key("other", Role::View).await;
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let config = p2p_inner::Config {
        key: Some(car),
        ..camera.config(SHOWS)
    };
    let (_inner, port) = world.inner_with(config).await;
    let mut page = Page::open(port, Some(&viewer)).await;
    page.picture().await;
    let bearer = format!("Bearer {}", viewer.expose());
    let asked = request("GET", "/video").header("authorization", bearer);
    let response = send(port, asked.body(Default::default()).unwrap()).await;
    let mut video = Video::of(response);
    video.picture().await.unwrap();
    let mut stays = Page::open(port, Some(&other)).await;
    stays.picture().await;
    world.revoke("viewer");
    let (code, reason) = page.is_closed().await;
    assert_eq!(
        (code, reason.as_str()),
        (1008, "the key was revoked, or what it may do has changed")
    );
    let last = format!("\r\n--{}--\r\n", video.boundary);
    assert!(video.ends().await.ends_with(last.as_bytes()));
    stays.picture().await;
    // A car whose key is revoked shows nothing either.
    world.revoke("car");
    stays.is_closed().await;
    until("its camera is ended", || !is_alive(&world.note("pid"))).await;
}

#[tokio::test]
async fn a_router_that_ends_tells_its_pages() {
    let world = World::open();
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let (_inner, port) = camera.inner(SHOWS).await;
    let mut page = Page::open(port, None).await;
    page.picture().await;
    let video = Video::open(port).await;
    let World { router, folder, .. } = world;
    tokio::join!(router.shut_down(), async {
        let (code, _) = page.is_closed().await;
        assert_eq!(code, 1001);
        video.ends().await;
    });
    drop(folder);
}

#[tokio::test]
async fn an_inner_that_is_killed_leaves_no_camera() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("command")).unwrap();
    fs::write(folder.path().join("0.jpg"), jpeg(0, 10)).unwrap();
    let (_router, main_port) = RunningProgram::open_router(folder.path(), 0).await;
    let script = format!("echo $$ > pid; {SHOWS}");
    fs::write(folder.path().join("camera.sh"), script).unwrap();
    let mut command = inner_of(folder.path(), main_port, 0);
    // Its folder is that of the commands.
    command.args(["--camera", "sh -c 'cd .. && exec sh camera.sh'"]);
    let mut inner = RunningProgram::start(&mut command);
    let port = inner.service_port().await;
    until_so("a picture", async || {
        let answer = get(port, "/frame.jpg").await;
        answer.status == 200 && number(&answer.body) == 0
    })
    .await;
    let note = folder.path().join("pid");
    assert!(is_alive(&note));
    inner.signal(Signal::KILL);
    inner.end().await;
    until("the camera is gone", || !is_alive(&note)).await;
}

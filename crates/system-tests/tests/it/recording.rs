//! Recordings of drives (`--record`), as their readers find them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use mcap::MessageStream;
use p2p_router::auth::key_store::KeyStore;
use p2p_router::config::RecordConfig;
use p2p_shared::key::{Key, Role};
use p2p_shared::protocol::{
    ConsoleToRouter, ControlRequest, FeedEvent, RecordingInfo, RefusedReason,
};

use crate::camera::fixture::{Camera, SHOWS, jpeg};
use crate::common::console::FakeConsole;
use crate::common::program::{console, run};
use crate::common::{World, inner_config, router_config, until};

#[tokio::test]
async fn a_drive_is_recorded_with_its_pictures_from_its_beginning_to_the_routers_end() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("recordings");
    let record = RecordConfig {
        dir: dir.clone(),
        most_bytes: 1 << 30,
    };
    let config = p2p_router::Config {
        record: Some(record),
        ..router_config()
    };
    let world = World::with(config, folder);
    let camera = Camera(&world);
    camera.pictures(&[10, 70_000]);
    let (_inner, port) = camera.inner(SHOWS).await;
    let mut console = FakeConsole::open(world.main_port()).await;
    assert!(!dir.exists(), "nobody drives");
    assert_eq!(camera.starts(), 0);
    console.requests_control(port, ControlRequest::Take).await;
    let file = || {
        let mut files = std::fs::read_dir(&dir).ok()?;
        Some(files.next()?.ok()?.path())
    };
    let size = || {
        file()
            .and_then(|path| path.metadata().ok())
            .map_or(0, |about| about.len())
    };
    until("pictures are recorded", || size() > 200_000).await;
    let World { router, folder, .. } = world;
    router.shut_down().await;

    let path = file().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("car-") && name.ends_with("Z.mcap"),
        "{name}"
    );
    let bytes = std::fs::read(&path).unwrap();
    let (mut pictures, mut last, mut drivers, mut stands, mut lines) = (0, 0, 0, 0, 0);
    for message in MessageStream::new(&bytes).unwrap() {
        let message = message.unwrap();
        match &*message.channel.topic {
            "/car/camera" => {
                let is_one = |of: &[u8]| message.data.windows(of.len()).any(|it| it == of);
                assert!(is_one(&jpeg(0, 10)) || is_one(&jpeg(1, 70_000)));
                assert!(message.log_time > last && message.log_time <= message.publish_time);
                last = message.log_time;
                pictures += 1;
            }
            "/car/drive" => {
                let event: FeedEvent = serde_json::from_slice(&message.data).unwrap();
                drivers += usize::from(match &event {
                    FeedEvent::Control { control, .. } => control.driver.is_some(),
                    FeedEvent::Link(link) => link.control.driver.is_some(),
                    _ => false,
                });
                stands += usize::from(matches!(event, FeedEvent::Motion { .. }));
            }
            "/car/log" => lines += 1,
            other => assert_eq!(other, "/car/runs"),
        }
    }
    assert!(pictures > 2 && drivers > 0 && stands > 0 && lines > 0);
    drop((console, folder));
}

fn recording_router(dir: &Path) -> p2p_router::Config {
    let record = RecordConfig {
        dir: dir.to_owned(),
        most_bytes: 1 << 30,
    };
    p2p_router::Config {
        record: Some(record),
        ..router_config()
    }
}

/// The recording of the car, once it `is` so.
async fn sees(console: &mut FakeConsole, is: impl Fn(&RecordingInfo) -> bool) -> RecordingInfo {
    let control = console
        .sees_control(|control| control.recording.as_ref().is_some_and(&is))
        .await;
    control.recording.unwrap()
}

#[tokio::test]
async fn a_car_that_nobody_drives_is_recorded_while_somebody_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("recordings");
    let world = World::with(recording_router(&dir), folder);
    let camera = Camera(&world);
    camera.pictures(&[10]);
    let (_inner, service_port) = camera.inner(SHOWS).await;
    let mut asks = FakeConsole::open(world.main_port()).await;
    let mut other = FakeConsole::open(world.main_port()).await;
    let record = |on| ConsoleToRouter::Record { service_port, on };
    asks.send(record(true)).await;
    let begun = sees(&mut other, |it| it.file.is_some()).await;
    let (_, left_ms) = begun.asked.clone().unwrap();
    assert!((890_000..=900_000).contains(&left_ms), "{left_ms}");
    let path = PathBuf::from(begun.file.unwrap().raw());
    assert!(path.exists(), "it is told once it is so");
    until("pictures are recorded", || camera.starts() > 0).await;
    // A console that comes now knows it, too.
    let late = FakeConsole::open(world.main_port()).await;
    assert!(late.picture.links[0].control.is_recorded());
    // A drive goes on in the same file.
    asks.requests_control(service_port, ControlRequest::Take)
        .await;
    asks.send(record(false)).await;
    let driven = sees(&mut other, |it| it.asked.is_none()).await;
    assert_eq!(driven.file.as_ref().map(|it| it.raw()), path.to_str());
    let dir_has = |count| std::fs::read_dir(&dir).unwrap().count() == count;
    assert!(dir_has(1));
    asks.requests_control(service_port, ControlRequest::Release)
        .await;
    sees(&mut other, |it| *it == RecordingInfo::default()).await;
    let told = |bytes: &[u8]| MessageStream::new(bytes).unwrap().count();
    until("the file is ended", || {
        let bytes = std::fs::read(&path).unwrap();
        bytes.ends_with(mcap::MAGIC) && told(&bytes) > 3
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_recorded_says_why() {
    let world = World::open();
    let (_inner, service_port) = Camera(&world).inner(SHOWS).await;
    let mut console = FakeConsole::open(world.main_port()).await;
    assert_eq!(console.picture.links[0].control.recording, None);
    console
        .send(ConsoleToRouter::Record {
            service_port,
            on: true,
        })
        .await;
    let (reason, why) = console.is_refused().await;
    assert_eq!(reason, RefusedReason::Denied);
    assert!(why.contains("--record DIR"), "{why}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file, not a folder");
    std::fs::write(&file, "").unwrap();
    let world = World::with(recording_router(&file), folder);
    let (_inner, service_port) = Camera(&world).inner(SHOWS).await;
    let mut console = FakeConsole::open(world.main_port()).await;
    console
        .send(ConsoleToRouter::Record {
            service_port,
            on: true,
        })
        .await;
    let failed = sees(&mut console, |it| it.failure.is_some()).await;
    assert_eq!(failed.file, None);
}

#[tokio::test]
async fn p2p_console_record_ends_with_the_code_of_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("recordings");
    let keys = KeyStore::open(folder.path().join("state")).unwrap();
    let config = p2p_router::Config {
        keys: Some(keys),
        ..recording_router(&dir)
    };
    let world = World::with(config, folder);
    let [car, boss, viewer] = [
        world.key("car", Role::Link).await,
        world.key("boss", Role::Drive).await,
        world.key("viewer", Role::View).await,
    ];
    let (_inner, _) = world
        .inner_with(p2p_inner::Config {
            key: Some(car),
            ..inner_config(&world)
        })
        .await;
    let main = world.main_port();
    let on = record(main, Some(&boss), &["car"]).await;
    assert_eq!(on.0, Some(0), "{on:?}");
    assert!(on.1.contains("car is recorded from now on"), "{on:?}");
    let path = std::fs::read_dir(&dir)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert!(on.1.contains(path.to_str().unwrap()), "{on:?}");
    let json = record(main, Some(&boss), &["car", "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&json.1).unwrap();
    assert_eq!(told["recording"]["by"], "boss");
    let off = record(main, Some(&boss), &["car", "--off"]).await;
    assert_eq!(off.0, Some(0), "{off:?}");
    for (key, arguments, code, says) in [
        (&viewer, &["car"][..], 5, "drive"),
        (&viewer, &["car", "--off"], 5, "drive"),
        (&boss, &["truck"], 4, "truck"),
        (&boss, &[], 2, "LINK"),
    ] {
        let failed = record(main, Some(key), arguments).await;
        assert_eq!(failed.0, Some(code), "{arguments:?}: {failed:?}");
        assert!(failed.2.contains(says), "{arguments:?}: {failed:?}");
    }

    let world = World::open();
    let (_inner, _) = world.inner().await;
    let failed = record(world.main_port(), None, &["car"]).await;
    assert_eq!(failed.0, Some(1), "{failed:?}");
    assert!(failed.2.contains("--record DIR"), "{failed:?}");
}

/// Runs `p2p-console record`. Returns its exit code, and what it has printed on standard output and standard error.
async fn record(main: u16, key: Option<&Key>, arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut asks = console(folder.path(), main);
    if let Some(key) = key {
        asks.env("P2P_KEY", key.expose());
    }
    asks.env("P2P_OPEN", "1");
    asks.arg("record").args(arguments).stdin(Stdio::null());
    let told = run(&mut asks.into()).await;
    (told.code, told.out, told.errors)
}

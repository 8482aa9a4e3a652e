//! Recordings of drives (`--record`), as their readers find them.

use mcap::MessageStream;
use p2p_router::config::RecordConfig;
use p2p_shared::protocol::{ControlRequest, FeedEvent};

use crate::camera::fixture::{Camera, SHOWS, jpeg};
use crate::common::console::FakeConsole;
use crate::common::{World, router_config, until};

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

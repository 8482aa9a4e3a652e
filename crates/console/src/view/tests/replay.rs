//! The screens of a replay.

use bytes::Bytes;
use crossterm::event::KeyCode;

use super::{seen, snapshots};
use crate::app::Effect;
use crate::app::replay::read;
use crate::app::replay::testing::{BEGAN, JPEG, drive};
use crate::app::saved_log;
use crate::camera::{CameraEvent, CameraReport};
use crate::picture::Picture;
use crate::testing::{self, Bench};

/// A router's log: a drive that ends by the lease, and a link that is lost.
const PAST: &str = include_str!("../past.jsonl");

fn replay(size: (u16, u16), name: &str, file: Vec<u8>) -> Bench {
    let mut bench = Bench::unconnected(size);
    let recording = read(&Bytes::from(file)).unwrap();
    bench.app.replay(name.to_owned(), recording);
    bench
}

#[test]
fn a_past_log_is_gone_through_event_by_event() {
    let of_log = |size| replay(size, "p2p-router.jsonl", PAST.into());
    snapshots("replay_log", |size| {
        let mut bench = of_log(size);
        // To the end of the motion.
        for _ in 0..5 {
            bench.key(KeyCode::Up);
        }
        bench
    });
    let mut bench = of_log((80, 24));
    bench.key(KeyCode::End);
    let end = seen(&bench.app);
    assert!(
        end.contains("17:02:50.0  link down: silent for 6 s"),
        "{end}"
    );
    assert!(end.contains("LINK LOST"), "{end}");
    for _ in 0..20 {
        bench.key(KeyCode::Down);
    }
    let first = seen(&bench.app);
    assert!(first.contains(" 17:02:00.0, in 60 s"), "{first}");
    assert!(first.contains("REPLAY paused") && first.contains(" car "));
    bench.key(KeyCode::Tab);
    assert!(seen(&bench.app).contains("Past runs"));
    bench.key(KeyCode::Tab);
    assert!(seen(&bench.app).contains("What happened"));
    assert_eq!(bench.messages(), []);
}

#[test]
fn a_recording_shows_key_car_and_picture_of_each_moment() {
    snapshots("replay_drive", |size| {
        let mut bench = replay(size, "car-20261122T170200Z.mcap", drive());
        bench.pass(4_000);
        let shown = |effect: &Effect| match effect {
            Effect::PastPicture(picture) => Some(picture.taken_ms),
            _ => None,
        };
        let asked = bench.sent.iter().filter_map(shown).last();
        // The other one is of a moment that was gone back from.
        for taken_ms in asked.into_iter().chain([BEGAN + 9_000]) {
            let picture = Picture::decode(JPEG, (30, 10)).unwrap();
            bench.event(crate::app::Event::Camera(CameraEvent {
                service_port: 9000,
                what: CameraReport::Picture(picture, taken_ms),
            }));
        }
        bench
    });
    let mut bench = replay((80, 24), "car.mcap", drive());
    for (keys, word) in [
        (" ", "REPLAY paused, 1 ×"),
        ("+", "REPLAY paused, 2 ×"),
        (" ", "REPLAY 2 ×"),
    ] {
        bench.letters(keys);
        assert!(seen(&bench.app).contains(word), "{}", seen(&bench.app));
    }
    bench.letters(" ");
    (0..3).for_each(|_| bench.key(KeyCode::Right));
    bench.letters(".");
    let silent = seen(&bench.app);
    assert!(
        silent.contains("NO ANSWER 1.0 s") && silent.contains("? unknown"),
        "{silent}"
    );
    for word in ["ARMED", "VIEW", "DRIVING", "STOP "] {
        assert!(!silent.contains(word), "{silent}");
    }
}

#[test]
fn past_runs() {
    snapshots("log_replay", |size| {
        let runs = [
            testing::run(7_100_000, "hello"),
            testing::run(7_200_000, "left"),
        ];
        let file = saved_log::text(runs.iter());
        let mut bench = replay(size, "p2p-router.2026-11-22.jsonl", file.into());
        bench.letters("3");
        bench
    });
    snapshots("help_replay", |size| {
        let mut bench = replay(size, "car.mcap", drive());
        bench.letters("?");
        bench
    });
}

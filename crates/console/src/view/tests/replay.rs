//! The screens of a replay.

use bytes::Bytes;
use crossterm::event::KeyCode;
use proptest::prelude::*;
use proptest::sample::{self, Index};

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
fn of_a_car_that_the_file_has_not_told_of_no_screen_says_that_it_is_up_or_stands() {
    let press = r#"{"timestamp":"2026-11-22T17:02:10.120Z","message":"press","link":"car","driver":"anna","command":"forward","press":"1.1"}"#;
    for size in [(40, 8), (80, 24), (120, 40)] {
        let screen = seen(&replay(size, "log", press.into()).app);
        assert!(screen.contains("not known"), "{screen}");
        for word in ["stands", "● up", "LINK LOST", "NO ANSWER"] {
            assert!(!screen.contains(word), "{word}: {screen}");
        }
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

/// An incident as `p2p-console incident` writes it.
const INCIDENT: &str = concat!(
    r#"{"at_ms":1795366920000,"from":"desk","text":"Space: stop","told":{"message":"stop","link":"car"}}"#,
    "\n",
    r#"{"at_ms":1795366921000,"from":"car","text":"it stands","told":{"id":1,"clock_ms":1,"at_ms":1,"event":{"motion":"stands"}}}"#,
    "\n",
    r#"{"at_ms":1795366922000,"from":"router","text":"no answer","told":{"message":"no answer","silent_ms":550,"link":"car","timestamp":"2026-11-22T17:02:02Z"}}"#,
    "\n",
);

/// A change of a file.
#[derive(Debug, Clone)]
enum Spoil {
    Byte(Index, u8),
    /// Cut off here.
    Cut(Index),
    /// This part of it again, somewhere else.
    Splice(Index, Index, usize),
    /// A number of it is this one.
    Number(Index, &'static str),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let at = any::<Index>;
    let number = sample::select(vec![
        "18446744073709551615",
        "0",
        "-1",
        "1e308",
        "9999999999999",
        "[]",
        "\"\"",
    ]);
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Spoil::Byte(at, byte)),
        at().prop_map(Spoil::Cut),
        (at(), at(), 1..400_usize).prop_map(|(from, to, size)| Spoil::Splice(from, to, size)),
        (at(), number).prop_map(|(at, number)| Spoil::Number(at, number)),
    ]
}

fn spoilt(mut file: Vec<u8>, how: &[Spoil]) -> Vec<u8> {
    for spoil in how {
        if file.is_empty() {
            break;
        }
        let length = file.len();
        match spoil {
            Spoil::Byte(at, byte) => file[at.index(length)] = *byte,
            Spoil::Cut(at) => file.truncate(at.index(length)),
            Spoil::Splice(from, to, size) => {
                let from = from.index(length);
                let piece = file[from..(from + size).min(length)].to_vec();
                let to = to.index(length);
                file.splice(to..to, piece);
            }
            Spoil::Number(at, number) => {
                let at = at.index(length);
                let is_digit = |byte: &u8| byte.is_ascii_digit();
                let Some(first) = file[at..].iter().position(is_digit) else {
                    continue;
                };
                let rest = &file[at + first..];
                let digits = rest.iter().take_while(|byte| is_digit(byte)).count();
                file.splice(at + first..at + first + digits, number.bytes());
            }
        }
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever is in a file, it is shown, or there is a sentence.
    #[test]
    fn no_file_does_harm(
        parts in prop::collection::vec(0..4_usize, 1..4),
        how in prop::collection::vec(spoil(), 0..12),
        keys in prop::collection::vec(sample::select(vec![' ', ',', '.', '+', '-', 'z', 'Z', 'v', '2', '3']), 0..12),
    ) {
        let whole = [PAST.as_bytes(), INCIDENT.as_bytes(), b"\xff\0{}\n[[[[\n", &drive()];
        let file = parts.iter().flat_map(|part| whole[*part].to_vec()).collect();
        if let Ok(recording) = read(&Bytes::from(spoilt(file, &how))) {
            recording.events();
            let mut bench = Bench::unconnected((80, 24));
            bench.app.replay("spoilt".to_owned(), recording);
            for key in keys {
                bench.letters(&key.to_string());
                bench.pass(100);
                seen(&bench.app);
            }
            for key in [KeyCode::End, KeyCode::Up, KeyCode::Home, KeyCode::Down] {
                bench.key(key);
                seen(&bench.app);
            }
        }
    }
}

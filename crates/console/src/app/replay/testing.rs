//! A recorded drive for tests, as `p2p-router --record` writes it.

use std::collections::BTreeMap;
use std::io::Cursor;

use mcap::WriteOptions;
use mcap::records::MessageHeader;
use p2p_shared::protocol::{
    ActiveMotion, ControlEnd, ControlInfo, Driver, End, FeedEvent, MotionEvent, PressId, RunSource,
    SessionId, StopCause,
};

use crate::testing::{link, open_run};

/// 2026-11-22 17:02:00 UTC, in milliseconds since 1970.
pub(crate) const BEGAN: u64 = 1_795_366_920_000;
/// 16 × 8 pixels: the left half is red, the right half blue.
pub(crate) const JPEG: &[u8] = include_bytes!("../../picture/red-and-blue.jpg");

/// A drive of 30 s: a motion that ends as the key is released, another by the lease while the car gives no answer,
/// and the link lost. With ten pictures a second from 2 s to 12 s.
pub(crate) fn drive() -> Vec<u8> {
    let mut file = WriteOptions::new()
        .compression(None)
        .chunk_size(Some(2_000))
        .disable_seeking(true)
        .create(Cursor::new(Vec::new()))
        .unwrap();
    let channels = ["camera", "runs", "drive", "log"].map(|topic| {
        let topic = format!("/car/{topic}");
        file.add_channel(0, &topic, "json", &BTreeMap::new())
            .unwrap()
    });
    let mut write = |channel: usize, at_ms: u64, data: &[u8]| {
        let time = (BEGAN + at_ms) * 1_000_000;
        let header = MessageHeader {
            channel_id: channels[channel],
            sequence: 0,
            log_time: time,
            publish_time: time,
        };
        file.write_to_known_channel(&header, data).unwrap();
    };
    let image = image();
    for (at_ms, event) in events() {
        if let (11_000, FeedEvent::Rtt { .. }) = (at_ms, &event) {
            (2_000..12_000)
                .step_by(100)
                .for_each(|at_ms| write(0, at_ms, &image));
        }
        match &event {
            FeedEvent::Run(run) => write(1, at_ms, &serde_json::to_vec(run).unwrap()),
            event => write(2, at_ms, &serde_json::to_vec(event).unwrap()),
        }
    }
    write(
        3,
        25_000,
        b"\x1a\x2f3 messages are missing: the disk was too slow  ",
    );
    file.finish().unwrap();
    file.into_inner().into_inner()
}

/// `foxglove.CompressedImage` with a timestamp, the JPEG and its format.
fn image() -> Vec<u8> {
    let mut image = b"\x0a\x02\x08\x01\x12".to_vec();
    let length = u16::try_from(JPEG.len()).unwrap();
    let seven_bits = |number: u16| u8::try_from(number & 0x7f).unwrap();
    image.extend([seven_bits(length) | 0x80, seven_bits(length >> 7)]);
    image.extend(JPEG);
    image.extend(b"\x1a\x04jpeg\x22\x06camera");
    image
}

fn events() -> Vec<(u64, FeedEvent)> {
    let service_port = 9000;
    let anna = Driver {
        session: SessionId(6),
        name: "anna".into(),
    };
    let control = |driver| FeedEvent::Control {
        service_port,
        control: ControlInfo {
            recording: None,
            ended: Option::is_none(&driver).then_some(ControlEnd::Given),
            driver,
            request: None,
            epoch: 3,
        },
    };
    let motion = |event| FeedEvent::Motion {
        service_port,
        event,
        clock_ms: None,
    };
    let press = |number| PressId { epoch: 3, number };
    let pressed = |number, command: &str| {
        let mut run = open_run(number, command);
        (run.source, run.at_ms) = (RunSource::Drive, BEGAN);
        FeedEvent::Run(Box::new(run))
    };
    let moves = |number, command: &str| {
        motion(MotionEvent::Started(ActiveMotion {
            run: p2p_shared::names::RunId::from_number(number),
            command: command.parse().unwrap(),
            press: Some(press(number)),
        }))
    };
    let over = |number, cause| {
        motion(MotionEvent::Over {
            press: Some(press(number)),
            cause,
            clock_ms: Some(4),
            by: None,
        })
    };
    let stopped = |cause| {
        motion(MotionEvent::Stopped {
            cause,
            end: End::Exit(0),
            exec_us: 3_900,
            failure: None,
        })
    };
    let round_trip = |silent_ms| FeedEvent::Rtt {
        service_port,
        rtt_us: 21_000,
        hop_us: None,
        silent_ms,
    };
    vec![
        (0, FeedEvent::Link(Box::new(link(service_port, "car")))),
        (10, control(Some(anna))),
        (3_000, pressed(1, "forward")),
        (3_040, moves(1, "forward")),
        (5_500, over(1, StopCause::Released)),
        (5_510, stopped(StopCause::Released)),
        (5_512, motion(MotionEvent::Stands)),
        (11_000, round_trip(None)),
        (14_000, pressed(2, "left")),
        (14_050, moves(2, "left")),
        (15_550, round_trip(Some(550))),
        (17_000, round_trip(None)),
        // Told late, and dated by the car.
        (15_450, over(2, StopCause::Lease)),
        (17_010, stopped(StopCause::Lease)),
        (17_012, motion(MotionEvent::Stands)),
        (20_000, control(None)),
        (
            30_000,
            FeedEvent::LinkDown {
                service_port,
                why: "silent for 6 s".into(),
            },
        ),
    ]
}

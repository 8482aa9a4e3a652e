//! The messages of a recording in their formats: pictures and log lines as Foxglove's tools know them, in protobuf, and
//! all else in JSON. The `.binpb` files are what `protoc --include_imports --descriptor_set_out` makes of the `.proto`
//! files beside them.

use p2p_shared::protocol::{FeedEvent, MotionEvent, Picture};

/// Channel of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Channel {
    /// Last part of the topic.
    pub topic: &'static str,
    pub encoding: &'static str,
    /// Name, encoding and content of the messages' schema.
    pub schema: (&'static str, &'static str, &'static [u8]),
}

/// What a JSON channel says of its messages: their fields are those of the consoles' protocol.
const OBJECT: &[u8] = br#"{"type":"object"}"#;

/// The channels, in the order of [`Body`].
pub(super) const CHANNELS: [Channel; 4] = [
    Channel {
        topic: "camera",
        encoding: "protobuf",
        schema: (
            "foxglove.CompressedImage",
            "protobuf",
            include_bytes!("compressed_image.binpb"),
        ),
    },
    Channel {
        topic: "log",
        encoding: "protobuf",
        schema: ("foxglove.Log", "protobuf", include_bytes!("log.binpb")),
    },
    Channel {
        topic: "runs",
        encoding: "json",
        schema: ("p2p.Run", "jsonschema", OBJECT),
    },
    Channel {
        topic: "drive",
        encoding: "json",
        schema: ("p2p.FeedEvent", "jsonschema", OBJECT),
    },
];

/// Level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Info = 2,
    Warning = 3,
    Error = 4,
}

/// Content of a message.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Picture(Picture),
    Log(Level, String),
    Run(Vec<u8>),
    Drive(Vec<u8>),
}

impl Body {
    /// Index of the channel.
    pub(super) fn channel(&self) -> usize {
        match self {
            Self::Picture(_) => 0,
            Self::Log(..) => 1,
            Self::Run(_) => 2,
            Self::Drive(_) => 3,
        }
    }

    /// Returns the bytes of a message about this time, in nanoseconds since 1970.
    pub(super) fn encoded(&self, at_ns: u64) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Picture(picture) => {
                let jpeg = picture.jpeg();
                out.reserve(jpeg.len() + 64);
                put_bytes(&mut out, 1, &timestamp(at_ns));
                put_bytes(&mut out, 2, &jpeg);
                put_bytes(&mut out, 3, b"jpeg");
                put_bytes(&mut out, 4, b"camera");
            }
            Self::Log(level, text) => {
                put_bytes(&mut out, 1, &timestamp(at_ns));
                put_number(&mut out, 2, *level as u64);
                put_bytes(&mut out, 3, text.as_bytes());
                put_bytes(&mut out, 4, b"p2p-router");
            }
            Self::Run(json) | Self::Drive(json) => out.extend_from_slice(json),
        }
        out
    }
}

/// Returns `google.protobuf.Timestamp`.
fn timestamp(at_ns: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, 1, at_ns / 1_000_000_000);
    put_number(&mut out, 2, at_ns % 1_000_000_000);
    out
}

/// Appends a field of wire type 0 (<https://protobuf.dev/programming-guides/encoding>).
fn put_number(out: &mut Vec<u8>, field: u8, number: u64) {
    out.push(field << 3);
    put_varint(out, number);
}

/// Appends a field of wire type 2.
fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Returns the bodies of the messages about an event: all of it, and a sentence if a person would want one.
pub(super) fn bodies(event: &FeedEvent) -> impl Iterator<Item = Body> {
    // Neither a map's key nor anything else in it can't be JSON.
    let whole = match event {
        FeedEvent::Run(run) => serde_json::to_vec(run).map(Body::Run),
        event => serde_json::to_vec(event).map(Body::Drive),
    };
    let sentence = sentence(event).map(|(level, text)| Body::Log(level, text));
    whole.ok().into_iter().chain(sentence)
}

fn sentence(event: &FeedEvent) -> Option<(Level, String)> {
    Some(match event {
        FeedEvent::Link(link) if link.is_up => (Level::Info, "link up".to_owned()),
        FeedEvent::Link(_) => return None,
        FeedEvent::LinkDown { why, .. } => (Level::Warning, format!("link lost: {}", why.raw())),
        FeedEvent::LinkGone { .. } => (Level::Warning, "the port is given up".to_owned()),
        FeedEvent::Rtt { silent_ms, .. } => {
            let silence = (*silent_ms)?;
            (
                Level::Warning,
                format!("the car has not answered for {silence} ms"),
            )
        }
        FeedEvent::Run(run) => {
            let result = run.result.as_ref()?;
            let level = match result.is_failure() {
                true => Level::Warning,
                false => Level::Info,
            };
            let text = format!("run {} of {}: {}", run.run, run.command, result.status);
            (level, text)
        }
        FeedEvent::Control { control, .. } => match &control.driver {
            Some(driver) => (Level::Info, format!("{} has control", driver.name.raw())),
            None => (Level::Info, "nobody has control".to_owned()),
        },
        FeedEvent::Motion { event, .. } => motion(event)?,
    })
}

fn motion(event: &MotionEvent) -> Option<(Level, String)> {
    Some(match event {
        MotionEvent::Started(motion) => (Level::Info, format!("moves: {}", motion.command)),
        MotionEvent::Refused { why, .. } => (Level::Warning, format!("a press was refused: {why}")),
        MotionEvent::Over { cause, by, .. } => {
            let by = by.as_ref().map(|by| format!(" by {}", by.raw()));
            (
                Level::Info,
                format!("stops: {cause}{}", by.unwrap_or_default()),
            )
        }
        MotionEvent::StopFailed => (Level::Error, "the stop command fails".to_owned()),
        MotionEvent::Stands => (Level::Info, "stands".to_owned()),
        _ => return None,
    })
}

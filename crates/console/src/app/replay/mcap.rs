//! Reads a past from an MCAP file (<https://mcap.dev/spec>) that `p2p-router --record` wrote, also one that was cut off.
//! Pure.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use mcap::parse_record;
use mcap::records::{MessageHeader, Record, op};
use p2p_shared::protocol::{FeedEvent, RunInfo};

use super::recording::{Change, Recording};

/// First bytes of an MCAP file.
pub(super) const MAGIC: &[u8] = mcap::MAGIC;
/// Bytes of a record's kind and length.
const HEAD: usize = 9;

/// Reads a file up to its end, or to where it is cut off or damaged. Not by the crate's own reader of whole files, which
/// panics on a chunk that is shorter than a record in it.
pub(super) fn read(file: &Bytes, recording: &mut Recording) -> Result<(), String> {
    let mut reader = Reader {
        file,
        recording,
        topics: HashMap::new(),
        has_ended: false,
    };
    let read = reader.records(file.get(MAGIC.len()..).unwrap_or_default(), true);
    let has_ended = reader.has_ended;
    if recording.cars.is_empty() {
        return Err(match read {
            Err(why) => format!("it is no MCAP file that can be read: {why}"),
            Ok(()) if !has_ended => "there is nothing in this MCAP file yet".to_owned(),
            Ok(()) => "this MCAP file is no recording of p2p-router: it has no messages of a car"
                .to_owned(),
        });
    }
    let why = match read {
        Err(why) => why,
        Ok(()) if !has_ended => "it has no end".to_owned(),
        Ok(()) => return Ok(()),
    };
    recording.lacks(format!(
        "the file is cut off or damaged ({why}): what is before that is shown"
    ));
    Ok(())
}

struct Reader<'a> {
    file: &'a Bytes,
    recording: &'a mut Recording,
    /// Topics of the channels, by id.
    topics: HashMap<u16, String>,
    /// True once the file says that no more data follows.
    has_ended: bool,
}

impl<'a> Reader<'a> {
    /// Reads the records of the file or, if it is not the whole, of a chunk.
    fn records(&mut self, mut bytes: &'a [u8], is_whole: bool) -> Result<(), String> {
        let cut_off = || "a record is not whole".to_owned();
        while !bytes.is_empty() && !self.has_ended {
            let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or_else(cut_off)?;
            let [kind, length @ ..] = *head;
            let length = usize::try_from(u64::from_le_bytes(length)).map_err(|_| cut_off())?;
            let (content, rest) = rest.split_at_checked(length).ok_or_else(cut_off)?;
            bytes = rest;
            match kind {
                op::CHANNEL | op::MESSAGE => self.record(kind, content)?,
                op::CHUNK if is_whole => self.record(kind, content)?,
                op::DATA_END if is_whole => self.has_ended = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn record(&mut self, kind: u8, content: &'a [u8]) -> Result<(), String> {
        match parse_record(kind, content).map_err(|why| why.to_string())? {
            Record::Channel(channel) => {
                self.topics.insert(channel.id, channel.topic);
            }
            Record::Chunk { header, .. } if !header.compression.is_empty() => {
                return Err(format!("{} is not read", header.compression));
            }
            Record::Chunk {
                data: Cow::Borrowed(data),
                ..
            } => self.records(data, false)?,
            Record::Message {
                header,
                data: Cow::Borrowed(data),
            } => self.message(&header, data),
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, header: &MessageHeader, data: &[u8]) {
        let topic = self.topics.get(&header.channel_id);
        let topic = topic.and_then(|topic| topic.strip_prefix('/')?.rsplit_once('/'));
        let Some((name, kind)) = topic else { return };
        let at = Duration::from_nanos(header.log_time);
        match kind {
            "camera" => {
                if let Some(jpeg) = jpeg(data) {
                    (self.recording).add_picture(name, at, self.file.slice_ref(jpeg));
                }
            }
            "drive" => {
                // What a later version tells otherwise is left out.
                let Ok(event) = serde_json::from_slice::<FeedEvent>(data) else {
                    return;
                };
                if let (FeedEvent::Link(info), Some(car)) = (&event, self.recording.car(name))
                    && car.events.is_empty()
                {
                    car.info = (**info).clone();
                }
                self.recording.add(name, at, Change::Feed(event), None);
            }
            "runs" => {
                if let Ok(run) = serde_json::from_slice::<RunInfo>(data) {
                    self.recording.add_run(run.clone());
                    let event = FeedEvent::Run(Box::new(run));
                    self.recording.add(name, at, Change::Feed(event), None);
                }
            }
            "log" => {
                // All else there says in words what the other messages have.
                let said = field(data, LOG_MESSAGE).map(String::from_utf8_lossy);
                if let Some(said) = said.filter(|said| said.contains("messages are missing")) {
                    let said = Some(said.into_owned());
                    self.recording.add(name, at, Change::None, said);
                }
            }
            _ => {}
        }
    }
}

/// Fields of `foxglove.CompressedImage` and of `foxglove.Log`.
const IMAGE_DATA: u64 = 2;
const IMAGE_FORMAT: u64 = 3;
const LOG_MESSAGE: u64 = 3;

/// Returns the JPEG in a `foxglove.CompressedImage`.
fn jpeg(message: &[u8]) -> Option<&[u8]> {
    let is_jpeg = field(message, IMAGE_FORMAT) == Some(b"jpeg");
    field(message, IMAGE_DATA).filter(|_| is_jpeg)
}

/// Returns the bytes of a field of a protobuf message (<https://protobuf.dev/programming-guides/encoding>).
fn field(mut message: &[u8], number: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let length = match tag & 7 {
            0 => {
                varint(&mut message)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (content, rest) = message.split_at_checked(length)?;
        if tag >> 3 == number && tag & 7 == 2 {
            return Some(content);
        }
        message = rest;
    }
    None
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

//! Splits a camera's output into pictures by JPEG's markers (ITU-T T.81, annex B): a segment is
//! skipped by its length, so that a thumbnail inside it ends no picture; in coded data an `FF` is a
//! marker only if neither `00` nor a restart follows. Keeps at most one picture. Pure: the caller
//! gives bytes and the time.

use memchr::memchr;
use p2p_shared::protocol::{MAX_PICTURE, PartialPicture, Picture};

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;

/// Initial capacity of a picture: most need no more.
const ROOM: usize = 64 * 1024;

#[derive(Debug, Default)]
pub struct JpegSplitter {
    state: State,
    half: Option<PartialPicture>,
    /// True if the picture had a scan: without one there is nothing to see.
    has_scan: bool,
    /// Bytes of the picture, including those that were not kept.
    length: u64,
    lost: JpegLosses,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct JpegLosses {
    /// Bytes that belong to no picture, or to one without an end.
    pub garbage: u64,
    pub too_large: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Between pictures, before an `FF`.
    #[default]
    Between,
    /// After an `FF` that may begin a picture.
    MayBegin,
    /// After `FF D8`: the next byte must be an `FF`.
    Begun,
    /// Before a marker's `FF`.
    Marker,
    /// After a marker's `FF`.
    Code,
    /// Before the first byte of a segment's length. The flag says that coded data follows the
    /// segment.
    Length { scan: bool },
    /// Before the second byte of the length.
    LengthLow { scan: bool, high: u8 },
    /// Inside a segment, with this many bytes left.
    Segment { scan: bool, left: u16 },
    /// Inside coded data.
    Coded,
    /// After an `FF` in coded data.
    CodedMarker,
}

impl JpegSplitter {
    /// Adds bytes that were read at this time of the car's clock. Passes each picture that is
    /// complete to `show`.
    pub fn push(&mut self, mut bytes: &[u8], now_ms: u64, mut show: impl FnMut(Picture)) {
        while !bytes.is_empty() {
            let (used, ends) = self.step(bytes, now_ms);
            let (these, rest) = bytes.split_at(used);
            bytes = rest;
            self.keep(these);
            if ends {
                self.end(&mut show);
            }
        }
    }

    /// Returns true if a picture has begun and not ended.
    pub fn is_within(&self) -> bool {
        !matches!(self.state, State::Between | State::MayBegin)
    }

    /// Returns the data thrown away since the last call.
    pub fn take_lost(&mut self) -> JpegLosses {
        std::mem::take(&mut self.lost)
    }

    /// Reads one or more bytes. Returns their number, and true if a picture ends with them.
    fn step(&mut self, bytes: &[u8], now_ms: u64) -> (usize, bool) {
        use State::{
            Begun, Between, Code, Coded, CodedMarker, Length, LengthLow, Marker, MayBegin, Segment,
        };
        let byte = bytes.first().copied().unwrap_or_default();
        let next = match self.state {
            Between => match memchr(0xff, bytes) {
                None => {
                    self.lost.garbage += bytes.len() as u64;
                    return (bytes.len(), false);
                }
                Some(0) => MayBegin,
                Some(before) => {
                    self.lost.garbage += before as u64;
                    return (before, false);
                }
            },
            MayBegin => match byte {
                SOI => {
                    self.begin(now_ms);
                    Begun
                }
                0xff => {
                    self.lost.garbage += 1;
                    MayBegin
                }
                _ => {
                    self.lost.garbage += 2;
                    Between
                }
            },
            Begun | Marker if byte == 0xff => Code,
            Begun | Marker => self.give_up(),
            // Any number of `FF` may stand before a marker's code.
            Code if byte == 0xff => Code,
            Code => return self.marker(byte, now_ms),
            Length { scan } => LengthLow { scan, high: byte },
            LengthLow { scan, high } => match u16::from_be_bytes([high, byte]).checked_sub(2) {
                Some(left) => segment(scan, left),
                None => self.give_up(),
            },
            Segment { scan, left } => {
                let most = bytes.len().min(left.into());
                let left = left - u16::try_from(most).unwrap_or(left);
                self.state = segment(scan, left);
                return (most, false);
            }
            Coded => match memchr(0xff, bytes) {
                Some(0) => CodedMarker,
                Some(before) => return (before, false),
                None => return (bytes.len(), false),
            },
            CodedMarker => match byte {
                // A coded byte FF, or a restart.
                0x00 | 0xd0..=0xd7 => Coded,
                0xff => CodedMarker,
                _ => return self.marker(byte, now_ms),
            },
        };
        self.state = next;
        (1, false)
    }

    fn marker(&mut self, code: u8, now_ms: u64) -> (usize, bool) {
        self.state = match code {
            EOI => return (1, true),
            // The picture before has no end: its program was cut off, or was started again.
            SOI => {
                self.lost.garbage += self.length - 1;
                self.begin(now_ms);
                State::Begun
            }
            SOS => {
                self.has_scan = true;
                State::Length { scan: true }
            }
            // TEM has no segment.
            0x01 => State::Marker,
            // Reserved, or a restart where nothing is coded.
            0x00 | 0x02..=0xbf | 0xd0..=0xd7 | 0xff => self.give_up(),
            _ => State::Length { scan: false },
        };
        (1, false)
    }

    /// Begins a picture, of which `FF` was read; the caller keeps `D8`.
    fn begin(&mut self, now_ms: u64) {
        let mut half = PartialPicture::new(now_ms, ROOM);
        half.extend(&[0xff]);
        self.half = Some(half);
        self.length = 1;
        self.has_scan = false;
    }

    /// Discards bytes that turned out not to be a picture.
    fn give_up(&mut self) -> State {
        self.lost.garbage += self.length + 1;
        self.half = None;
        self.length = 0;
        State::Between
    }

    /// Keeps bytes of a picture, as long as the picture is not too large.
    fn keep(&mut self, bytes: &[u8]) {
        if !self.is_within() || bytes.is_empty() {
            return;
        }
        self.length += bytes.len() as u64;
        if let Some(half) = &mut self.half {
            if half.len() + bytes.len() <= MAX_PICTURE {
                half.extend(bytes);
            } else {
                self.half = None;
            }
        }
    }

    fn end(&mut self, show: &mut impl FnMut(Picture)) {
        self.state = State::Between;
        match self.half.take() {
            None => self.lost.too_large += 1,
            Some(half) if self.has_scan => show(half.whole()),
            Some(_) => self.lost.garbage += self.length,
        }
        self.length = 0;
    }
}

/// Returns the state in a segment with this many bytes left.
fn segment(scan: bool, left: u16) -> State {
    match (scan, left) {
        (true, 0) => State::Coded,
        (false, 0) => State::Marker,
        _ => State::Segment { scan, left },
    }
}

#[cfg(test)]
mod tests;

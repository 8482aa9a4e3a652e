//! Messages on the media connection, which carries camera pictures beside the link and never on it,
//! and a picture's shape in memory.
//!
//! ```text
//!   inner                               router                                  page
//!     │◀──────── Video { ticket } ────────┤ on the link: somebody watches         │
//!     │  GET /media, Bearer KEY, p2p.v1   │                                       │
//!     ├──────────────────────────────────▶│                                       │
//!     │  Hello { port, ticket }           │ another key, or an old ticket: closed │
//!     ├──────────────────────────────────▶│                                       │
//!     │  Picture, Piece …                 │ in pieces, each of which is           │
//!     ├──────────────────────────────────▶│                                       │
//!     │                            Taken  │ acknowledged, so that only a little   │
//!     │◀──────────────────────────────────┤ is on its way at any time             │
//!     │                                   │  next                                 │
//!     │                                   │◀──────────────────────────────────────┤
//!     │                                   │  the newest: 8 bytes of time, JPEG    │
//!     │                                   ├──────────────────────────────────────▶│
//!     │◀──────── Video { None } ──────────┤ on the link: nobody watches any more  │
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bounded::{Piece, Text};

/// Path of an inner's media connection on the main port.
pub const MEDIA_PATH: &str = "/media";

/// Bytes of the capture time in front of a picture.
const TIME: usize = size_of::<u64>();

/// Most bytes of a picture: with its time it is a message of 1 MiB. (A 1080p frame of a camera has
/// 0.1 to 0.5 MB.)
pub const MAX_PICTURE: usize = 1024 * 1024 - TIME;

/// Most bytes of a picture's message.
pub const MAX_PICTURE_MESSAGE: usize = TIME + MAX_PICTURE;

/// Path of the WebSocket of a car's pictures on its service port.
pub const PICTURES_PATH: &str = "/frames";

/// Most bytes of a piece, so that it fits into a message of this protocol.
pub const MAX_PIECE: usize = 32 * 1024;

/// Proof that a media connection belongs to a link: the router makes a new ticket for each link and
/// sends it on that link only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaTicket(pub u64);

/// State of the camera while there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    /// The camera program is being started.
    Starting,
    /// The camera program has failed, and is started again in a while.
    Failed { why: Text },
}

/// Messages from an inner on the media connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaToRouter {
    /// First message: the link that the pictures belong to.
    Hello {
        service_port: u16,
        /// Ticket that the router sent on that link.
        ticket: MediaTicket,
    },
    /// A picture begins; what came of an earlier one is discarded.
    Picture {
        /// Time at which the first byte was read, on the inner's clock as in
        /// [`Clock`](super::InnerToRouter::Clock), in milliseconds.
        captured_ms: u64,
        /// Size of the whole picture, in bytes.
        length: u32,
        /// First bytes.
        bytes: Piece<MAX_PIECE>,
    },
    /// The picture goes on.
    Piece {
        /// Next bytes.
        bytes: Piece<MAX_PIECE>,
    },
}

/// Messages from the router on the media connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterToMedia {
    /// Bytes of pictures that have arrived since the last such message.
    Taken { bytes: u32 },
    /// The router refuses these pictures and closes the connection.
    Refused { message: Text },
}

/// JPEG with its capture time, in one piece of memory in the form that a page receives, shared by
/// all viewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture(Bytes);

impl Picture {
    /// Returns the picture of such a [`message`](Self::message); `None` if it is too short or too long for
    /// one.
    #[must_use]
    pub fn from_message(message: Bytes) -> Option<Self> {
        let jpeg = message.len().checked_sub(TIME)?;
        (1..=MAX_PICTURE).contains(&jpeg).then_some(Self(message))
    }

    /// Time at which the first byte was read, in milliseconds on the car's clock.
    #[must_use]
    pub fn captured_ms(&self) -> u64 {
        self.0
            .first_chunk()
            .map_or(0, |time| u64::from_be_bytes(*time))
    }

    /// The JPEG.
    #[must_use]
    pub fn jpeg(&self) -> Bytes {
        self.0.slice(TIME..)
    }

    /// Capture time as 8 bytes, big-endian, and the JPEG.
    #[must_use]
    pub fn message(&self) -> &Bytes {
        &self.0
    }
}

/// Picture that has arrived in part.
#[derive(Debug)]
pub struct PartialPicture(BytesMut);

impl PartialPicture {
    /// Starts a picture with this capture time on the car's clock, with room for this many bytes.
    #[must_use]
    pub fn new(captured_ms: u64, room: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(TIME + room);
        bytes.put_u64(captured_ms);
        Self(bytes)
    }

    /// Number of bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len() - TIME
    }

    /// True if no byte has arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Completes the picture.
    #[must_use]
    pub fn whole(self) -> Picture {
        Picture(self.0.freeze())
    }
}

/// Reason why pieces don't make up a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PictureError {
    /// The announced size is 0 or above the limit.
    #[error("a picture of {0} bytes")]
    Length(u32),
    /// A piece came before any beginning.
    #[error("a piece of no picture")]
    NotBegun,
    /// There are more bytes than announced, or a piece is empty.
    #[error("pieces that don't make up the picture")]
    Overfull,
}

/// Puts pictures together from their pieces.
#[derive(Debug, Default)]
pub struct PictureAssembly {
    begun: Option<(PartialPicture, usize)>,
}

impl PictureAssembly {
    /// Begins a picture. Returns the picture if these bytes are all of it.
    ///
    /// # Errors
    /// If the size is 0 or above the limit.
    pub fn begin(
        &mut self,
        captured_ms: u64,
        length: u32,
        bytes: &[u8],
    ) -> Result<Option<Picture>, PictureError> {
        let whole = usize::try_from(length).unwrap_or(usize::MAX);
        if whole == 0 || whole > MAX_PICTURE {
            return Err(PictureError::Length(length));
        }
        self.begun = Some((PartialPicture::new(captured_ms, whole), whole));
        self.piece(bytes)
    }

    /// Adds a piece. Returns the picture if this was the last piece.
    ///
    /// # Errors
    /// If no picture was begun, or the piece doesn't fit.
    pub fn piece(&mut self, bytes: &[u8]) -> Result<Option<Picture>, PictureError> {
        let (half, whole) = self.begun.as_mut().ok_or(PictureError::NotBegun)?;
        if bytes.is_empty() || bytes.len() > *whole - half.len() {
            return Err(PictureError::Overfull);
        }
        half.extend(bytes);
        if half.len() < *whole {
            return Ok(None);
        }
        Ok(self.begun.take().map(|(half, _)| half.whole()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_a_picture_and_a_new_one_replaces_what_was_begun() {
        let mut assembly = PictureAssembly::default();
        assert_eq!(assembly.begin(7, 4, b"ab"), Ok(None));
        assert_eq!(assembly.begin(8, 3, b"xy"), Ok(None));
        let picture = assembly.piece(b"z").unwrap().unwrap();
        assert_eq!(picture.captured_ms(), 8);
        assert_eq!(&picture.jpeg()[..], b"xyz");
        assert_eq!(&picture.message()[..], b"\0\0\0\0\0\0\0\x08xyz");
        assert_eq!(assembly.piece(b"z"), Err(PictureError::NotBegun));
    }

    #[test]
    fn what_is_no_picture_is_refused_before_there_is_memory_for_it() {
        let mut assembly = PictureAssembly::default();
        for length in [0, u32::MAX, u32::try_from(MAX_PICTURE).unwrap() + 1] {
            let refused = Err(PictureError::Length(length));
            assert_eq!(assembly.begin(0, length, b"x"), refused);
        }
        assert_eq!(assembly.begin(0, 2, b"xyz"), Err(PictureError::Overfull));
        assert_eq!(assembly.begin(0, 2, b""), Err(PictureError::Overfull));
        assert_eq!(assembly.begin(0, 2, b"x"), Ok(None));
        assert_eq!(assembly.piece(b"yz"), Err(PictureError::Overfull));
    }
}

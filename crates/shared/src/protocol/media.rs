//! Owns what inner and router say to each other on the media connection, which carries what the
//! camera sees beside the link and never on it, and how a picture is kept on its way.
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
//!     │                            Taken  │ acknowledged: so it is known how much │
//!     │◀──────────────────────────────────┤ is on its way, and little ever is     │
//!     │                                   │  next                                 │
//!     │                                   │◀──────────────────────────────────────┤
//!     │                                   │  the newest: 8 bytes of time, JPEG    │
//!     │                                   ├──────────────────────────────────────▶│
//!     │◀──────── Video { None } ──────────┤ on the link: nobody watches any more  │
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The path of an inner's media connection on the main port.
pub const MEDIA_PATH: &str = "/media";

/// Bytes of the capture time in front of a picture.
const TIME: usize = size_of::<u64>();

/// Most bytes of a picture: with its time it is a message of 1 MiB. (A 1080p frame of a camera has
/// 0.1 to 0.5 MB.)
pub const MAX_PICTURE: usize = 1024 * 1024 - TIME;

/// Most bytes of a piece, so that it fits into a message of this protocol.
pub const MAX_PIECE: usize = 32 * 1024;

/// What shows that a media connection belongs to a link: the router says it on that link, anew for
/// each, and nobody else knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaTicket(pub u64);

/// How the camera is, where there is no picture to show that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    /// Its program is being started.
    Starting,
    /// Its program has failed, and is started again in a while.
    Failed {
        /// A sentence.
        why: String,
    },
}

/// What an inner says on the media connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaToRouter {
    /// The first message: whose pictures these are.
    Hello {
        /// The service port of its link.
        service_port: u16,
        /// As the router said it on that link.
        ticket: MediaTicket,
    },
    /// A picture begins; what was there of another is thrown away.
    Picture {
        /// When its first byte was read: the inner's own clock, as in
        /// [`Clock`](super::InnerToRouter::Clock), in milliseconds.
        captured_ms: u64,
        /// How many bytes it has in all.
        length: u32,
        /// Its first bytes, at most [`MAX_PIECE`].
        bytes: Bytes,
    },
    /// It goes on.
    Piece {
        /// Its next bytes, at most [`MAX_PIECE`].
        bytes: Bytes,
    },
}

/// What a router says on the media connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterToMedia {
    /// So many bytes of pictures have come since the last time that this was said.
    Taken {
        /// Bytes.
        bytes: u32,
    },
    /// Pictures are not wanted from here; the router closes the connection.
    Refused {
        /// A sentence that says what to do.
        message: String,
    },
}

/// A JPEG and when it was captured: in one piece of memory, as the page is given it, and shared by
/// all who show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture(Bytes);

impl Picture {
    /// When its first byte was read, in milliseconds of the car's own clock.
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

    /// Its time as 8 bytes, big-endian, and the JPEG.
    #[must_use]
    pub fn message(&self) -> &Bytes {
        &self.0
    }
}

/// A picture of which some has come.
#[derive(Debug)]
pub struct PartialPicture(BytesMut);

impl PartialPicture {
    /// One that was captured at this time of the car's clock, with room for so many bytes.
    #[must_use]
    pub fn new(captured_ms: u64, room: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(TIME + room);
        bytes.put_u64(captured_ms);
        Self(bytes)
    }

    /// How many bytes of it there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len() - TIME
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// More of it.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// It is whole.
    #[must_use]
    pub fn whole(self) -> Picture {
        Picture(self.0.freeze())
    }
}

/// Why pieces make no picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PictureError {
    /// It says that it has none or more bytes than one may.
    #[error("a picture of {0} bytes")]
    Length(u32),
    /// There was no beginning.
    #[error("a piece of no picture")]
    NotBegun,
    /// There is more than was said, or a piece is empty.
    #[error("pieces that don't make up the picture")]
    Overfull,
}

/// Pictures out of their pieces.
#[derive(Debug, Default)]
pub struct PictureAssembly {
    begun: Option<(PartialPicture, usize)>,
}

impl PictureAssembly {
    /// A picture begins: it, if this was all of it.
    ///
    /// # Errors
    /// If it is none.
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

    /// More of it: it, if this was the last piece.
    ///
    /// # Errors
    /// If it is no piece of one.
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

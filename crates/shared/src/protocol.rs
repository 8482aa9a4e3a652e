//! The messages between our programs, and nothing of how they travel: `link` between inner and
//! router, `console` between console and router, `media` for pictures of the camera; `run` and
//! `drive` are what several of them carry.
//!
//! One MessagePack value a binary message, enums by direction, fields by name: a field can be
//! added with a default. Anything else is another version, and so another [`SUBPROTOCOL`].

mod console;
mod display;
mod drive;
mod link;
mod media;
mod run;

pub use console::*;
pub use drive::*;
pub use link::*;
pub use media::*;
pub use run::*;

/// The WebSocket subprotocol: the version of this file.
pub const SUBPROTOCOL: &str = "p2p.v1";

/// Most bytes of one encoded message (NATS' and websocketd's order).
pub const MAX_MESSAGE: usize = 64 * 1024;

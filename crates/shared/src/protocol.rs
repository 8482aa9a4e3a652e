//! Messages between the programs: `link` between inner and router, `console` between console and
//! router, `media` for camera pictures. `run` and `drive` have the types that several of them
//! carry. How messages travel is not here.
//!
//! Each binary message is one MessagePack value. Enums are named by direction, fields are encoded
//! by name: so a field with a default can be added. Any other change is another version, with
//! another [`SUBPROTOCOL`].

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

/// WebSocket subprotocol: the version of these messages.
pub const SUBPROTOCOL: &str = "p2p.v1";

/// Largest encoded message, in bytes (NATS and websocketd allow about as much).
pub const MAX_MESSAGE: usize = 64 * 1024;

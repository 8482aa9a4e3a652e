//! Messages between the programs: `link` between inner and router, `console` between console and
//! router, `media` for camera pictures. `run` and `drive` have the types that several of them
//! carry. How messages travel is not here.
//!
//! Each binary message is one MessagePack value. Enums are named by direction, fields are encoded
//! by name: so a field with a default can be added. Any other change is another version, with
//! another [`SUBPROTOCOL`].
//!
//! A field that has no docs means the same in every message:
//!
//! - `request`: a number that the asking side chose, repeated in each answer;
//! - `service_port`: the link, and so the car, that the message is about;
//! - `run`, `press`: the id of the run or the press that the message is about;
//! - `command`, `arguments`: what the run executes;
//! - `clock_ms`: a time on the car's clock; `tick_ms`: the newest such time that the driver has seen;
//! - `end`: the exit code, signal or limit that ended the run; `exec_us`: the time from the start of
//!   its process (or the request to its worker) to its end; `stderr`: the last bytes of its standard
//!   error, at most [`STDERR_KEPT`];
//! - `refusal`, `rejection`, `reason`, `cause`: the kind of reason; `why`: a reason in words;
//!   `message`: a sentence that says what to do;
//! - `…_ms`: milliseconds; `…_us`: microseconds.

#![expect(
    missing_docs,
    reason = "what fields mean in every message is said once, above"
)]

mod console;
mod drive;
mod link;
mod media;
mod past;
mod run;

pub use console::*;
pub use drive::*;
pub use link::*;
pub use media::*;
pub use past::*;
pub use run::*;

/// WebSocket subprotocol: the version of these messages.
pub const SUBPROTOCOL: &str = "p2p.v1";

/// Largest encoded message, in bytes (NATS and websocketd allow about as much).
pub const MAX_MESSAGE: usize = 64 * 1024;

//! Types of the application: events, effects, and the state of the connection.

use std::time::{Duration, Instant};

use p2p_shared::protocol::ConsoleToRouter;

use crate::camera::{CameraEvent, CameraView, PastPicture};
use crate::connection::ConnectionEvent;
use crate::drive::{Blocked, KeyReleases};
use crate::screen::theme::Colours;

#[derive(Debug, Clone)]
pub enum Event {
    Terminal(crossterm::event::Event),
    Connection(ConnectionEvent),
    Camera(CameraEvent),
    /// Time has passed.
    Tick {
        /// Time when the input thread last showed that it runs.
        input_seen: Instant,
    },
    /// This program ran later than planned by this time: it was stopped, asleep or blocked.
    Late(Duration),
    /// Input that came during that time: too old to move anything, never too old to stop.
    Stale(crossterm::event::Event),
    Saved(Result<String, String>),
    /// The program must end: a signal came, or the terminal is gone.
    Terminate,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Send(ConsoleToRouter),
    /// End the program after all messages were sent.
    Quit,
    /// Write a file.
    Save {
        name: String,
        text: String,
    },
    /// Have the terminal report every key. Only while armed: typing needs AltGr.
    AllKeys(bool),
    Mouse(bool),
    /// Put a text into the terminal's clipboard.
    Copy(String),
    /// The picture that is wanted, if one is.
    Camera(Option<CameraView>),
    /// Make cells of a picture of the past.
    PastPicture(PastPicture),
}

/// State of the connection to the router.
#[derive(Debug, Clone)]
pub enum ConnectionState {
    Down {
        /// Time when the connection was lost; `None`: there was none yet.
        since: Option<Instant>,
        /// A sentence that says why, and what to do; empty before the first attempt has failed.
        why: String,
        retry_at: Option<Instant>,
    },
    Up,
    /// A past is shown; there is no connection.
    Replay {
        file: String,
    },
}

/// A sentence for the operator.
#[derive(Debug, Clone)]
pub struct Notice {
    pub text: String,
    pub is_bad: bool,
    /// Time when the notice was shown first.
    pub since: Instant,
    /// Subject of the notice, which ends when that is no longer so.
    pub about: Option<Blocked>,
}

/// Settings of the start, and the size of the terminal.
#[derive(Debug, Clone)]
pub struct AppSetup {
    pub router: String,
    /// The link to open: a name or a service port.
    pub wanted: Option<String>,
    pub readonly: bool,
    pub colour: bool,
    /// Colours for the camera's picture.
    pub colours: Colours,
    /// Key releases: reported by the terminal, or guessed.
    pub releases: KeyReleases,
    pub size: (u16, u16),
}

//! Owns the words of the application: what happens to it, what it wants done, how it stands.

use std::time::{Duration, Instant};

use p2p_shared::protocol::{ConsoleToRouter, RouterToConsole};

use crate::drive::KeyReleases;

/// What happens to the console.
#[derive(Debug, Clone)]
pub enum Event {
    /// The terminal: keys, mouse, paste, size, focus.
    Terminal(crossterm::event::Event),
    /// The router.
    Router(Box<RouterToConsole>),
    /// The connection to the router is up.
    Connected,
    /// It is lost, or could not be had.
    Disconnected {
        /// A sentence that says what to do.
        why: String,
        /// The next try.
        retry_at: Option<Instant>,
    },
    /// A ping went out.
    Pinged,
    /// Its answer came.
    Ponged {
        /// After this time.
        rtt: Duration,
    },
    /// Time went by; the terminal's input side was seen alive at that moment.
    Tick {
        /// When the input side last showed that it works.
        input_seen: Instant,
    },
    /// This program was stopped, asleep or blocked for so long beyond its plan.
    Late(Duration),
    /// What the terminal said meanwhile: too old to move anything, never too old to stop.
    Stale(crossterm::event::Event),
    /// A file was written, or why not.
    Saved(Result<String, String>),
    /// The program is to end: a signal came, or the terminal is gone.
    Terminate,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send it to the router.
    Send(ConsoleToRouter),
    /// End, after what is queued was sent.
    Quit,
    /// Write a file of this name.
    Save {
        /// Its name.
        name: String,
        /// Its content.
        text: String,
    },
    /// Have the terminal report every key (only while armed: typing loses AltGr under it).
    AllKeys(bool),
    /// Have the terminal report the mouse.
    Mouse(bool),
    /// Ping the router this often.
    PingEvery(Duration),
}

/// The console's hop to the router.
#[derive(Debug, Clone)]
pub enum ConnectionState {
    /// Never up so far.
    Connecting {
        /// Why the last try failed.
        why: String,
        /// The next try.
        retry_at: Option<Instant>,
    },
    /// Up.
    Up {
        /// Since then.
        since: Instant,
    },
    /// Lost.
    Lost {
        /// Since then.
        since: Instant,
        /// A sentence.
        why: String,
        /// The next try.
        retry_at: Option<Instant>,
    },
    /// There is none: a past log is shown.
    Replay {
        /// The file.
        file: String,
    },
}

/// A sentence for the operator.
#[derive(Debug, Clone)]
pub struct Notice {
    /// What.
    pub text: String,
    /// Whether something is wrong.
    pub is_bad: bool,
    /// Since when it is shown.
    pub since: Instant,
}

/// How the console was started.
#[derive(Debug, Clone)]
pub struct AppSetup {
    /// The router, for people.
    pub router: String,
    /// Which link to open on Drive.
    pub wanted: Option<String>,
    /// Only to watch.
    pub readonly: bool,
    /// With colours.
    pub colour: bool,
    /// How the terminal tells of releases.
    pub releases: KeyReleases,
    /// The terminal's size.
    pub size: (u16, u16),
}

//! Looks: the 16 ANSI colours on the terminal's own background, or none. Every colour has a word or
//! a glyph that says the same.

use std::time::Duration;

use ratatui::style::{Color, Modifier, Style};

use crate::drive::DriveState;

/// Round trips below this have no colour.
const PLAIN: Duration = Duration::from_millis(100);
/// Round trips up to this are amber, longer ones red.
const AMBER: Duration = Duration::from_millis(200);

/// Colours that the terminal has for a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// Too few.
    Few,
    /// xterm's 256.
    Indexed,
    /// 8 bits of red, green and blue.
    All,
}

impl Colours {
    /// What the environment says of the terminal.
    pub(crate) fn of_terminal(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let says =
            |name, word: &str| variable(name).is_some_and(|it| it.to_string_lossy().contains(word));
        if says("COLORTERM", "truecolor") || says("COLORTERM", "24bit") {
            Self::All
        } else if says("TERM", "256color") {
            Self::Indexed
        } else {
            Self::Few
        }
    }

    pub(crate) fn shows_pictures(self) -> bool {
        self != Self::Few
    }
}

/// What a sentence for the operator is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something is lost, or failed.
    Lost,
    /// Somebody asks for control.
    Request,
    /// A notice: what was asked for did not happen.
    Bad,
    /// A notice.
    Good,
}

impl Tone {
    /// Returns true for what is said as long as it is so.
    pub(crate) fn stands(self) -> bool {
        matches!(self, Self::Lost | Self::Request)
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Theme {
    colour: bool,
}

impl Theme {
    /// Without colours, bold, dim and reversed letters remain.
    pub(crate) fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// Reversed, so that letters have the background's colour: readable on light and dark.
    fn badge(self, colour: Color) -> Style {
        let style = Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD);
        if self.colour { style.fg(colour) } else { style }
    }

    pub(crate) fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    pub(crate) fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(crate) fn alarm(self) -> Style {
        self.badge(Color::Red)
    }

    pub(crate) fn warning(self) -> Style {
        self.badge(Color::Yellow)
    }

    pub(crate) fn caution(self) -> Style {
        self.coloured(Color::Yellow)
    }

    pub(crate) fn accent(self) -> Style {
        self.coloured(Color::Cyan)
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    pub(crate) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(crate) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(crate) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(crate) fn state(self, state: DriveState) -> Style {
        match state {
            DriveState::View => self.selected(),
            DriveState::Armed => self.badge(Color::Cyan),
            DriveState::Driving(_) => self.badge(Color::Green),
            DriveState::Stopped | DriveState::Failsafe | DriveState::Offline => {
                self.badge(Color::Red)
            }
            DriveState::NoAnswer => self.badge(Color::Yellow),
        }
    }

    /// The style of a piece of a command's output.
    pub(crate) fn of_output(self, style: Style) -> Style {
        match self.colour {
            true => style,
            false => Style {
                fg: None,
                bg: None,
                ..style
            },
        }
    }

    pub(crate) fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Lost => self.alarm(),
            Tone::Request => self.warning(),
            Tone::Bad => self.bad(),
            Tone::Good => self.good(),
        }
    }

    pub(crate) fn round_trip(self, rtt: Duration) -> Style {
        match rtt {
            rtt if rtt < PLAIN => Style::new(),
            rtt if rtt <= AMBER => self.warning(),
            _ => self.alarm(),
        }
    }
}

/// Glyph of what moves; an arrow is a direction.
pub(crate) const MOVES: &str = "»";

/// Glyph and word of a state.
pub(crate) fn state_words(state: DriveState) -> (&'static str, &'static str) {
    match state {
        DriveState::View => ("○", "VIEW"),
        DriveState::Armed => ("●", "ARMED"),
        DriveState::Driving(_) => (MOVES, "DRIVING"),
        DriveState::Stopped => ("■", "STOPPED"),
        DriveState::Failsafe => ("◆", "FAILSAFE"),
        DriveState::NoAnswer => ("?", "NO ANSWER"),
        DriveState::Offline => ("✖", "OFFLINE"),
    }
}

/// The word for a round trip's colour.
pub(crate) fn round_trip_word(rtt: Duration) -> &'static str {
    match rtt {
        rtt if rtt < PLAIN => "",
        rtt if rtt <= AMBER => " slow",
        _ => " TOO SLOW",
    }
}

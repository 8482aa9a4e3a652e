//! Texts, lists and bytes of messages, each with a bound in its type that is checked as a message is
//! decoded. So whatever a peer may say can also be passed on, in a message that is not too large.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::names::Argument;
use crate::text::Escaped;

/// Most bytes of a [`Text`].
pub const MAX_TEXT: usize = 2 * 1024;
/// Most [`Arguments`] of a run.
pub const MAX_ARGUMENTS: usize = 256;
/// Most bytes of all [`Arguments`] of a run: half of what a message may have.
pub const MAX_ARGUMENT_BYTES: usize = 32 * 1024;

/// Reason why a part of a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BoundError {
    /// The text is longer than [`MAX_TEXT`].
    #[error("a text of more than {MAX_TEXT} bytes")]
    Text,
    /// The list has more entries than its type allows.
    #[error("a list of more than {0} entries")]
    List(usize),
    /// There are more bytes than their type allows.
    #[error("more than {0} bytes in one piece")]
    Bytes(usize),
    /// There are more than [`MAX_ARGUMENTS`].
    #[error("more than {MAX_ARGUMENTS} arguments: give long input on standard input")]
    ArgumentCount,
    /// The arguments have more than [`MAX_ARGUMENT_BYTES`] in all.
    #[error(
        "the arguments have more than {MAX_ARGUMENT_BYTES} bytes in all: give long input on standard input"
    )]
    ArgumentBytes,
}

/// Text for people, of at most [`MAX_TEXT`] bytes. It may come from a peer: shown, each hidden
/// character is escaped (see [`Escaped`]).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Text(String);

impl Text {
    /// Takes this text, cut to what fits.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        Self(text)
    }

    /// Returns the text as it was given, for comparing or for whoever escapes it.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl TryFrom<String> for Text {
    type Error = BoundError;

    fn try_from(text: String) -> Result<Self, BoundError> {
        match text.len() <= MAX_TEXT {
            true => Ok(Self(text)),
            false => Err(BoundError::Text),
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

/// List of at most `MAX` entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<T>", bound(deserialize = "T: Deserialize<'de>"))]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> TryFrom<Vec<T>> for List<T, MAX> {
    type Error = BoundError;

    fn try_from(list: Vec<T>) -> Result<Self, BoundError> {
        match list.len() <= MAX {
            true => Ok(Self(list)),
            false => Err(BoundError::List(MAX)),
        }
    }
}

/// Takes the first `MAX` entries.
impl<T, const MAX: usize> FromIterator<T> for List<T, MAX> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        Self(entries.into_iter().take(MAX).collect())
    }
}

impl<T, const MAX: usize> IntoIterator for List<T, MAX> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

/// Entries may change, their number may not.
impl<T, const MAX: usize> DerefMut for List<T, MAX> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Bytes of at most `MAX`: a piece of output or input, or the end of a run's standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Bytes")]
pub struct Piece<const MAX: usize>(Bytes);

impl<const MAX: usize> Piece<MAX> {
    /// Splits the first bytes off, as many as fit.
    #[must_use]
    pub fn split_from(bytes: &mut Bytes) -> Self {
        Self(bytes.split_to(bytes.len().min(MAX)))
    }

    /// Splits the first lines off, as many as fit; of a line that is too long, the bytes that fit.
    #[must_use]
    pub fn lines_from(bytes: &mut Bytes) -> Self {
        let fits = &bytes[..bytes.len().min(MAX)];
        let last = fits.iter().rposition(|byte| *byte == b'\n');
        Self(bytes.split_to(last.map_or(fits.len(), |last| last + 1)))
    }

    /// Copies the first of these bytes, as many as fit.
    #[must_use]
    pub fn first_of(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(&bytes[..bytes.len().min(MAX)]))
    }

    /// Copies the last of these bytes, as many as fit.
    #[must_use]
    pub fn last_of(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(
            &bytes[bytes.len().saturating_sub(MAX)..],
        ))
    }
}

impl<const MAX: usize> TryFrom<Bytes> for Piece<MAX> {
    type Error = BoundError;

    fn try_from(bytes: Bytes) -> Result<Self, BoundError> {
        match bytes.len() <= MAX {
            true => Ok(Self(bytes)),
            false => Err(BoundError::Bytes(MAX)),
        }
    }
}

impl<const MAX: usize> From<Piece<MAX>> for Bytes {
    fn from(piece: Piece<MAX>) -> Self {
        piece.0
    }
}

impl<const MAX: usize> Deref for Piece<MAX> {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.0
    }
}

/// Arguments of a run: at most [`MAX_ARGUMENTS`], and [`MAX_ARGUMENT_BYTES`] in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Argument>")]
pub struct Arguments(Vec<Argument>);

impl TryFrom<Vec<Argument>> for Arguments {
    type Error = BoundError;

    fn try_from(arguments: Vec<Argument>) -> Result<Self, BoundError> {
        if arguments.len() > MAX_ARGUMENTS {
            return Err(BoundError::ArgumentCount);
        }
        let bytes: usize = arguments
            .iter()
            .map(|argument| argument.as_bytes().len())
            .sum();
        match bytes <= MAX_ARGUMENT_BYTES {
            true => Ok(Self(arguments)),
            false => Err(BoundError::ArgumentBytes),
        }
    }
}

/// Shows the arguments as a list of quoted texts, and nothing if there are none.
impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_empty() {
            true => Ok(()),
            false => fmt::Debug::fmt(&self.0, f),
        }
    }
}

impl Deref for Arguments {
    type Target = [Argument];

    fn deref(&self) -> &[Argument] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};
    use crate::names::{CommandName, LinkName, RunId};
    use crate::protocol::{
        ActiveMotion, CommandInfo, ConsoleToRouter, ControlEnd, ControlInfo, Driver, End,
        InnerToRouter, LinkInfo, MAX_MOTIONS, MAX_RTTS, MotionEvent, Outcome, OutputPiece, PressId,
        Refusal, RouterToConsole, RouterToInner, RunAnswer, RunReport, RunRequest, SendEvent,
        SessionId, StderrTail,
    };

    fn text() -> Text {
        Text::new("x".repeat(10 * MAX_TEXT))
    }

    fn command() -> CommandName {
        vec!["x".repeat(64); 4].join("/").parse().unwrap()
    }

    fn arguments() -> Arguments {
        let argument = Bytes::from(vec![b'x'; MAX_ARGUMENT_BYTES / MAX_ARGUMENTS]);
        let arguments = vec![Argument::try_from(argument).unwrap(); MAX_ARGUMENTS];
        arguments.try_into().unwrap()
    }

    fn output() -> OutputPiece {
        OutputPiece::first_of(&[0xff; 1 << 20])
    }

    fn stderr() -> StderrTail {
        StderrTail::last_of(&[0xff; 1 << 20])
    }

    fn report() -> RunReport {
        RunReport {
            command: command(),
            age_ms: u64::MAX,
            outcome: Outcome::Unknown(text()),
            bytes: u64::MAX,
            output: output(),
            stderr: stderr(),
        }
    }

    /// Tests the largest messages of a car and a console, and those in which they are passed on.
    #[test]
    fn the_largest_of_what_is_decoded_inward_can_be_encoded_outward() {
        let run = RunId::from_number(u64::MAX);
        let fits = |name: &str, bytes: Result<Bytes, _>| {
            assert!(bytes.is_ok(), "{name}: {:?}", bytes.err());
        };
        let end = End::Exit(i32::MIN);
        let exec_us = u64::MAX;
        fits(
            "answered",
            encode(&InnerToRouter::Answered {
                run,
                end,
                exec_us,
                output: output(),
                stderr: stderr(),
            }),
        );
        fits(
            "report",
            encode(&InnerToRouter::Run {
                run,
                report: Some(report()),
            }),
        );
        let answer = RunAnswer::Report(report());
        fits(
            "report to a console",
            encode(&RouterToConsole::Run {
                request: u64::MAX,
                answer,
            }),
        );
        for event in [
            SendEvent::Output(output()),
            SendEvent::Finished {
                end,
                exec_us,
                stderr: stderr(),
            },
            SendEvent::Refused {
                refusal: Some(Refusal::NotExecutable),
                reason: None,
                message: text(),
            },
        ] {
            fits(
                "event",
                encode(&RouterToConsole::SendEvent {
                    request: u64::MAX,
                    event,
                }),
            );
        }
        let send = ConsoleToRouter::Send {
            request: u64::MAX,
            service_port: u16::MAX,
            command: command(),
            arguments: arguments(),
            for_ms: Some(u64::MAX),
        };
        fits("send", encode(&send));
        let request = RunRequest {
            run,
            command: command(),
            arguments: arguments(),
            deadline_ms: u64::MAX,
            remote_addr: text(),
            by: Some(text()),
            stdin_bytes: u64::MAX,
            for_ms: Some(u64::MAX),
        };
        fits("run", encode(&RouterToInner::Run(request)));
        let press = PressId {
            epoch: u64::MAX,
            number: u64::MAX,
        };
        let moving = ActiveMotion {
            run,
            command: command(),
            press: Some(press),
        };
        fits(
            "motion",
            encode(&InnerToRouter::Motion(MotionEvent::Started(moving.clone()))),
        );
        let press = RouterToInner::Press {
            press,
            run,
            command: command(),
            tick_ms: u64::MAX,
            driver: text(),
            remote_addr: text(),
        };
        fits("press", encode(&press));
        // Lists go in parts that are full at half a message: so one entry has to be less than the
        // other half.
        let half = crate::protocol::MAX_MESSAGE / 2;
        let driver = Driver {
            session: SessionId(u64::MAX),
            name: text(),
        };
        let link = LinkInfo {
            service_port: u16::MAX,
            name: LinkName::try_from("車".repeat(64)).unwrap(),
            key: text(),
            is_up: true,
            since_ms: u64::MAX,
            rtts_us: std::iter::repeat_n(u32::MAX, 2 * MAX_RTTS).collect(),
            runs: u64::MAX,
            failures: u64::MAX,
            motion: std::iter::repeat_n(command(), 2 * MAX_MOTIONS).collect(),
            stop: command(),
            lease_ms: u64::MAX,
            motion_limit_ms: u64::MAX,
            control: ControlInfo {
                recording: None,
                driver: Some(driver.clone()),
                request: Some((driver, u64::MAX)),
                epoch: u64::MAX,
                ended: Some(ControlEnd::Closing),
            },
            moving: Some(moving),
            stop_failed: true,
            router: None,
            epoch: None,
            silent_ms: None,
            stop_failure: None,
            past: false,
        };
        assert!(encode(&link).unwrap().len() < half);
        let info = CommandInfo {
            name: command(),
            problem: Some(text()),
        };
        assert!(encode(&info).unwrap().len() < half);
    }

    #[test]
    fn what_is_larger_than_its_type_is_not_decoded() {
        let is_taken = |text: &str| decode::<Text>(&encode(&text).unwrap()).is_ok();
        assert!(is_taken(&"x".repeat(MAX_TEXT)) && !is_taken(&"x".repeat(MAX_TEXT + 1)));
        let is_taken = |list: &[u8]| decode::<List<u8, 3>>(&encode(&list).unwrap()).is_ok();
        assert!(is_taken(&[1, 2, 3]) && !is_taken(&[1, 2, 3, 4]));
        let is_taken = |bytes: &'static [u8]| {
            decode::<Piece<3>>(&encode(&Bytes::from_static(bytes)).unwrap()).is_ok()
        };
        assert!(is_taken(b"abc") && !is_taken(b"abcd"));
        let are_taken = |count: usize, length: usize| {
            let list = vec![Bytes::from(vec![b'x'; length]); count];
            decode::<Arguments>(&encode(&list).unwrap()).is_ok()
        };
        assert!(are_taken(MAX_ARGUMENTS, 128) && !are_taken(MAX_ARGUMENTS + 1, 1));
        assert!(are_taken(1, MAX_ARGUMENT_BYTES) && !are_taken(2, MAX_ARGUMENT_BYTES / 2 + 1));
    }

    #[test]
    fn a_text_is_cut_at_a_character_and_shown_without_hidden_ones() {
        let wide = Text::new("車".repeat(MAX_TEXT));
        assert_eq!(wide.raw().len(), MAX_TEXT / 3 * 3);
        assert_eq!(
            Text::from("a\u{1b}[2J\u{202e}").to_string(),
            "a\\u{1b}[2J\\u{202e}"
        );
    }

    #[test]
    fn lines_are_split_at_their_ends_as_long_as_they_fit() {
        let mut bytes = Bytes::from_static(b"ab\ncd\nefghijk");
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            pieces.push(Piece::<6>::lines_from(&mut bytes).to_vec());
        }
        assert_eq!(pieces, [&b"ab\ncd\n"[..], b"efghij", b"k"]);
    }
}

//! Escapes text from outside, for terminals and log lines. Nothing here prints.
//!
//! A command's output, a peer's name or a file's content may hold an escape sequence that repaints
//! the screen, a line break that forges a log line, or an invisible character that makes two names
//! look the same. Such characters become `\n`, `\u{1b}` and the like; all others stay, wide and
//! combining characters too. The result is for reading, not for parsing: a backslash is not
//! doubled.

use std::fmt::{self, Display, Write};

/// Shows a string from outside with each hidden character (see [`is_hidden`]) escaped.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl<'a> Escaped<'a> {
    /// Limits the shown text to `chars` characters, then `…` if there is more.
    #[must_use]
    pub fn cut(self, chars: usize) -> Cut<'a> {
        EscapedBytes(self.0.as_bytes()).cut(chars)
    }
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaper::new(f).write_str(self.0)
    }
}

/// Shows bytes from outside like [`Escaped`]; bytes that are not UTF-8 become `\xNN`.
#[derive(Clone, Copy, Debug)]
pub struct EscapedBytes<'a>(pub &'a [u8]);

impl<'a> EscapedBytes<'a> {
    /// Limits the shown text to `chars` characters, then `…` if there is more.
    #[must_use]
    pub fn cut(self, chars: usize) -> Cut<'a> {
        Cut {
            bytes: self.0,
            chars,
        }
    }
}

impl Display for EscapedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaper::new(f).write_bytes(self.0)
    }
}

/// Shows the beginning of a text from outside; made by `cut` of [`Escaped`] and [`EscapedBytes`].
#[derive(Clone, Copy, Debug)]
pub struct Cut<'a> {
    bytes: &'a [u8],
    chars: usize,
}

impl Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Escaper::cut(f, self.chars);
        match out.write_bytes(self.bytes) {
            Err(fmt::Error) if out.is_full() => Ok(()),
            result => result,
        }
    }
}

/// Shows JSON from outside with each hidden character (see [`is_hidden`]) escaped as JSON does,
/// which changes no value. For JSON on one line: there, hidden characters are in strings only.
#[derive(Clone, Copy, Debug)]
pub struct EscapedJson<'a>(pub &'a str);

impl Display for EscapedJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(is_hidden) {
            let (plain, hidden) = rest.split_at(at);
            f.write_str(plain)?;
            let mut chars = hidden.chars();
            for unit in chars.next().unwrap_or_default().encode_utf16(&mut [0; 2]) {
                write!(f, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        f.write_str(rest)
    }
}

/// Escapes everything that is written to it, for text that is formatted piece by piece.
///
/// At the limit writing fails with [`fmt::Error`], so that a long `Debug` output is not formatted
/// to its end for nothing; [`Escaper::is_full`] tells this from a real error.
#[derive(Debug)]
pub struct Escaper<W> {
    out: W,
    left: usize,
    full: bool,
}

impl<W: Write> Escaper<W> {
    /// Makes an escaper without a limit.
    pub fn new(out: W) -> Self {
        Self::cut(out, usize::MAX)
    }

    /// Writes at most `chars` characters, then `…` and nothing more.
    pub fn cut(out: W, chars: usize) -> Self {
        Self {
            out,
            left: chars,
            full: false,
        }
    }

    /// Returns true if something was left out.
    pub fn is_full(&self) -> bool {
        self.full
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> fmt::Result {
        for chunk in bytes.utf8_chunks() {
            self.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                self.reserve(4)?;
                write!(self.out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }

    /// Takes room for this many characters: an escape is shown whole or not at all.
    fn reserve(&mut self, chars: usize) -> fmt::Result {
        if self.full {
            return Err(fmt::Error);
        }
        if let Some(left) = self.left.checked_sub(chars) {
            self.left = left;
            return Ok(());
        }
        self.full = true;
        self.out.write_char('…')?;
        Err(fmt::Error)
    }
}

impl<W: Write> Write for Escaper<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Plain text, which is nearly all text, is passed on in long pieces.
        let mut run = 0;
        for (at, c) in text.char_indices() {
            let hidden = is_hidden(c);
            let width = if hidden { c.escape_default().len() } else { 1 };
            if self.left < width || hidden {
                self.out.write_str(&text[run..at])?;
                run = at;
            }
            self.reserve(width)?;
            if hidden {
                write!(self.out, "{}", c.escape_default())?;
                run = at + c.len_utf8();
            }
        }
        self.out.write_str(&text[run..])
    }
}

/// Returns true for a character that acts on the screen or the line instead of being seen: controls
/// (C0, DEL, C1), line and paragraph separators, everything that sets the direction of text, and
/// the invisible characters of Unicode 16 (default ignorable and format characters, fillers, tags).
/// Variation selectors 1 to 16 are not among them: emoji need them.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(c,
        '\u{80}'..='\u{9f}'
        | '\u{ad}' // soft hyphen
        | '\u{34f}' // combining grapheme joiner, without a shape of its own
        | '\u{61c}' // Arabic letter mark: direction
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
        | '\u{17b4}' | '\u{17b5}' // Khmer inherent vowels, never shown
        | '\u{180b}'..='\u{180f}' // Mongolian selectors and vowel separator
        | '\u{200b}'..='\u{200f}' // zero-width space and joiners, direction marks
        | '\u{2028}'..='\u{202e}' // line and paragraph separators, direction overrides
        | '\u{2060}'..='\u{206f}' // word joiner, invisible operators, direction isolates
        | '\u{feff}' // byte order mark
        | '\u{fff0}'..='\u{fffb}' // reserved ignorables, interlinear annotation
        | '\u{13430}'..='\u{1343f}' // Egyptian hieroglyph layout
        | '\u{1bca0}'..='\u{1bca3}' // shorthand format
        | '\u{1d173}'..='\u{1d17a}' // musical format
        | '\u{e0000}'..='\u{e0fff}') // tags, further variation selectors
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_and_line_breaks_become_text() {
        let shown =
            Escaped("a\x1b[31mb\r\nc\td\u{7f}\u{9b}2J\u{202e}e\u{200b}\u{2028}").to_string();
        assert_eq!(
            shown,
            r"a\u{1b}[31mb\r\nc\td\u{7f}\u{9b}2J\u{202e}e\u{200b}\u{2028}"
        );
    }

    #[test]
    fn what_can_be_seen_stays_as_it_is() {
        let text = "fährt nach 東京 🚗 ❤\u{fe0f} e\u{301} \\n 'x'";
        assert_eq!(Escaped(text).to_string(), text);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_numbers() {
        let bytes = b"ok\xff\xfe\x1b\xe2\x82";
        assert_eq!(EscapedBytes(bytes).to_string(), r"ok\xff\xfe\u{1b}\xe2\x82");
    }

    #[test]
    fn json_keeps_its_values_and_hides_nothing() {
        let value = serde_json::json!({ "a": "\u{7f}\u{9b}2J\u{202e}e\u{e0041}東\x1b\n" });
        let shown = EscapedJson(&value.to_string()).to_string();
        assert_eq!(
            shown,
            r#"{"a":"\u007f\u009b2J\u202ee\udb40\udc41東\u001b\n"}"#
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            value
        );
    }

    #[test]
    fn a_cut_never_splits_an_escape() {
        assert_eq!(Escaped("abc").cut(3).to_string(), "abc");
        assert_eq!(Escaped("abcd").cut(3).to_string(), "abc…");
        assert_eq!(Escaped("ab\x1b").cut(7).to_string(), "ab…");
        assert_eq!(Escaped("ab\x1b").cut(8).to_string(), r"ab\u{1b}");
        assert_eq!(EscapedBytes(b"ab\xffc").cut(5).to_string(), "ab…");
        assert_eq!(Escaped("a").cut(0).to_string(), "…");
        assert_eq!(Escaped("").cut(0).to_string(), "");
    }

    #[test]
    fn a_full_escaper_takes_nothing_more() {
        let mut out = Escaper::cut(String::new(), 2);
        assert!(out.write_str("abc").is_err());
        assert!(out.write_str("d").is_err());
        assert!(out.is_full());
        assert_eq!(out.out, "ab…");
    }

    proptest! {
        #[test]
        fn nothing_hidden_comes_through(bytes: Vec<u8>, text: String, chars in 0_usize..40) {
            for shown in [
                EscapedBytes(&bytes).to_string(),
                Escaped(&text).to_string(),
                EscapedBytes(&bytes).cut(chars).to_string(),
                Escaped(&text).cut(chars).to_string(),
            ] {
                prop_assert!(!shown.chars().any(|c| c.is_control() || is_hidden(c)));
            }
        }

        #[test]
        fn every_control_and_direction_character_is_hidden(c: char) {
            let shown = Escaped(c.encode_utf8(&mut [0; 4])).to_string();
            prop_assert_eq!(is_hidden(c), shown.is_ascii() && shown.starts_with('\\') && c != '\\');
            prop_assert!(!c.is_control() || is_hidden(c));
        }

        #[test]
        fn a_cut_is_a_beginning_of_the_whole(text: String, chars in 0_usize..40) {
            let whole = Escaped(&text).to_string();
            let cut = Escaped(&text).cut(chars).to_string();
            prop_assert!(cut.chars().count() <= chars + 1);
            match cut.strip_suffix('…') {
                Some(start) if cut != whole => prop_assert!(whole.starts_with(start)),
                _ => prop_assert_eq!(cut, whole),
            }
        }
    }
}

//! A line that is being typed, and its purpose. Pure.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use p2p_shared::text::is_hidden;

/// Most characters of a line; longer pastes are cut.
const LONGEST: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldPurpose {
    Filter,
    Arguments,
    /// Words that a page is searched for.
    Search,
    /// Words of the action that is looked for.
    Palette,
}

#[derive(Debug, Clone)]
pub struct TextField {
    pub purpose: FieldPurpose,
    pub text: String,
    /// The text at first, to which Esc returns.
    pub before: String,
}

/// The effect of a key on the field.
#[derive(Debug, PartialEq, Eq)]
pub enum FieldResult {
    Editing,
    Submitted,
    Cancelled,
}

impl TextField {
    pub fn new(purpose: FieldPurpose, text: &str) -> Self {
        Self {
            purpose,
            text: text.to_owned(),
            before: text.to_owned(),
        }
    }

    pub fn key(&mut self, key: &KeyEvent) -> FieldResult {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return FieldResult::Submitted,
            KeyCode::Esc => return FieldResult::Cancelled,
            KeyCode::Char('u') if control => self.text.clear(),
            KeyCode::Char(_) if control || key.modifiers.contains(KeyModifiers::ALT) => {}
            KeyCode::Char(c) => self.push(c),
            KeyCode::Backspace => {
                self.text.pop();
            }
            _ => {}
        }
        FieldResult::Editing
    }

    /// Inserts the first line of a pasted text, without hidden characters.
    pub fn paste(&mut self, text: &str) {
        let line = text.trim_start().lines().next().unwrap_or_default();
        for c in line.chars().take(LONGEST) {
            self.push(c);
        }
    }

    fn push(&mut self, c: char) {
        if !is_hidden(c) && self.text.chars().count() < LONGEST {
            self.text.push(c);
        }
    }
}

/// Splits a line into words as a shell does: at spaces, with quotes and backslashes. Nothing else
/// has a meaning.
///
/// # Errors
/// A sentence, if a quote isn't closed.
pub fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('\\', None | Some('"')) => {
                let next = chars.next().ok_or("nothing follows the last backslash")?;
                word.get_or_insert_default().push(next);
            }
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote isn't closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_as_a_shell_splits_it() {
        assert_eq!(
            words(r#" a "b c" 'd"e' f\ g "" "#).unwrap(),
            ["a", "b c", "d\"e", "f g", ""]
        );
        assert_eq!(words("$HOME;`x`|y").unwrap(), ["$HOME;`x`|y"]);
        assert!(words("'a").is_err() && words("a\\").is_err());
        assert!(words("   ").unwrap().is_empty());
    }

    #[test]
    fn a_megabyte_of_paste_is_one_short_line_without_escapes() {
        let mut field = TextField::new(FieldPurpose::Filter, "");
        field.paste(&("a\x1b[31m".repeat(100_000) + "\nrm -rf /\n"));
        assert!(field.text.chars().count() <= LONGEST);
        assert!(!field.text.contains('\x1b') && !field.text.contains("rm"));
    }
}

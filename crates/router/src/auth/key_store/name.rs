//! Names of keys, safe to print, to log and to give as an argument.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Name of a key: 1 to 64 bytes of UTF-8 without control characters, without a leading `-` (which
/// would be read as an option) and without whitespace at either end (which could not be seen).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyName(pub(super) String);

impl KeyName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = ParseKeyNameError;

    fn from_str(text: &str) -> Result<Self, ParseKeyNameError> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for KeyName {
    type Error = ParseKeyNameError;

    fn try_from(text: String) -> Result<Self, ParseKeyNameError> {
        let fits = (1..=64).contains(&text.len());
        let plain = !text.contains(char::is_control) && text.trim() == text;
        if fits && plain && !text.starts_with('-') {
            Ok(Self(text))
        } else {
            Err(ParseKeyNameError)
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The text can't name a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key's name is 1 to 64 bytes long, has no control characters, does not begin with `-` and has no space at its ends"
)]
pub struct ParseKeyNameError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_person_would_write() {
        for name in ["car", "Räuber 2", "a", "車", &"x".repeat(64)] {
            assert_eq!(name.parse::<KeyName>().unwrap().as_str(), name);
        }
        let long = "x".repeat(65);
        for name in [
            "",
            "-car",
            " car",
            "car ",
            "a\nb",
            "a\u{1b}[2J",
            "a\u{9b}b",
            "a\0",
            &long,
        ] {
            assert_eq!(name.parse::<KeyName>(), Err(ParseKeyNameError), "{name:?}");
        }
    }
}

//! `KeyId`: the part of a key that may be seen. It names the key in files, logs and messages, and
//! it is an inner's identity.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{decode_base32, encode_base32};

/// 40 random bits, shown as 8 characters of lowercase base32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyId([u8; 5]);

impl KeyId {
    pub(super) fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 5];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    #[cfg(test)]
    pub(super) fn from_bytes(bytes: [u8; 5]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&encode_base32(&self.0))
    }
}

impl FromStr for KeyId {
    type Err = ParseKeyIdError;

    fn from_str(text: &str) -> Result<Self, ParseKeyIdError> {
        decode_base32(text).map(Self).ok_or(ParseKeyIdError)
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for KeyId {
    type Error = ParseKeyIdError;

    fn try_from(text: String) -> Result<Self, ParseKeyIdError> {
        text.parse()
    }
}

/// A text that is not a key's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's id is 8 characters of a-z and 2-7")]
pub struct ParseKeyIdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_messagepack() {
        let id = KeyId::generate().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        let packed = rmp_serde::to_vec(&id).unwrap();
        assert_eq!(packed.len(), 9, "a string of 8 characters");
        assert_eq!(rmp_serde::from_slice::<KeyId>(&packed).unwrap(), id);
    }

    #[test]
    fn an_id_has_one_spelling() {
        for text in [
            "",
            "aaaaaaa",
            "aaaaaaaaa",
            "AAAAAAAA",
            "aaaaaaa1",
            "aaaaaaa=",
            "aaaaaaä",
        ] {
            assert_eq!(text.parse::<KeyId>(), Err(ParseKeyIdError), "{text}");
        }
    }
}

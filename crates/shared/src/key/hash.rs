//! `KeyHash`: the form in which the router stores a key's secret.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Bytes that are hashed before the secret, so that these hashes mean nothing anywhere else.
const DOMAIN: &[u8] = b"p2prouter key secret, version 1\0";

/// SHA-256 of a key's secret, written as `sha256:` and 64 hexadecimal digits.
///
/// A fast hash without salt is enough, since the secret is 256 random bits and not a password.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    pub(super) fn of_secret(secret: &[u8]) -> Self {
        Self(
            Sha256::new()
                .chain_update(DOMAIN)
                .chain_update(secret)
                .finalize()
                .into(),
        )
    }
}

/// Takes the same time whether the hashes are equal or not.
impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", HEXLOWER.encode(&self.0))
    }
}

impl FromStr for KeyHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let digits = text.strip_prefix("sha256:").ok_or(NotAHash)?;
        let bytes = HEXLOWER.decode(digits.as_bytes()).map_err(|_| NotAHash)?;
        bytes.try_into().map(Self).map_err(|_| NotAHash)
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for KeyHash {
    type Error = NotAHash;

    fn try_from(text: String) -> Result<Self, NotAHash> {
        text.parse()
    }
}

/// Error for a text that is not a key's hash. The text is not repeated, as it may be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's hash is `sha256:` and 64 hexadecimal digits")]
pub struct NotAHash;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wrong_hash_is_refused_without_being_repeated() {
        for text in [
            "",
            "sha256:",
            "sha256:00",
            "md5:00",
            &format!("sha256:{}", "Z".repeat(64)),
        ] {
            assert_eq!(text.parse::<KeyHash>(), Err(NotAHash), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_hash_survives_its_text(secret in any::<[u8; 32]>()) {
            let hash = KeyHash::of_secret(&secret);
            prop_assert!(hash.to_string().parse::<KeyHash>().unwrap() == hash);
        }

        #[test]
        fn one_changed_bit_does_not_match(secret in any::<[u8; 32]>(), bit in 0_usize..256) {
            let mut changed = secret;
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(KeyHash::of_secret(&secret) != KeyHash::of_secret(&changed));
        }
    }
}

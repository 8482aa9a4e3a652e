//! `Base32`: the parts of a key as text, each with one spelling.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD_NOCASE, BASE64};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes that are written as lowercase base32 without padding (the alphabet of RFC 4648, section 6,
/// in lower case).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Base32<const N: usize>(pub(super) [u8; N]);

/// Part of a key that may be seen: 40 random bits, 8 characters. The id names the key in files, logs
/// and messages, and is the identity of an inner.
pub type KeyId = Base32<5>;

/// SHA-256 of the router's public key, that is of its `SubjectPublicKeyInfo` in DER (what RFC 7469
/// pins): 52 characters, the last part of a key, by which inner and console know the router without
/// a certificate authority. A new certificate for the same public key has the same fingerprint.
pub type Fingerprint = Base32<32>;

impl<const N: usize> Base32<N> {
    /// Draws bytes from the kernel's random numbers.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; N];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Fingerprint {
    /// Makes the fingerprint of a public key, given as `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn of_public_key(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }

    /// Returns the fingerprint as `curl --pinnedpubkey` wants it.
    #[must_use]
    pub fn for_curl(&self) -> String {
        format!("sha256//{}", BASE64.encode(&self.0))
    }
}

impl<const N: usize> fmt::Display for Base32<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&BASE32_NOPAD_NOCASE.encode(&self.0).to_ascii_lowercase())
    }
}

/// Shows the type alone, as the bytes may be a secret.
impl<const N: usize> fmt::Debug for Base32<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base32<{N}>")
    }
}

impl<const N: usize> FromStr for Base32<N> {
    type Err = NotBase32;

    fn from_str(text: &str) -> Result<Self, NotBase32> {
        let not_base32 = NotBase32 {
            chars: (N * 8).div_ceil(5),
        };
        // One text for each value: so no upper case, and no stray bits at the end.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(not_base32);
        }
        let bytes = BASE32_NOPAD_NOCASE.decode(text.as_bytes()).ok();
        let bytes: Option<[u8; N]> = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(not_base32)
    }
}

impl<const N: usize> From<Base32<N>> for String {
    fn from(bytes: Base32<N>) -> Self {
        bytes.to_string()
    }
}

impl<const N: usize> TryFrom<String> for Base32<N> {
    type Error = NotBase32;

    fn try_from(text: String) -> Result<Self, NotBase32> {
        text.parse()
    }
}

/// Error for a text that is not base32 of this length. The text is not repeated, as it may be a
/// secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{chars} characters of a-z and 2-7 are wanted")]
pub struct NotBase32 {
    chars: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_messagepack() {
        let id = KeyId::random().unwrap();
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
            let error = text.parse::<KeyId>().unwrap_err();
            assert_eq!(
                error.to_string(),
                "8 characters of a-z and 2-7 are wanted",
                "{text}"
            );
        }
    }

    #[test]
    fn it_is_the_sha_256_of_the_public_key_as_openssl_and_curl_have_it() {
        // printf abc | openssl dgst -sha256 -binary | base64
        let abc = Fingerprint::of_public_key(b"abc");
        assert_eq!(
            abc.for_curl(),
            "sha256//ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
        );
        assert_eq!(abc.to_string().len(), 52);
        assert_eq!(abc.to_string().parse(), Ok(abc));
        assert!("abc".parse::<Fingerprint>().is_err());
    }
}

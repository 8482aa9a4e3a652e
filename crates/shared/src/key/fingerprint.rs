//! `Fingerprint`: the router's public key, as a pasted key carries it, so that inner and console
//! know the router again without a certificate authority.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use super::{decode_base32, encode_base32};

/// SHA-256 of a public key, that is of its `SubjectPublicKeyInfo` in DER (what RFC 7469 pins). It
/// outlives the certificate: a new one for the same key has the same fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of this public key, a `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn of_public_key(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }

    /// As `curl --pinnedpubkey` wants it.
    #[must_use]
    pub fn for_curl(&self) -> String {
        format!("sha256//{}", BASE64.encode(&self.0))
    }

    #[cfg(test)]
    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// 52 characters of lowercase base32, the last part of a key.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&encode_base32(&self.0))
    }
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, ParseFingerprintError> {
        decode_base32(text).map(Self).ok_or(ParseFingerprintError)
    }
}

/// A text that is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a router's fingerprint is 52 characters of a-z and 2-7")]
pub struct ParseFingerprintError;

#[cfg(test)]
mod tests {
    use super::*;

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

//! `InviteCode`: the secret of an invitation.

use std::fmt;
use std::str::FromStr;

use super::NoRandomness;
use super::base32::{Base32, Fingerprint};
use super::hash::KeyHash;

/// What whoever shows it is given, once: 80 random bits, of which each guess counts as a wrong key.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteCode(Base32<{ InviteCode::BYTES }>);

/// First 128 bits of a [`Fingerprint`]: enough, as nobody can make another key that begins so, and half as long to paste.
pub type FingerprintStart = Base32<16>;

impl InviteCode {
    const BYTES: usize = 10;
    /// Characters of its text.
    pub const CHARS: usize = (Self::BYTES * 8).div_ceil(5);

    /// Makes a code from the kernel's random numbers.
    ///
    /// # Errors
    /// If the kernel gives none.
    pub fn generate() -> Result<Self, NoRandomness> {
        Base32::random().map(Self).map_err(NoRandomness)
    }

    /// Returns the hash, which the router keeps.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of_secret(&self.0.0)
    }

    /// Returns the text, which nobody else is to see.
    #[must_use]
    pub fn expose(&self) -> String {
        self.0.to_string()
    }
}

/// No log has it.
impl fmt::Debug for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteCode")
    }
}

impl FromStr for InviteCode {
    type Err = super::NotBase32;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Fingerprint {
    /// Returns the beginning.
    #[must_use]
    pub fn start(&self) -> FingerprintStart {
        Base32(std::array::from_fn(|at| self.0[at]))
    }
}

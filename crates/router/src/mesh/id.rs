//! Ids of members, the epochs of links, and the address at which a member is reached.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use p2p_shared::net::dialer::{RouterAddress, parse_host};
use serde::{Deserialize, Serialize};

/// Id of a member, of ten bits: what tells ids that two members give at the same time apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct MemberId(u16);

impl MemberId {
    pub(crate) const BITS: u32 = 10;

    /// Takes the low bits of a number.
    pub(crate) fn from_bits(bits: u64) -> Self {
        // The mask leaves ten bits.
        Self(u16::try_from(bits & ((1 << Self::BITS) - 1)).unwrap_or_default())
    }

    pub(crate) fn bits(self) -> u16 {
        self.0
    }

    /// The number and this id in one number.
    pub(crate) fn with(self, number: u64) -> u64 {
        (number << Self::BITS) | u64::from(self.0)
    }
}

impl TryFrom<u16> for MemberId {
    type Error = &'static str;

    fn try_from(bits: u16) -> Result<Self, Self::Error> {
        match bits >> Self::BITS {
            0 => Ok(Self(bits)),
            _ => Err("an id of a member has ten bits"),
        }
    }
}

impl From<MemberId> for u16 {
    fn from(id: MemberId) -> Self {
        id.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Random id of one start of a member. Everything that a member says is of one start: a restarted
/// router is another one to the rest of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Start(pub u64);

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Number of a link of a port: a later link of the same identity has a higher one, at whichever
/// member. Microseconds of a clock, or one more than what was known.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub(crate) struct Epoch(u64);

impl Epoch {
    /// The highest that is taken from another member: the year 2262 has lower ones.
    pub(crate) const HIGHEST: Self = Self(1 << 63);

    pub(crate) fn number(self) -> u64 {
        self.0
    }

    pub(crate) fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The epoch after this one; at the end of all, the last that others take.
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1).min(Self::HIGHEST.0 - 1))
    }

    pub(crate) fn at(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(p2p_shared::timing::micros(since))
    }
}

/// Address of a member's main port, as the other members reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberAddress(pub RouterAddress);

impl MemberAddress {
    /// The address of a router with this main port, by this host's name.
    ///
    /// # Errors
    /// If the name is none that others could know, or the port may be any.
    pub(crate) fn of_this_host(port: u16) -> anyhow::Result<Self> {
        anyhow::ensure!(
            port != 0,
            "the main port is 0, which means any free one: give the address with --mesh-address"
        );
        let host = host_name()?;
        Ok(Self(RouterAddress { host, port }))
    }
}

impl FromStr for MemberAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for MemberAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<MemberAddress> for String {
    fn from(address: MemberAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for MemberAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns this host's name.
pub(crate) fn host_name() -> anyhow::Result<String> {
    let system = rustix::system::uname();
    let name = system.nodename().to_str().context("this host's name")?;
    parse_host(name).map_err(|why| {
        anyhow::anyhow!("this host's name is no address for the other routers ({why}): give one with --mesh-address")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_member_is_a_host_and_a_port() {
        for text in ["a.example.org:8888", "192.0.2.1:1", "[2001:db8::1]:8888"] {
            let address: MemberAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "a.example.org",
            "a:0",
            "a:65536",
            "2001:db8::1:8888",
            ":1",
            "a/b:1",
        ] {
            assert!(text.parse::<MemberAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_member_id_has_ten_bits() {
        assert_eq!(MemberId::from_bits(u64::MAX).bits(), 1023);
        assert!(MemberId::try_from(1024).is_err());
        assert_eq!(MemberId::try_from(1023).map(u16::from), Ok(1023));
    }
}

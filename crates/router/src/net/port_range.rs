//! Ranges of ports: those that a router offers, and those that a key may ask for.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const NOT_A_PORT: &str =
    "ports are written LOW-HIGH, each a number from 1 to 65535, such as 9000-9099";
const REVERSED: &str = "the first of the two ports must be the lower one, such as 9000-9099";

/// TCP ports from a lowest to a highest, both included; never port 0. Written `LOW-HIGH`, or as one
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PortRange {
    low: u16,
    high: u16,
}

impl PortRange {
    /// All ports.
    pub const ALL: Self = Self {
        low: 1,
        high: u16::MAX,
    };

    /// Ports of a car whose key was made without any.
    pub(crate) const CARS: Self = Self {
        low: 9000,
        high: 9999,
    };

    /// Returns the ports of a car's key at a router that offers these, if none are said: [`CARS`](Self::CARS) if it has any of them.
    pub(crate) fn of_cars(offered: Self) -> Self {
        let has_some = offered.low <= Self::CARS.high && Self::CARS.low <= offered.high;
        if has_some { Self::CARS } else { offered }
    }

    /// This port alone.
    pub(crate) fn one(port: u16) -> Self {
        Self {
            low: port,
            high: port,
        }
    }

    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        self.ports().contains(&port)
    }

    pub fn ports(self) -> RangeInclusive<u16> {
        self.low..=self.high
    }

    /// Returns true if every port of the other range is in this one.
    pub(crate) fn covers(self, other: Self) -> bool {
        self.low <= other.low && other.high <= self.high
    }
}

/// Service ports of a router: a range of ports that are opened, or none. Then a service port is a number
/// alone, by which links and keys go, and cars are reached by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServicePorts {
    Open(PortRange),
    None,
}

impl ServicePorts {
    /// Returns the ports that inners may ask for.
    pub(crate) fn range(self) -> PortRange {
        match self {
            Self::Open(range) => range,
            Self::None => PortRange::ALL,
        }
    }

    /// Returns true if the ports of cars are opened.
    pub(crate) fn are_open(self) -> bool {
        self != Self::None
    }
}

impl FromStr for ServicePorts {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "none" => Ok(Self::None),
            range => range.parse().map(Self::Open),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            f.pad(&self.low.to_string())
        } else {
            f.pad(&format!("{}-{}", self.low, self.high))
        }
    }
}

impl FromStr for PortRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        match (parse_port(low)?, parse_port(high)?) {
            (0, _) => Err(NOT_A_PORT),
            (low, high) if low > high => Err(REVERSED),
            (low, high) => Ok(Self { low, high }),
        }
    }
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    // Not `parse` alone: it would take "+80".
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or(NOT_A_PORT)
}

impl From<PortRange> for String {
    fn from(ports: PortRange) -> Self {
        ports.to_string()
    }
}

impl TryFrom<String> for PortRange {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_a_range_is_refused() {
        for text in [
            "", "-", "0", "0-5", "5-", "-5", "65536", "1-65536", "+80", "1-2-3", " 1", "a",
        ] {
            assert_eq!(text.parse::<PortRange>(), Err(NOT_A_PORT), "{text}");
        }
        assert_eq!("2-1".parse::<PortRange>(), Err(REVERSED));
    }

    #[test]
    fn one_number_is_a_range_of_one_port() {
        let range: PortRange = "8080".parse().unwrap();
        assert_eq!(range.ports(), 8080..=8080);
        assert_eq!(range.to_string(), "8080");
    }

    #[test]
    fn the_first_car_may_ask_for_ports_that_the_router_has() {
        for (offered, of_car) in [
            ("1024-65535", "9000-9999"),
            ("9999-12000", "9000-9999"),
            ("29000-29099", "29000-29099"),
            ("8000-8999", "8000-8999"),
        ] {
            let of = PortRange::of_cars(offered.parse().unwrap());
            assert_eq!(of.to_string(), of_car, "{offered}");
        }
    }

    #[test]
    fn both_ends_are_included() {
        let range: PortRange = "9000-9099".parse().unwrap();
        assert_eq!(
            [8999, 9000, 9099, 9100].map(|port| range.contains(port)),
            [false, true, true, false]
        );
    }

    proptest! {
        #[test]
        fn a_range_survives_its_text_and_json(a in 1..=u16::MAX, b in 1..=u16::MAX) {
            let range = PortRange { low: a.min(b), high: a.max(b) };
            prop_assert_eq!(range.to_string().parse(), Ok(range));
            let json = serde_json::to_string(&range).unwrap();
            prop_assert_eq!(serde_json::from_str::<PortRange>(&json).unwrap(), range);
        }
    }
}

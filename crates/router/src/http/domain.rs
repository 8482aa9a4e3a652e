//! Host names of cars below a router's domain.

use std::fmt;
use std::str::FromStr;

use p2p_shared::names::LinkName;

use crate::http::host::HostName;

/// Most characters of a part of a host name (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;

/// Domain below which each car has a host name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain(String);

/// The text is no domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a domain is a host name such as cars.example.org: letters from a to z (xn--… for others), digits, dashes and dots, without http://, *. and a port"
)]
pub struct ParseDomainError;

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Domain {
    type Err = ParseDomainError;

    fn from_str(text: &str) -> Result<Self, ParseDomainError> {
        let name: HostName = text.parse().map_err(|_| ParseDomainError)?;
        let name = name.as_str();
        let is_address = name.parse::<std::net::Ipv4Addr>().is_ok();
        if !is_address && name.split('.').all(is_label) {
            Ok(Self(name.to_owned()))
        } else {
            Err(ParseDomainError)
        }
    }
}

/// Car whose host name was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostedCar {
    Named(LinkName),
    /// The one with this service port.
    At(u16),
    /// What can't be a car's: more than one part, or a part that is no label of DNS.
    NoLabel,
}

impl Domain {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the names that a certificate for this domain has.
    pub(crate) fn certificate_names(&self) -> [String; 2] {
        [self.0.clone(), format!("*.{}", self.0)]
    }

    /// Returns the car with this host name, which is in small letters; `None` if the name is not below this
    /// domain.
    pub(crate) fn car(&self, host: &str) -> Option<HostedCar> {
        let part = host.strip_suffix(&self.0)?.strip_suffix('.')?;
        if !is_label(part) {
            return Some(HostedCar::NoLabel);
        }
        // A number names a car by its service port, as everywhere.
        let named = LinkName::try_from(part.to_owned()).map(HostedCar::Named);
        // It has one way to be written, since browsers keep cookies for each.
        let at = || {
            part.parse()
                .ok()
                .filter(|port: &u16| port.to_string() == part)
        };
        Some(named.unwrap_or_else(|_| at().map_or(HostedCar::NoLabel, HostedCar::At)))
    }

    /// Returns the host name of the car with this name and service port.
    pub(crate) fn host_of(&self, name: &LinkName, port: u16) -> String {
        let (name, domain) = (name.folded(), self.as_str());
        match is_label(name.as_str()) {
            true => format!("{name}.{domain}"),
            false => format!("{port}.{domain}"),
        }
    }
}

/// Returns true if this can be a part of a host name (RFC 1123, 2.1).
fn is_label(part: &str) -> bool {
    let is_dash = |at: Option<char>| at == Some('-');
    (1..=MAX_LABEL).contains(&part.len())
        && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !is_dash(part.chars().next())
        && !is_dash(part.chars().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_car_is_one_label_below_the_domain() {
        let domain: Domain = "Cars.Example.org.".parse().unwrap();
        let named = |name: &str| Some(HostedCar::Named(name.parse().unwrap()));
        assert_eq!(domain.car("red-2.cars.example.org"), named("red-2"));
        assert_eq!(domain.car("9k.cars.example.org"), named("9k"));
        assert_eq!(
            domain.car("9000.cars.example.org"),
            Some(HostedCar::At(9000))
        );
        for elsewhere in [
            "cars.example.org",
            "example.org",
            "xcars.example.org",
            "cars.example.org.evil.test",
            "localhost",
            "",
        ] {
            assert_eq!(domain.car(elsewhere), None, "{elsewhere}");
        }
        let long = "a".repeat(64);
        for part in [
            "a.b", "my_car", "-a", "a-", "", ".", "*", "70000", "09000", &long,
        ] {
            let host = format!("{part}.cars.example.org");
            assert_eq!(domain.car(&host), Some(HostedCar::NoLabel), "{host}");
        }
    }

    #[test]
    fn each_car_is_found_at_its_own_host_name() {
        let domain: Domain = "cars.test".parse().unwrap();
        for (name, host) in [("Red-2", "red-2.cars.test"), ("my_car", "9000.cars.test")] {
            let name = name.parse().unwrap();
            assert_eq!(domain.host_of(&name, 9000), host);
            let car = domain.car(host);
            assert!(
                car == Some(HostedCar::Named(name.folded())) || car == Some(HostedCar::At(9000))
            );
        }
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        for text in [
            "",
            ".",
            "*.cars.example.org",
            "https://a",
            "a:1",
            "a..b",
            "a_b",
            "192.0.2.1",
        ] {
            assert!(text.parse::<Domain>().is_err(), "{text}");
        }
        assert!("localhost".parse::<Domain>().is_ok());
    }
}

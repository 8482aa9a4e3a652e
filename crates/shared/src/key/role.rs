//! `Role`: the rights of a key's holder. The receiver of each message checks them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Purpose of a key. Each key has one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A machine that runs p2p-inner
    Link,
    /// Watches everything, and may stop the car
    View,
    /// Also runs commands and takes control
    Drive,
    /// Also seizes control from others
    Admin,
}

impl Role {
    /// All roles, from the narrowest to the widest.
    pub const ALL: [Self; 4] = [Self::Link, Self::View, Self::Drive, Self::Admin];

    /// Returns true if the role may register as an inner and get a service port.
    #[must_use]
    pub fn may_link(self) -> bool {
        self == Self::Link
    }

    /// Returns true if the role may see links, runs, their output and the camera.
    #[must_use]
    pub fn may_view(self) -> bool {
        matches!(self, Self::View | Self::Drive | Self::Admin)
    }

    /// Returns true if the role may stop the car: every role that may see the car.
    #[must_use]
    pub fn may_stop(self) -> bool {
        self.may_view()
    }

    /// Returns true if the role may run commands and take control of a car that nobody drives.
    #[must_use]
    pub fn may_run(self) -> bool {
        matches!(self, Self::Drive | Self::Admin)
    }

    /// Returns true if the role may seize control from a driver, and revoke keys.
    #[must_use]
    pub fn may_administer(self) -> bool {
        self == Self::Admin
    }

    /// Returns the role's name on the command line, in files and in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::View => "view",
            Self::Drive => "drive",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn each_role_may_do_what_the_contract_says() {
        let table = Role::ALL.map(|role| {
            let may = [
                role.may_link(),
                role.may_view(),
                role.may_stop(),
                role.may_run(),
                role.may_administer(),
            ];
            (role.as_str(), may.map(u8::from))
        });
        assert_eq!(
            table,
            [
                ("link", [1, 0, 0, 0, 0]),
                ("view", [0, 1, 1, 0, 0]),
                ("drive", [0, 1, 1, 1, 0]),
                ("admin", [0, 1, 1, 1, 1]),
            ]
        );
    }

    #[test]
    fn a_role_has_the_same_name_everywhere() {
        for role in Role::ALL {
            assert_eq!(Role::from_str(&role.to_string(), false), Ok(role));
            let packed = rmp_serde::to_vec(&role).unwrap();
            assert_eq!(packed, rmp_serde::to_vec(role.as_str()).unwrap());
        }
        assert_eq!(Role::value_variants(), Role::ALL);
    }
}

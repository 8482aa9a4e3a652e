//! `Role`: what the holder of a key may do. Whoever receives a message checks it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a key is for. Each key has one role.
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
    /// Every role, from the narrowest to the widest.
    pub const ALL: [Self; 4] = [Self::Link, Self::View, Self::Drive, Self::Admin];

    /// May register as an inner and be given a service port.
    #[must_use]
    pub fn may_link(self) -> bool {
        self == Self::Link
    }

    /// May see links, runs, their output and the camera.
    #[must_use]
    pub fn may_view(self) -> bool {
        matches!(self, Self::View | Self::Drive | Self::Admin)
    }

    /// May stop the car: whoever may see it.
    #[must_use]
    pub fn may_stop(self) -> bool {
        self.may_view()
    }

    /// May run commands and take control of a car that nobody drives.
    #[must_use]
    pub fn may_run(self) -> bool {
        matches!(self, Self::Drive | Self::Admin)
    }

    /// May seize control from its driver, and revoke keys.
    #[must_use]
    pub fn may_administer(self) -> bool {
        self == Self::Admin
    }

    /// The role's name on the command line, in files and in messages.
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

//! `Invitation`: the one word by which another machine gets a key, or joins a mesh. It is good once and for a
//! limited time, and has no key in it: whoever finds it used in a shell's history has nothing.

pub mod post;

use std::fmt;
use std::str::FromStr;

use crate::key::{Fingerprint, FingerprintStart, InviteCode, Key};
use crate::net::dialer::{MAIN_PORT, RouterAddress, parse_host};

/// Beginning of every invitation of this version, and of any.
const PREFIX: &str = "p2pi1_";
const ANY_PREFIX: &str = "p2pi";

/// The word: `p2pi1_CODE_HOST:PORT`, with the router's fingerprint behind the code where it has a certificate of
/// its own. No shell has to be told to leave it alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// What the router gives something for.
    pub code: InviteCode,
    /// The router's main port.
    pub router: RouterAddress,
    /// By what the router is known; `None`: an authority vouches for it.
    pub fingerprint: Option<FingerprintStart>,
}

impl Invitation {
    /// Makes an invitation of the router with this address and fingerprint.
    #[must_use]
    pub fn new(code: InviteCode, router: RouterAddress, fingerprint: Option<Fingerprint>) -> Self {
        Self {
            code,
            router,
            fingerprint: fingerprint.map(|whole| whole.start()),
        }
    }

    /// Returns the word, for the person who is invited.
    #[must_use]
    pub fn expose(&self) -> String {
        let start = self.fingerprint.map(|start| start.to_string());
        let RouterAddress { host, port } = &self.router;
        // Without brackets, which mean something to a shell: the port stands behind the last colon.
        let port = match *port {
            MAIN_PORT if !host.contains(':') => String::new(),
            port => format!(":{port}"),
        };
        let start = start.unwrap_or_default();
        format!("{PREFIX}{}{start}_{host}{port}", self.code.expose())
    }
}

/// What may be shown to anybody.
impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an invitation of {}", self.router)
    }
}

/// The text is no invitation. No error repeats any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no invitation, which is one word, p2pi1_…: {0}")]
pub struct NotAnInvitation(String);

impl FromStr for Invitation {
    type Err = NotAnInvitation;

    /// Reads an invitation, also one with the command before it that the router printed.
    fn from_str(text: &str) -> Result<Self, NotAnInvitation> {
        let not = |why: &str| NotAnInvitation(why.to_owned());
        let word = text.split_whitespace().next_back().unwrap_or_default();
        let Some(rest) = word.strip_prefix(PREFIX) else {
            return Err(not(if word.starts_with(ANY_PREFIX) {
                "it is of a newer p2prouter: update this program"
            } else if word.parse::<Key>().is_ok() {
                "it is a key"
            } else {
                "it does not begin with p2pi1_"
            }));
        };
        let (secret, router) = rest.split_once('_').ok_or_else(|| not("it is cut off"))?;
        let (code, start) = secret
            .split_at_checked(InviteCode::CHARS)
            .ok_or_else(|| not("its first part is not whole"))?;
        let broken = |_| not("its first part is not whole");
        let (host, port) = match router.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)),
            None => (router, Some(MAIN_PORT)),
        };
        Ok(Self {
            code: code.parse().map_err(broken)?,
            fingerprint: match start {
                "" => None,
                start => Some(start.parse().map_err(broken)?),
            },
            router: RouterAddress {
                host: parse_host(host).map_err(NotAnInvitation)?,
                port: port.ok_or_else(|| not("its last part, the port, is not whole"))?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole() -> String {
        format!(
            "p2pi1_{}{}_router.test:8889",
            "b".repeat(16),
            "a".repeat(26)
        )
    }

    #[test]
    fn an_invitation_survives_its_text_and_says_no_more_than_it_must() {
        for (text, router) in [
            (whole(), "router.test:8889"),
            (whole().replace(":8889", ""), "router.test:8888"),
            (whole().replace("router.test", "router_1"), "router_1:8889"),
            (
                whole().replace("router.test", "2001:db8::1"),
                "[2001:db8::1]:8889",
            ),
            (whole().replace(&"a".repeat(26), ""), "router.test:8889"),
        ] {
            let line: Invitation = format!(" p2p-inner setup {text}\n").parse().unwrap();
            assert_eq!(line.expose(), text);
            assert_eq!(line.router.to_string(), router);
            assert!(!format!("{line:?}").contains("bbb"));
            assert_eq!(
                shlex::try_quote(&text).unwrap(),
                text,
                "a shell takes it as it is"
            );
        }
    }

    #[test]
    fn of_a_fingerprint_it_has_the_first_128_bits() {
        let fingerprint = Fingerprint::of_public_key(b"abc");
        let router = "[::1]:8888".parse().unwrap();
        let line = Invitation::new(InviteCode::generate().unwrap(), router, Some(fingerprint));
        let start = line.fingerprint.unwrap().to_string();
        assert!(fingerprint.to_string().starts_with(&start[..25]));
        assert_eq!(line.expose().parse(), Ok(line));
    }

    #[test]
    fn each_wrong_text_says_what_is_wrong_and_repeats_nothing() {
        let key = Key::generate().unwrap().expose();
        for (text, said) in [
            (String::new(), "does not begin with p2pi1_"),
            (key, "it is a key"),
            (whole().replace("p2pi1", "p2pi2"), "newer"),
            (whole().replace("_router.test:8889", ""), "cut off"),
            (whole().replace("p2pi1_b", "p2pi1_"), "not whole"),
            (whole().replace("aa_", "_"), "not whole"),
            (whole().replace("8889", "0"), "the port"),
            (whole().replace("router.test", ""), "no host"),
            ("p2pi1_bbb_router.test".to_owned(), "not whole"),
        ] {
            let error = text.parse::<Invitation>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
            assert!(!error.contains("bbb"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(p2pi1_)?[a-z2-7]{0,60}_?.*") {
            let _ = text.parse::<Invitation>();
        }
    }
}

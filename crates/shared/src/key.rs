//! Keys: their text, the place where a program finds its own, and the rights of each role. Only the
//! router knows which keys there are (`auth/key_store`).

mod base32;
mod hash;
mod invite_code;
mod load;
mod role;
mod secret_file;

pub use base32::{Base32, Fingerprint, KeyId, NotBase32};
pub use hash::{KeyHash, NotAHash};
pub use invite_code::{FingerprintStart, InviteCode};
pub use load::{config_dir, is_in_environment, load};
pub use role::Role;
pub use secret_file::{SecretFileError, chmod_line, read_secret_file};

use std::fmt;
use std::str::FromStr;

/// Beginning of every key of this version.
const PREFIX: &str = "p2p1";

/// 256 bits: nobody guesses them, so that one fast hash is enough and no salt is needed.
type Secret = Base32<32>;

/// Most fingerprints of a key: of the router's present certificate, and of its next one.
const MAX_FINGERPRINTS: usize = 2;

/// Key of one party: an id, which may be seen, a secret, which may not, and the fingerprint of the
/// router's public key.
///
/// The text of a key is `p2p1_ID_SECRET_FINGERPRINT`, all parts in lowercase base32 without padding;
/// the fingerprint is missing where the router has a certificate of an authority, and a second one
/// follows while the router's certificate is being changed. Only
/// [`Key::expose`] and [`Key::bearer`] give the secret out: `Debug` shows the id, and there is no
/// `Display`.
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    secret: Secret,
    fingerprints: Vec<Fingerprint>,
}

impl Key {
    /// Beginning of every key, of any version.
    pub const BEGINNING: &str = "p2p";

    /// Makes a key from the kernel's random numbers.
    ///
    /// # Errors
    ///
    /// If the kernel gives no random numbers.
    pub fn generate() -> Result<Self, NoRandomness> {
        Ok(Self {
            id: Base32::random().map_err(NoRandomness)?,
            secret: Base32::random().map_err(NoRandomness)?,
            fingerprints: Vec::new(),
        })
    }

    /// Returns the same key with these fingerprints, of two at the most, for a holder who knows the
    /// router by any of them.
    #[must_use]
    pub fn for_router(self, fingerprints: impl IntoIterator<Item = Fingerprint>) -> Self {
        let fingerprints = fingerprints.into_iter().take(MAX_FINGERPRINTS).collect();
        Self {
            fingerprints,
            ..self
        }
    }

    /// Returns the fingerprints by any of which the holder knows the router; none: the router has a
    /// certificate of an authority.
    #[must_use]
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    /// Returns the part of the key that may be shown, logged and stored.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Returns the hash of the secret, which the router stores.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of_secret(&self.secret.0)
    }

    /// Returns the whole key as text, for the person who is to have it.
    #[must_use]
    pub fn expose(&self) -> String {
        let mut text = self.bearer();
        for fingerprint in &self.fingerprints {
            text += &format!("_{fingerprint}");
        }
        text
    }

    /// Returns the key without its fingerprints as text, for the `Authorization` header.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("{PREFIX}_{}_{}", self.id, self.secret)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, …)", self.id)
    }
}

impl FromStr for Key {
    type Err = ParseKeyError;

    /// Reads a key's text. Whitespace around the text is ignored, as files end with a newline.
    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ParseKeyError::Empty);
        }
        if text.contains(char::is_whitespace) {
            return Err(ParseKeyError::SeveralWords);
        }
        let mut parts = text.split('_');
        let prefix = parts.next().unwrap_or_default();
        let version = prefix.strip_prefix(Self::BEGINNING).unwrap_or_default();
        if version.is_empty() || version.bytes().any(|byte| !byte.is_ascii_digit()) {
            return Err(ParseKeyError::NotAKey);
        }
        let (id, secret) = (parts.next(), parts.next());
        // A part that a later version adds may have to be checked, so it isn't ignored.
        if prefix != PREFIX || parts.clone().count() > MAX_FINGERPRINTS {
            return Err(ParseKeyError::Newer);
        }
        let broken = |part| move |_: NotBase32| ParseKeyError::NotWhole(part);
        Ok(Self {
            id: (id.unwrap_or_default().parse())
                .map_err(broken("second part, its id, is not 8 characters"))?,
            secret: (secret.unwrap_or_default().parse())
                .map_err(broken("third part, its secret, is not 52 characters"))?,
            fingerprints: (parts.map(str::parse).collect::<Result<_, _>>()).map_err(broken(
                "fourth part, the router's fingerprint, or a fifth one, is not 52 characters",
            ))?,
        })
    }
}

/// The kernel has no random numbers to give.
#[derive(Debug, thiserror::Error)]
#[error("no key can be made, as the kernel gives no random numbers ({0})")]
pub struct NoRandomness(getrandom::Error);

/// Reason why a text is not a key. No error repeats any of the text, as that may be most of a
/// secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseKeyError {
    /// The text is nothing but whitespace.
    #[error("there is no key in it; `p2p-router key add` on the router prints one")]
    Empty,
    /// The text has whitespace in its middle.
    #[error(
        "there is more in it than one key: it must be the line that `p2p-router key add` printed, alone"
    )]
    SeveralWords,
    /// The text doesn't begin as keys do.
    #[error("that is not a p2prouter key: those begin with p2p1_")]
    NotAKey,
    /// The text has a sixth part, or another version in its prefix.
    #[error(
        "this key is of a newer p2prouter than this program: update this program, or ask for a key that an older router made"
    )]
    Newer,
    /// A part is missing or is not base32 of its length.
    #[error(
        "this key is not whole: its {0} of a-z and 2-7; copy all of p2p1_ID_SECRET_FINGERPRINT"
    )]
    NotWhole(&'static str),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_key() -> impl Strategy<Value = Key> {
        let fingerprints = proptest::collection::vec(any::<[u8; 32]>(), 0..=MAX_FINGERPRINTS);
        let all = (any::<[u8; 5]>(), any::<[u8; 32]>(), fingerprints);
        all.prop_map(|(id, secret, fingerprints)| Key {
            id: Base32(id),
            secret: Base32(secret),
            fingerprints: fingerprints.into_iter().map(Base32).collect(),
        })
    }

    #[test]
    fn a_key_has_the_documented_form() {
        let text = Key::generate().unwrap().expose();
        let parts: Vec<&str> = text.split('_').collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[0], "p2p1");
        assert_eq!((parts[1].len(), parts[2].len()), (8, 52));
        assert!(
            parts[1..]
                .concat()
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
        );
    }

    #[test]
    fn a_known_key_keeps_its_text_and_hash() {
        let key = Key {
            id: Base32([0; 5]),
            secret: Base32([0; 32]),
            fingerprints: Vec::new(),
        };
        assert_eq!(key.expose(), format!("p2p1_aaaaaaaa_{}", "a".repeat(52)));
        let fingerprint = Some(Base32([0; 32]));
        let pinned = key.clone().for_router(fingerprint);
        assert_eq!(pinned.bearer(), key.expose());
        assert_eq!(
            pinned.expose(),
            format!("{}_{}", key.expose(), "a".repeat(52))
        );
        assert_eq!(
            key.hash().to_string(),
            "sha256:05cc396125c87c6d2628692c29d377b6c9cb20316cc0fd5ac2a36d846b1e82ab"
        );
    }

    #[test]
    fn two_keys_differ() {
        let (one, other) = (Key::generate().unwrap(), Key::generate().unwrap());
        assert_ne!(one.id(), other.id());
        assert_ne!(one.hash(), other.hash());
    }

    #[test]
    fn whitespace_around_a_key_is_ignored() {
        let key = Key::generate().unwrap();
        let read: Key = format!(" \t{}\r\n", key.expose()).parse().unwrap();
        assert_eq!(read.expose(), key.expose());
    }

    #[test]
    fn each_wrong_text_says_what_is_wrong() {
        let whole = Key::generate().unwrap().expose();
        let cases = [
            (" \n".to_owned(), "there is no key in it"),
            (format!("{whole} {whole}"), "more in it than one key"),
            ("secret".to_owned(), "not a p2prouter key"),
            ("p2p_x_y".to_owned(), "not a p2prouter key"),
            (whole.to_uppercase(), "not a p2prouter key"),
            (whole.replacen("p2p1", "p2p2", 1), "newer p2prouter"),
            (format!("{whole}_c0ffee"), "its fourth part, the router's"),
            (format!("{whole}_"), "its fourth part, the router's"),
            (
                format!("{whole}_{0}_{0}_x", "a".repeat(52)),
                "newer p2prouter",
            ),
            (
                format!("{whole}_{}_x", "a".repeat(52)),
                "or a fifth one, is not 52",
            ),
            (whole[..13].to_owned(), "its third part, its secret"),
            (
                whole.replacen("p2p1_", "p2p1_a", 1),
                "its second part, its id",
            ),
            (whole[..40].to_owned(), "its third part, its secret"),
            (
                format!("{}0", &whole[..whole.len() - 1]),
                "its third part, its secret",
            ),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Key>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let newer = ParseKeyError::Newer.to_string();
        assert!(
            newer.starts_with("this key is of a newer p2prouter"),
            "{newer}"
        );
    }

    proptest! {
        #[test]
        fn a_key_survives_its_text(key in any_key()) {
            let read: Key = key.expose().parse().unwrap();
            prop_assert_eq!(read.id(), key.id());
            prop_assert_eq!(read.expose(), key.expose());
            prop_assert_eq!(read.fingerprints(), key.fingerprints());
            prop_assert_eq!(read.hash(), key.hash());
        }

        #[test]
        fn a_key_with_one_changed_character_is_never_that_key(
            key in any_key(), at in 0_usize..66, new in any::<char>(),
        ) {
            let text = key.expose();
            prop_assume!(text.as_bytes()[at] as char != new);
            let changed: String =
                text.char_indices().map(|(i, old)| if i == at { new } else { old }).collect();
            if let Ok(read) = changed.parse::<Key>() {
                prop_assert!(read.id() != key.id() || read.hash() != key.hash());
            }
        }

        #[test]
        fn debug_never_shows_the_secret(key in any_key()) {
            let shown = format!("{key:?} {:#?} {:?}", key, key.hash());
            prop_assert!(shown.contains(&key.id().to_string()));
            let secret = key.bearer().split_off("p2p1_xxxxxxxx_".len());
            for piece in secret.as_bytes().windows(8) {
                prop_assert!(!shown.contains(std::str::from_utf8(piece).unwrap()));
            }
        }

        #[test]
        fn an_error_never_repeats_the_text(text in "(p2p1_)?[a-z2-7]{4,20}_[a-z0-9]{20,60}(_.{4})?") {
            if let Err(error) = text.parse::<Key>() {
                let shown = format!("{error} {error:?}");
                for piece in text.trim_start_matches("p2p1").as_bytes().windows(12) {
                    prop_assert!(!shown.as_bytes().windows(12).any(|window| window == piece));
                }
            }
        }

        #[test]
        fn any_text_at_all_is_read_without_a_panic(text in ".*") {
            let _ = text.parse::<Key>();
        }
    }
}

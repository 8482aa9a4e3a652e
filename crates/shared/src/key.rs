//! Keys: their text form, how a program finds its own, and what each role may do. Who holds which
//! key, only the router knows (its `keystore`).

mod fingerprint;
mod hash;
mod id;
mod load;
mod role;
mod secret_file;

pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use hash::{KeyHash, ParseKeyHashError};
pub use id::{KeyId, ParseKeyIdError};
pub use load::{KeyOrigin, LoadKeyError, LoadedKey, load};
pub use role::Role;
pub use secret_file::{SecretFileError, chmod_line, read_secret_file};

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD_NOCASE;

/// What every key of this version begins with.
const PREFIX: &str = "p2p1";

/// 256 bits: nobody guesses it, so that one fast hash is enough and no salt is needed.
const SECRET_BYTES: usize = 32;

/// The length of the secret in the key's text: 256 bits, 5 to a character.
const SECRET_CHARS: usize = 52;

/// One party's key: its id, which may be seen, its secret, which may not, and by which public key
/// its holder knows the router.
///
/// Its text is `p2p1_ID_SECRET_FINGERPRINT`, all parts in lowercase base32 without padding; the
/// last is missing where the router has a certificate of an authority. It comes out through
/// [`Key::expose`] and [`Key::bearer`] alone: `Debug` shows the id, and there is no `Display`.
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    secret: [u8; SECRET_BYTES],
    fingerprint: Option<Fingerprint>,
}

impl Key {
    /// Makes a key from the kernel's random numbers.
    ///
    /// # Errors
    ///
    /// When the kernel has none to give.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(NoRandomness)?;
        let id = KeyId::generate().map_err(NoRandomness)?;
        Ok(Self {
            id,
            secret,
            fingerprint: None,
        })
    }

    /// The same key for holders who are to know the router by this public key, if by any.
    #[must_use]
    pub fn for_router(self, fingerprint: Option<Fingerprint>) -> Self {
        Self {
            fingerprint,
            ..self
        }
    }

    /// By which public key the holder knows the router; `None`: by an authority's certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// The part of the key that may be shown, logged and stored.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What the router keeps of the secret.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of_secret(&self.secret)
    }

    /// The whole key as text: for the person it is made for.
    #[must_use]
    pub fn expose(&self) -> String {
        match self.fingerprint {
            Some(fingerprint) => format!("{}_{fingerprint}", self.bearer()),
            None => self.bearer(),
        }
    }

    /// What the router needs of it, as text: for the `Authorization` header.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("{PREFIX}_{}_{}", self.id, encode_base32(&self.secret))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, …)", self.id)
    }
}

impl FromStr for Key {
    type Err = ParseKeyError;

    /// Reads a key's text; whitespace around it is ignored, as files end with a newline.
    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ParseKeyError::Empty);
        }
        if text.contains(char::is_whitespace) {
            return Err(ParseKeyError::SeveralWords);
        }
        let mut parts = text.split('_');
        match parts.next() {
            Some(PREFIX) => {}
            Some(other) if is_prefix_of_another_version(other) => return Err(ParseKeyError::Newer),
            _ => return Err(ParseKeyError::NotAKey),
        }
        let (Some(id), Some(secret)) = (parts.next(), parts.next()) else {
            return Err(ParseKeyError::NotWhole);
        };
        let fingerprint = parts.next();
        // What a later version puts there may be something to check, and isn't passed over.
        if parts.next().is_some() {
            return Err(ParseKeyError::Newer);
        }
        let id = id
            .parse()
            .map_err(|_: ParseKeyIdError| ParseKeyError::BadId)?;
        if secret.chars().count() != SECRET_CHARS {
            return Err(ParseKeyError::SecretLength);
        }
        let secret = decode_base32(secret).ok_or(ParseKeyError::SecretCharacters)?;
        let fingerprint = fingerprint
            .map(str::parse)
            .transpose()
            .map_err(|_: ParseFingerprintError| ParseKeyError::BadFingerprint)?;
        Ok(Self {
            id,
            secret,
            fingerprint,
        })
    }
}

/// Whether this is `p2p` and a number, other than this version's.
fn is_prefix_of_another_version(part: &str) -> bool {
    part.strip_prefix("p2p").is_some_and(|version| {
        !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Lowercase base32 without padding (the alphabet of RFC 4648, section 6, in lower case).
fn encode_base32(bytes: &[u8]) -> String {
    BASE32_NOPAD_NOCASE.encode(bytes).to_ascii_lowercase()
}

/// The exact inverse of [`encode_base32`]: one text for each value, so no upper case and no stray
/// bits at the end.
fn decode_base32<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let bytes = BASE32_NOPAD_NOCASE.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

/// The kernel has no random numbers to give.
#[derive(Debug, thiserror::Error)]
#[error("no key can be made, as the kernel gives no random numbers ({0})")]
pub struct NoRandomness(getrandom::Error);

/// Why a text is not a key. None of them repeats any of the text, as it may be most of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseKeyError {
    /// Nothing but whitespace.
    #[error("there is no key in it; `p2p-router key add` on the router prints one")]
    Empty,
    /// Whitespace in the middle.
    #[error(
        "there is more in it than one key: it must be the line that `p2p-router key add` printed, alone"
    )]
    SeveralWords,
    /// It begins otherwise than keys do.
    #[error("that is not a p2prouter key: those begin with p2p1_")]
    NotAKey,
    /// A fifth part, or another version in the prefix.
    #[error(
        "this key is of a newer p2prouter than this program: update this program, or ask for a key that an older router made"
    )]
    Newer,
    /// Fewer than three parts.
    #[error("this key is not whole: it is p2p1_ID_SECRET_FINGERPRINT; copy all of it")]
    NotWhole,
    /// The id is not one.
    #[error(
        "the second part of this key, its id, is not 8 characters of a-z and 2-7; copy it again"
    )]
    BadId,
    /// The secret is too short or too long.
    #[error("the third part of this key is not 52 characters long; copy all of it")]
    SecretLength,
    /// The secret has other characters than a secret can have.
    #[error(
        "the third part of this key has characters that no key has (they have a-z and 2-7); copy it again"
    )]
    SecretCharacters,
    /// The fingerprint is not one.
    #[error(
        "the fourth part of this key, the router's fingerprint, is not 52 characters of a-z and 2-7; copy all of it"
    )]
    BadFingerprint,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_key() -> impl Strategy<Value = Key> {
        let fingerprint = any::<Option<[u8; 32]>>();
        let all = (any::<[u8; 5]>(), any::<[u8; SECRET_BYTES]>(), fingerprint);
        all.prop_map(|(id, secret, fingerprint)| Key {
            id: KeyId::from_bytes(id),
            secret,
            fingerprint: fingerprint.map(Fingerprint::from_bytes),
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
            id: KeyId::from_bytes([0; 5]),
            secret: [0; SECRET_BYTES],
            fingerprint: None,
        };
        assert_eq!(key.expose(), format!("p2p1_aaaaaaaa_{}", "a".repeat(52)));
        let fingerprint = Some(Fingerprint::from_bytes([0; 32]));
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
        assert!(!one.hash().matches(&other.hash()));
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
            (" \n".to_owned(), ParseKeyError::Empty),
            (format!("{whole} {whole}"), ParseKeyError::SeveralWords),
            ("secret".to_owned(), ParseKeyError::NotAKey),
            ("p2p_x_y".to_owned(), ParseKeyError::NotAKey),
            (whole.to_uppercase(), ParseKeyError::NotAKey),
            (whole.replacen("p2p1", "p2p2", 1), ParseKeyError::Newer),
            (format!("{whole}_c0ffee"), ParseKeyError::BadFingerprint),
            (format!("{whole}_"), ParseKeyError::BadFingerprint),
            (
                format!("{whole}_{}_x", "a".repeat(52)),
                ParseKeyError::Newer,
            ),
            (whole[..13].to_owned(), ParseKeyError::NotWhole),
            (whole.replacen("p2p1_", "p2p1_a", 1), ParseKeyError::BadId),
            (whole[..40].to_owned(), ParseKeyError::SecretLength),
            (
                format!("{}0", &whole[..whole.len() - 1]),
                ParseKeyError::SecretCharacters,
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Key>().unwrap_err(), expected);
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
            prop_assert_eq!(read.fingerprint(), key.fingerprint());
            prop_assert!(read.hash().matches(&key.hash()));
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
                prop_assert!(read.id() != key.id() || !read.hash().matches(&key.hash()));
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

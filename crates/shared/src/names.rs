//! Names and ids that come from outside, each checked where it enters: a value of one of these
//! types is safe to use.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Most components of a [`CommandName`].
const MAX_COMPONENTS: usize = 4;
/// Most bytes of one component of a [`CommandName`].
const MAX_COMPONENT: usize = 64;
/// Most characters of a [`LinkName`].
const MAX_LINK_NAME: usize = 64;

/// Reason why a text can't be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// The text or a part between slashes is empty.
    #[error("it is empty, or has an empty part")]
    Empty,
    /// A part is too long.
    #[error("it is too long: a part has at most 64 bytes")]
    TooLong,
    /// There are more than four parts.
    #[error("it has more than four parts")]
    TooDeep,
    /// A part begins with `.` (hidden, or a way out of the directory) or `-` (an option).
    #[error("a part of it begins with '.' or '-'")]
    BadStart,
    /// There is a control character, an invisible character or a backslash.
    #[error("it has a control character, an invisible character or a backslash")]
    BadCharacter,
    /// A link's name begins or ends with a space, or has another space than the plain one, which
    /// makes two names look the same.
    #[error("it begins or ends with a space, or has one that is not the plain space")]
    Space,
    /// A link's name has digits alone, which are a service port wherever a link is named.
    #[error("it has digits alone, which mean a service port: put a letter before them")]
    Number,
}

/// Name of a command: one to four parts joined by `/`, each a plain file name. A name that leaves
/// the command directory can't be built.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandName(String);

impl TryFrom<String> for CommandName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        for (at, part) in text.split('/').enumerate() {
            match part.as_bytes() {
                _ if at >= MAX_COMPONENTS => return Err(NameError::TooDeep),
                [] => return Err(NameError::Empty),
                [b'.' | b'-', ..] => return Err(NameError::BadStart),
                bytes if bytes.len() > MAX_COMPONENT => return Err(NameError::TooLong),
                _ => {}
            }
            if part.chars().any(|c| c.is_control() || c == '\\') {
                return Err(NameError::BadCharacter);
            }
        }
        Ok(Self(text))
    }
}

/// Label of a link, for people. A label identifies nothing, and is never a number: that is a service
/// port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(String);

impl LinkName {
    /// Returns the name with its letters from A to Z made small: names that differ in nothing else count as
    /// the same, as host names do.
    #[must_use]
    pub fn folded(&self) -> Self {
        Self(self.0.to_ascii_lowercase())
    }

    /// Returns this name, or the first of `name-2`, `name-3`, … that is not taken.
    #[must_use]
    pub fn made_unique(&self, is_taken: impl Fn(&Self) -> bool) -> Self {
        if !is_taken(self) {
            return self.clone();
        }
        (2_u64..)
            .map(|n| {
                let suffix = format!("-{n}");
                let stem: String = self.0.chars().take(MAX_LINK_NAME - suffix.len()).collect();
                Self(stem + &suffix)
            })
            .find(|name| !is_taken(name))
            .unwrap_or_else(|| self.clone())
    }
}

impl TryFrom<String> for LinkName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        if text.trim().is_empty() {
            return Err(NameError::Empty);
        }
        if text.chars().count() > MAX_LINK_NAME {
            return Err(NameError::TooLong);
        }
        if text.chars().any(crate::text::is_hidden) {
            return Err(NameError::BadCharacter);
        }
        if text.trim() != text || text.chars().any(|c| c.is_whitespace() && c != ' ') {
            return Err(NameError::Space);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NameError::Number);
        }
        Ok(Self(text))
    }
}

/// Argument of a command: any bytes but NUL, which the kernel can't pass.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "bytes::Bytes", into = "bytes::Bytes")]
pub struct Argument(bytes::Bytes);

impl Argument {
    /// Returns the argument as the command gets it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<bytes::Bytes> for Argument {
    type Error = NameError;

    fn try_from(bytes: bytes::Bytes) -> Result<Self, NameError> {
        if bytes.contains(&0) {
            return Err(NameError::BadCharacter);
        }
        Ok(Self(bytes))
    }
}

impl From<Argument> for bytes::Bytes {
    fn from(argument: Argument) -> Self {
        argument.0
    }
}

impl fmt::Debug for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// Id of one execution of a command. Ids are never given twice, not even by a
/// router that was restarted within the same millisecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(u64);

/// Text in JSON, because JavaScript's numbers are exact only up to 2^53.
impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

impl RunId {
    /// Makes the id with this number, which [`FromStr`] reads as hexadecimal.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Returns the id with these ten bits at its beginning: routers with other ones give other ids.
    #[must_use]
    pub fn of_member(self, bits: u16) -> Self {
        Self(self.0 & (u64::MAX >> 10) | u64::from(bits) << 54)
    }
}

impl FromStr for RunId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.len() {
            0 => Err(NameError::Empty),
            17.. => Err(NameError::TooLong),
            _ => u64::from_str_radix(text, 16)
                .map(Self)
                .map_err(|_| NameError::BadCharacter),
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 16];
        f.write_str(HEXLOWER.encode_mut_str(&self.0.to_be_bytes(), &mut digits))
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Map by run ids, which are random enough to be their own hash.
pub type RunMap<T> = HashMap<RunId, T, BuildHasherDefault<RunIdHasher>>;

/// Hash of a [`RunMap`].
#[derive(Debug, Default)]
pub struct RunIdHasher(u64);

impl Hasher for RunIdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 ^= number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Source of [`RunId`]s. Everyone who asks a router anything is told an id, so an id tells neither
/// how many there were nor when the router started: it is a keyed hash of a counter (SipHash), and
/// the key is random. Of the thousand runs that a car remembers, two have the same id once in 10^13
/// cars.
#[derive(Debug)]
pub struct RunIds {
    next: AtomicU64,
    /// Hash with the key; `None`: ids are the counter itself.
    hash: Option<RandomState>,
}

impl RunIds {
    /// Makes ids that nobody outside can guess.
    #[must_use]
    pub fn random() -> Self {
        Self {
            next: AtomicU64::new(0),
            hash: Some(RandomState::new()),
        }
    }

    /// Makes ids that count up from this time, for a simulation, which is the same each time.
    #[must_use]
    pub fn counting_from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            next: AtomicU64::new(crate::timing::millis(since_epoch) << 22),
            hash: None,
        }
    }

    /// Returns the next id.
    pub fn next(&self) -> RunId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        RunId(
            self.hash
                .as_ref()
                .map_or(number, |hash| hash.hash_one(number)),
        )
    }
}

/// Random id of one start of an inner: tells a reconnect of the same process from a second process
/// with the same identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub u64);

/// Identity of an inner: the id of its key, or with `--open` an id that the inner made once and
/// keeps.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity(String);

impl TryFrom<String> for Identity {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        match text.len() {
            0 => Err(NameError::Empty),
            1..=MAX_COMPONENT if text.bytes().all(|b| b.is_ascii_alphanumeric()) => Ok(Self(text)),
            1..=MAX_COMPONENT => Err(NameError::BadCharacter),
            _ => Err(NameError::TooLong),
        }
    }
}

macro_rules! text_name {
    ($($name:ident),*) => {$(
        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
text_name!(CommandName, LinkName, Identity);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_are_commands() {
        for name in [
            "forward",
            "a/b/c/d",
            "Ünïcode",
            "with space",
            "x..y",
            "a'b\"c",
            &"a".repeat(64),
        ] {
            assert!(name.parse::<CommandName>().is_ok(), "{name:?}");
        }
    }

    #[test]
    fn names_that_leave_the_folder_or_hide_are_not() {
        for (name, why) in [
            ("", NameError::Empty),
            ("a//b", NameError::Empty),
            ("a/", NameError::Empty),
            ("/etc/passwd", NameError::Empty),
            (".", NameError::BadStart),
            ("..", NameError::BadStart),
            ("../../etc/passwd", NameError::BadStart),
            ("a/../b", NameError::BadStart),
            ("a/.hidden", NameError::BadStart),
            ("-rf", NameError::BadStart),
            ("..\\x", NameError::BadStart),
            ("a\\b", NameError::BadCharacter),
            ("a\nb", NameError::BadCharacter),
            ("a\0", NameError::BadCharacter),
            ("a\u{9b}31m", NameError::BadCharacter),
            ("a/b/c/d/e", NameError::TooDeep),
        ] {
            assert_eq!(name.parse::<CommandName>(), Err(why), "{name:?}");
        }
        assert_eq!(
            "a".repeat(65).parse::<CommandName>(),
            Err(NameError::TooLong)
        );
    }

    #[test]
    fn a_links_name_is_seen_as_it_is_and_is_no_port() {
        for (name, why) in [
            ("9000", NameError::Number),
            ("0", NameError::Number),
            ("123456789", NameError::Number),
            (" ", NameError::Empty),
            ("a\u{202e}b", NameError::BadCharacter),
            ("car ", NameError::Space),
            (" 9000", NameError::Space),
            ("my\u{a0}car", NameError::Space),
            ("my\u{3000}car", NameError::Space),
        ] {
            assert_eq!(name.parse::<LinkName>(), Err(why), "{name:?}");
        }
        for name in ["car-9000", "9000x", "+9000", "-1", "4 2", "٤٢"] {
            assert!(name.parse::<LinkName>().is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_second_car_becomes_car_2_within_the_length() {
        let car: LinkName = "car".parse().unwrap();
        assert_eq!(car.made_unique(|_| false).as_str(), "car");
        assert_eq!(car.made_unique(|n| n.as_str() == "car").as_str(), "car-2");
        assert_eq!(car.made_unique(|n| n.as_str() != "car-4").as_str(), "car-4");
        let wide: LinkName = "車".repeat(64).parse().unwrap();
        let second = wide.made_unique(|n| *n == wide);
        assert_eq!(second.as_str().chars().count(), 64);
        assert!(second.as_str().ends_with("車-2"));
    }

    #[test]
    fn run_ids_read_back() {
        let a = RunIds::random().next();
        assert_eq!(a.to_string().parse::<RunId>(), Ok(a));
        assert_eq!("1".repeat(17).parse::<RunId>(), Err(NameError::TooLong));
    }

    #[test]
    fn run_ids_of_two_members_differ_whatever_else_they_are() {
        let next = [1, 2].map(|number| RunId::from_number(number).of_member(5));
        assert_ne!(next[0], next[1], "ids that count up are one");
        let numbers = [0, 1, u64::MAX >> 1, u64::MAX];
        let of = |bits| numbers.map(|number| RunId::from_number(number).of_member(bits));
        assert!(
            of(0)
                .iter()
                .all(|run| !of(1).contains(run) && !of(1023).contains(run))
        );
        assert_eq!(of(1023)[3], RunId::from_number(u64::MAX));
        assert_eq!(of(1)[0].to_string(), "0040000000000000");
    }

    #[test]
    fn run_ids_tell_neither_how_many_there_were_nor_when_the_router_started() {
        let [some, others] = [RunIds::random(), RunIds::random()].map(|ids| {
            let ids = std::iter::repeat_with(|| ids.next().0);
            ids.take(1000).collect::<Vec<_>>()
        });
        // Each bit is set in about half of them, and each changes from one to the next as often:
        // 340 to 660 of 1,000 are ten standard deviations.
        let changes = some.windows(2).map(|pair| pair[0] ^ pair[1]).collect();
        let between = some.iter().zip(&others).map(|(a, b)| a ^ b).collect();
        for numbers in [&some, &others, &changes, &between] {
            for bit in 0..64 {
                let set = numbers.iter().filter(|number| *number >> bit & 1 == 1);
                let count = set.count();
                assert!((340..=660).contains(&count), "bit {bit}: {count}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_command_name_ever_escapes(text in "\\PC{0,40}|[./a\\\\-]{0,20}") {
            if let Ok(name) = text.parse::<CommandName>() {
                let path = std::path::Path::new(name.as_str());
                for part in path.components() {
                    prop_assert!(matches!(part, std::path::Component::Normal(_)));
                }
            }
        }
    }
}

//! Seals what goes over the bus, and opens what comes from there: who knows the mesh's secret reads and
//! writes, and nobody else. Whoever has the bus can delay and drop.
//!
//! ```text
//!  version (1)   sender's start (8)   number (8)   to whom (8)   AES-256-GCM: message and tag
//!  └───────────────── authenticated, in the clear ─────────────┘
//! ```
//!
//! The bus can't bring a message to anybody else than the one it is for: a start, or 0 for all.
//!
//! Each start of a member has a key of its own, and numbers what it seals: so no pair of key and nonce is
//! used twice, whatever the clocks do.

use std::fmt;

use bytes::Bytes;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::mesh::id::Start;
use crate::mesh::message::Topic;
use crate::mesh::secret::MeshSecret;

const VERSION: u8 = 1;
const HEADER: usize = 1 + 8 + 8 + 8;
/// For whom what is for all is.
const ALL: u64 = 0;
const PURPOSE: &str = "p2prouter mesh, bus, version 1";

/// Most bytes of a sealed message: half of what NATS takes as it is delivered (`max_payload`, 1 MiB).
pub(crate) const MAX_SEALED: usize = 512 * 1024;

/// Key of one start of a member.
pub(crate) struct StartKey(LessSafeKey);

impl fmt::Debug for StartKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StartKey")
    }
}

impl StartKey {
    /// # Errors
    /// Never: the key has the length that the cipher asks for.
    pub(crate) fn new(secret: &MeshSecret, start: Start) -> Result<Self, ring::error::Unspecified> {
        let key = secret.derive(PURPOSE, &start.0.to_be_bytes());
        UnboundKey::new(&AES_256_GCM, &key).map(|key| Self(LessSafeKey::new(key)))
    }
}

/// Seals the messages of one start.
#[derive(Debug)]
pub(crate) struct Sealer {
    start: Start,
    key: StartKey,
    number: u64,
}

impl Sealer {
    /// # Errors
    /// See [`StartKey::new`].
    pub(crate) fn new(secret: &MeshSecret, start: Start) -> Result<Self, ring::error::Unspecified> {
        Ok(Self {
            start,
            key: StartKey::new(secret, start)?,
            number: 0,
        })
    }

    /// Seals a message for whoever it goes to. `None` if it is too large.
    pub(crate) fn seal(&mut self, to: Topic, message: &[u8]) -> Option<Bytes> {
        if HEADER + message.len() + AES_256_GCM.tag_len() > MAX_SEALED {
            return None;
        }
        self.number += 1;
        let mut sealed = Vec::with_capacity(HEADER + message.len() + AES_256_GCM.tag_len());
        sealed.push(VERSION);
        sealed.extend(self.start.0.to_be_bytes());
        sealed.extend(self.number.to_be_bytes());
        let to = match to {
            Topic::All => ALL,
            Topic::Member(start) => start.0,
        };
        sealed.extend(to.to_be_bytes());
        let header = sealed.clone();
        sealed.extend(message);
        let (nonce, aad) = (nonce(self.number), Aad::from(&header));
        let tag = (self.key.0)
            .seal_in_place_separate_tag(nonce, aad, &mut sealed[HEADER..])
            .ok()?;
        sealed.extend(tag.as_ref());
        Some(sealed.into())
    }
}

/// A sealed message whose header was read.
#[derive(Debug)]
pub(crate) struct Sealed<'a> {
    /// The start that the message claims to be of.
    pub start: Start,
    pub number: u64,
    to: u64,
    bytes: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Reads the header. `None` if this is no sealed message.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER>()?;
        if header[0] != VERSION || bytes.len() > MAX_SEALED {
            return None;
        }
        let number = |at: usize| header[at..].first_chunk().copied().map(u64::from_be_bytes);
        Some(Self {
            start: Start(number(1)?),
            number: number(9)?,
            to: number(17)?,
            bytes,
        })
    }

    /// Returns true if this says that it is for all, or for this start.
    pub(crate) fn is_for(&self, start: Start) -> bool {
        self.to == ALL || self.to == start.0
    }

    /// Returns the message, if whoever sealed it knows the secret.
    pub(crate) fn open(&self, key: &StartKey) -> Option<Vec<u8>> {
        let (header, sealed) = self.bytes.split_at_checked(HEADER)?;
        let mut message = sealed.to_vec();
        let opened = (key.0).open_in_place(nonce(self.number), Aad::from(header), &mut message);
        let length = opened.ok()?.len();
        message.truncate(length);
        Some(message)
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Numbers of one start that were taken: each is taken once, in any order that is not too wild.
#[derive(Debug, Clone)]
pub(crate) struct ReplayWindow {
    highest: u64,
    /// Which of the last numbers were taken: a bit for each, that of the number modulo their count.
    taken: Box<[u64; WORDS]>,
}

/// Words of a [`ReplayWindow`].
const WORDS: usize = 64;
/// Numbers that may overtake another: more than a member sends at once to all others, who each ask for all
/// that it has.
const WINDOW: u64 = 64 * WORDS as u64;

impl ReplayWindow {
    /// Begins with a number that was taken, and takes none below it.
    pub(crate) fn from(number: u64) -> Self {
        Self {
            highest: number,
            taken: Box::new([u64::MAX; WORDS]),
        }
    }

    /// Takes a number. Returns false if it was taken, or is too old to tell.
    pub(crate) fn take(&mut self, number: u64) -> bool {
        if number > self.highest {
            // Numbers that were passed over may come yet; those of their bits before them are too old now.
            let from = number.saturating_sub(WINDOW).max(self.highest) + 1;
            for passed in from..=number {
                *self.word(passed) &= !bit(passed);
            }
            self.highest = number;
        }
        if self.highest - number >= WINDOW {
            return false;
        }
        let word = self.word(number);
        let is_new = *word & bit(number) == 0;
        *word |= bit(number);
        is_new
    }

    fn word(&mut self, number: u64) -> &mut u64 {
        // The remainder is below their count.
        &mut self.taken[usize::try_from(number / 64 % WORDS as u64).unwrap_or_default()]
    }
}

fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Start = Start(42);

    fn secret(of: u8) -> MeshSecret {
        MeshSecret::new([of; 32])
    }

    fn opened(sealed: &[u8], by: u8) -> Option<Vec<u8>> {
        let sealed = Sealed::parse(sealed)?;
        sealed.open(&StartKey::new(&secret(by), sealed.start).unwrap())
    }

    #[test]
    fn who_has_the_secret_reads_it_and_nobody_else() {
        let mut sealer = Sealer::new(&secret(1), START).unwrap();
        let sealed = sealer.seal(Topic::All, b"9000 is mine").unwrap();
        assert_eq!(opened(&sealed, 1).as_deref(), Some(&b"9000 is mine"[..]));
        assert_eq!(opened(&sealed, 2), None);
        assert!(!sealed.windows(4).any(|part| part == b"9000"));
    }

    #[test]
    fn no_two_messages_look_alike() {
        let mut sealer = Sealer::new(&secret(1), START).unwrap();
        let [one, two] = [0; 2].map(|_| sealer.seal(Topic::All, b"the same").unwrap());
        assert_ne!(one[HEADER..], two[HEADER..]);
        let mut other = Sealer::new(&secret(1), Start(43)).unwrap();
        assert_ne!(
            other.seal(Topic::All, b"the same").unwrap()[HEADER..],
            one[HEADER..]
        );
    }

    #[test]
    fn what_is_too_large_is_not_sealed_and_not_read() {
        let mut sealer = Sealer::new(&secret(1), START).unwrap();
        let most = MAX_SEALED - HEADER - AES_256_GCM.tag_len();
        let sealed = sealer.seal(Topic::All, &vec![0; most]).unwrap();
        assert_eq!(opened(&sealed, 1).map(|message| message.len()), Some(most));
        assert_eq!(sealer.seal(Topic::All, &vec![0; most + 1]), None);
        assert!(Sealed::parse(&[vec![VERSION], vec![0; MAX_SEALED]].concat()).is_none());
    }

    #[test]
    fn what_is_for_one_is_for_nobody_else() {
        let mut sealer = Sealer::new(&secret(1), START).unwrap();
        let is_for = |sealed: &[u8], start| Sealed::parse(sealed).unwrap().is_for(Start(start));
        let one = sealer.seal(Topic::Member(Start(7)), b"yes").unwrap();
        assert!(is_for(&one, 7) && !is_for(&one, 8));
        let mut turned = one.to_vec();
        turned[HEADER - 1] = 8;
        assert!(is_for(&turned, 8) && opened(&turned, 1).is_none() && opened(&one, 1).is_some());
        let all = sealer.seal(Topic::All, b"yes").unwrap();
        assert!(is_for(&all, 7) && is_for(&all, 8));
    }

    proptest! {
        #[test]
        fn any_changed_bit_is_seen(
            message in prop::collection::vec(any::<u8>(), 0..64),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u32,
        ) {
            let mut sealer = Sealer::new(&secret(1), START).unwrap();
            let mut sealed = sealer.seal(Topic::All, &message).unwrap().to_vec();
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert_eq!(opened(&sealed, 1), None);
        }

        #[test]
        fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(opened(&bytes, 1), None);
        }

        #[test]
        fn each_number_is_taken_once_and_those_in_order_are_all_taken(
            numbers in prop::collection::vec(1..6000_u64, 1..400),
        ) {
            let mut window = ReplayWindow::from(0);
            let (mut taken, mut highest) = (std::collections::HashSet::new(), 0);
            for number in numbers {
                let is_first = taken.insert(number);
                let is_taken = window.take(number);
                prop_assert!(is_first || !is_taken);
                // Nothing within the window's width is lost.
                prop_assert!(!is_first || is_taken || highest - number >= WINDOW);
                highest = highest.max(number);
            }
        }
    }

    #[test]
    fn a_number_far_ahead_or_far_behind_breaks_nothing() {
        let mut window = ReplayWindow::from(5);
        assert!(!window.take(5) && !window.take(4));
        assert!(window.take(6));
        assert!(window.take(u64::MAX));
        assert!(!window.take(u64::MAX) && !window.take(7) && !window.take(0));
        assert!(window.take(u64::MAX - (WINDOW - 1)) && !window.take(u64::MAX - WINDOW));
    }
}

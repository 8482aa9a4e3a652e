//! Random numbers of one history: all of them come from its seed.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A generator (splitmix64) that all parts of a history share.
#[derive(Debug, Clone)]
pub(super) struct Rng(Arc<Mutex<u64>>);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(
            seed.wrapping_mul(0x2545_f491_4f6c_dd1d),
        )))
    }

    /// A generator of its own, seeded from this one.
    pub(super) fn fork(&self) -> Self {
        Self::new(self.next())
    }

    pub(super) fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn number(&self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// An index below this length.
    pub(super) fn below(&self, length: usize) -> usize {
        usize::try_from(self.number(0..length as u64)).unwrap()
    }

    /// A duration within this range of milliseconds, in whole microseconds.
    pub(super) fn ms(&self, range: Range<u64>) -> Duration {
        Duration::from_micros(self.number(range.start * 1000..range.end * 1000))
    }

    /// True once in `many` times.
    pub(super) fn one_in(&self, many: u64) -> bool {
        self.number(0..many) == 0
    }

    pub(super) fn one_of<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

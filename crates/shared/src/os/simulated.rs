//! Repeatable randomness for the simulation.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes the random numbers of this thread come from this seed: jitter, and numbers of 64 bits.
pub fn seed(seed: u64) {
    STATE.set(Some(seed));
}

/// Returns the next number (splitmix64), if there is a seed.
pub(super) fn number() -> Option<u64> {
    let state = STATE.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(Some(state));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(mixed ^ (mixed >> 31))
}

/// Returns the next number that is uniform in `0.0..1.0`, if there is a seed.
pub(super) fn jitter() -> Option<f64> {
    let thrown = u32::try_from(number()? >> 32).ok()?;
    Some(f64::from(thrown) / 2_f64.powi(32))
}

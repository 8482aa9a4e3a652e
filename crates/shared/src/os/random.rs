//! Owns randomness: ids and jitter, from the kernel.

/// A random number, all of its bits.
///
/// # Errors
/// If the kernel has no randomness to give, which Linux has from early boot on.
pub fn random_u64() -> Result<u64, getrandom::Error> {
    getrandom::u64()
}

/// Uniform in `0.0..1.0`, to spread what would else happen at once. Where there is no randomness
/// it is a half, which spreads nothing and harms nothing.
#[must_use]
pub fn jitter() -> f64 {
    #[cfg(feature = "simulation")]
    if let Some(thrown) = simulated::jitter() {
        return thrown;
    }
    getrandom::u32().map_or(0.5, |number| f64::from(number) / 2_f64.powi(32))
}

/// Dice that fall the same each time.
#[cfg(feature = "simulation")]
pub(super) mod simulated {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// From now on jitter in this thread comes from this seed.
    pub fn seed(seed: u64) {
        STATE.set(Some(seed));
    }

    /// The next of them (splitmix64), where there is a seed.
    pub(super) fn jitter() -> Option<f64> {
        let state = STATE.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
        STATE.set(Some(state));
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let thrown = u32::try_from((mixed ^ (mixed >> 31)) >> 32).ok()?;
        Some(f64::from(thrown) / 2_f64.powi(32))
    }
}

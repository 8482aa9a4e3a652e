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
    getrandom::u32().map_or(0.5, |number| f64::from(number) / 2_f64.powi(32))
}

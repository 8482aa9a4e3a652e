//! Random numbers from the kernel, for ids and jitter.

/// Returns 64 random bits.
///
/// # Errors
/// If the kernel has no randomness yet, which happens only in early boot.
pub fn random_u64() -> Result<u64, getrandom::Error> {
    #[cfg(feature = "simulation")]
    if let Some(number) = super::simulated::number() {
        return Ok(number);
    }
    getrandom::u64()
}

/// Returns a number that is uniform in `0.0..1.0`, to spread what would otherwise happen at once;
/// 0.5 if there is no randomness, which spreads nothing and harms nothing.
#[must_use]
pub fn jitter() -> f64 {
    #[cfg(feature = "simulation")]
    if let Some(thrown) = super::simulated::jitter() {
        return thrown;
    }
    getrandom::u32().map_or(0.5, |number| f64::from(number) / 2_f64.powi(32))
}

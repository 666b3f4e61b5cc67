//! Entropy from the operating system. For the edges of the program only: decisions get their entropy as an argument.

/// Fills bytes at random.
///
/// # Panics
/// If the operating system has no source of randomness: nothing here could be safe then.
pub(crate) fn fill(bytes: &mut [u8]) {
    #[cfg(any(test, feature = "testing"))]
    if crate::simulated::entropy(bytes) {
        return;
    }
    getrandom::fill(bytes).expect("the operating system provides randomness");
}

/// Returns 128 random bits.
///
/// # Panics
/// As [`fill`].
#[must_use]
pub(crate) fn random() -> u128 {
    let mut bytes = [0; 16];
    fill(&mut bytes);
    u128::from_be_bytes(bytes)
}

//! Entropy from the operating system. For the edges of the program only: decisions get their entropy as an argument.

/// 128 random bits.
///
/// # Panics
/// If the operating system has no source of randomness: nothing here could be safe then.
#[must_use]
pub(crate) fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system provides randomness");
    u128::from_be_bytes(bytes)
}

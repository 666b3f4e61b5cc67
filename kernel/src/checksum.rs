//! Checksums of frames and of small files: they find damage, and no attacker. Chains have [`crate::digest`].

/// Returns the XXH3-128 of bytes, in its canonical, big-endian form.
#[must_use]
pub fn checksum(bytes: &[u8]) -> [u8; 16] {
    xxhash_rust::xxh3::xxh3_128(bytes).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum is part of the format: this value may never change.
    #[test]
    fn it_is_xxh3_128_in_canonical_form() {
        assert_eq!(u128::from_be_bytes(checksum(b"")), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
    }
}

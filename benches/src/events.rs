//! What the benches write: events of 256 bytes over 64 subjects.

use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::{CortexId, Epoch, Origin};

/// Bytes of data in each event.
pub const SIZE: usize = 256;
/// How many subjects the events are about.
pub const SUBJECTS: u64 = 64;

/// The `n`-th event: the same in every run, and in no event's bytes is there anything to compress, or stores and disks
/// would be spared what they have to carry elsewhere.
#[must_use]
pub fn draft(n: u64) -> Draft {
    let mut state = n.wrapping_mul(SIZE as u64);
    let data: Vec<u8> =
        std::iter::repeat_with(|| scrambled(&mut state).to_le_bytes()).take(SIZE / 8).flatten().collect();
    Draft::new("bench.event", data).subject(format!("subject/{}", n % SUBJECTS))
}

/// SplitMix64.
const fn scrambled(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The `n`-th origin, ascending. Ids as they are in the wild: made within some days, so that their first bytes are much
/// the same.
#[must_use]
pub const fn origin(n: u64) -> Origin {
    let random = (n as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834);
    Origin::new(CortexId::from_parts(1_700_000_000_000 + n * 1_000_000, random), Epoch::new(random as u64))
}

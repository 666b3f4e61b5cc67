//! Where the records of a write-ahead log begin and end. RocksDB's log format: blocks of 32 KiB, in them fragments of
//! checksum (4 bytes), length (2), type (1), data.

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;

/// Whether a byte is part of a fragment's length. RocksDB takes a length that leads past the end of the file for a write
/// that was torn there, so the rest goes unread.
pub(crate) fn is_length(log: &[u8], at: usize) -> bool {
    fragments(log).any(|start| (start + 4..start + 6).contains(&at))
}

/// Where each fragment begins.
fn fragments(log: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let left = BLOCK - at % BLOCK;
        if left < HEADER {
            at += left;
        }
        let header = log.get(at..at + HEADER)?;
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        // Space set aside, and not used.
        if length == 0 && header[6] == 0 {
            return None;
        }
        let start = at;
        at += HEADER + length;
        Some(start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_skip_the_end_of_a_block_and_stop_at_zeros() {
        let mut log = vec![0; 2 * BLOCK];
        let mut put = |at: usize, length: u16| {
            log[at + 4..at + 6].copy_from_slice(&length.to_le_bytes());
            log[at + 6] = 1;
        };
        put(0, 10);
        put(17, u16::try_from(BLOCK - 17 - HEADER - 3).unwrap());
        put(BLOCK, 5);
        assert_eq!(fragments(&log).collect::<Vec<_>>(), [0, 17, BLOCK]);
        assert!(is_length(&log, 21) && !is_length(&log, 23));
    }
}

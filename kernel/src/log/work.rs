//! What answering a peer costs this cortex, and how much of it is done at once.

/// The most entries that are looked at without giving way to others, sent or skipped.
pub(super) const MAX_SCAN: u64 = 65_536;
/// The most bytes of entries that are looked at without giving way to others.
pub(super) const MAX_SCAN_BYTES: u64 = 64 << 20;

/// What answering cost beyond the events that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Work {
    /// Entries that were looked at and not sent.
    pub(crate) entries: u64,
    /// Bytes of their records.
    pub(crate) bytes: u64,
}

impl Work {
    pub(super) const fn add(&mut self, more: Self) {
        self.entries += more.entries;
        self.bytes += more.bytes;
    }
}

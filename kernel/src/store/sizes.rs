//! How much room a store takes.

/// How much room a store takes, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Each family by its name: its sorted files, and its entries that are in memory and not yet in them.
    pub families: Vec<(String, u64)>,
    /// The memory tables of all families, with the space that they reserve.
    pub memory: u64,
    /// The write-ahead log.
    pub wal: u64,
}

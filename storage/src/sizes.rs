//! How much room a store takes.

/// How much room a store takes, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Each family's sorted files, by its name.
    pub families: Vec<(String, u64)>,
    /// What is in memory and not yet in those files.
    pub memory: u64,
    /// The write-ahead log.
    pub wal: u64,
}

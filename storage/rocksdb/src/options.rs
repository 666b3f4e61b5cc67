//! What an embedder chooses about a store.

/// What happens where there is no store yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Create {
    /// One is made.
    #[default]
    IfMissing,
    /// Opening fails with [`StoreErrorKind::Missing`](antiphon_kernel::store::StoreErrorKind::Missing), and the place
    /// stays untouched. For whatever must not start an empty log by a mistyped path.
    Never,
}

/// How a store is opened.
///
/// Memory is bounded by `cache_bytes + write_buffer_bytes`, once more `write_buffer_bytes` at worst while the log of the
/// last run is read at start, and some 20 MiB for files and compaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Whether a store is made where there is none.
    pub create: Create,
    /// Bytes of blocks kept in memory, indexes and filters included. At least 1 MiB is used. 64 MiB unless said.
    pub cache_bytes: usize,
    /// Bytes of writes kept in memory, all families together, before they go into sorted files. Twice as many bytes of
    /// write-ahead log are kept, so this also bounds how much a start reads again. At least 1 MiB is used. 64 MiB unless
    /// said.
    pub write_buffer_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { create: Create::default(), cache_bytes: 64 << 20, write_buffer_bytes: 64 << 20 }
    }
}

impl From<Create> for Options {
    /// The defaults, and this choice.
    fn from(create: Create) -> Self {
        Self { create, ..Self::default() }
    }
}

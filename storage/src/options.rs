//! Every RocksDB setting that a promise or a bound depends on.

use antiphon_kernel::store::Family;
use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Options, SliceTransform};

/// Memory for blocks read from disk.
const BLOCK_CACHE: usize = 48 * 1024 * 1024;
/// Memory for writes not yet in a table file, over all families.
const WRITE_BUFFERS: usize = 64 * 1024 * 1024;

/// Settings of the whole database.
pub(crate) fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A torn tail is what a crash leaves and is dropped; a fault before it refuses to open. The default would open with
    // half of the log gone and say nothing.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_paranoid_checks(true);
    options.set_track_and_verify_wals_in_manifest(true);
    // One quiet family (cursors of an idle peer) would otherwise pin log files without bound.
    options.set_max_total_wal_size(256 * 1024 * 1024);
    options.set_db_write_buffer_size(WRITE_BUFFERS);
    options.set_max_open_files(512);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 * 1024 * 1024);
    options
}

/// Settings of one family.
pub(crate) fn family(name: &str, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_format_version(5);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_block_size(16 * 1024);
    let mut options = Options::default();
    options.set_write_buffer_size(16 * 1024 * 1024);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    if name == Family::Dots.name() || name == Family::Ids.name() {
        // Point look-ups by whole key; the first 16 bytes are a cortex or an id.
        table.set_bloom_filter(10.0, false);
        options.set_prefix_extractor(SliceTransform::create_fixed_prefix(16));
    }
    options.set_block_based_table_factory(&table);
    options
}

/// The cache that all families share.
pub(crate) fn cache() -> Cache {
    Cache::new_lru_cache(BLOCK_CACHE)
}

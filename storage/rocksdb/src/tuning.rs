//! Every RocksDB setting, with its reason. What is not named here is RocksDB's default.

use rocksdb::{
    BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType, DBRecoveryMode, LogLevel, Options as Rocks,
    ReadOptions, WriteBufferManager, WriteOptions,
};

use crate::database::Wal;
use crate::options::Options;

/// So many files that no compaction has sorted in yet stop writes: RocksDB's default.
const LEVEL_ZERO_STOP: i32 = 36;
/// Less makes RocksDB flush and evict without end.
const LEAST_BYTES: usize = 1 << 20;

/// The settings of one opened database. A new one for each opening: a cache that outlived its database would answer for
/// bytes that are no longer there.
pub(crate) struct Tuning {
    pub(crate) rocks: Rocks,
    cache: Cache,
    cache_bytes: usize,
}

impl Tuning {
    pub(crate) fn new(options: &Options, wal: Wal) -> Self {
        let cache_bytes = options.cache_bytes.max(LEAST_BYTES);
        let cache = Cache::new_lru_cache(cache_bytes);
        let mut rocks = Rocks::default();
        integrity(&mut rocks, wal);
        memory(&mut rocks, options.write_buffer_bytes.max(LEAST_BYTES));
        files(&mut rocks);
        rocks.set_block_based_table_factory(&tables(&cache));
        Self { rocks, cache, cache_bytes }
    }

    /// Forgets all cached blocks, so that the next reads come from the disk.
    pub(crate) fn forget_blocks(&self) {
        let mut cache = self.cache.clone();
        cache.set_capacity(0);
        cache.set_capacity(self.cache_bytes);
    }
}

fn integrity(rocks: &mut Rocks, wal: Wal) {
    // The one mode that opens after a torn write and refuses a damaged middle. Point-in-time, the default, silently drops
    // everything after the damage, and is for where that is known to be nothing: see `recovery`. Absolute consistency
    // refuses after every ordinary crash; skip-any leaves holes.
    rocks.set_wal_recovery_mode(match wal {
        Wal::Whole => DBRecoveryMode::TolerateCorruptedTailRecords,
        Wal::UpToDamage => DBRecoveryMode::PointInTime,
    });
    rocks.set_paranoid_checks(true);
    // A closed write-ahead log that is missing or short is then an error at the next start.
    rocks.set_track_and_verify_wals_in_manifest(true);
    // Never set here: `manual_wal_flush` (keeps acknowledged writes in this process's memory), `wal_bytes_per_sync` (may
    // leave holes after power loss), `disable_wal`.
}

fn memory(rocks: &mut Rocks, write_buffer_bytes: usize) {
    // One bound over all families, not one each: there are nine, and embedders add more. No stall: the flush that the
    // bound triggers is what ends the excess, and a batch may be larger than the bound.
    rocks.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(write_buffer_bytes, false));
    rocks.set_write_buffer_size(write_buffer_bytes / 4);
    // Else one quiet family keeps every log since its last write.
    rocks.set_max_total_wal_size(2 * write_buffer_bytes as u64);
    rocks.set_max_open_files(256);
    rocks.set_max_background_jobs(2);
}

fn files(rocks: &mut Rocks) {
    // Writes are stopped, or go on at full speed. In between RocksDB would set them back by delays that it reckons for
    // writers who wait in its queue, and ours wait outside.
    rocks.set_level_zero_slowdown_writes_trigger(LEVEL_ZERO_STOP);
    rocks.set_level_zero_stop_writes_trigger(LEVEL_ZERO_STOP);
    rocks.set_soft_pending_compaction_bytes_limit(0);
    // Never FIFO: it deletes the oldest file at a size limit.
    rocks.set_compaction_style(DBCompactionStyle::Level);
    rocks.set_level_compaction_dynamic_level_bytes(true);
    // One compressor on every level: files whose keys follow one another, as a log's do, are then moved down as they are.
    // With a denser one at the bottom each event was read and written once more, at twice the CPU time of storing it.
    rocks.set_compression_type(DBCompressionType::Lz4);
    // LZ4's acceleration 4, given as a negative level. The other three arguments are of other compressors. Storing a million events of
    // random bytes took 1.86 s of CPU instead of 1.96 s, and JSON became 38.1 % of its size instead of 37.4 %.
    rocks.set_compression_options(-14, -4, 0, 0);
    // RocksDB's own diary: warnings only, and bounded. Reasons for a failure come back as errors.
    rocks.set_log_level(LogLevel::Warn);
    rocks.set_max_log_file_size(1 << 20);
    rocks.set_keep_log_file_num(4);
    rocks.set_max_manifest_file_size(16 << 20);
    rocks.set_stats_dump_period_sec(0);
    rocks.set_stats_persist_period_sec(0);
}

fn tables(cache: &Cache) -> BlockBasedOptions {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(cache);
    // Counted in the cache's bound. They would grow with the log otherwise.
    tables.set_cache_index_and_filter_blocks(true);
    tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // The log is read in long runs: fewer, larger blocks compress better and need a quarter of the index.
    tables.set_block_size(16 << 10);
    // Most ids and dots that are looked up are not there: they are new.
    tables.set_bloom_filter(10.0, false);
    tables.set_format_version(5);
    tables
}

/// For reads that check, and must not push out what others need.
pub(crate) fn checking() -> ReadOptions {
    let mut read = ReadOptions::default();
    read.set_verify_checksums(true);
    read.fill_cache(false);
    read
}

/// For a commit that returns when the batch is on the disk, or before. Where RocksDB would make it wait, it fails with
/// `Incomplete` instead, before anything was written: see `Database::write`.
pub(crate) fn writing(sync: bool) -> WriteOptions {
    let mut write = WriteOptions::default();
    write.set_sync(sync);
    write.set_no_slowdown(true);
    write
}

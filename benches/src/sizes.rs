//! How much each bench does: the one place that says so.

/// Counts of events, unless said otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// In one frame of `codec`; at most what a batch may hold.
    pub frame: u64,
    /// In the log that `ingest` takes in.
    pub ingest: u64,
    /// In the log that `replay` replays.
    pub replay: u64,
    /// In the short log of `serve`; the long one has [`Sizes::LONGER`] times as many.
    pub short_log: u64,
    /// In the log that `path` carries over.
    pub path: u64,
}

impl Sizes {
    /// How many times longer the long log of `serve` is.
    pub const LONGER: u64 = 1000;

    const MEASURED: Self = Self { frame: 512, ingest: 16_384, replay: 16_384, short_log: 1000, path: 50_000 };

    /// Enough for more than one batch of everything, and over in a moment.
    const TRIED: Self = Self { frame: 64, ingest: 1100, replay: 1100, short_log: 32, path: 300 };

    /// What is measured by `cargo bench`, and tiny everywhere else: `cargo test` and `cargo bench -- --test` run each
    /// bench once, to see that it works. Criterion decides by the same two words.
    #[must_use]
    pub fn of_this_run() -> Self {
        let said = |word: &str| std::env::args().any(|argument| argument == word);
        if said("--bench") && !said("--test") { Self::MEASURED } else { Self::TRIED }
    }
}

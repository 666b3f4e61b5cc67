//! Looking through seeds, on all processors.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Returns the first seed, or nearly, at which `look` finds something, and what. Each thread begins with `begin`.
pub(crate) fn first<T: Send>(
    seeds: Range<u64>,
    begin: impl Fn() + Sync,
    look: impl Fn(u64) -> Option<T> + Sync,
) -> Option<(u64, T)> {
    let (next, found) = (AtomicU64::new(seeds.start), Mutex::new(None::<(u64, T)>));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                begin();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let Some(what) = look(seed) else { continue };
                    next.store(seeds.end, Ordering::Relaxed);
                    let mut found = found.lock().unwrap();
                    if found.as_ref().is_none_or(|(first, _)| seed < *first) {
                        *found = Some((seed, what));
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

//! How far an input was imported: kept with its events, under a key made of its first event.

use crate::reply::Progress;

/// Number of inputs whose progress is kept.
const KEPT: usize = 32;

/// Returns the progress in a kept record; `None` if the record is damaged.
pub(crate) fn parse(record: &str) -> Option<Progress> {
    serde_json::from_str(record).ok()
}

/// Returns the keys of the records of progress that are too many: the oldest.
pub(crate) fn too_many(mut kept: Vec<(String, Option<String>)>) -> Vec<String> {
    let at = |value: &Option<String>| value.as_deref().and_then(parse).map(|progress| progress.at);
    kept.sort_by_cached_key(|(_, value)| at(value));
    let many = (kept.len() + 1).saturating_sub(KEPT);
    kept.into_iter().take(many).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_progress_is_forgotten() {
        let kept = |n: usize| {
            let at = format!("2026-01-{:02}T00:00:00Z", n + 1);
            let progress = Progress { events: 1, digest: String::new(), at };
            (format!("import/{n}"), Some(serde_json::to_string(&progress).unwrap()))
        };
        assert_eq!(too_many((0..31).map(kept).collect()), Vec::<String>::new());
        assert_eq!(too_many((0..33).rev().map(kept).collect()), ["import/0", "import/1"]);
        let damaged = vec![("import/x".to_owned(), Some("?".to_owned()))];
        assert_eq!(too_many(damaged.into_iter().chain((1..32).map(kept)).collect()), ["import/x"]);
    }
}

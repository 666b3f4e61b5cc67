//! Lines of CloudEvents, imported and exported: whatever a line holds, it is refused with a reason or becomes an event
//! that verifies, that goes out as the CloudEvent that came in, and that can be imported again.

mod same;

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::event::{Draft, MAX_EXTENSIONS, from_cloud_event};
use antiphon_kernel::ids::{CortexId, Epoch};
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::log::{AppendError, LocalIdentity, LogEntry, verify};
use antiphon_kernel::store::Durability;
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;

/// So many lines of one input are read.
const MAX_LINES: usize = 32;
const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// Imports each line of `data`.
///
/// # Panics
/// Where an import does, or where what comes out is not what came in.
pub fn run(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n').take(MAX_LINES);
    let lines: Vec<_> = lines.filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let drafts = lines.iter().filter_map(|line| draft(line).map(|draft| (*line, draft)));
    let mut drafts = drafts.peekable();
    if drafts.peek().is_none() {
        return;
    }
    let mut log = log();
    let accepted: Vec<_> = drafts.filter(|(_, draft)| append(&mut log, draft)).collect();
    log.commit(Durability::Sync).expect("memory does not fail");
    let view = log.reader();
    let report = verify(&view).expect("memory does not fail");
    assert!(report.is_clean() && report.events == accepted.len() as u64, "{report:?}");
    let entries =
        view.entries(antiphon_kernel::cursor::Seq::ZERO, MAX_LINES, usize::MAX).expect("memory does not fail");
    assert_eq!(entries.len(), accepted.len());
    for ((line, draft), entry) in accepted.iter().zip(&entries) {
        comes_out_as_it_came_in(line, draft, entry);
    }
}

fn draft(line: &str) -> Option<Draft> {
    match from_cloud_event(line) {
        Ok(draft) => Some(draft),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

fn log() -> Log {
    let store = MemoryStore::new();
    let identity = LocalIdentity::new(CortexId::from_bytes([1; 16]), Epoch::new(1), "alpha".to_owned());
    Log::create(&store, &identity).expect("it is empty");
    let mut drawn = 0;
    let entropy = move || {
        drawn += 1;
        drawn
    };
    let options = LogOptions { entropy: Box::new(entropy), process: 1, ..LogOptions::default() };
    Log::open(Arc::new(store), options).expect("it was just made")
}

fn append(log: &mut Log, draft: &Draft) -> bool {
    let checked = draft.check();
    match log.append(std::slice::from_ref(draft), &VClock::new(), NOW) {
        Ok(appended) => {
            assert_eq!((appended.len(), checked), (1, Ok(())));
            true
        }
        Err(error @ AppendError::Draft { .. }) => {
            assert!(!error.to_string().is_empty());
            false
        }
        Err(error) => panic!("{error}"),
    }
}

fn comes_out_as_it_came_in(line: &str, draft: &Draft, entry: &LogEntry) {
    let event = entry.event().expect("it was just written");
    assert_eq!((event.event_type, event.time), (draft.event_type.as_str(), draft.time.unwrap_or(NOW)));
    assert_eq!(event.data, &draft.data[..]);
    assert!(event.extensions.iter().copied().eq(draft.extensions.iter().map(|(n, v)| (n.as_str(), v.as_str()))));

    let out = entry.to_cloud_event().expect("it was just written");
    let (length, out) = (out.length(), out.into_string());
    assert_eq!(out.len(), length, "the length is known before: {out}");
    assert!(!out.contains(['\n', '\r']), "an event is one line: {out}");
    same::as_the_line(line, &out);
    let again = from_cloud_event(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    same::as_the_draft(draft, &again);
    // The export's own id and source are kept beside the rest.
    if draft.extensions.len() + 2 <= MAX_EXTENSIONS {
        assert_eq!(again.check(), Ok(()), "{out}");
    }
}

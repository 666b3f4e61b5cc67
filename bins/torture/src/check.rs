//! Looks at what is left in a directory, and compares it with what was acknowledged.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::digest::Digest;
use antiphon_kernel::ids::{CortexId, Origin};
use antiphon_kernel::internals::log::{read_cursor, read_epoch_change};
use antiphon_kernel::internals::replay::{ReplayCore, ReplayStep};
use antiphon_kernel::log::{LogEntry, LogReader, OpenError, verify};
use antiphon_kernel::store::{StoreError, StoreErrorKind};
use antiphon_storage::Create;
use anyhow::Result;

use crate::acks::{Ack, Acks};
use crate::node::{self, Buffers};
use crate::payload::Said;
use crate::peer::Peer;
use crate::report::{Refusal, Report};
use crate::tally::{Seen, Tally, folded};

/// # Errors
/// Where the check itself cannot be made; whatever the store says is part of the report.
pub(crate) fn run(dir: &Path, acks: &Acks) -> Result<Report> {
    let mut report = Report::new(acks.head);
    for twice in &acks.doubled {
        report.doubled(twice.clone());
    }
    let view = match node::open(dir, Create::Never, Buffers::Usual) {
        Ok(log) => log.reader(),
        Err(error) => {
            unopened(&error, acks, &mut report);
            return Ok(report.judged());
        }
    };
    let peer = Peer::new()?.entries()?;
    if let Err((at, error)) = examine(&view, acks, &peer, &mut report) {
        report.refused =
            Some(Refusal { kind: format!("{:?}", error.kind()), at: at.to_owned(), message: error.to_string() });
    }
    Ok(report.judged())
}

fn unopened(error: &OpenError, acks: &Acks, report: &mut Report) {
    let kind = match error {
        // Cut short while it was made: nothing, if nothing was acknowledged.
        OpenError::NotInitialised => None,
        OpenError::Store(error) if error.kind() == StoreErrorKind::Missing => None,
        OpenError::Store(error) => Some(format!("{:?}", error.kind())),
        other => Some(other.code().to_string()),
    };
    match kind {
        Some(kind) => report.refused = Some(Refusal { kind, at: "open".to_owned(), message: error.to_string() }),
        None if acks.head > 0 => report.lost(format!("everything: {error}")),
        None => {}
    }
}

type At<T> = Result<T, (&'static str, StoreError)>;

fn at<T>(doing: &'static str, result: Result<T, StoreError>) -> At<T> {
    result.map_err(|error| (doing, error))
}

fn examine(view: &LogReader, acks: &Acks, peer: &[LogEntry], report: &mut Report) -> At<()> {
    let store = &**view.store();
    report.head = view.visible().get();
    report.new_epoch = at("epoch", read_epoch_change(store))?.map(|change| change.why);
    // First what an application reads, and without a check of the whole before it: it must be right or an error.
    let mut reading = Reading::new(view.local().cortex_id, peer, acks);
    let mut after = Seq::ZERO;
    loop {
        let entries = at("read", view.entries(after, 256, 4 << 20))?;
        let Some(last) = entries.last() else { break };
        after = last.seq;
        entries.iter().for_each(|entry| reading.entry(entry, report));
    }
    if after.get() != report.head {
        report.fault(format!("it reads up to place {after} only, of {}", report.head));
    }
    let cursor = match Peer::name() {
        Ok(name) => at("cursor", read_cursor(store, &name))?,
        Err(error) => return Err(("cursor", StoreError::new(StoreErrorKind::Misuse, error.to_string()))),
    };
    let replayed = at("replay", Seen::stored(store))?;
    reading.end(cursor, replayed, report);
    // Then every byte, and the log against itself.
    at("check", store.check())?;
    let verified = at("verify", verify(view))?;
    for fault in verified.faults {
        report.fault(format!("verify: {fault}"));
    }
    at("catch up", catch_up(view, &reading, report))
}

/// The replayer goes on where it stopped, and ends where the log does.
fn catch_up(view: &LogReader, reading: &Reading<'_>, report: &mut Report) -> Result<(), StoreError> {
    let mut core = ReplayCore::open(view.clone(), Box::new(Tally))?;
    if core.position().get() != report.replayed {
        report.fault(format!("the replayer's position is {}, its state is of {}", core.position(), report.replayed));
    }
    // Processes that died at its events are what this is about; it must not hold them against the events.
    core.retry(None)?;
    loop {
        match core.step()? {
            ReplayStep::CaughtUp => break,
            ReplayStep::Replayed(_) => {}
            ReplayStep::Failed { at, error, .. } => {
                report.fault(format!("the replayer fails at cursor {at}: {error}"));
                return Ok(());
            }
        }
    }
    if Seen::stored(&**view.store())? != reading.last_seen() {
        report.fault("the replayer caught up, and has not seen what the log holds".to_owned());
    }
    Ok(())
}

struct Reading<'a> {
    own: CortexId,
    peer: &'a [LogEntry],
    acks: &'a Acks,
    own_events: u64,
    /// Of each of its epochs, the last counter.
    counters: BTreeMap<Origin, u64>,
    peer_events: usize,
    said: HashSet<Said>,
    /// How many events there are of a call, and how many it appended.
    calls: BTreeMap<(u64, u64), (u64, u64)>,
    content: Digest,
    /// What a replayer has seen after each sequence number.
    seen: Vec<Seen>,
}

impl<'a> Reading<'a> {
    fn new(own: CortexId, peer: &'a [LogEntry], acks: &'a Acks) -> Self {
        Self {
            own,
            peer,
            acks,
            own_events: 0,
            counters: BTreeMap::new(),
            peer_events: 0,
            said: HashSet::new(),
            calls: BTreeMap::new(),
            content: Digest::ZERO,
            seen: vec![Seen::NOTHING],
        }
    }

    fn last_seen(&self) -> Seen {
        self.seen.last().copied().unwrap_or(Seen::NOTHING)
    }

    fn entry(&mut self, entry: &LogEntry, report: &mut Report) {
        let seq = entry.seq;
        let joined = folded(self.content, &entry.joined.as_micros().to_be_bytes());
        self.content = folded(joined, &entry.record);
        let event = match entry.event() {
            Ok(event) => event,
            Err(error) => return report.fault(format!("place {seq}: {error}")),
        };
        self.seen.push(self.last_seen().and(event.id));
        let acked = self.acks.events.get(&seq.get());
        if event.dot.origin() == Peer::origin() {
            let expected = self.peer.get(self.peer_events);
            if expected.is_none_or(|expected| expected.record != entry.record) {
                report.fault(format!("place {seq}: not what the peer said as number {}", self.peer_events + 1));
            }
            self.peer_events += 1;
            if acked.is_some() {
                report.lost(format!("place {seq} is the peer's, and one of its own was acknowledged there"));
            }
            return;
        }
        self.own_events += 1;
        let counter = self.counters.entry(event.dot.origin()).or_insert(0);
        *counter += 1;
        if event.dot.origin().cortex() != self.own || event.dot.counter() != *counter {
            report.fault(format!("place {seq}: {} is not its own number {counter}", event.dot));
        }
        let Some(said) = Said::read(event.data) else {
            return report.fault(format!("place {seq}: the payload is not what was appended"));
        };
        if !self.said.insert(said) {
            report.doubled(format!("place {seq}: {said:?} again"));
        }
        self.calls.entry((said.run, said.call)).or_insert((0, said.of)).0 += 1;
        let is = Ack { counter: event.dot.counter(), run: said.run, call: said.call };
        if let Some(acked) = acked.filter(|acked| **acked != is) {
            report.lost(format!("place {seq}: {is:?}, and {acked:?} was acknowledged"));
        }
    }

    fn end(&mut self, cursor: Option<Cursor>, replayed: Seen, report: &mut Report) {
        report.own = self.own_events;
        report.peer = self.peer_events as u64;
        report.cursor = cursor.map_or(0, |cursor| cursor.seq.get());
        report.replayed = replayed.count;
        for ((run, call), (there, of)) in &self.calls {
            if there != of {
                report.fault(format!("of call {run:016x} {call} there are {there} events of {of}"));
            }
        }
        if report.cursor != report.peer {
            report.fault(format!("{} of the peer's events are held, and its cursor is {}", report.peer, report.cursor));
        }
        let place = usize::try_from(replayed.count).unwrap_or(usize::MAX);
        if self.seen.get(place) != Some(&replayed) {
            report.fault(format!("the replayer's state is not that of place {}", replayed.count));
        }
        if report.head < self.acks.head {
            report.lost(format!("places {}..={}", report.head + 1, self.acks.head));
        }
        if report.cursor < self.acks.cursor {
            report.lost(format!("the cursor is {}, and {} was acknowledged", report.cursor, self.acks.cursor));
        }
        let state = format!("{cursor:?} {replayed:?}");
        report.content = folded(self.content, state.as_bytes()).to_string();
    }
}

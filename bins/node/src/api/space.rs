//! Whose events fill the log: by origin, and by the peer that brought the origin.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use antiphon_kernel::ids::{Origin, PeerName};
use antiphon_kernel::internals::log::OriginNote;

use crate::reply::{Brought, LargestOrigin};

/// The number of origins that are listed, those first that take the most space.
const LISTED: usize = 10;
/// The free space is worth a warning below this multiple of the floor.
const WARN_AT: u64 = 2;

/// What one peer brought, or what was appended here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    origins: u64,
    events: u64,
    bytes: u64,
}

/// By the peer that brought it, what the log holds; `None` is what was appended here, or came before that was noted.
fn by_peer(origins: &BTreeMap<Origin, OriginNote>) -> BTreeMap<Option<PeerName>, Share> {
    let mut found = BTreeMap::<_, Share>::new();
    for note in origins.values() {
        let share = found.entry(note.brought_by.clone()).or_default();
        share.origins += 1;
        share.events += note.events;
        share.bytes += note.bytes;
    }
    found
}

/// The origins that take the most space, largest first.
fn largest(origins: &BTreeMap<Origin, OriginNote>, count: usize) -> Vec<(Origin, &OriginNote)> {
    let mut all: Vec<_> = origins.iter().map(|(origin, note)| (*origin, note)).collect();
    all.sort_by_key(|(origin, note)| (Reverse(note.bytes), *origin));
    all.truncate(count);
    all
}

/// For `status`: what each peer brought.
pub(super) fn brought(origins: &BTreeMap<Origin, OriginNote>) -> Vec<Brought> {
    let shares = by_peer(origins).into_iter();
    shares.map(|(peer, Share { origins, events, bytes })| Brought { peer, origins, events, bytes }).collect()
}

/// For `status`: the largest origins.
pub(super) fn largest_origins(origins: &BTreeMap<Origin, OriginNote>) -> Vec<LargestOrigin> {
    let listed = largest(origins, LISTED).into_iter();
    let one = |(origin, note): (Origin, &OriginNote)| LargestOrigin {
        origin: origin.to_string(),
        brought_by: note.brought_by.clone(),
        events: note.events,
        bytes: note.bytes,
    };
    listed.map(one).collect()
}

/// The peer that brought the most origins, if any peer brought some.
pub(super) fn most_origins(origins: &BTreeMap<Origin, OriginNote>) -> Option<(PeerName, u64)> {
    let found = by_peer(origins).into_iter().filter_map(|(peer, brought)| Some((peer?, brought.origins)));
    found.max_by_key(|(_, count)| *count)
}

/// That the disk is nearly full, with who took the space. Nothing while there is room.
pub(super) fn trouble(
    free: Option<u64>,
    floor: u64,
    origins: &BTreeMap<Origin, OriginNote>,
    evidence: u64,
) -> Option<String> {
    let free = free.filter(|free| *free < floor.saturating_mul(WARN_AT))?;
    let mib = |bytes: u64| bytes >> 20;
    let most = by_peer(origins).into_iter().max_by_key(|(_, brought)| brought.bytes);
    let who = most.map_or_else(String::new, |(peer, brought)| {
        let who = peer.map_or_else(|| "this node".to_owned(), |peer| format!("peer {peer}"));
        format!(" The most, {} MiB, came from {who}.", mib(brought.bytes))
    });
    let largest = largest(origins, 1).first().map_or_else(String::new, |(origin, note)| {
        format!(" The largest origin is {origin} with {} MiB.", mib(note.bytes))
    });
    let evidence = if evidence > 0 { format!(" Evidence of forks has {} MiB.", mib(evidence)) } else { String::new() };
    Some(format!(
        "the disk has {} MiB left; below {} MiB no peer is pulled.{who}{largest}{evidence} Free some space, or pause that peer.",
        mib(free),
        mib(floor)
    ))
}

#[cfg(test)]
mod tests {
    use antiphon_kernel::ids::{CortexId, Epoch};

    use super::*;

    fn origins() -> BTreeMap<Origin, OriginNote> {
        let of = |n: u8, peer: Option<&str>, mib: u64| {
            let note = OriginNote {
                brought_by: peer.map(|name| PeerName::new(name).unwrap()),
                bytes: mib << 20,
                events: 1,
                ..OriginNote::default()
            };
            (Origin::new(CortexId::from_bytes([n; 16]), Epoch::new(1)), note)
        };
        [of(1, None, 50), of(2, Some("bravo"), 40), of(3, Some("bravo"), 30), of(4, Some("charlie"), 60)].into()
    }

    #[test]
    fn who_took_the_space_is_named_before_there_is_none() {
        let origins = origins();
        assert_eq!(trouble(Some(600 << 20), 256 << 20, &origins, 0), None);
        assert_eq!(trouble(None, 256 << 20, &origins, 0), None);
        let warning = trouble(Some(300 << 20), 256 << 20, &origins, 3 << 20).unwrap();
        let of_charlie = origins.keys().last().unwrap();
        for part in ["300 MiB left", "70 MiB, came from peer bravo", &format!("{of_charlie} with 60 MiB"), "has 3 MiB"]
        {
            assert!(warning.contains(part), "{part} is not in: {warning}");
        }
        assert_eq!(most_origins(&origins), Some((PeerName::new("bravo").unwrap(), 2)));
    }
}

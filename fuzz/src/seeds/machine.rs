//! Seeds of `peer_machine`: the ways that an exchange with a peer goes, each from its beginning.

use crate::peer_machine::step::{
    ADVANCE, ANSWER, FLOOD, HEARD, HOLD, PAUSE, PIN_FAILS, PINNED_ELSEWHERE, RELEASE, RESET, RESUME, STALE_ANSWER,
    STALE_TIMER, TIMER, WAKE,
};

/// An interval of 30 seconds, no pin, no failures yet.
const FRESH: [u8; 3] = [0, 0, 0];
/// Pinned to another cortex than the one that answers; seventeen failures already.
const PINNED: [u8; 3] = [1, 2, 3];

/// The peer says who it is, and all is well.
const KNOWN: [u8; 10] = [ANSWER, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// A batch without news: `last` is the cursor, and the head is where `last` is.
const QUIET: [u8; 12] = [ANSWER, 0, 0, 0, 4, 0, 0, 0, 0, 0, 4, 0];
/// A batch with sequence numbers 1 to 4 of 9.
const NEWS: [u8; 14] = [ANSWER, 1, 0, 0, 4, 0, 0, 1, 0, 0, 0, 0, 9, 0];
/// The log stored one event of it, or none, or ended a fork.
const STORED: [u8; 8] = [ANSWER, 0, 128, 0, 0, 0, 0, 0];
const NOTHING: [u8; 8] = [ANSWER, 0, 0, 0, 0, 0, 0, 0];
const HEALED: [u8; 8] = [ANSWER, 9, 0, 0, 0, 0, 0, 0];
/// What looking into a fork found: something new, or a fork that the question lists.
const FOUND: [u8; 2] = [ANSWER, 0];
const LISTED: [u8; 2] = [ANSWER, 2];

const fn refused(how: u8) -> [u8; 4] {
    [ANSWER, 0, 5, how]
}

const fn forked(counter: u8) -> [u8; 5] {
    [ANSWER, 0, 5, 2, counter]
}

/// An answer to a question that is not open: a reply, an outcome, what was found, or an identity.
const fn late(kind: u8) -> [u8; 31] {
    let mut bytes = [0; 31];
    (bytes[0], bytes[2]) = (STALE_ANSWER, kind);
    bytes
}

const fn failed(category: u8) -> [u8; 4] {
    [ANSWER, 0, 7, category]
}

const fn outcome(which: u8) -> [u8; 2] {
    [ANSWER, which]
}

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    // The first question is for what this cortex wrote itself and has lost, which is nothing.
    let begun = [&FRESH[..], &KNOWN, &QUIET, &NOTHING].concat();
    let live = [&begun[..], &NEWS, &STORED, &QUIET, &NOTHING].concat();
    let then = |before: &[u8], steps: &[&[u8]]| [before, &steps.concat()].concat();
    let heartbeat = |epoch, seq| [ANSWER, 0, 4, 0, epoch, seq, 9];
    let unreachable = [ANSWER, 7, 1];
    let mut seeds = vec![
        ("first-contact", [&FRESH[..], &KNOWN].concat()),
        ("live", live.clone()),
        ("quiet", then(&begun, &[&QUIET, &NOTHING, &QUIET, &NOTHING, &[TIMER], &QUIET, &NOTHING])),
        ("heartbeats", then(&live, &[&heartbeat(0, 9), &[ADVANCE, 5], &heartbeat(0, 3), &QUIET, &NOTHING])),
        ("heartbeat-of-another-epoch", then(&live, &[&heartbeat(7, 9), &refused(0), &NEWS, &STORED])),
        ("flood", then(&live, &[&[FLOOD, 0], &[TIMER], &[FLOOD, 1], &[ADVANCE, 4, TIMER, FLOOD, 2]])),
        ("cursor-unknown-twice", then(&begun, &[&refused(0), &refused(0), &[TIMER]])),
        ("hole-twice", then(&begun, &[&NEWS, &outcome(4), &NEWS, &outcome(4)])),
        ("gap-then-not-asked", then(&begun, &[&NEWS, &outcome(6), &NEWS, &outcome(5), &[TIMER]])),
        ("fork-reset", then(&begun, &[&forked(3), &[WAKE, TIMER, RESUME, RESET], &KNOWN, &NEWS])),
        ("fork-found-and-healed", then(&begun, &[&forked(3), &FOUND, &NEWS, &HEALED, &NEWS])),
        ("fork-listed-twice", then(&begun, &[&forked(3), &LISTED, &forked(3), &LISTED])),
        ("fork-not-shown", then(&begun, &[&NEWS, &[ANSWER, 8, 3], &[ANSWER, 3, 1], &[TIMER], &KNOWN])),
        ("halted-by-log", then(&begun, &[&NEWS, &[ANSWER, 7, 18], &[WAKE, PAUSE, RESUME], &KNOWN])),
        ("pin-fails", then(&FRESH, &[&[PIN_FAILS], &KNOWN, &[TIMER], &KNOWN, &NEWS])),
        ("pinned-elsewhere", then(&FRESH, &[&[PINNED_ELSEWHERE, 2], &KNOWN, &[PINNED_ELSEWHERE, 3, TIMER], &KNOWN])),
        ("another-cortex", then(&PINNED, &[&KNOWN, &[WAKE], &[ANSWER, 0, 0, 0, 0, 6, 0, 0, 0, 0]])),
        ("ourselves", then(&FRESH, &[&[ANSWER, 0, 0, 0, 0, 5, 0, 0, 0, 0]])),
        ("another-protocol", then(&FRESH, &[&[ANSWER, 0, 0, 0, 4, 0, 0, 0, 0, 0]])),
        (
            "unreachable",
            then(&FRESH, &[&[unreachable; 6].map(|u| [&u[..], &[TIMER]].concat()).concat(), &KNOWN, &NEWS]),
        ),
        ("late", then(&live, &[&[STALE_TIMER, 0], &late(0), &[PAUSE], &late(1), &late(2), &late(3)])),
        ("reset-while-paused", then(&begun, &[&[PAUSE, RESET, WAKE, STALE_TIMER, 0, RESUME], &KNOWN])),
        ("broken-off", then(&begun, &[&NEWS, &[PAUSE], &late(1), &[RESUME], &KNOWN, &failed(4)])),
        (
            "no-space",
            then(&live, &[&[HOLD], &late(1), &[PAUSE, RESUME, RELEASE], &KNOWN, &NEWS, &[HOLD, RESET, RELEASE]]),
        ),
        (
            "heard",
            then(
                &begun,
                &[
                    &[HEARD],
                    &failed(5),
                    &[&[TIMER, ANSWER, 7, 1][..]; 9].concat(),
                    &[HEARD, ADVANCE, 5, HEARD],
                    &[TIMER],
                ],
            ),
        ),
        ("woken", then(&begun, &[&failed(5), &[WAKE, STALE_TIMER, 0], &KNOWN, &[STALE_TIMER, 0], &NEWS])),
    ];
    let all: Vec<u8> = (0..11)
        .flat_map(|how| {
            // The floor, the event or the cortex that some of them name.
            let names: &[u8] = if matches!(how, 1 | 2 | 4) { &[1] } else { &[] };
            [&refused(how)[..], names, &[RESET], &KNOWN].concat()
        })
        .collect();
    seeds.push(("every-refusal", then(&begun, &[&all])));
    seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

#[cfg(test)]
mod tests {
    use antiphon_kernel::state::Phase;

    use super::*;
    use crate::peer_machine::drive;

    /// Each byte has its place, so a seed that is one byte off says something else.
    #[test]
    fn seeds_lead_where_their_names_say() {
        let seeds = seeds();
        for (name, phase) in [
            ("first-contact", Phase::CatchingUp),
            ("live", Phase::Live),
            ("quiet", Phase::Live),
            ("hole-twice", Phase::BackingOff),
            ("fork-listed-twice", Phase::BackingOff),
            ("another-cortex", Phase::CatchingUp),
            ("ourselves", Phase::BackingOff),
            ("another-protocol", Phase::BackingOff),
            ("late", Phase::Paused),
            ("every-refusal", Phase::CatchingUp),
        ] {
            let (_, bytes) = seeds.iter().find(|(seed, _)| seed == name).expect("a seed of this name");
            assert_eq!(drive(bytes).phase(), phase, "{name}");
        }
    }
}

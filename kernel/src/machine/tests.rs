mod forks;
mod heartbeats;
mod loops;
mod quota;
mod statements;

use super::pace::NO_PROGRESS;
use super::*;
use crate::codec::Room;
use crate::cursor::{Cursor, Seq};
use crate::digest::Digest;
use crate::ids::{Epoch, EventId, Origin};
use crate::log::Ingested;
use crate::proof::Identified;
use crate::protocol::{EventBatch, FetchReply, Heads, Heartbeat, Identity, Protocols, Refusal, RequestId};
use crate::testing::{seeded_cortex, seeded_keys};
use crate::time::Timestamp;

const INTERVAL: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Now {
    Now {
        monotonic: Duration::from_secs(seconds),
        wall: Timestamp::from_micros(1_000_000 * i64::try_from(seconds).unwrap()),
    }
}

fn cortex(n: u8) -> CortexId {
    seeded_cortex(n)
}

fn cursor(seq: u64) -> Cursor {
    Cursor { epoch: Epoch::new(1), seq: Seq::new(seq), last_event: EventId::from_parts(seq, 0) }
}

fn identity(n: u8) -> Identity {
    Identity {
        cortex_id: cortex(n),
        name: "peer".into(),
        protocol_min: 2,
        protocol_max: 2,
        version: "1.2.3".into(),
        log: None,
        epoch: Epoch::new(1),
        floor: Seq::ZERO,
        room: Room::default(),
        head: cursor(0),
        head_time: Timestamp::from_micros(0),
        time: Timestamp::from_micros(0),
        digest: Digest::ZERO,
        statement: seeded_keys(n).statement().to_bytes(),
    }
}

fn batch(last: u64, head: u64) -> FetchReply {
    FetchReply::Batch(EventBatch {
        request: RequestId { process: 1, number: 1 },
        part: 0,
        log: None,
        room: Room::default(),
        from: cortex(2),
        prev: cursor(0),
        last: cursor(last),
        last_time: Timestamp::from_micros(0),
        head: cursor(head),
        head_time: Timestamp::from_micros(5_000_000),
        events: vec![],
        heads: Heads::default(),
        inceptions: vec![],
        seals: vec![],
        clocks: vec![],
        own: None,
    })
}

/// Nothing new: the cursor stays where it is.
fn quiet(head: u64) -> FetchReply {
    let FetchReply::Batch(batch) = batch(4, head) else { unreachable!() };
    FetchReply::Batch(EventBatch { prev: batch.last, ..batch })
}

fn done(stored: usize) -> IngestOutcome {
    IngestOutcome::Done(Ingested { stored, known: 0, cursor: cursor(1), most: Some(Seq::new(4)), healed: 0 })
}

fn machine(pin: Option<u8>) -> PeerMachine {
    let context = IdentityContext {
        own: cortex(1),
        pin: pin.map(cortex),
        statement: pin.map_or(0, |_| 1),
        expected: None,
        pinned_elsewhere: vec![cortex(9)],
        log: None,
        protocols: Protocols::SPOKEN,
        unproven: false,
    };
    let mut machine = PeerMachine::new(INTERVAL, context, PeerHealth::default());
    machine.resume();
    machine
}

fn actions(machine: &mut PeerMachine) -> Vec<Action> {
    std::iter::from_fn(|| machine.poll_action()).collect()
}

/// Brings a machine to its first fetch and returns that fetch's number.
fn fetching(machine: &mut PeerMachine) -> u64 {
    let Some(Action::Identify { number }) = machine.poll_action() else { panic!("it must ask who the peer is first") };
    machine.handle_identity(at(0), number, Ok(Identified::trusted(identity(2))), 0);
    let Some(Action::Fetch { number, own: true, wait: Duration::ZERO, .. }) = actions(machine).pop() else {
        panic!("what we wrote ourselves is asked for first")
    };
    machine.handle_reply(at(0), number, Source::Asked, Ok(quiet(4)), 0);
    actions(machine);
    machine.handle_ingested(at(0), number, done(0), 0);
    match &actions(machine)[..] {
        [Action::Fetch { number, own: false, wait: Duration::ZERO, .. }] => *number,
        other => panic!("all else is asked for then: {other:?}"),
    }
}

/// Brings it to its second fetch, which may be parked.
fn parked(machine: &mut PeerMachine) -> u64 {
    let number = fetching(machine);
    machine.handle_reply(at(0), number, Source::Asked, Ok(quiet(4)), 0);
    actions(machine);
    machine.handle_ingested(at(0), number, done(0), 0);
    let kept = actions(machine);
    assert!(matches!(kept[0], Action::Save { .. }), "the first success is kept at once");
    match kept[1] {
        Action::Fetch { number, wait: INTERVAL, .. } => number,
        ref other => panic!("a fetch was due, not {other:?}"),
    }
}

fn fetch_number(machine: &mut PeerMachine) -> (u64, bool) {
    match actions(machine).pop() {
        Some(Action::Fetch { number, by_clock, .. }) => (number, by_clock),
        other => panic!("a fetch was due, not {other:?}"),
    }
}

#[test]
fn first_contact_pins_and_later_contacts_compare() {
    let mut fresh = machine(None);
    fresh.poll_action();
    fresh.handle_identity(at(0), fresh.number, Ok(Identified::trusted(identity(2))), 0);
    let wanted = actions(&mut fresh);
    let root = seeded_keys(2).statement().root();
    assert_eq!(wanted[0], Action::Pin { cortex_id: cortex(2), root, statement: 1 });
    assert!(
        matches!(wanted[1], Action::Fetch { to, wait: Duration::ZERO, by_clock: false, own: true, .. } if to == cortex(2))
    );

    let mut pinned = machine(Some(2));
    fetching(&mut pinned);
    assert_eq!(pinned.phase(), Phase::CatchingUp);
    assert_eq!(pinned.health().version.as_deref(), Some("1.2.3"));
}

#[test]
fn who_must_not_be_is_refused_and_nothing_is_asked() {
    let mut old = identity(2);
    old.protocol_min = 7;
    old.protocol_max = 9;
    let cases = [
        (Some(3), identity(2), ErrorCategory::Identity),
        (None, identity(1), ErrorCategory::OwnAddress),
        (None, identity(9), ErrorCategory::PinnedElsewhere),
        (None, old, ErrorCategory::Version),
    ];
    for (pin, answer, category) in cases {
        let mut machine = machine(pin);
        machine.poll_action();
        machine.handle_identity(at(0), machine.number, Ok(Identified::trusted(answer)), 7);
        let wanted = actions(&mut machine);
        assert!(matches!(&wanted[0], Action::Save { news: News::Failed(c), .. } if *c == category), "{category}");
        assert!(matches!(wanted[1], Action::Timer { .. }));
        assert_eq!((wanted.len(), machine.phase()), (2, Phase::BackingOff));
    }
}

#[test]
fn a_quiet_peer_is_asked_again_after_the_interval_and_a_parked_poll_at_once() {
    let mut machine = machine(Some(2));
    let number = parked(&mut machine);
    let answers = |machine: &mut PeerMachine, number, now| {
        machine.handle_reply(at(now), number, Source::Asked, Ok(quiet(4)), 0);
        assert!(matches!(actions(machine)[0], Action::Ingest { .. }));
        machine.handle_ingested(at(now), number, done(0), 0);
    };
    // One that does not park answers at once, or it was about to stop: it is asked again soon, and then ever later.
    let (mut number, mut now) = (number, 0);
    for after in [1, 2, 4, 8, 16, 30, 30] {
        answers(&mut machine, number, now);
        let Some(&Action::Timer { token, at: due }) = actions(&mut machine).last() else { panic!("a timer was due") };
        assert_eq!((due.as_secs(), machine.phase()), (now + after, Phase::Live));
        now += after;
        machine.handle_timer(at(now), token - 1);
        assert!(actions(&mut machine).is_empty(), "a stale timer is harmless");
        machine.handle_timer(at(now), token);
        (number, _) = fetch_number(&mut machine);
    }
    // One that parks took its time already, and what came before is forgiven.
    answers(&mut machine, number, now + 30);
    let (number, _) = fetch_number(&mut machine);
    answers(&mut machine, number, now + 30);
    let wanted = actions(&mut machine);
    assert!(matches!(wanted[..], [.., Action::Timer { at: due, .. }] if due.as_secs() == now + 31), "{wanted:?}");
}

/// A peer that says it has more, and sends nothing of it.
#[test]
fn a_peer_without_progress_is_not_asked_in_a_loop() {
    let mut machine = machine(Some(2));
    let number = parked(&mut machine);
    machine.handle_reply(at(0), number, Source::Asked, Ok(quiet(1000)), 0);
    actions(&mut machine);
    machine.handle_ingested(at(0), number, done(0), 0);
    let Some(Action::Timer { at: due, .. }) = actions(&mut machine).pop() else { panic!("a timer was due") };
    assert_eq!((due, machine.phase()), (NO_PROGRESS, Phase::CatchingUp));
}

/// What we wrote and have lost had seen what we do not have yet: all comes in the peer's order then.
#[test]
fn a_hole_in_what_we_wrote_ourselves_is_filled_by_the_rest_first() {
    let mut machine = machine(Some(2));
    let Some(Action::Identify { number }) = machine.poll_action() else { panic!("it must ask who the peer is first") };
    machine.handle_identity(at(0), number, Ok(Identified::trusted(identity(2))), 0);
    let Some(Action::Fetch { number, own: true, .. }) = actions(&mut machine).pop() else { panic!() };
    machine.handle_reply(at(0), number, Source::Asked, Ok(batch(4, 9)), 0);
    actions(&mut machine);
    machine.handle_ingested(at(0), number, IngestOutcome::Hole, 0);
    assert!(matches!(
        actions(&mut machine)[..],
        [Action::Fetch { own: false, by_clock: false, new_request: true, .. }]
    ));
    assert_eq!(machine.health().consecutive_failures, 0);
}

/// As long as more of it comes, and no longer; it says nothing of how far the rest was read.
#[test]
fn what_we_wrote_ourselves_is_asked_for_until_all_of_it_is_here() {
    let mut machine = machine(Some(2));
    let Some(Action::Identify { number }) = machine.poll_action() else { panic!("it must ask who the peer is first") };
    machine.handle_identity(at(0), number, Ok(Identified::trusted(identity(2))), 0);
    for (last, stored, again) in [(4, 3, true), (7, 2, true), (9, 1, false)] {
        let Some(Action::Fetch { number, own: true, .. }) = actions(&mut machine).pop() else { panic!() };
        machine.handle_reply(at(0), number, Source::Asked, Ok(batch(last, 9)), 0);
        actions(&mut machine);
        machine.handle_ingested(at(0), number, done(stored), 0);
        assert_eq!((machine.lag(), machine.phase()), (None, Phase::CatchingUp));
        assert_eq!(machine.health().last_success, None, "that is no proof that the rest can be used");
        if !again {
            assert!(matches!(actions(&mut machine)[..], [Action::Fetch { own: false, wait: Duration::ZERO, .. }]));
        }
    }
}

/// What was pushed before it got lost: one question puts it right, and two in a row are the peer's fault.
#[test]
fn a_gap_is_asked_for_anew_once() {
    let mut machine = machine(Some(2));
    let mut number = fetching(&mut machine);
    for round in 0..2 {
        machine.handle_reply(at(0), number, Source::Asked, Ok(batch(4, 4)), 0);
        actions(&mut machine);
        machine.handle_ingested(at(0), number, IngestOutcome::Gap, 0);
        match (round, actions(&mut machine).pop()) {
            (0, Some(Action::Fetch { number: next, new_request: true, by_clock: false, .. })) => number = next,
            (1, Some(Action::Timer { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(machine.health().last_error, Some(ErrorCategory::Protocol));
}

#[test]
fn while_behind_it_goes_on_at_once_and_knows_its_lag() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    assert_eq!(machine.lag(), None, "unknown is absent, never 0");
    machine.handle_reply(at(1), number, Source::Asked, Ok(batch(4, 10)), 0);
    actions(&mut machine);
    machine.handle_ingested(at(1), number, done(4), 0);
    assert_eq!(machine.lag(), Some(Lag { events: 6, behind: Some(Duration::from_secs(5)) }));
    assert_eq!(machine.phase(), Phase::CatchingUp);
    fetch_number(&mut machine);
}

#[test]
fn an_unknown_cursor_is_asked_by_clock_and_again_where_the_log_was_rewritten_meanwhile_and_a_hole_once() {
    let unknown = || Ok(FetchReply::refused(Refusal::CursorUnknown));
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    machine.handle_reply(at(1), number, Source::Asked, unknown(), 0);
    for _ in 0..MAX_REWRITTEN {
        let (number, by_clock) = fetch_number(&mut machine);
        assert!(by_clock);
        machine.handle_reply(at(1), number, Source::Asked, unknown(), 0);
        assert_eq!(machine.health().last_error, None, "a fork was resolved there just now");
    }
    let (number, by_clock) = fetch_number(&mut machine);
    assert!(by_clock);
    machine.handle_reply(at(1), number, Source::Asked, unknown(), 0);
    assert_eq!(machine.health().last_error, Some(ErrorCategory::Protocol), "and not for ever");

    let mut machine = self::machine(Some(2));
    let number = fetching(&mut machine);
    machine.handle_reply(at(1), number, Source::Asked, Ok(batch(4, 4)), 0);
    actions(&mut machine);
    machine.handle_ingested(at(1), number, IngestOutcome::Hole, 0);
    let (number, by_clock) = fetch_number(&mut machine);
    assert!(by_clock);
    machine.handle_reply(at(1), number, Source::Asked, Ok(batch(4, 4)), 0);
    actions(&mut machine);
    machine.handle_ingested(at(1), number, IngestOutcome::Hole, 0);
    assert_eq!(machine.health().last_error, Some(ErrorCategory::Protocol));
}

#[test]
fn every_refusal_has_a_category_and_backs_off() {
    let refusals = [
        (Refusal::CursorTooOld { floor: Seq::new(3) }, ErrorCategory::TooOld),
        (Refusal::NotServing, ErrorCategory::NotServing),
        (Refusal::WrongCortex { actual: cortex(5) }, ErrorCategory::Identity),
        (Refusal::Protocol { min: 2, max: 3 }, ErrorCategory::Version),
        (Refusal::KnownMissing, ErrorCategory::Protocol),
        (Refusal::Busy, ErrorCategory::Busy),
        (Refusal::Malformed, ErrorCategory::Protocol),
        (Refusal::Internal, ErrorCategory::PeerFault),
    ];
    for (refusal, category) in refusals {
        let mut machine = machine(Some(2));
        let number = fetching(&mut machine);
        machine.handle_reply(at(1), number, Source::Asked, Ok(FetchReply::refused(refusal)), 0);
        assert_eq!(machine.health().last_error, Some(category));
        assert_eq!(machine.phase(), Phase::BackingOff);
    }
}

#[test]
fn failures_are_explained_once_repeated_briefly_and_their_end_is_told() {
    let mut machine = machine(Some(2));
    for expected in
        [News::Failed(ErrorCategory::ConnectionRefused), News::StillFailing(ErrorCategory::ConnectionRefused)]
    {
        actions(&mut machine);
        machine.handle_identity(at(1), machine.number, Err(ErrorCategory::ConnectionRefused), 5);
        assert!(matches!(&actions(&mut machine)[0], Action::Save { news, .. } if *news == expected));
        machine.wake();
    }
    let number = fetching(&mut machine);
    machine.handle_reply(at(2), number, Source::Asked, Ok(batch(1, 1)), 0);
    actions(&mut machine);
    machine.handle_ingested(at(2), number, done(1), 0);
    assert!(matches!(&actions(&mut machine)[0], Action::Save { news: News::Recovered, .. }));
}

#[test]
fn late_answers_are_ignored_and_a_paused_machine_stays_still() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    machine.handle_reply(at(1), number - 1, Source::Asked, Ok(batch(9, 9)), 0);
    machine.handle_ingested(at(1), number + 1, done(1), 0);
    assert!(actions(&mut machine).is_empty());
    machine.pause();
    machine.handle_reply(at(1), number, Source::Asked, Ok(batch(9, 9)), 0);
    machine.handle_identity(at(1), number, Ok(Identified::trusted(identity(2))), 0);
    machine.reset();
    machine.wake();
    assert!(actions(&mut machine).is_empty());
    assert_eq!(machine.phase(), Phase::Paused);
    machine.resume();
    assert!(matches!(actions(&mut machine)[..], [Action::Identify { .. }]));
}

#[test]
fn an_answer_that_was_not_asked_for_is_asked_again() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    machine.handle_reply(at(1), number, Source::Asked, Ok(batch(9, 9)), 0);
    actions(&mut machine);
    machine.handle_ingested(at(1), number, IngestOutcome::NotAsked, 0);
    let (number, _) = fetch_number(&mut machine);
    machine.handle_reply(at(1), number, Source::Asked, Ok(batch(9, 9)), 0);
    actions(&mut machine);
    machine.handle_ingested(at(1), number, IngestOutcome::NotAsked, 0);
    assert_eq!((machine.phase(), machine.health().last_error), (Phase::BackingOff, Some(ErrorCategory::Store)));
    machine.wake();
    fetching(&mut machine);
    machine.set_pinned_elsewhere(vec![]);
    machine.handle_reply(at(1), machine.number, Source::Asked, Err(ErrorCategory::Eof), 0);
    assert_eq!(machine.health().last_error, Some(ErrorCategory::Eof));
}

#[test]
fn a_pin_that_cannot_be_stored_stops_the_exchange() {
    let mut machine = machine(None);
    fetching(&mut machine);
    machine.handle_pin_failed(at(1), 0);
    assert!(matches!(actions(&mut machine)[..], [Action::Save { .. }, Action::Timer { .. }]));
    machine.wake();
    machine.poll_action();
    machine.handle_identity(at(2), machine.number, Ok(Identified::trusted(identity(2))), 0);
    assert!(matches!(actions(&mut machine)[0], Action::Pin { .. }), "it is still a first contact");
}

#[test]
fn without_space_nothing_is_pulled_until_there_is_some() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    machine.hold();
    assert_eq!((machine.phase(), actions(&mut machine)), (Phase::NoSpace, vec![]));
    machine.handle_reply(at(1), number, Source::Asked, Ok(batch(4, 4)), 0);
    machine.wake();
    assert_eq!((machine.phase(), actions(&mut machine)), (Phase::NoSpace, vec![]), "what was in flight is dropped");
    machine.pause();
    machine.release();
    assert_eq!((machine.phase(), actions(&mut machine)), (Phase::Paused, vec![]), "a pause outlasts it");
    machine.hold();
    machine.resume();
    assert_eq!((machine.phase(), actions(&mut machine)), (Phase::NoSpace, vec![]));
    machine.release();
    assert!(matches!(actions(&mut machine)[..], [Action::Identify { .. }]));
}

/// A peer that asks us is not waited for any longer than need be; nor is it tried with each of its questions.
#[test]
fn who_asks_us_is_alive_and_tried_soon() {
    let latest = u64::MAX;
    let failing = |category, times| {
        let mut machine = machine(Some(2));
        machine.resume();
        for n in 0..times {
            let number = match actions(&mut machine).pop() {
                Some(Action::Identify { number }) => number,
                other => panic!("{other:?}"),
            };
            machine.handle_identity(at(n), number, Err(category), latest);
            assert_eq!(machine.phase(), Phase::BackingOff);
            if n + 1 < times {
                machine.wake();
            }
        }
        actions(&mut machine);
        machine
    };
    let timer = |machine: &mut PeerMachine| match actions(machine)[..] {
        [] => None,
        [Action::Timer { at, token }] => Some((at.as_secs(), token)),
        ref other => panic!("{other:?}"),
    };
    let mut long = failing(ErrorCategory::ConnectionRefused, 12);
    long.heard(at(13));
    let (when, token) = timer(&mut long).expect("it is tried earlier");
    assert_eq!(when, 11 + 15);
    long.heard(at(14));
    assert_eq!(timer(&mut long), None, "once");
    long.handle_timer(at(26), token);
    assert_eq!(long.phase(), Phase::Connecting);
    // Heard late: at once.
    let mut late = failing(ErrorCategory::Timeout, 12);
    late.heard(at(50));
    assert_eq!(timer(&mut late).unwrap().0, 50);
    // Soon anyway, says no, or is not failing: nothing changes.
    let mut soon = failing(ErrorCategory::ConnectionRefused, 2);
    soon.heard(at(1));
    let mut refuses = failing(ErrorCategory::Auth, 12);
    refuses.heard(at(100));
    assert_eq!((timer(&mut soon), timer(&mut refuses)), (None, None));
    let mut well = machine(Some(2));
    fetching(&mut well);
    well.heard(at(100));
    assert_eq!(timer(&mut well), None);
}

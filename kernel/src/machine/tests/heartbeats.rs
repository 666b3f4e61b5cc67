//! Peers that push, and say how far their logs reach.

use super::*;
use crate::machine::pace::{FLOOD, FLOOD_WINDOW};

fn heartbeat(seq: u64) -> Heartbeat {
    Heartbeat {
        from: cortex(2),
        head: cursor(seq),
        floor: Seq::ZERO,
        head_time: Timestamp::from_micros(9_000_000),
        room: Room::default(),
    }
}

#[test]
fn a_flood_of_pushes_that_bring_nothing_is_slowed_down() {
    let mut machine = machine(Some(2));
    let mut number = parked(&mut machine);
    for push in 1.. {
        if push % 2 == 0 {
            machine.handle_heartbeat(at(0), number, &heartbeat(7), 0);
        } else {
            machine.handle_reply(at(0), number, Source::Pushed, Ok(quiet(4)), 0);
            actions(&mut machine);
            machine.handle_ingested(at(0), number, done(0), 0);
        }
        match actions(&mut machine).pop() {
            Some(Action::Fetch { number: next, .. }) if push <= FLOOD => number = next,
            Some(Action::Timer { at: FLOOD_WINDOW, .. }) if push == FLOOD + 1 => return,
            other => panic!("{push}: {other:?}"),
        }
    }
}

/// Found by hand: a peer whose log had been empty was 57 years behind as soon as it held an event.
#[test]
fn of_a_log_that_was_not_begun_it_is_not_known_how_old_its_news_are() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    machine.handle_reply(at(0), number, Source::Asked, Ok(batch(0, 0)), 0);
    actions(&mut machine);
    machine.handle_ingested(at(0), number, done(0), 0);
    assert_eq!(machine.lag(), Some(Lag { events: 0, behind: Some(Duration::ZERO) }));
    let (number, _) = fetch_number(&mut machine);
    machine.handle_heartbeat(at(2), number, &heartbeat(1), 0);
    assert_eq!(machine.lag(), Some(Lag { events: 1, behind: None }));
}

/// The answer to a question brings the whole log of the peer, up to sequence number 4.
fn read_all_four(machine: &mut PeerMachine, number: u64) {
    machine.handle_reply(at(0), number, Source::Asked, Ok(batch(4, 4)), 0);
    actions(machine);
    machine.handle_ingested(at(0), number, done(1), 0);
}

#[test]
fn heartbeats_tell_the_lag_while_nothing_moves() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    machine.handle_heartbeat(at(0), number, &heartbeat(7), 0);
    assert_eq!(machine.lag(), None, "how far we have read is not known yet");
    let (number, _) = fetch_number(&mut machine);
    read_all_four(&mut machine, number);
    assert_eq!(machine.lag().map(|lag| lag.events), Some(0));
    let (number, _) = fetch_number(&mut machine);
    machine.handle_heartbeat(at(2), number, &heartbeat(7), 0);
    assert_eq!(machine.lag(), Some(Lag { events: 3, behind: Some(Duration::from_secs(9)) }));
    let Some(Action::Fetch { number, new_request: false, .. }) = actions(&mut machine).pop() else { panic!() };
    // Once in a while what is well is kept; not each time, because keeping costs a synced write.
    machine.handle_heartbeat(at(61), number, &heartbeat(7), 0);
    assert!(matches!(actions(&mut machine)[..], [Action::Save { .. }, Action::Fetch { .. }]));
}

/// Found by hand: a node that appends was behind each of its peers all the time, by its own events.
#[test]
fn what_a_peer_reported_to_hold_and_is_here_is_no_lag() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    read_all_four(&mut machine, number);
    let (number, _) = fetch_number(&mut machine);
    machine.handle_heartbeat(at(2), number, &heartbeat(10), 0);
    let unread = Some(Lag { events: 6, behind: Some(Duration::from_secs(9)) });
    assert_eq!(machine.lag(), unread);
    let report = |seq, missing| LogReport { seq: Seq::new(seq), missing };
    let mut events = |seq, missing| {
        machine.handle_report(report(seq, missing));
        machine.lag().unwrap().events
    };
    assert_eq!(events(10, 2), 2, "four of them are ours");
    assert_eq!(events(8, 1), 3, "nothing is known of the last two");
    assert_eq!(events(3, 0), 6, "an old report says less than what was read");
    assert_eq!(events(12, u64::MAX), 6, "nor is more missing than was not read");
    assert_eq!(events(12, 0), 0, "the heartbeat may be older than the report");
    assert_eq!(machine.lag().unwrap().behind, Some(Duration::ZERO));
    // A log of another epoch has other sequence numbers.
    let (number, _) = fetch_number(&mut machine);
    let mut other = heartbeat(10);
    other.head.epoch = Epoch::new(2);
    machine.handle_heartbeat(at(3), number, &other, 0);
    assert_eq!(machine.lag(), unread);
}

/// What was pushed was lost, and nothing comes after it that would show the gap.
#[test]
fn a_run_that_brings_nothing_of_what_the_peer_has_is_asked_for_anew() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    read_all_four(&mut machine, number);
    for (second, head, expected) in
        [(10, 7, false), (60, 7, false), (70, 4, false), (80, 7, false), (139, 9, false), (140, 9, true)]
    {
        let Some(Action::Fetch { number, .. }) = actions(&mut machine).pop() else { panic!("{second}") };
        machine.handle_heartbeat(at(second), number, &heartbeat(head), 0);
        let wanted = machine.actions.back();
        assert!(
            matches!(wanted, Some(Action::Fetch { new_request, .. }) if *new_request == expected),
            "{second}: {wanted:?}"
        );
    }
}

#[test]
fn heartbeats_of_another_log_another_epoch_and_the_past_are_told_apart() {
    let live = || {
        let mut machine = machine(Some(2));
        let number = fetching(&mut machine);
        machine.handle_reply(at(0), number, Source::Asked, Ok(batch(4, 4)), 0);
        actions(&mut machine);
        machine.handle_ingested(at(0), number, done(1), 0);
        let (number, _) = fetch_number(&mut machine);
        (machine, number)
    };
    let (mut other, number) = live();
    other.handle_heartbeat(at(0), number, &Heartbeat { from: cortex(3), ..heartbeat(7) }, 0);
    assert_eq!(other.health().last_error, Some(ErrorCategory::Protocol));
    assert_eq!((other.phase(), other.lag()), (Phase::BackingOff, None));

    let (mut epoch, number) = live();
    let head = Cursor { epoch: Epoch::new(2), ..cursor(7) };
    let elsewhere = Heartbeat { head, ..heartbeat(7) };
    epoch.handle_heartbeat(at(0), number, &elsewhere, 0);
    let [Action::Fetch { number, new_request: true, .. }] = actions(&mut epoch)[..] else { panic!() };
    // A connection that is new begins with a heartbeat, before any answer. A new request each time would never be answered.
    epoch.handle_heartbeat(at(0), number, &elsewhere, 0);
    let [Action::Fetch { number, new_request: false, .. }] = actions(&mut epoch)[..] else { panic!() };
    epoch.handle_reply(at(0), number, Source::Asked, Ok(FetchReply::refused(Refusal::CursorUnknown)), 0);
    let [Action::Fetch { number, new_request: true, by_clock: true, .. }] = actions(&mut epoch)[..] else { panic!() };
    epoch.handle_heartbeat(at(0), number, &elsewhere, 0);
    assert!(matches!(actions(&mut epoch)[..], [Action::Fetch { new_request: false, by_clock: true, .. }]));

    // A peer that lives, and sends nothing that can be used, is no better than before.
    let mut failing = machine(Some(2));
    let number = fetching(&mut failing);
    failing.handle_reply(at(0), number, Source::Asked, Err(ErrorCategory::Protocol), 0);
    actions(&mut failing);
    failing.wake();
    let number = fetching(&mut failing);
    failing.handle_heartbeat(at(1), number, &heartbeat(7), 0);
    assert_eq!(failing.health().consecutive_failures, 1);

    // It does not replace the question that is answered next.
    let (mut behind, number) = live();
    behind.handle_reply(at(0), number, Source::Asked, Ok(batch(9, 9)), 0);
    actions(&mut behind);
    behind.handle_ingested(at(0), number, IngestOutcome::Hole, 0);
    let Some(Action::Fetch { number, new_request: true, by_clock: true, .. }) = actions(&mut behind).pop() else {
        panic!()
    };
    behind.handle_heartbeat(at(0), number, &heartbeat(9), 0);
    assert!(matches!(actions(&mut behind)[..], [Action::Fetch { new_request: false, by_clock: true, .. }]));

    // It travels apart from the batches, and may come after one that it should have come before.
    let (mut late, number) = live();
    late.handle_heartbeat(at(0), number, &heartbeat(3), 0);
    assert_eq!(late.lag().map(|lag| lag.events), Some(0));
    assert!(matches!(actions(&mut late)[..], [Action::Fetch { new_request: false, .. }]));
}

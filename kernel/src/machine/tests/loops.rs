//! Peers whose answers have no end and lead nowhere.

use super::*;

/// How often a machine asks within a minute that a peer answers at once, each time with what `answer` makes of the number of the
/// question, and what it is shown as then.
fn asked_in_a_minute(mut answer: impl FnMut(u64, bool) -> (FetchReply, IngestOutcome)) -> (u32, PeerMachine) {
    let mut machine = machine(Some(2));
    let (mut now, mut asked, mut round) = (Duration::ZERO, 0, 0);
    // An answer takes a millisecond.
    let tick = Duration::from_millis(1);
    let moment = |monotonic| Now { monotonic, wall: Timestamp::from_micros(0) };
    while now < Duration::from_secs(60) {
        let Some(action) = machine.poll_action() else { panic!("nothing is to be done at {now:?}") };
        now += tick;
        match action {
            Action::Identify { number } => {
                machine.handle_identity(moment(now), number, Ok(Identified::trusted(identity(2))), u64::MAX / 3)
            }
            Action::Fetch { number, own: true, .. } => {
                machine.handle_reply(moment(now), number, Source::Asked, Ok(quiet(4)), 0);
                let Some(Action::Ingest { .. }) = machine.poll_action() else { panic!("an answer is taken") };
                machine.handle_ingested(moment(now), number, done(0), 0);
            }
            Action::Fetch { number, by_clock, .. } => {
                (asked, round) = (asked + 1, round + 1);
                let (reply, outcome) = answer(round, by_clock);
                let is_batch = matches!(reply, FetchReply::Batch(_));
                machine.handle_reply(moment(now), number, Source::Asked, Ok(reply), u64::MAX / 3);
                if is_batch {
                    let Some(Action::Ingest { .. }) = machine.poll_action() else { panic!("an answer is taken") };
                    machine.handle_ingested(moment(now), number, outcome, u64::MAX / 3);
                }
            }
            Action::Timer { token, at } => {
                now = now.max(at);
                machine.handle_timer(moment(now), token);
            }
            Action::Save { .. } | Action::Pin { .. } => {}
            Action::Ingest { .. } | Action::Inspect { .. } => panic!("nothing of this was shown"),
        }
    }
    (asked, machine)
}

/// Found from outside: asked 23 to 40 times a second without end, and shown as live with a lag of 0.
#[test]
fn a_cursor_that_is_unknown_each_second_time_is_no_progress() {
    let (asked, machine) = asked_in_a_minute(|_, by_clock| match by_clock {
        false => (FetchReply::refused(Refusal::CursorUnknown), done(0)),
        true => (batch(4, 4), done(0)),
    });
    assert!(asked < 100, "{asked} questions in a minute");
    assert_eq!(machine.health().last_error, Some(ErrorCategory::NoProgress));
    assert_eq!(machine.breach(), Some(Rule::NoProgress));
    assert!(machine.health().consecutive_failures > 2, "an answer that leads nowhere ends no row of failures");
    assert_ne!(machine.phase(), Phase::Live);
}

#[test]
fn a_known_event_under_a_cursor_that_moves_is_no_progress() {
    let (asked, machine) = asked_in_a_minute(|round, _| {
        let ingested = Ingested { stored: 0, known: 1, cursor: cursor(round), most: Some(Seq::new(4)), healed: 0 };
        (batch(round + 1, round + 1), IngestOutcome::Done(ingested))
    });
    assert!(asked < 100, "{asked} questions in a minute");
    assert_eq!(machine.health().last_error, Some(ErrorCategory::NoProgress));
    assert_ne!(machine.phase(), Phase::Live);
}

/// How far the cursor can truly move is not known then; what is not known is not called a lie, and does not cost much either.
#[test]
fn a_cursor_that_moves_past_what_is_withheld_is_followed_ever_more_slowly() {
    let (asked, machine) = asked_in_a_minute(|round, _| {
        let ingested = Ingested { stored: 0, known: 1, cursor: cursor(round), most: None, healed: 0 };
        (batch(round + 1, round + 1), IngestOutcome::Done(ingested))
    });
    assert!(asked < 120, "{asked} questions in a minute");
    assert_eq!(machine.health().last_error, None);
}

#[test]
fn holes_and_gaps_between_good_answers_are_no_progress() {
    for odd in [IngestOutcome::Hole, IngestOutcome::Gap] {
        let (asked, machine) = asked_in_a_minute(|round, _| (batch(4, 4), if round % 2 == 0 { done(0) } else { odd }));
        assert!(asked < 100, "{odd:?}: {asked} questions in a minute");
        assert_eq!(machine.health().last_error, Some(ErrorCategory::NoProgress), "{odd:?}");
    }
}

/// A peer that breaks the protocol in every second answer is left alone longer each time.
#[test]
fn a_quiet_answer_between_two_lies_does_not_make_the_next_try_come_soon() {
    let (asked, machine) = asked_in_a_minute(|round, _| match round % 2 {
        0 => (batch(4, 4), IngestOutcome::Failed(ErrorCategory::Protocol)),
        _ => (quiet(4), done(0)),
    });
    assert!(asked < 60, "{asked} questions in a minute");
    assert!(machine.health().consecutive_failures > 3, "{:?}", machine.health());
}

#[test]
fn new_events_and_a_long_contact_end_a_doubt() {
    use ErrorCategory::{Fork, NoProgress, Protocol, TooManyForks};
    let outcomes = [(1, 1, true), (0, 1, false), (0, 11, true)];
    let cases = [Protocol, Fork, TooManyForks, NoProgress].map(|category| outcomes.map(|outcome| (category, outcome)));
    for (category, (stored, second, over)) in cases.into_iter().flatten() {
        let mut machine = machine(Some(2));
        let number = fetching(&mut machine);
        machine.handle_reply(at(0), number, Source::Asked, Err(category), 0);
        actions(&mut machine);
        machine.wake();
        let number = fetching(&mut machine);
        machine.handle_reply(at(second), number, Source::Asked, Ok(quiet(4)), 0);
        actions(&mut machine);
        machine.handle_ingested(at(second), number, done(stored), 0);
        assert_eq!(machine.health().last_error.is_none(), over, "{category}: {stored} events at {second}");
        assert_eq!(machine.phase() == Phase::Live, over);
    }
}

/// As many as there are when an operator resolves one fork after another.
#[test]
fn a_log_that_is_rewritten_now_and_then_is_no_fault() {
    let mut machine = machine(Some(2));
    let mut number = fetching(&mut machine);
    for _ in 0..100 {
        machine.handle_reply(at(0), number, Source::Asked, Ok(FetchReply::refused(Refusal::CursorUnknown)), 0);
        (number, _) = fetch_number(&mut machine);
        machine.handle_reply(at(0), number, Source::Asked, Ok(batch(4, 4)), 0);
        actions(&mut machine);
        machine.handle_ingested(at(0), number, done(1), 0);
        (number, _) = fetch_number(&mut machine);
    }
    assert_eq!(machine.health().last_error, None);
}

//! Peers whose histories differ from ours.

use super::*;

fn fork() -> Refusal {
    Refusal::Fork { origin: Origin::new(cortex(2), Epoch::new(1)), counter: 3, digest: Digest::ZERO }
}

#[test]
fn a_fork_is_looked_into_and_then_the_rest_flows() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    machine.handle_reply(at(1), number, Source::Asked, Ok(FetchReply::refused(fork())), 0);
    let Some(Action::Inspect { number, counter: 3, .. }) = machine.poll_action() else {
        panic!("it must look into it")
    };
    assert_eq!(machine.poll_action(), None, "and believe nothing before");
    machine.handle_inspected(at(1), number, Ok(Inspected::News), 0);
    assert!(matches!(machine.poll_action(), Some(Action::Fetch { by_clock: false, new_request: true, .. })));
}

#[test]
fn a_fork_that_cannot_be_shown_is_a_failure() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    machine.handle_reply(at(1), number, Source::Asked, Ok(FetchReply::refused(fork())), 0);
    let Some(Action::Inspect { number, .. }) = machine.poll_action() else { panic!("it must look into it") };
    machine.handle_inspected(at(1), number, Err(ErrorCategory::Fork), 0);
    assert_eq!(machine.phase(), Phase::BackingOff);
    assert_eq!(machine.health().last_error, Some(ErrorCategory::Fork));
}

/// Found by the simulator, seed 5989: the search for the first difference underflowed.
#[test]
fn a_fork_before_the_first_event_is_none() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    let Refusal::Fork { origin, digest, .. } = fork() else { panic!("it is a fork") };
    let nothing = Refusal::Fork { origin, counter: 0, digest };
    machine.handle_reply(at(1), number, Source::Asked, Ok(FetchReply::refused(nothing)), 0);
    assert!(actions(&mut machine).iter().all(|action| !matches!(action, Action::Inspect { .. })));
    assert_eq!(machine.health().last_error, Some(ErrorCategory::Protocol));
}

#[test]
fn a_peer_that_claims_forks_without_end_is_not_heard_without_end() {
    let mut machine = machine(Some(2));
    let mut number = fetching(&mut machine);
    let mut looked = 0;
    while machine.phase() != Phase::BackingOff {
        machine.handle_reply(at(1), number, Source::Asked, Ok(FetchReply::refused(fork())), 0);
        let Some(Action::Inspect { number: inspected, .. }) = machine.poll_action() else { break };
        machine.handle_inspected(at(1), inspected, Ok(Inspected::News), 0);
        let Some(Action::Fetch { number: next, .. }) = machine.poll_action() else { panic!("it must ask again") };
        (number, looked) = (next, looked + 1);
    }
    assert_eq!((looked, machine.phase()), (MAX_INSPECTIONS, Phase::BackingOff));
}

/// Found by the simulator, seed 577: such a peer was asked hundreds of times a minute.
#[test]
fn a_peer_that_refuses_for_a_fork_that_the_question_lists_breaks_a_rule() {
    let mut machine = machine(Some(2));
    let mut number = fetching(&mut machine);
    for repeated in [false, true] {
        machine.handle_reply(at(1), number, Source::Asked, Ok(FetchReply::refused(fork())), 0);
        let Some(Action::Inspect { number: inspected, .. }) = machine.poll_action() else {
            panic!("it must look into it")
        };
        machine.handle_inspected(at(1), inspected, Ok(Inspected::Listed), 0);
        if !repeated {
            let Some(Action::Fetch { number: next, .. }) = machine.poll_action() else {
                panic!("a command may have stored the fork while the question was open")
            };
            number = next;
        }
    }
    assert_eq!((machine.phase(), machine.breach()), (Phase::BackingOff, Some(Rule::ForkListed)));
    assert_eq!(machine.health().last_error, Some(ErrorCategory::Protocol));
}

#[test]
fn what_was_withheld_is_asked_for_once_the_histories_agree() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    machine.handle_reply(at(1), number, Source::Asked, Ok(batch(4, 4)), 0);
    let Some(Action::Ingest { number, .. }) = machine.poll_action() else { panic!("it must store it") };
    let healed = IngestOutcome::Done(Ingested { stored: 0, known: 0, cursor: cursor(4), most: None, healed: 1 });
    machine.handle_ingested(at(1), number, healed, 0);
    let wanted = actions(&mut machine);
    assert!(matches!(wanted[..], [.., Action::Fetch { by_clock: true, new_request: true, .. }]), "{wanted:?}");
}

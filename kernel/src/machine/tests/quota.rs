//! Quotas: that of the peer here, and ours at the peer.

use super::*;
use crate::machine::pace::RUN_WAITS;

/// Takes an answer with a new event, after which the peer's quota here is used up for this time.
fn took(machine: &mut PeerMachine, number: u64, seconds: u64, quota: Duration) -> Option<Action> {
    machine.handle_reply(at(seconds), number, Source::Asked, Ok(batch(4, 9)), 0);
    actions(machine);
    machine.set_quota_until(at(seconds).monotonic + quota);
    machine.handle_ingested(at(seconds), number, done(1), 0);
    actions(machine).pop()
}

#[test]
fn the_next_question_waits_for_the_quota_of_the_peer() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    let quota = Duration::from_secs(3);
    let Some(Action::Timer { token, at: due }) = took(&mut machine, number, 10, quota) else { panic!("it must wait") };
    assert_eq!((due, machine.is_put_off(), machine.gives_up_run()), (Duration::from_secs(13), true, false));
    assert_eq!(machine.phase(), Phase::CatchingUp);
    // What still comes for an earlier question is not taken, and a heartbeat asks nothing.
    machine.handle_reply(at(11), number, Source::Pushed, Ok(batch(5, 9)), 0);
    assert_eq!(actions(&mut machine), []);
    machine.set_quota_until(Duration::ZERO);
    machine.handle_timer(at(13), token);
    let asked = actions(&mut machine);
    let [Action::Fetch { number, new_request: false, .. }] = asked[..] else { panic!("{asked:?}") };
    assert!(!machine.is_put_off());
    // With room left it does not wait.
    let next = took(&mut machine, number, 14, Duration::ZERO);
    assert!(matches!(next, Some(Action::Fetch { new_request: false, .. })), "{next:?}");
}

#[test]
fn a_wait_that_is_too_long_for_the_open_run_ends_it() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    let long = RUN_WAITS + Duration::from_secs(1);
    let Some(Action::Timer { token, at: due }) = took(&mut machine, number, 10, long) else { panic!("it must wait") };
    assert!(machine.gives_up_run());
    // The quota is not free yet: the question waits on, and is still a new one.
    machine.set_quota_until(due + Duration::from_secs(1));
    machine.handle_timer(Now { monotonic: due, ..at(0) }, token);
    let Some(Action::Timer { token, at: due }) = actions(&mut machine).pop() else { panic!("it must wait") };
    machine.handle_timer(Now { monotonic: due, ..at(0) }, token);
    let asked = actions(&mut machine);
    assert!(matches!(asked[..], [Action::Fetch { new_request: true, .. }]), "{asked:?}");
}

#[test]
fn a_pause_forgets_the_question_that_waits() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    let Some(Action::Timer { token, .. }) = took(&mut machine, number, 10, Duration::from_secs(3)) else { panic!() };
    machine.pause();
    machine.handle_timer(at(13), token);
    assert_eq!(actions(&mut machine), []);
    assert!(!machine.is_put_off());
}

#[test]
fn a_peer_where_our_quota_is_used_up_is_asked_again_after_the_time_that_it_gave() {
    let mut machine = machine(Some(2));
    let number = fetching(&mut machine);
    let refused = |after| FetchReply::refused(Refusal::OverQuota { after: Duration::from_secs(after) });
    machine.handle_reply(at(10), number, Source::Asked, Ok(refused(40)), 0);
    let wanted = actions(&mut machine);
    let [Action::Save { news: News::Failed(ErrorCategory::OverQuota), .. }, Action::Timer { token, at: due }] =
        wanted[..]
    else {
        panic!("{wanted:?}")
    };
    assert_eq!((due, machine.phase()), (Duration::from_secs(50), Phase::BackingOff));
    // That it asks this node something changes nothing.
    machine.heard(at(20));
    assert_eq!(actions(&mut machine), []);
    machine.handle_timer(at(50), token);
    let Some(Action::Identify { number }) = machine.poll_action() else { panic!() };
    machine.handle_identity(at(50), number, Ok(Identified::trusted(identity(2))), 0);
    let Some(Action::Fetch { number, .. }) = actions(&mut machine).pop() else { panic!() };
    // A peer cannot put this node off for longer than an hour.
    machine.handle_reply(at(50), number, Source::Asked, Ok(refused(1 << 40)), 0);
    let Some(Action::Timer { at: due, .. }) = actions(&mut machine).pop() else { panic!() };
    assert_eq!(due, Duration::from_secs(50) + MAX_PUT_OFF);
}

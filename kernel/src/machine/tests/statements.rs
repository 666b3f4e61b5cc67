//! Key statements: a peer shows the one of its cortex, and never an older one than was seen.

use super::*;
use crate::identity::{KeyStatement, SecretKey};

/// The statement of cortex `n` with this number.
fn statement(n: u8, number: u64) -> KeyStatement {
    let root = SecretKey::from_bytes(&[n; 32]);
    KeyStatement::issue(&root, number, SecretKey::from_bytes(&[!n; 32]).public(), Vec::new()).unwrap()
}

fn showing(n: u8, statement: Vec<u8>) -> Identity {
    Identity { statement, ..identity(n) }
}

/// What follows when a machine with a pin of statement 1 gets this identity.
fn answered(machine: &mut PeerMachine, identity: Identity) -> Vec<Action> {
    machine.wake();
    machine.poll_action();
    machine.handle_identity(at(0), machine.number, Ok(Identified::trusted(identity)), 0);
    actions(machine)
}

#[test]
fn an_identity_without_the_statement_of_its_cortex_is_refused() {
    let good = statement(2, 1).to_bytes();
    let mut damaged = good.clone();
    damaged[40] ^= 1;
    for wrong in [Vec::new(), damaged, statement(3, 1).to_bytes(), [&good[..], &[0]].concat()] {
        for pin in [None, Some(2)] {
            let mut machine = machine(pin);
            let wanted = answered(&mut machine, showing(2, wrong.clone()));
            assert!(
                !wanted.iter().any(|action| matches!(action, Action::Pin { .. } | Action::Fetch { .. })),
                "{wanted:?}"
            );
            assert_eq!(machine.health().last_error, Some(ErrorCategory::Identity));
        }
    }
}

#[test]
fn a_newer_statement_is_pinned_and_the_older_one_is_refused_from_then_on() {
    let mut machine = machine(Some(2));
    let (old, new) = (statement(2, 1), statement(2, 7));
    let wanted = answered(&mut machine, showing(2, new.to_bytes()));
    assert_eq!(wanted[0], Action::Pin { cortex_id: cortex(2), root: new.root(), statement: 7 });
    machine.handle_reply(at(0), machine.number, Source::Asked, Err(ErrorCategory::Eof), 0);
    actions(&mut machine);
    answered(&mut machine, showing(2, old.to_bytes()));
    assert_eq!(machine.health().last_error, Some(ErrorCategory::Identity));
    // The operator cleared the pin.
    machine.reset();
    let wanted = answered(&mut machine, showing(2, old.to_bytes()));
    assert!(matches!(wanted[0], Action::Pin { statement: 1, .. }), "{wanted:?}");
}

#[test]
fn a_newer_statement_that_cannot_be_stored_leaves_the_pin_as_it_was() {
    let mut machine = machine(Some(2));
    answered(&mut machine, showing(2, statement(2, 7).to_bytes()));
    machine.handle_pin_failed(at(1), 0);
    actions(&mut machine);
    answered(&mut machine, showing(3, statement(3, 9).to_bytes()));
    assert_eq!(machine.health().last_error, Some(ErrorCategory::Identity), "it is pinned all the same");
    let wanted = answered(&mut machine, showing(2, statement(2, 7).to_bytes()));
    assert!(matches!(wanted[0], Action::Pin { statement: 7, .. }), "it is due again: {wanted:?}");
}

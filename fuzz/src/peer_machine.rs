//! The protocol with one peer, driven as its caller drives it: whatever comes, it keeps its laws.
//!
//! The first three bytes say how it begins; then each step is a byte that names it (see `step`) and a few that shape
//! it. The caller keeps to the machine's terms: it answers each question once, fires each timer once, and takes every
//! action before the next step. Answers to questions that are no longer open come at any time.

mod answers;
mod driver;

use std::time::Duration;

use antiphon_kernel::health::{ErrorCategory, PeerHealth};

use crate::choices::Choices;
use answers::cortex;
use driver::Driver;

/// First byte of each step.
pub(crate) mod step {
    /// Time passes, by one of a few amounts.
    pub(crate) const ADVANCE: u8 = 0;
    /// The timer that was asked for fires.
    pub(crate) const TIMER: u8 = 1;
    /// A timer fires that is no longer wanted.
    pub(crate) const STALE_TIMER: u8 = 2;
    /// The open question is answered.
    pub(crate) const ANSWER: u8 = 3;
    /// A question that is no longer open is answered.
    pub(crate) const STALE_ANSWER: u8 = 4;
    /// The operator resumes it.
    pub(crate) const RESUME: u8 = 5;
    /// The operator pauses it.
    pub(crate) const PAUSE: u8 = 6;
    /// The operator resets it.
    pub(crate) const RESET: u8 = 7;
    /// Something suggests that the peer is back.
    pub(crate) const WAKE: u8 = 8;
    /// Another peer name is pinned to some cortex now.
    pub(crate) const PINNED_ELSEWHERE: u8 = 9;
    /// The next pin cannot be stored.
    pub(crate) const PIN_FAILS: u8 = 10;
    /// The same answer, pushed over and over.
    pub(crate) const FLOOD: u8 = 11;
    /// There is too little space.
    pub(crate) const HOLD: u8 = 12;
    /// There is space again.
    pub(crate) const RELEASE: u8 = 13;
    /// The peer asks us something.
    pub(crate) const HEARD: u8 = 14;
}

/// Long enough for every law, and short enough to run often.
const MAX_STEPS: usize = 300;

/// Drives one machine as `data` says and checks what it wants done.
///
/// # Panics
/// Where a law does not hold.
pub fn run(data: &[u8]) {
    drive(data);
}

pub(crate) fn drive(data: &[u8]) -> Driver {
    let mut choices = Choices::new(data);
    let interval = Duration::from_millis(choices.pick(&[30_000, 10, 1000, 86_400_000]));
    let pin = choices.pick(&[None, Some(2), Some(3)]).map(cortex);
    let failures = choices.pick(&[0, 1, 16, 17, u32::MAX]);
    let last_error = (failures > 0).then_some(ErrorCategory::ConnectionRefused);
    let health = PeerHealth { consecutive_failures: failures, last_error, ..PeerHealth::default() };
    let mut driver = Driver::new(interval, pin, health);
    for _ in 0..MAX_STEPS {
        let Some(chosen) = choices.next() else { break };
        take(&mut driver, chosen % 15, &mut choices);
    }
    driver
}

fn take(driver: &mut Driver, chosen: u8, choices: &mut Choices<'_>) {
    match chosen {
        step::ADVANCE => driver.advance(choices.pick(&[1, 10, 50, 999, 1000, 30_000, 300_000, 86_400_000])),
        step::TIMER => driver.fire_timer(),
        step::STALE_TIMER => driver.fire_stale_timer(choices.number()),
        step::ANSWER => driver.answer(choices),
        step::STALE_ANSWER => driver.answer_late(choices),
        step::RESUME => driver.resume(),
        step::PAUSE => driver.pause(),
        step::RESET => driver.reset(),
        step::WAKE => driver.wake(),
        step::PINNED_ELSEWHERE => driver.pin_elsewhere(cortex(choices.byte() % 4)),
        step::PIN_FAILS => driver.fail_next_pin(),
        step::HOLD => driver.hold(),
        step::RELEASE => driver.release(),
        step::HEARD => driver.heard(),
        _ => driver.flood(choices.byte()),
    }
}

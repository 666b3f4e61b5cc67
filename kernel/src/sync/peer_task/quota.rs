//! What the peer may cost: its quota here, as the machine is given it.

use std::sync::Arc;
use std::time::Duration;

use super::PeerTask;

impl PeerTask {
    /// What came was charged: the machine learns how long its next question waits.
    pub(super) fn meter(&mut self) {
        // Before a first contact it is no cortex that a rule could name.
        let cortex = self.machine.peer().or(self.status.cortex_id);
        self.inbound.set(cortex.map_or(self.quotas.default, |cortex| self.quotas.of(cortex)));
        let wait = self.inbound.wait();
        let until = if wait.is_zero() { Duration::ZERO } else { self.started.elapsed() + wait };
        self.machine.set_quota_until(until);
    }

    /// The configuration has other quotas now. A question that is open was asked under those before, and leaves out what was excluded
    /// then.
    pub(super) fn limits_changed(&mut self) {
        let quotas = Arc::clone(&self.limits.borrow_and_update());
        if quotas != std::mem::replace(&mut self.quotas, quotas.clone()) {
            self.meter();
            self.close_feed();
            self.machine.ask_again(self.now());
        }
    }
}

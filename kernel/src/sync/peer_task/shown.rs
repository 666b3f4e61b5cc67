//! What a peer's task reports: log lines for the operator, and the peer's status.

use super::PeerTask;
use crate::health::{ErrorCategory, PeerHealth};
use crate::machine::{Lag, News, Phase};
use crate::state::PeerState;
use crate::sync::notices::{Notice, Notices};
use crate::time::Timestamp;

impl PeerTask {
    /// The first failure of a kind is explained, with its code; repetitions are brief; recovery is logged.
    pub(super) fn tell(&mut self, news: News, health: &PeerHealth) {
        let name = &self.peer.name;
        let why = self.status.detail.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let lasting = health.lasting(Timestamp::now()).map(ErrorCategory::code);
        let notice = self.notices.take(self.started.elapsed(), news, lasting);
        if notice == Notice::Recovered {
            tracing::info!(peer = %name, "peer {name} reachable again");
        }
        let Some(c) = health.last_error else { return };
        match (notice, lasting) {
            (Notice::Busy, _) => {
                tracing::info!(peer = %name, category = %c, code = %c.code(), "peer {name} {}{why}", c.reason())
            }
            (Notice::Stopped, _) => {
                tracing::info!(
                    peer = %name, category = %c,
                    "peer {name} stopped and {}{why}; it is tried again", c.reason()
                );
            }
            (Notice::Explained, Some(code)) => {
                tracing::warn!(peer = %name, category = %c, %code, "peer {name} {}{why}", c.reason())
            }
            // An operator must not act yet, so the line has no code.
            (Notice::Explained, None) => tracing::warn!(
                peer = %name, category = %c,
                "peer {name} {}{why}; it is tried again, and may pass within seconds", c.reason()
            ),
            (Notice::Brief, _) => tracing::info!(peer = %name, category = %c, "peer {name} still fails, {c}{why}"),
            (Notice::Silent | Notice::Recovered, _) => {}
        }
    }

    /// A peer that stopped in order is not back in time.
    pub(super) fn report_absence(&mut self) {
        let health = self.machine.health().clone();
        let is_tried = matches!(self.machine.phase(), Phase::Connecting | Phase::BackingOff);
        match health.last_error.filter(|_| is_tried) {
            Some(category) => self.tell(News::StillFailing(category), &health),
            // It was paused or reset meanwhile.
            None => self.notices = Notices::default(),
        }
    }

    /// Shows the peer's status, with what the store keeps of it.
    pub(super) async fn publish(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return self.show();
        }
        let (state, peer) = (self.state.clone(), self.peer.clone());
        let stored = crate::blocking::spawn_blocking(move || state.peer_state(&peer.name, &peer.endpoint)).await;
        // What the store keeps is the truth; if it cannot be read, the last known values stand.
        if let Ok(Ok(stored)) = stored {
            let PeerState { mode, skew_ms, last_received, received, .. } = self.status;
            self.status =
                PeerState { mode, skew_ms, last_received, received, detail: self.status.detail.take(), ..stored };
        }
        self.show();
    }

    pub(super) fn show(&self) {
        let mut status = self.status.clone();
        // A peer that is not pulled has no lag.
        let lag = self.machine.lag().filter(|_| self.federation.borrow().pulls());
        (status.phase, status.lag) = self.overdue.shown(self.machine.phase(), lag);
        let withheld = status.cortex_id.map(|cortex| self.log.reader().withheld_from(cortex));
        status.withheld = withheld.unwrap_or_default();
        // The cursor passes what is withheld.
        let withheld = status.withheld.events;
        status.lag = status.lag.map(|lag| Lag { events: lag.events + withheld, ..lag });
        // What its clock says now is not known of a peer that is not in contact.
        status.skew_ms = status.skew_ms.filter(|_| self.in_contact());
        status.slowed = self.slowed.is() && self.in_contact();
        status.health = self.machine.health().clone();
        // Stored now and then, and known at any time.
        status.last_seen = status.last_seen.max(status.health.last_success);
        self.statuses.publish(status);
    }
}

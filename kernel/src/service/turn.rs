//! The turn of an answer: the quota of its asker, the right to read once, and memory for what is found.

use std::time::Duration;

use tokio::time::Instant;

use super::quotas::{PATIENCE, Payer};
use super::{Asker, Service};
use crate::budget::{Account, Share};
use crate::protocol::Refusal;
use crate::time::Timestamp;

/// How long a question waits for memory.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);
const MILLISECOND: Duration = Duration::from_millis(1);

/// The right to read once, and the memory for what is found.
pub(super) struct Turn {
    pub(super) read: Share,
    pub(super) room: Share,
}

/// Who wants a turn, and how much memory for it, in bytes.
pub(super) struct Wanted {
    pub(super) asker: Asker,
    pub(super) account: Account,
    pub(super) payer: Payer,
    /// Whether the log is walked for a fork that is a mere claim.
    pub(super) claim: bool,
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Service {
    /// Waits for a turn. An error is the refusal where there is none in time, or the service closes. Dropping the future loses
    /// nothing but the place in the queue.
    pub(super) async fn turn(&self, wanted: &Wanted) -> Result<Turn, Refusal> {
        let Wanted { account, least, most, .. } = wanted;
        let mut closing = self.inner.closing.subscribe();
        let closes = async {
            // The guard that `wait_for` brings must not live on into another await.
            let _ = closing.wait_for(|closing| *closing).await;
        };
        tokio::select! {
            biased;
            turn = self.next_turn(wanted) => turn,
            // What is asked now is still answered, where that needs no memory that is not there.
            () = closes => {
                let read = self.inner.turns.read(account).await;
                let room = self.inner.budget.try_share(account, *least, *most).ok_or(Refusal::Busy)?;
                Ok(Turn { read, room })
            }
        }
    }

    async fn next_turn(&self, wanted: &Wanted) -> Result<Turn, Refusal> {
        let Wanted { account, least, most, .. } = wanted;
        let (turns, budget) = (&self.inner.turns, &self.inner.budget);
        let read = self.read_within_quota(wanted).await?;
        if let Some(room) = budget.try_share(account, *least, *most) {
            return Ok(Turn { read, room });
        }
        // Nothing is read meanwhile: others may have the turn.
        drop(read);
        let room = budget.share(account, *least, *most, ROOM_PATIENCE).await.map_err(|_| Refusal::Busy)?;
        Ok(Turn { read: turns.read(account).await, room })
    }

    /// The right to read, once the asker is back at its pace and owes nothing to its quota.
    async fn read_within_quota(&self, wanted: &Wanted) -> Result<Share, Refusal> {
        let &Wanted { asker, ref account, payer, claim, .. } = wanted;
        let (turns, quotas) = (&self.inner.turns, &self.inner.quotas);
        turns.pace(account, claim).await;
        let until = Instant::now() + PATIENCE;
        loop {
            match quotas.wait(payer, until).await {
                Ok(true) => self.inner.served.slowed(asker, Timestamp::now()),
                Ok(false) => {}
                Err(after) => return Err(over_quota(after)),
            }
            let read = turns.read(account).await;
            // Other questions of the same payer may have used its quota meanwhile.
            if quotas.owed(payer).is_zero() {
                return Ok(read);
            }
        }
    }
}

/// The refusal of an asker that may ask again after this time. It is a whole number of milliseconds on the wire.
fn over_quota(after: Duration) -> Refusal {
    let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    Refusal::OverQuota { after: Duration::from_millis(millis) + MILLISECOND }
}

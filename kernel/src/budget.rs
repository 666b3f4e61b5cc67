//! One budget for memory that others decide over: answers being made and sent, and frames being received.
//!
//! Each buffer is bounded, but there are as many buffers as connections and questions. A share of the budget is taken before
//! a buffer is filled, and is given back when the last byte of the buffer is dropped. A caller that finds no room waits, in
//! order of arrival and up to a deadline. The less room is left, the smaller the share that it gets.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error_code::ErrorCode;
use crate::ids::{CortexId, PeerName};

/// The size of the budget where none is configured, in bytes.
pub const DEFAULT_BUDGET_BYTES: u64 = 256 * 1024 * 1024;
/// The smallest budget that a node may be configured with, in bytes.
pub const MIN_BUDGET_BYTES: u64 = 64 * 1024 * 1024;
/// The smallest cap of an account, if the budget has as much: the largest event as a record and as a frame, and the
/// questions of its connection. A smaller cap would keep that event from ever being sent.
const LEAST_CAP: u64 = 40 * 1024 * 1024;
/// How many reads of the store one asker may have under way.
const READS_OF_ONE: u64 = 2;

/// The party that memory is charged to, so that one party cannot take all of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// A peer that this cortex pulls: frames that it sends.
    Peer(PeerName),
    /// An asker whose id is pinned here.
    Pinned(CortexId),
    /// Commands of the operator of this node, all of them together.
    Commands,
    /// Any other asker; the id is its own claim. All guests together get half of the budget.
    Guest(CortexId),
    /// Readers without an id, such as those of `GET /v1/events`, all of them together. They are guests.
    Readers,
}

impl Account {
    const fn is_guest(&self) -> bool {
        matches!(self, Self::Guest(_) | Self::Readers)
    }
}

/// What is shared, and with that the caps.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Memory,
    Reads,
}

impl Kind {
    const fn cap(self, account: &Account, limit: u64) -> u64 {
        match (self, account) {
            (Self::Memory, Account::Peer(_) | Account::Pinned(_) | Account::Commands) => at_least(limit / 4, limit),
            (Self::Memory, Account::Guest(_)) => at_least(limit / 8, limit),
            (Self::Memory, Account::Readers) => self.guests(limit),
            (Self::Reads, Account::Readers | Account::Commands) => limit / 4,
            (Self::Reads, _) => READS_OF_ONE,
        }
    }

    /// The cap of all guests together.
    const fn guests(self, limit: u64) -> u64 {
        match self {
            Self::Memory => at_least(limit / 2, limit),
            Self::Reads => limit / 2,
        }
    }
}

const fn at_least(cap: u64, limit: u64) -> u64 {
    let floor = if LEAST_CAP < limit { LEAST_CAP } else { limit };
    if cap < floor { floor } else { cap }
}

/// No share of the budget became free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no {wanted} bytes of the memory budget became free in time")]
pub struct OverBudget {
    /// How many bytes were wanted at least.
    pub wanted: u64,
}

impl OverBudget {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::MemoryBudget
    }
}

/// How much of a budget is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// The size of the budget, in bytes.
    pub limit: u64,
    /// Bytes that are in use.
    pub used: u64,
    /// Callers that wait for a share.
    pub waiting: usize,
    /// Callers that found no share in time, so far.
    pub refused: u64,
}

/// A budget of bytes. Clones are the same budget.
#[derive(Clone)]
pub struct Budget(Arc<Mutex<State>>);

struct State {
    kind: Kind,
    limit: u64,
    used: u64,
    guests: u64,
    accounts: HashMap<Account, u64>,
    waiting: VecDeque<Waiting>,
    refused: u64,
}

struct Waiting {
    account: Account,
    least: u64,
    wanted: u64,
    grant: oneshot::Sender<Share>,
}

/// Which bound leaves no room.
enum Full {
    Budget,
    Guests,
    Account,
}

impl State {
    /// How many bytes the account may take now, or which bound leaves less than `least`.
    fn room(&self, account: &Account, least: u64) -> Result<u64, Full> {
        let held = self.accounts.get(account).copied().unwrap_or(0);
        let budget = self.limit.saturating_sub(self.used);
        let guests = match account.is_guest() {
            true => self.kind.guests(self.limit).saturating_sub(self.guests),
            false => budget,
        };
        let own = self.kind.cap(account, self.limit).saturating_sub(held);
        match () {
            () if budget < least => Err(Full::Budget),
            () if guests < least => Err(Full::Guests),
            () if own < least => Err(Full::Account),
            () => Ok(budget.min(guests).min(own)),
        }
    }

    /// The size of a share: a quarter of the room at most, so that the next callers find some.
    fn size(&self, account: &Account, least: u64, wanted: u64) -> Result<u64, Full> {
        self.room(account, least).map(|room| wanted.min(room / 4).max(least))
    }

    fn take(&mut self, account: &Account, bytes: u64) {
        self.used += bytes;
        if account.is_guest() {
            self.guests += bytes;
        }
        *self.accounts.entry(account.clone()).or_default() += bytes;
    }

    fn give_back(&mut self, account: &Account, bytes: u64) {
        self.used -= bytes;
        if account.is_guest() {
            self.guests -= bytes;
        }
        if let Some(held) = self.accounts.get_mut(account) {
            *held -= bytes;
            if *held == 0 {
                self.accounts.remove(account);
            }
        }
    }
}

impl Budget {
    /// A budget of its own.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self::of(Kind::Memory, limit)
    }

    /// A budget of reads of the store that may be under way, two of them for one asker.
    #[must_use]
    pub(crate) fn of_reads(limit: u64) -> Self {
        Self::of(Kind::Reads, limit)
    }

    fn of(kind: Kind, limit: u64) -> Self {
        let (accounts, waiting) = (HashMap::new(), VecDeque::new());
        Self(Arc::new(Mutex::new(State { kind, limit, used: 0, guests: 0, accounts, waiting, refused: 0 })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the size. Shares that are out stay.
    pub fn set_limit(&self, limit: u64) {
        let mut state = self.lock();
        state.limit = limit;
        self.serve(&mut state);
    }

    /// How much is in use.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let state = self.lock();
        Usage { limit: state.limit, used: state.used, waiting: state.waiting.len(), refused: state.refused }
    }

    /// Takes a share of `least` to `wanted` bytes: the less room is left, the smaller it is. Waits up to `patience`; dropping
    /// the future gives everything back.
    ///
    /// # Errors
    /// [`OverBudget`].
    pub async fn share(
        &self,
        account: &Account,
        least: u64,
        wanted: u64,
        patience: Duration,
    ) -> Result<Share, OverBudget> {
        // A caller that came later does not overtake.
        if let Some(share) = self.try_share(account, least, wanted) {
            return Ok(share);
        }
        let granted = {
            let mut state = self.lock();
            let (grant, granted) = oneshot::channel();
            state.waiting.push_back(Waiting { account: account.clone(), least, wanted: wanted.max(least), grant });
            self.serve(&mut state);
            granted
        };
        let granted = tokio::time::timeout(patience, granted).await;
        if let Ok(Ok(share)) = granted {
            return Ok(share);
        }
        let mut state = self.lock();
        state.refused += 1;
        self.serve(&mut state);
        Err(OverBudget { wanted: least })
    }

    /// The same without waiting: `None` where there is no room, or others wait already.
    #[must_use]
    pub(crate) fn try_share(&self, account: &Account, least: u64, wanted: u64) -> Option<Share> {
        let mut state = self.lock();
        if !state.waiting.is_empty() {
            return None;
        }
        let bytes = state.size(account, least, wanted.max(least)).ok()?;
        state.take(account, bytes);
        Some(Share { budget: self.clone(), account: account.clone(), bytes })
    }

    /// Hands out what became free, in order of arrival. A caller that waits for room of its own account or of all guests lets
    /// others pass; one that waits for the budget does not, or small shares would keep a large one from ever fitting.
    fn serve(&self, state: &mut State) {
        let (mut guests_wait, mut blocked) = (false, HashSet::new());
        let mut at = 0;
        while at < state.waiting.len() {
            let Waiting { account, least, wanted, grant } = &state.waiting[at];
            if grant.is_closed() {
                state.waiting.remove(at);
                continue;
            }
            if guests_wait && account.is_guest() || blocked.contains(account) {
                at += 1;
                continue;
            }
            match state.size(account, *least, *wanted) {
                Ok(bytes) => {
                    let Some(Waiting { account, grant, .. }) = state.waiting.remove(at) else { return };
                    state.take(&account, bytes);
                    if let Err(mut unwanted) = grant.send(Share { budget: self.clone(), account, bytes }) {
                        // The caller gave up just now. Dropping the share would take the lock that is held here.
                        state.give_back(&unwanted.account, std::mem::take(&mut unwanted.bytes));
                    }
                }
                Err(Full::Budget) => return,
                Err(Full::Guests) => guests_wait = true,
                Err(Full::Account) => {
                    blocked.insert(account.clone());
                }
            }
        }
    }
}

impl Default for Budget {
    /// The one of this process.
    fn default() -> Self {
        static PROCESS: OnceLock<Budget> = OnceLock::new();
        PROCESS.get_or_init(|| Self::new(DEFAULT_BUDGET_BYTES)).clone()
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(f)
    }
}

/// Bytes of a budget, given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    account: Account,
    bytes: u64,
}

impl Share {
    /// How many bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back all beyond `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        drop(self.split(self.bytes.saturating_sub(bytes)));
    }

    /// Parts with so many bytes, or as many as there are.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: self.budget.clone(), account: self.account.clone(), bytes }
    }

    /// Adds another share of the same budget, which is charged to this one's account from now on.
    pub fn join(&mut self, mut other: Self) {
        let bytes = std::mem::take(&mut other.bytes);
        if other.account != self.account {
            let mut state = self.budget.lock();
            state.give_back(&other.account, bytes);
            state.take(&self.account, bytes);
        }
        self.bytes += bytes;
    }

    /// Binds the share to a buffer, sized to it: it is given back when the last part of the buffer is dropped.
    #[must_use]
    pub fn hold(mut self, buffer: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        self.shrink_to(buffer.as_ref().len() as u64);
        Bytes::from_owner(LogState { buffer, _share: self })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let mut state = self.budget.lock();
            state.give_back(&self.account, self.bytes);
            self.budget.serve(&mut state);
        }
    }
}

struct LogState<T> {
    buffer: T,
    _share: Share,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for LogState<T> {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

#[cfg(test)]
mod tests;

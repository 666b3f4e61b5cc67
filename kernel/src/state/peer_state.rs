//! What is known of one peer.

use crate::config::PeerMode;
use crate::cursor::Cursor;
use crate::health::PeerHealth;
use crate::ids::{CortexId, EventId, PeerName};
use crate::log::{Exclusion, WithheldFrom};
use crate::machine::{Lag, Phase};
use crate::time::Timestamp;

/// What is known of one peer at run time.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, PeerName};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// let bravo = cortex.state().peer_state(&PeerName::new("bravo")?, "quic://bravo.example:7443")?;
/// // Never in contact.
/// assert_eq!((bravo.cortex_id, bravo.last_seen), (None, None));
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerState {
    /// Its name here.
    pub name: PeerName,
    /// Where it answers.
    pub endpoint: String,
    /// Whether it is pulled.
    pub mode: PeerMode,
    /// When it was last reached.
    pub last_seen: Option<Timestamp>,
    /// The id of the last event read from its log.
    pub last_event: Option<EventId>,
    /// Who it proved to be at first contact.
    pub cortex_id: Option<CortexId>,
    /// The highest number of its key statements that was seen; 0 before the first contact.
    pub key_statement: u64,
    /// How far its log was read.
    pub cursor: Option<Cursor>,
    /// How far behind its head we are, by its own account; absent while unknown.
    pub lag: Option<Lag>,
    /// Its last success, and its failures since.
    pub health: PeerHealth,
    /// What is being done about it.
    pub phase: Phase,
    /// Its clock minus ours in milliseconds, read within the last ten minutes; what the network path may account for is not counted.
    /// Unknown while it is not in contact.
    pub skew_ms: Option<i64>,
    /// When this process last got events from it.
    pub last_received: Option<Timestamp>,
    /// What this process got from it.
    pub received: Received,
    /// What does not come from it, because its histories differ from ours. The events count in [`PeerState::lag`].
    pub withheld: WithheldFrom,
    /// Cortexes of which nothing is taken from it, by cortex, and why.
    pub excluded: Vec<Exclusion>,
    /// Whether its quota here slows what is pulled from it, or did within the last ten seconds.
    pub slowed: bool,
    /// What exactly failed last, with the rule and the event where there is one, while it lasts.
    pub detail: Option<String>,
}

/// What came from a peer since this process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Events, those included that were here already.
    pub events: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Events that were new here.
    pub stored: u64,
}

impl PeerState {
    /// A peer of which nothing is known.
    #[must_use]
    pub fn unknown(name: PeerName, endpoint: impl Into<String>, mode: PeerMode) -> Self {
        Self {
            name,
            endpoint: endpoint.into(),
            mode,
            last_seen: None,
            last_event: None,
            cortex_id: None,
            key_statement: 0,
            cursor: None,
            lag: None,
            health: PeerHealth::default(),
            phase: Phase::Connecting,
            skew_ms: None,
            last_received: None,
            received: Received::default(),
            withheld: WithheldFrom::default(),
            excluded: Vec::new(),
            slowed: false,
            detail: None,
        }
    }
}

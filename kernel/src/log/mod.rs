//! stub
use crate::ids::{CortexId, Epoch};
use crate::time::Timestamp;
/// Who this cortex is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalIdentity {
    /// Its id.
    pub cortex_id: CortexId,
    /// The epoch it writes under.
    pub epoch: Epoch,
    /// The name it gives itself.
    pub name: String,
}

/// The identity a peer proved at first contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The cortex it is.
    pub cortex_id: CortexId,
    /// Since when.
    pub since: Timestamp,
}

//! A service that lies, so that those who pull from it can be tested against liars behind real servers.

use crate::protocol::{FetchReply, FetchRequest, Identity};

/// What becomes of what a service would have said. Called from many tasks at once.
pub trait Tamper: Send + Sync {
    /// What is sent in the place of this answer to this question: nothing, it, something else, or several. `None` is
    /// silence from here on.
    fn answer(&self, request: &FetchRequest, reply: FetchReply) -> Option<Vec<FetchReply>> {
        let _ = request;
        Some(vec![reply])
    }

    /// Who the service says it is.
    fn identity(&self, identity: Identity) -> Identity {
        identity
    }
}

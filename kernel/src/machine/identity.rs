//! Whether a peer is who it must be.

use crate::health::ErrorCategory;
use crate::ids::CortexId;
use crate::protocol::{Identity, PROTOCOL_MAX, PROTOCOL_MIN};

/// What an identity is measured against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityContext {
    /// Who we are.
    pub own: CortexId,
    /// Who the peer proved to be at first contact.
    pub pin: Option<CortexId>,
    /// Who the peer must be, as the configuration says.
    pub expected: Option<CortexId>,
    /// Cortexes that other peer names are pinned to.
    pub pinned_elsewhere: Vec<CortexId>,
}

/// Checks an identity before anything else is said to a peer.
///
/// # Errors
/// The category that says why not: it is ourselves, another than the pinned one, known under another name, or speaks no
/// protocol of ours.
pub fn check_identity(identity: &Identity, context: &IdentityContext) -> Result<(), ErrorCategory> {
    if identity.cortex_id == context.own {
        return Err(ErrorCategory::OwnAddress);
    }
    let required = [context.pin, context.expected].into_iter().flatten();
    if required.into_iter().any(|cortex| cortex != identity.cortex_id) {
        return Err(ErrorCategory::Identity);
    }
    if context.pinned_elsewhere.contains(&identity.cortex_id) {
        return Err(ErrorCategory::PinnedElsewhere);
    }
    if identity.protocol_min > PROTOCOL_MAX || identity.protocol_max < PROTOCOL_MIN {
        return Err(ErrorCategory::Version);
    }
    Ok(())
}

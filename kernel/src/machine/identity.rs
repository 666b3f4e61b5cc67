//! Whether a peer is who it must be.

use crate::health::ErrorCategory;
use crate::identity::KeyStatement;
use crate::ids::CortexId;
use crate::ids::LogId;
use crate::mutant::{self, Mutant};
use crate::proof::Identified;
use crate::protocol::Protocols;

/// What an identity is measured against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityContext {
    /// Who we are.
    pub own: CortexId,
    /// Who the peer proved to be at first contact.
    pub pin: Option<CortexId>,
    /// The highest number of its key statements that was seen; 0 before the first contact.
    pub statement: u64,
    /// Who the peer must be, as the configuration says.
    pub expected: Option<CortexId>,
    /// Cortexes that other peer names are pinned to.
    pub pinned_elsewhere: Vec<CortexId>,
    /// The log that we belong to, if to any.
    pub log: Option<LogId>,
    /// The protocols that we speak.
    pub protocols: Protocols,
    /// Whether the configuration takes an identity that is only claimed.
    pub unproven: bool,
}

/// Checks an identity before anything else is said to a peer.
///
/// # Errors
/// The category that says why not: it is ourselves, another than the pinned one, known under another name, belongs to another log,
/// speaks no protocol of ours, proves nothing, or its key statement does not hold, names another cortex, or is older than one that was seen.
pub fn check_identity(identified: &Identified, context: &IdentityContext) -> Result<KeyStatement, ErrorCategory> {
    let identity = identified.identity();
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
    // What else an older or newer version says is not understood here.
    if identity.protocols().common(context.protocols).is_none() {
        return Err(ErrorCategory::Version);
    }
    if let (Some(ours), Some(theirs)) = (context.log, identity.log)
        && ours != theirs
    {
        return Err(ErrorCategory::OtherLog);
    }
    if !identified.is_proven() && !context.unproven && !mutant::is(Mutant::ClaimTaken) {
        return Err(ErrorCategory::Unproven);
    }
    let statement = KeyStatement::from_bytes(&identity.statement).map_err(|_| ErrorCategory::Identity)?;
    // The root key is the one that the id is made of, so the pinned id pins the key.
    if statement.cortex() != identity.cortex_id || statement.number() < context.statement {
        return Err(ErrorCategory::Identity);
    }
    Ok(statement)
}

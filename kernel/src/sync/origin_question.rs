//! A question about one origin: for what follows a place in its chain.

use super::plain_question::plain_question;
use crate::ids::{CortexId, Origin};
use crate::log::LogReader;
use crate::protocol::{ChainHead, FetchRequest, Heads, Known, RequestId, Scope};
use crate::store::StoreError;

/// The question for what follows `known` events of an origin. An answer holds at most `most` events and bytes.
///
/// `protocol` is the one that is spoken with the peer.
pub(super) fn origin_question(
    view: &LogReader,
    (origin, known): (Origin, u64),
    (to, protocol): (CortexId, u16),
    request: RequestId,
    most: (u32, u64),
) -> Result<FetchRequest, StoreError> {
    let digest = view.chain_digest(origin, known)?;
    let known = digest.filter(|_| known > 0).map(|digest| (origin, ChainHead { counter: known, digest }));
    Ok(FetchRequest {
        known: Known::Full(Heads::new(known.into_iter().collect())),
        max_events: most.0,
        max_bytes: most.1,
        scope: Scope::Origin(origin),
        ..plain_question(&view.local(), (to, protocol), request)
    })
}

//! A peer that gives our own id is this node itself, or a copy of it. A question decides: a node that dialled itself receives it.

use super::links::{IDENTIFY_DEADLINE, hard};
use super::plain_question::plain_question;
use crate::health::{ErrorCategory, Failure};
use crate::ids::PeerName;
use crate::log::LogReader;
use crate::protocol::{FetchRequest, Scope};
use crate::transport::Link;

/// Finds out whether a peer that gave our own id is a copy of this node.
///
/// # Errors
/// Category `double` if it is one. Where the peer does not answer, it counts as this node itself.
pub(super) async fn must_be_this_node(link: &dyn Link, view: &LogReader, peer: &PeerName) -> Result<(), Failure> {
    let (local, probe) = (view.local(), view.doubles().probe(view.process()));
    let question = FetchRequest {
        max_events: 1,
        max_bytes: 1,
        scope: Scope::Origin(local.origin()),
        ..plain_question(&local, (local.cortex_id, local.protocols.max()), probe.request())
    };
    let answered = hard(IDENTIFY_DEADLINE, link.fetch(&question, IDENTIFY_DEADLINE)).await.is_ok();
    if !answered || probe.returned() {
        return Ok(());
    }
    view.doubles().found_copy_at(peer);
    let detail = "it gave this node's own id, and this node did not receive what it was asked";
    Err(Failure::new(ErrorCategory::Double, detail))
}

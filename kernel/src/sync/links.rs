//! Links to peers: how one is made, and the kernel's own deadline for what is asked over one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::PeerConfig;
use crate::log::LogReader;
use crate::proof::Identified;
use crate::time::Timestamp;
use crate::transport::{Link, Transport, TransportError, TransportErrorKind};

/// How long a peer may take to say who it is.
pub(super) const IDENTIFY_DEADLINE: Duration = Duration::from_secs(15);
/// The kernel's own, harder deadline: a transport that ignores its deadline is dropped after it.
const HARD: Duration = Duration::from_secs(5);

/// A way to reach a peer, over the transport that its endpoint names.
pub(crate) fn link_to(
    transports: &[Arc<dyn Transport>],
    peer: &PeerConfig,
    view: &LogReader,
) -> Result<Arc<dyn Link>, TransportError> {
    let scheme = peer.endpoint.split("://").next().unwrap_or_default();
    let transport = transports.iter().find(|t| t.schemes().contains(&scheme)).ok_or_else(|| {
        let known: Vec<_> = transports.iter().flat_map(|t| t.schemes()).copied().collect();
        let detail = format!("no transport for `{scheme}://`; there are: {}", known.join(", "));
        TransportError::new(TransportErrorKind::Configuration, detail)
    })?;
    // The one that answers is held to the pin before anything is said of this cortex.
    let pinned = view.pinned().iter().find(|(_, pin)| pin.name == peer.name).map(|(cortex, _)| *cortex);
    let peer = PeerConfig { pinned, ..peer.clone() };
    Ok(transport.link(&peer, &view.local())?.into())
}

pub(super) async fn hard<T>(
    deadline: Duration,
    answer: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    match tokio::time::timeout(deadline + HARD, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(TransportError::new(TransportErrorKind::Timeout, "the transport overran its deadline")),
    }
}

/// Who the peer is, and its clock minus ours in milliseconds.
pub(super) async fn who_and_when(link: &dyn Link) -> Result<(Identified, i64), TransportError> {
    let asked = Instant::now();
    let identity = hard(IDENTIFY_DEADLINE, link.identify(IDENTIFY_DEADLINE)).await?;
    let skew = skew_ms(identity.identity().time, Timestamp::now(), asked.elapsed());
    Ok((identity, skew))
}

/// How far a clock that said `theirs` is ahead of ours in milliseconds, when its answer came after `took`. Where it was read
/// within that time is not known: what that may account for is left out.
#[must_use]
pub fn skew_ms(theirs: Timestamp, ours: Timestamp, took: Duration) -> i64 {
    let half = i64::try_from(took.as_micros() / 2).unwrap_or(i64::MAX);
    let apart = theirs.as_micros().saturating_sub(ours.as_micros()).saturating_add(half);
    apart.signum() * (apart.saturating_abs() - half).max(0) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_leaves_out_what_the_path_may_account_for() {
        let at = |ms: i64| Timestamp::from_micros(ms * 1000);
        let took = Duration::from_millis(100);
        // Read half-way, clocks agree ...
        assert_eq!(skew_ms(at(950), at(1000), took), 0);
        // ... and at either end of it nothing is claimed.
        assert_eq!((skew_ms(at(900), at(1000), took), skew_ms(at(1000), at(1000), took)), (0, 0));
        assert_eq!(skew_ms(at(6000), at(1000), took), 5000);
        assert_eq!(skew_ms(at(1000), at(6000), took), -4900);
        assert_eq!(skew_ms(at(1000), at(1000), Duration::ZERO), 0);
    }
}

//! What servers measure, in the same words for every transport.

use antiphon_kernel::internals::measure::Metric;
use antiphon_kernel::protocol::{FetchReply, Refusal};

/// How many connections are open.
pub const CONNECTIONS: Metric = Metric::gauge(
    "antiphon_connections",
    &["transport", "pool"],
    "Connections that are open at our servers: `proven` proved to have a good key, `unproven` did not yet, `unvalidated` is QUIC before \
     the address is proven.",
);
/// How often somebody was turned away.
pub const REJECTED: Metric = Metric::counter(
    "antiphon_rejected_total",
    &["transport", "reason"],
    "Connections and requests that were turned away.",
);

/// All of them.
pub const METRICS: &[Metric] = &[CONNECTIONS, REJECTED];

/// Why somebody was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// The key was missing or wrong.
    Key,
    /// No protocol in common.
    Protocol,
    /// As many connections or questions were open as may be.
    NoRoom,
    /// No TLS session.
    Tls,
    /// What was owed did not come in time.
    Timeout,
    /// It was no message that belongs there.
    Malformed,
    /// This cortex does not serve its log.
    NotServing,
    /// More bytes than a message may have.
    TooLarge,
    /// It was meant for another cortex.
    OtherCortex,
    /// Our own store could not be read.
    Internal,
    /// It did not prove who it is, or asked in another's name.
    Proof,
    /// It may not read anything here.
    NotAllowed,
    /// It used up its quota.
    OverQuota,
}

impl Rejected {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::Key,
        Self::Protocol,
        Self::NoRoom,
        Self::Tls,
        Self::Timeout,
        Self::Malformed,
        Self::NotServing,
        Self::TooLarge,
        Self::OtherCortex,
        Self::Internal,
        Self::Proof,
        Self::NotAllowed,
        Self::OverQuota,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Protocol => "protocol",
            Self::NoRoom => "no_room",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::NotServing => "not_serving",
            Self::TooLarge => "too_large",
            Self::OtherCortex => "other_cortex",
            Self::Internal => "internal",
            Self::Proof => "proof",
            Self::NotAllowed => "not_allowed",
            Self::OverQuota => "over_quota",
        }
    }

    /// Counts one.
    pub fn count(self, transport: &'static str) {
        metrics::counter!(REJECTED.name, "transport" => transport, "reason" => self.as_str()).increment(1);
    }

    /// Counts an answer that turns its asker away. Refusals that peers get along with are none.
    pub fn count_reply(transport: &'static str, reply: &FetchReply) {
        let FetchReply::Refused { refusal, .. } = reply else { return };
        let reason = match refusal {
            Refusal::Key => Self::Key,
            Refusal::Protocol { .. } => Self::Protocol,
            Refusal::Busy => Self::NoRoom,
            Refusal::Malformed => Self::Malformed,
            Refusal::NotServing => Self::NotServing,
            Refusal::WrongCortex { .. } => Self::OtherCortex,
            Refusal::Internal => Self::Internal,
            Refusal::Proof | Refusal::OtherAsker => Self::Proof,
            Refusal::NotAllowed => Self::NotAllowed,
            Refusal::OverQuota { .. } => Self::OverQuota,
            // Peers get along with a cursor that is unknown or too old, a fork, and a missing `known`.
            _ => return,
        };
        reason.count(transport);
    }
}

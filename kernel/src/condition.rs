//! A peer's status, in one word for an operator: ten that call for different things, so that a quiet peer, a partition
//! and a peer that says no are never taken for each other.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine::Phase;
use crate::state::PeerState;
use crate::time::Timestamp;

/// A peer that sent nothing for so long is idle.
pub(crate) const QUIET_AFTER: Duration = Duration::from_secs(60);

macro_rules! conditions {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// The state of a peer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Condition { $($(#[$doc])* $variant,)+ }

        impl Condition {
            /// Every condition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in JSON, metrics and on the status page.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

conditions! {
    /// A retry cannot fix it: an operator must act.
    Halted = "halted",
    /// It answers, and one side says no: a wrong key, another identity, no trust, no common version, nothing served.
    Rejected = "rejected",
    /// It could not be reached; tried again.
    BackingOff = "backing_off",
    /// Not pulled: the disk here has too little space left.
    NoSpace = "no_space",
    /// In contact, and a part of what it has does not come: its histories of some origins differ from ours.
    Withheld = "withheld",
    /// Finding out who it is.
    Connecting = "connecting",
    /// Reading what it has more.
    CatchingUp = "catching_up",
    /// Caught up, and it sent something within `QUIET_AFTER`.
    Live = "live",
    /// Caught up, and nothing new came for a while. It is in contact all the same.
    Idle = "idle",
    /// Not pulled, by configuration.
    Paused = "paused",
}

impl Condition {
    /// The state of a peer at this moment.
    #[must_use]
    pub fn of(peer: &PeerState, now: Timestamp) -> Self {
        let refused = peer.health.last_error.is_some_and(|error| error.is_refusal());
        match peer.phase {
            Phase::Halted => Self::Halted,
            // The last failure holds until an exchange succeeds.
            Phase::BackingOff | Phase::Connecting if refused => Self::Rejected,
            Phase::BackingOff => Self::BackingOff,
            Phase::Connecting if peer.health.consecutive_failures > 0 => Self::BackingOff,
            Phase::Connecting => Self::Connecting,
            Phase::NoSpace => Self::NoSpace,
            Phase::Paused => Self::Paused,
            Phase::CatchingUp | Phase::Live if peer.withheld.histories > 0 => Self::Withheld,
            Phase::CatchingUp => Self::CatchingUp,
            Phase::Live => {
                let quiet = |at: Timestamp| now.saturating_since(at) >= QUIET_AFTER;
                if peer.last_received.is_none_or(quiet) { Self::Idle } else { Self::Live }
            }
        }
    }

    /// Whether exchanges succeed; unknown where none are wanted.
    #[must_use]
    pub const fn is_up(self) -> Option<bool> {
        match self {
            Self::CatchingUp | Self::Live | Self::Idle | Self::Withheld => Some(true),
            Self::Connecting | Self::BackingOff | Self::Rejected | Self::Halted => Some(false),
            Self::Paused | Self::NoSpace => None,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PeerMode;
    use crate::health::{ErrorCategory, PeerHealth};
    use crate::ids::PeerName;
    use crate::log::WithheldFrom;

    #[test]
    fn each_situation_has_its_word() {
        let now = Timestamp::from_micros(1_000_000_000);
        let ago = |seconds: i64| Some(Timestamp::from_micros(1_000_000_000 - seconds * 1_000_000));
        let failing = |error| PeerHealth { last_error: Some(error), consecutive_failures: 3, ..PeerHealth::default() };
        let well = PeerHealth::default;
        for (phase, health, received, expected) in [
            (Phase::Live, well(), ago(59), Condition::Live),
            (Phase::Live, well(), ago(60), Condition::Idle),
            (Phase::Live, well(), None, Condition::Idle),
            (Phase::CatchingUp, well(), None, Condition::CatchingUp),
            (Phase::Connecting, well(), None, Condition::Connecting),
            (Phase::Connecting, failing(ErrorCategory::Timeout), None, Condition::BackingOff),
            (Phase::Connecting, failing(ErrorCategory::Auth), None, Condition::Rejected),
            (Phase::BackingOff, failing(ErrorCategory::ConnectionRefused), None, Condition::BackingOff),
            (Phase::BackingOff, failing(ErrorCategory::Identity), None, Condition::Rejected),
            (Phase::Halted, failing(ErrorCategory::Configuration), None, Condition::Halted),
            (Phase::Paused, failing(ErrorCategory::Auth), ago(1), Condition::Paused),
            (Phase::NoSpace, well(), ago(1), Condition::NoSpace),
        ] {
            let peer = PeerState {
                phase,
                health,
                last_received: received,
                ..PeerState::unknown(PeerName::new("p").unwrap(), "memory://p", PeerMode::Sync)
            };
            assert_eq!(Condition::of(&peer, now), expected, "{peer:?}");
        }
        for (phase, expected) in [(Phase::Live, Condition::Withheld), (Phase::Paused, Condition::Paused)] {
            let withheld = WithheldFrom { histories: 1, events: 3 };
            let name = PeerName::new("p").unwrap();
            let peer = PeerState { phase, withheld, ..PeerState::unknown(name, "memory://p", PeerMode::Sync) };
            assert_eq!(Condition::of(&peer, now), expected);
        }
        assert_eq!(serde_json::to_string(&Condition::BackingOff).unwrap(), "\"backing_off\"");
        assert!(Condition::ALL.iter().all(|c| serde_json::to_string(c).unwrap() == format!("\"{c}\"")));
    }
}

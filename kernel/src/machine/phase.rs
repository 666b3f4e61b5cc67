//! The phases of the protocol with one peer, each with the data that it alone has.

use std::time::Duration;

use super::contact::Contact;

/// What the machine is doing, as an operator would say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Finding out who the peer is.
    Connecting,
    /// Reading what it has more.
    CatchingUp,
    /// Caught up; waiting for more.
    Live,
    /// Failed; will try again.
    BackingOff,
    /// Not pulled, by configuration.
    Paused,
    /// Not pulled while the disk has too little space left.
    NoSpace,
    /// Failed in a way that trying again cannot fix.
    Halted,
}

/// A [`Phase`] with its data. What is known of the peer since its last identity is dropped with [`State::Contact`].
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a machine has one state, and most are in contact")]
pub(super) enum State {
    Paused,
    NoSpace,
    Halted,
    Connecting,
    BackingOff {
        failed_at: Duration,
        retry_at: Duration,
    },
    /// The peer's identity was checked, and it is pulled from.
    Contact(Contact),
}

impl State {
    pub(super) const fn phase(&self) -> Phase {
        match self {
            Self::Paused => Phase::Paused,
            Self::NoSpace => Phase::NoSpace,
            Self::Halted => Phase::Halted,
            Self::Connecting => Phase::Connecting,
            Self::BackingOff { .. } => Phase::BackingOff,
            Self::Contact(contact) if contact.live => Phase::Live,
            Self::Contact(_) => Phase::CatchingUp,
        }
    }

    pub(super) const fn contact(&self) -> Option<&Contact> {
        match self {
            Self::Contact(contact) => Some(contact),
            _ => None,
        }
    }

    pub(super) const fn contact_mut(&mut self) -> Option<&mut Contact> {
        match self {
            Self::Contact(contact) => Some(contact),
            _ => None,
        }
    }
}

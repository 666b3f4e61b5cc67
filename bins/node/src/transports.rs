//! The transports that a configuration chooses.

use antiphon_https::{HttpsOptions, HttpsTransport};
use antiphon_kernel::config::SharedKey;
use antiphon_kernel::transport::Transport;
use antiphon_quic::{QuicOptions, QuicTransport};

/// The ways to peers, for when the key changes.
#[derive(Clone)]
pub struct Transports {
    pub(crate) https: HttpsTransport,
    pub(crate) quic: QuicTransport,
}

impl Transports {
    pub fn new(allow_plaintext_loopback: bool, shared_key: &SharedKey) -> Self {
        Self {
            quic: QuicTransport::new(QuicOptions { shared_key: shared_key.clone() }),
            https: HttpsTransport::new(HttpsOptions { shared_key: shared_key.clone(), allow_plaintext_loopback }),
        }
    }

    pub fn set_shared_key(&self, key: &SharedKey) {
        self.https.set_shared_key(key.clone());
        self.quic.set_shared_key(key.clone());
    }

    /// The one that is presented.
    pub fn shared_key(&self) -> SharedKey {
        self.https.shared_key()
    }

    /// The one that a scheme picks.
    pub fn of(&self, endpoint: &str) -> &dyn Transport {
        if endpoint.starts_with("quic:") { &self.quic } else { &self.https }
    }
}

//! The messages of a handshake, the same in every run.

use crate::codec::Room;
use crate::config::SharedKey;
use crate::identity::{Signature, Signer};
use crate::proof::{Channel, Handshake, Side};
use crate::protocol::{Connect, Hello, PROTOCOL_MAX, PROTOCOL_MIN, Proof};

/// A handshake between two cortexes.
pub struct HandshakeOf<'a> {
    /// Signs for the cortex that asks.
    pub asker: &'a dyn Signer,
    /// Signs for the cortex that answers.
    pub server: &'a dyn Signer,
    /// The nonce of the asker.
    pub connect: [u8; 32],
    /// The nonce of the server. A service takes only those that it made itself.
    pub nonce: [u8; 32],
    /// What the two ends have in common.
    pub channel: Channel<'a>,
    /// The shared key; an open one proves nothing.
    pub key: SharedKey,
}

impl HandshakeOf<'_> {
    /// Returns the three messages.
    ///
    /// # Panics
    /// If a key does not sign.
    #[must_use]
    pub fn messages(&self) -> (Connect, Proof, Hello) {
        let [asker, server] = [self.asker, self.server].map(Signer::statement);
        let side = |nonce| Side { nonce, protocols: (PROTOCOL_MIN, PROTOCOL_MAX) };
        let handshake = Handshake::of(self.channel, side(self.connect), side(self.nonce));
        let sign = |by: &dyn Signer, message: Vec<u8>| -> Signature { by.sign(&message).expect("the key signs") };
        let (protocol_min, protocol_max) = (PROTOCOL_MIN, PROTOCOL_MAX);
        let connect = Connect { protocol_min, protocol_max, nonce: self.connect, room: Room::default() };
        let proof = Proof {
            protocol_min,
            protocol_max,
            from: server.cortex(),
            nonce: self.nonce,
            statement: server.to_bytes(),
            signature: sign(self.server, handshake.of_server(server.cortex())),
            room: Room::default(),
        };
        let hello = Hello {
            protocol_min,
            protocol_max,
            connect: self.connect,
            nonce: self.nonce,
            signature: sign(self.asker, handshake.of_asker(asker.cortex(), server.cortex())),
            key: handshake.prove_key(&self.key, asker.cortex(), server.cortex()),
            from: asker.cortex(),
            log: None,
            name: "alpha".to_owned(),
            version: "0.1.0".to_owned(),
            statement: asker.to_bytes(),
            room: Room::default(),
        };
        (connect, proof, hello)
    }
}

//! Proof of identity at the beginning of a connection: the asker learns who answers before it says who it is.
//!
//! | message | from | says |
//! |---|---|---|
//! | [`Connect`] | asker | a nonce |
//! | [`Proof`] | server | its id and key statement, a nonce, and a signature |
//! | [`Hello`] | asker | its id and key statement, a signature, and proof that it has the shared key |
//! | [`Identity`] | server | how far its log reaches |
//!
//! Both sign a hash of both nonces, of the protocols that each speaks, and of the [`Channel`]: what the two ends of this connection have
//! in common. The shared key never travels: its owner sends an HMAC under it.
//!
//! A transport passes these messages on, and names the channel. The asking side is [`Introduction`]; the answering side is
//! [`Service::prove`](crate::Service::prove) and [`Service::admit`](crate::Service::admit).

use std::sync::{Arc, OnceLock};

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::codec::Room;
use crate::config::{PeerConfig, SharedKey};
use crate::entropy;
use crate::identity::{KeyStatement, SharedSigner, SignError, Signature};
use crate::ids::CortexId;
use crate::log::LocalIdentity;
use crate::protocol::{Connect, Hello, Identity, Proof};
use crate::transport::{TransportError, TransportErrorKind};

/// What is signed begins with this, so that the signature is of nothing else.
const CONTEXT: &[u8] = b"antiphon proof 2";
const KEY_CONTEXT: &[u8] = b"antiphon secret 2";
const CHANNEL_CONTEXT: &[u8] = b"antiphon channel 2";

/// What the two ends of a connection have in common. Its kind is part of what is signed: what one transport's server signs is of no
/// use on another transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Channel<'a> {
    /// Keying material that TLS exports for the connection (`tls-exporter`, RFC 9266). An attacker on the path cannot pass a proof on.
    Tls(&'a [u8; 32]),
    /// The host and port that are dialled, where TLS may end before the node. The server must take its own names alone: then a
    /// program that answers under another name cannot pass a proof on. A proxy that ends TLS in the node's name can.
    Host(&'a str),
    /// Nothing. Proofs are fresh, and an attacker who controls the path can pass them on.
    None,
}

impl Channel<'_> {
    /// Its kind and its bytes, of which none is a prefix of another's.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (kind, bytes): (&[u8], &[u8]) = match self {
            Self::Tls(exported) => (b"tls ", &exported[..]),
            Self::Host(host) => (b"host", host.as_bytes()),
            Self::None => (b"none", b""),
        };
        [kind, &(bytes.len() as u64).to_be_bytes(), bytes].concat()
    }
}

/// What one side of a handshake brings: its nonce, and the protocols that it speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side {
    pub(crate) nonce: [u8; 32],
    pub(crate) protocols: (u16, u16),
}

impl Side {
    pub(crate) const fn of_connect(connect: &Connect) -> Self {
        Self { nonce: connect.nonce, protocols: (connect.protocol_min, connect.protocol_max) }
    }

    pub(crate) const fn of_proof(proof: &Proof) -> Self {
        Self { nonce: proof.nonce, protocols: (proof.protocol_min, proof.protocol_max) }
    }

    /// The asker's, as its hello repeats it.
    pub(crate) const fn of_hello(hello: &Hello) -> Self {
        Self { nonce: hello.connect, protocols: (hello.protocol_min, hello.protocol_max) }
    }
}

/// What one handshake is about: a hash of the channel, both nonces, and the protocols of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handshake([u8; 32]);

impl Handshake {
    pub(crate) fn of(channel: Channel<'_>, asker: Side, server: Side) -> Self {
        let mut hash = Sha256::new().chain_update(CHANNEL_CONTEXT).chain_update(channel.bytes());
        for Side { nonce, protocols: (min, max) } in [asker, server] {
            hash = hash.chain_update(nonce).chain_update(min.to_be_bytes()).chain_update(max.to_be_bytes());
        }
        Self(hash.finalize().into())
    }

    /// What the server signs: it does not know yet who asks.
    pub(crate) fn of_server(&self, server: CortexId) -> Vec<u8> {
        [CONTEXT, b"server", &server.to_bytes(), &self.0].concat()
    }

    /// What the asker signs.
    pub(crate) fn of_asker(&self, asker: CortexId, server: CortexId) -> Vec<u8> {
        [CONTEXT, b"asker", &asker.to_bytes(), &server.to_bytes(), &self.0].concat()
    }

    fn key_mac(&self, key: &SharedKey, asker: CortexId, server: CortexId) -> Hmac<Sha256> {
        let mac = Hmac::new_from_slice(key.expose().as_bytes()).expect("HMAC takes a key of any length");
        mac.chain_update(KEY_CONTEXT)
            .chain_update(asker.to_bytes())
            .chain_update(server.to_bytes())
            .chain_update(self.0)
    }

    /// The proof that the asker has the key; none in open mode.
    pub(crate) fn prove_key(&self, key: &SharedKey, asker: CortexId, server: CortexId) -> Option<[u8; 32]> {
        (!key.is_open()).then(|| self.key_mac(key, asker, server).finalize().into_bytes().into())
    }

    /// Whether it was made with this key. Compared in constant time.
    pub(crate) fn is_of_key(&self, key: &SharedKey, proof: &[u8; 32], asker: CortexId, server: CortexId) -> bool {
        self.key_mac(key, asker, server).verify_slice(proof).is_ok()
    }
}

/// The statement, if it is of this cortex and its working key signed the message.
pub(crate) fn verified(cortex: CortexId, statement: &[u8], message: &[u8], by: &Signature) -> Option<KeyStatement> {
    let statement = KeyStatement::from_bytes(statement).ok().filter(|statement| statement.cortex() == cortex)?;
    statement.working().verifies(message, by).then_some(statement)
}

/// The asking side of a handshake.
///
/// ```
/// use antiphon_kernel::config::PeerConfig;
/// use antiphon_kernel::proof::{Channel, Introduction};
/// use antiphon_kernel::service::Credential;
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, SharedKey};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let alpha = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// let bravo = Cortex::builder(MemoryStore::new()).name("bravo").start().await?;
/// let service = bravo.service();
/// let plain = PeerConfig::new("bravo".parse()?, "direct://bravo");
/// let peer = PeerConfig { cortex: Some(service.local().cortex_id), ..plain };
///
/// // What a transport carries between the two. Here all channels are the same.
/// let channel = Channel::None;
/// let asking = Introduction::new(&alpha.reader().local(), &peer, SharedKey::default());
/// let connect = asking.connect();
/// let proof = service.prove(&connect, channel).await?;
/// let (hello, proven) = asking.hello(&connect, &proof, channel).await?;
/// let caller = service.admit(&Credential::Hello { hello: &hello, channel })?;
/// assert_eq!(caller.cortex(), Some(alpha.reader().local().cortex_id));
/// let bravo_is = proven.identified(caller.identity())?;
/// assert_eq!(bravo_is.identity().name, "bravo");
/// # alpha.stop().await;
/// # bravo.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Introduction {
    own: LocalIdentity,
    /// Who the peer must be: as the configuration says, and as its pin does.
    expected: [Option<CortexId>; 2],
    /// Who answered first, with its key statement. The one that answers later on one link must be the same, with the same key: only the first
    /// one's identity was looked at, and its statement pinned.
    first: Arc<OnceLock<(CortexId, Vec<u8>)>>,
    key: SharedKey,
}

impl Introduction {
    /// Of a cortex to a peer, with the shared key (an empty one is open mode).
    #[must_use]
    pub fn new(own: &LocalIdentity, peer: &PeerConfig, key: SharedKey) -> Self {
        Self { own: own.clone(), expected: [peer.cortex, peer.pinned], first: Arc::default(), key }
    }

    /// The shared key: what a transport reports must not contain it.
    #[must_use]
    pub const fn key(&self) -> &SharedKey {
        &self.key
    }

    /// Begins a handshake.
    ///
    /// # Panics
    /// If the operating system has no source of randomness.
    #[must_use]
    pub fn connect(&self) -> Connect {
        let mut nonce = [0; 32];
        entropy::fill(&mut nonce);
        let (protocol_min, protocol_max) = (self.own.protocols.min(), self.own.protocols.max());
        Connect { protocol_min, protocol_max, nonce, room: Room::default() }
    }

    /// Verifies who answers, and signs who asks.
    ///
    /// # Errors
    /// [`TransportErrorKind::Unproven`]: the proof does not hold; [`TransportErrorKind::Identity`]: it is of another cortex than the
    /// configured one; [`TransportErrorKind::Configuration`]: this side has no key that signs. Say nothing to the peer then.
    pub async fn hello(
        &self,
        connect: &Connect,
        proof: &Proof,
        channel: Channel<'_>,
    ) -> Result<(Hello, Proven), TransportError> {
        let handshake = Handshake::of(channel, Side::of_connect(connect), Side::of_proof(proof));
        let message = handshake.of_server(proof.from);
        if verified(proof.from, &proof.statement, &message, &proof.signature).is_none() {
            let detail = "its signature is not of this connection, or not of the key that its statement names";
            return Err(TransportError::new(TransportErrorKind::Unproven, detail));
        }
        let mut expected = self.expected.iter().copied().flatten().chain(self.first.get().map(|first| first.0));
        if let Some(expected) = expected.find(|expected| *expected != proof.from) {
            let detail = format!("it is {}, and must be {expected}", proof.from);
            return Err(TransportError::new(TransportErrorKind::Identity, detail));
        }
        if self.first.get().is_some_and(|(_, statement)| *statement != proof.statement) {
            let detail = "its working key is another one than at the first contact over this link; it is greeted again";
            return Err(TransportError::new(TransportErrorKind::Unproven, detail));
        }
        let (own, server) = (self.own.cortex_id, proof.from);
        let signed = sign(self.own.signer.as_ref(), handshake.of_asker(own, server), ()).await;
        let signature = signed.map_err(|error| {
            TransportError::new(TransportErrorKind::Configuration, error.to_string()).caused_by(error)
        })?;
        let hello = Hello {
            protocol_min: self.own.protocols.min(),
            protocol_max: self.own.protocols.max(),
            connect: connect.nonce,
            nonce: proof.nonce,
            signature,
            key: handshake.prove_key(&self.key, own, server),
            from: own,
            log: self.own.log,
            name: self.own.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            statement: self.own.statement_bytes(),
            room: Room::default(),
        };
        // Two that are asked at once are the same, or the second fails next time.
        let _ = self.first.set((server, proof.statement.clone()));
        Ok((hello, Proven { cortex: server, statement: proof.statement.clone() }))
    }
}

/// Signs, if there is a key. What is held is dropped once that is done, also if the future is dropped.
pub(crate) async fn sign(
    signer: Option<&SharedSigner>,
    message: Vec<u8>,
    held: impl Send + 'static,
) -> Result<Signature, SignError> {
    match signer {
        Some(signer) => signer.sign(message, held).await,
        None => Err(SignError::new("this log was opened without its keys")),
    }
}

/// A peer that proved who it is. Only [`Introduction::hello`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    cortex: CortexId,
    statement: Vec<u8>,
}

impl Proven {
    /// Which cortex it is.
    #[must_use]
    pub const fn cortex(&self) -> CortexId {
        self.cortex
    }

    /// Holds a question to who answers here.
    ///
    /// # Errors
    /// [`TransportErrorKind::Identity`]: it is meant for another cortex.
    pub fn answers(&self, to: CortexId) -> Result<(), TransportError> {
        if to == self.cortex {
            return Ok(());
        }
        let detail = format!("it is {}, and the question is for {to}", self.cortex);
        Err(TransportError::new(TransportErrorKind::Identity, detail))
    }

    /// Takes the identity that came over the same connection.
    ///
    /// # Errors
    /// [`TransportErrorKind::Unproven`]: it is of another cortex, or names another key than the one that signed.
    pub fn identified(&self, identity: Identity) -> Result<Identified, TransportError> {
        if identity.cortex_id != self.cortex || identity.statement != self.statement {
            let detail = "its identity is not the one that it proved";
            return Err(TransportError::new(TransportErrorKind::Unproven, detail));
        }
        Ok(Identified { identity, is_proven: true })
    }
}

/// What a peer says of itself, and whether it proved that it is who it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    identity: Identity,
    is_proven: bool,
}

impl Identified {
    /// An identity of which nothing is proved: of a transport that cannot do it. Such a peer is pulled only if its configuration
    /// allows it ([`PeerConfig::unproven`]).
    #[must_use]
    pub const fn claimed(identity: Identity) -> Self {
        Self { identity, is_proven: false }
    }

    /// As if it had been proved: for tests of what comes after.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub const fn trusted(identity: Identity) -> Self {
        Self { identity, is_proven: true }
    }

    /// What it says.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The same, taken out.
    #[must_use]
    pub fn into_identity(self) -> Identity {
        self.identity
    }

    /// Whether it proved its id on the connection that the identity came over.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.is_proven
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{seeded_cortex, seeded_identity};

    fn own(n: u8) -> LocalIdentity {
        seeded_identity(n, "own")
    }

    fn peer(cortex: Option<CortexId>) -> PeerConfig {
        let name = "bravo".parse().unwrap();
        PeerConfig { cortex, ..PeerConfig::new(name, "x://y".to_owned()) }
    }

    async fn proof(n: u8, connect: &Connect, channel: Channel<'_>) -> Proof {
        let (protocol_min, protocol_max) = (2, 2);
        let unsigned = Proof {
            protocol_min,
            protocol_max,
            from: seeded_cortex(n),
            nonce: [7; 32],
            statement: own(n).statement_bytes(),
            signature: Signature::from_bytes([0; 64]),
            room: Room::default(),
        };
        let handshake = Handshake::of(channel, Side::of_connect(connect), Side::of_proof(&unsigned));
        let signature = sign(own(n).signer.as_ref(), handshake.of_server(unsigned.from), ()).await.unwrap();
        Proof { signature, ..unsigned }
    }

    const CHANNEL: Channel<'_> = Channel::Host("alpha.example");

    #[tokio::test]
    async fn a_proof_holds_for_its_connection_alone() {
        let asking = Introduction::new(&own(1), &peer(None), SharedKey::default());
        let connect = asking.connect();
        let good = proof(2, &connect, CHANNEL).await;
        let (hello, proven) = asking.hello(&connect, &good, CHANNEL).await.unwrap();
        assert_eq!((proven.cortex(), hello.from), (seeded_cortex(2), seeded_cortex(1)));
        let other = asking.connect();
        let stolen = Proof { statement: own(3).statement_bytes(), from: seeded_cortex(3), ..good.clone() };
        let foreign = Proof { from: seeded_cortex(3), ..good.clone() };
        let later = Proof { nonce: [8; 32], ..good.clone() };
        let downgraded = Proof { protocol_min: 1, ..good.clone() };
        let mut exported = [0; 32];
        exported[..13].copy_from_slice(b"alpha.example");
        for (what, connect, proof, channel) in [
            ("another host", &connect, &good, Channel::Host("alpha.exampl")),
            ("another kind of channel", &connect, &good, Channel::Tls(&exported)),
            ("no channel", &connect, &good, Channel::None),
            ("another question", &other, &good, CHANNEL),
            ("another key", &connect, &stolen, CHANNEL),
            ("another id", &connect, &foreign, CHANNEL),
            ("another nonce", &connect, &later, CHANNEL),
            ("other protocols", &connect, &downgraded, CHANNEL),
        ] {
            let refused = asking.hello(connect, proof, channel).await.unwrap_err();
            assert_eq!(refused.kind(), TransportErrorKind::Unproven, "{what}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_is_another_than_configured_hears_nothing() {
        let asking = Introduction::new(&own(1), &peer(Some(seeded_cortex(2))), SharedKey::default());
        let connect = asking.connect();
        let none = Channel::None;
        asking.hello(&connect, &proof(2, &connect, none).await, none).await.unwrap();
        let refused = asking.hello(&connect, &proof(3, &connect, none).await, none).await.unwrap_err();
        assert_eq!(refused.kind(), TransportErrorKind::Identity);
        // A pin says the same, and so does who answered first.
        let pinned = PeerConfig { pinned: Some(seeded_cortex(2)), ..peer(None) };
        let pinned = Introduction::new(&own(1), &pinned, SharedKey::default());
        let refused = pinned.hello(&connect, &proof(3, &connect, none).await, none).await.unwrap_err();
        assert_eq!(refused.kind(), TransportErrorKind::Identity);
        let open = Introduction::new(&own(1), &peer(None), SharedKey::default());
        open.hello(&connect, &proof(3, &connect, none).await, none).await.unwrap();
        let refused = open.hello(&connect, &proof(2, &connect, none).await, none).await.unwrap_err();
        assert_eq!(refused.kind(), TransportErrorKind::Identity);
        let keyless = LocalIdentity { signer: None, ..own(1) };
        let keyless = Introduction::new(&keyless, &peer(None), SharedKey::default());
        let refused = keyless.hello(&connect, &proof(2, &connect, none).await, none).await.unwrap_err();
        assert_eq!(refused.kind(), TransportErrorKind::Configuration);
    }

    #[test]
    fn the_proof_of_a_key_is_of_both_ends_and_this_handshake() {
        let key = SharedKey::new("0123456789abcdef0123456789abcdef").unwrap();
        let other = SharedKey::new("0123456789abcdef0123456789abcdeF").unwrap();
        let (one, two) = (seeded_cortex(1), seeded_cortex(2));
        let side = |n| Side { nonce: [n; 32], protocols: (2, 2) };
        let handshake = Handshake::of(CHANNEL, side(1), side(2));
        let proof = handshake.prove_key(&key, one, two).unwrap();
        assert!(handshake.is_of_key(&key, &proof, one, two));
        assert!(!handshake.is_of_key(&other, &proof, one, two));
        assert!(!handshake.is_of_key(&key, &proof, two, one));
        let elsewhere = Handshake::of(Channel::None, side(1), side(2));
        assert!(!elsewhere.is_of_key(&key, &proof, one, two));
        assert_eq!(handshake.prove_key(&SharedKey::default(), one, two), None);
    }
}

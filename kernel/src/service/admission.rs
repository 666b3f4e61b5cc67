//! Who may ask: proofs of identity, proofs of the shared key, and tokens that stand for both.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::{Caller, Service};
use crate::access::Whose;
use crate::codec::Room;
use crate::config::SharedKey;
use crate::entropy;
use crate::identity::KeyStatement;
use crate::ids::CortexId;
use crate::log::Pinned;
use crate::proof::{Channel, Handshake, Side, sign, verified};
use crate::protocol::{Connect, Hello, Proof, Protocols, Refusal};
use crate::time::Timestamp;

/// How long a nonce holds: as long as a slow network may take from the proof to the hello.
const NONCE_FOR: Duration = Duration::from_secs(60);
/// How long a token holds.
pub const TOKEN_FOR: Duration = Duration::from_secs(600);
/// The number of cortexes whose statement numbers are remembered. The one that said hello least recently gives way, unless it is pinned.
const MAX_STATEMENTS: usize = 4096;
/// The number of handshakes that are signed at once.
const SIGNATURES: usize = 2;
/// The bytes of a token before its HMAC: cortex, number of the statement, end, fingerprint of the shared key.
const TOKEN_BODY: usize = 16 + 8 + 8 + 8;

/// What a caller presents.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Credential<'a> {
    /// A hello, and the channel that it came over: see [`crate::proof`].
    Hello {
        /// The hello.
        hello: &'a Hello,
        /// What the two ends of the connection have in common.
        channel: Channel<'a>,
    },
    /// A token of [`Caller::token`], and the channel that it is presented on.
    Token {
        /// The token.
        token: &'a str,
        /// What it was issued for.
        channel: Channel<'a>,
    },
    /// The shared key itself, or none. It proves no identity: such a caller reads, and is no cortex.
    Key(Option<&'a [u8]>),
}

/// What lets a caller in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admitted {
    /// No key is needed.
    Open,
    /// This key, which is one of those that are accepted.
    By(SharedKey),
    /// A test lets it in.
    #[cfg(any(test, feature = "testing"))]
    Trusted,
}

impl Admitted {
    fn is_valid(&self, keys: &[SharedKey]) -> bool {
        match self {
            _ if keys.iter().any(SharedKey::is_open) => true,
            Self::Open => false,
            Self::By(key) => keys.contains(key),
            #[cfg(any(test, feature = "testing"))]
            Self::Trusted => true,
        }
    }
}

/// A cortex that proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProvenBy {
    pub(super) cortex: CortexId,
    /// The number of the statement whose key signed.
    pub(super) statement: u64,
}

/// The state of a service that admission needs.
pub(super) struct Admission {
    /// Of this process: nonces and tokens of another one do not hold here.
    secret: [u8; 32],
    began: Instant,
    /// The highest number of a statement that each cortex proved, with the time of its last hello.
    statements: Mutex<BTreeMap<CortexId, (u64, Instant)>>,
    /// The right to sign for a caller that has not said who it is.
    signing: Arc<Semaphore>,
    /// How many times the working key of this cortex was replaced. Who was let in before one of them must greet again.
    rotations: AtomicU64,
    /// Changes when a caller may have to leave.
    changes: watch::Sender<u64>,
}

impl Default for Admission {
    fn default() -> Self {
        let mut secret = [0; 32];
        entropy::fill(&mut secret);
        Self {
            secret,
            began: Instant::now(),
            statements: Mutex::default(),
            signing: Arc::new(Semaphore::new(SIGNATURES)),
            rotations: AtomicU64::new(0),
            changes: watch::Sender::new(0),
        }
    }
}

impl Admission {
    fn mac(&self, what: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        mac.chain_update(what)
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    fn nonce_mac(&self, head: &[u8], connect: &[u8; 32], channel: Channel<'_>) -> Hmac<Sha256> {
        self.mac(b"nonce").chain_update(head).chain_update(connect).chain_update(channel.bytes())
    }

    /// A nonce that this service recognises for a minute, for this question on this channel, without keeping anything.
    fn nonce(&self, connect: &[u8; 32], channel: Channel<'_>) -> [u8; 32] {
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&self.now().to_be_bytes());
        entropy::fill(&mut nonce[8..16]);
        let mac = self.nonce_mac(&nonce[..16], connect, channel).finalize().into_bytes();
        nonce[16..].copy_from_slice(&mac[..16]);
        nonce
    }

    fn is_fresh(&self, nonce: &[u8; 32], connect: &[u8; 32], channel: Channel<'_>) -> bool {
        let (head, mac) = nonce.split_at(16);
        let issued = head.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        self.nonce_mac(head, connect, channel).verify_truncated_left(mac).is_ok()
            && self.now().saturating_sub(issued) <= NONCE_FOR.as_secs()
    }

    fn fingerprint(&self, admitted: &Admitted) -> [u8; 8] {
        let mut print = [0; 8];
        if let Admitted::By(key) = admitted {
            let mac = self.mac(b"key").chain_update(key.expose()).finalize().into_bytes();
            print.copy_from_slice(&mac[..8]);
        }
        print
    }

    /// A token is of one working key of this cortex.
    fn token_mac(&self, body: &[u8], channel: Channel<'_>) -> Hmac<Sha256> {
        let rotations = self.rotations().to_be_bytes();
        self.mac(b"token").chain_update(rotations).chain_update(body).chain_update(channel.bytes())
    }

    pub(super) fn rotations(&self) -> u64 {
        self.rotations.load(Ordering::Relaxed)
    }

    pub(super) fn rotated(&self) {
        self.rotations.fetch_add(1, Ordering::Relaxed);
        self.changed();
    }

    pub(super) fn token(&self, proven: ProvenBy, admitted: &Admitted, channel: Channel<'_>) -> String {
        let mut token = Vec::with_capacity(TOKEN_BODY + 32);
        token.extend(proven.cortex.to_bytes());
        token.extend(proven.statement.to_be_bytes());
        token.extend((self.now() + TOKEN_FOR.as_secs()).to_be_bytes());
        token.extend(self.fingerprint(admitted));
        let mac = self.token_mac(&token, channel).finalize().into_bytes();
        token.extend(mac);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Who presents a token, and the fingerprint of the key that let it in.
    fn token_of(&self, token: &str, channel: Channel<'_>) -> Option<(ProvenBy, [u8; 8])> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (body, mac) = bytes.split_at_checked(TOKEN_BODY)?;
        self.token_mac(body, channel).verify_slice(mac).ok()?;
        let number = |at: usize| body.get(at..at + 8)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let cortex = CortexId::from_bytes(*body.first_chunk()?);
        let print = *body.last_chunk()?;
        (number(24)? > self.now()).then_some((ProvenBy { cortex, statement: number(16)? }, print))
    }

    /// Whether no later statement of this cortex is known; one that is later becomes known. `logged` is the newest one that the log has an
    /// origin of. Pins and the log know more than one run of the process. No pinned cortex gives way to others.
    fn note_statement(&self, proven: ProvenBy, logged: u64, pinned: &Pinned) -> bool {
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if statements.len() >= MAX_STATEMENTS && !statements.contains_key(&proven.cortex) {
            let strangers = statements.iter().filter(|(cortex, _)| !pinned.contains_key(cortex));
            let oldest = strangers.min_by_key(|(_, (_, last))| *last).map(|(cortex, _)| *cortex);
            oldest.map(|oldest| statements.remove(&oldest));
        }
        let now = Instant::now();
        let before = statements.get(&proven.cortex).map(|(newest, _)| *newest);
        let known = before.max(pinned.get(&proven.cortex).map(|pin| pin.statement)).unwrap_or(0).max(logged);
        statements.insert(proven.cortex, (known.max(proven.statement), now));
        drop(statements);
        if before.is_none_or(|before| proven.statement > before) {
            self.changed();
        }
        proven.statement >= known
    }

    fn is_newest(&self, proven: ProvenBy, pinned: &Pinned) -> bool {
        let statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        let known = statements.get(&proven.cortex).map(|(newest, _)| *newest);
        known.max(pinned.get(&proven.cortex).map(|pin| pin.statement)).is_none_or(|newest| proven.statement >= newest)
    }

    pub(super) fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl Service {
    /// Proves which cortex answers.
    ///
    /// # Errors
    /// [`Refusal::Protocol`]: no protocol is spoken by both; [`Refusal::Internal`]: the key did not sign.
    pub async fn prove(&self, connect: &Connect, channel: Channel<'_>) -> Result<Proof, Refusal> {
        let local = self.local();
        speaks(local.protocols, connect.protocol_min, connect.protocol_max)?;
        let nonce = self.inner.admission.nonce(&connect.nonce, channel);
        let (protocol_min, protocol_max) = (local.protocols.min(), local.protocols.max());
        let server = Side { nonce, protocols: (protocol_min, protocol_max) };
        let message = Handshake::of(channel, Side::of_connect(connect), server).of_server(local.cortex_id);
        // The asker may be any program: few signatures at once, so that they keep no thread from reading the store. Closed never.
        let Ok(permit) = Arc::clone(&self.inner.admission.signing).acquire_owned().await else {
            return Err(Refusal::Internal);
        };
        let signed = sign(local.signer.as_ref(), message, Some(permit)).await;
        let signature = signed.map_err(|error| {
            tracing::error!(%error, code = %error.code(), "this node cannot prove who it is");
            Refusal::Internal
        })?;
        let (from, statement) = (local.cortex_id, local.statement_bytes());
        Ok(Proof { protocol_min, protocol_max, from, nonce, statement, signature, room: Room::default() })
    }

    /// Lets a caller in. What it may do is decided with each question, and until [`Caller::revoked`] completes.
    ///
    /// # Errors
    /// [`Refusal::Key`]: it has no key that is accepted; [`Refusal::Proof`]: what it presents does not prove who it is, or not any
    /// more; [`Refusal::NotAllowed`]: it may not read anything; [`Refusal::Protocol`], [`Refusal::OtherLog`]: it cannot be talked to.
    pub fn admit(&self, credential: &Credential<'_>) -> Result<Caller, Refusal> {
        match *credential {
            Credential::Hello { hello, channel } => self.admit_hello(hello, channel),
            Credential::Token { token, channel } => {
                let (proven, print) = self.inner.admission.token_of(token, channel).ok_or(Refusal::Proof)?;
                let admitted =
                    self.matching(|key| self.inner.admission.fingerprint(&Admitted::By(key.clone())) == print);
                let admitted = admitted.ok_or(Refusal::Key)?;
                allowed(Caller::new(self.clone(), Some(proven), admitted))
            }
            Credential::Key(key) => {
                let admitted = self.matching(|ours| key.is_some_and(|key| ours.matches(key)));
                allowed(Caller::new(self.clone(), None, admitted.ok_or(Refusal::Key)?))
            }
        }
    }

    fn admit_hello(&self, hello: &Hello, channel: Channel<'_>) -> Result<Caller, Refusal> {
        let (local, admission) = (self.local(), &self.inner.admission);
        speaks(local.protocols, hello.protocol_min, hello.protocol_max)?;
        let ours = Side { nonce: hello.nonce, protocols: (local.protocols.min(), local.protocols.max()) };
        let handshake = Handshake::of(channel, Side::of_hello(hello), ours);
        let has = |key: &SharedKey| {
            hello.key.as_ref().is_some_and(|proof| handshake.is_of_key(key, proof, hello.from, local.cortex_id))
        };
        // The key first: a stranger costs no signature.
        let admitted = self.matching(has).ok_or(Refusal::Key)?;
        if !admission.is_fresh(&hello.nonce, &hello.connect, channel) {
            return Err(Refusal::Proof);
        }
        let message = handshake.of_asker(hello.from, local.cortex_id);
        let statement = verified(hello.from, &hello.statement, &message, &hello.signature).ok_or(Refusal::Proof)?;
        if let Some(actual) = local.log.filter(|_| !local.accepts(hello.log)) {
            return Err(Refusal::OtherLog { actual });
        }
        let proven = ProvenBy { cortex: hello.from, statement: statement.number() };
        let logged = self.inner.view.newest_statement(proven.cortex);
        if !admission.note_statement(proven, logged, &self.inner.view.pinned()) {
            return Err(Refusal::Proof);
        }
        let caller = Caller::new(self.clone(), Some(proven), admitted);
        match caller.refusal() {
            Some(Refusal::NotAllowed) => {
                self.wants_to_connect(hello, &statement);
                Err(Refusal::NotAllowed)
            }
            Some(refusal) => Err(refusal),
            None => {
                self.inner.pending.allowed(hello.from);
                Ok(caller)
            }
        }
    }

    fn wants_to_connect(&self, hello: &Hello, statement: &KeyStatement) {
        let fingerprint = statement.root().fingerprint();
        if self.inner.pending.refused(hello.from, fingerprint.clone(), &hello.name, Timestamp::now()) {
            tracing::warn!(
                cortex = %hello.from, %fingerprint, name = ?hello.name,
                "a cortex wants to connect and may not read anything here; a rule of `Access` lets it in"
            );
        }
    }

    /// What lets a caller in, if something does. All keys are tried, so that the time does not tell which one it is.
    fn matching(&self, has: impl Fn(&SharedKey) -> bool) -> Option<Admitted> {
        let keys = Arc::clone(&self.inner.keys.borrow());
        let found = keys.iter().fold(None, |found, key| if has(key) { Some(key) } else { found });
        let open = keys.iter().any(SharedKey::is_open).then_some(Admitted::Open);
        found.filter(|key| !key.is_open()).map(|key| Admitted::By(key.clone())).or(open)
    }

    /// Why a caller may not stay.
    pub(super) fn refusal_of(&self, proven: Option<ProvenBy>, admitted: &Admitted, rotations: u64) -> Option<Refusal> {
        #[cfg(any(test, feature = "testing"))]
        if *admitted == Admitted::Trusted {
            return None;
        }
        if !admitted.is_valid(&self.inner.keys.borrow()) {
            return Some(Refusal::Key);
        }
        // A caller without an identity did not ask for one either.
        let is_former = proven.is_some() && rotations != self.inner.admission.rotations();
        if is_former || proven.is_some_and(|proven| !self.inner.admission.is_newest(proven, &self.inner.view.pinned()))
        {
            return Some(Refusal::Proof);
        }
        let reads = self.reads(proven.map(|proven| proven.cortex));
        (reads == Whose::None).then_some(Refusal::NotAllowed)
    }
}

/// The caller, if it may read anything.
fn allowed(caller: Caller) -> Result<Caller, Refusal> {
    match caller.refusal() {
        Some(refusal) => Err(refusal),
        None => Ok(caller),
    }
}

fn speaks(ours: Protocols, min: u16, max: u16) -> Result<(), Refusal> {
    match Protocols::of(min, max).common(ours) {
        Some(_) => Ok(()),
        None => Err(Refusal::Protocol { min: ours.min(), max: ours.max() }),
    }
}

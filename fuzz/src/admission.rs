//! Handshakes and credentials from any bytes: nothing that was not signed for this service lets anybody in.
//!
//! The first byte says what the rest is: the kind and body of a frame, a key statement, or a token.

use std::sync::Arc;

use antiphon_kernel::codec::{Message, Room, decode};
use antiphon_kernel::config::{FederationMode, PeerConfig, SharedKey};
use antiphon_kernel::identity::KeyStatement;
use antiphon_kernel::ids::Epoch;
use antiphon_kernel::internals::codec::frame_of;
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::proof::{Channel, Introduction};
use antiphon_kernel::protocol::{Connect, Refusal};
use antiphon_kernel::service::{Credential, Service};
use antiphon_kernel::testing::{MemoryStore, seeded_cortex, seeded_identity, seeded_keys};
use tokio::runtime::Runtime;

/// First byte: the kind of a frame and its body.
pub(crate) const FRAME: u8 = 0;
/// First byte: a key statement.
pub(crate) const STATEMENT: u8 = 1;
/// First byte: a token.
pub(crate) const TOKEN: u8 = 2;
/// The numbers of the keys of both sides, and what the seeds were signed with.
pub(crate) const ASKER: u8 = 1;
pub(crate) const SERVER: u8 = 2;
pub(crate) const CONNECT: [u8; 32] = [1; 32];
pub(crate) const CHANNEL: Channel<'_> = Channel::Host("alpha.example");

struct Both {
    runtime: Runtime,
    keyed: Service,
    open: Service,
    asking: Introduction,
}

fn service(key: SharedKey) -> Service {
    let store = Arc::new(MemoryStore::new());
    let identity = LocalIdentity::new(seeded_cortex(SERVER), Epoch::new(1), "server".to_owned());
    Log::create(&*store, &identity).expect("the store is empty");
    let options = LogOptions { keys: Some(seeded_keys(SERVER)), ..LogOptions::default() };
    let log = Log::open(store, options).expect("it was made just now");
    Service::new(log.reader(), key, FederationMode::Sync)
}

impl Both {
    fn new() -> Self {
        let key = SharedKey::new("0123456789abcdef0123456789abcdef").expect("it is long enough");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let peer = PeerConfig::new("server".parse().expect("a name"), "test://server".to_owned());
        // Of this run alone: it remembers who answered first.
        let asking = Introduction::new(&seeded_identity(ASKER, "asker"), &peer, key.clone());
        Self { runtime, keyed: service(key), open: service(SharedKey::default()), asking }
    }

    fn frame(&self, kind: u8, body: &[u8]) {
        match decode(&frame_of(kind, body)) {
            Ok(Message::Hello(hello)) => {
                for service in [&self.keyed, &self.open] {
                    for channel in [CHANNEL, Channel::Host(""), Channel::None] {
                        let refused = service.admit(&Credential::Hello { hello: &hello, channel }).err();
                        // Its nonce is of no service that is here.
                        assert!(matches!(refused, Some(Refusal::Key | Refusal::Proof | Refusal::Protocol { .. })));
                    }
                    assert!(service.pending().is_empty() && service.pullers().is_empty());
                }
            }
            Ok(Message::Proof(proof)) => {
                let connect = Connect { protocol_min: 2, protocol_max: 2, nonce: CONNECT, room: Room::default() };
                let greeted = self.runtime.block_on(self.asking.hello(&connect, &proof, CHANNEL));
                if let Ok((hello, proven)) = greeted {
                    assert_eq!((proven.cortex(), hello.from), (seeded_cortex(SERVER), seeded_cortex(ASKER)));
                    assert_eq!(proof.statement, seeded_keys(SERVER).statement().to_bytes());
                }
                let elsewhere = self.runtime.block_on(self.asking.hello(&connect, &proof, Channel::None));
                assert!(elsewhere.is_err(), "no proof is of that channel");
            }
            _ => {}
        }
    }
}

/// Reads `data` as what a stranger presents.
///
/// # Panics
/// Where something lets a stranger in, or a statement has two forms.
pub fn run(data: &[u8]) {
    thread_local! {
        static BOTH: Both = Both::new();
    }
    match data {
        [FRAME, kind, body @ ..] => BOTH.with(|both| both.frame(*kind, body)),
        [STATEMENT, bytes @ ..] => match KeyStatement::from_bytes(bytes) {
            Ok(statement) => {
                assert_eq!(statement.to_bytes(), bytes, "one statement has one form");
                statement.verify().expect("it was verified when it was read");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        },
        [TOKEN, token @ ..] => {
            let Ok(token) = std::str::from_utf8(token) else { return };
            BOTH.with(|both| {
                for service in [&both.keyed, &both.open] {
                    let refused = service.admit(&Credential::Token { token, channel: CHANNEL }).err();
                    assert_eq!(refused, Some(Refusal::Proof), "no token was given out");
                }
            });
        }
        _ => {}
    }
}

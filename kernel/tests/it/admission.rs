//! Who is let in: proofs of identity and of the shared key, and tokens that stand for them.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::config::{FederationMode, PeerConfig};
use antiphon_kernel::identity::{KeyStatement, Keys, SecretKey, SharedSigner, Signer};
use antiphon_kernel::ids::Epoch;
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::proof::{Channel, Introduction};
use antiphon_kernel::protocol::{FetchReply, Hello, Refresh, Refusal};
use antiphon_kernel::service::{Caller, Credential, TOKEN_FOR};
use antiphon_kernel::testing::{LOG, MemoryStore, question, seeded_cortex, seeded_keys, until};
use antiphon_kernel::{LogId, Service, SharedKey};
use futures_util::FutureExt as _;

const CHANNEL: Channel<'_> = Channel::Host("alpha.example");
const OTHER: Channel<'_> = Channel::Host("other.example");

fn key(text: &str) -> SharedKey {
    SharedKey::new(&text.repeat(32)).unwrap()
}

fn service(number: u8, key: SharedKey) -> Service {
    let store = Arc::new(MemoryStore::new());
    Log::create(&*store, &LocalIdentity::new(seeded_cortex(number), Epoch::new(1), "server".to_owned())).unwrap();
    let options = LogOptions { keys: Some(seeded_keys(number)), log: Some(LOG), ..LogOptions::default() };
    let log = Log::open(store, options).unwrap();
    Service::new(log.reader(), key, FederationMode::Sync)
}

fn with_keys(keys: Arc<dyn Signer>) -> LocalIdentity {
    let cortex = keys.statement().cortex();
    let signer = Some(SharedSigner::new(keys));
    LocalIdentity { signer, ..LocalIdentity::new(cortex, Epoch::new(1), "asker".to_owned()) }
}

fn asking(own: &LocalIdentity, key: &SharedKey) -> Introduction {
    let peer = PeerConfig::new("server".parse().unwrap(), "test://server".to_owned());
    Introduction::new(own, &peer, key.clone())
}

/// The hello of a cortex to a service, on a channel.
async fn hello(own: &LocalIdentity, key: &SharedKey, service: &Service, channel: Channel<'_>) -> Hello {
    let asking = asking(own, key);
    let connect = asking.connect();
    let proof = service.prove(&connect, channel).await.unwrap();
    asking.hello(&connect, &proof, channel).await.unwrap().0
}

fn admit(service: &Service, hello: &Hello, channel: Channel<'_>) -> Result<Caller, Refusal> {
    service.admit(&Credential::Hello { hello, channel })
}

fn refused(admitted: Result<Caller, Refusal>) -> Refusal {
    admitted.err().expect("it must not be let in")
}

#[tokio::test(start_paused = true)]
async fn a_hello_lets_its_signer_in_on_its_connection_for_a_minute() {
    let (service, own, key) = (service(2, key("k")), with_keys(seeded_keys(1)), key("k"));
    let good = hello(&own, &key, &service, CHANNEL).await;
    let caller = admit(&service, &good, CHANNEL).unwrap();
    assert_eq!(caller.cortex(), Some(seeded_cortex(1)));

    let other = with_keys(seeded_keys(3));
    let others = hello(&other, &key, &service, CHANNEL).await;
    let elsewhere = hello(&own, &key, &self::service(4, key.clone()), CHANNEL).await;
    let stolen = Hello { from: seeded_cortex(3), statement: other.statement_bytes(), ..good.clone() };
    for (what, hello, channel, refusal) in [
        ("replayed on another connection", good.clone(), OTHER, Refusal::Key),
        ("made for another cortex", elsewhere, CHANNEL, Refusal::Key),
        ("in another's name", stolen, CHANNEL, Refusal::Key),
        ("without a key", Hello { key: None, ..good.clone() }, CHANNEL, Refusal::Key),
        ("with another's signature", Hello { signature: others.signature, ..good.clone() }, CHANNEL, Refusal::Proof),
        ("with another's statement", Hello { statement: others.statement, ..good.clone() }, CHANNEL, Refusal::Proof),
        ("of other protocols", Hello { protocol_min: 9, protocol_max: 9, ..good.clone() }, CHANNEL, PROTOCOL),
        ("of another log", Hello { log: Some(LogId::from_bytes([1; 16])), ..good.clone() }, CHANNEL, OTHER_LOG),
    ] {
        assert_eq!(refused(admit(&service, &hello, channel)), refusal, "{what}");
    }
    // In open mode there is no proof of a key, and the signature alone has to hold.
    let open = self::service(2, SharedKey::default());
    let good = hello(&own, &SharedKey::default(), &open, CHANNEL).await;
    admit(&open, &good, CHANNEL).unwrap();
    let stolen = Hello { from: seeded_cortex(3), statement: other.statement_bytes(), ..good.clone() };
    assert_eq!(refused(admit(&open, &stolen, CHANNEL)), Refusal::Proof);
    assert_eq!(refused(admit(&open, &good, OTHER)), Refusal::Proof, "its nonce is of another connection");
    let mine = Hello { nonce: [7; 32], ..good.clone() };
    assert_eq!(refused(admit(&open, &mine, CHANNEL)), Refusal::Proof, "a nonce of the asker's own making");
    tokio::time::advance(Duration::from_secs(59)).await;
    admit(&open, &good, CHANNEL).unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(refused(admit(&open, &good, CHANNEL)), Refusal::Proof, "its nonce has expired");
}

const PROTOCOL: Refusal =
    Refusal::Protocol { min: antiphon_kernel::protocol::PROTOCOL_MIN, max: antiphon_kernel::protocol::PROTOCOL_MAX };
const OTHER_LOG: Refusal = Refusal::OtherLog { actual: LOG };

#[tokio::test(start_paused = true)]
async fn a_token_stands_for_its_caller_for_ten_minutes_on_its_channel() {
    let (service, own, key) = (service(2, key("k")), with_keys(seeded_keys(1)), key("k"));
    let caller = admit(&service, &hello(&own, &key, &service, CHANNEL).await, CHANNEL).unwrap();
    let token = caller.token(CHANNEL).unwrap();
    let presented =
        |service: &Service, token: &str, channel: Channel<'_>| service.admit(&Credential::Token { token, channel });
    assert_eq!(presented(&service, &token, CHANNEL).unwrap().cortex(), Some(seeded_cortex(1)));
    assert_eq!(refused(presented(&service, &token, OTHER)), Refusal::Proof);
    let restarted = self::service(2, key.clone());
    assert_eq!(refused(presented(&restarted, &token, CHANNEL)), Refusal::Proof, "tokens are of one process");
    for at in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        // The last character has bits that are not of the token: it must be refused all the same, or mean the same.
        if let Ok(caller) = presented(&service, &forged, CHANNEL) {
            panic!("forged at {at}, and let in as {:?}", caller.cortex());
        }
    }
    for nonsense in ["", "x", "AAAA", &"A".repeat(10_000)] {
        assert_eq!(refused(presented(&service, nonsense, CHANNEL)), Refusal::Proof);
    }
    tokio::time::advance(TOKEN_FOR - Duration::from_secs(1)).await;
    presented(&service, &token, CHANNEL).unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(refused(presented(&service, &token, CHANNEL)), Refusal::Proof, "it has expired");
}

#[tokio::test]
async fn a_replaced_shared_key_takes_back_what_it_let_in() {
    let service = service(2, key("a"));
    let own = with_keys(seeded_keys(1));
    service.set_keys(&[key("a"), key("b")]);
    let old = admit(&service, &hello(&own, &key("a"), &service, CHANNEL).await, CHANNEL).unwrap();
    let new = admit(&service, &hello(&own, &key("b"), &service, CHANNEL).await, CHANNEL).unwrap();
    let (old_token, new_token) = (old.token(CHANNEL).unwrap(), new.token(CHANNEL).unwrap());
    let waiting = {
        let old = old.clone();
        tokio::spawn(async move { old.revoked().await })
    };
    let parked = {
        let old = old.clone();
        let asked = question(seeded_cortex(1), seeded_cortex(2));
        tokio::spawn(async move {
            old.fetch(antiphon_kernel::protocol::FetchRequest { wait: Duration::from_secs(60), ..asked }).await
        })
    };
    until("the question is open", || service.open_questions() > 0).await;
    service.set_keys(&[key("b")]);
    waiting.await.unwrap();
    assert_eq!(parked.await.unwrap(), FetchReply::refused(Refusal::Key), "an open question ends");
    assert!(new.revoked().now_or_never().is_none() && new.refusal().is_none());
    let token = |token| service.admit(&Credential::Token { token, channel: CHANNEL });
    assert_eq!(refused(token(&old_token)), Refusal::Key);
    token(&new_token).unwrap();
}

/// The keys of cortex `number` after a rotation.
fn rotated(root: [u8; 32], number: u64) -> Arc<dyn Signer> {
    let (root, working) = (SecretKey::from_bytes(&root), SecretKey::generate());
    let statement = KeyStatement::issue(&root, number, working.public(), Vec::new()).unwrap();
    Arc::new(Keys::new(working, statement).unwrap())
}

#[tokio::test]
async fn a_replaced_working_key_takes_back_what_it_let_in() {
    let (service, key) = (service(2, key("k")), key("k"));
    let (before, after) = (with_keys(rotated([9; 32], 1)), with_keys(rotated([9; 32], 2)));
    assert_eq!(before.cortex_id, after.cortex_id);
    let thief = admit(&service, &hello(&before, &key, &service, CHANNEL).await, CHANNEL).unwrap();
    let token = thief.token(CHANNEL).unwrap();
    let owner = admit(&service, &hello(&after, &key, &service, CHANNEL).await, CHANNEL).unwrap();
    thief.revoked().now_or_never().expect("the older key must leave");
    let stolen = service.admit(&Credential::Token { token: &token, channel: CHANNEL });
    assert_eq!(refused(stolen), Refusal::Proof, "a token of the older key");
    let again = admit(&service, &hello(&before, &key, &service, CHANNEL).await, CHANNEL);
    assert_eq!(refused(again), Refusal::Proof, "a new proof by the older key");
    assert_eq!(owner.refusal(), None);
}

#[tokio::test]
async fn what_is_claimed_never_meets_what_is_proved() {
    let service = service(2, key("k"));
    let secret = "k".repeat(32);
    let reader = service.admit(&Credential::Key(Some(secret.as_bytes()))).unwrap();
    assert_eq!((reader.cortex(), reader.token(CHANNEL)), (None, None));
    assert_eq!(refused(service.admit(&Credential::Key(None))), Refusal::Key);
    assert_eq!(refused(service.admit(&Credential::Key(Some(b"x")))), Refusal::Key);

    let own = with_keys(seeded_keys(1));
    let caller = admit(&service, &hello(&own, &key("k"), &service, CHANNEL).await, CHANNEL).unwrap();
    let asked = question(seeded_cortex(1), seeded_cortex(2));
    let mut open =
        caller.answers(antiphon_kernel::protocol::FetchRequest { wait: Duration::from_secs(60), ..asked.clone() });
    assert!(open.next().now_or_never().is_none(), "an empty log has nothing to say");
    // The same question by a caller that claims to be that cortex: neither its end nor its news reach the other.
    let mut claimed =
        reader.answers(antiphon_kernel::protocol::FetchRequest { wait: Duration::from_secs(60), ..asked.clone() });
    assert!(claimed.next().now_or_never().is_none());
    assert_eq!(service.open_questions(), 2);
    let refresh = Refresh {
        request: asked.request,
        from: asked.from,
        known: antiphon_kernel::protocol::Heads::default(),
        direct: Vec::new(),
        room: antiphon_kernel::codec::Room::default(),
    };
    reader.refresh(refresh.clone());
    drop(claimed);
    assert_eq!(service.open_questions(), 1, "the proved one stays open");
    let pullers = service.pullers();
    let proven: Vec<_> = pullers.iter().map(|puller| (puller.is_proven, puller.is_open)).collect();
    assert_eq!(proven, [(false, false), (true, true)]);
    // In another's name a proved caller asks nothing and says nothing.
    let other = question(seeded_cortex(3), seeded_cortex(2));
    assert_eq!(caller.fetch(other).await, FetchReply::refused(Refusal::OtherAsker));
    caller.refresh(Refresh { from: seeded_cortex(3), ..refresh });
    assert_eq!(service.pullers().len(), 2, "cortex 3 did not ask");
    drop(open);
    assert_eq!(service.open_questions(), 0);
}

//! What callers may read: rules of the configuration, and what becomes of callers that may read nothing, or not everything.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use antiphon_kernel::access::{Access, AccessRule, Authorizer, Others, Standing, Whose, Write};
use antiphon_kernel::codec::{Part, RecordRef};
use antiphon_kernel::config::{Config, Interval, PeerConfig};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::Draft;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::log::CausalContext;
use antiphon_kernel::protocol::{FetchReply, FetchRequest, Refusal};
use antiphon_kernel::service::Credential;
use antiphon_kernel::testing::{LOG, MemoryNetwork, MemoryStore, question, seeded_cortex, seeded_keys};

use crate::support::{peer, until};

/// A cortex with the keys of this number, which answers in the network under its name.
async fn cortex(network: &MemoryNetwork, number: u8, name: &str, peers: Vec<PeerConfig>, access: Access) -> Cortex {
    let interval = Some(Interval::new(Duration::from_secs(1)).unwrap());
    let config = Config { interval, peers, access, ..Config::default() };
    let builder = Cortex::builder(MemoryStore::new()).name(name).keys(seeded_keys(number)).log(LOG).config(config);
    let cortex = builder.transport(network.clone()).start().await.unwrap();
    network.serve(name, cortex.service().clone());
    cortex
}

fn last_error(cortex: &Cortex) -> Option<ErrorCategory> {
    cortex.syncer().peers().first().and_then(|peer| peer.health.last_error)
}

fn of(cortex: CortexId, read: Whose) -> AccessRule {
    AccessRule { read, ..AccessRule::new(cortex) }
}

const ALPHA: u8 = 21;
const BRAVO: u8 = 22;
const EDGE: u8 = 23;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_allowed_wants_to_connect_and_comes_in_once_it_is() {
    let network = MemoryNetwork::new();
    let closed = Access { rules: Vec::new(), others: Some(Others::None) };
    let alpha = cortex(&network, ALPHA, "alpha", vec![], closed).await;
    alpha.append(Draft::new("t", "x")).await.unwrap();
    let edge = cortex(&network, EDGE, "edge", vec![peer("alpha")], Access::default()).await;
    until("it is refused", || last_error(&edge) == Some(ErrorCategory::NotAllowed)).await;
    let pending = alpha.service().pending();
    let [one] = &pending[..] else { panic!("{pending:?}") };
    assert_eq!((one.cortex, one.name.as_str()), (seeded_cortex(EDGE), "edge"));
    assert_eq!(one.fingerprint, seeded_keys(EDGE).statement().root().fingerprint());
    assert!(alpha.service().pullers().is_empty(), "it asked nothing");
    assert!(alpha.service().admit(&Credential::Key(None)).is_err(), "nor may a reader without an identity");
    // Its operator allows it.
    let access = Access { rules: vec![of(seeded_cortex(EDGE), Whose::All)], others: Some(Others::None) };
    alpha.reload(Config { access, ..Config::default() }, &[], false).await.unwrap();
    edge.syncer().wake(&peer("alpha").name).await.unwrap();
    until("it comes in", || edge.reader().head().seq.get() == 1).await;
    assert!(alpha.service().pending().is_empty());
    // And takes it back: what is open ends.
    let access = Access { rules: vec![of(seeded_cortex(EDGE), Whose::None)], others: None };
    alpha.reload(Config { access, ..Config::default() }, &[], false).await.unwrap();
    alpha.append(Draft::new("t", "y")).await.unwrap();
    until("it has to leave", || last_error(&edge) == Some(ErrorCategory::NotAllowed)).await;
    assert_eq!(edge.reader().head().seq.get(), 1);
    edge.stop().await;
    alpha.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_read_comes_without_its_parts_and_causality_holds() {
    let network = MemoryNetwork::new();
    let bravo = cortex(&network, BRAVO, "bravo", vec![], Access::default()).await;
    bravo.append(Draft::new("secret", "of bravo").subject("s")).await.unwrap();
    // The edge may read alpha's events. What alpha passes on of bravo's comes as routing parts.
    let edge_rule = of(seeded_cortex(EDGE), Whose::Of(vec![seeded_cortex(ALPHA)]));
    let access = Access { rules: vec![edge_rule], others: None };
    let alpha = cortex(&network, ALPHA, "alpha", vec![peer("bravo")], access).await;
    until("alpha has bravo's", || alpha.reader().head().seq.get() == 1).await;
    alpha.append(Draft::new("open", "of alpha").subject("a")).await.unwrap();
    let edge = cortex(&network, EDGE, "edge", vec![peer("alpha")], Access::default()).await;
    until("the edge has both", || edge.reader().head().seq.get() == 2).await;
    assert_eq!(edge.reader().heads().fold(), alpha.reader().heads().fold(), "digests cover what is not sent");
    for entry in edge.reader().durable_entries(antiphon_kernel::cursor::Seq::ZERO, 10, 1 << 20).unwrap() {
        let record = RecordRef::decode(&entry.record).unwrap();
        let is_alphas = record.dot.origin().cortex() == seeded_cortex(ALPHA);
        let is_whole = !matches!((&record.attributes, &record.body), (Part::Absent(_), _) | (_, Part::Absent(_)));
        assert_eq!(is_whole, is_alphas, "{:?}", record.dot);
        assert!(is_alphas || !entry.record.windows(8).any(|bytes| bytes == b"of bravo"), "not a byte of it");
    }
    // Bravo is a peer of alpha's configuration, and reads everything without a rule.
    assert_eq!(alpha.service().trusting(seeded_cortex(BRAVO)).reads(), Whose::All);
    for cortex in [edge, alpha, bravo] {
        cortex.stop().await;
    }
}

/// An application that decides on its own, and changes its mind.
struct Decides(Arc<Mutex<Whose>>);

impl Authorizer for Decides {
    fn read(&self, _: Option<CortexId>, _: Standing) -> Whose {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn an_application_decides_and_a_reload_of_rules_does_not_overrule_it() {
    let said = Arc::new(Mutex::new(Whose::All));
    let decides = Decides(Arc::clone(&said));
    let cortex =
        Cortex::builder(MemoryStore::new()).keys(seeded_keys(ALPHA)).authorizer(decides).start().await.unwrap();
    let service = cortex.service();
    let reader = service.admit(&Credential::Key(None)).unwrap();
    let access = Access { rules: Vec::new(), others: Some(Others::None) };
    cortex.reload(Config { access, ..Config::default() }, &[], false).await.unwrap();
    assert_eq!(reader.refusal(), None);
    // A question that is parked ends with what is decided now.
    let asked = question(seeded_cortex(EDGE), seeded_cortex(ALPHA));
    let parked = tokio::spawn({
        let reader = reader.clone();
        async move { reader.fetch(FetchRequest { wait: Duration::from_secs(60), ..asked }).await }
    });
    until("the question is open", || service.open_questions() > 0).await;
    *said.lock().unwrap() = Whose::None;
    service.set_authorizer(Arc::new(Decides(Arc::clone(&said))));
    assert_eq!(parked.await.unwrap(), FetchReply::refused(Refusal::NotAllowed));
    reader.revoked().await;
    assert_eq!(service.admit(&Credential::Key(None)).err(), Some(Refusal::NotAllowed));
    cortex.stop().await;
}

/// A link remembers who answered first. Where that one was refused, the next one must not be held to it.
#[tokio::test(flavor = "multi_thread")]
async fn another_cortex_at_the_endpoint_of_a_refused_one_is_taken() {
    let network = MemoryNetwork::new();
    let of_another_log = Cortex::builder(MemoryStore::new()).keys(seeded_keys(EDGE)).start().await.unwrap();
    of_another_log.append(Draft::new("t", "x")).await.unwrap();
    network.serve("bravo", of_another_log.service().clone());
    let alpha = cortex(&network, ALPHA, "alpha", vec![peer("bravo")], Access::default()).await;
    until("it is refused", || last_error(&alpha) == Some(ErrorCategory::OtherLog)).await;
    let bravo = cortex(&network, BRAVO, "bravo", vec![], Access::default()).await;
    bravo.append(Draft::new("t", "x")).await.unwrap();
    alpha.syncer().wake(&peer("bravo").name).await.unwrap();
    until("the right one is pulled", || alpha.reader().head().seq.get() == 1).await;
    for cortex in [alpha, bravo, of_another_log] {
        cortex.stop().await;
    }
}

/// Whether each event of a writer has header and data here, in the order of the log.
fn is_whole(cortex: &Cortex, writer: u8) -> Vec<bool> {
    let entries = cortex.reader().durable_entries(antiphon_kernel::cursor::Seq::ZERO, 100, 1 << 20).unwrap();
    let records = entries.iter().map(|entry| RecordRef::decode(&entry.record).unwrap());
    let of_writer = records.filter(|record| record.dot.origin().cortex() == seeded_cortex(writer));
    of_writer
        .map(|record| !matches!((&record.attributes, &record.body), (Part::Absent(_), _) | (_, Part::Absent(_))))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_cortex_that_may_not_write_routing_parts_come_and_what_depends_on_them() {
    let network = MemoryNetwork::new();
    let edge = cortex(&network, EDGE, "edge", vec![], Access::default()).await;
    edge.append(Draft::new("t", "noise")).await.unwrap();
    let bravo = cortex(&network, BRAVO, "bravo", vec![peer("edge")], Access::default()).await;
    until("bravo has it", || bravo.reader().head().seq.get() == 1).await;
    let seen = CausalContext::Exactly(bravo.reader().clock());
    bravo.log().append(vec![Draft::new("t", "an answer to the noise")], seen).await.unwrap();
    let mute = AccessRule { write: Write::No, ..AccessRule::new(seeded_cortex(EDGE)) };
    let access = Access { rules: vec![mute], others: Some(Others::All) };
    let alpha = cortex(&network, ALPHA, "alpha", vec![peer("bravo"), peer("edge")], access).await;
    until("alpha has both", || alpha.reader().head().seq.get() == 2).await;
    assert_eq!((is_whole(&alpha, EDGE), is_whole(&alpha, BRAVO)), (vec![false], vec![true]));
    assert_eq!(alpha.reader().heads().fold(), bravo.reader().heads().fold());
    assert_eq!(last_error(&alpha), None);
    // Once it may write, what is missing comes.
    let access = Access { rules: vec![], others: Some(Others::All) };
    let peers = vec![peer("bravo"), peer("edge")];
    alpha.reload(Config { access, peers, ..Config::default() }, &[], false).await.unwrap();
    until("the rest of it comes", || is_whole(&alpha, EDGE) == [true]).await;
    for cortex in [alpha, bravo, edge] {
        cortex.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_a_peer_may_not_relay_header_and_data_come_from_another_one() {
    let network = MemoryNetwork::new();
    let edge = cortex(&network, EDGE, "edge", vec![], Access::default()).await;
    edge.append(Draft::new("t", "of the edge")).await.unwrap();
    let bravo = cortex(&network, BRAVO, "bravo", vec![peer("edge")], Access::default()).await;
    until("bravo has it", || bravo.reader().head().seq.get() == 1).await;
    bravo.append(Draft::new("t", "of bravo")).await.unwrap();
    let own_alone = AccessRule { relay: Whose::None, ..AccessRule::new(seeded_cortex(BRAVO)) };
    let access = Access { rules: vec![own_alone], others: Some(Others::All) };
    let alpha = cortex(&network, ALPHA, "alpha", vec![peer("bravo")], access.clone()).await;
    until("alpha has both", || alpha.reader().head().seq.get() == 2).await;
    assert_eq!((is_whole(&alpha, EDGE), is_whole(&alpha, BRAVO)), (vec![false], vec![true]));
    let peers = vec![peer("bravo"), peer("edge")];
    alpha.reload(Config { access, peers, ..Config::default() }, &[], false).await.unwrap();
    until("the edge itself brings it", || is_whole(&alpha, EDGE) == [true]).await;
    for cortex in [alpha, bravo, edge] {
        cortex.stop().await;
    }
}

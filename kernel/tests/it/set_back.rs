//! A store that was set back, and what answers say of its own origin.

use std::sync::Arc;
use std::time::{Duration, Instant};

use antiphon_kernel::clock::VClock;
use antiphon_kernel::config::{FederationMode, SharedKey};
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::ids::{Epoch, Origin};
use antiphon_kernel::log::{CursorUnknown, ReadError};
use antiphon_kernel::protocol::{FetchReply, FetchRequest, OwnHead, Refusal};
use antiphon_kernel::service::Service;
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, peer_name, two};

const NOW: Timestamp = Timestamp::from_micros(5_000_000);

/// Node 1 holds three events of node 0, and node 0 one of them.
fn set_back() -> (Vec<Node>, Origin) {
    let store = Arc::new(MemoryStore::new());
    let first = Node::new(0, 2, Arc::clone(&store) as Arc<dyn Store>);
    let mut nodes = vec![first, Node::new(1, 2, Arc::new(MemoryStore::new()))];
    write(&mut nodes[0], "kept");
    let image = store.durable_copy();
    write(&mut nodes[0], "lost");
    write(&mut nodes[0], "lost too");
    let origin = nodes[0].log.reader().local().origin();
    let (one, zero) = two(&mut nodes, 1, 0);
    one.pull(zero).unwrap();
    nodes[0] = Node::over(0, Arc::new(image));
    (nodes, origin)
}

fn write(node: &mut Node, subject: &str) -> Origin {
    node.append(subject, &VClock::new(), NOW, Durability::Sync).dot.origin()
}

fn asks(nodes: &mut [Node]) -> FetchRequest {
    let (zero, one) = two(nodes, 0, 1);
    zero.question(one, 100, false).1
}

fn answered(node: &Node, request: &FetchRequest) -> FetchReply {
    node.log.reader().answer(request).unwrap()
}

#[test]
fn a_refusal_tells_a_node_that_was_set_back_before_it_appends() {
    let (mut nodes, origin) = set_back();
    let strange = Some(Cursor::start(Epoch::new(4711)));
    let request = FetchRequest { after: strange, ..asks(&mut nodes) };
    let FetchReply::Refused { refusal: Refusal::CursorUnknown, own: Some(own) } = answered(&nodes[1], &request) else {
        panic!("the refusal says nothing of the asker's origin")
    };
    assert_eq!((own.origin, own.counter), (origin, 3));
    let zero = &mut nodes[0];
    zero.log.note_own_head(&peer_name(1), &own, NOW).unwrap();
    assert_ne!(write(zero, "new"), origin);
    for (to, from) in [(0, 1), (1, 0)] {
        let (to, from) = two(&mut nodes, to, from);
        to.pull(from).unwrap();
    }
    assert_eq!(nodes[0].digest(), nodes[1].digest());
    assert_eq!(nodes[0].log.reader().heads().counter(origin), 3, "what was lost is back, and nothing forked");
}

#[test]
fn a_fork_of_the_asker_is_refused_with_what_it_lost() {
    let (mut nodes, origin) = set_back();
    assert_eq!(write(&mut nodes[0], "another"), origin, "it does not know yet");
    let request = asks(&mut nodes);
    let FetchReply::Refused { refusal: Refusal::Fork { .. }, own } = answered(&nodes[1], &request) else {
        panic!("two histories are one")
    };
    let own = own.expect("the end of the other history");
    nodes[0].log.note_own_head(&peer_name(1), &own, NOW).unwrap();
    assert_ne!(write(&mut nodes[0], "new"), origin, "it does not continue its second history");
    // A reader of the first history has not read "another", so it must not be sent on after that.
    let view = nodes[0].log.reader();
    let lost = Cursor { epoch: origin.epoch(), seq: Seq::new(3), last_event: own.id };
    match view.page(Some(&lost), 10, 1 << 20) {
        Err(ReadError::CursorUnknown(CursorUnknown { resume, .. })) => assert_eq!(resume.seq, Seq::ZERO),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_that_cannot_bring_what_was_lost_shows_it_once() {
    let (mut nodes, origin) = set_back();
    let known = nodes[0].log.reader().heads();
    // Of its own cortex nothing is sent.
    let exclude = vec![origin.cortex()];
    let request = FetchRequest { exclude, ..asks(&mut nodes) };
    let FetchReply::Batch(batch) = answered(&nodes[1], &request) else { panic!("an answer") };
    assert_eq!((batch.events.len(), batch.own.map(|own| own.counter)), (0, Some(3)));
    // An asker that gets all of it, or asks about others, is shown nothing.
    let plain = asks(&mut nodes);
    let FetchReply::Batch(whole) = answered(&nodes[1], &plain) else { panic!("an answer") };
    assert_eq!((whole.events.len(), whole.own), (2, None));
    let scope = antiphon_kernel::protocol::Scope::Origin(Origin::new(request.to, Epoch::new(1)));
    let of_another = FetchRequest { scope, ..request.clone() };
    assert!(answered(&nodes[1], &of_another).own().is_none());
    let other_epoch = FetchRequest { epoch: Epoch::new(5), ..request.clone() };
    assert!(answered(&nodes[1], &other_epoch).own().is_none());
    // In one run, once.
    let view = nodes[1].log.reader();
    let mut asking = view.ask(&request).unwrap().unwrap();
    let first = view.next_batch(&mut asking, None).unwrap().unwrap().batch;
    asking.sent(&first);
    let second = view.next_batch(&mut asking, None).unwrap().unwrap().batch;
    assert_eq!((first.own.is_some(), second.own.is_some()), (true, false));
    assert_eq!(nodes[0].log.reader().heads(), known);
}

#[test]
fn no_other_cortex_can_make_a_node_take_a_new_epoch() {
    let (mut nodes, origin) = set_back();
    let request = FetchRequest { after: Some(Cursor::start(Epoch::new(4711))), ..asks(&mut nodes) };
    let own = *answered(&nodes[1], &request).own().expect("a head");
    let mut bytes = own.seal.to_bytes();
    bytes[5] ^= 1;
    let forged = OwnHead { seal: antiphon_kernel::identity::Signature::from_bytes(bytes), ..own };
    let further = OwnHead { counter: 9, ..own };
    let known = OwnHead { counter: 1, ..own };
    let zero = &mut nodes[0];
    for head in [forged, further, known] {
        zero.log.note_own_head(&peer_name(1), &head, NOW).unwrap();
        assert_eq!(write(zero, "on"), origin);
    }
}

#[tokio::test]
async fn an_asker_is_answered_early_for_what_it_lost_and_not_for_what_it_wrote_since_it_asked() {
    let store = Arc::new(MemoryStore::new());
    let mut nodes = vec![Node::new(0, 2, store), Node::new(1, 2, Arc::new(MemoryStore::new()))];
    write(&mut nodes[0], "before the question");
    let (one, zero) = two(&mut nodes, 1, 0);
    one.pull(zero).unwrap();
    let wait = Duration::from_millis(200);
    let parked = FetchRequest { wait, ..asks(&mut nodes) };
    write(&mut nodes[0], "after it");
    let (one, zero) = two(&mut nodes, 1, 0);
    let (asked, reply) = one.ask(zero, 100, false);
    let FetchReply::Batch(batch) = reply else { panic!("it has an event") };
    // It joins now, so it is held back for a moment.
    one.log.ingest(&peer_name(0), &asked, &batch, Timestamp::now()).unwrap();
    one.log.commit(Durability::Sync).unwrap();
    let service = Service::new(nodes[1].log.reader(), SharedKey::default(), FederationMode::Sync);
    let began = Instant::now();
    let reply = service.trusting(parked.from).fetch(parked.clone()).await;
    assert!(began.elapsed() >= wait, "the question was not parked");
    assert!(matches!(&reply, FetchReply::Batch(batch) if batch.events.is_empty()), "{reply:?}");

    let exclude = vec![parked.from];
    let caller = service.trusting(parked.from);
    let lost = caller.fetch(FetchRequest { wait: Duration::from_secs(60), exclude, ..parked });
    let reply = tokio::time::timeout(Duration::from_secs(30), lost).await.expect("it is answered at once");
    assert_eq!(reply.own().map(|own| own.counter), Some(2));
}

//! More made-up origins than a log may hold. They keep out neither an honest peer nor the node's own next epoch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::event::Draft;
use antiphon_kernel::identity::{Keys, Signer};
use antiphon_kernel::ids::Epoch;
use antiphon_kernel::protocol::{FetchReply, FetchRequest, Known, Scope};
use antiphon_kernel::testing::Tamper;

use super::byzantine::{Byzantine, identity};
use super::forger::{Page, author, id, keys_of, node, peer, ports, scraped};
use super::own_epochs::append_in_2096;
use crate::support::until;

/// A log takes this many origins of any node.
const ANY: usize = 960;
/// One of two pinned peers may fill a log up to this many origins.
const SPENT: usize = 984;

/// Brings made-up origins: as many as fit, then its share of the reserved ones in an honest peer's name, then more than fit.
#[derive(Default)]
struct Flood {
    /// The keys of the honest peer; `None` until the attack begins.
    victim: Mutex<Option<Arc<dyn Signer>>>,
    made_up: AtomicU64,
}

impl Flood {
    fn page(&self, victim: &Arc<dyn Signer>, held: usize) -> Page {
        let (count, theirs) = match held {
            ..ANY => ((ANY - held).min(200), false),
            ANY..SPENT => (SPENT - held, true),
            SPENT.. => (3, false),
        };
        let mut page = Page::default();
        for _ in 0..count {
            let n = self.made_up.fetch_add(1, Ordering::Relaxed) + 1;
            let keys = if theirs { Arc::clone(victim) } else { stranger(n) };
            page.add(
                &mut author(&keys, Epoch::new(n)),
                id(n),
                &Draft::new("forged", "1").subject(format!("made-up/{n}")).json(),
            );
        }
        page
    }
}

/// The keys of a cortex that no node knows.
fn stranger(n: u64) -> Arc<dyn Signer> {
    let mut seed = [0xaa; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    Arc::new(Keys::from_seed(seed))
}

impl Tamper for Flood {
    fn answer(&self, request: &FetchRequest, reply: FetchReply) -> Option<Vec<FetchReply>> {
        let (Some(victim), Scope::All, Known::Full(known)) =
            (self.victim.lock().unwrap().clone(), request.scope, &request.known)
        else {
            return Some(vec![reply]);
        };
        let prev = request.after.unwrap_or(Cursor::start(identity().epoch));
        let batch = self.page(&victim, known.len()).batch(request.request, identity().cortex_id, prev);
        Some(vec![FetchReply::Batch(batch)])
    }
}

#[test]
fn thousands_of_made_up_origins_stop_no_honest_peer_and_no_new_epoch_and_their_bringer_is_named() {
    let flood = Arc::new(Flood::default());
    let mallory = Byzantine::new(Arc::clone(&flood) as Arc<dyn Tamper>);
    let ((other, other_metrics), (port, metrics)) = (ports(), ports());
    let hub = node("hub", other, other_metrics, &[]);
    let _hub = hub.serve();
    let alpha = node("alpha", port, metrics, &[("hub", other), ("mallory", mallory.port())]);
    alpha.json(&["append", "-t", "note", "-s", "doc/1", "-d", "1"]);
    let serving = alpha.serve();
    until("both are pinned", || {
        let status = alpha.json(&["status"]);
        ["hub", "mallory"].iter().all(|name| peer(&status, name)["cortex_id"].is_string()).then_some(())
    });
    *flood.victim.lock().unwrap() = Some(keys_of(&hub));
    let status = until("mallory's share is spent, and thousands more were refused", || {
        let status = alpha.json(&["status"]);
        let refused = peer(&status, "mallory")["last_error"] == "too_many_origins";
        let many = flood.made_up.load(Ordering::Relaxed) > 3_000;
        (many && refused && status["origins"] == SPENT).then_some(status)
    });

    let named = "mallory brought 983 of the origins held here";
    assert!(peer(&status, "mallory")["reason"].as_str().unwrap().contains(named), "{status}");
    let brought = status["brought"].as_array().unwrap();
    let brought: Vec<_> = brought.iter().map(|one| (&one["peer"], &one["origins"])).collect();
    assert_eq!(brought, [(&serde_json::Value::Null, &1.into()), (&"mallory".into(), &983.into())], "{status}");
    let (_, out, _) = alpha.run(&["status"]);
    assert!(out.contains(named) && out.contains("984 of at most 1024 origins"), "{out}");
    let text = scraped(metrics);
    assert!(text.contains("antiphon_peer_brought_origins{cortex=\"alpha\",peer=\"mallory\"} 983\n"), "{text}");

    hub.json(&["append", "-t", "note", "-s", "doc/1", "-d", "2"]);
    let status = until("the honest peer's first event is taken", || {
        let status = alpha.json(&["status"]);
        (status["origins"] == SPENT + 1).then_some(status)
    });
    assert!(peer(&status, "hub")["last_error"].is_null(), "{status}");

    // Each epoch of alpha is one more origin.
    assert_eq!(serving.terminate(), 0);
    append_in_2096(&alpha);
    let serving = alpha.serve();
    let (code, out, err) = alpha.run(&["new-epoch"]);
    assert_eq!(code, 0, "{out}{err}");
    alpha.json(&["append", "-t", "note", "-s", "doc/1", "-d", "3"]);
    assert_eq!(alpha.json(&["status"])["origins"], SPENT + 2);
    assert_eq!(serving.terminate(), 0);
    let (code, out, err) = alpha.run(&["verify"]);
    assert!(code == 0 && out.starts_with("clean: 987 events of 986 origins"), "{out}{err}");
}

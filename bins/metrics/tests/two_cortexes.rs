//! Two cortexes in one process, in one recorder.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use antiphon_kernel::cortex::{Cortex, Peer};
use antiphon_kernel::event::Draft;
use antiphon_kernel::replay::OnFailure;
use antiphon_kernel::replay::latest::LatestBySubject;
use antiphon_kernel::testing::{MemoryNetwork, MemoryStore, until};

async fn start(network: &MemoryNetwork, name: &str, peer: &str) -> Cortex {
    let builder =
        Cortex::builder(MemoryStore::new()).log(antiphon_kernel::testing::LOG).name(name).transport(network.clone());
    let builder = builder.causal_replayer(LatestBySubject { on_failure: OnFailure::Halt });
    builder.peer(Peer::new(peer, format!("memory://{peer}"))).start().await.unwrap()
}

/// The value of the series that begins so.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("antiphon_{series}")))?;
    line.trim().parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cortexes_in_one_process_render_apart() {
    let metrics = antiphon_metrics::install().unwrap();
    assert!(matches!(antiphon_metrics::install(), Err(antiphon_metrics::InstallError::Taken)));
    let network = MemoryNetwork::new();
    let (alpha, bravo) = (start(&network, "alpha", "bravo").await, start(&network, "bravo", "alpha").await);
    network.serve("alpha", alpha.service().clone());
    network.serve("bravo", bravo.service().clone());
    for n in 0..5 {
        alpha.append(Draft::new("t", format!("{n}"))).await.unwrap();
    }
    bravo.append(Draft::new("t", "x")).await.unwrap();
    for cortex in [&alpha, &bravo] {
        let mut durable = cortex.reader().watch_durable();
        let all = durable.wait_for(|head| head.get() == 6);
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("both hold all").unwrap();
    }

    let received = |own: &str, other: &str| format!("peer_received_events_total{{cortex=\"{own}\",peer=\"{other}\"}}");
    // A batch is counted shortly after its events are durable.
    let counted = |cortex: &Cortex, own: &str, other: &str, events: f64| {
        let text = metrics.render(cortex);
        (value(&text, &received(own, other)) >= Some(events)).then_some(text)
    };
    let (mut of_alpha, mut of_bravo) = (None, None);
    until("both batches are counted", || {
        of_alpha = counted(&alpha, "alpha", "bravo", 1.0);
        of_bravo = counted(&bravo, "bravo", "alpha", 5.0);
        of_alpha.is_some() && of_bravo.is_some()
    })
    .await;
    let (of_alpha, of_bravo) = (of_alpha.unwrap(), of_bravo.unwrap());
    for (text, own, other, appended) in [(&of_alpha, "alpha", "bravo", 5.0), (&of_bravo, "bravo", "alpha", 1.0)] {
        let at = format!("{{cortex=\"{own}\"}}");
        assert_eq!(value(text, &format!("log_events{at}")), Some(6.0), "{text}");
        assert_eq!(value(text, &format!("appended_events_total{at}")), Some(appended), "{text}");
        assert!(value(text, &format!("sync_seconds_count{at}")).unwrap() >= 1.0, "{text}");
        let ingested = format!("peer_ingest_seconds_count{{cortex=\"{own}\",peer=\"{other}\"}}");
        assert!(value(text, &ingested).unwrap() >= 1.0, "{text}");
        let lag = format!("replay_lag_events{{cortex=\"{own}\",replayer=\"view\"}}");
        assert!(value(text, &lag).is_some(), "{text}");
        assert!(!text.contains(&format!("cortex=\"{other}\"")), "{text}");
        let unlabelled = |line: &&str| line.starts_with("antiphon_") && !line.contains("cortex=\"");
        assert_eq!(text.lines().find(unlabelled), None);
        assert!(text.contains("\nprocess_start_time_seconds "), "{text}");
    }

    let both = metrics.render_all([&alpha, &bravo]);
    for (own, appended) in [("alpha", 5.0), ("bravo", 1.0)] {
        assert_eq!(value(&both, &format!("appended_events_total{{cortex=\"{own}\"}}")), Some(appended), "{both}");
        assert_eq!(value(&both, &format!("log_events{{cortex=\"{own}\"}}")), Some(6.0), "{both}");
    }
    let mut types: Vec<_> = both.lines().filter(|line| line.starts_with("# TYPE")).collect();
    types.sort_unstable();
    let count = types.len();
    types.dedup();
    assert_eq!(types.len(), count, "each metric is one group");
    alpha.stop().await;
    bravo.stop().await;
}

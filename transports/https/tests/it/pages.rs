//! Pages of events are bounded by the text that they become, and come whole whatever that text is.

use antiphon_kernel::event::Draft;
use antiphon_kernel::log::CausalContext;
use reqwest::StatusCode;

use crate::harness::{KEY, Node, node};
use crate::routes::client;

/// What a page may have at most, but for a single event.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

async fn pages(node: &Node) -> Vec<String> {
    let (mut after, mut pages) = (String::new(), Vec::new());
    loop {
        let url = node.url(&format!("/v1/events?after={after}&limit=1000"));
        let response = client().get(url).bearer_auth(KEY).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let (length, next) = (header("content-length"), header("antiphon-next"));
        let text = response.text().await.unwrap();
        assert_eq!(text.len().to_string(), length, "the length is announced");
        if text == "[]" {
            return pages;
        }
        assert_ne!(next, after);
        after = next;
        pages.push(text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_bounded_by_their_text() {
    let node = node().await;
    let size = 900 * 1024;
    let of = |content_type: &str, data: Vec<u8>| {
        let mut draft = Draft::new("t", data);
        draft.datacontenttype = Some(content_type.to_owned());
        draft
    };
    // Six bytes of text for each, then four for three, then one for one; and small ones.
    let drafts: Vec<Draft> = (0..3)
        .map(|_| of("text/plain", vec![1; size]))
        .chain((0..8).map(|_| of("image/png", vec![255; size])))
        .chain((0..10).map(|_| of("application/json", format!("[{}0]", "0,".repeat(size / 2)).into_bytes())))
        .chain((0..2500).map(|n| Draft::new("small", n.to_string()).json()))
        .collect();
    let all = drafts.len();
    for draft in drafts {
        node.log.append(vec![draft], CausalContext::default()).await.unwrap();
    }
    let pages = pages(&node).await;
    let mut seqs = Vec::new();
    for (at, text) in pages.iter().enumerate() {
        let events: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
        assert!(text.len() <= MAX_PAGE_BYTES && events.len() <= 1000, "page {at}: {} bytes", text.len());
        seqs.extend(events.iter().map(|event| event["antiphonseq"].as_str().unwrap().parse::<usize>().unwrap()));
    }
    assert_eq!(seqs, (1..=all).collect::<Vec<_>>(), "each event once, in order");
    assert!(pages.len() >= 7, "{} pages", pages.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_crosses_as_it_is() {
    let node = node().await;
    let data = format!(r#"{{"n":18446744073709551616,"n":1.0,"deep":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    node.log.append(vec![Draft::new("t", data.clone()).json()], CausalContext::default()).await.unwrap();
    let pages = pages(&node).await;
    assert!(pages[0].contains(&data));
}

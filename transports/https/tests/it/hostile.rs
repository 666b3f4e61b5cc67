//! Servers that would fill our memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use antiphon_kernel::codec::{MAX_FRAME_BYTES, Message, encode};
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::protocol::{FetchReply, Refusal};
use tokio::io::AsyncWriteExt;

use crate::fakes::{Fake, frame_head, read_question};
use crate::harness::{PATIENCE, fails, link_to, question};

/// What lies in the buffers of two sockets and of the HTTP client, generously.
const BUFFERS: u64 = 32 * 1024 * 1024;
const TEN_GIB: u64 = 10 * 1024 * 1024 * 1024;

/// A server that answers with `begin` and then never ends; counts what it got rid of.
async fn endless(begin: Vec<u8>) -> (Fake, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let fake = Fake::start(move |mut stream| {
        let (begin, count) = (begin.clone(), Arc::clone(&count));
        async move {
            read_question(&mut stream).await;
            let _ = stream.write_all(&begin).await;
            let piece = vec![b' '; 64 * 1024];
            while let Ok(sent) = stream.write(&piece).await {
                count.fetch_add(sent as u64, Ordering::SeqCst);
            }
        }
    })
    .await;
    (fake, sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_beyond_the_frame_end_it() {
    let frame = encode(&Message::Reply(FetchReply::refused(Refusal::Busy)));
    let (fake, sent) = endless([frame_head(Some(TEN_GIB)), frame.to_vec()].concat()).await;
    fails(link_to(fake.addr).fetch(&question(Duration::ZERO), PATIENCE).await, ErrorCategory::TooLarge);
    assert!(sent.load(Ordering::SeqCst) < BUFFERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_claims_too_much_is_not_even_read() {
    let mut frame = encode(&Message::Reply(FetchReply::refused(Refusal::Busy))).to_vec();
    frame[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    let (fake, sent) = endless([frame_head(Some(TEN_GIB)), frame].concat()).await;
    fails(link_to(fake.addr).fetch(&question(Duration::ZERO), PATIENCE).await, ErrorCategory::TooLarge);
    assert!(sent.load(Ordering::SeqCst) < BUFFERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_frame_is_the_most_that_is_read() {
    let mut frame = encode(&Message::Reply(FetchReply::refused(Refusal::Busy))).to_vec();
    let claim = u32::try_from(MAX_FRAME_BYTES - 24).unwrap();
    frame[4..8].copy_from_slice(&claim.to_be_bytes());
    let (fake, sent) = endless([frame_head(None), frame].concat()).await;
    fails(link_to(fake.addr).fetch(&question(Duration::ZERO), PATIENCE).await, ErrorCategory::TooLarge);
    assert!(sent.load(Ordering::SeqCst) < BUFFERS + MAX_FRAME_BYTES as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_identity_ends() {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {TEN_GIB}\r\n\r\n");
    let (fake, sent) = endless(head.into_bytes()).await;
    let link = link_to(fake.addr);
    link.identify(PATIENCE).await.expect("the greeting is a node's");
    fails(link.identify(PATIENCE).await, ErrorCategory::TooLarge);
    assert!(sent.load(Ordering::SeqCst) < BUFFERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_headers_end() {
    let (fake, sent) = endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec()).await;
    fails(link_to(fake.addr).fetch(&question(Duration::ZERO), PATIENCE).await, ErrorCategory::Unexpected);
    assert!(sent.load(Ordering::SeqCst) < BUFFERS);
}

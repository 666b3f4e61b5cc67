//! Answers that arrive cut, broken off, or changed on the way.

use std::time::Duration;

use antiphon_kernel::codec::{FRAME_HEADER_BYTES, Message, encode};
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::protocol::FetchReply;
use antiphon_kernel::transport::TransportError;
use tokio::io::AsyncWriteExt;

use crate::fakes::{Fake, frame_head, read_question};
use crate::harness::{PATIENCE, fails, link_to, node, own, question};

async fn good_frame() -> Vec<u8> {
    let node = node().await;
    node.append(4).await;
    encode(&Message::Reply(node.service.trusting(own().cortex_id).fetch(node.question(Duration::ZERO)).await)).to_vec()
}

async fn received(head: Vec<u8>, body: &[u8]) -> Result<FetchReply, TransportError> {
    let fake = Fake::answering([&head, body].concat()).await;
    link_to(fake.addr).fetch(&question(Duration::ZERO), PATIENCE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_answer_is_never_a_shorter_one() {
    let frame = good_frame().await;
    let whole = frame.len();
    assert!(received(frame_head(None), &frame).await.is_ok());
    for cut in [0, 1, 8, FRAME_HEADER_BYTES - 1, FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + 1, whole / 2, whole - 1] {
        // The end of the connection as its end, a length that does not come, and chunks that do not end.
        fails(received(frame_head(None), &frame[..cut]).await, ErrorCategory::Eof);
        fails(received(frame_head(Some(whole as u64)), &frame[..cut]).await, ErrorCategory::Eof);
        let chunked =
            [format!("{:x}\r\n", cut.max(1)).as_bytes(), if cut == 0 { b"A" } else { &frame[..cut] }, b"\r\n"].concat();
        let head = String::from_utf8(frame_head(None))
            .unwrap()
            .replace("connection", "transfer-encoding: chunked\r\nconnection");
        fails(received(head.into_bytes(), &chunked).await, ErrorCategory::Eof);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_within_the_head_is_an_early_end() {
    for head in ["", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\ncontent-type: appl"] {
        fails(received(head.into(), &[]).await, ErrorCategory::Eof);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_within_the_body_is_a_reset() {
    let frame = good_frame().await;
    let fake = Fake::start(move |mut stream| {
        let answer = [frame_head(Some(frame.len() as u64)), frame[..40].to_vec()].concat();
        async move {
            read_question(&mut stream).await;
            let _ = stream.write_all(&answer).await;
            // The client has answered nothing yet, so a close without lingering is a reset.
            let _ = stream.set_zero_linger();
        }
    })
    .await;
    fails(link_to(fake.addr).fetch(&question(Duration::ZERO), PATIENCE).await, ErrorCategory::Reset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_damage() {
    let frame = good_frame().await;
    let step = frame.len() / 12;
    // The checksum, and places all over the body.
    let places = (8..FRAME_HEADER_BYTES).step_by(5).chain((FRAME_HEADER_BYTES..frame.len()).step_by(step));
    for (n, at) in places.enumerate() {
        let mut damaged = frame.clone();
        damaged[at] ^= 1 << (n % 8);
        fails(received(frame_head(Some(frame.len() as u64)), &damaged).await, ErrorCategory::Corrupt);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_header_is_told_apart_as_far_as_it_can_be() {
    let frame = good_frame().await;
    for (at, value, category) in [
        (0, b'B', ErrorCategory::Unexpected),
        (2, 9, ErrorCategory::Version),
        (3, 77, ErrorCategory::Newer),
        (4, 0xff, ErrorCategory::TooLarge),
        (5, 1, ErrorCategory::Eof),
    ] {
        let mut damaged = frame.clone();
        damaged[at] = value;
        fails(received(frame_head(None), &damaged).await, category);
    }
    fails(received(frame_head(None), &[&frame[..], b"x"].concat()).await, ErrorCategory::TooLarge);
}

//! The example of `docs/writing-a-transport.md` passes the conformance suite.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
#[path = "../examples/unix_transport.rs"]
mod example;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_passes() {
    let sockets = tempfile::tempdir().unwrap();
    example::conform(sockets.path()).await;
}

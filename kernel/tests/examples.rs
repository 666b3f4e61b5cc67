//! The examples do what they say.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, unreachable_pub)]

#[path = "../examples/chat.rs"]
mod chat;
#[path = "../examples/kv.rs"]
mod kv;
#[path = "../examples/sqlite_bridge.rs"]
mod sqlite_bridge;
#[path = "../examples/versions.rs"]
mod versions;

#[tokio::test(flavor = "multi_thread")]
async fn a_replicated_key_value_store() {
    kv::run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_log() {
    let [ada, bob] = chat::run().await.unwrap();
    assert_eq!(bob, ["ada: is anybody there?", "bob: here!"]);
    assert_eq!(ada, bob[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_into_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(sqlite_bridge::run(&folder.path().join("notes.db")).await.unwrap(), [100, 100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_of_a_replayer() {
    let states = versions::run().await.unwrap();
    assert_eq!(states, [(1, "hello".to_owned()), (2, "HELLO".to_owned())]);
}

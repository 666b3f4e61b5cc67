//! A proxy that the environment names is not asked. The environment is a process's own, so a child has it.

use std::process::Stdio;

use antiphon_kernel::transport::Transport;

use crate::fakes::Fake;
use crate::harness::{PATIENCE, key, node, own, peer, transport};

const ENDPOINT: &str = "ANTIPHON_TEST_ENDPOINT";

#[tokio::test(flavor = "multi_thread")]
async fn the_environments_proxy_is_not_used() {
    let node = node().await;
    let sink = Fake::saying("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
    let proxy = format!("http://{}", sink.addr);
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "proxy::child", "--nocapture"]).env(ENDPOINT, node.url(""));
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        child.env(name, &proxy);
    }
    child.env_remove("NO_PROXY").env_remove("no_proxy").stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(sink.accepted(), 0);
}

#[tokio::test]
async fn child() {
    // Alone it has nothing to do: it is the child of the test above.
    let Ok(endpoint) = std::env::var(ENDPOINT) else { return };
    transport(key()).link(&peer(endpoint, None), &own()).unwrap().identify(PATIENCE).await.unwrap();
}

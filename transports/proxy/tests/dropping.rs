//! A proxy that was dropped while clients were still arriving kept a socket and a task for each that its own task was just
//! meeting on another thread: they were put among its clients after those had been let go. Now nothing is left.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use antiphon_fault_proxy::{Faults, UdpProxy};

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Alone in its process, because it counts what the process has open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_while_clients_arrive_leaves_no_socket() {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let before = open_files();
    for round in 0..500 {
        let proxy = UdpProxy::start(sink.local_addr().unwrap(), Faults::default(), 1).await.unwrap();
        for _ in 0..8 {
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", proxy.addr()).unwrap();
        }
        // Each round drops it a little later, so that some meet the moment.
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(round % 150) {}
        drop(proxy);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while open_files() > before {
        assert!(Instant::now() < deadline, "{} more than before", open_files() - before);
        tokio::task::yield_now().await;
    }
}

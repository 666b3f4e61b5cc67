//! Each fault, on real sockets.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use antiphon_fault_proxy::{Faults, Path, TcpProxy, UdpProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const PATIENCE: Duration = Duration::from_secs(10);
const A_MOMENT: Duration = Duration::from_millis(100);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it did not happen in time")
}

async fn tcp_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    addr
}

/// Answers each datagram with the port it came from and its own bytes.
async fn udp_echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let answer = [&from.port().to_be_bytes()[..], &buffer[..length]].concat();
            let _ = socket.send_to(&answer, from).await;
        }
    });
    addr
}

async fn tcp(faults: Faults) -> (TcpProxy, TcpStream) {
    let proxy = TcpProxy::start(tcp_echo().await, faults, 1).await.unwrap();
    let stream = TcpStream::connect(proxy.addr()).await.unwrap();
    (proxy, stream)
}

async fn udp(faults: Faults) -> (UdpProxy, UdpSocket) {
    let proxy = UdpProxy::start(udp_echo().await, faults, 1).await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(proxy.addr()).await.unwrap();
    (proxy, socket)
}

async fn echo(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).await.unwrap();
    let mut back = vec![0; text.len()];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, text);
}

#[tokio::test]
async fn a_perfect_path_changes_nothing() {
    let (proxy, mut stream) = tcp(Faults::default()).await;
    let data: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let (mut read, mut write) = stream.split();
    let sending = async {
        write.write_all(&data).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (_, read) = soon(async { tokio::join!(sending, read.read_to_end(&mut back)) }).await;
    assert_eq!((read.unwrap(), back == data), (data.len(), true));
    assert_eq!((proxy.forwarded(), proxy.accepted()), ((data.len() as u64, data.len() as u64), 1));
}

#[tokio::test]
async fn latency_is_added_each_way() {
    let path = Path { latency: Duration::from_millis(30), ..Path::default() };
    let (_proxy, mut stream) = tcp(Faults::symmetric(path)).await;
    let (_proxy, socket) = udp(Faults::symmetric(path)).await;
    let began = Instant::now();
    echo(&mut stream, b"hello").await;
    assert!(began.elapsed() >= Duration::from_millis(60));
    let began = Instant::now();
    socket.send(b"hello").await.unwrap();
    soon(socket.recv(&mut [0; 64])).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn a_cut_passes_exactly_so_many_bytes() {
    let to_client = Path { cut_after: Some(100_000), ..Path::default() };
    let (proxy, stream) = tcp(Faults { to_client, ..Faults::default() }).await;
    let (mut read, mut write) = stream.into_split();
    let sender = tokio::spawn(async move { while write.write_all(&[7; 10_000]).await.is_ok() {} });
    let mut back = Vec::new();
    // A reset may follow what was passed; what was passed counts.
    let _ = soon(read.read_to_end(&mut back)).await;
    assert_eq!((back.len(), proxy.forwarded().1), (100_000, 100_000));
    soon(sender).await.unwrap();
}

#[tokio::test]
async fn a_reset_reaches_both_sides() {
    let (proxy, mut stream) = tcp(Faults::default()).await;
    echo(&mut stream, b"x").await;
    proxy.reset_all();
    let error = soon(stream.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    soon(async {
        while proxy.connections() > 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
}

#[tokio::test]
async fn a_half_open_connection_is_silent() {
    let (proxy, mut stream) = tcp(Faults::default()).await;
    echo(&mut stream, b"x").await;
    proxy.half_open();
    let _ = stream.write_all(b"anybody there?").await;
    assert!(tokio::time::timeout(A_MOMENT, stream.read(&mut [0; 1])).await.is_err(), "nobody says anything");
    proxy.reset_all();
    assert!(soon(stream.read(&mut [0; 1])).await.is_err());
}

#[tokio::test]
async fn nobody_upstream_is_a_reset() {
    let proxy = TcpProxy::start("127.0.0.1:1".parse().unwrap(), Faults::default(), 1).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(!matches!(soon(stream.read(&mut [0; 1])).await, Ok(1..)));
}

#[tokio::test]
async fn a_tcp_blackhole_ends_without_a_hole_in_the_stream() {
    let hole = Path { blackhole: true, ..Path::default() };
    let (proxy, mut stream) = tcp(Faults::default()).await;
    echo(&mut stream, b"before").await;
    proxy.set(Faults { to_server: hole, ..Faults::default() });
    stream.write_all(b"during").await.unwrap();
    let mut back = [0; 6];
    assert!(tokio::time::timeout(A_MOMENT, stream.read_exact(&mut back)).await.is_err());
    proxy.set(Faults::default());
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"during");
}

/// How many of a hundred datagrams come back, and whether in order.
async fn hundred(to_server: Path) -> (Vec<u8>, bool) {
    let (_proxy, socket) = udp(Faults { to_server, ..Faults::default() }).await;
    for n in 0..100 {
        socket.send(&[n]).await.unwrap();
        // One at a time into the kernel, so that none is lost to its buffers.
        tokio::task::yield_now().await;
    }
    let mut back = Vec::new();
    let mut buffer = [0; 64];
    while let Ok(length) = tokio::time::timeout(A_MOMENT * 3, socket.recv(&mut buffer)).await {
        back.push(buffer[length.unwrap() - 1]);
    }
    let sorted = back.is_sorted();
    back.sort_unstable();
    (back, sorted)
}

#[tokio::test]
async fn datagrams_are_lost_doubled_and_overtaken() {
    let (all, sorted) = hundred(Path::default()).await;
    assert_eq!((all, sorted), ((0..100).collect(), true));
    let (some, _) = hundred(Path { loss: 0.5, ..Path::default() }).await;
    assert!((20..80).contains(&some.len()), "{}", some.len());
    let (many, _) = hundred(Path { duplicate: 0.5, ..Path::default() }).await;
    assert!((120..180).contains(&many.len()), "{}", many.len());
    let (all, sorted) = hundred(Path { reorder: 0.3, ..Path::default() }).await;
    assert_eq!((all, sorted), ((0..100).collect(), false));
    let (none, _) = hundred(Path { blackhole: true, ..Path::default() }).await;
    assert!(none.is_empty());
}

#[tokio::test]
async fn after_a_rebinding_the_server_sees_another_port() {
    let (proxy, socket) = udp(Faults::default()).await;
    let mut ports = Vec::new();
    for _ in 0..2 {
        let mut buffer = [0; 64];
        socket.send(b"x").await.unwrap();
        soon(socket.recv(&mut buffer)).await.unwrap();
        ports.push([buffer[0], buffer[1]]);
        proxy.rebind();
    }
    assert_ne!(ports[0], ports[1]);
}

#[tokio::test]
async fn another_upstream_takes_over() {
    let (proxy, mut first) = tcp(Faults::default()).await;
    echo(&mut first, b"x").await;
    proxy.set_upstream(tcp_echo().await);
    let mut second = TcpStream::connect(proxy.addr()).await.unwrap();
    echo(&mut second, b"y").await;
    assert_eq!((proxy.accepted(), proxy.connections()), (2, 2));
}

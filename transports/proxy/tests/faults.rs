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

/// Both ends of a connection through the proxy, which has passed a byte: nothing is still being set up.
async fn pair(faults: Faults) -> (TcpProxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = TcpProxy::start(listener.local_addr().unwrap(), faults, 1).await.unwrap();
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    client.write_all(b"x").await.unwrap();
    soon(server.read_exact(&mut [0; 1])).await.unwrap();
    (proxy, client, server)
}

/// A client, and a server that says nothing by itself.
async fn udp_pair(to_server: Path) -> (UdpProxy, UdpSocket, UdpSocket) {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let faults = Faults { to_server, ..Faults::default() };
    let proxy = UdpProxy::start(server.local_addr().unwrap(), faults, 1).await.unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(proxy.addr()).await.unwrap();
    (proxy, client, server)
}

async fn silent(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(A_MOMENT, stream.read(&mut [0; 1])).await.is_err()
}

async fn broken(stream: &mut TcpStream) -> ErrorKind {
    soon(stream.read(&mut [0; 1])).await.unwrap_err().kind()
}

const HOLE: Path = Path {
    latency: Duration::ZERO,
    jitter: Duration::ZERO,
    bytes_per_second: None,
    loss: 0.0,
    duplicate: 0.0,
    reorder: 0.0,
    cut_after: None,
    blackhole: true,
};

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
async fn a_cut_reaches_a_reader_that_is_late() {
    let to_client = Path { cut_after: Some(1_000_000), ..Path::default() };
    let (proxy, client, mut server) = pair(Faults { to_client, ..Faults::default() }).await;
    let (mut read, mut write) = client.into_split();
    // What the client sends meanwhile is unread when the cut comes.
    let sender = tokio::spawn(async move { while write.write_all(&[7; 10_000]).await.is_ok() {} });
    tokio::spawn(async move { while server.write_all(&[7; 10_000]).await.is_ok() {} });
    soon(async {
        while proxy.forwarded().1 < 1_000_000 || proxy.connections() > 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
    let mut back = Vec::new();
    let _ = soon(read.read_to_end(&mut back)).await;
    assert_eq!(back.len(), 1_000_000);
    sender.abort();
}

#[tokio::test]
async fn the_end_of_a_stream_takes_the_path() {
    let path = Path { latency: Duration::from_millis(50), ..Path::default() };
    let (_proxy, mut client, mut server) = pair(Faults::symmetric(path)).await;
    let began = Instant::now();
    client.shutdown().await.unwrap();
    assert_eq!(soon(server.read(&mut [0; 1])).await.unwrap(), 0);
    assert!(began.elapsed() >= path.latency, "{:?}", began.elapsed());
    // The other direction is still open.
    server.write_all(b"answer").await.unwrap();
    drop(server);
    let mut answer = Vec::new();
    soon(client.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"answer");
}

#[tokio::test]
async fn no_end_crosses_a_blackhole() {
    let (proxy, mut client, mut server) = pair(Faults::default()).await;
    proxy.set(Faults { to_server: HOLE, ..Faults::default() });
    client.shutdown().await.unwrap();
    assert!(silent(&mut server).await);
    proxy.set(Faults::default());
    assert_eq!(soon(server.read(&mut [0; 1])).await.unwrap(), 0);
}

#[tokio::test]
async fn no_break_crosses_a_blackhole() {
    let (_proxy, mut client, server) = pair(Faults { to_client: HOLE, ..Faults::default() }).await;
    server.set_zero_linger().unwrap();
    drop(server);
    assert!(silent(&mut client).await);
    // Nor does the answer to what the client still sends.
    let _ = client.write_all(b"anybody there?").await;
    assert!(silent(&mut client).await);
}

#[tokio::test]
async fn a_reset_reaches_both_sides() {
    let (proxy, mut client, mut server) = pair(Faults::default()).await;
    proxy.reset_all();
    assert_eq!(broken(&mut client).await, ErrorKind::ConnectionReset);
    assert_eq!(broken(&mut server).await, ErrorKind::ConnectionReset);
    soon(async {
        while proxy.connections() > 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
}

#[tokio::test]
async fn a_half_open_connection_is_silent_however_often_it_is_ordered() {
    let (proxy, mut client, mut server) = pair(Faults::default()).await;
    for _ in 0..40 {
        proxy.half_open();
    }
    assert_eq!(soon(server.read(&mut [0; 1])).await.unwrap(), 0, "the server's side is closed");
    let _ = client.write_all(b"anybody there?").await;
    assert!(silent(&mut client).await, "nobody says anything");
    proxy.reset_all();
    assert_eq!(broken(&mut client).await, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn nobody_upstream_is_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let proxy = TcpProxy::start(nobody, Faults::default(), 1).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(broken(&mut stream).await, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_dropped_proxy_leaves_nothing_open() {
    let (proxy, mut client, mut server) = pair(Faults::default()).await;
    let addr = proxy.addr();
    drop(proxy);
    for side in [&mut client, &mut server] {
        assert!(!matches!(soon(side.read(&mut [0; 1])).await, Ok(1..)));
    }
    soon(async { while TcpStream::connect(addr).await.is_ok() {} }).await;
}

#[tokio::test]
async fn jitter_keeps_a_stream_in_order() {
    let path = Path { jitter: Duration::from_millis(10), ..Path::default() };
    let (_proxy, mut stream) = tcp(Faults::symmetric(path)).await;
    let data: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
    echo(&mut stream, &data).await;
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

#[tokio::test]
async fn another_upstream_takes_over_for_known_clients_of_udp() {
    let (proxy, client, first) = udp_pair(Path::default()).await;
    client.send(b"x").await.unwrap();
    soon(first.recv(&mut [0; 8])).await.unwrap();
    let second = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    proxy.set_upstream(second.local_addr().unwrap());
    client.send(b"y").await.unwrap();
    soon(second.recv(&mut [0; 8])).await.unwrap();
}

#[tokio::test]
async fn a_lifted_limit_holds_nobody_up() {
    let narrow = Path { bytes_per_second: Some(10), ..Path::default() };
    let (proxy, client, server) = udp_pair(narrow).await;
    // It takes a hundred seconds.
    client.send(&[0; 1000]).await.unwrap();
    assert!(tokio::time::timeout(A_MOMENT, server.recv(&mut [0; 2000])).await.is_err());
    proxy.set(Faults::default());
    client.send(b"after").await.unwrap();
    assert_eq!(soon(server.recv(&mut [0; 2000])).await.unwrap(), 5);
}

#[tokio::test]
async fn a_path_without_a_limit_holds_so_many_datagrams_and_no_more() {
    let (proxy, client, _server) = udp_pair(Path { latency: Duration::from_secs(1), ..Path::default() }).await;
    for _ in 0..6000 {
        client.send(b"x").await.unwrap();
        tokio::task::yield_now().await;
    }
    soon(async {
        while proxy.forwarded().0 < 4096 {
            tokio::time::sleep(Duration::from_millis(1)).await
        }
    })
    .await;
    assert_eq!(proxy.forwarded(), (4096, 0));
}

#[tokio::test]
async fn the_same_seed_loses_the_same() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (_proxy, client, server) = udp_pair(Path { loss: 0.3, ..Path::default() }).await;
        for n in 0..200 {
            client.send(&[n]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let (mut arrived, mut buffer) = (Vec::new(), [0; 8]);
        while let Ok(length) = tokio::time::timeout(A_MOMENT, server.recv(&mut buffer)).await {
            arrived.extend_from_slice(&buffer[..length.unwrap()]);
        }
        runs.push(arrived);
    }
    assert!((100..180).contains(&runs[0].len()));
    assert_eq!(runs[0], runs[1]);
}

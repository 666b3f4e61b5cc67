//! UDP through a faulty path.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::entropy::Entropy;
use crate::faults::{Direction, Faults};
use crate::line::Line;

const MAX_DATAGRAM: usize = 64 * 1024;
/// How many clients are told apart; the ports of those that came first are given up.
const MAX_CLIENTS: usize = 1024;
/// How many datagrams one direction holds that has no bandwidth to say so.
const MAX_UNDER_WAY: usize = 4096;
/// How much later than its due a datagram comes that is overtaken.
const OVERTAKEN: Duration = Duration::from_millis(5);

/// One datagram on its way.
struct Packet {
    due: Instant,
    /// In order of arrival where two are due at once.
    number: u64,
    data: Bytes,
    from: Arc<UdpSocket>,
    to: SocketAddr,
    direction: Direction,
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.number) == (other.due, other.number)
    }
}

impl Eq for Packet {}

impl PartialOrd for Packet {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Packet {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

struct Shared {
    front: Arc<UdpSocket>,
    faults: watch::Sender<Faults>,
    upstream: Mutex<SocketAddr>,
    /// One socket to the server for each client. `None` once the proxy is dropped: what is still about to meet a client
    /// on another thread would otherwise leave its socket and its task behind.
    clients: Mutex<Option<HashMap<SocketAddr, Client>>>,
    /// The path in each direction is one for all clients, as a cable is.
    to_server: Mutex<Way>,
    to_client: Mutex<Way>,
    passed: [AtomicU64; 2],
    under_way: [AtomicUsize; 2],
    packets: mpsc::UnboundedSender<Packet>,
    began: Instant,
}

struct Client {
    socket: Arc<UdpSocket>,
    reader: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

struct Way {
    line: Line,
    entropy: Entropy,
    number: u64,
}

/// A UDP proxy on an ephemeral port of this machine. Dropping it closes all its ports.
pub struct UdpProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

impl UdpProxy {
    /// Listens, and passes on to `upstream`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start(upstream: SocketAddr, faults: Faults, seed: u64) -> io::Result<Self> {
        let front = Arc::new(socket().await?);
        let addr = front.local_addr()?;
        let (packets, queue) = mpsc::unbounded_channel();
        let way = |seed| Mutex::new(Way { line: Line::default(), entropy: Entropy::new(seed), number: 0 });
        let shared = Arc::new(Shared {
            front,
            faults: watch::Sender::new(faults),
            upstream: Mutex::new(upstream),
            clients: Mutex::new(Some(HashMap::new())),
            to_server: way(seed),
            to_client: way(seed ^ 0xffff),
            passed: Default::default(),
            under_way: Default::default(),
            packets,
            began: Instant::now(),
        });
        let tasks = [tokio::spawn(listen(Arc::clone(&shared))), tokio::spawn(deliver(Arc::clone(&shared), queue))];
        Ok(Self { addr, shared, tasks })
    }

    /// Where to dial instead of the server.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Other faults, for everything that arrives from now on.
    pub fn set(&self, faults: Faults) {
        self.shared.faults.send_replace(faults);
    }

    /// Another server, from now on.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *lock(&self.shared.upstream) = upstream;
    }

    /// From now on the server sees every client at a new port, as after a NAT lost its bindings.
    pub fn rebind(&self) {
        if let Some(clients) = lock(&self.shared.clients).as_mut() {
            clients.clear();
        }
    }

    /// How many bytes were passed on, to the server and to clients.
    #[must_use]
    pub fn forwarded(&self) -> (u64, u64) {
        let of = |at: usize| self.shared.passed[at].load(Ordering::Relaxed);
        (of(0), of(1))
    }
}

impl Drop for UdpProxy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        lock(&self.shared.clients).take();
    }
}

/// With room for what arrives while the proxy does not run: it is to lose what it was told to, and nothing else.
async fn socket() -> io::Result<UdpSocket> {
    const BUFFER: usize = 2 * 1024 * 1024;
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
    let options = socket2::SockRef::from(&socket);
    // The system gives as much as its own limit allows.
    let _ = options.set_recv_buffer_size(BUFFER);
    let _ = options.set_send_buffer_size(BUFFER);
    Ok(socket)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(shared: Arc<Shared>) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        // An error here is the echo of a datagram that nobody took.
        let Ok((length, client)) = shared.front.recv_from(&mut buffer).await else { continue };
        let known = lock(&shared.clients).as_ref().and_then(|clients| Some(Arc::clone(&clients.get(&client)?.socket)));
        let socket = match known {
            Some(socket) => socket,
            None => match meet(&shared, client).await {
                Ok(socket) => socket,
                Err(_) => continue,
            },
        };
        let to = *lock(&shared.upstream);
        shared.pass(Direction::ToServer, Bytes::copy_from_slice(&buffer[..length]), &socket, to);
    }
}

async fn meet(shared: &Arc<Shared>, client: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let socket = Arc::new(socket().await?);
    let mut clients = lock(&shared.clients);
    let clients = clients.as_mut().ok_or(io::ErrorKind::NotConnected)?;
    if clients.len() >= MAX_CLIENTS {
        clients.clear();
    }
    let reader = tokio::spawn(answer(Arc::clone(shared), Arc::clone(&socket), client));
    clients.insert(client, Client { socket: Arc::clone(&socket), reader });
    Ok(socket)
}

async fn answer(shared: Arc<Shared>, socket: Arc<UdpSocket>, client: SocketAddr) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let Ok((length, _)) = socket.recv_from(&mut buffer).await else { continue };
        shared.pass(Direction::ToClient, Bytes::copy_from_slice(&buffer[..length]), &shared.front, client);
    }
}

impl Shared {
    /// Puts a datagram on the path, unless the path has it vanish.
    fn pass(&self, direction: Direction, data: Bytes, from: &Arc<UdpSocket>, to: SocketAddr) {
        let faults = *self.faults.borrow();
        let path = faults.of(direction);
        let mut way = lock(match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        });
        let Way { line, entropy, number } = &mut *way;
        let now = self.began.elapsed();
        let under_way = &self.under_way[direction as usize];
        let crowded = path.bytes_per_second.is_none() && under_way.load(Ordering::Relaxed) >= MAX_UNDER_WAY;
        if path.blackhole || entropy.happens(path.loss) || line.is_full(path, now) || crowded {
            return;
        }
        let copies = if entropy.happens(path.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let mut due = self.began + line.send(path, now, data.len(), Duration::ZERO, entropy);
            if entropy.happens(path.reorder) {
                due += OVERTAKEN.max(path.jitter);
            }
            *number += 1;
            under_way.fetch_add(1, Ordering::Relaxed);
            let (data, from) = (data.clone(), Arc::clone(from));
            // The other end goes with the proxy.
            let _ = self.packets.send(Packet { due, number: *number, data, from, to, direction });
        }
    }
}

/// Sends each datagram when it is due.
async fn deliver(shared: Arc<Shared>, mut queue: mpsc::UnboundedReceiver<Packet>) {
    let mut waiting: BinaryHeap<Reverse<Packet>> = BinaryHeap::new();
    loop {
        let due = waiting.peek().map(|Reverse(packet)| packet.due);
        let due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            packet = queue.recv() => match packet {
                Some(packet) => waiting.push(Reverse(packet)),
                None => return,
            },
            () = due => {}
        }
        while let Ok(packet) = queue.try_recv() {
            waiting.push(Reverse(packet));
        }
        let now = Instant::now();
        while waiting.peek().is_some_and(|Reverse(packet)| packet.due <= now) {
            let Some(Reverse(packet)) = waiting.pop() else { break };
            shared.under_way[packet.direction as usize].fetch_sub(1, Ordering::Relaxed);
            // A datagram that cannot be sent is a lost datagram.
            if packet.from.send_to(&packet.data, packet.to).await.is_ok() {
                shared.passed[packet.direction as usize].fetch_add(packet.data.len() as u64, Ordering::Relaxed);
            }
        }
    }
}

//! TCP through a faulty path.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::congestion::Congestion;
use crate::entropy::Entropy;
use crate::faults::{Direction, Faults};
use crate::line::Line;

const PIECE: usize = 16 * 1024;
/// How many pieces one direction of a connection holds: 16 MiB, far more than any bandwidth and delay here keep under way.
const PIECES: usize = 1024;
/// How far a limited line is filled ahead, so that timers that are late leave no gaps in it.
const AHEAD: Duration = Duration::from_millis(10);
/// How long a reader has to take what a cut let through, before its connection goes for good.
const LINGER: Duration = Duration::from_secs(1);

/// How often each order was given. A connection compares; so none is missed, however many come at once.
#[derive(Clone, Copy, Default)]
struct Orders {
    resets: u64,
    half_opens: u64,
}

struct Shared {
    faults: watch::Sender<Faults>,
    upstream: Mutex<SocketAddr>,
    orders: watch::Sender<Orders>,
    open: AtomicUsize,
    accepted: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
    seed: u64,
    began: Instant,
}

/// A TCP proxy on an ephemeral port of this machine. Dropping it cuts every connection and closes the port.
pub struct TcpProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl TcpProxy {
    /// Listens, and passes on to `upstream`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start(upstream: SocketAddr, faults: Faults, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            faults: watch::Sender::new(faults),
            upstream: Mutex::new(upstream),
            orders: watch::Sender::new(Orders::default()),
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            seed,
            began: Instant::now(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { addr, shared, task })
    }

    /// Where to dial instead of the server.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Other faults, for everything that arrives from now on, on open connections too.
    pub fn set(&self, faults: Faults) {
        self.shared.faults.send_replace(faults);
    }

    /// Another server, for connections from now on.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    /// Resets every open connection, on both sides.
    pub fn reset_all(&self) {
        self.shared.orders.send_modify(|orders| orders.resets += 1);
    }

    /// Closes every open connection to the server, and tells the clients nothing.
    pub fn half_open(&self) {
        self.shared.orders.send_modify(|orders| orders.half_opens += 1);
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// How many connections there were.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many bytes were passed on, to the server and to clients.
    #[must_use]
    pub fn forwarded(&self) -> (u64, u64) {
        (self.shared.to_server.load(Ordering::Relaxed), self.shared.to_client.load(Ordering::Relaxed))
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and with it every connection.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                // Before it is counted: who sees it counted may give it orders.
                let (orders, open) = (shared.orders.subscribe(), Open::new(&shared));
                let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
                connections.spawn(connection(client, orders, open, number));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(client: TcpStream, mut orders: watch::Receiver<Orders>, open: Open, number: u64) {
    let shared = Arc::clone(&open.0);
    let Orders { resets, half_opens } = *orders.borrow();
    let upstream = *shared.upstream.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(server) = TcpStream::connect(upstream).await else {
        // What the client would have met.
        let _ = client.set_zero_linger();
        return;
    };
    // Pieces are small because they are cut here, not because they wait for more.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut client_in, mut client_out) = client.into_split();
    let (mut server_in, mut server_out) = server.into_split();
    let end = {
        let up = Pump::new(&shared, Direction::ToServer, number).run(&mut client_in, &mut server_out);
        let down = Pump::new(&shared, Direction::ToClient, number).run(&mut server_in, &mut client_out);
        tokio::select! {
            // An end in one direction leaves the other; a break ends both.
            end = async { tokio::try_join!(up, down) } => Some(end),
            // The sender of orders is in `shared`.
            _ = orders.wait_for(|now| (now.resets, now.half_opens) != (resets, half_opens)) => None,
        }
    };
    match end {
        Some(Err(Broken::Cut(direction))) => {
            drop(open);
            let (reader, source) = match direction {
                Direction::ToServer => (server_in, (client_in, client_out)),
                Direction::ToClient => (client_in, (server_in, server_out)),
            };
            drop(source);
            linger(reader).await;
        }
        Some(_) => {}
        None => {
            if orders.borrow().resets == resets {
                drop((server_in, server_out));
                // The client is left with a connection that nobody is at the other end of.
                let _ = orders.wait_for(|now| now.resets != resets).await;
            } else {
                reset(server_in, server_out);
            }
            reset(client_in, client_out);
        }
    }
}

/// A socket that is closed over unread data resets its connection, and what its peer has not read yet is lost.
async fn linger(mut reader: OwnedReadHalf) {
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut reader, &mut tokio::io::sink())).await;
}

fn reset(input: OwnedReadHalf, output: OwnedWriteHalf) {
    let _ = input.as_ref().set_zero_linger();
    // Dropped as usual it would end its direction in order, first.
    output.forget();
}

/// Why a connection ends in both directions at once.
enum Broken {
    Lost,
    /// As many bytes as were to pass in this direction have passed.
    Cut(Direction),
}

/// What comes out of the path, and when: bytes, none for the end of the stream, or the break of the connection.
type Piece = (Instant, Result<Bytes, Broken>);

/// One direction of a connection.
struct Pump {
    shared: Arc<Shared>,
    faults: watch::Receiver<Faults>,
    direction: Direction,
    line: Line,
    congestion: Congestion,
    entropy: Entropy,
}

impl Pump {
    fn new(shared: &Arc<Shared>, direction: Direction, number: u64) -> Self {
        let seed = shared.seed ^ (number << 1 | u64::from(direction == Direction::ToClient)) << 16;
        Self {
            faults: shared.faults.subscribe(),
            shared: Arc::clone(shared),
            direction,
            line: Line::default(),
            congestion: Congestion::default(),
            entropy: Entropy::new(seed),
        }
    }

    async fn run(self, input: &mut OwnedReadHalf, output: &mut OwnedWriteHalf) -> Result<(), Broken> {
        let (sender, receiver) = mpsc::channel(PIECES);
        let (shared, faults, direction) = (Arc::clone(&self.shared), self.faults.clone(), self.direction);
        let deliver = deliver(shared, faults, direction, receiver, output);
        tokio::try_join!(self.collect(input, sender), deliver).map(|_| ())
    }

    /// Reads at the pace of the path, and says when each piece comes out at its other end.
    async fn collect(mut self, input: &mut OwnedReadHalf, sender: mpsc::Sender<Piece>) -> Result<(), Broken> {
        let mut piece = vec![0; PIECE];
        loop {
            let outcome = input.read(&mut piece).await;
            let read = *outcome.as_ref().unwrap_or(&0);
            let faults = *self.faults.borrow();
            let path = faults.of(self.direction);
            let now = self.shared.began.elapsed();
            let (mut leaves, mut late) = (now, Duration::ZERO);
            if path.loss > 0.0 {
                let sent = self.congestion.send(now, read, faults.round_trip(), path.loss, &mut self.entropy);
                (leaves, late) = (sent.leaves, sent.late);
            }
            let out = self.line.send(path, leaves, read, late, &mut self.entropy);
            let piece = outcome.map(|read| Bytes::copy_from_slice(&piece[..read])).map_err(|_| Broken::Lost);
            sender.send((self.shared.began + out, piece)).await.map_err(|_| Broken::Lost)?;
            // The end of a stream, and its break, take the same path as its bytes.
            if read == 0 {
                return Ok(());
            }
            // What the path does not take yet stays with the sender.
            let free = leaves.max(self.line.busy().saturating_sub(AHEAD));
            wait_until(self.shared.began + free).await;
        }
    }
}

/// Timers go by the millisecond, and one that is due within it waits for its end: so what is due already must not wait.
async fn wait_until(due: Instant) {
    if due > Instant::now() {
        tokio::time::sleep_until(due).await;
    }
}

/// Writes each piece when it is due.
async fn deliver(
    shared: Arc<Shared>,
    mut faults: watch::Receiver<Faults>,
    direction: Direction,
    mut pieces: mpsc::Receiver<Piece>,
    output: &mut OwnedWriteHalf,
) -> Result<(), Broken> {
    let mut passed = 0_u64;
    while let Some((due, piece)) = pieces.recv().await {
        wait_until(due).await;
        until_it_lets_through(&mut faults, direction).await;
        let piece = piece?;
        if piece.is_empty() {
            break;
        }
        let left = faults.borrow().of(direction).cut_after.map_or(u64::MAX, |cut| cut.saturating_sub(passed));
        let whole = piece.len() as u64 <= left;
        let piece = if whole { piece } else { piece.slice(..usize::try_from(left).unwrap_or(usize::MAX)) };
        if output.write_all(&piece).await.is_err() {
            // The receiver is gone; the sender hears of it on the way back.
            until_it_lets_through(&mut faults, direction.opposite()).await;
            return Err(Broken::Lost);
        }
        passed += piece.len() as u64;
        let counter = match direction {
            Direction::ToServer => &shared.to_server,
            Direction::ToClient => &shared.to_client,
        };
        counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if !whole || piece.len() as u64 == left {
            // The end first, so that what was passed on is read before it.
            let _ = output.shutdown().await;
            return Err(Broken::Cut(direction));
        }
    }
    output.shutdown().await.map_err(|_| Broken::Lost)
}

async fn until_it_lets_through(faults: &mut watch::Receiver<Faults>, direction: Direction) {
    // The sender outlives every connection.
    let _ = faults.wait_for(|faults| !faults.of(direction).blackhole).await;
}

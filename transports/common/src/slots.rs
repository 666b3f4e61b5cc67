//! Room for connections, in pools: a crowd that never shows a good key takes nothing from peers that did.
//!
//! ```text
//!   QUIC, address claimed ─▶ unvalidated ─▶ unproven ─ a good key ─▶ proven
//!   TCP, QUIC after Retry ──────────────────────▲
//! ```

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::measure::{CONNECTIONS, Rejected};
use crate::pool::{Admission, Bounds, Overflow, Pool};

/// Handshakes under way whose address is only claimed. Beyond these a source must first prove its address.
const UNVALIDATED: Bounds = Bounds { total: 8, per_address: 2 };

/// The pools by their names in metrics, in the order in which a connection passes through them.
pub const POOLS: [&str; 3] = ["unvalidated", "unproven", "proven"];

/// Room for the connections of one transport.
#[derive(Debug)]
pub struct Slots {
    transport: &'static str,
    rooms: Mutex<Rooms>,
}

#[derive(Debug)]
struct Rooms {
    next: u64,
    unvalidated: Pool,
    unproven: Pool,
    proven: Pool,
    seats: HashMap<u64, Arc<Seat>>,
}

/// What a connection and the pools share.
#[derive(Debug, Default)]
struct Seat {
    proven: AtomicBool,
    evicted: Notify,
}

/// Room for one connection. Dropping it gives the room back.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    ticket: u64,
    address: IpAddr,
    seat: Arc<Seat>,
}

/// Picks one of the pools.
type PoolOf = fn(&mut Rooms) -> &mut Pool;

impl Rooms {
    /// How many connections each pool has.
    fn counts(&self) -> [(&'static str, usize); POOLS.len()] {
        let counts = [&self.unvalidated, &self.unproven, &self.proven].map(Pool::len);
        std::array::from_fn(|n| (POOLS[n], counts[n]))
    }

    /// The connections of one pool must not hide in a sum: a crowd without a key fills its own pool alone.
    fn report(&self, transport: &'static str) {
        for (pool, count) in self.counts() {
            metrics::gauge!(CONNECTIONS.name, "transport" => transport, "pool" => pool).set(count as f64);
        }
    }
}

impl Slots {
    /// Makes room for the connections of a transport: those that have presented a good key, and the rest.
    #[must_use]
    pub fn new(transport: &'static str, proven: Bounds, unproven: Bounds) -> Arc<Self> {
        let rooms = Rooms {
            next: 0,
            unvalidated: Pool::new(UNVALIDATED, Overflow::Refuse),
            unproven: Pool::new(unproven, Overflow::ReplaceOldest),
            proven: Pool::new(proven, Overflow::ReplaceHeavier),
            seats: HashMap::new(),
        };
        rooms.report(transport);
        Arc::new(Self { transport, rooms: Mutex::new(rooms) })
    }

    fn lock(&self) -> MutexGuard<'_, Rooms> {
        // Nothing panics while it holds the lock.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, address: IpAddr, pool: PoolOf) -> Option<Slot> {
        let mut rooms = self.lock();
        let ticket = rooms.next;
        rooms.next += 1;
        if !self.settle(&mut rooms, ticket, address, pool) {
            return None;
        }
        let seat = Arc::new(Seat::default());
        rooms.seats.insert(ticket, Arc::clone(&seat));
        rooms.report(self.transport);
        Some(Slot { slots: Arc::clone(self), ticket, address, seat })
    }

    /// Lets a ticket into a pool and ends the connection that gives way to it. False if there is no room.
    fn settle(&self, rooms: &mut Rooms, ticket: u64, address: IpAddr, pool: PoolOf) -> bool {
        match pool(rooms).admit(ticket, address) {
            Admission::Entered => true,
            Admission::Replaced(gone) => {
                Rejected::NoRoom.count(self.transport);
                if let Some(seat) = rooms.seats.remove(&gone) {
                    seat.evicted.notify_one();
                }
                true
            }
            Admission::Refused => false,
        }
    }

    /// Takes room for a connection whose address is proven, as TCP's are. The connection that gives way to it is ended.
    #[must_use]
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let slot = self.take(address, |rooms| &mut rooms.unproven);
        if slot.is_none() {
            Rejected::NoRoom.count(self.transport);
        }
        slot
    }

    /// Takes room for a handshake whose address is only claimed, if few of these are under way. `None` asks for a proof.
    #[must_use]
    pub fn enter_unvalidated(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        self.take(address, |rooms| &mut rooms.unvalidated)
    }
}

impl Slot {
    /// Notes that the address is proven. False if there is no room for it.
    #[must_use]
    pub fn validate(&self) -> bool {
        let mut rooms = self.slots.lock();
        if !rooms.unvalidated.contains(self.ticket) {
            return rooms.seats.contains_key(&self.ticket);
        }
        self.advance(&mut rooms, |rooms| &mut rooms.unvalidated, |rooms| &mut rooms.unproven)
    }

    /// Notes that the connection presented a good key. False if there is no room for it.
    #[must_use]
    pub fn prove(&self) -> bool {
        if self.is_proven() {
            return true;
        }
        let mut rooms = self.slots.lock();
        let proven = rooms.unproven.contains(self.ticket)
            && self.advance(&mut rooms, |rooms| &mut rooms.unproven, |rooms| &mut rooms.proven);
        self.seat.proven.store(proven, Ordering::Relaxed);
        proven
    }

    /// Moves to another pool. False if there is no room: then it keeps the room that it has.
    fn advance(&self, rooms: &mut Rooms, from: PoolOf, to: PoolOf) -> bool {
        let settled = self.slots.settle(rooms, self.ticket, self.address, to);
        if settled {
            from(rooms).leave(self.ticket);
            rooms.report(self.slots.transport);
        } else {
            Rejected::NoRoom.count(self.slots.transport);
        }
        settled
    }

    /// Whether the connection has presented a good key.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.seat.proven.load(Ordering::Relaxed)
    }

    /// Completes when another connection needs the room. The connection must end then.
    pub async fn evicted(&self) {
        self.seat.evicted.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut rooms = self.slots.lock();
        let rooms = &mut *rooms;
        rooms.seats.remove(&self.ticket);
        for pool in [&mut rooms.unvalidated, &mut rooms.unproven, &mut rooms.proven] {
            pool.leave(self.ticket);
        }
        rooms.report(self.slots.transport);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds { total: 2, per_address: 2 };

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn is_evicted(slot: &Slot) -> bool {
        let mut evicted = std::pin::pin!(slot.evicted());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        evicted.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn a_crowd_without_a_key_takes_nothing_from_who_presented_one() {
        let slots = Slots::new("test", SMALL, SMALL);
        let peer = slots.enter(ip(1)).unwrap();
        assert!(peer.prove() && peer.is_proven());
        let crowd: Vec<_> = (0..100).map(|n| slots.enter(ip(2 + n % 50)).unwrap()).collect();
        assert_eq!(crowd.iter().filter(|slot| !is_evicted(slot)).count(), 2);
        assert!(!is_evicted(&peer));
        let newcomer = slots.enter(ip(1)).unwrap();
        assert!(newcomer.prove() && !is_evicted(&newcomer));
        let third = slots.enter(ip(1)).unwrap();
        assert!(!third.prove() && !third.is_proven(), "two for one address");
        drop(newcomer);
        assert!(third.prove());
    }

    #[test]
    fn who_was_pushed_out_proves_nothing_any_more() {
        let slots = Slots::new("test", SMALL, Bounds { total: 1, per_address: 1 });
        let (first, second) = (slots.enter(ip(1)).unwrap(), slots.enter(ip(2)).unwrap());
        assert!(is_evicted(&first) && !first.prove() && !first.validate());
        assert!(second.validate() && second.prove());
        drop(first);
        assert_eq!(slots.lock().counts().map(|(_, count)| count), [0, 0, 1]);
        drop(second);
        let rooms = slots.lock();
        assert_eq!((rooms.counts().map(|(_, count)| count), rooms.seats.len()), ([0; 3], 0));
    }

    #[test]
    fn each_pool_has_a_series_of_its_own() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let shown = |unvalidated: u32, unproven: u32, proven: u32| {
            let text = handle.render();
            for (pool, count) in POOLS.into_iter().zip([unvalidated, unproven, proven]) {
                let line = |line: &&str| line.contains(&format!("pool=\"{pool}\""));
                let line = text.lines().find(line).unwrap_or_else(|| panic!("no `{pool}` in {text}"));
                assert!(line.starts_with(CONNECTIONS.name) && line.ends_with(&format!(" {count}")), "{line}");
            }
        };
        metrics::with_local_recorder(&recorder, || {
            let slots = Slots::new("test", SMALL, SMALL);
            shown(0, 0, 0);
            let claimed = slots.enter_unvalidated(ip(1)).unwrap();
            let crowd = [slots.enter(ip(2)).unwrap(), slots.enter(ip(3)).unwrap()];
            shown(1, 2, 0);
            assert!(crowd[0].prove());
            shown(1, 1, 1);
            assert!(claimed.validate());
            shown(0, 2, 1);
            drop((claimed, crowd));
            shown(0, 0, 0);
        });
    }

    #[test]
    fn claimed_addresses_are_few_and_take_no_room_of_others() {
        let slots = Slots::new("test", SMALL, SMALL);
        let claims: Vec<_> = (0..70).filter_map(|_| slots.enter_unvalidated(ip(1))).collect();
        assert_eq!(claims.len(), UNVALIDATED.per_address);
        let others: Vec<_> = (2..70).filter_map(|n| slots.enter_unvalidated(ip(n))).collect();
        assert_eq!(claims.len() + others.len(), UNVALIDATED.total);
        // The peer whose address was claimed proves it, and gets in twice.
        let peers = [slots.enter(ip(1)).unwrap(), slots.enter(ip(1)).unwrap()];
        assert!(peers.iter().all(Slot::prove));
        assert!(others[0].validate() && slots.enter_unvalidated(ip(80)).is_some());
    }
}

//! Room for connections: in all, and per address, so that one address cannot take it all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::measure::{CONNECTIONS, Rejected};

/// Room for so many connections.
#[derive(Debug)]
pub struct Slots {
    transport: &'static str,
    total: usize,
    per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Room for one connection, given back when dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    address: IpAddr,
}

impl Slots {
    /// Room for `total` connections of a transport, and for `per_address` of them from one address; an IPv6 network of 64 bits counts as one.
    #[must_use]
    pub fn new(transport: &'static str, total: usize, per_address: usize) -> Arc<Self> {
        metrics::gauge!(CONNECTIONS.name, "transport" => transport).set(0.0);
        Arc::new(Self { transport, total, per_address, taken: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it holds the lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, total: usize) {
        metrics::gauge!(CONNECTIONS.name, "transport" => self.transport).set(total as f64);
    }

    /// Room for a connection from this address, if there is any.
    #[must_use]
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let address = group(address);
        let mut taken = self.lock();
        let here = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.total >= self.total || here >= self.per_address {
            Rejected::NoRoom.count(self.transport);
            return None;
        }
        taken.total += 1;
        self.tell(taken.total);
        taken.by_address.insert(address, here + 1);
        Some(Slot { slots: Arc::clone(self), address })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        taken.total = taken.total.saturating_sub(1);
        self.slots.tell(taken.total);
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// Whoever has one IPv6 address usually has all 2^64 of its network.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn room_is_bounded_and_comes_back() {
        let slots = Slots::new("test", 3, 2);
        let first = slots.take(ip("10.0.0.1")).unwrap();
        let _second = slots.take(ip("::ffff:10.0.0.1")).unwrap();
        assert!(slots.take(ip("10.0.0.1")).is_none(), "two for one address");
        let _third = slots.take(ip("10.0.0.2")).unwrap();
        assert!(slots.take(ip("10.0.0.3")).is_none(), "three in all");
        drop(first);
        assert!(slots.take(ip("10.0.0.1")).is_some());
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let slots = Slots::new("test", 1024, 1);
        let _first = slots.take(ip("2001:db8::1")).unwrap();
        assert!(slots.take(ip("2001:db8::2:3")).is_none());
        assert!(slots.take(ip("2001:db8:0:1::1")).is_some());
    }
}

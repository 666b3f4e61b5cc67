//! Who gets in and who has to go. Pure: tickets and addresses in, a decision out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::network::Network;

/// How many connections a pool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections in all.
    pub total: usize,
    /// Connections from one IPv4 address or IPv6 network of 64 bits. A network of 56 bits may have twice as many, one of 48
    /// bits four times.
    pub per_address: usize,
}

/// What happens where there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The newcomer is refused.
    Refuse,
    /// The oldest connection goes: of the newcomer's network if that is full, otherwise of the network that has most. So a
    /// newcomer always gets in, and a crowd pushes out itself.
    ReplaceOldest,
    /// A network that is full refuses. A full pool takes from the network that has most, if that has at least two more than
    /// the newcomer's: fewer would let two networks push out each other indefinitely.
    ReplaceHeavier,
}

/// What became of a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is in.
    Entered,
    /// It is in, and this ticket is not any more.
    Replaced(u64),
    /// It is not in.
    Refused,
}

/// Connections by the order of their arrival.
#[derive(Debug)]
pub(crate) struct Pool {
    bounds: Bounds,
    overflow: Overflow,
    inside: BTreeMap<u64, IpAddr>,
    counts: HashMap<Network, usize>,
}

impl Pool {
    pub(crate) fn new(bounds: Bounds, overflow: Overflow) -> Self {
        Self { bounds, overflow, inside: BTreeMap::new(), counts: HashMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.inside.len()
    }

    pub(crate) fn contains(&self, ticket: u64) -> bool {
        self.inside.contains_key(&ticket)
    }

    fn count(&self, network: Network) -> usize {
        self.counts.get(&network).copied().unwrap_or(0)
    }

    /// Lets a newcomer in, if there is room or room can be made.
    pub(crate) fn admit(&mut self, ticket: u64, address: IpAddr) -> Admission {
        let per_address = self.bounds.per_address;
        let full = Network::of(address).find(|network| self.count(*network) >= network.bound(per_address));
        let victim = match full {
            Some(network) if self.overflow == Overflow::ReplaceOldest => self.oldest_of(network),
            Some(_) => None,
            None if self.inside.len() < self.bounds.total => {
                self.enter(ticket, address);
                return Admission::Entered;
            }
            None => self.victim_for(address),
        };
        let Some(victim) = victim else { return Admission::Refused };
        self.leave(victim);
        self.enter(ticket, address);
        Admission::Replaced(victim)
    }

    fn enter(&mut self, ticket: u64, address: IpAddr) {
        for network in Network::of(address) {
            *self.counts.entry(network).or_default() += 1;
        }
        self.inside.insert(ticket, address);
    }

    /// Gives a ticket's room back. A ticket that is not inside changes nothing.
    pub(crate) fn leave(&mut self, ticket: u64) {
        let Some(address) = self.inside.remove(&ticket) else { return };
        for network in Network::of(address) {
            if let Some(count) = self.counts.get_mut(&network) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&network);
                }
            }
        }
    }

    fn oldest_of(&self, network: Network) -> Option<u64> {
        let inside = |address: IpAddr| Network::of(address).any(|one| one == network);
        self.inside.iter().find(|(_, address)| inside(**address)).map(|(ticket, _)| *ticket)
    }

    /// Who goes where the pool as a whole is full.
    fn victim_for(&self, address: IpAddr) -> Option<u64> {
        let mut heaviest = None::<(usize, u64)>;
        for (&ticket, &inside) in &self.inside {
            let count = self.count(Network::widest(inside));
            // Only more is heavier: among equals the oldest goes.
            if heaviest.is_none_or(|(most, _)| count > most) {
                heaviest = Some((count, ticket));
            }
        }
        let (most, ticket) = heaviest?;
        let makes_room = match self.overflow {
            Overflow::Refuse => false,
            Overflow::ReplaceOldest => true,
            Overflow::ReplaceHeavier => most >= self.count(Network::widest(address)) + 2,
        };
        makes_room.then_some(ticket)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const UNPROVEN: Bounds = Bounds { total: 8, per_address: 4 };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn pool(bounds: Bounds, overflow: Overflow, from: &[&str]) -> Pool {
        let mut pool = Pool::new(bounds, overflow);
        for (ticket, address) in from.iter().enumerate() {
            assert_eq!(pool.admit(ticket as u64, ip(address)), Admission::Entered, "{ticket}");
        }
        pool
    }

    #[test]
    fn room_comes_back_when_a_ticket_leaves() {
        let mut pool = pool(Bounds { total: 3, per_address: 2 }, Overflow::Refuse, &["10.0.0.1", "::ffff:10.0.0.1"]);
        assert_eq!(pool.admit(2, ip("10.0.0.1")), Admission::Refused, "two from one address");
        assert_eq!(pool.admit(3, ip("10.0.0.2")), Admission::Entered);
        assert_eq!(pool.admit(4, ip("10.0.0.3")), Admission::Refused, "three in all");
        pool.leave(0);
        pool.leave(0);
        assert_eq!(pool.admit(5, ip("10.0.0.1")), Admission::Entered);
        (1..6).for_each(|ticket| pool.leave(ticket));
        assert!(pool.inside.is_empty() && pool.counts.is_empty());
    }

    #[test]
    fn an_address_that_is_full_pushes_out_its_own_oldest() {
        let mut pool =
            pool(UNPROVEN, Overflow::ReplaceOldest, &["10.0.0.9", "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1"]);
        assert_eq!(pool.admit(5, ip("10.0.0.1")), Admission::Replaced(1));
        assert_eq!(pool.admit(6, ip("10.0.0.1")), Admission::Replaced(2));
        assert!(pool.contains(0), "another address keeps its own");
    }

    #[test]
    fn a_full_pool_makes_room_at_the_cost_of_the_network_that_has_most() {
        let crowd = ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3", "10.0.0.1"];
        let mut pool = pool(UNPROVEN, Overflow::ReplaceOldest, &crowd);
        assert_eq!(pool.admit(8, ip("10.0.0.4")), Admission::Replaced(1), "the oldest of 10.0.0.2");
        assert_eq!(pool.admit(9, ip("10.0.0.5")), Admission::Replaced(0), "both have three now; the oldest goes");
        // However many come, an address with one connection is the last to lose it.
        for ticket in 10..1000 {
            let Admission::Replaced(gone) = pool.admit(ticket, ip("10.0.0.6")) else { panic!("{ticket}") };
            assert!(![6, 8, 9].contains(&gone), "{gone}");
        }
    }

    #[test]
    fn an_ipv6_customer_counts_as_one_however_its_networks_are_cut() {
        let bounds = Bounds { total: 1000, per_address: 4 };
        let most = |address: fn(u16) -> String| {
            let mut pool = Pool::new(bounds, Overflow::Refuse);
            (0..200).filter(|&n| pool.admit(u64::from(n), ip(&address(n))) == Admission::Entered).count()
        };
        assert_eq!(most(|n| format!("2001:db8::{n:x}")), 4, "one /64");
        assert_eq!(most(|n| format!("2001:db8:0:{n:x}::1")), 8, "one /56");
        assert_eq!(most(|n| format!("2001:db8:0:{:x}::1", n << 8)), 16, "one /48");
        assert_eq!(most(|n| format!("2001:db8:{n:x}::1")), 200, "others");
        // The widest network is what counts when a pool makes room.
        let spread: Vec<_> = (0..8).map(|n: u16| format!("2001:db8:0:{:x}::1", n << 8)).collect();
        let mut pool = pool(UNPROVEN, Overflow::ReplaceOldest, &spread.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(pool.admit(8, ip("10.0.0.1")), Admission::Replaced(0));
        assert_eq!(pool.admit(9, ip("2001:db8:0:ffff::1")), Admission::Replaced(1));
        assert!(pool.contains(8));
    }

    #[test]
    fn who_has_proved_the_key_gives_way_only_to_a_network_with_fewer() {
        let crowd = ["10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2", "10.0.0.1", "10.0.0.2"];
        let mut pool = pool(UNPROVEN, Overflow::ReplaceHeavier, &crowd);
        assert_eq!(pool.admit(8, ip("10.0.0.1")), Admission::Refused, "its network is full");
        assert_eq!(pool.admit(9, ip("10.0.0.3")), Admission::Replaced(0));
        assert_eq!(pool.admit(10, ip("10.0.0.1")), Admission::Refused, "three against four");
        assert_eq!(pool.admit(11, ip("10.0.0.3")), Admission::Replaced(3));
        assert_eq!(pool.admit(12, ip("10.0.0.3")), Admission::Refused, "two against three, and back, and so on");
    }

    #[test]
    fn a_pool_without_room_refuses() {
        for overflow in [Overflow::Refuse, Overflow::ReplaceOldest, Overflow::ReplaceHeavier] {
            for bounds in [Bounds { total: 0, per_address: 1 }, Bounds { total: 1, per_address: 0 }] {
                assert_eq!(Pool::new(bounds, overflow).admit(0, ip("10.0.0.1")), Admission::Refused);
            }
        }
    }
}

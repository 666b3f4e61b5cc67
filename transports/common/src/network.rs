//! Addresses of clients: which count together against a bound, and how they are shown.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A range of addresses that one party may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    prefix: IpAddr,
    /// How often the bound of one address it may have.
    share: usize,
}

impl Network {
    /// Returns how many entries it may have, where one address may have `per_address`.
    pub(crate) const fn bound(self, per_address: usize) -> usize {
        per_address.saturating_mul(self.share)
    }

    /// Returns the networks of an address, narrowest first: an IPv4 address alone, and of IPv6 the networks of 64, 56 and
    /// 48 bits. A customer of IPv6 has at least 2^64 addresses, and often 256 or 65,536 networks of that size.
    pub(crate) fn of(address: IpAddr) -> impl Iterator<Item = Self> {
        let canonical = address.to_canonical();
        let shares: &[(u32, usize)] = match canonical {
            IpAddr::V4(_) => &[(128, 1)],
            IpAddr::V6(_) => &[(64, 1), (56, 2), (48, 4)],
        };
        shares.iter().map(move |&(bits, share)| Self { prefix: masked(canonical, bits), share })
    }

    /// Returns the widest network of an address.
    pub(crate) fn widest(address: IpAddr) -> Self {
        Self::of(address).last().unwrap_or(Self { prefix: address, share: 1 })
    }
}

/// Returns the text of a client's address. IPv4 has one form, also on a socket of IPv6.
#[must_use]
pub fn address_text(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

fn masked(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> bits))),
        v4 => v4,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<(String, usize)> {
        Network::of(text.parse().unwrap()).map(|one| (one.prefix.to_string(), one.bound(10))).collect()
    }

    #[test]
    fn an_ipv4_address_counts_alone_and_ipv6_by_three_networks() {
        assert_eq!(of("10.0.0.1"), [("10.0.0.1".to_owned(), 10)]);
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        let expected = [("2001:db8:1:2345::", 10), ("2001:db8:1:2300::", 20), ("2001:db8:1::", 40)];
        assert_eq!(of("2001:db8:1:2345:6::7"), expected.map(|(prefix, bound)| (prefix.to_owned(), bound)));
        assert_eq!(address_text("[::ffff:10.0.0.1]:7".parse().unwrap()), "10.0.0.1:7");
        assert_eq!(address_text("[2001:db8::1]:7".parse().unwrap()), "[2001:db8::1]:7");
        assert_eq!(Network::widest("2001:db8:1:2345::7".parse().unwrap()).prefix.to_string(), "2001:db8:1::");
    }
}

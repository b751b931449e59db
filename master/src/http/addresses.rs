//! Network addresses of clients, and how many connections each has.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The address that a client's limits go by. One IPv6 customer usually has a whole /64; IPv4 written as IPv6 is the
/// same address.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
    }
}

/// The connections of each address.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    most: usize,
}

/// One connection; dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Place {
    of: Connections,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.of.open.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

impl Connections {
    /// At most `most` connections of each address.
    pub(super) fn new(most: usize) -> Self {
        Self {
            open: Arc::default(),
            most,
        }
    }

    /// Room for a connection of `address`; `None` if it has too many.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut open = self.open.lock();
        let count = open.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Place {
            of: self.clone(),
            address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_own_places_and_gets_them_back() {
        let connections = Connections::new(2);
        let a: IpAddr = "2001:db8::1".parse().expect("address");
        let neighbour: IpAddr = "2001:db8::2".parse().expect("address");
        let b: IpAddr = "192.0.2.1".parse().expect("address");
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().expect("address");
        let first = connections.admit(a).expect("free");
        let _second = connections.admit(neighbour).expect("free");
        assert!(connections.admit(a).is_none());
        let _other = connections.admit(b).expect("another's");
        assert_eq!(network(mapped), b);
        drop(first);
        let third = connections.admit(a).expect("free again");
        drop(third);
        assert_eq!(connections.open.lock().len(), 2);
    }
}

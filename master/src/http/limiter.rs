//! How often one address may present a wrong token.
//!
//! Guessing 256 bits is hopeless; what this saves is work and log lines. It therefore judges failures
//! only: a right token always passes, so that nobody can lock out those who share an address with them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Wrong tokens that an address may present at once.
const BURST: u32 = 20;
/// One more is forgiven after this.
const REFILL: Duration = Duration::from_secs(3);
/// Addresses remembered; beyond it the one heard from longest ago is forgotten.
const ADDRESSES_MAX: usize = 4096;

/// Counts failures by address; bounded in memory.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    buckets: Mutex<BTreeMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    failures: u32,
    at: Instant,
}

impl Limiter {
    /// Notes a failure of `address` at `now`; `Err` says after how long it may try again.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let key = network(address);
        let mut buckets = self.buckets.lock();
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&key) {
            let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.at);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                buckets.remove(&oldest);
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket {
            failures: 0,
            at: now,
        });
        let since = now.saturating_duration_since(bucket.at);
        let forgiven = u32::try_from(since.as_millis() / REFILL.as_millis()).unwrap_or(u32::MAX);
        if forgiven > 0 {
            bucket.failures = bucket.failures.saturating_sub(forgiven);
            bucket.at = now;
        }
        if bucket.failures >= BURST {
            return Err(REFILL);
        }
        bucket.failures += 1;
        Ok(())
    }
}

/// One IPv6 customer usually has a whole /64; IPv4 written as IPv6 is the same address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_limited_by_network_and_forgiven_in_time() {
        let limiter = Limiter::default();
        let now = Instant::now();
        let a: IpAddr = "2001:db8::1".parse().expect("address");
        let neighbour: IpAddr = "2001:db8::2".parse().expect("address");
        let b: IpAddr = "192.0.2.1".parse().expect("address");
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().expect("address");
        for _ in 0..BURST {
            assert_eq!(limiter.failed(a, now), Ok(()));
        }
        assert_eq!(limiter.failed(a, now), Err(REFILL));
        assert_eq!(limiter.failed(neighbour, now), Err(REFILL));
        assert_eq!(limiter.failed(b, now), Ok(()));
        assert_eq!(network(mapped), b);
        assert_eq!(limiter.failed(a, now + REFILL), Ok(()));
        assert_eq!(limiter.failed(a, now + REFILL), Err(REFILL));
    }

    #[test]
    fn its_memory_is_bounded() {
        let limiter = Limiter::default();
        let now = Instant::now();
        for number in 0..u32::try_from(ADDRESSES_MAX).expect("small") + 10 {
            let address = IpAddr::V4(number.into());
            let at = now + Duration::from_millis(number.into());
            assert_eq!(limiter.failed(address, at), Ok(()));
        }
        assert_eq!(limiter.buckets.lock().len(), ADDRESSES_MAX);
    }
}

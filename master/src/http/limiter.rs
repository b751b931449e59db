//! How often one address may present a wrong token.
//!
//! Guessing 256 bits is hopeless; what this saves is work and log lines. It therefore judges failures
//! only: a right token always passes, so that nobody can lock out those who share an address with them.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::addresses::network;

/// Wrong tokens that an address may present at once, and that are forgiven within a minute.
const BURST: NonZeroU32 = NonZeroU32::new(20).expect("20 is not zero");
/// At least one more is forgiven after this.
const REFILL: Duration = Duration::from_secs(3);
/// Addresses remembered; while as many have failures that are not forgiven, every failure is one too many.
const ADDRESSES_MAX: usize = 4096;

/// Counts failures by address; bounded in memory.
#[derive(Debug)]
pub(super) struct Limiter<C: Clock = MonotonicClock> {
    failures: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, C, NoOpMiddleware<C::Instant>>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new(MonotonicClock)
    }
}

impl<C: Clock> Limiter<C> {
    fn new(clock: C) -> Self {
        let quota = Quota::per_minute(BURST);
        Self {
            failures: RateLimiter::new(quota, HashMapStateStore::default(), clock),
        }
    }

    /// Notes a failure of `address`; `Err` says after how long it may try again.
    pub(super) fn failed(&self, address: IpAddr) -> Result<(), Duration> {
        if self.failures.len() >= ADDRESSES_MAX {
            self.failures.retain_recent();
            if self.failures.len() >= ADDRESSES_MAX {
                return Err(REFILL);
            }
        }
        self.failures
            .check_key(&network(address))
            .map_err(|_| REFILL)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn failures_are_limited_by_network_and_forgiven_in_time() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::new(clock.clone());
        let a: IpAddr = "2001:db8::1".parse().expect("address");
        let neighbour: IpAddr = "2001:db8::2".parse().expect("address");
        let b: IpAddr = "192.0.2.1".parse().expect("address");
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().expect("address");
        for _ in 0..BURST.get() {
            assert_eq!(limiter.failed(a), Ok(()));
        }
        assert_eq!(limiter.failed(a), Err(REFILL));
        assert_eq!(limiter.failed(neighbour), Err(REFILL));
        assert_eq!(limiter.failed(b), Ok(()));
        assert_eq!(network(mapped), b);
        clock.advance(REFILL);
        assert_eq!(limiter.failed(a), Ok(()));
        assert_eq!(limiter.failed(a), Err(REFILL));
    }

    #[test]
    fn its_memory_is_bounded() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::new(clock.clone());
        let most = u32::try_from(ADDRESSES_MAX).expect("small");
        for number in 0..most {
            assert_eq!(limiter.failed(IpAddr::V4(number.into())), Ok(()));
        }
        assert_eq!(limiter.failed(IpAddr::V4(most.into())), Err(REFILL));
        assert_eq!(limiter.failures.len(), ADDRESSES_MAX);
        // One refill forgives the failure, and the next forgets the address.
        clock.advance(2 * REFILL);
        assert_eq!(limiter.failed(IpAddr::V4(most.into())), Ok(()));
        assert_eq!(limiter.failures.len(), 1);
    }
}

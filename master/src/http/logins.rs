//! Logins with a password: how often, how many at once, and whether the password is right.
//!
//! A hash costs time and memory on purpose, so few are computed at once and few requests wait for one. Attempts are
//! limited before anything is computed: by address, whether they succeed or not, and by account, so that many addresses
//! together guess no faster. Who exhausts an account's attempts hinders only logins with its password; tokens go on.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use dopq_common::api::ErrorCode;
use dopq_common::id::UserName;
use dopq_common::secret::Secret;
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::sync::Semaphore;

use super::addresses::network;
use super::error::{Error, Result};
use crate::accounts;

/// Attempts from one network, at once and within a minute.
const BY_ADDRESS: NonZeroU32 = NonZeroU32::new(10).expect("10 is not zero");
/// Attempts on one account, at once and within a minute.
const BY_ACCOUNT: NonZeroU32 = NonZeroU32::new(30).expect("30 is not zero");
/// One more attempt is allowed after this.
const REFILL: Duration = Duration::from_secs(6);
/// Networks remembered.
const NETWORKS_MAX: usize = 4096;
/// Hashes computed at once: 40 MiB and two cores.
const AT_ONCE: usize = 2;
/// Requests that wait for a hash.
const WAITING_MAX: usize = 32;

type Keyed<K> = RateLimiter<
    K,
    HashMapStateStore<K>,
    MonotonicClock,
    NoOpMiddleware<<MonotonicClock as Clock>::Instant>,
>;

/// The limits.
#[derive(Debug)]
pub(super) struct Logins {
    by_address: Keyed<IpAddr>,
    by_account: Keyed<UserName>,
    hashing: Semaphore,
    waiting: Semaphore,
}

impl Default for Logins {
    fn default() -> Self {
        Self {
            by_address: keyed(BY_ADDRESS),
            by_account: keyed(BY_ACCOUNT),
            hashing: Semaphore::new(AT_ONCE),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }
}

fn keyed<K: Hash + Eq + Clone>(per_minute: NonZeroU32) -> Keyed<K> {
    let quota = Quota::per_minute(per_minute);
    RateLimiter::new(quota, HashMapStateStore::default(), MonotonicClock)
}

impl Logins {
    /// Counts an attempt from `address`, on `account` if there is one of that name.
    pub(super) fn count(&self, address: IpAddr, account: Option<&UserName>) -> Result<()> {
        if self.by_address.len() >= NETWORKS_MAX {
            self.by_address.retain_recent();
        }
        let is_full = self.by_address.len() >= NETWORKS_MAX;
        if is_full || self.by_address.check_key(&network(address)).is_err() {
            return Err(too_many("too many logins from this address"));
        }
        // There are as many keys as accounts.
        let over = |account| self.by_account.check_key(account).is_err();
        if account.is_some_and(over) {
            return Err(too_many("too many logins with this name"));
        }
        Ok(())
    }

    /// Whether `hash` is that of `password`; without a hash it takes as long.
    pub(super) async fn matches(&self, hash: Option<Secret>, password: Secret) -> Result<bool> {
        self.compute(move || accounts::matches(hash.as_ref(), &password))
            .await
    }

    /// The hash of a password.
    pub(super) async fn hash(&self, password: Secret) -> Result<Secret> {
        let hashed = self.compute(move || accounts::hash(&password)).await?;
        hashed.map_err(|error| Error::internal("cannot hash the password", &error))
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let _waits = self
            .waiting
            .try_acquire()
            .map_err(|_| too_many("too many logins at once"))?;
        let _computes = self.hashing.acquire().await;
        let computed = tokio::task::spawn_blocking(work).await;
        computed.map_err(|error| Error::internal("cannot check the password", &error))
    }
}

fn too_many(message: &str) -> Error {
    Error::new(ErrorCode::TooManyRequests, message)
        .retry_after(REFILL)
        .hint("wait a moment; a token works without a login")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_limited_by_network_and_by_account() {
        let logins = Logins::default();
        let anna: UserName = "anna".parse().expect("a name");
        let address = |number: u32| IpAddr::V4(number.into());
        for _ in 0..BY_ADDRESS.get() {
            assert!(logins.count(address(1), Some(&anna)).is_ok());
        }
        assert!(logins.count(address(1), None).is_err());
        let rest =
            (2..100).take_while(|number| logins.count(address(*number), Some(&anna)).is_ok());
        assert_eq!(rest.count(), 20, "{BY_ACCOUNT} together");
        assert!(logins.count(address(200), None).is_ok());
        for number in 1000..1000 + 4096 {
            drop(logins.count(address(number), None));
        }
        assert!(logins.by_address.len() <= NETWORKS_MAX);
    }

    #[tokio::test]
    async fn few_hashes_are_computed_and_few_requests_wait() {
        let logins = std::sync::Arc::new(Logins::default());
        let _held = logins.hashing.acquire_many(2).await.expect("open");
        let hash = || {
            let logins = std::sync::Arc::clone(&logins);
            tokio::spawn(async move { logins.hash(Secret::from("x")).await.is_ok() })
        };
        let waiting: Vec<_> = (0..WAITING_MAX).map(|_| hash()).collect();
        while logins.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(!hash().await.expect("joined"), "one too many");
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

//! One lock for each key, for work that is done once however many ask for it at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// The locks in use; a key that nobody holds or waits for takes no room. What is locked can keep the last
/// result for those who waited.
#[derive(Debug)]
pub(crate) struct Keyed<K, V>(Mutex<BTreeMap<K, Arc<AsyncMutex<V>>>>);

impl<K, V> Default for Keyed<K, V> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<K: Ord + Clone, V: Default> Keyed<K, V> {
    /// Waits for the key's lock. Cancelling the call leaves nothing behind.
    pub(crate) async fn lock(&self, key: &K) -> OwnedMutexGuard<V> {
        let slot = {
            let mut slots = self.0.lock();
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
            Arc::clone(slots.entry(key.clone()).or_default())
        };
        slot.lock_owned().await
    }
}

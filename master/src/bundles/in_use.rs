//! Keeps a bundle from being removed while it is stored or a job that needs it is accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dopq_common::id::Digest;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The bundles in use by requests of this process; clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct InUse(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    removed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    users: BTreeMap<Digest, usize>,
    going: BTreeSet<Digest>,
}

/// A use of a bundle; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Using {
    shared: Arc<Shared>,
    digest: Digest,
}

impl Drop for Using {
    fn drop(&mut self) {
        let mut table = self.shared.table.lock();
        if let Some(count) = table.users.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                table.users.remove(&self.digest);
            }
        }
    }
}

/// The removal of a bundle; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Removal {
    shared: Arc<Shared>,
    digest: Digest,
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.shared.table.lock().going.remove(&self.digest);
        self.shared.removed.notify_waiters();
    }
}

impl InUse {
    /// Uses a bundle. Waits while it is being removed; it may be gone then.
    pub(super) async fn using(&self, digest: Digest) -> Using {
        loop {
            let removed = self.0.removed.notified();
            {
                let mut table = self.0.table.lock();
                if !table.going.contains(&digest) {
                    *table.users.entry(digest).or_default() += 1;
                    let shared = Arc::clone(&self.0);
                    return Using { shared, digest };
                }
            }
            removed.await;
        }
    }

    /// Begins to remove a bundle; `None` while it is in use.
    pub(super) fn removing(&self, digest: Digest) -> Option<Removal> {
        let mut table = self.0.table.lock();
        if table.users.contains_key(&digest) || !table.going.insert(digest) {
            return None;
        }
        let shared = Arc::clone(&self.0);
        Some(Removal { shared, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bundle_is_either_used_or_removed() {
        let in_use = InUse::default();
        let digest = Digest([1; 32]);
        let (one, other) = (in_use.using(digest).await, in_use.using(digest).await);
        drop(one);
        assert!(in_use.removing(digest).is_none());
        drop(other);
        let removal = in_use.removing(digest).expect("unused");
        assert!(in_use.removing(digest).is_none(), "once at a time");
        let waiting = tokio::spawn({
            let in_use = in_use.clone();
            async move { in_use.using(digest).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(removal);
        drop(waiting.await.expect("used"));
        assert!(in_use.removing(digest).is_some());
    }
}

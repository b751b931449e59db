//! Which workers may speak, and by which key.
//!
//! A worker that an admin added has a key of its own, and no other passes for it. A key made from the cluster's secret
//! passes for every worker that has none, but only where all of the cluster is on one machine.

use dopq_common::id::{AttemptId, WorkerId};
use dopq_common::secret::Secret;
use dopq_common::wire::{ClusterKey, WorkerKey, WorkerKeys};

use crate::store::NodeKey;
use crate::view::View;

/// The keys of all workers.
#[derive(Debug, Clone)]
pub struct NodeKeys {
    cluster: ClusterKey,
    view: View,
    shared: bool,
}

impl NodeKeys {
    /// The keys of the workers that `view` shows. With `shared`, whoever knows the cluster's secret may speak for a worker
    /// that has no key of its own.
    #[must_use]
    pub const fn new(cluster: ClusterKey, view: View, shared: bool) -> Self {
        Self {
            cluster,
            view,
            shared,
        }
    }

    /// The key that `record` is about.
    #[must_use]
    pub fn made(&self, record: &NodeKey) -> WorkerKey {
        self.cluster.own(&record.worker, &record.salt)
    }

    /// The token of an attempt on one worker, which opens nothing without that worker's key.
    #[must_use]
    pub fn token(&self, attempt: AttemptId, worker: &WorkerId) -> Secret {
        self.cluster.token(attempt, worker)
    }
}

impl WorkerKeys for NodeKeys {
    fn of(&self, worker: &WorkerId) -> Option<WorkerKey> {
        let own = self
            .view
            .read(|model| model.nodes.get(worker).map(|record| self.made(record)));
        own.or_else(|| self.shared.then(|| self.cluster.worker(worker)))
    }
}

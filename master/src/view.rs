//! The read model: what has been committed, for everybody who only reads.
//!
//! The driver publishes every committed change here, and a standby refreshes it from the store. The
//! HTTP API, the event stream, the metrics and the log reader answer from it; nobody writes through it.

use std::collections::BTreeMap;
use std::sync::Arc;

use dopq_common::id::{Epoch, JobId, UserName, WorkerId};
use dopq_common::sched::{Settings, State};
use parking_lot::RwLock;
use tokio::sync::broadcast;

use crate::store::Account;
use crate::telemetry::Telemetry;

/// So many batches of changed jobs are kept for a reader that lags; one that lags further is told so
/// and reads the whole model again.
const CHANGES_KEPT: usize = 1024;

/// Whether this master decides or only answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It decides.
    Leader,
    /// It answers reads, and knows where the leader is when there is one.
    Standby {
        /// The leader's advertised URL.
        leader_url: Option<String>,
    },
}

/// Everything that readers see, as of the last commit.
#[derive(Debug)]
pub struct Model {
    /// The scheduler's state.
    pub state: State,
    /// Accounts by name.
    pub accounts: BTreeMap<UserName, Account>,
    /// What the workers' heartbeats say, by worker.
    pub live: BTreeMap<WorkerId, Telemetry>,
    /// Whether this master leads.
    pub role: Role,
    /// The leadership that made the last commit.
    pub epoch: Epoch,
    /// How many batches have been committed.
    pub seq: u64,
    /// Why the store cannot be written, while it cannot.
    pub store_fault: Option<String>,
}

/// Shares the model.
#[derive(Clone)]
pub struct View {
    model: Arc<RwLock<Model>>,
    changes: broadcast::Sender<Arc<Vec<JobId>>>,
}

impl View {
    /// An empty model of a standby.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let model = Model {
            state: State::new(settings),
            accounts: BTreeMap::new(),
            live: BTreeMap::new(),
            role: Role::Standby { leader_url: None },
            epoch: Epoch::default(),
            seq: 0,
            store_fault: None,
        };
        Self {
            model: Arc::new(RwLock::new(model)),
            changes: broadcast::channel(CHANGES_KEPT).0,
        }
    }

    /// Reads the model. Keep it short: the lock is held meanwhile.
    pub fn read<R>(&self, reader: impl FnOnce(&Model) -> R) -> R {
        reader(&self.model.read())
    }

    /// Tells of the jobs that changed, once per commit, after the model shows it.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Arc<Vec<JobId>>> {
        self.changes.subscribe()
    }
}

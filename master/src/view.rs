//! The read model: what has been committed, for everybody who only reads.
//!
//! The driver publishes every committed change here, and a standby refreshes it from the store. The
//! HTTP API, the event stream, the metrics and the log reader answer from it; nobody writes through it.

use std::collections::BTreeMap;
use std::sync::Arc;

use dopq_common::id::{Epoch, JobId, UserName, WorkerId};
use dopq_common::job::{JobState, Phase};
use dopq_common::sched::{Change, Settings, State, Unstored};
use dopq_common::time::Timestamp;
use dopq_common::wire::Heartbeat;
use parking_lot::RwLock;
use tokio::sync::broadcast;

use crate::store::{Account, AccountChange, Batch, Delta, Loaded, NodeKey};

/// What one worker last told.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    /// Its last heartbeat, and when it came by the master's clock.
    pub heartbeat: Option<(Timestamp, Heartbeat)>,
}

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
    /// The keys of the workers that have one of their own.
    pub nodes: BTreeMap<WorkerId, NodeKey>,
    /// What the workers' heartbeats say, by worker.
    pub live: BTreeMap<WorkerId, Telemetry>,
    /// Whether this master leads.
    pub role: Role,
    /// The leadership that made the last commit.
    pub epoch: Epoch,
    /// How many batches have been committed.
    pub seq: u64,
    /// Why the store rejects writes, while it cannot.
    pub store_fault: Option<String>,
}

impl Model {
    /// Everything that runs once, with its phase: jobs, and of arrays each task instead of the array. One
    /// entry may stand for many tasks that have not begun.
    pub fn runs(&self) -> impl Iterator<Item = (&UserName, Phase, u64)> {
        self.state.jobs().filter_map(|job| match &job.state {
            JobState::Array(array) => {
                let waiting = u64::from(array.waiting.len());
                Some((&job.user, Phase::Queued, waiting))
            }
            JobState::Finished(finished) if finished.tasks.is_some() => None,
            JobState::Queued(_) | JobState::Active(..) | JobState::Finished(_) => {
                Some((&job.user, job.state.phase(), 1))
            }
        })
    }
}

/// Shares the model.
#[derive(Debug, Clone)]
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
            nodes: BTreeMap::new(),
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

    /// Reads the model. Keep it short: the lock is held meanwhile, and a commit waits to be shown.
    pub fn read<R>(&self, reader: impl FnOnce(&Model) -> R) -> R {
        reader(&self.model.read())
    }

    /// Tells of the jobs that changed, once per commit, after the model shows it.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Arc<Vec<JobId>>> {
        self.changes.subscribe()
    }

    /// Shows other settings of the scheduler, which a state that is loaded later has as well.
    pub(crate) fn set_settings(&self, settings: Settings) {
        self.model.write().state.set_settings(settings);
    }

    /// Shows `loaded` as the state that this master leads with from now on.
    pub(crate) fn lead(&self, loaded: Loaded, epoch: Epoch) {
        let jobs = {
            let mut model = self.model.write();
            model.role = Role::Leader;
            replace(&mut model, loaded);
            model.epoch = epoch;
            model.store_fault = None;
            model.state.jobs().map(|job| job.id).collect()
        };
        self.tell(jobs);
    }

    /// Shows `loaded`, which is everything, as another master committed it.
    pub(crate) fn reload(&self, loaded: Loaded) {
        let jobs = {
            let mut model = self.model.write();
            replace(&mut model, loaded);
            model.state.jobs().map(|job| job.id).collect()
        };
        self.tell(jobs);
    }

    /// Shows what another master has committed since the model's own `seq`.
    pub(crate) fn follow(&self, since: Delta) {
        let jobs = jobs_of(&since.changes);
        {
            let mut model = self.model.write();
            model.seq = since.seq;
            model.epoch = since.epoch;
            for change in since.changes {
                model.state.apply(change);
            }
            for change in since.accounts {
                change_account(&mut model, change);
            }
        }
        self.tell(jobs);
    }

    /// Shows a batch that was committed.
    pub(crate) fn publish(&self, batch: &Batch) {
        {
            let mut model = self.model.write();
            model.seq = batch.seq;
            model.epoch = batch.epoch;
            for change in &batch.changes {
                model.state.apply(change.clone());
            }
            for change in &batch.accounts {
                change_account(&mut model, change.clone());
            }
        }
        self.tell(jobs_of(&batch.changes));
    }

    /// Shows what the scheduler knows besides what it commits.
    pub(crate) fn show_unstored(&self, unstored: Unstored) {
        if self.read(|model| model.state.unstored() != unstored) {
            self.model.write().state.set_unstored(unstored);
        }
    }

    /// Shows that this master stands by, and who leads.
    pub(crate) fn stand_by(&self, leader_url: Option<String>) {
        let role = Role::Standby { leader_url };
        if self.read(|model| model.role != role) {
            self.model.write().role = role;
        }
    }

    /// Shows why the store rejects writes, or that it can; returns what was shown before.
    pub(crate) fn set_store_fault(&self, fault: Option<String>) -> Option<String> {
        if self.read(|model| model.store_fault == fault) {
            return fault;
        }
        std::mem::replace(&mut self.model.write().store_fault, fault)
    }

    /// Shows a heartbeat.
    pub(crate) fn beat(&self, worker: WorkerId, at: Timestamp, beat: Heartbeat) {
        self.model.write().live.entry(worker).or_default().heartbeat = Some((at, beat));
    }

    fn tell(&self, jobs: Vec<JobId>) {
        if !jobs.is_empty() {
            // Nobody listening is no fault.
            drop(self.changes.send(Arc::new(jobs)));
        }
    }
}

fn replace(model: &mut Model, loaded: Loaded) {
    let mut state = State::new(model.state.settings().clone());
    for change in loaded.changes {
        state.apply(change);
    }
    let accounts = loaded.accounts.into_iter();
    model.accounts = accounts
        .map(|account| (account.name.clone(), account))
        .collect();
    let nodes = loaded.nodes.into_iter();
    model.nodes = nodes.map(|node| (node.worker.clone(), node)).collect();
    model.state = state;
    model.seq = loaded.seq;
    model.epoch = loaded.epoch;
}

fn change_account(model: &mut Model, change: AccountChange) {
    match change {
        AccountChange::Set(account) => drop(model.accounts.insert(account.name.clone(), account)),
        AccountChange::Removed(name) => drop(model.accounts.remove(&name)),
        AccountChange::NodeSet(node) => drop(model.nodes.insert(node.worker.clone(), node)),
        AccountChange::NodeRemoved(worker) => drop(model.nodes.remove(&worker)),
    }
}

fn jobs_of(changes: &[Change]) -> Vec<JobId> {
    let jobs = changes.iter().filter_map(|change| match change {
        Change::Job(job) => Some(job.id),
        Change::JobDropped(id) => Some(*id),
        Change::User(_)
        | Change::Group(_)
        | Change::GroupDropped(_)
        | Change::Worker(_)
        | Change::WorkerDropped(_)
        | Change::Key(..)
        | Change::Meta(_) => None,
    });
    jobs.collect()
}

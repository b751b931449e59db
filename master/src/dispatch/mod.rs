//! Performs what the scheduler decided, after the commit: gives orders and archives records. Beside that, tells workers
//! what they will probably run.
//!
//! Nothing here decides, and nothing here is remembered by others: what is pending can be derived from
//! the committed state, so it is kept in memory and made anew by the next leader. The owner of the
//! state never waits for any of it.

mod lane;
mod order;
mod prefetch;

use std::collections::BTreeMap;
use std::sync::Arc;

use dopq_common::id::WorkerId;
use dopq_common::sched::{Effect, State};
use dopq_common::time::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use lane::Orders;

use lane::Lane;
use order::Kind;

use crate::archive::{self, Archiver};

/// Performs effects without waiting for them.
#[derive(Debug)]
pub(crate) struct Dispatch {
    orders: Arc<Orders>,
    lanes: BTreeMap<WorkerId, Lane>,
    archiver: Archiver,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Dispatch {
    /// Performs on `tasks` until `stop`. `state` is the committed state, `now` the time.
    pub(crate) fn start(
        orders: Orders,
        archive: archive::Options,
        state: &State,
        now: Timestamp,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let orders = Arc::new(orders);
        let prefetch = prefetch::run(Arc::clone(&orders));
        tasks.spawn(stop.clone().run_until_cancelled_owned(prefetch));
        Self {
            orders,
            lanes: BTreeMap::new(),
            archiver: Archiver::start(archive, state.jobs().cloned().collect(), now, tasks, stop),
            tasks: tasks.clone(),
            stop: stop.clone(),
        }
    }

    /// Performs one effect; `state` is the committed state.
    pub(crate) fn perform(&mut self, effect: Effect, state: &State) {
        match effect {
            Effect::Run { worker, attempt } => self.lane(worker).give(attempt, Kind::Run),
            Effect::Stop {
                worker,
                attempt,
                outcome,
                grace,
                insists,
            } => {
                let kind = Kind::Stop {
                    outcome,
                    grace,
                    insists,
                };
                self.lane(worker).give(attempt, kind);
            }
            Effect::Forget { worker, attempt } => self.lane(worker).give(attempt, Kind::Forget),
            Effect::Accepted { new: false, .. } => {}
            Effect::Accepted { job, new: true } => {
                if let Some(job) = state.job(job) {
                    self.archiver
                        .write(archive::Kind::Accepted, Arc::clone(job));
                }
            }
            Effect::Archive { job } => self.archiver.write(archive::Kind::Finished, job),
            Effect::ClearArchive { user, before } => self.archiver.clear(user, before),
        }
    }

    fn lane(&mut self, worker: WorkerId) -> &Lane {
        let (orders, tasks, stop) = (&self.orders, &self.tasks, &self.stop);
        self.lanes.entry(worker).or_insert_with_key(|worker| {
            Lane::start(worker.clone(), Arc::clone(orders), tasks, stop.clone())
        })
    }
}

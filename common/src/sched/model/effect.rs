//! What one or more steps changed and what is to be done about it, in this order: commit, then act.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{AttemptId, GroupName, JobId, UserName, WorkerId};
use crate::job::{Job, Outcome};
use crate::time::Timestamp;

use crate::sched::model::entities::{Group, Meta, User, Worker};

/// Collects over a batch of steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// What must be committed.
    pub dirty: Dirty,
    /// What is done after the commit, in order.
    pub acts: Vec<Effect>,
}

/// Names of what changed; the values are read from the state once, when the batch is committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Jobs that changed or were dropped from memory.
    pub jobs: BTreeSet<JobId>,
    /// Users that changed.
    pub users: BTreeSet<UserName>,
    /// Groups that changed or were removed.
    pub groups: BTreeSet<GroupName>,
    /// Workers that changed or were removed.
    pub workers: BTreeSet<WorkerId>,
    /// Idempotency keys given to jobs.
    pub keys: BTreeSet<(Arc<str>, JobId)>,
    /// Whether the counters or the lock changed.
    pub meta: bool,
}

/// One thing to commit, with its whole new value.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The job as it now is.
    Job(Arc<Job>),
    /// The job is forgotten.
    JobDropped(JobId),
    /// The user as it now is.
    User(Box<User>),
    /// The group as it now is.
    Group(Box<Group>),
    /// The group is no more.
    GroupDropped(GroupName),
    /// The worker as it now is.
    Worker(Arc<Worker>),
    /// The worker is forgotten.
    WorkerDropped(WorkerId),
    /// The key belongs to the job.
    Key(Arc<str>, JobId),
    /// Counters and lock.
    Meta(Box<Meta>),
}

/// One thing to do after the commit.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The submission became this job, or was this job already; answer it.
    Accepted {
        /// Which.
        job: JobId,
        /// False when the key was known.
        new: bool,
    },
    /// Order the worker to run the attempt; the shell fills in bundle, token and addresses.
    Run {
        /// The machine.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// Order the worker to end the attempt.
    Stop {
        /// The machine.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
        /// How it is to be reported.
        outcome: Outcome,
        /// Between SIGTERM and SIGKILL.
        grace: Duration,
        /// Whether the user cancels it again while its log and results are being stored.
        insists: bool,
    },
    /// The attempt's end is committed, or it is stale: the worker may forget it.
    Forget {
        /// The machine.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// The job is over for good: archive it as it ended.
    Archive {
        /// The job. The history's bound may drop it from the state in the same batch.
        job: Arc<Job>,
    },
    /// Take the jobs out of the archive that ended before.
    ClearArchive {
        /// Of this user, or of all.
        user: Option<UserName>,
        /// Ended before.
        before: Timestamp,
    },
}

impl Effects {
    /// Nothing to commit and nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dirty == Dirty::default() && self.acts.is_empty()
    }
}

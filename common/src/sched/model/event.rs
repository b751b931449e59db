//! What may happen to the scheduler. Events are past tense and already authenticated by the shell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::id::{AttemptId, Digest, GpuId, GroupName, JobId, JobKey, UserName, WorkerId};
use crate::job::{BundleRef, JobSpec, Outcome, Results};
use crate::resources::{Capacity, GpuTaken};
use crate::telemetry::Measured;
use crate::time::Timestamp;
use crate::wire::{AttemptPhase, KnownAttempt};

use crate::sched::model::entities::Machine;
use crate::sched::model::settings::{Guards, Settings};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A bundle was accepted by the validator.
    Submitted(Submission),
    /// Somebody wants a job ended.
    CancelRequested {
        /// Which.
        job: JobId,
        /// Who.
        by: UserName,
    },
    /// Somebody holds a waiting job back.
    HoldRequested {
        /// Which.
        job: JobId,
        /// Who.
        by: UserName,
    },
    /// Somebody lets a held job go.
    ReleaseRequested {
        /// Which.
        job: JobId,
    },
    /// Somebody changed a waiting job's priority among its user's own jobs.
    PriorityRequested {
        /// Which.
        job: JobId,
        /// The higher, the sooner.
        priority: i32,
    },
    /// A worker introduced itself.
    WorkerJoined {
        /// Which.
        worker: WorkerId,
        /// Differs after every start of the agent.
        session: Arc<str>,
        /// What it offers now.
        capacity: Capacity,
        /// Digests of the bundles whose images it holds.
        images: BTreeSet<Digest>,
        /// Which machine it is.
        machine: Arc<Machine>,
        /// Every attempt that it knows.
        known: Vec<KnownAttempt>,
    },
    /// A worker gave a sign of life.
    WorkerHeard {
        /// Which.
        worker: WorkerId,
        /// The agent's session.
        session: Arc<str>,
    },
    /// A worker went away on purpose; its containers go on, and its time does not run for 10 minutes more.
    WorkerLeft {
        /// Which.
        worker: WorkerId,
    },
    /// An admin took a worker's key, so that nothing it says is believed any more.
    WorkerRemoved {
        /// Which.
        worker: WorkerId,
    },
    /// An admin took a worker out of the cluster; its jobs go to others and nothing is kept of it.
    WorkerForgotten {
        /// Which.
        worker: WorkerId,
    },
    /// An operator closes a worker to new jobs, or opens it again.
    CordonSet {
        /// Which.
        worker: WorkerId,
        /// `Some` to close it.
        cordon: Option<crate::sched::Cordon>,
    },
    /// An operator takes a job, or an array's tasks, from the machine: it is queued again and not charged.
    EvictRequested {
        /// Which.
        job: JobId,
        /// Who.
        by: UserName,
    },
    /// An operator takes every job from a worker.
    NodeEvictRequested {
        /// Which.
        worker: WorkerId,
        /// Who.
        by: UserName,
    },
    /// A worker said whether it takes jobs at all.
    WorkerClosed {
        /// Which.
        worker: WorkerId,
        /// The agent's session.
        session: Arc<str>,
        /// Why it takes none, if it does not.
        why: Option<Arc<str>>,
    },
    /// A worker said which of its GPUs must not be given to jobs for now.
    GpusTaken {
        /// Which.
        worker: WorkerId,
        /// Its session.
        session: Arc<str>,
        /// Those, and why.
        taken: BTreeMap<GpuId, GpuTaken>,
    },
    /// A worker reported on an attempt.
    Reported {
        /// Who reports.
        worker: WorkerId,
        /// On what.
        attempt: AttemptId,
        /// What.
        progress: Progress,
    },
    /// An admin set a user's weight, guards and group.
    UserSet {
        /// Whose.
        user: UserName,
        /// More than 1 means more than an equal share, of the cluster or of their group's share of it; above
        /// 0 and finite.
        weight: f64,
        /// Limits.
        guards: Guards,
        /// What becomes of their membership.
        group: Membership,
    },
    /// An admin removed a user's account. What waits of theirs is cancelled; what they were charged stays.
    UserRemoved {
        /// Whose.
        user: UserName,
        /// Who.
        by: UserName,
        /// Whether what runs is cancelled, too.
        running: bool,
    },
    /// An admin cleared the history: jobs that ended earlier are forgotten, but none that a waiting one still names.
    /// What users were charged stays.
    HistoryCleared {
        /// Of this user, or of all.
        user: Option<UserName>,
        /// Ended before.
        before: Timestamp,
    },
    /// An admin made a group, or set its weight and guards.
    GroupSet {
        /// Which.
        group: GroupName,
        /// More than 1 means more than an equal share; above 0 and finite.
        weight: f64,
        /// Limits of all members together.
        guards: Guards,
    },
    /// An admin removed a group, which nobody may be in.
    GroupRemoved {
        /// Which.
        group: GroupName,
    },
    /// An operator locked the queue (nothing new is placed), or unlocked it.
    LockSet {
        /// `Some` to lock.
        lock: Option<crate::sched::QueueLock>,
    },
    /// An admin asked the master that decides to end once nothing runs: it starts nothing any more.
    ShutdownRequested {
        /// Who.
        by: UserName,
    },
    /// The scheduler's settings were changed.
    SettingsChanged {
        /// All of them, as they now are.
        settings: Box<Settings>,
    },
    /// The master lost its link to the broker, or has it again. While it is lost nobody's time runs.
    BrokerLink {
        /// Whether it is up.
        up: bool,
    },
    /// Ids up to this one were given out before, as the archive of a store whose data was lost tells.
    IdsUsed {
        /// The highest.
        last: JobId,
    },
    /// This master took the lead with the state as loaded: orders that their workers have not confirmed
    /// are given again, and every worker's time starts anew.
    LeadershipAcquired,
    /// Time passed. At least once a second.
    Ticked,
}

/// What becomes of a user's membership of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// It stays as it is.
    Unchanged,
    /// They are in no group.
    None,
    /// They are in this one, which must be there.
    Of(GroupName),
}

/// An accepted request.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// Who, as proven.
    pub user: UserName,
    /// What.
    pub spec: Arc<JobSpec>,
    /// The configuration document that `spec` was read from.
    pub config: Arc<str>,
    /// The bundle.
    pub bundle: Option<BundleRef>,
    /// The same key always gives the same job.
    pub key: Option<Arc<str>>,
    /// Drawn at random; the new job's key.
    pub job_key: JobKey,
}

/// What a worker reports on an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// The order is durably recorded there.
    Accepted,
    /// It will not take it.
    Refused {
        /// Why.
        reason: String,
    },
    /// It entered a phase.
    Entered {
        /// Which.
        phase: AttemptPhase,
        /// What a reader should know.
        note: String,
    },
    /// What it used; its end follows.
    Measured(Box<Measured>),
    /// It is over, log and results are stored.
    Finished {
        /// How.
        outcome: Outcome,
        /// How long the container ran.
        ran: Duration,
        /// Length of the log stream.
        log_bytes: u64,
        /// What became of the results, if they were to be published.
        results: Option<Results>,
    },
}

/// An event that changes nothing, and why. The shell logs it, counts it and acknowledges its source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// No such job.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// No such worker.
    #[error("there is no worker {0}")]
    NoSuchWorker(WorkerId),
    /// A worker that is heard from has this name.
    #[error(
        "the name {worker} is taken: the worker at {holder} has it, so the one at {other} is refused"
    )]
    NameTaken {
        /// The name.
        worker: WorkerId,
        /// The machine that has it.
        holder: String,
        /// The machine that wants it.
        other: String,
    },
    /// No such group.
    #[error("there is no group {0}")]
    NoSuchGroup(GroupName),
    /// The group has members.
    #[error("the group {group} still has members: {members}")]
    GroupInUse {
        /// Which.
        group: GroupName,
        /// Their names, the first few of many.
        members: String,
    },
    /// The job is over already.
    #[error("job {job} has already finished")]
    AlreadyFinished {
        /// Which.
        job: JobId,
        /// Since when.
        at: Timestamp,
    },
    /// The job's state does not allow it.
    #[error("job {job} is {phase}, and only a waiting job can be held, released or moved")]
    NotQueued {
        /// Which.
        job: JobId,
        /// Its phase.
        phase: &'static str,
    },
    /// The job has no machine that it could be taken from.
    #[error("job {job} is {phase}, and only a job with a machine can be evicted")]
    NotActive {
        /// Which.
        job: JobId,
        /// Its phase.
        phase: &'static str,
    },
    /// A report on an attempt that is not the current one, or from another worker than it has.
    #[error("attempt {0} is not current")]
    Stale(AttemptId),
    /// A report that its job's state has already passed.
    #[error("attempt {0} has already passed this report")]
    Repeated(AttemptId),
    /// No worker could ever run it.
    #[error("{0}")]
    NeverFits(String),
    /// A guard forbids it.
    #[error("{0}")]
    Guarded(String),
    /// The user gave this key to another request before.
    #[error("the idempotency key was used before, for job {0}")]
    KeyUsed(JobId),
    /// A value out of range.
    #[error("{0}")]
    Invalid(String),
}

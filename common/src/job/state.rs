//! Where a job stands. States carry their data, so that no field is set that its state does not have.
//!
//! Transitions are made by [`crate::sched::step`] alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{AttemptId, Digest, JobId, JobKey, UserName, WorkerId};
use crate::job::{
    Array, Cause, Charge, Dependency, Hold, JobSpec, Outcome, Phase, Results, TIMELINE_MAX, Task,
    TaskEnds, Transition,
};
use crate::penalty::usage::Rate;
use crate::resources::Allocation;
use crate::telemetry::Measured;
use crate::time::{Timestamp, millis};

/// The bundle that a job runs, as the bundle store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleRef {
    /// BLAKE3 of the zip.
    pub digest: Digest,
    /// Size of the zip in bytes.
    pub size_bytes: u64,
}

/// One accepted request. It is stored as it is; [`crate::record::StoredJob`] reads it back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What tells it from a job that had the same id in a store whose data was lost. An array's tasks have the array's.
    pub key: JobKey,
    /// Whose it is, as proven at submission.
    pub user: UserName,
    /// What was asked for.
    #[serde(skip)]
    pub spec: Arc<JobSpec>,
    /// The accepted configuration document, which is what is stored and sent to workers.
    pub config: Arc<str>,
    /// The bundle; `None` for a job that only names an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleRef>,
    /// When it was accepted.
    #[serde(rename = "submitted_at_ms")]
    pub submitted_at: Timestamp,
    /// The number of the last attempt, 0 before the first. Never goes down.
    pub last_attempt: u32,
    /// Among its user's own jobs, the higher the sooner; what was asked for until somebody changes it.
    pub priority: i32,
    /// How many of the user's own retries are used up.
    pub retries_used: u32,
    /// How many attempts the infrastructure's faults have ended.
    pub faults: u32,
    /// Which task of which array it is, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// Where it stands.
    pub state: JobState,
    /// Every change of phase, oldest first; bounded, the first and the latest are kept.
    pub timeline: Vec<Transition>,
    /// What its user was charged for attempts that have ended, oldest first; bounded, the latest are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<Charge>,
    /// What its attempts used, oldest first; bounded, the latest are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<Measured>,
}

impl Job {
    /// The current attempt, while there is one.
    #[must_use]
    pub fn attempt(&self) -> Option<AttemptId> {
        let active = self.state.active()?;
        Some(self.attempt_id(active.attempt))
    }

    /// The id of its attempt with this number.
    #[must_use]
    pub fn attempt_id(&self, number: u32) -> AttemptId {
        AttemptId {
            job: self.id,
            number,
            key: self.key,
        }
    }

    /// The attempt that a job that waits has next. An array's stands for those of its tasks.
    #[must_use]
    pub fn next_attempt(&self) -> Option<AttemptId> {
        let number = self.last_attempt.checked_add(1)?;
        (self.state.waiting() > 0).then(|| self.attempt_id(number))
    }

    /// What must end before it may start. Nothing once it has started: that was so then, and what is over
    /// does not change, though it may be forgotten.
    #[must_use]
    pub fn waits_after(&self) -> &[Dependency] {
        if self.last_attempt == 0 {
            &self.spec.after
        } else {
            &[]
        }
    }

    /// The id of an array's task with this index; `None` when it has none.
    #[must_use]
    pub fn task_id(&self, index: u32) -> Option<JobId> {
        let rank = self.spec.array.as_ref()?.indexes.rank(index)?;
        let id = self.id.0.checked_add(1)?.checked_add(u64::from(rank))?;
        self.task.is_none().then_some(JobId(id))
    }

    /// The id by which it stands among its user's jobs: that of the task which an array begins next, so that a
    /// task which is tried again stands before the rest of its array, and otherwise its own.
    #[must_use]
    pub fn next_id(&self) -> JobId {
        let next = self.state.array().and_then(|array| array.waiting.first());
        let next = next.and_then(|index| self.task_id(index));
        next.unwrap_or(self.id)
    }

    /// Adds a line to the timeline.
    pub fn enter(&mut self, at: Timestamp, phase: Phase, note: String) {
        let active = self.state.active();
        let placed = active.filter(|_| phase == Phase::Assigned);
        let gpus = placed.iter().flat_map(|active| &active.allocation.gpus);
        self.timeline.push(Transition {
            at,
            phase,
            attempt: active.map(|active| active.attempt),
            note,
            gpus: gpus.map(|share| share.id.clone()).collect(),
        });
        if self.timeline.len() > TIMELINE_MAX {
            self.timeline.remove(1);
        }
    }

    /// The last id that belongs to it: that of an array's last task, or its own.
    #[must_use]
    pub fn last_id(&self) -> JobId {
        let last = self.spec.array.as_ref();
        let last = last.and_then(|array| self.task_id(array.indexes.last()?));
        last.unwrap_or(self.id)
    }
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its turn. Placing it leads to `Active` in the stage `Assigned`, cancelling it to `Finished`.
    Queued(Queued),
    /// An array whose tasks wait, run or are over. Placing a task makes it a job of its own. The end of the last
    /// task leads to `Finished`, and so does cancelling while no task is active.
    Array(Box<Array>),
    /// Has a machine. The stage moves on with the worker's reports. The end of the attempt leads to `Finished`, or
    /// back to `Queued` when the job is to be tried again.
    Active(Box<Active>, Stage),
    /// Over, and stays so: a user's retry makes a new job.
    Finished(Box<Finished>),
}

/// How far an attempt has come on its machine. Stages only go forward, except between running and paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The worker has not begun yet. A report leads to `Building`, `Running` or `Paused`, a cancellation to
    /// `Stopping`; the worker's refusal queues the job again.
    Assigned,
    /// Its image is being fetched, built or loaded. Leads to `Running`, `Paused`, `Stopping` or `Publishing`.
    Building,
    /// Its container runs. Leads to `Paused`, `Stopping` or `Publishing`.
    Running,
    /// Its container is frozen. Leads back to `Running`, to `Stopping` or `Publishing`.
    Paused,
    /// Its container ended: it holds and is charged nothing any more, while its worker stores its log and results.
    /// Only a cancellation leads to `Stopping`.
    Publishing,
    /// Was told to end and has not yet. Only the worker's final report or the worker's loss ends it.
    Stopping(StopReason),
}

impl Stage {
    /// The phase of a job in this stage.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Assigned => Phase::Assigned,
            Self::Building => Phase::Building,
            Self::Running => Phase::Running,
            Self::Paused => Phase::Paused,
            Self::Publishing => Phase::Publishing,
            Self::Stopping(_) => Phase::Stopping,
        }
    }

    /// Whether there is no container yet.
    #[must_use]
    pub const fn is_starting(&self) -> bool {
        matches!(self, Self::Assigned | Self::Building)
    }

    /// Whether there is a container, running or paused, that has not been told to end.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// Why the attempt is being ended, if it is.
    #[must_use]
    pub const fn stopping(&self) -> Option<&StopReason> {
        match self {
            Self::Stopping(reason) => Some(reason),
            Self::Assigned | Self::Building | Self::Running | Self::Paused | Self::Publishing => {
                None
            }
        }
    }
}

/// The data of a waiting job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Since when.
    #[serde(rename = "since_ms")]
    pub since: Timestamp,
    /// Not before this, after a failure that is retried.
    #[serde(rename = "not_before_ms", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Set while somebody holds it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// The worker that the last attempt failed on, to be avoided where another fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avoid: Option<WorkerId>,
}

/// The data of a job that has a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// The attempt's number.
    pub attempt: u32,
    /// Its machine.
    pub worker: WorkerId,
    /// What it holds there.
    pub allocation: Allocation,
    /// What its user is charged while it holds that.
    #[serde(rename = "rate_micro", default)]
    pub rate: Rate,
    /// When it was placed.
    #[serde(rename = "assigned_at_ms")]
    pub assigned_at: Timestamp,
    /// When its container started.
    #[serde(rename = "started_at_ms", skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When its container ended, while its log and results are being stored. Since then it holds nothing.
    #[serde(
        rename = "ended_at_ms",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub ended_at: Option<Timestamp>,
    /// Whether the machine's agent said that it has durably recorded the order.
    pub confirmed: bool,
    /// The model of the GPUs that it holds, absent without GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_model: Option<Arc<str>>,
    /// How long it was expected to run when it was placed, if anything was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
}

impl Active {
    /// What it holds now: its allocation until its container has ended.
    #[must_use]
    pub fn held(&self) -> Option<&Allocation> {
        self.ended_at.is_none().then_some(&self.allocation)
    }

    /// What its user is charged now.
    #[must_use]
    pub fn charged(&self) -> Rate {
        self.held().map_or(Rate(0), |_| self.rate)
    }

    /// Until when it has been charged.
    #[must_use]
    pub fn charged_until(&self, now: Timestamp) -> Timestamp {
        self.ended_at.unwrap_or(now)
    }
}

/// How long a run is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// It takes about as long: of learned runs the median.
    #[serde(rename = "typical_ms", with = "millis")]
    pub typical: Duration,
    /// It hardly takes longer, and is planned with: of learned runs the 90th percentile.
    #[serde(rename = "longest_ms", with = "millis")]
    pub longest: Duration,
    /// By what.
    pub by: ExpectedBy,
}

/// What an expectation rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedBy {
    /// The job's `time_request`.
    Request,
    /// The job's `time_limit`.
    Limit,
    /// Earlier runs of jobs of the same user and name.
    Learned {
        /// How many.
        runs: u32,
    },
}

impl ExpectedBy {
    /// The word that the metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "time_request",
            Self::Limit => "time_limit",
            Self::Learned { .. } => "learned",
        }
    }
}

impl fmt::Display for ExpectedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request | Self::Limit => f.write_str(self.as_str()),
            Self::Learned { runs } => write!(f, "learned from {runs} runs"),
        }
    }
}

/// Why a job is being ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Somebody asked for it.
    Cancelled(UserName),
    /// It ran for as long as it may.
    TimeLimit,
    /// A job that goes first, an urgent one or one within a floor, needs its place.
    Preempted,
    /// An operator emptied its machine, or took it from there.
    Evicted(UserName),
    /// More tasks of its array failed than may.
    TooManyFailed,
}

impl StopReason {
    /// How an attempt that is stopped for this reason is to be reported.
    #[must_use]
    pub fn outcome(&self, job: &Job) -> Outcome {
        match self {
            Self::Cancelled(by) => Outcome::cancelled(by, format!("cancelled by {by}")),
            Self::TimeLimit => {
                let limit = job.spec.time_limit.unwrap_or_default().as_secs();
                let detail = format!("stopped at its time limit of {limit} s");
                Outcome::new(Cause::TimeLimit, detail)
            }
            Self::TooManyFailed => {
                let most = job.spec.max_fails.unwrap_or_default();
                let detail = format!("more than {most} tasks of the array failed");
                Outcome::new(Cause::DependencyFailed, detail)
            }
            Self::Preempted => Outcome::new(Cause::Preempted, "stopped for a job that goes first"),
            Self::Evicted(by) => {
                Outcome::new(Cause::Evicted, format!("evicted from its machine by {by}"))
            }
        }
    }
}

/// The data of a job that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    #[serde(rename = "at_ms")]
    pub at: Timestamp,
    /// The last attempt's data, absent when it never had a machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Active>,
    /// How long its container ran, zero when it never did.
    #[serde(rename = "ran_ms", with = "millis")]
    pub ran: Duration,
    /// Size of the last attempt's log stream in bytes, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
    /// What became of the last attempt's results, if they were to be published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Results>,
    /// How the tasks of an array ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Box<TaskEnds>>,
}

impl JobState {
    /// The state's name.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Queued(_) => Phase::Queued,
            Self::Array(array) => match (&array.stopping, array.open) {
                (Some(_), _) => Phase::Stopping,
                (None, 0) => Phase::Queued,
                (None, _) => Phase::Running,
            },
            Self::Active(_, stage) => stage.phase(),
            Self::Finished(_) => Phase::Finished,
        }
    }

    /// The data of a job that waits; an array has its own.
    #[must_use]
    pub const fn queued(&self) -> Option<&Queued> {
        match self {
            Self::Queued(queued) => Some(queued),
            Self::Array(_) | Self::Active(..) | Self::Finished(_) => None,
        }
    }

    /// An array's tasks, as long as it is not over.
    #[must_use]
    pub fn array(&self) -> Option<&Array> {
        match self {
            Self::Array(array) => Some(array),
            Self::Queued(_) | Self::Active(..) | Self::Finished(_) => None,
        }
    }

    /// The same to be changed.
    pub fn array_mut(&mut self) -> Option<&mut Array> {
        match self {
            Self::Array(array) => Some(array),
            Self::Queued(_) | Self::Active(..) | Self::Finished(_) => None,
        }
    }

    /// The current attempt, while the job has a machine.
    #[must_use]
    pub fn active(&self) -> Option<&Active> {
        match self {
            Self::Active(active, _) => Some(active),
            Self::Queued(_) | Self::Array(_) | Self::Finished(_) => None,
        }
    }

    /// How far the current attempt has come, while the job has a machine.
    #[must_use]
    pub const fn stage(&self) -> Option<&Stage> {
        match self {
            Self::Active(_, stage) => Some(stage),
            Self::Queued(_) | Self::Array(_) | Self::Finished(_) => None,
        }
    }

    /// How the job ended, once it has.
    #[must_use]
    pub fn finished(&self) -> Option<&Finished> {
        match self {
            Self::Finished(finished) => Some(finished),
            Self::Queued(_) | Self::Array(_) | Self::Active(..) => None,
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished().is_some()
    }

    /// Who holds back a job that waits.
    #[must_use]
    pub fn hold(&self) -> Option<&Hold> {
        match self {
            Self::Queued(queued) => queued.hold.as_ref(),
            Self::Array(array) => array.hold.as_ref(),
            Self::Active(..) | Self::Finished(_) => None,
        }
    }

    /// The same to be changed; `None` for a job that does not wait.
    pub fn hold_mut(&mut self) -> Option<&mut Option<Hold>> {
        match self {
            Self::Queued(queued) => Some(&mut queued.hold),
            Self::Array(array) => Some(&mut array.hold),
            Self::Active(..) | Self::Finished(_) => None,
        }
    }

    /// How many runs wait for a machine: 1 for a queued job, for an array the tasks that have not started.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        match self {
            Self::Queued(_) => 1,
            Self::Array(array) => array.waiting.len(),
            Self::Active(..) | Self::Finished(_) => 0,
        }
    }

    /// The current attempt, or the last one of a job that is over.
    #[must_use]
    pub fn last_active(&self) -> Option<&Active> {
        match self {
            Self::Active(active, _) => Some(active),
            Self::Finished(finished) => finished.last.as_ref(),
            Self::Queued(_) | Self::Array(_) => None,
        }
    }
}

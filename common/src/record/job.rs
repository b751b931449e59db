//! The record of a job, in every state.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::check_version;
use super::expected::ExpectedRecord;
use super::{ArrayRecord, EndsRecord, Error, RECORD_VERSION, Specs, TaskRecord};
use crate::id::{JobId, JobKey};
use crate::job::{
    Active, BundleRef, Charge, ChargeEnd, Expected, Finished, Hold, Job, JobState, Outcome, Phase,
    Queued, Stage, StopReason, Task, Transition,
};
use crate::penalty::usage::Rate;
use crate::resources::Allocation;
use crate::time::Timestamp;
use crate::wire::{WireAllocation, WireBundle, WireOutcome};

/// A [`Job`]. Its specification is not stored but read again from the configuration document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// Its id.
    pub id: u64,
    /// What tells it from a job that had the same id in a store whose data was lost.
    pub key: JobKey,
    /// Whose it is.
    pub user: String,
    /// Where it stands.
    pub state: StateRecord,
    /// When it was accepted, milliseconds since 1970.
    pub submitted_at_ms: u64,
    /// The number of its last attempt.
    pub last_attempt: u32,
    /// Among its user's own jobs, the higher the sooner.
    #[serde(default)]
    pub priority: i32,
    /// How many of the user's own retries are used up.
    #[serde(default)]
    pub retries_used: u32,
    /// How many attempts the infrastructure's faults have ended.
    #[serde(default)]
    pub faults: u32,
    /// Which task of which array it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRecord>,
    /// The bundle, unless the job only names an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<WireBundle>,
    /// The accepted configuration document.
    pub config: String,
    /// Every change of phase, oldest first.
    #[serde(default)]
    pub timeline: Vec<TransitionRecord>,
    /// What its user was charged for attempts that have ended, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<ChargeRecord>,
}

/// A [`JobState`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum StateRecord {
    /// [`JobState::Queued`]
    Queued {
        /// Since when, milliseconds since 1970.
        since_ms: u64,
        /// Not before this, milliseconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_before_ms: Option<u64>,
        /// Set while somebody holds it back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold: Option<HoldRecord>,
        /// The worker to be avoided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        avoid: Option<String>,
    },
    /// [`JobState::Array`]
    Array(ArrayRecord),
    /// [`Stage::Assigned`]
    Assigned(ActiveRecord),
    /// [`Stage::Building`]
    Building(ActiveRecord),
    /// [`Stage::Running`]
    Running(ActiveRecord),
    /// [`Stage::Paused`]
    Paused(ActiveRecord),
    /// [`Stage::Stopping`]
    Stopping {
        /// What it holds until it has ended.
        active: ActiveRecord,
        /// Why it ends.
        reason: StopRecord,
    },
    /// [`JobState::Finished`]
    Finished {
        /// How it ended.
        outcome: WireOutcome,
        /// When, milliseconds since 1970.
        at_ms: u64,
        /// The last attempt's data.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<ActiveRecord>,
        /// How long its container ran, in milliseconds.
        ran_ms: u64,
        /// Size of the last attempt's log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log_bytes: Option<u64>,
        /// How the tasks of an array ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tasks: Option<EndsRecord>,
    },
}

/// A [`Hold`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRecord {
    /// Who said so.
    pub by: String,
    /// Since when, milliseconds since 1970.
    pub at_ms: u64,
}

/// An [`Active`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveRecord {
    /// The attempt's number.
    pub attempt: u32,
    /// Its machine.
    pub worker: String,
    /// What it holds there.
    pub allocation: WireAllocation,
    /// What its user is charged, millionths of a weighted GPU.
    #[serde(default)]
    pub rate_micro: u64,
    /// When it was placed, milliseconds since 1970.
    pub assigned_at_ms: u64,
    /// When its container started, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<u64>,
    /// Whether the machine's agent has recorded the order.
    pub confirmed: bool,
    /// The model of the GPUs that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_model: Option<String>,
    /// How long it was expected to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<ExpectedRecord>,
}

/// A [`StopReason`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StopRecord {
    /// [`StopReason::Cancelled`]
    Cancelled {
        /// By whom.
        by: String,
    },
    /// [`StopReason::TimeLimit`]
    TimeLimit,
    /// [`StopReason::Preempted`]
    Preempted,
    /// [`StopReason::TooManyFailed`]
    TooManyFailed,
}

/// A [`Transition`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionRecord {
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Into which phase, as its word.
    pub phase: String,
    /// With which attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// What a reader should know.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// A [`Charge`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeRecord {
    /// The attempt's number.
    pub attempt: u32,
    /// What its user was charged, millionths of a weighted GPU.
    pub rate_micro: u64,
    /// When it was placed, milliseconds since 1970.
    pub from_ms: u64,
    /// When it ended, milliseconds since 1970.
    pub to_ms: u64,
    /// How the account was closed, as its word.
    pub end: String,
}

impl From<&Job> for JobRecord {
    fn from(job: &Job) -> Self {
        Self {
            version: RECORD_VERSION,
            id: job.id.0,
            key: job.key,
            user: job.user.to_string(),
            state: StateRecord::from(&job.state),
            submitted_at_ms: job.submitted_at.as_millis(),
            last_attempt: job.last_attempt,
            priority: job.priority,
            retries_used: job.retries_used,
            faults: job.faults,
            task: job.task.map(TaskRecord::from),
            bundle: job.bundle.map(WireBundle::from),
            config: job.config.to_string(),
            timeline: job.timeline.iter().map(TransitionRecord::from).collect(),
            charges: job.charges.iter().map(ChargeRecord::from).collect(),
        }
    }
}

impl JobRecord {
    /// The job, with its configuration read anew.
    ///
    /// # Errors
    /// When the record holds what no job can.
    pub fn to_job(&self, specs: &mut Specs) -> Result<Job, Error> {
        check_version(self.version)?;
        let (config, spec) = specs.read(&self.config)?;
        let bundle = self.bundle.as_ref().map(BundleRef::try_from);
        // Collecting would leave room for four lines; a long queue has a million of these.
        let mut timeline = Vec::with_capacity(self.timeline.len());
        timeline.extend(
            self.timeline
                .iter()
                .filter_map(TransitionRecord::to_transition),
        );
        let user = if self.user == spec.executor.as_str() {
            spec.executor.clone()
        } else {
            self.user.parse()?
        };
        Ok(Job {
            id: JobId(self.id),
            key: self.key,
            user,
            spec,
            config,
            bundle: bundle.transpose()?,
            submitted_at: Timestamp::from_millis(self.submitted_at_ms),
            last_attempt: self.last_attempt,
            priority: self.priority,
            retries_used: self.retries_used,
            faults: self.faults,
            task: self.task.map(Task::from),
            state: self.state.to_state()?,
            timeline,
            charges: self
                .charges
                .iter()
                .filter_map(ChargeRecord::to_charge)
                .collect(),
        })
    }
}

impl From<&JobState> for StateRecord {
    fn from(state: &JobState) -> Self {
        match state {
            JobState::Queued(queued) => Self::Queued {
                since_ms: queued.since.as_millis(),
                not_before_ms: queued.not_before.map(Timestamp::as_millis),
                hold: queued.hold.as_ref().map(HoldRecord::from),
                avoid: queued.avoid.as_ref().map(ToString::to_string),
            },
            JobState::Array(array) => Self::Array(ArrayRecord::from(array.as_ref())),
            JobState::Active(active, stage) => {
                let active = ActiveRecord::from(active.as_ref());
                match stage {
                    Stage::Assigned => Self::Assigned(active),
                    Stage::Building => Self::Building(active),
                    Stage::Running => Self::Running(active),
                    Stage::Paused => Self::Paused(active),
                    Stage::Stopping(reason) => Self::Stopping {
                        active,
                        reason: reason.into(),
                    },
                }
            }
            JobState::Finished(finished) => Self::Finished {
                outcome: WireOutcome::from(&finished.outcome),
                at_ms: finished.at.as_millis(),
                last: finished.last.as_ref().map(ActiveRecord::from),
                ran_ms: millis(finished.ran),
                log_bytes: finished.log_bytes,
                tasks: finished.tasks.as_deref().map(EndsRecord::from),
            },
        }
    }
}

impl StateRecord {
    fn to_state(&self) -> Result<JobState, Error> {
        Ok(match self {
            Self::Queued {
                since_ms,
                not_before_ms,
                hold,
                avoid,
            } => JobState::Queued(Queued {
                since: Timestamp::from_millis(*since_ms),
                not_before: not_before_ms.map(Timestamp::from_millis),
                hold: hold.as_ref().map(HoldRecord::to_hold).transpose()?,
                avoid: avoid.as_deref().map(str::parse).transpose()?,
            }),
            Self::Array(array) => JobState::Array(Box::new(array.to_array()?)),
            Self::Assigned(active) => JobState::Active(active.to_active()?.into(), Stage::Assigned),
            Self::Building(active) => JobState::Active(active.to_active()?.into(), Stage::Building),
            Self::Running(active) => JobState::Active(active.to_active()?.into(), Stage::Running),
            Self::Paused(active) => JobState::Active(active.to_active()?.into(), Stage::Paused),
            Self::Stopping { active, reason } => {
                let stage = Stage::Stopping(reason.to_reason()?);
                JobState::Active(active.to_active()?.into(), stage)
            }
            Self::Finished {
                outcome,
                at_ms,
                last,
                ran_ms,
                log_bytes,
                tasks,
            } => JobState::Finished(Box::new(Finished {
                outcome: Outcome::from(outcome),
                at: Timestamp::from_millis(*at_ms),
                last: last.as_ref().map(ActiveRecord::to_active).transpose()?,
                ran: Duration::from_millis(*ran_ms),
                log_bytes: *log_bytes,
                tasks: tasks
                    .as_ref()
                    .map(EndsRecord::to_ends)
                    .transpose()?
                    .map(Box::new),
            })),
        })
    }
}

impl From<&Hold> for HoldRecord {
    fn from(hold: &Hold) -> Self {
        Self {
            by: hold.by.to_string(),
            at_ms: hold.at.as_millis(),
        }
    }
}

impl HoldRecord {
    pub(super) fn to_hold(&self) -> Result<Hold, Error> {
        Ok(Hold {
            by: self.by.parse()?,
            at: Timestamp::from_millis(self.at_ms),
        })
    }
}

impl From<&Active> for ActiveRecord {
    fn from(active: &Active) -> Self {
        Self {
            attempt: active.attempt,
            worker: active.worker.to_string(),
            allocation: WireAllocation::from(&active.allocation),
            rate_micro: active.rate.0,
            assigned_at_ms: active.assigned_at.as_millis(),
            started_at_ms: active.started_at.map(Timestamp::as_millis),
            confirmed: active.confirmed,
            gpu_model: active.gpu_model.as_deref().map(str::to_owned),
            expected: active.expected.map(ExpectedRecord::from),
        }
    }
}

impl ActiveRecord {
    fn to_active(&self) -> Result<Active, Error> {
        Ok(Active {
            attempt: self.attempt,
            worker: self.worker.parse()?,
            allocation: Allocation::try_from(&self.allocation)?,
            rate: Rate(self.rate_micro),
            assigned_at: Timestamp::from_millis(self.assigned_at_ms),
            started_at: self.started_at_ms.map(Timestamp::from_millis),
            confirmed: self.confirmed,
            gpu_model: self.gpu_model.as_deref().map(Arc::from),
            expected: self.expected.map(Expected::from),
        })
    }
}

impl From<&StopReason> for StopRecord {
    fn from(reason: &StopReason) -> Self {
        match reason {
            StopReason::Cancelled(by) => Self::Cancelled { by: by.to_string() },
            StopReason::TimeLimit => Self::TimeLimit,
            StopReason::Preempted => Self::Preempted,
            StopReason::TooManyFailed => Self::TooManyFailed,
        }
    }
}

impl StopRecord {
    pub(super) fn to_reason(&self) -> Result<StopReason, Error> {
        Ok(match self {
            Self::Cancelled { by } => StopReason::Cancelled(by.parse()?),
            Self::TimeLimit => StopReason::TimeLimit,
            Self::Preempted => StopReason::Preempted,
            Self::TooManyFailed => StopReason::TooManyFailed,
        })
    }
}

impl From<&Transition> for TransitionRecord {
    fn from(transition: &Transition) -> Self {
        Self {
            at_ms: transition.at.as_millis(),
            phase: transition.phase.as_str().to_owned(),
            attempt: transition.attempt,
            note: transition.note.clone(),
        }
    }
}

impl TransitionRecord {
    /// `None` for a phase that a later version added: the timeline is for people, and a line less is
    /// better than a job less.
    fn to_transition(&self) -> Option<Transition> {
        let phase = Phase::ALL
            .into_iter()
            .find(|phase| phase.as_str() == self.phase)?;
        Some(Transition {
            at: Timestamp::from_millis(self.at_ms),
            phase,
            attempt: self.attempt,
            note: self.note.clone(),
        })
    }
}

impl From<&Charge> for ChargeRecord {
    fn from(charge: &Charge) -> Self {
        Self {
            attempt: charge.attempt,
            rate_micro: charge.rate.0,
            from_ms: charge.from.as_millis(),
            to_ms: charge.to.as_millis(),
            end: charge.end.as_str().to_owned(),
        }
    }
}

impl ChargeRecord {
    /// `None` for an end that a later version added: it is a line less on the user's receipt.
    fn to_charge(&self) -> Option<Charge> {
        let end = ChargeEnd::ALL
            .into_iter()
            .find(|end| end.as_str() == self.end)?;
        Some(Charge {
            attempt: self.attempt,
            rate: Rate(self.rate_micro),
            from: Timestamp::from_millis(self.from_ms),
            to: Timestamp::from_millis(self.to_ms),
            end,
        })
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

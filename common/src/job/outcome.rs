//! How a job ended: a cause, not a code; with a hint for the user and a rule for trying again.

use serde::{Deserialize, Serialize};

use crate::id::UserName;

/// The exit code of a job that saved a checkpoint when it was stopped, and is to run again.
pub const CHECKPOINTED: i32 = 85;

/// How an attempt or a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Why.
    pub cause: Cause,
    /// Who cancelled it, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserName>,
    /// The container's exit code, where it ended by itself or by a signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// One sentence of facts: the build step that failed, the limit and the peak, the missing image.
    pub detail: String,
}

/// Why an attempt or a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Exit code 0.
    Succeeded,
    /// The user's own code ended with another exit code or by a signal of its own.
    UserError,
    /// The Dockerfile did not build.
    BuildFailed,
    /// The bundle broke a rule.
    BundleInvalid,
    /// The named image, or the one in `image.tar`, is not there.
    ImageMissing,
    /// The kernel killed it at its memory limit.
    OomHost,
    /// The GPU's memory was exhausted.
    OomGpu,
    /// It ran for as long as it may.
    TimeLimit,
    /// It was stopped because it did nothing.
    IdleStopped,
    /// A job that goes first, an urgent one or one within a floor, took its place.
    Preempted,
    /// An operator emptied its machine, or took it from there.
    Evicted,
    /// Somebody cancelled it.
    Cancelled,
    /// A job that it waited for can no longer end as required.
    DependencyFailed,
    /// Its machine was lost.
    WorkerLost,
    /// A GPU failed under it.
    GpuFault,
    /// The machine's disk was full.
    DiskFull,
    /// The user's workspace holds more than it may.
    QuotaExceeded,
    /// The container engine failed. A cause that a later version added is read as this one, so that its report
    /// still ends the job.
    #[serde(other)]
    EngineError,
}

/// What follows from a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryRule {
    /// Over; trying again would end the same way.
    Never,
    /// Tried again as often as the job's `retries` say.
    UserBudget,
    /// Tried again without using up the job's `retries`, on another machine where one fits, and not charged.
    Infrastructure,
    /// Queued again at its old place.
    Requeue,
}

impl Outcome {
    /// An outcome without exit code.
    #[must_use]
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self {
            cause,
            by: None,
            exit_code: None,
            detail: detail.into(),
        }
    }

    /// The outcome of what `by` cancelled.
    #[must_use]
    pub fn cancelled(by: &UserName, detail: impl Into<String>) -> Self {
        Self {
            by: Some(by.clone()),
            ..Self::new(Cause::Cancelled, detail)
        }
    }
}

impl Cause {
    /// The word that the API, the CLI and the metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::UserError => "user_error",
            Self::BuildFailed => "build_failed",
            Self::BundleInvalid => "bundle_invalid",
            Self::ImageMissing => "image_missing",
            Self::OomHost => "oom_host",
            Self::OomGpu => "oom_gpu",
            Self::TimeLimit => "time_limit",
            Self::IdleStopped => "idle_stopped",
            Self::Preempted => "preempted",
            Self::Evicted => "evicted",
            Self::Cancelled => "cancelled",
            Self::DependencyFailed => "dependency_failed",
            Self::WorkerLost => "worker_lost",
            Self::GpuFault => "gpu_fault",
            Self::DiskFull => "disk_full",
            Self::QuotaExceeded => "quota_exceeded",
            Self::EngineError => "engine_error",
        }
    }

    /// Whether and how the job is tried again.
    #[must_use]
    pub const fn retry_rule(self) -> RetryRule {
        match self {
            Self::UserError | Self::OomGpu => RetryRule::UserBudget,
            Self::Preempted | Self::Evicted => RetryRule::Requeue,
            Self::WorkerLost | Self::GpuFault | Self::DiskFull | Self::EngineError => {
                RetryRule::Infrastructure
            }
            Self::Succeeded
            | Self::BuildFailed
            | Self::BundleInvalid
            | Self::ImageMissing
            | Self::OomHost
            | Self::TimeLimit
            | Self::IdleStopped
            | Self::Cancelled
            | Self::DependencyFailed
            | Self::QuotaExceeded => RetryRule::Never,
        }
    }

    /// What the user can do about it; empty for success.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Succeeded => "",
            Self::UserError => "read the end of the log: dopq logs JOB",
            Self::BuildFailed => {
                "read the failed step with dopq logs JOB; try docker build locally"
            }
            Self::BundleInvalid => "run dopq check on the folder; it lists every error",
            Self::ImageMissing => {
                "check the image's name, or add a Dockerfile or image.tar to the bundle"
            }
            Self::OomHost => "increase required_memory, or load less data at once",
            Self::OomGpu => "use smaller batches, or request gpu_memory or a larger gpu_share",
            Self::TimeLimit => {
                "increase time_limit, or save a checkpoint on SIGTERM and exit with 85 to run again"
            }
            Self::IdleStopped => "check that the job uses its GPU: dopq nodes",
            Self::Preempted => {
                "it is queued again at its old position; save a checkpoint on SIGTERM"
            }
            Self::Evicted => {
                "it is queued again at its old position and not charged; save a checkpoint on SIGTERM"
            }
            Self::Cancelled => "to run it again: dopq retry JOB",
            Self::DependencyFailed => {
                "fix the job it waited for, then submit both again; --after ID:any accepts any end"
            }
            Self::WorkerLost => {
                "submit it again, or set on_worker_loss to requeue; dopq nodes shows the node"
            }
            Self::GpuFault => "DoPQ no longer uses this GPU; submit the job again",
            Self::DiskFull => {
                "write less to /outdir and the image, or ask an admin to free disk space"
            }
            Self::QuotaExceeded => {
                "remove files from /workspace with a job without GPUs, which may start, or ask an admin for more room"
            }
            Self::EngineError => "submit it again; tell an admin if it happens again",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back_and_a_later_one_is_an_engine_error() {
        let words = "succeeded user_error build_failed bundle_invalid image_missing oom_host oom_gpu time_limit \
                     idle_stopped preempted evicted cancelled dependency_failed worker_lost gpu_fault disk_full quota_exceeded engine_error";
        for word in words.split_whitespace() {
            let text = format!("{word:?}");
            let cause: Cause = serde_json::from_str(&text).expect(word);
            assert_eq!(cause.as_str(), word);
            assert_eq!(serde_json::to_string(&cause).expect("JSON"), text);
        }
        let later: Cause = serde_json::from_str(r#""nonsense""#).expect("read");
        assert_eq!(later, Cause::EngineError);
    }

    #[test]
    fn only_success_has_no_hint() {
        assert_eq!(Cause::Succeeded.hint(), "");
        assert!(!Cause::EngineError.hint().is_empty());
    }
}

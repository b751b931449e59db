//! What a container is planned from.

use dopq_common::id::{AttemptId, Digest, JobId, UserName};
use dopq_common::job::JobSpec;
use dopq_common::resources::Allocation;
use dopq_common::secret::Secret;

use super::mounts::{HostFolder, PlanMount};

/// The job's folder for `/checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointFolder {
    /// Where it is.
    pub folder: HostFolder,
    /// Whether an earlier attempt left something in it.
    pub resumed: bool,
}

/// The input of a plan.
#[derive(Debug, Clone)]
pub struct PlanInput<'a> {
    /// The job's specification.
    pub spec: &'a JobSpec,
    /// The accepted configuration document, for the label.
    pub config: &'a str,
    /// The cluster's name.
    pub cluster: &'a str,
    /// The attempt.
    pub attempt: AttemptId,
    /// Whose job it is.
    pub user: &'a UserName,
    /// The bundle, unless the job only names an image.
    pub digest: Option<Digest>,
    /// The task's index in its array.
    pub array_index: Option<u32>,
    /// The array's job id.
    pub array_job: Option<JobId>,
    /// Its allocation.
    pub allocation: &'a Allocation,
    /// The image's id.
    pub image: &'a str,
    /// The environment that the image sets, as `NAME=value`.
    pub image_env: &'a [String],
    /// The job's secrets, as environment.
    pub secrets: &'a [(String, Secret)],
    /// The attempt's own folder for `/outdir`.
    pub outdir: Option<HostFolder>,
    /// The job's folder for `/checkpoint`.
    pub checkpoint: Option<CheckpointFolder>,
    /// Folders that outlive the job.
    pub volumes: &'a [PlanMount],
}

//! What a master tells a worker.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::{AttemptId, Epoch, GroupName, JobId, UserName};
use crate::job::{BundleRef, Outcome};
use crate::resources::Allocation;
use crate::secret::Secret;
use crate::time::millis;

/// Orders for one worker with what fences them: one message, sealed with the worker's key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderEnvelope {
    /// [`super::WIRE_VERSION`] of the writer.
    pub version: u32,
    /// The leadership that gave them; a worker refuses orders older than the highest it has seen.
    pub epoch: Epoch,
    /// Each is an [`AttemptOrder`]. They are parsed one by one, so that one bad order hides no other.
    pub orders: Vec<Box<RawValue>>,
}

/// An order about one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptOrder {
    /// The attempt that it is about, such as `1423.2`.
    pub attempt: AttemptId,
    /// What to do.
    pub order: Order,
}

/// What to do with an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Order {
    /// Take it on: fetch, build, run. Repeats are harmless.
    Run(Box<RunOrder>),
    /// End it: SIGTERM, `grace`, SIGKILL; also while it is still being built. An attempt that the
    /// worker does not know is reported as finished with `outcome`.
    Stop {
        /// How it is to be reported once ended.
        outcome: Outcome,
        /// Between SIGTERM and SIGKILL.
        #[serde(rename = "grace_ms", with = "millis")]
        grace: Duration,
        /// Whether the user cancels it again while its log and results are being stored, so that this ends too.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        insists: bool,
    },
    /// Freeze its container.
    Pause,
    /// Thaw its container.
    Unpause,
    /// Its end is committed: forget it and free what it holds on the machine.
    Forget,
    /// A kind that this version does not know; it is acknowledged, counted and left alone.
    #[serde(other)]
    Unknown,
}

/// All that a worker needs to run an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOrder {
    /// The cluster's name, for labels.
    pub cluster: String,
    /// Whose job it is.
    pub user: UserName,
    /// The group that they are in, which decides what volumes they may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// The accepted configuration document.
    pub config: String,
    /// The bundle, unless the job only names an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleRef>,
    /// What it may use.
    pub allocation: Allocation,
    /// The index in its array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array_index: Option<u32>,
    /// The array's own job id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array_job: Option<JobId>,
    /// Opens `/data/…` for this attempt alone, with a proof by the worker's key.
    pub token: Secret,
    /// Base URLs of the masters, to be tried in order.
    pub data_urls: Vec<String>,
    /// The most that the masters take as results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results_max_bytes: Option<u64>,
    /// The most that the masters take as a checkpoint; 0 for none. Masters that do not say keep no checkpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_max_bytes: Option<u64>,
}

/// What a master tells a worker that asks how it stands, sealed with the worker's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What the worker sent, so that no earlier answer passes for this one.
    pub nonce: String,
    /// The leadership that this master knows of.
    pub epoch: Epoch,
    /// The machine that has the worker's name, when it is another one that is heard from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}

impl Standing {
    /// What a worker proves to know when it asks with `nonce`.
    #[must_use]
    pub fn question(nonce: &str) -> String {
        format!("standing {nonce}")
    }
}

//! Reads a job that was stored.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Error, Specs};
use crate::id::{JobId, JobKey, UserName};
use crate::job::{BundleRef, Charge, Job, JobState, Task, Transition};
use crate::telemetry::Measured;
use crate::time::Timestamp;

/// A [`Job`] without its specification, which is read again from the configuration document.
#[derive(Debug, Clone, Deserialize)]
pub struct StoredJob {
    id: JobId,
    key: JobKey,
    user: UserName,
    config: String,
    #[serde(default)]
    bundle: Option<BundleRef>,
    #[serde(rename = "submitted_at_ms")]
    submitted_at: Timestamp,
    last_attempt: u32,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    retries_used: u32,
    #[serde(default)]
    faults: u32,
    #[serde(default)]
    task: Option<Task>,
    state: JobState,
    #[serde(default, deserialize_with = "readable")]
    timeline: Vec<Transition>,
    #[serde(default, deserialize_with = "readable")]
    charges: Vec<Charge>,
    #[serde(default, deserialize_with = "readable")]
    measured: Vec<Measured>,
}

impl StoredJob {
    /// The job, with its configuration read anew.
    ///
    /// # Errors
    /// When its configuration is no longer acceptable.
    pub fn into_job(self, specs: &mut Specs) -> Result<Job, Error> {
        let (config, spec) = specs.read(&self.config)?;
        // A long queue has a million of these names; most are that of the document.
        let user = if self.user == spec.executor {
            spec.executor.clone()
        } else {
            self.user
        };
        Ok(Job {
            id: self.id,
            key: self.key,
            user,
            spec,
            config,
            bundle: self.bundle,
            submitted_at: self.submitted_at,
            last_attempt: self.last_attempt,
            priority: self.priority,
            retries_used: self.retries_used,
            faults: self.faults,
            task: self.task,
            state: self.state,
            timeline: self.timeline,
            charges: self.charges,
            measured: self.measured,
        })
    }
}

/// Leaves out what a later version added, such as a line of an unknown phase: the timeline and the receipt are for
/// people, and a line less is better than a job less.
fn readable<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let lines = Vec::<Box<RawValue>>::deserialize(deserializer)?;
    // Collecting would leave room for four lines; a long queue has a million of these.
    let mut read = Vec::with_capacity(lines.len());
    read.extend(
        lines
            .iter()
            .filter_map(|line| serde_json::from_str(line.get()).ok()),
    );
    Ok(read)
}

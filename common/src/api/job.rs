//! Jobs and the queue.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Columns that a table of 80 columns has for a short reason.
pub const REASON_WIDTH: u16 = 18;

/// One job: `GET /v1/jobs/{id}`, and the element of every list of jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub user: String,
    /// `queued`, `assigned`, `building`, `running`, `paused`, `stopping`, `publishing` or `finished`.
    pub state: String,
    /// Set once it has finished.
    pub outcome: Option<Outcome>,
    /// The number of the current or last attempt; 0 before the first.
    pub attempt: u32,
    /// The machine of the current or last attempt.
    pub worker: Option<String>,
    /// UUIDs of the GPUs of the current or last attempt.
    pub gpus: Vec<String>,
    /// When it was accepted.
    pub submitted_at: DateTime<Utc>,
    /// When the container of the current or last attempt started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it finished.
    pub finished_at: Option<DateTime<Utc>>,
    /// Its place in the queue, from 1, while it waits; an array's while any of its tasks does.
    pub position: Option<u64>,
    /// Why it waits, while it does.
    pub reason: Option<String>,
    /// The first reason in a few words, such as `2 of 4 GPUs free`: at most [`REASON_WIDTH`] characters unless a
    /// name or a number in it is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_short: Option<String>,
    /// `urgent`, `normal` or `nice`.
    pub class: String,
    /// Among its user's own jobs, the higher the sooner.
    pub priority: i32,
    /// How many GPUs it asks for.
    pub num_gpus: u32,
    /// Thousandths of each of its GPUs: what it was given last, or what it asks for; absent while only a
    /// machine's slots will tell.
    #[serde(default)]
    pub gpu_milli: Option<u32>,
    /// BLAKE3 of its bundle.
    pub bundle: Option<String>,
    /// Its own labels.
    pub labels: BTreeMap<String, String>,
    /// Length of the last attempt's log stream, once it has finished.
    pub log_bytes: Option<u64>,
    /// What became of the last attempt's results, once it has finished; absent if none were to be published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Results>,
    /// The checkpoint from which its next attempt continues. Only `GET /v1/jobs/{id}` fills it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
    /// How long it probably runs: what was expected of its current or last attempt when it was placed, or of a
    /// job that waits what is expected now. Absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_seconds: Option<f64>,
    /// Hardly any such job runs longer; what planning goes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_most_seconds: Option<f64>,
    /// What that rests on: `time_request`, `time_limit` or `learned from 12 runs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_by: Option<String>,
    /// How long the last attempt's container ran, once the job has finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran_seconds: Option<f64>,
    /// Its tasks, for an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<Array>,
    /// Which task of which array it is, for a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// The values of an array's sweep that a task has, by variable.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sweep: BTreeMap<String, String>,
    /// What was asked for. Only `GET /v1/jobs/{id}` fills it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<Box<Requested>>,
    /// Every attempt, oldest first, as far as the timeline goes back. Only `GET /v1/jobs/{id}` fills it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// When it is expected to be given a machine, while it waits. Only `GET /v1/jobs/{id}` fills it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_start: Option<ExpectedStart>,
    /// What it uses now, while it runs and if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<super::JobNow>,
    /// What its ended attempts used, oldest first; the latest 8. Only `GET /v1/jobs/{id}` fills it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used: Vec<super::Used>,
    /// Every change of state, oldest first. Only `GET /v1/jobs/{id}` fills it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineEntry>,
}

/// `GET /v1/history`: a page of finished jobs, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// The jobs. A page may have fewer than were asked for, even none, though more follow.
    pub jobs: Vec<Job>,
    /// The query's `before` of the next page; absent on the last.
    pub next: Option<String>,
}

/// What a job asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Requested {
    /// `Dockerfile` or `image.tar`, both of its bundle, or an image's name.
    pub image: String,
    /// Replaces the image's command. What looks like a secret is `***`.
    pub command: Option<Vec<String>>,
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Its environment. What looks like a secret is `***`.
    pub env: BTreeMap<String, String>,
    /// Names of the secrets that it is given.
    pub secrets: Vec<String>,
    /// The values of its sweep by variable, such as `0.1,0.01` or `1..5`.
    pub sweep: BTreeMap<String, String>,
    /// Jobs that must end first: `12` must succeed, `14:any` must end.
    pub after: Vec<String>,
    /// Memory limit; its machine's share when absent.
    pub memory_bytes: Option<u64>,
    /// CPU; its machine's share when absent.
    pub cpu_cores: Option<f64>,
    /// The models of GPU on which it may run; any when empty.
    pub gpu_models: Vec<String>,
    /// Labels that its machine must have.
    pub node_labels: BTreeMap<String, String>,
    /// Its volumes.
    pub volumes: Vec<String>,
    /// The longest run.
    pub time_limit_seconds: Option<f64>,
    /// The run that it expects.
    pub time_request_seconds: Option<f64>,
    /// How often it is tried again after its own code failed.
    pub retries: u32,
    /// Its array ends when more than so many tasks failed.
    pub max_fails: Option<u32>,
    /// Whether it may be stopped for others and queued again.
    pub preemptible: bool,
}

/// One attempt of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// Its machine.
    pub worker: String,
    /// UUIDs of its GPUs.
    pub gpus: Vec<String>,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// When its container started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why it ended: a cause such as `worker_lost`, or `refused` by its machine.
    pub cause: Option<String>,
    /// The same in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The tasks of an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Array {
    /// Their indexes, such as `0-99`; in lists a long text ends in `…`.
    pub indexes: String,
    /// How many tasks there are.
    pub total: u32,
    /// At most so many are under way at once.
    pub max_running: Option<u32>,
    /// Tasks that have not begun.
    pub waiting: u32,
    /// Tasks that have begun and are not over; one that is to be tried again counts here while it waits.
    pub active: u32,
    /// Tasks that succeeded.
    pub succeeded: u32,
    /// Tasks that failed.
    pub failed: u32,
    /// Tasks that were cancelled, or that never began because the array ended.
    pub cancelled: u32,
    /// The indexes of those that failed. Only `GET /v1/jobs/{id}` fills it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failed_indexes: String,
    /// The indexes of those that were cancelled. Only `GET /v1/jobs/{id}` fills it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cancelled_indexes: String,
}

/// Which task of which array a job is. It may be named `array_index`, such as `1423_7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The array's id.
    pub array: u64,
    /// The task's index in it.
    pub index: u32,
}

/// Why a job waits: `GET /v1/jobs/{id}/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// The job.
    pub id: u64,
    /// Which task of which array it is, for a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// `queued`, `assigned`, `building`, `running`, `paused`, `stopping`, `publishing` or `finished`.
    pub state: String,
    /// Its place in the queue, from 1, while it waits.
    pub position: Option<u64>,
    /// Every reason why it waits.
    pub reasons: Vec<String>,
    /// Single changes each of which would start it now.
    pub remedies: Vec<String>,
    /// When it, or the next task of an array, is expected to be given a machine.
    #[serde(default)]
    pub expected_start: Option<ExpectedStart>,
    /// Why that is not known, while it waits and it is not.
    #[serde(default)]
    pub expected_start_unknown: Option<String>,
    /// What its timeline last says, while it has a machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// When a job is expected to be given a machine, if nobody submits anything more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedStart {
    /// If all jobs take as long as half of their like do at most.
    pub p50: DateTime<Utc>,
    /// If all jobs take as long as nine in ten of their like do at most.
    pub p90: DateTime<Utc>,
}

/// `POST /v1/jobs/{id}/priority`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorityRequest {
    /// Among its user's own jobs, the higher the sooner.
    pub priority: i32,
}

/// `POST /v1/jobs/{id}/retry`, with an optional `Idempotency-Key` header: 201 with the new [`Job`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// Only those tasks of an array that did not succeed: they failed, were cancelled, or never began.
    #[serde(default)]
    pub failed: bool,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The cause's word, such as `succeeded` or `build_failed`.
    pub cause: String,
    /// Who cancelled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The container's exit code; 128 and the signal's number when a signal ended it.
    pub exit_code: Option<i32>,
    /// The facts in one sentence.
    pub detail: String,
    /// What the user can do about it.
    pub hint: String,
}

/// What became of what an attempt wrote to `/outdir`. The manifest in the archive tells it in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// Whether all of it is stored.
    pub complete: bool,
    /// Files and links that are stored.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// How many files, links and folders were left out.
    #[serde(default)]
    pub left_out: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out_first: Vec<LeftOut>,
    /// Why nothing is stored although something was to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// What is stored of a job's `/checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The number of the attempt that wrote it.
    pub attempt: u32,
    /// When it was taken.
    pub taken_at: DateTime<Utc>,
    /// How many files it has.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// One that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its path below `/outdir`.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// One change of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// Into which state.
    pub state: String,
    /// With which attempt.
    pub attempt: Option<u32>,
    /// The machine, the reason, the cause.
    pub note: String,
}

/// A page of jobs: `GET /v1/jobs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobPage {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// The jobs, newest first.
    pub jobs: Vec<Job>,
    /// Pass it as `before` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// The queue: `GET /v1/queue`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// Set while the queue is locked: by whom, why and until when.
    pub lock: Option<String>,
    /// The waiting jobs, in the order in which they will be tried.
    pub entries: Vec<QueueEntry>,
    /// Pass it as `after` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One waiting job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueEntry {
    /// Its place, from 1.
    pub position: u64,
    /// The job.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub user: String,
    /// Its user's penalty; the lower, the sooner.
    pub penalty: f64,
    /// Its class.
    pub class: String,
    /// Its priority among its user's jobs.
    pub priority: i32,
    /// How many GPUs it asks for.
    pub num_gpus: u32,
    /// Thousandths of each of its GPUs; absent when the node's slots decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_milli: Option<u32>,
    /// Since when it waits.
    pub since: DateTime<Utc>,
    /// Why it waits.
    pub reason: String,
    /// The first reason in a few words, such as `behind job 12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_short: Option<String>,
    /// Its tasks, for an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<Array>,
    /// When it, or the next task of an array, is expected to be given a machine.
    #[serde(default)]
    pub expected_start: Option<ExpectedStart>,
}

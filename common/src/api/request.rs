//! What clients send, and the answers that belong to it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Role, Token};
use crate::secret::Secret;

/// `POST /v1/jobs`, with an optional `Idempotency-Key` header: 201 with the [`super::Job`], or 200 when
/// the key already gave that job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// BLAKE3 of a bundle that was put to `/v1/bundles/{digest}`.
    pub bundle: String,
    /// Fields that replace those of the bundle's `container_config.json`; `env` is merged by name.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub overrides: serde_json::Map<String, serde_json::Value>,
}

/// The answer to `PUT /v1/bundles/{digest}` (201) and `GET /v1/bundles/{digest}` (200).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// BLAKE3.
    pub digest: String,
    /// Bytes.
    pub size_bytes: u64,
}

/// `DELETE /v1/jobs/{id}`: its query string.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {}

/// `POST /v1/nodes/{id}/cordon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CordonRequest {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /v1/nodes/{id}/drain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// After so many seconds the jobs that are left are evicted; they may all end when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u64>,
}

/// `POST /v1/shutdown`: 202 with a [`ShuttingDown`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownRequest {
    /// When.
    pub mode: ShutdownMode,
}

/// When a master ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownMode {
    /// Once no job has a node; until then it starts nothing. A standby ends at once.
    Drain,
    /// At once. Containers keep running and are adopted at the next start.
    Now,
}

/// The answer to [`ShutdownRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShuttingDown {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// How many jobs have a node.
    pub jobs_left: u64,
}

/// `POST /v1/reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// The settings whose values in the file, the environment or the flags differ from those in force.
    pub changes: Vec<SettingChange>,
}

/// One setting that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingChange {
    /// Its name.
    pub name: String,
    /// Its value before; secrets are hidden, and what has no value is empty.
    pub before: String,
    /// Its value now.
    pub now: String,
    /// Whether it is in force; otherwise it needs a restart.
    pub applied: bool,
}

/// `POST /v1/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// Whether to remove nothing and only tell what would be removed.
    #[serde(default)]
    pub dry_run: bool,
}

/// `POST /v1/queue/lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockRequest {
    /// Why.
    pub reason: String,
    /// After so many seconds it ends by itself.
    pub for_seconds: u64,
}

/// The data of a `log` event of `GET /v1/jobs/{id}/logs/stream`. The event's id is `attempt:next`, so that
/// `Last-Event-ID` goes on where a broken stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEvent {
    /// The attempt's number.
    pub attempt: u32,
    /// Offset in the log stream after this piece.
    pub next: u64,
    /// `dopq`, `build`, `stdout` or `stderr`.
    pub source: String,
    /// When it was printed.
    pub at: DateTime<Utc>,
    /// What was printed, base64.
    pub data: String,
}

/// The data of the `end` event that closes a log stream; with `follow`, the job has then finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogEnd {
    /// The job as it now is.
    pub job: super::Job,
}

/// `POST /v1/users`: 201 with the [`super::User`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Name.
    pub name: String,
    /// Role; `user` when absent.
    #[serde(default)]
    pub role: Role,
}

/// `POST /v1/users/{name}/tokens`: 201 with a [`TokenCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for, shown in lists.
    #[serde(default)]
    pub label: String,
    /// Seconds after which it ends; never when absent.
    #[serde(default)]
    pub expires_in_seconds: Option<u64>,
}

/// `POST /v1/login`, without a token: 201 with a [`TokenCreated`], whose token ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user.
    pub name: String,
    /// Their password.
    pub password: Secret,
    /// What the token is for, shown in lists.
    #[serde(default)]
    pub label: String,
}

/// `PUT /v1/users/{name}/password`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The new password; none from now on when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The password until now, if there is one. Admins need none for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Secret>,
}

/// `PUT /v1/users/{name}/role`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// From now on.
    pub role: Role,
}

/// The only time a token is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCreated {
    /// What lists show of it.
    pub info: Token,
    /// The secret, `dopq_…`.
    pub token: Secret,
}

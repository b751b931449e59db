//! Sessions in running containers: what passes over the WebSocket of `/v1/jobs/{id}/exec` beside the data.
//!
//! The client's first message is an [`ExecRequest`] as text. After it, binary messages of the client are input; those of
//! the master start with a byte, 1 for output and 2 for standard error. Text messages are [`SessionInput`] and
//! [`SessionEvent`].

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ErrorBody;

/// A command to run in a job's container.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// More environment, as `NAME=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// As whom; by default as the container's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// In which folder; by default the container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// With all capabilities; for admins.
    #[serde(default)]
    pub privileged: bool,
    /// On a terminal.
    #[serde(default)]
    pub tty: bool,
    /// With input.
    #[serde(default)]
    pub stdin: bool,
    /// Without input and output; the session ends once it runs.
    #[serde(default)]
    pub detach: bool,
}

/// The environment may hold secrets.
impl fmt::Debug for ExecRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecRequest")
            .field("command", &self.command)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What a client says beside its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SessionInput {
    /// The terminal's size.
    Resize {
        /// Its rows.
        rows: u16,
        /// Its columns.
        columns: u16,
    },
    /// There is no more input.
    Close,
}

/// What the master says beside the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SessionEvent {
    /// The command runs.
    Started,
    /// There is no more output.
    Close,
    /// The session is over. The connection is closed after it.
    End {
        /// The command's exit code, if it ended by itself.
        exit_code: Option<i32>,
        /// Why it ended, otherwise.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// The session did not begin or cannot go on. The connection is closed after it.
    Error {
        /// As in the answer of other routes.
        error: ErrorBody,
    },
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

//! What opens and ends a session in a running container: a command, or a connection into it.
//!
//! A session runs over the live exchange between one master and one worker. The master's [`OpenSession`] is sealed with
//! the worker's key and does nothing by itself: the worker answers with a nonce, and only who knows the worker's key can
//! go on from there, so a recorded one opens nothing. What follows are frames ([`crate::session`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{AttemptId, UserName};

/// The longest [`OpenSession`] as JSON: with its seal it fits into a message.
pub const OPEN_MAX_BYTES: usize = 48 * 1024;

/// The name of a session: 128 random bits of the master.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SessionId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id)?;
        Ok(Self(id))
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Asks a worker for a session. One live message, sealed as [`super::ToWorker::Session`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    /// [`super::WIRE_VERSION`] of the writer.
    pub version: u32,
    /// Its name.
    pub id: SessionId,
    /// In whose container.
    pub attempt: AttemptId,
    /// Who asks, for the worker's log.
    pub by: UserName,
    /// What for.
    pub request: SessionRequest,
}

/// What a session is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SessionRequest {
    /// To run a command in the container.
    Exec(ExecRequest),
    /// To connect to a port in the container.
    Forward {
        /// Which.
        port: u16,
    },
    /// A kind that this version does not know; it is refused.
    #[serde(other)]
    Unknown,
}

/// A command to run in a container.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// With all capabilities.
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

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEnd {
    /// Why.
    pub cause: EndCause,
    /// The command's exit code, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// More about it, for people; may be empty.
    #[serde(default)]
    pub detail: String,
}

impl SessionEnd {
    /// An end without an exit code.
    #[must_use]
    pub fn new(cause: EndCause, detail: impl Into<String>) -> Self {
        Self {
            cause,
            exit_code: None,
            detail: detail.into(),
        }
    }

    /// The end of a command.
    #[must_use]
    pub const fn exited(code: i32) -> Self {
        Self {
            cause: EndCause::Done,
            exit_code: Some(code),
            detail: String::new(),
        }
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// It was done with.
    Done,
    /// The settings do not allow it.
    Refused,
    /// There are too many sessions.
    Busy,
    /// The container does not run on that worker, or not any more.
    ContainerEnded,
    /// The command or the path does not exist, or cannot be used.
    NotFound,
    /// Anything else.
    #[serde(other)]
    Failed,
}

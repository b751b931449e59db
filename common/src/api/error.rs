//! Errors: what was wrong, where, and what would be right.

use serde::{Deserialize, Serialize};

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// The error.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// For programs.
    pub code: ErrorCode,
    /// For people: one sentence, lower-case.
    pub message: String,
    /// What to do about it; may be empty.
    #[serde(default)]
    pub hint: String,
    /// Every fault of a refused bundle or configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// One fault of a bundle or its configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    /// The rule's id, for example `path-escapes`.
    pub rule: String,
    /// The entry, field or line, with what cannot be printed escaped; empty for the bundle as a whole.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// The kind of an error, with its HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: the request is not understood.
    BadRequest,
    /// 401: no valid token.
    Unauthorized,
    /// 403: the token's role does not allow it.
    Forbidden,
    /// 404: no such thing, or none that this user may see.
    NotFound,
    /// 409: the thing's state does not allow it, or the key was used for another request.
    Conflict,
    /// 413: larger than allowed.
    TooLarge,
    /// 422: the bundle, its configuration or the job cannot be accepted.
    Invalid,
    /// 429: too many requests.
    TooManyRequests,
    /// 507: the master's disk is full.
    InsufficientStorage,
    /// 503: the store or the leader is out of reach for now.
    Unavailable,
    /// 500: a fault of DoPQ.
    Internal,
    /// A code that this version does not know.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InsufficientStorage => 507,
            Self::Unavailable => 503,
            Self::Internal | Self::Unknown => 500,
        }
    }
}

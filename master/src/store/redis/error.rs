//! Distinguishes temporary failures of Redis from refusals.

use redis::{ErrorKind, RedisError};

use super::super::Error;

/// Codes of temporary errors: the server starts, fails over or runs another script.
const PASSING: [&str; 7] = [
    "LOADING",
    "BUSY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MOVED",
    "ASK",
];

/// Any other code means that the batch is not done. Without an answer the result is unknown.
pub(super) fn classify(error: RedisError) -> Error {
    match error.code() {
        Some(code) if !PASSING.contains(&code) => Error::Refused {
            why: format!("{code} {}", error.detail().unwrap_or_default()),
        },
        None if error.kind() == ErrorKind::AuthenticationFailed => Error::Refused {
            why: error.to_string(),
        },
        Some(_) | None => Error::Unavailable(Box::new(error)),
    }
}

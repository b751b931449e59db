//! Tells what Redis cannot do now from what it will not do.

use redis::{ErrorKind, RedisError};

use super::super::Error;

/// Codes of answers that pass by themselves: the server starts, fails over or runs another script.
const PASSING: [&str; 7] = [
    "LOADING",
    "BUSY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MOVED",
    "ASK",
];

/// An answer with any other code means that nothing was written; no answer at all may mean anything.
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

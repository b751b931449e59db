//! What is stored: jobs, users, groups, workers and counters.
//!
//! The domain's types are stored as they are, in JSON, with the version of the build that wrote them. Fields are only
//! ever added, and unknown ones are tolerated; a form that changes otherwise gets a module that reads its old one.
//! Golden files guard the forms. Where they are stored is left to the master's store; the bundle store's archive
//! holds jobs as well.

mod error;
mod job;
mod specs;

#[cfg(test)]
mod tests;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

pub use error::Error;
pub use job::StoredJob;
pub use specs::Specs;

/// The version that this build writes. Readers take every version up to the one after it, so that a
/// new master and an old one can share a store while one replaces the other.
pub const RECORD_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Record<T> {
    /// [`RECORD_VERSION`] of the writer.
    version: u32,
    value: T,
}

/// Writes a record.
///
/// # Errors
/// When the value cannot be written as JSON.
pub fn write<T: Serialize>(value: &T) -> Result<String, Error> {
    let version = RECORD_VERSION;
    Ok(serde_json::to_string(&Record { version, value })?)
}

/// Reads a record.
///
/// # Errors
/// When a version too far ahead wrote it, whatever its form is, or its form is not the expected one.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let read = serde_json::from_str::<Record<T>>(text);
    let version = match &read {
        Ok(record) => record.version,
        Err(_) => serde_json::from_str::<Record<IgnoredAny>>(text).map_or(0, |it| it.version),
    };
    if version > RECORD_VERSION + 1 {
        return Err(Error::TooNew { version });
    }
    Ok(read?.value)
}

//! Why a record cannot be read.

use super::RECORD_VERSION;
use crate::id::ParseIdError;
use crate::job::ParseIndexesError;

/// A record that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no JSON of the record's form.
    #[error("it is not of the form expected")]
    Json(#[from] serde_json::Error),
    /// It was written by a version too far ahead.
    #[error("it is of version {version}, and this build reads up to {}", RECORD_VERSION + 1)]
    TooNew {
        /// The version it says it is of.
        version: u32,
    },
    /// It holds a malformed identifier.
    #[error(transparent)]
    Id(#[from] ParseIdError),
    /// It holds malformed indexes of tasks.
    #[error(transparent)]
    Indexes(#[from] ParseIndexesError),
    /// Its configuration document is no longer acceptable.
    #[error("its configuration is refused: {0}")]
    Config(String),
}

/// Refuses what a version too far ahead wrote.
pub(super) fn check_version(version: u32) -> Result<(), Error> {
    if version > RECORD_VERSION + 1 {
        return Err(Error::TooNew { version });
    }
    Ok(())
}

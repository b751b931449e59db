//! Why a record cannot be read.

use super::RECORD_VERSION;

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
    /// Its configuration document is no longer acceptable.
    #[error("its configuration is refused: {0}")]
    Config(String),
}

//! Errors of the store.

use dopq_common::id::Epoch;

/// Why an operation on the store failed. Fits "failed to {error}".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another master leads. Nothing was written; stop leading.
    #[error("write as epoch {ours}: epoch {theirs} leads now")]
    Fenced {
        /// The epoch of the batch.
        ours: Epoch,
        /// The store's epoch.
        theirs: Epoch,
    },
    /// The batch is not the next one. Nothing was written; load the state again.
    #[error("write batch {got}: the store is at {at}")]
    OutOfSequence {
        /// The number of the batch.
        got: u64,
        /// The number of the store's last batch.
        at: u64,
    },
    /// The store does not answer. A commit may or may not have been written: commit the same batch again.
    #[error("reach the store")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store refused: it is full, read-only or misconfigured. Nothing was written.
    #[error("write to the store: {why}")]
    Refused {
        /// Its answer.
        why: String,
    },
    /// The store's settings would lose data.
    #[error("use the store: {0}")]
    Unsuitable(String),
    /// A record cannot be read.
    #[error("read the stored {what}")]
    Corrupt {
        /// Which record.
        what: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

//! What can go wrong with the store.

use dopq_common::id::Epoch;

/// Why an operation on the store failed. Fits "failed to {error}".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another master has taken the lead since. Nothing was written; stop leading.
    #[error("write as epoch {ours}: epoch {theirs} leads now")]
    Fenced {
        /// The epoch of the batch.
        ours: Epoch,
        /// The epoch that the store is at.
        theirs: Epoch,
    },
    /// The batch is not the next one. Nothing was written; load the state again.
    #[error("write batch {got}: the store is at {at}")]
    OutOfSequence {
        /// The number of the batch.
        got: u64,
        /// The number of the last batch that the store has.
        at: u64,
    },
    /// The store cannot be reached, or did not answer in time. A commit may or may not have been
    /// written: commit the same batch again.
    #[error("reach the store")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store answered that it cannot take this: it is full, read-only or misconfigured. Nothing was written.
    #[error("write to the store: {why}")]
    Refused {
        /// What it said.
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

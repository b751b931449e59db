//! Why a checkpoint could not be stored or restored.

use std::io;

use dopq_common::checkpoint::{ENTRIES_MAX, Invalid};
use dopq_common::resources::ByteSize;
use reqwest::StatusCode;
use tokio::task::JoinError;

use crate::data;
use crate::disk::is_full;
use crate::docker::MountError;

/// Why a checkpoint could not be stored or restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is larger than the masters take.
    #[error("it has {bytes}, and {max} are allowed (limits.checkpoint_size)")]
    TooLarge {
        /// Its size.
        bytes: ByteSize,
        /// The limit.
        max: ByteSize,
    },
    /// It has too many files.
    #[error("it has more than {ENTRIES_MAX} files, folders and links")]
    TooMany,
    /// A name that cannot be stored.
    #[error(
        "the path {0:?} cannot be stored: it is no UTF-8, or its name, path or nest of folders is too long"
    )]
    Name(String),
    /// A file that does not hold still.
    #[error("{0:?} is written to all the time; write to another name, then rename")]
    Changing(String),
    /// The masters refuse it.
    #[error("the masters refuse it: {0}")]
    Refused(StatusCode),
    /// The masters do not give it.
    #[error("fetch the checkpoint")]
    Denied(#[source] data::Error),
    /// What the masters gave is no checkpoint.
    #[error("restore the checkpoint")]
    Invalid(#[source] Invalid),
    /// A chunk that the manifest names is gone or is another.
    #[error("restore the checkpoint: a part of it is missing or damaged")]
    Damaged,
    /// A folder cannot be used.
    #[error("prepare the folder of the checkpoint")]
    Mount(#[source] MountError),
    /// This machine's disk failed or is full.
    #[error("{what} the checkpoint")]
    Disk {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It was called off.
    #[error("it was called off")]
    Stopped,
}

impl Error {
    pub(super) const fn reading(source: io::Error) -> Self {
        Self::Disk {
            what: "read",
            source,
        }
    }

    pub(super) const fn writing(source: io::Error) -> Self {
        Self::Disk {
            what: "write",
            source,
        }
    }

    /// Whether this machine's disk is full.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Disk { source, .. } => is_full(source),
            Self::Mount(error) => error.is_full(),
            Self::TooLarge { .. }
            | Self::TooMany
            | Self::Name(_)
            | Self::Changing(_)
            | Self::Refused(_)
            | Self::Denied(_)
            | Self::Invalid(_)
            | Self::Damaged
            | Self::Stopped => false,
        }
    }
}

/// Runs blocking work beside the tasks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error: JoinError| Error::reading(io::Error::other(error)))
        .flatten()
}

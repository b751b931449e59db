//! Why a worker could not start or go on.

use std::io;
use std::path::PathBuf;

use dopq_common::id::WorkerId;
use tokio::task::JoinError;

use crate::docker::{MountError, SharedFileError};
use crate::{egress, records};

/// Why a worker could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder cannot be made or used.
    #[error("prepare the folder {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be mounted.
    #[error("prepare a folder for containers")]
    Mount(#[source] MountError),
    /// A file cannot be shared with containers.
    #[error("prepare a file for containers")]
    SharedFile(#[source] SharedFileError),
    /// The records cannot be read or written.
    #[error("keep records")]
    Records(#[source] records::Error),
    /// The client for the masters' data plane cannot be made.
    #[error("prepare the connection to the masters")]
    Http(#[source] reqwest::Error),
    /// What jobs or builds reach cannot be limited as the settings say.
    #[error("limit what containers reach")]
    Egress(#[source] egress::Error),
    /// The machine gives no random numbers.
    #[error("read random numbers")]
    Random(#[source] getrandom::Error),
    /// Another machine that the masters hear from has this worker's name.
    #[error(
        "join as {worker}: the worker at {holder} has this name, and this one is at {here}; give one of them another name"
    )]
    NameTaken {
        /// The name.
        worker: WorkerId,
        /// The machine that has it.
        holder: String,
        /// This machine.
        here: String,
    },
    /// A part of the worker panicked.
    #[error("go on")]
    Panicked(#[source] JoinError),
}

impl Error {
    /// Whether starting again may help; `again` when that was done before.
    pub(crate) const fn is_passing(&self, again: bool) -> bool {
        match self {
            Self::Records(error) => again || error.is_passing(),
            Self::Panicked(_) | Self::NameTaken { .. } => true,
            Self::Folder { .. }
            | Self::Mount(_)
            | Self::SharedFile(_)
            | Self::Http(_)
            | Self::Egress(_)
            | Self::Random(_) => false,
        }
    }
}

//! Why a folder cannot be packed.

use std::io;
use std::path::PathBuf;

/// Why a folder or zip cannot be made into a bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or folder cannot be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Neither a folder nor a zip.
    #[error("{} is neither a folder nor a .zip file", path.display())]
    Kind {
        /// What.
        path: PathBuf,
    },
    /// Entries that no bundle may hold.
    #[error("{} cannot go into a bundle: {}", if .0.len() == 1 { "1 file" } else { "some files" }, .0.join("; "))]
    Entries(Vec<String>),
    /// A file became shorter or longer while it was read.
    #[error("{} changed while it was packed; try again when it is complete", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// The zip cannot be written.
    #[error("failed to write the zip")]
    Write(#[source] io::Error),
    /// The zip's format does not allow it.
    #[error("failed to write the zip")]
    Zip(#[from] zip::result::ZipError),
}

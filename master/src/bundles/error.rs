//! Errors of the bundle store and of the intake.

use std::io;

use dopq_common::bundle::Fault;
use dopq_common::id::Digest;

use crate::judging::Overrun;

/// A failure of the bundle store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL or an option of it is wrong.
    #[error("open {url}: {reason}")]
    Settings {
        /// The URL, without secrets.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The folder of a local store cannot be made or read.
    #[error("open the folder {path}")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such object.
    #[error("find {0}")]
    NotFound(String),
    /// The disk or quota is full.
    #[error("write {path}: no space is left")]
    Full {
        /// What was written.
        path: String,
    },
    /// The stored content is wrong.
    #[error("read {path}: {reason}")]
    Damaged {
        /// Where.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The store itself failed, after its retries.
    #[error("{action} {path}")]
    Store {
        /// What was done, such as `read`.
        action: &'static str,
        /// To what.
        path: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// Reading the content to store failed.
    #[error("read what is to be stored at {path}")]
    Input {
        /// Where it was to go.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Converts a failed call. A full disk and a missing object have variants of their own.
    pub(super) fn of(
        action: &'static str,
        path: &object_store::path::Path,
        source: object_store::Error,
    ) -> Self {
        let path = path.to_string();
        if matches!(source, object_store::Error::NotFound { .. }) {
            Self::NotFound(path)
        } else if is_full(&source) {
            Self::Full { path }
        } else {
            Self::Store {
                action,
                path,
                source,
            }
        }
    }

    /// From a failure to write to a local file.
    pub(crate) fn local(path: &std::path::Path, source: io::Error) -> Self {
        let path = path.display().to_string();
        if is_full(&source) {
            Self::Full { path }
        } else {
            Self::Folder { path, source }
        }
    }

    /// Whether no space was left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Settings { .. }
            | Self::Folder { .. }
            | Self::NotFound(_)
            | Self::Damaged { .. }
            | Self::Store { .. }
            | Self::Input { .. } => false,
        }
    }
}

/// Whether the error or one of its sources is a full disk or quota.
pub(super) fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && matches!(
                io.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// Why the intake refused a bundle.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The bundle breaks rules; lists all of them.
    #[error("the bundle is not valid: {}", first(.0))]
    Invalid(Vec<Fault>),
    /// The content does not match the announced digest.
    #[error("the bundle's digest is {found}, not {announced} as announced")]
    Digest {
        /// The announced digest.
        announced: Digest,
        /// The digest of the received bytes.
        found: Digest,
    },
    /// The spool's disk is full.
    #[error("the disk is too full for the bundle")]
    Full,
    /// The spool failed.
    #[error("spool the bundle")]
    Spool(#[source] io::Error),
    /// The bundle store failed.
    #[error("store the bundle")]
    Store(#[source] Error),
    /// Too many bundles are being checked.
    #[error("check the bundle: {}", Overrun::Busy)]
    Busy,
}

impl IntakeError {
    /// From a failure of the spool.
    pub(super) fn of(source: io::Error) -> Self {
        if is_full(&source) {
            Self::Full
        } else {
            Self::Spool(source)
        }
    }

    /// From a reader without a result. What takes too long, or makes a reader fail, does so each time; it is refused.
    pub(super) fn overrun(overrun: Overrun) -> Self {
        match overrun {
            Overrun::Busy => Self::Busy,
            Overrun::Slow(_) | Overrun::Failed => {
                Self::Invalid(vec![Fault::new("reader_overrun", "", overrun.to_string())])
            }
        }
    }

    /// Whether no space was left, here or in the store.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Store(error) => error.is_full(),
            Self::Invalid(_) | Self::Digest { .. } | Self::Spool(_) | Self::Busy => false,
        }
    }
}

/// The first fault and the number of others. Callers that can show a list show all.
fn first(faults: &[Fault]) -> String {
    match faults {
        [] => String::new(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} and {} more errors", rest.len()),
    }
}

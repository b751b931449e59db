//! What both kinds of share have in common.

use bytes::Bytes;
use dopq_common::bundle::Fault;
use futures::stream::BoxStream;

use crate::bundles;
use crate::ingest::looks::Found;

/// Where users put their zips.
pub(in crate::ingest) const INCOMING: &str = "incoming";
/// Receipts and accepted zips.
pub(in crate::ingest) const ACCEPTED: &str = "accepted";
/// Refused zips and their reasons.
pub(in crate::ingest) const REJECTED: &str = "rejected";

/// Bytes of a file as they arrive.
pub(in crate::ingest) type Content = BoxStream<'static, Result<Bytes, Error>>;

/// An error of the share.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its URL or options are wrong, or its folder cannot be created.
    #[error("open the watched place")]
    Open(#[source] bundles::Error),
    /// An operation on a folder failed.
    #[error("{action} {path}")]
    Folder {
        /// What was done.
        action: &'static str,
        /// To what.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An operation on a bucket failed.
    #[error("{action} {path}")]
    Bucket {
        /// What was done.
        action: &'static str,
        /// To what.
        path: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// The file is gone or has changed.
    #[error("{path} has changed")]
    Changed {
        /// Which.
        path: String,
    },
    /// The file must not be taken.
    #[error("{0}")]
    Refused(Fault),
}

/// The result of a look.
#[derive(Debug, Default)]
pub(in crate::ingest) struct Listing {
    /// Zips that ingest takes.
    pub(in crate::ingest) zips: Vec<Found>,
    /// Anything else.
    pub(in crate::ingest) ignored: u64,
}

/// The endings of files that ingest takes, and of configurations beside images.
const ENDINGS: [&str; 3] = [".zip", IMAGE, ".json"];
/// The ending of an image archive.
const IMAGE: &str = ".tar";

/// The name without its ending, and the ending in lower case if it is one of [`ENDINGS`].
pub(in crate::ingest) fn split(name: &str) -> (&str, Option<&'static str>) {
    let found = ENDINGS.into_iter().find_map(|ending| {
        let at = name.len().checked_sub(ending.len())?;
        let (stem, own) = name.split_at_checked(at)?;
        own.eq_ignore_ascii_case(ending).then_some((stem, ending))
    });
    found.map_or((name, None), |(stem, ending)| (stem, Some(ending)))
}

/// Whether a file is an image archive by its name.
pub(in crate::ingest) fn is_image(path: &str) -> bool {
    split(path).1 == Some(IMAGE)
}

/// The ending that a file keeps when it is moved.
pub(super) fn ending(path: &str) -> &'static str {
    split(path).1.unwrap_or(".zip")
}

/// Whether ingest takes `path` below `incoming/`: a zip or an image archive in a user's folder or at the top. Many
/// programs use hidden names for copies in progress, so those do not count.
pub(super) fn is_taken(path: &str) -> bool {
    let is_one = matches!(split(path).1, Some(".zip" | IMAGE));
    is_one && path.split('/').count() <= 2 && !path.split('/').any(|part| part.starts_with('.'))
}

//! The watched place itself: a folder, or a bucket.
//!
//! Both give the same few operations; how each keeps its promises is told where it is done.

mod folder;
mod objects;

use std::collections::BTreeMap;

use bytes::Bytes;
use dopq_common::bundle::Fault;
use futures::stream::BoxStream;

use self::folder::Folder;
pub(super) use self::objects::Bucket;
use super::looks::{Found, Print};
use crate::bundles;

/// Where users put their zips.
pub(super) const INCOMING: &str = "incoming";
/// Where receipts go, and the zips that were accepted.
pub(super) const ACCEPTED: &str = "accepted";
/// Where the zips that were refused go, with the reasons.
pub(super) const REJECTED: &str = "rejected";

/// Bytes of a file as they arrive.
pub(super) type Content = BoxStream<'static, Result<Bytes, Error>>;

/// A failure of the watched place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its URL or options are wrong, or its folder cannot be made.
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
    /// The file is gone, or no longer what was found.
    #[error("{path} has changed")]
    Changed {
        /// Which.
        path: String,
    },
    /// The file must not be taken.
    #[error("{0}")]
    Refused(Fault),
}

/// What a look shows.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Zips in places where they are taken from.
    pub(super) zips: Vec<Found>,
    /// Anything else.
    pub(super) ignored: u64,
}

/// The watched place; cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Share {
    Folder(Folder),
    Bucket(Bucket),
}

impl Share {
    /// Opens it; a folder is made with its three parts.
    pub(super) async fn open(url: &str, options: &BTreeMap<String, String>) -> Result<Self, Error> {
        match bundles::local_path(url).map_err(Error::Open)? {
            Some(root) => Folder::open(root, options).await.map(Self::Folder),
            None => Bucket::open(url, options).map(Self::Bucket),
        }
    }

    /// Where it is, without secrets.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Folder(folder) => folder.name(),
            Self::Bucket(bucket) => bucket.name().to_owned(),
        }
    }

    /// What lies in `incoming/`.
    pub(super) async fn list(&self) -> Result<Listing, Error> {
        match self {
            Self::Folder(folder) => folder.list().await,
            Self::Bucket(bucket) => bucket.list().await,
        }
    }

    /// What a file in `incoming/` is now.
    pub(super) async fn look(&self, path: &str) -> Result<Option<Print>, Error> {
        match self {
            Self::Folder(folder) => folder.look(path).await,
            Self::Bucket(bucket) => bucket.look(path).await,
        }
    }

    /// The bytes of a file in `incoming/`.
    pub(super) async fn read(&self, found: &Found) -> Result<Content, Error> {
        match self {
            Self::Folder(folder) => folder.read(found).await,
            Self::Bucket(bucket) => bucket.read(found).await,
        }
    }

    /// A small document in `accepted/` or `rejected/`.
    pub(super) async fn document(&self, place: &str, name: &str) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Folder(folder) => folder.document(place, name).await,
            Self::Bucket(bucket) => bucket.document(place, name).await,
        }
    }

    /// Writes one, durably and whole, over an earlier one.
    pub(super) async fn write(&self, place: &str, name: &str, body: Bytes) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.write(place, name, body).await,
            Self::Bucket(bucket) => bucket.write(place, name, body).await,
        }
    }

    /// Moves a file from `incoming/` to `place` under `stem`, durably, without ever replacing another file.
    /// [`Error::Changed`] when it is no longer what was found; it is then still in `incoming/`.
    pub(super) async fn shelve(&self, found: &Found, place: &str, stem: &str) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.shelve(found, place, stem).await,
            Self::Bucket(bucket) => bucket.shelve(found, place, stem).await,
        }
    }

    /// Removes a file from `incoming/`, with the same care.
    pub(super) async fn remove(&self, found: &Found) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.remove(found).await,
            Self::Bucket(bucket) => bucket.remove(found).await,
        }
    }
}

/// Whether `path` below `incoming/` is one that is taken: a zip in a user's folder or at the top. Hidden files
/// are how several programs name what they are still copying.
fn is_taken(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let zip = name
        .len()
        .checked_sub(4)
        .and_then(|at| name.split_at_checked(at))
        .is_some_and(|(_, ending)| ending.eq_ignore_ascii_case(".zip"));
    zip && path.split('/').count() <= 2 && !path.split('/').any(|part| part.starts_with('.'))
}

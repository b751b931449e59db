//! The share: a folder or a bucket.
//!
//! Both offer the same operations. Each adapter documents how it keeps its guarantees.

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
/// Receipts and accepted zips.
pub(super) const ACCEPTED: &str = "accepted";
/// Refused zips and their reasons.
pub(super) const REJECTED: &str = "rejected";

/// Bytes of a file as they arrive.
pub(super) type Content = BoxStream<'static, Result<Bytes, Error>>;

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
pub(super) struct Listing {
    /// Zips that ingest takes.
    pub(super) zips: Vec<Found>,
    /// Anything else.
    pub(super) ignored: u64,
}

/// The share; cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Share {
    Folder(Folder),
    Bucket(Bucket),
}

impl Share {
    /// Opens it. Creates a folder with its three parts.
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

    /// Lists `incoming/`.
    pub(super) async fn list(&self) -> Result<Listing, Error> {
        match self {
            Self::Folder(folder) => folder.list().await,
            Self::Bucket(bucket) => bucket.list().await,
        }
    }

    /// The present version of a file in `incoming/`.
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

    /// Writes a document durably and atomically. Replaces an earlier one.
    pub(super) async fn write(&self, place: &str, name: &str, body: Bytes) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.write(place, name, body).await,
            Self::Bucket(bucket) => bucket.write(place, name, body).await,
        }
    }

    /// Moves a file durably from `incoming/` to `place` under `stem`. Never replaces another file.
    /// [`Error::Changed`] if the file has changed; it is then still in `incoming/`.
    pub(super) async fn shelve(&self, found: &Found, place: &str, stem: &str) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.shelve(found, place, stem).await,
            Self::Bucket(bucket) => bucket.shelve(found, place, stem).await,
        }
    }

    /// Removes a file from `incoming/`, with the same guarantees.
    pub(super) async fn remove(&self, found: &Found) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.remove(found).await,
            Self::Bucket(bucket) => bucket.remove(found).await,
        }
    }
}

/// Whether ingest takes `path` below `incoming/`: a zip in a user's folder or at the top. Many programs use
/// hidden names for copies in progress, so those do not count.
fn is_taken(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let zip = name
        .len()
        .checked_sub(4)
        .and_then(|at| name.split_at_checked(at))
        .is_some_and(|(_, ending)| ending.eq_ignore_ascii_case(".zip"));
    zip && path.split('/').count() <= 2 && !path.split('/').any(|part| part.starts_with('.'))
}

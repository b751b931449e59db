//! The share: a folder or a bucket.
//!
//! Both offer the same operations. Each adapter documents how it keeps its guarantees.

mod folder;
mod objects;
mod parts;

use std::collections::BTreeMap;

use bytes::Bytes;
use dopq_common::id::UserName;
use secrecy::SecretString;

use self::folder::Folder;
pub(super) use self::objects::Bucket;
pub use self::parts::Error;
pub(super) use self::parts::{ACCEPTED, Content, Listing, REJECTED, is_image, split};
use super::looks::{Found, Print};
use crate::bundles;

/// The share; cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Share {
    Folder(Folder),
    Bucket(Bucket),
}

impl Share {
    /// Opens it. Creates a folder with its three parts.
    pub(super) async fn open(
        url: &str,
        options: &BTreeMap<String, SecretString>,
    ) -> Result<Self, Error> {
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

    /// Makes a user's folder in `incoming/` if it is missing. A bucket has no folders.
    pub(super) async fn welcome(&self, user: &UserName) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.welcome(user).await,
            Self::Bucket(_) => Ok(()),
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

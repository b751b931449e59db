//! A watched bucket.
//!
//! A bucket cannot rename: a move is a copy, a check that the source is still what was copied, and a delete.
//! Between check and delete another writer could still replace the object. Not all services offer conditional
//! deletes, so users must give each submission its own name.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _, WriteMultipart};
use secrecy::SecretString;

use super::parts::{Content, Error, INCOMING, Listing, ending, is_taken};
use crate::bundles::Objects;
use crate::ingest::looks::{Found, Print};

/// The largest object that S3 copies in one call. Larger ones are read and written again.
const COPY_MAX_BYTES: u64 = 5 << 30;
/// Parts of such a copy: 10,000 of them hold more than the largest object.
const PART_BYTES: usize = 64 << 20;
/// Parts in flight, which bounds the memory.
const PARTS_AT_ONCE: usize = 2;

/// A watched bucket.
#[derive(Debug, Clone)]
pub(in crate::ingest) struct Bucket {
    objects: Objects,
}

impl Bucket {
    pub(super) fn open(url: &str, options: &BTreeMap<String, SecretString>) -> Result<Self, Error> {
        let objects = Objects::open(url, options).map_err(Error::Open)?;
        Ok(Self { objects })
    }

    /// Wraps a test's store.
    #[cfg(test)]
    pub(in crate::ingest) fn over(objects: Objects) -> Self {
        Self { objects }
    }

    pub(super) fn name(&self) -> &str {
        &self.objects.name
    }

    fn path(&self, place: &str, name: &str) -> Result<Path, Error> {
        let text = format!("{}/{place}/{name}", self.objects.prefix);
        Path::parse(&text).map_err(|error| Error::Bucket {
            action: "name",
            path: text,
            source: error.into(),
        })
    }

    pub(super) async fn list(&self) -> Result<Listing, Error> {
        let folder = self.path(INCOMING, "")?;
        let mut listing = Listing::default();
        let mut objects = self.objects.store.list(Some(&folder));
        while let Some(meta) = objects.next().await {
            let meta = meta.map_err(|source| failed("list", &folder, source))?;
            let below = meta.location.prefix_match(&folder).map(|parts| {
                let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
                parts.join("/")
            });
            match below {
                Some(path) if is_taken(&path) => {
                    let listed = Some(print(&meta)).filter(|print| !print.etag.is_empty());
                    // Some services list no etags.
                    let print = match listed {
                        Some(print) => Some(print),
                        None => self.look(&path).await?,
                    };
                    listing
                        .zips
                        .extend(print.map(|print| Found { path, print }));
                }
                Some(_) | None => listing.ignored = listing.ignored.saturating_add(1),
            }
        }
        Ok(listing)
    }

    pub(super) async fn look(&self, path: &str) -> Result<Option<Print>, Error> {
        let path = self.path(INCOMING, path)?;
        match self.objects.store.head(&path).await {
            Ok(meta) => Ok(Some(print(&meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed("look at", &path, source)),
        }
    }

    pub(super) async fn read(&self, found: &Found) -> Result<Content, Error> {
        let path = self.path(INCOMING, &found.path)?;
        let object = match self.objects.store.get(&path).await {
            Ok(object) => object,
            Err(object_store::Error::NotFound { .. }) => return Err(changed(found)),
            Err(source) => return Err(failed("read", &path, source)),
        };
        if print(&object.meta) != found.print {
            return Err(changed(found));
        }
        let stream = object
            .into_stream()
            .map_err(move |source| failed("read", &path, source));
        Ok(stream.boxed())
    }

    pub(super) async fn document(&self, place: &str, name: &str) -> Result<Option<Bytes>, Error> {
        let path = self.path(place, name)?;
        let read = async { self.objects.store.get(&path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed("read", &path, source)),
        }
    }

    pub(super) async fn write(&self, place: &str, name: &str, body: Bytes) -> Result<(), Error> {
        let path = self.path(place, name)?;
        match self.objects.store.put(&path, body.into()).await {
            Ok(_) => Ok(()),
            Err(source) => Err(failed("write", &path, source)),
        }
    }

    pub(super) async fn shelve(&self, found: &Found, place: &str, stem: &str) -> Result<(), Error> {
        let from = self.path(INCOMING, &found.path)?;
        self.still(found).await?;
        let to = self.free(found, place, stem).await?;
        if found.print.size_bytes <= COPY_MAX_BYTES {
            let copied = self.objects.store.copy(&from, &to).await;
            copied.map_err(|source| failed("copy", &from, source))?;
        } else {
            self.copy_by_parts(found, &to).await?;
        }
        self.remove(found).await
    }

    pub(super) async fn remove(&self, found: &Found) -> Result<(), Error> {
        let path = self.path(INCOMING, &found.path)?;
        self.still(found).await?;
        match self.objects.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(failed("remove", &path, source)),
        }
    }

    /// Checks that the source has not changed.
    async fn still(&self, found: &Found) -> Result<(), Error> {
        if self.look(&found.path).await?.as_ref() == Some(&found.print) {
            Ok(())
        } else {
            Err(changed(found))
        }
    }

    /// The first name that is free or contains this file's copy from before a crash.
    async fn free(&self, found: &Found, place: &str, stem: &str) -> Result<Path, Error> {
        let ending = ending(&found.path);
        let mut number = 1_u32;
        loop {
            let name = match number {
                1 => format!("{stem}{ending}"),
                number => format!("{stem}-{number}{ending}"),
            };
            let path = self.path(place, &name)?;
            match self.objects.store.head(&path).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(path),
                Err(source) => return Err(failed("look at", &path, source)),
                Ok(meta) => {
                    if meta.size == found.print.size_bytes && self.is_copy(found, &path).await? {
                        return Ok(path);
                    }
                }
            }
            number = number.saturating_add(1);
        }
    }

    /// Whether `path` has the source's content. A copy may have another etag, so this compares bytes.
    async fn is_copy(&self, found: &Found, path: &Path) -> Result<bool, Error> {
        let copy = self.objects.store.get(path).await;
        let copy = copy
            .map_err(|source| failed("read", path, source))?
            .into_stream();
        let copy = digest(copy.map_err(|source| failed("read", path, source))).await?;
        Ok(digest(self.read(found).await?).await? == copy)
    }

    async fn copy_by_parts(&self, found: &Found, to: &Path) -> Result<(), Error> {
        let write = |source| failed("write", to, source);
        let mut content = self.read(found).await?;
        let upload = self.objects.store.put_multipart(to).await.map_err(write)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        while let Some(bytes) = content.try_next().await? {
            upload
                .wait_for_capacity(PARTS_AT_ONCE)
                .await
                .map_err(write)?;
            upload.put(bytes);
        }
        upload.finish().await.map(drop).map_err(write)
    }
}

async fn digest(content: impl Stream<Item = Result<Bytes, Error>>) -> Result<blake3::Hash, Error> {
    let mut hasher = Box::new(blake3::Hasher::new());
    let mut content = std::pin::pin!(content);
    while let Some(bytes) = content.try_next().await? {
        hasher.update(&bytes);
    }
    Ok(hasher.finalize())
}

/// Normalises listings and single lookups: services write the etag with or without quotes, and the time with or
/// without fractions of a second.
fn print(meta: &ObjectMeta) -> Print {
    let etag = meta.e_tag.as_deref().unwrap_or_default();
    Print {
        size_bytes: meta.size,
        etag: etag.trim_start_matches("W/").trim_matches('"').to_owned(),
        changed: meta.last_modified.timestamp().to_string(),
    }
}

fn changed(found: &Found) -> Error {
    Error::Changed {
        path: found.path.clone(),
    }
}

fn failed(action: &'static str, path: &Path, source: object_store::Error) -> Error {
    Error::Bucket {
        action,
        path: path.to_string(),
        source,
    }
}

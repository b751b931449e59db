//! The layout of the bundle store, and reading and writing it.
//!
//! ```text
//! bundles/<digest>.zip           the bundle
//! bundles/<digest>.json          its size and configuration, written after it
//! uploaders/<digest>/<user>      an empty object for each user who uploaded it and so may use it
//! jobs/<id>-<key>/logs/<try>/<offset>  pieces of an attempt's log stream
//! jobs/<id>-<key>/results/<try>.tar    what an attempt left in /outdir
//! jobs/<id>-<key>/checkpoint/…   manifests and chunks of /checkpoint, see `checkpoints`
//! archive/<day>/<name>.jsonl     jobs' records, see [`crate::archive`]
//! ```
//!
//! An object's content never changes, so every write may be repeated. Only a local segment of the archive grows.

use std::collections::BTreeMap;
use std::io;
use std::path::Path as FilePath;
use std::time::Duration;

use bytes::Bytes;
use dopq_common::id::{AttemptId, Digest, UserName};
use dopq_common::job::BundleRef;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::path::{Path, PathPart};
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, WriteMultipart};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::commits::Commits;
use super::in_use::InUse;
use super::objects::Objects;
use super::{Error, Spooled, local};

/// Part size of large objects. S3 accepts at most 10,000 parts.
const PART_BYTES: usize = 8 << 20;
/// Parts of one object in flight, which bounds the memory.
const PARTS_AT_ONCE: usize = 4;
/// Width of an offset in a name, so that names sort like offsets.
const OFFSET_DIGITS: usize = 20;

/// Bytes as they arrive.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// A stored bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Digest and size.
    pub bundle: BundleRef,
    /// The text of its configuration.
    pub config: String,
}

/// One piece of a log stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chunk {
    /// Its offset in the stream.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// The record beside a bundle.
#[derive(Debug, Serialize, Deserialize)]
struct BundleRecord {
    version: u32,
    size_bytes: u64,
    config: String,
}

/// The bundle store; cheap to clone.
#[derive(Debug, Clone)]
pub struct Bundles {
    objects: Objects,
    pub(super) in_use: InUse,
    pub(super) commits: Commits,
}

impl Bundles {
    /// Opens the store at `url`: a folder, `file://`, `s3://`, `gs://` or `az://`. `options` are the store's own,
    /// such as `endpoint` or `allow_http`; the others come from the environment (`AWS_…` and the like).
    ///
    /// # Errors
    /// [`Error::Settings`] and [`Error::Folder`]. Does not contact a remote store.
    pub fn open(url: &str, options: &BTreeMap<String, SecretString>) -> Result<Self, Error> {
        let objects = Objects::open(url, options)?;
        Ok(Self {
            objects,
            in_use: InUse::default(),
            commits: Commits::default(),
        })
    }

    /// Wraps a test's store.
    #[cfg(test)]
    pub(crate) fn over(objects: Objects) -> Self {
        Self {
            objects,
            in_use: InUse::default(),
            commits: Commits::default(),
        }
    }

    /// Where it is, without secrets.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.objects.name
    }

    /// The folder of a local store.
    #[must_use]
    pub fn folder(&self) -> Option<&FilePath> {
        self.objects.folder.as_deref()
    }

    /// Checks that the store answers.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn probe(&self) -> Result<(), Error> {
        let path = self.path(["bundles", "probe"]);
        match self.objects.store.head(&path).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(Error::of("ask for", &path, source)),
        }
    }

    /// Looks a bundle up.
    ///
    /// # Errors
    /// [`Error::Store`], and [`Error::Damaged`] for an invalid record.
    pub async fn find(&self, digest: &Digest) -> Result<Option<Stored>, Error> {
        let path = self.path(["bundles", &format!("{digest}.json")]);
        let Some(bytes) = absent(self.read(&path).await)? else {
            return Ok(None);
        };
        let record: BundleRecord =
            serde_json::from_slice(&bytes).map_err(|error| Error::Damaged {
                path: path.to_string(),
                reason: error.to_string(),
            })?;
        Ok(Some(Stored {
            bundle: BundleRef {
                digest: *digest,
                size_bytes: record.size_bytes,
            },
            config: record.config,
        }))
    }

    /// Stores a validated bundle. It and its record are durable when this returns.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`], and [`Error::Input`] when the spool cannot be read.
    pub async fn put(
        &self,
        spooled: &mut Spooled,
        bundle: BundleRef,
        config: &str,
    ) -> Result<(), Error> {
        self.put_zip(spooled, bundle).await?;
        // The record is written last, so a bundle with a record is complete.
        let record = BundleRecord {
            version: 1,
            size_bytes: bundle.size_bytes,
            config: config.to_owned(),
        };
        let path = self.path(["bundles", &format!("{}.json", bundle.digest)]);
        self.write(&path, json(&path, &record)?).await?;
        // A sweep of another master can have removed an old zip of that name in between. It looks for the record
        // after that, and this looks for the zip after the record, so one of the two notices.
        if self.zip(&bundle.digest).await?.is_none() {
            self.put_zip(spooled, bundle).await?;
        }
        Ok(())
    }

    async fn put_zip(&self, spooled: &mut Spooled, bundle: BundleRef) -> Result<(), Error> {
        let path = self.zip_path(&bundle.digest);
        let input = |source| Error::Input {
            path: path.to_string(),
            source,
        };
        let content = spooled.content().await.map_err(input)?;
        let written = self.write_stream(&path, content).await?;
        if written == bundle.size_bytes {
            return Ok(());
        }
        let reason = format!("{written} bytes were written of {}", bundle.size_bytes);
        Err(Error::Damaged {
            path: path.to_string(),
            reason,
        })
    }

    /// Notes that `user` has the bundle's content and may use it. False if that was known.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`].
    pub async fn grant(&self, digest: &Digest, user: &UserName) -> Result<bool, Error> {
        if self.is_granted(digest, user).await? {
            return Ok(false);
        }
        let path = self.grant_path(digest, user);
        self.write(&path, Bytes::new()).await.map(|()| true)
    }

    /// Whether `user` uploaded the bundle. Knowing its digest is not enough to use it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_granted(&self, digest: &Digest, user: &UserName) -> Result<bool, Error> {
        let path = self.grant_path(digest, user);
        match self.objects.store.head(&path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(Error::of("look at", &path, source)),
        }
    }

    /// The bytes of a bundle.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`]; the stream's items likewise.
    pub async fn get(&self, digest: &Digest) -> Result<ByteStream, Error> {
        let (_, stream) = self.stream(self.zip_path(digest)).await?;
        Ok(stream)
    }

    /// A URL from which anybody can read the bundle for `ttl`; `None` if the store cannot sign.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn signed_url(&self, digest: &Digest, ttl: Duration) -> Result<Option<Url>, Error> {
        let Some(signer) = &self.objects.signer else {
            return Ok(None);
        };
        let path = self.zip_path(digest);
        signer
            .signed_url(axum::http::Method::GET, &path, ttl)
            .await
            .map(Some)
            .map_err(|source| Error::of("sign a URL for", &path, source))
    }

    /// Stores a piece of an attempt's log stream. May be repeated.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`].
    pub async fn put_log(
        &self,
        attempt: AttemptId,
        offset: u64,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let path = self
            .log_path(attempt)
            .join(format!("{offset:0OFFSET_DIGITS$}"));
        self.write(&path, bytes).await
    }

    /// The stored pieces of an attempt's log stream, by offset.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list_log(&self, attempt: AttemptId) -> Result<Vec<Chunk>, Error> {
        let folder = self.log_path(attempt);
        let listed: Vec<_> = self
            .objects
            .store
            .list(Some(&folder))
            .try_collect()
            .await
            .map_err(|source| Error::of("list", &folder, source))?;
        // Other names are not DoPQ's; a local store may contain an interrupted write.
        let chunk = |meta: object_store::ObjectMeta| {
            let offset = meta.location.filename()?.parse().ok()?;
            Some(Chunk {
                offset,
                len: meta.size,
            })
        };
        let mut chunks: Vec<Chunk> = listed.into_iter().filter_map(chunk).collect();
        chunks.sort_unstable();
        Ok(chunks)
    }

    /// The piece of an attempt's log stream at `offset`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn get_log(&self, attempt: AttemptId, offset: u64) -> Result<Bytes, Error> {
        let path = self
            .log_path(attempt)
            .join(format!("{offset:0OFFSET_DIGITS$}"));
        self.read(&path).await
    }

    /// Stores an attempt's results (a tar) and returns the length in bytes. Stores nothing if the stream fails.
    ///
    /// # Errors
    /// [`Error::Input`] with the stream's error, [`Error::Full`], [`Error::Store`].
    pub async fn put_results(
        &self,
        attempt: AttemptId,
        content: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<u64, Error> {
        self.write_stream(&self.results_path(attempt), content)
            .await
    }

    /// The length in bytes of an attempt's results, if they are stored.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn results_size(&self, attempt: AttemptId) -> Result<Option<u64>, Error> {
        let path = self.results_path(attempt);
        let found = self.objects.store.head(&path).await;
        let found = found.map_err(|source| Error::of("look at", &path, source));
        Ok(absent(found)?.map(|found| found.size))
    }

    /// An attempt's results and their length in bytes.
    ///
    /// # Errors
    /// [`Error::Store`]; the stream's items likewise.
    pub async fn get_results(
        &self,
        attempt: AttemptId,
    ) -> Result<Option<(u64, ByteStream)>, Error> {
        absent(self.stream(self.results_path(attempt)).await)
    }

    /// The store itself.
    pub(super) fn objects(&self) -> &dyn ObjectStore {
        self.objects.store.as_ref()
    }

    pub(super) fn path<'p>(&self, parts: impl IntoIterator<Item = &'p str>) -> Path {
        let base = self.objects.prefix.clone();
        parts
            .into_iter()
            .fold(base, |path, part| path.join(PathPart::from(part)))
    }

    pub(super) fn zip_path(&self, digest: &Digest) -> Path {
        self.path(["bundles", &format!("{digest}.zip")])
    }

    fn grant_path(&self, digest: &Digest, user: &UserName) -> Path {
        self.path(["uploaders", &digest.to_string(), user.as_str()])
    }

    fn log_path(&self, attempt: AttemptId) -> Path {
        self.path([
            "jobs",
            &job_folder(attempt),
            "logs",
            &attempt.number.to_string(),
        ])
    }

    fn results_path(&self, attempt: AttemptId) -> Path {
        let name = format!("{}.tar", attempt.number);
        self.path(["jobs", &job_folder(attempt), "results", &name])
    }

    pub(super) async fn read(&self, path: &Path) -> Result<Bytes, Error> {
        let read = async { self.objects.store.get(path).await?.bytes().await };
        read.await.map_err(|source| Error::of("read", path, source))
    }

    async fn stream(&self, path: Path) -> Result<(u64, ByteStream), Error> {
        let found = self
            .objects
            .store
            .get(&path)
            .await
            .map_err(|source| Error::of("read", &path, source))?;
        let size = found.meta.size;
        let stream = found
            .into_stream()
            .map_err(move |source| Error::of("read", &path, source));
        Ok((size, stream.boxed()))
    }

    pub(super) async fn write(&self, path: &Path, body: Bytes) -> Result<(), Error> {
        if let Some(folder) = self.folder() {
            let target = folder.join(path.as_ref());
            let put = local::put(target.clone(), body).await;
            return put.map_err(|source| Error::local(&target, source));
        }
        let put = self.objects.store.put(path, PutPayload::from_bytes(body));
        match put.await {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::of("write", path, source)),
        }
    }

    /// Writes a stream completely or not at all, and returns its length.
    async fn write_stream(
        &self,
        path: &Path,
        content: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<u64, Error> {
        let failed = |source| Error::of("write", path, source);
        let mut content = std::pin::pin!(content);
        let upload = self
            .objects
            .store
            .put_multipart(path)
            .await
            .map_err(failed)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut written: u64 = 0;
        loop {
            let step = match content.next().await {
                None => break,
                Some(Ok(bytes)) => match upload.wait_for_capacity(PARTS_AT_ONCE).await {
                    Ok(()) => {
                        written = written.saturating_add(bytes.len() as u64);
                        upload.put(bytes);
                        continue;
                    }
                    Err(source) => failed(source),
                },
                Some(Err(source)) => Error::Input {
                    path: path.to_string(),
                    source,
                },
            };
            // The upload has failed already; leftovers only deserve a log line.
            if let Err(error) = upload.abort().await {
                tracing::debug!(%path, %error, "failed to clean up an upload");
            }
            return Err(step);
        }
        upload.finish().await.map_err(failed)?;
        Ok(written)
    }
}

/// The job's key keeps out what a lost store's job of the same id left.
pub(super) fn job_folder(attempt: AttemptId) -> String {
    format!("{}-{}", attempt.job, attempt.key)
}

fn json(path: &Path, record: &impl Serialize) -> Result<Bytes, Error> {
    match serde_json::to_vec(record) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(Error::Damaged {
            path: path.to_string(),
            reason: error.to_string(),
        }),
    }
}

/// `None` if the object does not exist.
fn absent<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

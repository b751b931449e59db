//! Restores a checkpoint into an empty folder. Whoever wrote the manifest is not trusted: it was checked, every chunk is
//! compared with its digest, and files are made by handles of folders that were made here.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dopq_common::checkpoint::{Chunk, Entry, Kind, Manifest};
use dopq_common::id::Digest;
use dopq_common::resources::ByteSize;
use futures::{StreamExt as _, stream};
use reqwest::StatusCode;
use rustix::fs::{AtFlags, Gid, Mode, Uid};
use tokio::io::AsyncWriteExt as _;

use super::error::{Error, blocking};
use super::paths;
use crate::data::{self, Access, DataPlane};
use crate::retry::{self, Pauses};

/// Chunks on their way at once; 8 of 4 MiB bound the memory.
const AT_ONCE: usize = 8;
/// A master that says no may be one that has not yet heard of the attempt.
const DENIALS: u32 = 5;
/// A chunk that is wrong this often is wrong at its source.
const DAMAGES: u32 = 3;
const OWNER_ONLY: Mode = Mode::RWXU;

/// How far a restoration is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// One sentence, once there is something to restore.
    pub(crate) fn text(&self) -> Option<String> {
        let [done, total] =
            [&self.done, &self.total].map(|bytes| ByteSize(bytes.load(Ordering::Relaxed)));
        (total.0 > 0).then(|| format!("restoring the checkpoint: {done} of {total}"))
    }
}

/// The manifest of the job's checkpoint, if it has one.
pub(super) async fn manifest(data: &DataPlane, access: &Access) -> Result<Option<Manifest>, Error> {
    let Some(bytes) = fetched(access, || data.checkpoint(access)).await? else {
        return Ok(None);
    };
    let read = blocking(move || Manifest::read(&bytes).map_err(Error::Invalid));
    read.await.map(Some)
}

/// Restores a checkpoint into a folder that is empty.
pub(super) async fn restore(
    data: &DataPlane,
    access: &Access,
    manifest: Manifest,
    folder: PathBuf,
    progress: &Progress,
) -> Result<(), Error> {
    progress.done.store(0, Ordering::Relaxed);
    progress.total.store(manifest.bytes(), Ordering::Relaxed);
    let (root, entries) = blocking(move || {
        let root = paths::root(&folder).map_err(Error::writing)?;
        make_places(&root, &manifest.entries)?;
        Ok((root, manifest.entries))
    })
    .await?;
    let chunks: Vec<Chunk> = entries.iter().flat_map(Entry::chunks).copied().collect();
    let fetching = chunks.into_iter().map(|chunk| {
        let (data, access) = (data.clone(), access.clone());
        async move { fetch(&data, &access, chunk).await }
    });
    let mut fetched = stream::iter(fetching).buffered(AT_ONCE);
    for entry in &entries {
        let Kind::File(chunks) = &entry.kind else {
            continue;
        };
        let (handle, path) = (clone(&root)?, entry.path.clone());
        let file =
            blocking(move || paths::new_file(&handle, &path).map_err(Error::writing)).await?;
        let mut file = tokio::fs::File::from_std(file);
        for _ in chunks {
            let bytes = fetched.next().await.ok_or(Error::Damaged)??;
            file.write_all(&bytes).await.map_err(Error::writing)?;
            let length = u64::try_from(bytes.len()).unwrap_or(0);
            progress.done.fetch_add(length, Ordering::Relaxed);
        }
        file.flush().await.map_err(Error::writing)?;
        let (file, entry) = (file.into_std().await, entry.clone());
        blocking(move || finish(&file, &entry)).await?;
    }
    drop(fetched);
    blocking(move || finish_folders(&root, &entries)).await
}

/// Makes the folders and links. Only this process can enter the folders until they are finished.
fn make_places(root: &File, entries: &[Entry]) -> Result<(), Error> {
    for entry in entries {
        let place = || paths::parent(root, &entry.path).map_err(Error::writing);
        let failed = |error: rustix::io::Errno| Error::writing(error.into());
        match &entry.kind {
            Kind::File(_) => {}
            Kind::Folder => {
                let (parent, name) = place()?;
                rustix::fs::mkdirat(&parent, name, OWNER_ONLY).map_err(failed)?;
            }
            Kind::Link(target) => {
                let (parent, name) = place()?;
                rustix::fs::symlinkat(target.as_str(), &parent, name).map_err(failed)?;
                let (uid, gid) = owner(entry);
                // An account that may not do it leaves the link as its own, which every account can follow.
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(&parent, name, uid, gid, flags).unwrap_or_default();
            }
        }
    }
    Ok(())
}

/// Finishes the folders, the inner ones first, and waits until everything is on the disk.
fn finish_folders(root: &File, entries: &[Entry]) -> Result<(), Error> {
    for entry in entries.iter().rev() {
        if entry.kind == Kind::Folder {
            let (parent, name) = paths::parent(root, &entry.path).map_err(Error::writing)?;
            let folder = paths::folder(&parent, name).map_err(Error::writing)?;
            finish(&folder, entry)?;
        }
    }
    rustix::fs::syncfs(root).map_err(|error| Error::writing(error.into()))
}

/// Gives a file or folder its owner, permissions and time. The container must be able to write it: where the worker may
/// not give it away, everybody may do what its owner could. Other accounts cannot enter the folders above.
fn finish(file: &File, entry: &Entry) -> Result<(), Error> {
    let (uid, gid) = owner(entry);
    let mut mode = entry.mode & 0o777;
    if rustix::fs::fchown(file, uid, gid).is_err() {
        let own = mode >> 6;
        mode |= (own << 3) | own;
    }
    let after = Duration::from_nanos(u64::try_from(entry.mtime_ns).unwrap_or(0));
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode))
        .map_err(io::Error::from)
        .and_then(|()| file.set_modified(SystemTime::UNIX_EPOCH + after))
        .map_err(Error::writing)
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    // The highest number means "nobody", and the kernel would leave the owner as it is.
    let known = |id: u32| (id != u32::MAX).then_some(id);
    (
        known(entry.uid).map(Uid::from_raw),
        known(entry.gid).map(Gid::from_raw),
    )
}

fn clone(file: &File) -> Result<File, Error> {
    file.try_clone().map_err(Error::writing)
}

/// A chunk, proven by its digest.
async fn fetch(data: &DataPlane, access: &Access, chunk: Chunk) -> Result<Bytes, Error> {
    for _ in 0..DAMAGES {
        let bytes = fetched(access, || data.chunk(access, chunk.digest)).await?;
        let is_whole = u32::try_from(bytes.len()) == Ok(chunk.len)
            && Digest(*blake3::hash(&bytes).as_bytes()) == chunk.digest;
        if is_whole {
            return Ok(bytes);
        }
    }
    Err(Error::Damaged)
}

/// Asks until a master answers: a job is not failed because its masters are away.
async fn fetched<T, Fut>(access: &Access, ask: impl Fn() -> Fut) -> Result<T, Error>
where
    Fut: Future<Output = Result<T, data::Error>>,
{
    let (mut pauses, mut denials) = (Pauses::new(retry::DATA), 0);
    loop {
        match ask().await {
            Ok(found) => return Ok(found),
            Err(data::Error::Denied {
                status: StatusCode::NOT_FOUND,
            }) => return Err(Error::Damaged),
            Err(error) if error.is_final() => {
                denials += 1;
                if denials == DENIALS {
                    return Err(Error::Denied(error));
                }
            }
            Err(error) => {
                tracing::warn!(attempt = %access.attempt, %error, "fetching the checkpoint again");
            }
        }
        pauses.wait().await;
    }
}

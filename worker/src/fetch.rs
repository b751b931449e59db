//! Bundles on this machine's disk: fetched once per digest, believed only after their digest was checked.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dopq_common::id::Digest;
use dopq_common::job::BundleRef;
use dopq_common::resources::ByteSize;
use tokio::io::AsyncWriteExt;

use crate::data::{self, Access, DataPlane};
use crate::keyed::Keyed;
use crate::retry::{self, Pauses};

/// A master that says no may be one that has not yet heard of the attempt.
const DENIALS: u32 = 5;
/// A bundle that was fetched within this may be in use.
const IN_USE: Duration = Duration::from_secs(4 * 3600);
/// A digest that is wrong this often is wrong at its source.
const DAMAGES: u32 = 3;

/// A bundle that could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The masters do not give it.
    #[error("fetch the bundle")]
    Denied(#[source] data::Error),
    /// What came was not what was ordered.
    #[error("fetch the bundle: what came has another size or digest")]
    Damaged,
    /// This machine's disk is full.
    #[error("write the bundle to the disk")]
    DiskFull(#[source] io::Error),
    /// This machine's disk failed.
    #[error("write the bundle to the disk")]
    Disk(#[source] io::Error),
}

enum Attempt {
    Again(String),
    Damaged,
    Stop(Error),
}

/// The bundles of this machine.
#[derive(Debug)]
pub(crate) struct Bundles {
    dir: PathBuf,
    keep: ByteSize,
    locks: Keyed<Digest, ()>,
}

impl Bundles {
    /// Keeps bundles in `dir`, which exists; up to `keep` of them for later.
    pub(crate) fn new(dir: PathBuf, keep: ByteSize) -> Self {
        Self {
            dir,
            keep,
            locks: Keyed::default(),
        }
    }

    /// The bundle's file; fetched unless it is there. Tries for as long as it takes: a job is not failed
    /// because its masters are away. Cancelling the call is safe at any point.
    pub(crate) async fn ensure(
        &self,
        data: &DataPlane,
        access: &Access,
        bundle: BundleRef,
    ) -> Result<PathBuf, Error> {
        let _one = self.locks.lock(&bundle.digest).await;
        let path = self.dir.join(format!("{}.zip", bundle.digest));
        // The name is given after the digest was checked, so it vouches for the content.
        if tokio::fs::metadata(&path)
            .await
            .is_ok_and(|found| found.len() == bundle.size_bytes)
        {
            return Ok(path);
        }
        let (mut pauses, mut denials, mut damages) = (Pauses::new(retry::DATA), 0, 0);
        loop {
            let why = match self.fetch(data, access, bundle, &path).await {
                Ok(()) => {
                    self.prune().await;
                    return Ok(path);
                }
                Err(Attempt::Stop(error @ Error::Denied(_))) => {
                    denials += 1;
                    if denials == DENIALS {
                        return Err(error);
                    }
                    "the masters do not know this attempt".to_owned()
                }
                Err(Attempt::Stop(error)) => return Err(error),
                Err(Attempt::Damaged) => {
                    damages += 1;
                    if damages == DAMAGES {
                        return Err(Error::Damaged);
                    }
                    "wrong size or digest".to_owned()
                }
                Err(Attempt::Again(why)) => why,
            };
            tracing::warn!(attempt = %access.attempt, bundle.digest = %bundle.digest, why, "fetching the bundle again");
            pauses.wait().await;
        }
    }

    async fn fetch(
        &self,
        data: &DataPlane,
        access: &Access,
        bundle: BundleRef,
        path: &Path,
    ) -> Result<(), Attempt> {
        let mut response = data.bundle(access).await.map_err(|error| {
            if error.is_final() {
                Attempt::Stop(Error::Denied(error))
            } else {
                Attempt::Again(error.to_string())
            }
        })?;
        let part = path.with_extension("part");
        let mut file = tokio::fs::File::create(&part).await.map_err(disk)?;
        let (mut hasher, mut size) = (blake3::Hasher::new(), 0_u64);
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => return Err(Attempt::Again(error.without_url().to_string())),
            };
            size = size.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if size > bundle.size_bytes {
                return Err(Attempt::Damaged);
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await.map_err(disk)?;
        }
        if size != bundle.size_bytes || *hasher.finalize().as_bytes() != bundle.digest.0 {
            return Err(Attempt::Damaged);
        }
        file.sync_all().await.map_err(disk)?;
        tokio::fs::rename(&part, path).await.map_err(disk)
    }

    /// Removes the oldest beyond what is kept, but none that a build may still be reading.
    async fn prune(&self) {
        let (dir, keep) = (self.dir.clone(), self.keep);
        let pruned = tokio::task::spawn_blocking(move || prune(&dir, keep, IN_USE)).await;
        if let Ok(Err(error)) = pruned {
            tracing::warn!(%error, "failed to remove old bundles");
        }
    }
}

/// Removes the oldest files of `dir` until `keep` holds them all, sparing those younger than `spare`.
fn prune(dir: &Path, keep: ByteSize, spare: Duration) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        files.push((found.modified()?, found.len(), entry.path()));
    }
    files.sort();
    let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
    for (modified, size, path) in files {
        let young = modified.elapsed().is_ok_and(|age| age < spare);
        if total <= keep.0 || young {
            break;
        }
        std::fs::remove_file(path)?;
        total = total.saturating_sub(size);
    }
    Ok(())
}

fn disk(error: io::Error) -> Attempt {
    Attempt::Stop(match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull(error),
        _other => Error::Disk(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_young_ones_stay() {
        let dir = tempfile::tempdir().expect("folder");
        for (name, age) in [("a", 300), ("b", 200), ("c", 100)] {
            let file = std::fs::File::create(dir.path().join(name)).expect("file");
            file.set_len(10).expect("length");
            let at = std::time::SystemTime::now() - Duration::from_secs(age);
            file.set_modified(at).expect("time");
        }
        let left = || {
            let entries = std::fs::read_dir(dir.path()).expect("entries");
            let mut names: Vec<_> = entries.map(|e| e.expect("entry").file_name()).collect();
            names.sort();
            names
        };
        prune(dir.path(), ByteSize(25), Duration::from_secs(1000)).expect("pruned");
        assert_eq!(left(), ["a", "b", "c"]);
        prune(dir.path(), ByteSize(25), Duration::from_secs(10)).expect("pruned");
        assert_eq!(left(), ["b", "c"]);
    }
}

//! Bundles on this machine's disk: fetched once per digest, believed only after their digest was checked.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dopq_common::chain::chain;
use dopq_common::id::Digest;
use dopq_common::job::BundleRef;
use dopq_common::resources::ByteSize;
use reqwest::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::data::{self, Access, DataPlane};
use crate::disk::is_full;
use crate::keyed::Keyed;
use crate::retention::Needs;
use crate::retry::{self, Pauses};

/// A master that says no may be one that has not yet heard of the attempt, or that sees an older store.
const DENIALS: u32 = 5;
/// A digest that is wrong this often is wrong at its source.
const DAMAGES: u32 = 3;
/// A bundle that fails for so long is worth a line in its job's timeline; a further one comes this much later.
const TOLD_AFTER: Duration = Duration::from_secs(10);
const TOLD_EVERY: Duration = Duration::from_secs(120);

/// A bundle that could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The masters do not give it.
    #[error("fetch the bundle")]
    Denied(#[source] data::Error),
    /// No master finds it in the bundle store.
    #[error("fetch the bundle: it is not in the bundle store")]
    Missing,
    /// It could not be had for so long that another machine may have more luck.
    #[error("fetch the bundle within {} s: {why}", .after.as_secs())]
    OutOfReach {
        /// How long it was tried without success.
        after: Duration,
        /// Why the last try failed.
        why: String,
    },
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

/// For how long something has failed, and when that was last told.
#[derive(Debug, Default)]
struct Failing {
    since: Option<Instant>,
    told: Option<Instant>,
}

impl Failing {
    /// How long ago the first failure was, which is now if there was none.
    fn lasts(&mut self, now: Instant) -> Duration {
        now.duration_since(*self.since.get_or_insert(now))
    }

    /// Whether it has failed for long enough that people should know, and they have not been told lately.
    fn is_to_be_told(&mut self, now: Instant) -> bool {
        let is_long = self.lasts(now) >= TOLD_AFTER;
        let is_due = self
            .told
            .is_none_or(|told| now.duration_since(told) >= TOLD_EVERY);
        let is_to_be_told = is_long && is_due;
        if is_to_be_told {
            self.told = Some(now);
        }
        is_to_be_told
    }
}

impl Attempt {
    fn why(&self) -> String {
        match self {
            Self::Again(why) => why.clone(),
            Self::Damaged => "wrong size or digest".to_owned(),
            Self::Stop(error) => chain(error),
        }
    }
}

/// The bundles of this machine.
#[derive(Debug)]
pub(crate) struct Bundles {
    dir: PathBuf,
    keep: ByteSize,
    patience: Duration,
    needs: Arc<Needs>,
    locks: Keyed<Digest, ()>,
}

impl Bundles {
    /// Keeps bundles in `dir`, which exists: up to `keep` of them for later, and those that are needed. One that cannot
    /// be had for `patience` is given up.
    pub(crate) fn new(dir: PathBuf, keep: ByteSize, patience: Duration, needs: Arc<Needs>) -> Self {
        Self {
            dir,
            keep,
            patience,
            needs,
            locks: Keyed::default(),
        }
    }

    /// The bundle's file; fetched unless it is there. Tries again for as long as this machine has patience, and tells
    /// `delayed` now and then why it is still at it. Cancelling the call is safe at any point.
    pub(crate) async fn ensure(
        &self,
        data: &DataPlane,
        access: &Access,
        bundle: BundleRef,
        delayed: impl Fn(String) + Send + Sync,
    ) -> Result<PathBuf, Error> {
        let _one = self.locks.lock(&bundle.digest).await;
        let path = match self.find(bundle).await {
            Ok(path) => return Ok(path),
            Err(path) => path,
        };
        let (mut pauses, mut denials, mut damages) = (Pauses::new(retry::DATA), 0, 0);
        let mut failing = Failing::default();
        loop {
            let Err(failure) = self.fetch(data, access, bundle, &path).await else {
                self.prune().await;
                return Ok(path);
            };
            let why = failure.why();
            match failure {
                Attempt::Stop(error @ (Error::Denied(_) | Error::Missing)) => {
                    denials += 1;
                    if denials == DENIALS {
                        return Err(error);
                    }
                }
                Attempt::Stop(error) => return Err(error),
                Attempt::Damaged => {
                    damages += 1;
                    if damages == DAMAGES {
                        return Err(Error::Damaged);
                    }
                }
                Attempt::Again(_) => {}
            }
            let now = Instant::now();
            let failing_for = failing.lasts(now);
            if failing_for >= self.patience {
                return Err(Error::OutOfReach {
                    after: failing_for,
                    why,
                });
            }
            if failing.is_to_be_told(now) {
                delayed(format!("cannot fetch the bundle yet: {why}"));
            }
            tracing::warn!(attempt = %access.attempt, bundle = bundle.digest.short(), why, "fetching the bundle again");
            pauses.wait().await;
        }
    }

    /// The same, but it is tried once: an order that needs the bundle does not wait for more. `None` if it cannot be had
    /// now.
    pub(crate) async fn ensure_once(
        &self,
        data: &DataPlane,
        access: &Access,
        bundle: BundleRef,
    ) -> Option<PathBuf> {
        let _one = self.locks.lock(&bundle.digest).await;
        let path = match self.find(bundle).await {
            Ok(path) => return Some(path),
            Err(path) => path,
        };
        match self.fetch(data, access, bundle, &path).await {
            Ok(()) => {
                self.prune().await;
                Some(path)
            }
            Err(failure) => {
                tracing::debug!(attempt = %access.attempt, bundle = bundle.digest.short(), why = failure.why(), "failed to fetch the bundle of a waiting job");
                None
            }
        }
    }

    /// The bundle's file if it is there, or else where it is to be.
    async fn find(&self, bundle: BundleRef) -> Result<PathBuf, PathBuf> {
        let path = self.dir.join(format!("{}.zip", bundle.digest));
        // The name is given after the digest was checked, so it vouches for the content.
        let found = tokio::fs::metadata(&path).await;
        if !found.is_ok_and(|found| found.len() == bundle.size_bytes) {
            return Err(path);
        }
        self.used(path.clone()).await;
        Ok(path)
    }

    async fn fetch(
        &self,
        data: &DataPlane,
        access: &Access,
        bundle: BundleRef,
        path: &Path,
    ) -> Result<(), Attempt> {
        let mut response = data.bundle(access).await.map_err(|error| match error {
            data::Error::Denied {
                status: StatusCode::NOT_FOUND,
            } => Attempt::Stop(Error::Missing),
            error if error.is_final() => Attempt::Stop(Error::Denied(error)),
            error => Attempt::Again(chain(&error)),
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

    /// Marks a bundle as the one that was used last.
    async fn used(&self, path: PathBuf) {
        let now = std::time::SystemTime::now();
        let marking =
            tokio::task::spawn_blocking(move || std::fs::File::open(path)?.set_modified(now));
        if let Ok(Err(error)) = marking.await {
            tracing::debug!(%error, "failed to note the use of a bundle");
        }
    }

    /// Removes the longest unused beyond what is kept, but none that an attempt needs.
    async fn prune(&self) {
        let (dir, keep, needed) = (self.dir.clone(), self.keep, self.needs.bundles());
        let pruned = tokio::task::spawn_blocking(move || prune(&dir, keep, &needed)).await;
        if let Ok(Err(error)) = pruned {
            tracing::warn!(%error, "failed to remove old bundles");
        }
    }
}

/// Removes the longest unused files of `dir` until `keep` holds them all, sparing those that are needed.
fn prune(dir: &Path, keep: ByteSize, needed: &BTreeSet<Digest>) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        files.push((found.modified()?, found.len(), entry.path()));
    }
    files.sort();
    let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
    for (_, size, path) in files {
        if total <= keep.0 {
            break;
        }
        let digest = path
            .file_stem()
            .and_then(|name| name.to_str()?.parse().ok());
        if digest.is_none_or(|digest| !needed.contains(&digest)) {
            std::fs::remove_file(path)?;
            total = total.saturating_sub(size);
        }
    }
    Ok(())
}

fn disk(error: io::Error) -> Attempt {
    Attempt::Stop(if is_full(&error) {
        Error::DiskFull(error)
    } else {
        Error::Disk(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_lasts_is_told_now_and_then() {
        let began = Instant::now();
        let mut failing = Failing::default();
        let told: Vec<u64> = (0..600)
            .filter(|secs| failing.is_to_be_told(began + Duration::from_secs(*secs)))
            .collect();
        assert_eq!(told, [10, 130, 250, 370, 490]);
    }

    #[tokio::test]
    async fn a_bundle_that_no_master_gives_is_given_up() {
        let dir = tempfile::tempdir().expect("folder");
        let patience = Duration::from_millis(500);
        let needs = Arc::new(Needs::default());
        let bundles = Bundles::new(dir.path().to_owned(), ByteSize(1), patience, needs);
        let key = dopq_common::wire::ClusterKey::from_secret("secret");
        let worker: dopq_common::id::WorkerId = "w1".parse().expect("a name");
        let data =
            DataPlane::new(worker.clone(), key.worker(&worker), Vec::new(), None).expect("made");
        let attempt = "1.1-00000000000000000000000000000000".parse().expect("id");
        let access = Access::of(attempt, Vec::new());
        let bundle = BundleRef {
            digest: Digest([1; 32]),
            size_bytes: 1,
        };
        let began = Instant::now();
        let error = bundles
            .ensure(&data, &access, bundle, |_| {})
            .await
            .expect_err("no master is known");
        let took = began.elapsed();
        assert!(took >= patience && took < 60 * patience, "{took:?}");
        let error = error.to_string();
        assert!(error.contains("find a master's address"), "{error}");
    }

    #[test]
    fn the_oldest_go_first_and_what_is_needed_stays() {
        let dir = tempfile::tempdir().expect("folder");
        let digest = |byte| Digest([byte; 32]);
        for (byte, age) in [(1, 300), (2, 200), (3, 100)] {
            let path = dir.path().join(format!("{}.zip", digest(byte)));
            let file = std::fs::File::create(path).expect("file");
            file.set_len(10).expect("length");
            let at = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
            file.set_modified(at).expect("time");
        }
        let left = |byte| dir.path().join(format!("{}.zip", digest(byte))).exists();
        let needed = BTreeSet::from([digest(1)]);
        prune(dir.path(), ByteSize(30), &needed).expect("pruned");
        assert!(left(1) && left(2) && left(3));
        prune(dir.path(), ByteSize(15), &needed).expect("pruned");
        assert!(left(1) && !left(2) && !left(3));
        prune(dir.path(), ByteSize(0), &BTreeSet::new()).expect("pruned");
        assert!(!left(1));
    }
}

//! Checkpoints of jobs in the bundle store.
//!
//! Chunks are stored under their digest, below their job, so nobody learns by a digest what others have. A manifest is
//! stored once all its chunks are there. Then older manifests and the chunks that it does not need are removed. The
//! leader stores manifests, one at a time for each job: between the answer which chunks are missing and the manifest
//! that needs them, no chunk of the job goes.

use std::collections::BTreeMap;

use bytes::Bytes;
use dopq_common::checkpoint::{self, Manifest};
use dopq_common::id::{AttemptId, Digest};
use futures::TryStreamExt as _;
use object_store::path::Path;

use super::store::job_folder;
use super::{Bundles, Error, Listed};

/// How often a manifest is looked for that was replaced meanwhile.
const TRIES: u32 = 3;
/// Width of the numbers in a manifest's name, so that names sort like them.
const DIGITS: usize = 10;

/// What became of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Commit {
    /// It is stored.
    Done,
    /// These chunks are not stored, and so it is not.
    Missing(Vec<Digest>),
    /// Its attempt is not the job's current one any more.
    Stale,
}

/// A manifest's name: its attempt, and its place among the attempt's manifests.
type Name = (u32, u32);

impl Bundles {
    /// The manifest of the checkpoint of the attempt's job.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn get_checkpoint(&self, attempt: AttemptId) -> Result<Option<Bytes>, Error> {
        let mut tries = 1;
        loop {
            let names = self.manifests(attempt).await?;
            let Some((_, newest)) = names.into_iter().next_back() else {
                return Ok(None);
            };
            match self.read(&self.path(newest.split('/'))).await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(Error::NotFound(_)) if tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// A chunk of the checkpoint of the attempt's job.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn get_chunk(
        &self,
        attempt: AttemptId,
        digest: &Digest,
    ) -> Result<Option<Bytes>, Error> {
        match self.read(&self.chunk_path(attempt, digest)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores a chunk, whose digest was checked. May be repeated.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`].
    pub(crate) async fn put_chunk(
        &self,
        attempt: AttemptId,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<(), Error> {
        self.write(&self.chunk_path(attempt, digest), bytes).await
    }

    /// Stores a manifest, whose text is `text`, if none of its chunks is missing and the attempt is still current.
    /// Removes what it replaces.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`]. If it is [`Error::Store`], the manifest may be stored.
    pub(crate) async fn commit_checkpoint(
        &self,
        attempt: AttemptId,
        manifest: &Manifest,
        text: Bytes,
        is_current: impl Fn() -> bool,
    ) -> Result<Commit, Error> {
        let _one = self.commits.begin(attempt.job).await;
        if !is_current() {
            return Ok(Commit::Stale);
        }
        let stored = self.chunks(attempt).await?;
        let missing = checkpoint::missing(manifest, &stored);
        if !missing.is_empty() {
            return Ok(Commit::Missing(missing));
        }
        let older = self.manifests(attempt).await?;
        let last = older.keys().next_back().copied();
        let number = match last {
            Some((of, number)) if of == attempt.number => number.saturating_add(1),
            Some(_) | None => 1,
        };
        let name = format!("{:0DIGITS$}-{number:0DIGITS$}.json", attempt.number);
        let path = self.folder_path(attempt, "manifests").join(name);
        self.write(&path, text).await?;
        let unneeded = checkpoint::unneeded(manifest, &stored);
        let folder = folder(attempt, "chunks");
        let chunks = unneeded.iter().map(|digest| format!("{folder}/{digest}"));
        let removed = self.remove(older.into_values().chain(chunks).collect());
        if let Some(error) = removed.await.error {
            let error = dopq_common::chain::chain(&error);
            tracing::warn!(%attempt, error, "parts of a former checkpoint cannot be removed");
        }
        Ok(Commit::Done)
    }

    /// The names of the manifests of the attempt's job.
    async fn manifests(&self, attempt: AttemptId) -> Result<BTreeMap<Name, String>, Error> {
        let listed = self.listed(attempt, "manifests").await?;
        let named = listed.into_iter().filter_map(|listed| {
            let name = manifest_name(last_part(&listed.name))?;
            Some((name, listed.name))
        });
        Ok(named.collect())
    }

    /// The chunks of the attempt's job, with their sizes.
    async fn chunks(&self, attempt: AttemptId) -> Result<BTreeMap<Digest, u64>, Error> {
        let listed = self.listed(attempt, "chunks").await?;
        let named = listed.into_iter().filter_map(|listed| {
            let digest = last_part(&listed.name).parse().ok()?;
            Some((digest, listed.size_bytes))
        });
        Ok(named.collect())
    }

    async fn listed(&self, attempt: AttemptId, what: &str) -> Result<Vec<Listed>, Error> {
        let mut pages = self.pages(&folder(attempt, what));
        let mut all = Vec::new();
        while let Some(page) = pages.try_next().await? {
            all.extend(page);
        }
        Ok(all)
    }

    fn folder_path(&self, attempt: AttemptId, what: &str) -> Path {
        self.path(folder(attempt, what).split('/'))
    }

    fn chunk_path(&self, attempt: AttemptId, digest: &Digest) -> Path {
        self.folder_path(attempt, "chunks").join(digest.to_string())
    }
}

fn folder(attempt: AttemptId, what: &str) -> String {
    format!("jobs/{}/checkpoint/{what}", job_folder(attempt))
}

fn last_part(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, last)| last)
}

/// Reads a manifest's name.
pub(crate) fn manifest_name(name: &str) -> Option<Name> {
    let (attempt, number) = name.strip_suffix(".json")?.split_once('-')?;
    let read = |text: &str| {
        let is_number = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number)
    };
    Some((read(attempt)?, read(number)?))
}

#[cfg(test)]
mod tests {
    use dopq_common::checkpoint::{Chunk, Entry, FORMAT, Kind};
    use dopq_common::time::Timestamp;
    use tempfile::TempDir;

    use super::*;

    fn attempt(number: u32) -> AttemptId {
        let id = format!("7.{number}-{}", "07".repeat(16));
        id.parse().expect("an id")
    }

    fn digest(byte: u8) -> Digest {
        Digest(*blake3::hash(&[byte]).as_bytes())
    }

    fn manifest(attempt: u32, chunks: &[u8]) -> (Manifest, Bytes) {
        let chunk = |byte: &u8| Chunk {
            digest: digest(*byte),
            len: 1,
        };
        let manifest = Manifest {
            format: FORMAT,
            attempt,
            taken_at: Timestamp::default(),
            entries: vec![Entry {
                path: "model".to_owned(),
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime_ns: 0,
                kind: Kind::File(chunks.iter().map(chunk).collect()),
            }],
        };
        let text = serde_json::to_vec(&manifest).expect("JSON");
        (manifest, text.into())
    }

    struct Store {
        _dir: TempDir,
        bundles: Bundles,
    }

    impl Store {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            let url = dir.path().display().to_string();
            Self {
                bundles: Bundles::open(&url, &BTreeMap::new()).expect("a store"),
                _dir: dir,
            }
        }

        async fn put(&self, number: u32, byte: u8) {
            let (name, body) = (digest(byte), Bytes::from(vec![byte]));
            let stored = self.bundles.put_chunk(attempt(number), &name, body);
            stored.await.expect("stored");
        }

        async fn commit(&self, number: u32, chunks: &[u8]) -> Commit {
            let (manifest, text) = manifest(number, chunks);
            let done = self
                .bundles
                .commit_checkpoint(attempt(number), &manifest, text, || true);
            done.await.expect("committed")
        }

        async fn stored(&self) -> Option<Manifest> {
            let found = self.bundles.get_checkpoint(attempt(9)).await;
            let found = found.expect("read")?;
            Some(Manifest::read(&found).expect("sound"))
        }

        async fn has(&self, byte: u8) -> bool {
            let found = self.bundles.get_chunk(attempt(9), &digest(byte)).await;
            found.expect("read").is_some()
        }
    }

    #[tokio::test]
    async fn a_manifest_is_stored_once_its_chunks_are_and_replaces_the_last() {
        let store = Store::new();
        assert_eq!(store.stored().await, None);
        let missing = |bytes: &[u8]| {
            let mut digests: Vec<_> = bytes.iter().map(|byte| digest(*byte)).collect();
            digests.sort_unstable();
            Commit::Missing(digests)
        };
        assert_eq!(store.commit(1, &[1, 2]).await, missing(&[1, 2]));
        store.put(1, 1).await;
        assert_eq!(store.commit(1, &[1, 2]).await, missing(&[2]));
        assert_eq!(store.stored().await, None, "half a checkpoint is none");
        store.put(1, 2).await;
        // An upload that was killed left this.
        store.put(1, 9).await;
        assert_eq!(store.commit(1, &[1, 2]).await, Commit::Done);
        assert_eq!(store.stored().await, Some(manifest(1, &[1, 2]).0));
        assert!(!store.has(9).await);

        store.put(1, 3).await;
        assert!(store.has(1).await, "the stored manifest needs it");
        assert_eq!(store.commit(1, &[2, 3]).await, Commit::Done);
        assert!(!store.has(1).await && store.has(2).await && store.has(3).await);
        assert_eq!(store.commit(3, &[3]).await, Commit::Done);
        assert_eq!(store.commit(3, &[]).await, Commit::Done);
        assert_eq!(store.stored().await, Some(manifest(3, &[]).0));
        assert!(!store.has(3).await);
    }

    #[tokio::test]
    async fn a_chunk_that_is_cut_is_missing() {
        let store = Store::new();
        let name = digest(1);
        let cut = store.bundles.put_chunk(attempt(1), &name, Bytes::new());
        cut.await.expect("stored");
        assert_eq!(
            store.commit(1, &[1]).await,
            Commit::Missing(vec![digest(1)])
        );
    }

    #[tokio::test]
    async fn a_stale_attempt_stores_and_removes_nothing() {
        let store = Store::new();
        store.put(2, 1).await;
        assert_eq!(store.commit(2, &[1]).await, Commit::Done);
        let (late, text) = manifest(1, &[]);
        let done = store
            .bundles
            .commit_checkpoint(attempt(1), &late, text, || false);
        assert_eq!(done.await.expect("answered"), Commit::Stale);
        assert_eq!(store.stored().await, Some(manifest(2, &[1]).0));
        assert!(store.has(1).await);
    }

    #[test]
    fn only_a_manifests_name_is_one() {
        assert_eq!(manifest_name("0000000003-0000000012.json"), Some((3, 12)));
        for other in [
            "3-12.json",
            "0000000003.json",
            "0000000003-+000000012.json",
            "",
        ] {
            assert_eq!(manifest_name(other), None, "{other}");
        }
    }
}

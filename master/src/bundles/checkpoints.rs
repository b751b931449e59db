//! Checkpoints of jobs in the bundle store.
//!
//! Chunks are stored under their digest, below their job, so nobody learns by a digest what others have. A manifest is
//! stored once all its chunks are there. Then older manifests and the chunks that it does not need are removed. The
//! leader stores manifests, one at a time for each job: between the answer which chunks are missing and the manifest
//! that needs them, no chunk of the job goes that either it or the stored manifest needs.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dopq_common::chain::chain;
use dopq_common::checkpoint::{self, Manifest};
use dopq_common::id::{AttemptId, Digest};
use futures::TryStreamExt as _;
use object_store::path::Path;

use super::commits::Summary;
use super::store::job_folder;
use super::{Bundles, Error, Listed};

/// How often a manifest is looked for that was replaced meanwhile.
const TRIES: u32 = 3;
/// Width of the numbers in a manifest's name, so that names sort like them.
const DIGITS: usize = 10;

/// What became of a manifest. `freed` bytes were removed because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// It is stored.
    Done {
        /// The size of what it replaces.
        freed: u64,
    },
    /// Chunks are not stored, and so it is not.
    Missing {
        /// Which.
        chunks: Vec<Digest>,
        /// The size of chunks that no manifest needs.
        freed: u64,
    },
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
    pub async fn get_checkpoint(&self, attempt: AttemptId) -> Result<Option<Bytes>, Error> {
        let mut tries = 1;
        loop {
            let names = self.manifests(attempt).await?;
            let Some((_, newest)) = names.into_iter().next_back() else {
                return Ok(None);
            };
            match self.read(&self.path(newest.name.split('/'))).await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(Error::NotFound(_)) if tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// What the checkpoint of the attempt's job contains; `None` also of a manifest that breaks a rule. Reads each
    /// manifest once.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn checkpoint_summary(&self, attempt: AttemptId) -> Result<Option<Summary>, Error> {
        let Some((_, newest)) = self.manifests(attempt).await?.into_iter().next_back() else {
            return Ok(None);
        };
        let name = (newest.name.clone(), newest.modified);
        if let Some(known) = self.commits.summary(&name) {
            return Ok(Some(known));
        }
        let text = match self.read(&self.path(newest.name.split('/'))).await {
            Ok(text) => text,
            // It is replaced just now; whoever asks again sees the next one.
            Err(Error::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let summary = parsed(text).await.map(|manifest| Summary {
            attempt: manifest.attempt,
            taken_at: manifest.taken_at,
            files: manifest.files(),
            bytes: manifest.bytes(),
        });
        if let Some(summary) = summary {
            self.commits.note_summary(name, summary);
        }
        Ok(summary)
    }

    /// A chunk of the checkpoint of the attempt's job.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn get_chunk(
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

    /// Stores a chunk, whose digest was checked. May be repeated. False if it is not stored because the job's chunks since
    /// its last manifest would have more than `most` bytes.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`].
    pub async fn put_chunk(
        &self,
        attempt: AttemptId,
        digest: &Digest,
        bytes: Bytes,
        most: u64,
    ) -> Result<bool, Error> {
        if !self.commits.may_send(attempt.job, bytes.len() as u64, most) {
            return Ok(false);
        }
        let path = self.chunk_path(attempt, digest);
        self.write(&path, bytes).await.map(|()| true)
    }

    /// Stores a manifest, whose text is `text`, if none of its chunks is missing and the attempt is still current.
    /// Removes what it replaces. Goes on when the caller is dropped, who may ask again with another manifest.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`]. If it is [`Error::Store`], the manifest may be stored.
    pub async fn commit_checkpoint(
        &self,
        attempt: AttemptId,
        manifest: Manifest,
        text: Bytes,
        is_current: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Commit, Error> {
        let bundles = self.clone();
        let committing =
            tokio::spawn(async move { bundles.commit(attempt, &manifest, text, is_current).await });
        committing.await.unwrap_or_else(|error| {
            Err(Error::Input {
                path: folder(attempt, "manifests"),
                source: std::io::Error::other(error),
            })
        })
    }

    async fn commit(
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
        let (stored, older) = (self.chunks(attempt).await?, self.manifests(attempt).await?);
        let last = older.keys().next_back().copied();
        if last.is_some_and(|(of, _)| of > attempt.number) {
            return Ok(Commit::Stale);
        }
        self.commits.begin_sending(attempt.job);
        let chunks = checkpoint::missing(manifest, &stored);
        if !chunks.is_empty() {
            let freed = self.remove_strays(attempt, manifest, &stored, &older).await;
            return Ok(Commit::Missing { chunks, freed });
        }
        let number = match last {
            Some((of, number)) if of == attempt.number => number.saturating_add(1),
            Some(_) | None => 1,
        };
        let name = format!("{:0DIGITS$}-{number:0DIGITS$}.json", attempt.number);
        let path = self.folder_path(attempt, "manifests").join(name);
        self.write(&path, text).await?;
        // Once another master leads, another attempt may have stored what needs the chunks.
        if !is_current() {
            return Ok(Commit::Done { freed: 0 });
        }
        let unneeded = checkpoint::unneeded(manifest, &stored);
        let manifests = older.into_values().map(|listed| listed.name);
        let freed = self
            .remove_chunks(attempt, unneeded, &stored, manifests)
            .await;
        Ok(Commit::Done { freed })
    }

    /// Removes chunks that neither the manifest nor the stored one needs; tells their size.
    async fn remove_strays(
        &self,
        attempt: AttemptId,
        manifest: &Manifest,
        stored: &BTreeMap<Digest, u64>,
        older: &BTreeMap<Name, Listed>,
    ) -> u64 {
        let mut strays = checkpoint::unneeded(manifest, stored);
        if strays.is_empty() {
            return 0;
        }
        if let Some(newest) = older.values().next_back() {
            let text = self.read(&self.path(newest.name.split('/'))).await.ok();
            let current = match text {
                Some(text) => parsed(text).await,
                None => None,
            };
            let Some(current) = current else {
                return 0;
            };
            let needed: BTreeSet<Digest> = current.chunks().into_keys().collect();
            strays.retain(|digest| !needed.contains(digest));
        }
        self.remove_chunks(attempt, strays, stored, []).await
    }

    /// Removes chunks, after the other objects; tells the size of the chunks that are gone. What stays goes with a later
    /// manifest.
    async fn remove_chunks(
        &self,
        attempt: AttemptId,
        digests: Vec<Digest>,
        stored: &BTreeMap<Digest, u64>,
        others: impl IntoIterator<Item = String>,
    ) -> u64 {
        let folder = folder(attempt, "chunks");
        let chunks = digests.iter().map(|digest| format!("{folder}/{digest}"));
        let removed = self.remove(others.into_iter().chain(chunks).collect());
        let removed = removed.await;
        if let Some(error) = &removed.error {
            let error = chain(error);
            tracing::warn!(%attempt, error, "parts of a former checkpoint cannot be removed");
        }
        let gone = removed.names.iter();
        let gone = gone.filter_map(|name| stored.get(&last_part(name).parse().ok()?));
        gone.copied().fold(0, u64::saturating_add)
    }

    /// The manifests of the attempt's job.
    async fn manifests(&self, attempt: AttemptId) -> Result<BTreeMap<Name, Listed>, Error> {
        let listed = self.listed(attempt, "manifests").await?;
        let named = listed.into_iter().filter_map(|listed| {
            let name = manifest_name(last_part(&listed.name))?;
            Some((name, listed))
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

/// A manifest, which may be long, read beside the tasks; `None` if it breaks a rule.
async fn parsed(text: Bytes) -> Option<Manifest> {
    let read = tokio::task::spawn_blocking(move || Manifest::read(&text).ok());
    read.await.ok().flatten()
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

    /// More than any test stores.
    const MOST: u64 = 1000;

    fn missing(bytes: &[u8]) -> Commit {
        let mut chunks: Vec<_> = bytes.iter().map(|byte| digest(*byte)).collect();
        chunks.sort_unstable();
        Commit::Missing { chunks, freed: 0 }
    }

    const fn done(freed: u64) -> Commit {
        Commit::Done { freed }
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
            let stored = self.bundles.put_chunk(attempt(number), &name, body, MOST);
            assert!(stored.await.expect("stored"));
        }

        async fn commit(&self, number: u32, chunks: &[u8]) -> Commit {
            let (manifest, text) = manifest(number, chunks);
            let done = self
                .bundles
                .commit_checkpoint(attempt(number), manifest, text, || true);
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
        assert_eq!(store.commit(1, &[1, 2]).await, missing(&[1, 2]));
        store.put(1, 1).await;
        assert_eq!(store.commit(1, &[1, 2]).await, missing(&[2]));
        assert_eq!(store.stored().await, None, "half a checkpoint is none");
        store.put(1, 2).await;
        // An upload that was killed left this.
        store.put(1, 9).await;
        assert_eq!(store.commit(1, &[1, 2]).await, done(1));
        assert_eq!(store.stored().await, Some(manifest(1, &[1, 2]).0));
        assert!(!store.has(9).await);

        store.put(1, 3).await;
        assert!(store.has(1).await, "the stored manifest needs it");
        assert_eq!(store.commit(1, &[2, 3]).await, done(1));
        assert!(!store.has(1).await && store.has(2).await && store.has(3).await);
        assert_eq!(store.commit(3, &[3]).await, done(1));
        assert_eq!(store.commit(3, &[]).await, done(1));
        assert_eq!(store.stored().await, Some(manifest(3, &[]).0));
        assert!(!store.has(3).await);
    }

    #[tokio::test]
    async fn a_chunk_that_is_cut_is_missing() {
        let store = Store::new();
        let name = digest(1);
        let cut = store
            .bundles
            .put_chunk(attempt(1), &name, Bytes::new(), MOST);
        cut.await.expect("stored");
        assert_eq!(store.commit(1, &[1]).await, missing(&[1]));
    }

    #[tokio::test]
    async fn a_stale_attempt_stores_and_removes_nothing() {
        let store = Store::new();
        store.put(2, 1).await;
        assert_eq!(store.commit(2, &[1]).await, done(0));
        let (late, text) = manifest(1, &[]);
        let done = store
            .bundles
            .commit_checkpoint(attempt(1), late, text, || false);
        assert_eq!(done.await.expect("answered"), Commit::Stale);
        assert_eq!(store.stored().await, Some(manifest(2, &[1]).0));
        assert!(store.has(1).await);
        // A former leader may still take it for the current one.
        store.put(1, 2).await;
        assert_eq!(store.commit(1, &[2]).await, Commit::Stale);
        assert_eq!(store.stored().await, Some(manifest(2, &[1]).0));
    }

    #[tokio::test]
    async fn a_former_leader_removes_nothing() {
        let store = Store::new();
        store.put(1, 1).await;
        assert_eq!(store.commit(1, &[1]).await, done(0));
        let (next, text) = manifest(1, &[]);
        let leads = std::sync::atomic::AtomicBool::new(true);
        // It is one once it has stored the manifest.
        let is_current = move || leads.swap(false, std::sync::atomic::Ordering::Relaxed);
        let bundles = &store.bundles;
        let stored = bundles.commit_checkpoint(attempt(1), next, text, is_current);
        assert_eq!(stored.await.expect("answered"), done(0));
        assert!(
            store.has(1).await,
            "another attempt may have stored it again"
        );
    }

    #[tokio::test]
    async fn a_commit_goes_on_when_nobody_waits_for_it() {
        let store = Store::new();
        store.put(1, 1).await;
        let commit = tokio::time::timeout(std::time::Duration::ZERO, store.commit(1, &[1]));
        assert!(commit.await.is_err(), "it takes longer");
        // It has its place before the next one.
        assert_eq!(store.commit(1, &[]).await, done(1));
        assert_eq!(store.stored().await, Some(manifest(1, &[]).0));
        let names = store.bundles.manifests(attempt(1)).await.expect("listed");
        assert_eq!(names.into_keys().collect::<Vec<_>>(), [(1, 2)]);
    }

    #[tokio::test]
    async fn chunks_that_no_manifest_needs_go_and_are_bounded() {
        let store = Store::new();
        for byte in [1, 2] {
            store.put(1, byte).await;
        }
        assert_eq!(store.commit(1, &[1]).await, done(1));
        for byte in [3, 4] {
            store.put(1, byte).await;
        }
        let wanted = store.commit(1, &[4, 5]).await;
        let chunks = vec![digest(5)];
        assert_eq!(wanted, Commit::Missing { chunks, freed: 1 });
        assert!(store.has(1).await, "the stored manifest needs it");
        assert!(!store.has(3).await && store.has(4).await);

        let put = async |byte| {
            let bytes = Bytes::from(vec![byte]);
            let name = digest(byte);
            let put = store.bundles.put_chunk(attempt(1), &name, bytes, 2);
            put.await.expect("answered")
        };
        assert!(put(5).await && put(6).await);
        assert!(!put(7).await, "two are allowed");
        assert!(!store.has(7).await);
        assert_eq!(store.commit(1, &[4, 5]).await, done(2));
        assert!(put(7).await);
    }

    #[tokio::test]
    async fn a_manifest_is_read_once_to_show_it() {
        let store = Store::new();
        let shown = || store.bundles.checkpoint_summary(attempt(9));
        assert_eq!(shown().await.expect("read"), None);
        store.put(1, 1).await;
        store.commit(1, &[1]).await;
        let summary = shown().await.expect("read").expect("stored");
        assert_eq!((summary.attempt, summary.files, summary.bytes), (1, 1, 1));
        let listed = store.bundles.manifests(attempt(1)).await.expect("listed");
        let listed = listed.into_values().next().expect("one");
        let known = store
            .bundles
            .commits
            .summary(&(listed.name, listed.modified));
        assert_eq!(known, Some(summary));
        store.commit(1, &[]).await;
        let next = shown().await.expect("read").expect("stored");
        assert_eq!((next.files, next.bytes), (1, 0));
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

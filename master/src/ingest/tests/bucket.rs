//! A bucket of which one call fails, for each of its calls: before it is done, and after.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::{FakeDriver, assert_mixed_is_settled, bundle, mixed, sweep, taker};
use crate::bundles::{Bundles, Objects};
use crate::ingest::share::{Bucket, Share};
use crate::ingest::take::{Outcome, Taker};

/// A store in memory whose call number `fails_at` fails.
#[derive(Debug)]
struct Flaky {
    inner: InMemory,
    calls: AtomicU64,
    fails_at: u64,
    /// Whether the call that fails is done nevertheless.
    done: bool,
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("flaky")
    }
}

impl Flaky {
    fn new(fails_at: u64, done: bool) -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            calls: AtomicU64::new(0),
            fails_at,
            done,
        })
    }

    fn error() -> object_store::Error {
        object_store::Error::Generic {
            store: "flaky",
            source: "503 slow down".into(),
        }
    }

    /// Whether this call fails.
    fn fails(&self) -> bool {
        self.calls.fetch_add(1, Ordering::SeqCst) == self.fails_at
    }

    async fn call<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let fails = self.fails();
        if fails && !self.done {
            return Err(Self::error());
        }
        let result = work.await;
        if fails { Err(Self::error()) } else { result }
    }

    fn objects(self: &Arc<Self>, prefix: &str) -> Objects {
        Objects {
            store: Arc::clone(self) as Arc<dyn ObjectStore>,
            prefix: Path::from(prefix),
            signer: None,
            folder: None,
            name: "flaky".to_owned(),
        }
    }

    async fn files(&self) -> BTreeMap<String, Bytes> {
        let share = Path::from("share");
        let metas: Vec<_> = self
            .inner
            .list(Some(&share))
            .try_collect()
            .await
            .expect("listed");
        let mut files = BTreeMap::new();
        for meta in metas {
            let object = self.inner.get(&meta.location).await.expect("there");
            let name = meta
                .location
                .as_ref()
                .trim_start_matches("share/")
                .to_owned();
            files.insert(name, object.bytes().await.expect("read"));
        }
        files
    }
}

#[async_trait::async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(
        &self,
        path: &Path,
        body: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.call(self.inner.put_opts(path, body, options)).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.call(self.inner.put_multipart_opts(path, options))
            .await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.call(self.inner.get_opts(path, options)).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match (self.fails(), self.done) {
            (true, false) => stream::once(async { Err(Self::error()) }).boxed(),
            (true, true) => self
                .inner
                .delete_stream(paths)
                .map(|_| Err(Self::error()))
                .boxed(),
            (false, _) => self.inner.delete_stream(paths),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.fails() {
            return stream::once(async { Err(Self::error()) }).boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.call(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.call(self.inner.copy_opts(from, to, options)).await
    }
}

struct Place {
    store: Arc<Flaky>,
    driver: FakeDriver,
    taker: Taker<FakeDriver>,
    _spool: tempfile::TempDir,
}

async fn place(store: Arc<Flaky>, files: impl IntoIterator<Item = (&'static str, Bytes)>) -> Place {
    for (path, content) in files {
        let path = Path::from(format!("share/incoming/{path}"));
        store.inner.put(&path, content.into()).await.expect("put");
    }
    let spool = tempfile::tempdir().expect("a folder");
    let driver = FakeDriver::default();
    let share = Share::Bucket(Bucket::over(store.objects("share")));
    let bundles = Bundles::over(store.objects("store"));
    Place {
        taker: taker(share, bundles, spool.path(), driver.clone()),
        store,
        driver,
        _spool: spool,
    }
}

#[tokio::test]
async fn whichever_call_fails_everything_is_settled_in_the_end() {
    for done in [false, true] {
        for fails_at in 0.. {
            let place = place(Flaky::new(fails_at, done), mixed()).await;
            for _ in 0..3 {
                // A listing that fails is simply looked at again.
                drop(sweep(&place.taker).await);
            }
            assert_mixed_is_settled(&place.store.files().await, &place.driver);
            if place.store.calls.load(Ordering::SeqCst) <= fails_at {
                assert!(fails_at > 30, "only {fails_at} calls were made");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_bad_file_does_not_hold_up_the_others() {
    let files = [
        ("anna/a.zip", Bytes::from_static(b"no zip")),
        ("anna/b.zip", bundle("anna", "b")),
        ("anna/deep/er.zip", bundle("anna", "c")),
        ("anna/notes.txt", Bytes::from_static(b"x")),
    ];
    let place = place(Flaky::new(u64::MAX, false), files).await;
    let outcomes = sweep(&place.taker).await.expect("listed");
    assert_eq!(outcomes.len(), 2);
    assert_eq!(outcomes["anna/a.zip"], Outcome::Rejected(vec!["not_a_zip"]));
    assert!(matches!(
        outcomes["anna/b.zip"],
        Outcome::Accepted { new: true, .. }
    ));
    let listing = place.taker.share.list().await.expect("listed");
    assert_eq!((listing.zips.len(), listing.ignored), (0, 2));
}

#[tokio::test]
async fn a_file_replaced_while_it_is_taken_is_not_lost() {
    let place = place(
        Flaky::new(u64::MAX, false),
        [("anna/a.zip", bundle("anna", "old"))],
    )
    .await;
    let found = place
        .taker
        .share
        .list()
        .await
        .expect("listed")
        .zips
        .remove(0);
    let path = Path::from("share/incoming/anna/a.zip");
    let newer = bundle("anna", "newer");
    place
        .store
        .inner
        .put(&path, newer.clone().into())
        .await
        .expect("put");
    for outcome in [
        place.taker.share.shelve(&found, "accepted", "a").await,
        place.taker.share.remove(&found).await,
    ] {
        assert!(matches!(outcome, Err(crate::ingest::Error::Changed { .. })));
    }
    assert_eq!(
        place.store.files().await,
        BTreeMap::from([("incoming/anna/a.zip".to_owned(), newer)])
    );
}

//! One master stores a bundle while another removes it: it is whole, or counts as not stored.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use dopq_common::bundle::Limits;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use super::*;
use crate::bundles::{Intake, Objects};

const CONFIG: &str = r#"{"name": "train", "executor_name": "anna"}"#;

/// A store where the other master acts just before this one does something.
#[derive(Debug, Clone, Default)]
struct Raced {
    inner: Arc<InMemory>,
    /// The record that is written before a zip is removed.
    writes: Arc<Mutex<Option<Path>>>,
    /// The zip that is removed before a record is written.
    removes: Arc<Mutex<Option<Path>>>,
    /// What cannot be removed.
    stuck: Arc<Mutex<Option<Path>>>,
}

impl fmt::Display for Raced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("raced")
    }
}

impl Raced {
    fn bundles(&self) -> Bundles {
        Bundles::over(Objects {
            store: Arc::new(self.clone()),
            prefix: "some/prefix".into(),
            signer: None,
            folder: None,
            name: "raced".to_owned(),
        })
    }

    fn path(digest: &Digest, kind: &str) -> Path {
        Path::from(format!("some/prefix/bundles/{digest}.{kind}"))
    }
}

fn record() -> PutPayload {
    let record = serde_json::json!({"version": 1, "size_bytes": 2, "config": CONFIG});
    record.to_string().into_bytes().into()
}

#[async_trait::async_trait]
impl ObjectStore for Raced {
    async fn put_opts(
        &self,
        path: &Path,
        body: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let removes = match path.as_ref().ends_with(".json") {
            true => self.removes.lock().take(),
            false => None,
        };
        if let Some(zip) = removes {
            self.inner.delete(&zip).await?;
        }
        self.inner.put_opts(path, body, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let raced = self.clone();
        let paths = paths.and_then(move |path| {
            let raced = raced.clone();
            async move {
                if raced.stuck.lock().as_ref() == Some(&path) {
                    return Err(object_store::Error::Generic {
                        store: "raced",
                        source: "it is stuck".into(),
                    });
                }
                let writes = match path.as_ref().ends_with(".zip") {
                    true => raced.writes.lock().take(),
                    false => None,
                };
                if let Some(json) = writes {
                    raced.inner.put(&json, record()).await?;
                }
                Ok(path)
            }
        });
        self.inner.delete_stream(paths.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_record_that_appears_while_its_zip_goes_does_not_stay_alone() {
    let raced = Raced::default();
    let digest = Digest([1; 32]);
    let [zip, json] = ["zip", "json"].map(|kind| Raced::path(&digest, kind));
    raced.inner.put(&zip, "PK".into()).await.expect("put");
    *raced.writes.lock() = Some(json);
    let store = Store::new(config::Retention {
        bundles: Duration::ZERO,
        min_age: Duration::ZERO,
        ..config::Retention::default()
    });
    let parts = Parts {
        bundles: raced.bundles(),
        ..store.parts.clone()
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    parts.sweep(false, Duration::ZERO).await.expect("swept");
    assert!(raced.writes.lock().is_none(), "the other master wrote it");
    assert_eq!(parts.bundles.zip(&digest).await.expect("asked"), None);
    assert_eq!(parts.bundles.find(&digest).await.expect("asked"), None);
}

#[tokio::test]
async fn a_zip_that_goes_before_its_record_is_written_is_stored_again() {
    let raced = Raced::default();
    let bundles = raced.bundles();
    let folder = tempfile::tempdir().expect("a folder");
    let intake = Intake::new(bundles.clone(), folder.path(), Limits::default());
    let intake = intake.expect("an intake");
    let content = Bytes::from(zip());
    let mut spooled = intake.spool().await.expect("a spool");
    spooled.write(&content).await.expect("written");
    let digest = spooled.digest();
    *raced.removes.lock() = Some(Raced::path(&digest, "zip"));
    let anna = "anna".parse().expect("a name");
    let taken = intake.accept(spooled, None, &anna).await;
    taken.expect("valid");
    assert!(
        raced.removes.lock().is_none(),
        "the other master removed it"
    );
    assert!(bundles.find(&digest).await.expect("asked").is_some());
    let read = bundles.get(&digest).await.expect("there");
    let read: Vec<Bytes> = read.try_collect().await.expect("read");
    assert_eq!(read.concat(), content);
}

#[tokio::test]
async fn what_cannot_be_removed_holds_up_nothing_else() {
    let raced = Raced::default();
    let key = "07".repeat(16);
    let log = |job: u64| {
        let log = format!("some/prefix/jobs/{job}-{key}/logs/1/{:020}", 0);
        Path::from(log)
    };
    let digest = Digest([1; 32]);
    let bundle = ["zip", "json"].map(|kind| Raced::path(&digest, kind));
    for path in [log(1), log(2), log(3)].iter().chain(&bundle) {
        raced.inner.put(path, "PK".into()).await.expect("put");
    }
    *raced.stuck.lock() = Some(log(1));
    let store = Store::new(config::Retention {
        bundles: Duration::ZERO,
        logs: Duration::ZERO,
        min_age: Duration::ZERO,
        ..config::Retention::default()
    });
    let parts = Parts {
        bundles: raced.bundles(),
        ..store.parts.clone()
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    let report = parts.sweep(false, Duration::ZERO).await.expect("swept");
    let of = |report: &Report, kind| report.removed.get(&kind).map(|count| count.objects);
    assert_eq!(of(&report, Kind::Logs), Some(2));
    assert_eq!(of(&report, Kind::Bundles), Some(1));
    assert_eq!((report.failed, report.kept(Kind::Logs).objects), (1, 1));
    let shown = parts.board.get(Part::Retention).expect("shown");
    assert_eq!(shown.state, PartState::Degraded);
    assert!(
        shown.detail.contains("1 cannot be removed"),
        "{}",
        shown.detail
    );
    assert!(shown.detail.ends_with("it is stuck"), "{}", shown.detail);

    *raced.stuck.lock() = None;
    let report = parts.sweep(false, Duration::ZERO).await.expect("swept");
    assert_eq!((of(&report, Kind::Logs), report.failed), (Some(1), 0));
}

fn zip() -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in [
        ("container_config.json", CONFIG),
        ("Dockerfile", "FROM scratch\n"),
    ] {
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(name, options).expect("an entry");
        let written = std::io::Write::write_all(&mut writer, content.as_bytes());
        written.expect("content");
    }
    writer.finish().expect("a zip").into_inner()
}

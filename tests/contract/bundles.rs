//! The bundle store, on a folder and on a real S3 server; and ingest on the latter.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dopq_common::bundle::Limits;
use dopq_common::checkpoint::{self, Entry, Kind, Manifest};
use dopq_common::id::{AttemptId, Digest, JobId, JobKey, UserName};
use dopq_common::sched::Submission;
use dopq_common::settings::Share;
use dopq_common::time::Timestamp;
use dopq_master::bundles::{Bundles, Chunk, Commit, Error, Intake};
use dopq_master::config::Ingest;
use dopq_master::driver::{Accepted, ActError};
use dopq_master::ingest::{self, Parts, Submit};
use dopq_master::metrics::{Board, Metrics, Part};
use dopq_master::retention;
use dopq_master::store::IngestMark;
use dopq_tests::bundle::Bundle;
use dopq_tests::s3::S3;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

const ATTEMPT: AttemptId = AttemptId {
    job: JobId(7),
    number: 2,
    key: JobKey([7; 16]),
};

/// The server's place and keys as options.
fn options(s3: &S3) -> BTreeMap<String, SecretString> {
    let lower = |(key, value): (String, String)| (key.to_ascii_lowercase(), value.into());
    s3.environment().into_iter().map(lower).collect()
}

fn zipped(user: &str, name: &str) -> Bytes {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = Bundle::script(user, name, "true");
    let zip = bundle.zip_to(&folder.path().join("bundle.zip"));
    std::fs::read(zip).expect("a zip").into()
}

/// What every bundle store must do.
async fn suite(bundles: &Bundles, spool: &Path) {
    bundles.probe().await.expect("it answers");
    let intake = Intake::new(bundles.clone(), spool, Limits::default()).expect("an intake");
    let content = zipped("anna", "train");
    let mut spooled = intake.spool().await.expect("a spool");
    spooled.write(&content).await.expect("written");
    let digest = spooled.digest();
    assert_eq!(bundles.find(&digest).await.expect("asked"), None);
    assert!(matches!(
        bundles.get(&digest).await.err(),
        Some(Error::NotFound(_))
    ));
    let anna = "anna".parse().expect("a name");
    let taken = intake.accept(spooled, Some(digest), &anna).await;
    let taken = taken.expect("valid");
    let stored = bundles.find(&digest).await.expect("asked").expect("found");
    assert_eq!((stored.bundle, stored.config), (taken.bundle, taken.config));
    let pieces: Vec<Bytes> = bundles
        .get(&digest)
        .await
        .expect("found")
        .try_collect()
        .await
        .expect("read");
    assert_eq!(pieces.concat(), content);

    assert_eq!(bundles.list_log(ATTEMPT).await.expect("asked"), []);
    for (offset, text) in [(9, "third"), (0, "first"), (5, "2nd!"), (5, "2nd!")] {
        let bytes = Bytes::from_static(text.as_bytes());
        bundles.put_log(ATTEMPT, offset, bytes).await.expect("put");
    }
    let chunk = |offset, len| Chunk { offset, len };
    let listed = bundles.list_log(ATTEMPT).await.expect("asked");
    assert_eq!(listed, [chunk(0, 5), chunk(5, 4), chunk(9, 5)]);
    assert_eq!(bundles.get_log(ATTEMPT, 5).await.expect("found"), "2nd!");

    let piece = Bytes::from(vec![7; 5 << 20]);
    let broken = stream::iter([
        Ok(piece.clone()),
        Ok(piece.clone()),
        Err(io::Error::other("cut")),
    ]);
    let failed = bundles.put_results(ATTEMPT, broken).await;
    assert!(matches!(failed, Err(Error::Input { .. })));
    assert!(bundles.get_results(ATTEMPT).await.expect("asked").is_none());
    let whole = stream::iter(vec![piece; 5].into_iter().map(Ok));
    assert_eq!(
        bundles.put_results(ATTEMPT, whole).await.expect("put"),
        25 << 20
    );
    let (size, results) = bundles
        .get_results(ATTEMPT)
        .await
        .expect("asked")
        .expect("there");
    let pieces: Vec<Bytes> = results.try_collect().await.expect("read");
    assert_eq!((size, pieces.concat().len()), (25 << 20, 25 << 20));

    assert!(bundles.list_segment_days().await.expect("asked").is_empty());
    for name in [
        "2026-12-01/1.jsonl",
        "2026-11-30/2.jsonl",
        "2026-11-30/1.jsonl",
    ] {
        let body = Bytes::copy_from_slice(name.as_bytes());
        bundles.put_segment(name, body).await.expect("put");
    }
    let days = bundles.list_segment_days().await.expect("asked");
    assert_eq!(days, ["2026-11-30", "2026-12-01"]);
    let names = bundles.list_segments("2026-11-30").await.expect("asked");
    assert_eq!(names, ["2026-11-30/1.jsonl", "2026-11-30/2.jsonl"]);
    let content = bundles.get_segment("2026-12-01/1.jsonl").await;
    assert_eq!(content.expect("there"), "2026-12-01/1.jsonl");
}

/// More chunks than a bucket lists or removes in one call.
const MANY: u32 = 1100;

/// What every store must do with checkpoints.
async fn checkpoints(bundles: &Bundles) {
    let attempt = AttemptId {
        job: JobId(8),
        ..ATTEMPT
    };
    let content = |n: u32| Bytes::copy_from_slice(&n.to_le_bytes());
    let manifest = |chunks: std::ops::Range<u32>| {
        let chunks = chunks.map(|n| checkpoint::Chunk {
            digest: Digest(*blake3::hash(&content(n)).as_bytes()),
            len: 4,
        });
        let manifest = Manifest {
            format: checkpoint::FORMAT,
            attempt: attempt.number,
            taken_at: Timestamp::from_millis(7),
            entries: vec![Entry {
                path: "model".to_owned(),
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime_ns: 0,
                kind: Kind::File(chunks.collect()),
            }],
        };
        let text = serde_json::to_vec(&manifest).expect("JSON");
        (manifest, Bytes::from(text))
    };
    let commit = async |chunks: std::ops::Range<u32>, is_current: bool| {
        let (manifest, text) = manifest(chunks);
        let done = bundles.commit_checkpoint(attempt, manifest, text, move || is_current);
        done.await.expect("answered")
    };
    let put = async |chunks: std::ops::Range<u32>| {
        let putting = chunks.map(|n| async move {
            let digest = Digest(*blake3::hash(&content(n)).as_bytes());
            let put = bundles.put_chunk(attempt, &digest, content(n), u64::MAX);
            put.await.expect("put");
        });
        let putting = stream::iter(putting).buffer_unordered(16);
        putting.collect::<Vec<()>>().await;
    };
    assert_eq!(bundles.get_checkpoint(attempt).await.expect("asked"), None);
    put(0..MANY).await;
    let Commit::Missing { chunks, .. } = commit(0..MANY + 2, true).await else {
        panic!("two are missing");
    };
    assert_eq!(chunks.len(), 2);
    put(MANY..MANY + 2).await;
    assert_eq!(commit(0..MANY + 2, false).await, Commit::Stale);
    assert_eq!(bundles.get_checkpoint(attempt).await.expect("asked"), None);
    assert_eq!(commit(0..MANY + 2, true).await, Commit::Done { freed: 0 });
    let freed = u64::from(4 * (MANY + 1));
    assert_eq!(commit(0..1, true).await, Commit::Done { freed });
    let (only, text) = manifest(0..1);
    assert_eq!(
        bundles.get_checkpoint(attempt).await.expect("asked"),
        Some(text)
    );
    for (n, left) in [(0, Some(content(0))), (MANY + 1, None)] {
        let digest = Digest(*blake3::hash(&content(n)).as_bytes());
        let found = bundles.get_chunk(attempt, &digest).await;
        assert_eq!(found.expect("asked"), left);
    }
    let shown = bundles.checkpoint_summary(attempt).await.expect("asked");
    let shown = shown.expect("stored");
    assert_eq!((shown.files, shown.bytes), (only.files(), only.bytes()));

    put(1..20).await;
    let report = retention::remove_output(bundles, (attempt.job, attempt.key)).await;
    let report = report.expect("listed");
    let removed = report.removed[&retention::Kind::Checkpoints];
    assert_eq!((removed.objects, report.failed), (20 + 1, 0));
    assert_eq!(bundles.get_checkpoint(attempt).await.expect("asked"), None);
}

#[tokio::test]
async fn a_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}/store", folder.path().display());
    let bundles = Bundles::open(&url, &BTreeMap::new()).expect("opened");
    suite(&bundles, &folder.path().join("spool")).await;
    checkpoints(&bundles).await;
}

#[test]
fn an_s3_server_keeps_the_contract() {
    let s3 = S3::start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let spool = tempfile::tempdir().expect("a folder");
    let url = format!("{}/some/prefix", s3.url());
    let bundles = Bundles::open(&url, &options(&s3)).expect("opened");
    runtime.block_on(async {
        suite(&bundles, spool.path()).await;
        checkpoints(&bundles).await;
        let content = zipped("anna", "train");
        let digest = Digest(*blake3::hash(&content).as_bytes());
        // Whether it can be read without our keys is what a worker needs.
        let url = bundles.signed_url(&digest, Duration::from_secs(60)).await;
        let url = url.expect("signed").expect("S3 can sign");
        assert!(url.as_str().contains("X-Amz-Signature="), "{url}");
    });
}

/// A driver that remembers what it was given.
#[derive(Debug, Clone, Default)]
struct Driver {
    jobs: Arc<Mutex<BTreeMap<String, Submission>>>,
}

impl Submit for Driver {
    fn users(&self) -> Vec<UserName> {
        Vec::new()
    }

    fn knows(&self, _: &str) -> bool {
        false
    }

    async fn submit(&self, submission: Submission, mark: IngestMark) -> Result<Accepted, ActError> {
        let mut jobs = self.jobs.lock().expect("no panic");
        let new = jobs.insert(mark.key, submission).is_none();
        Ok(Accepted {
            job: JobId(jobs.len() as u64),
            new,
        })
    }
}

#[test]
fn a_watched_bucket_is_emptied_into_accepted_and_rejected() {
    let s3 = S3::start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let driver = Driver::default();
    runtime.block_on(async {
        let client = s3.client();
        for (path, content) in [
            ("watched/incoming/anna/one.zip", zipped("anna", "one")),
            ("watched/incoming/bert/one.zip", zipped("bert", "one")),
            ("watched/incoming/bert/theirs.zip", zipped("anna", "other")),
            ("watched/incoming/bert/notes.txt", Bytes::from_static(b"x")),
        ] {
            client.put(&path.into(), content.into()).await.expect("put");
        }
        let bundles = folder.path().join("bundles").display().to_string();
        let bundles = Bundles::open(&bundles, &BTreeMap::new()).expect("opened");
        let intake = Intake::new(bundles, &folder.path().join("spool"), Limits::default());
        let board = Board::default();
        let parts = Parts {
            intake: intake.expect("an intake"),
            submit: driver.clone(),
            board: board.clone(),
            metrics: Metrics::default(),
        };
        let settings = Ingest {
            options: options(&s3),
            poll: Duration::from_millis(20),
            min_space: Share(0.0),
            ..Ingest::default()
        };
        let shutdown = CancellationToken::new();
        let (url, stop) = (format!("{}/watched", s3.url()), shutdown.clone());
        let watching = tokio::spawn(async move { ingest::run(&url, &settings, parts, stop).await });
        let settled = async {
            let word = "2 accepted, 1 rejected, 0 waiting, 1 ignored";
            while !board
                .get(Part::Ingest)
                .is_some_and(|said| said.detail.contains(word))
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), settled).await;
        shutdown.cancel();
        watching.await.expect("no panic").expect("opened");
        waited.unwrap_or_else(|_| panic!("{:?}", board.get(Part::Ingest)));
        let listed: Vec<_> = client.list(None).try_collect().await.expect("listed");
        let mut names: Vec<_> = listed
            .iter()
            .map(|meta| meta.location.to_string())
            .collect();
        names.sort();
        assert_eq!(names.len(), 7, "{names:?}");
        assert!(names.contains(&"watched/incoming/bert/notes.txt".to_owned()));
        assert!(names.contains(&"watched/rejected/theirs.zip".to_owned()));
        assert!(names.contains(&"watched/rejected/theirs.reason.json".to_owned()));
        assert!(names.contains(&"watched/accepted/one.json".to_owned()));
    });
    let jobs = driver.jobs.lock().expect("no panic");
    let users: Vec<_> = jobs.values().map(|job| job.user.to_string()).collect();
    assert_eq!(users, ["anna", "bert"]);
}

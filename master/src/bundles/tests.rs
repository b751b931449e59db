//! The bundle store on a local folder, and the way into it.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bytes::Bytes;
use dopq_common::bundle::Limits;
use dopq_common::id::{AttemptId, JobId, JobKey, UserName};
use futures::{TryStreamExt as _, stream};
use tempfile::TempDir;

use super::*;

fn folder() -> (TempDir, Bundles) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store");
    let bundles = Bundles::open(&path.display().to_string(), &BTreeMap::new()).expect("opened");
    (folder, bundles)
}

fn zip(config: &str) -> Bytes {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [
        ("container_config.json", config),
        ("Dockerfile", "FROM scratch\n"),
    ] {
        writer
            .start_file(name, zip::write::SimpleFileOptions::default())
            .expect("an entry");
        writer.write_all(content.as_bytes()).expect("content");
    }
    writer.finish().expect("a zip").into_inner().into()
}

async fn spooled(intake: &Intake, content: &Bytes) -> Spooled {
    let mut spooled = intake.spool().await.expect("a spool");
    for piece in content.chunks(100) {
        let piece = Bytes::copy_from_slice(piece);
        spooled.write(&piece).await.expect("written");
    }
    spooled
}

async fn all(stream: ByteStream) -> Bytes {
    let pieces: Vec<Bytes> = stream.try_collect().await.expect("read");
    pieces.concat().into()
}

const CONFIG: &str = r#"{"name": "train", "executor_name": "anna"}"#;
const ATTEMPT: AttemptId = AttemptId {
    job: JobId(7),
    number: 2,
    key: JobKey([7; 16]),
};

fn anna() -> UserName {
    "anna".parse().expect("a name")
}

fn intake(folder: &TempDir, bundles: &Bundles, limits: Limits) -> Intake {
    Intake::new(bundles.clone(), &folder.path().join("spool"), limits).expect("an intake")
}

#[tokio::test]
async fn a_bundle_goes_in_and_comes_out_as_it_was() {
    let (folder, bundles) = folder();
    let intake = intake(&folder, &bundles, Limits::default());
    let content = zip(CONFIG);
    let taken = intake
        .accept(spooled(&intake, &content).await, None, &anna())
        .await
        .expect("valid");
    assert_eq!(taken.bundle.digest.0, *blake3::hash(&content).as_bytes());
    assert_eq!(taken.bundle.size_bytes, content.len() as u64);
    assert_eq!(
        (taken.config.as_str(), taken.spec.name.as_str()),
        (CONFIG, "train")
    );
    let stored = bundles
        .find(&taken.bundle.digest)
        .await
        .expect("asked")
        .expect("found");
    assert_eq!(
        (stored.bundle, stored.config.as_str()),
        (taken.bundle, CONFIG)
    );
    let read = all(bundles.get(&taken.bundle.digest).await.expect("found")).await;
    assert_eq!(read, content);
    assert_eq!(
        bundles
            .signed_url(&taken.bundle.digest, std::time::Duration::from_secs(60))
            .await
            .expect("asked"),
        None
    );
    let again = intake
        .accept(spooled(&intake, &content).await, None, &anna())
        .await
        .expect("known");
    assert_eq!(again, taken);
    let left = std::fs::read_dir(folder.path().join("spool"))
        .expect("a folder")
        .count();
    assert_eq!(left, 0, "a spooled bundle has no name");
}

#[tokio::test]
async fn a_bundle_that_is_not_valid_or_not_as_announced_is_not_stored() {
    let (folder, bundles) = folder();
    let intake = intake(&folder, &bundles, Limits::default());
    let content = zip("{}");
    let spool = spooled(&intake, &content).await;
    let digest = spool.digest();
    let refused = intake.accept(spool, None, &anna()).await;
    assert!(matches!(refused, Err(IntakeError::Invalid(faults)) if faults.len() == 2));
    assert_eq!(bundles.find(&digest).await.expect("asked"), None);
    let refused = intake
        .accept(spooled(&intake, &zip(CONFIG)).await, Some(digest), &anna())
        .await;
    assert!(matches!(refused, Err(IntakeError::Digest { announced, .. }) if announced == digest));
    let missing = bundles.get(&digest).await.err();
    assert!(matches!(missing, Some(Error::NotFound(_))));
}

#[tokio::test]
async fn the_spool_takes_no_more_than_its_limit() {
    let (folder, bundles) = folder();
    let limits = Limits {
        compressed_bytes: 10,
        ..Limits::default()
    };
    let intake = intake(&folder, &bundles, limits);
    let mut spool = intake.spool().await.expect("a spool");
    spool
        .write(&Bytes::from_static(b"0123456789"))
        .await
        .expect("fits");
    let refused = spool.write(&Bytes::from_static(b"x")).await;
    assert!(matches!(refused, Err(IntakeError::Invalid(faults)) if faults[0].rule == "too_large"));
}

#[tokio::test]
async fn logs_are_listed_by_offset_and_may_come_twice() {
    let (_folder, bundles) = folder();
    assert_eq!(bundles.list_log(ATTEMPT).await.expect("asked"), []);
    for (offset, text) in [(12, "third"), (0, "first"), (5, "second!"), (5, "second!")] {
        let bytes = Bytes::from_static(text.as_bytes());
        bundles.put_log(ATTEMPT, offset, bytes).await.expect("put");
    }
    let chunk = |offset, len| Chunk { offset, len };
    assert_eq!(
        bundles.list_log(ATTEMPT).await.expect("asked"),
        [chunk(0, 5), chunk(5, 7), chunk(12, 5)]
    );
    assert_eq!(bundles.get_log(ATTEMPT, 5).await.expect("found"), "second!");
    assert!(matches!(
        bundles.get_log(ATTEMPT, 6).await,
        Err(Error::NotFound(_))
    ));
}

#[tokio::test]
async fn results_are_stored_whole_or_not_at_all() {
    let (_folder, bundles) = folder();
    let piece = Bytes::from(vec![7; 3 << 20]);
    let broken = stream::iter([Ok(piece.clone()), Err(io::Error::other("cut"))]);
    let failed = bundles.put_results(ATTEMPT, broken).await;
    assert!(matches!(failed, Err(Error::Input { .. })));
    assert!(bundles.get_results(ATTEMPT).await.expect("asked").is_none());
    let whole = stream::iter(vec![piece; 7].into_iter().map(Ok));
    assert_eq!(
        bundles.put_results(ATTEMPT, whole).await.expect("put"),
        21 << 20
    );
    let (size, content) = bundles
        .get_results(ATTEMPT)
        .await
        .expect("asked")
        .expect("there");
    assert_eq!((size, all(content).await.len()), (21 << 20, 21 << 20));
}

#[tokio::test]
async fn a_job_gets_nothing_of_a_lost_one_with_its_number() {
    let (_folder, bundles) = folder();
    let lost = AttemptId {
        key: JobKey([8; 16]),
        ..ATTEMPT
    };
    let text = Bytes::from_static(b"secret");
    bundles.put_log(lost, 0, text.clone()).await.expect("put");
    let results = stream::iter([Ok(text.clone())]);
    bundles.put_results(lost, results).await.expect("put");
    assert_eq!(bundles.list_log(ATTEMPT).await.expect("asked"), []);
    assert!(bundles.get_results(ATTEMPT).await.expect("asked").is_none());
    assert_eq!(bundles.get_log(lost, 0).await.expect("found"), text);
}

#[tokio::test]
async fn segments_are_listed_by_day_and_age() {
    let (_folder, bundles) = folder();
    assert!(bundles.list_segment_days().await.expect("asked").is_empty());
    for name in [
        "2026-11-30/2.jsonl",
        "2026-12-01/1.jsonl",
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
    bundles.probe().await.expect("it answers");
}

#[test]
fn a_store_is_opened_by_url_and_its_mistakes_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let none = BTreeMap::new();
    let url = format!("file://{}", folder.path().join("new/store").display());
    let bundles = Bundles::open(&url, &none).expect("opened");
    let made = bundles.folder().expect("local");
    let mode = made.metadata().expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(made.ends_with(Path::new("new/store")));
    let options = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.into())]);
    for (url, options, part) in [
        ("ftp://host/x", none.clone(), "use a folder"),
        ("file://relative/x", none, "three slashes"),
        (
            "s3://lab",
            options("endpiont", "http://x"),
            "unknown option \"endpiont\"",
        ),
        (
            "/tmp",
            options("endpoint", "http://x"),
            "no option \"endpoint\"",
        ),
    ] {
        let error = Bundles::open(url, &options).expect_err(url).to_string();
        assert!(error.contains(part), "{error}");
    }
    let s3 = options("endpoint", "http://127.0.0.1:9000");
    let bundles = Bundles::open("s3://lab/dopq?x=secret", &s3).expect("opened");
    assert_eq!((bundles.name(), bundles.folder()), ("s3://lab/dopq", None));
}

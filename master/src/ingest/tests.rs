//! Ingest on folders and on buckets that fail: what is taken, what is refused, and that a crash or a fault
//! anywhere loses no file and makes no job twice.

mod bucket;
mod driver;
mod folder;
mod kill;
mod watch;

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};

use bytes::Bytes;
use dopq_common::bundle::Limits;
use serde_json::Value;

use self::driver::FakeDriver;
use super::examined::Examined;
use super::looks::Take;
use super::share::Share;
use super::take::{Outcome, Taker};
use crate::bundles::{Bundles, Intake};

/// A bundle for `executor`; `salt` makes its content its own.
fn bundle(executor: &str, salt: &str) -> Bytes {
    let config = format!(r#"{{"name": "train-{salt}", "executor_name": "{executor}"}}"#);
    zip(&[
        ("container_config.json", &config),
        ("Dockerfile", "FROM scratch\n"),
    ])
}

fn zip(entries: &[(&str, &str)]) -> Bytes {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .expect("an entry");
        writer.write_all(content.as_bytes()).expect("content");
    }
    writer.finish().expect("a zip").into_inner().into()
}

fn taker(
    share: Share,
    bundles: Bundles,
    spool: &std::path::Path,
    submit: FakeDriver,
) -> Taker<FakeDriver> {
    Taker {
        share,
        intake: Intake::new(bundles, spool, Limits::default()).expect("an intake"),
        examined: Examined::open(spool).expect("the notes"),
        submit,
        trust_executor_name: false,
        keep_accepted: true,
        min_space: 0.0,
        names: std::sync::Arc::default(),
    }
}

/// Takes everything that lies there once, and gives what became of each.
async fn sweep(
    taker: &Taker<FakeDriver>,
) -> Result<BTreeMap<String, Outcome>, super::share::Error> {
    let mut outcomes = BTreeMap::new();
    for found in taker.share.list().await?.zips {
        let path = found.path.clone();
        let take = Take { found, last: true };
        outcomes.insert(path, taker.take(&take).await);
    }
    Ok(outcomes)
}

/// The files that the fault tests put there: two users' zips of the same name, and a bad one.
fn mixed() -> [(&'static str, Bytes); 3] {
    [
        ("anna/run.zip", bundle("anna", "a")),
        ("bert/run.zip", bundle("bert", "b")),
        ("bert/bad.zip", bundle("anna", "c")),
    ]
}

/// All that [`mixed`] must have become, whatever happened on the way.
fn assert_mixed_is_settled(files: &BTreeMap<String, Bytes>, driver: &FakeDriver) {
    let left: Vec<_> = files
        .keys()
        .filter(|path| path.starts_with("incoming/"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    let jobs = driver.jobs();
    assert_eq!(jobs.len(), 2, "each file is one job");
    let below = |place: &'static str, ending: &'static str| {
        files
            .iter()
            .filter(move |(path, _)| path.starts_with(place) && path.ends_with(ending))
    };
    let mut receipts = BTreeMap::new();
    for (_, body) in below("accepted/", ".json") {
        let receipt: Value = serde_json::from_slice(body).expect("a receipt");
        receipts.insert(
            receipt["file"].as_str().expect("a file").to_owned(),
            receipt,
        );
    }
    assert_eq!(
        receipts.len(),
        2,
        "each job has one receipt: {:?}",
        files.keys()
    );
    for (file, content) in mixed() {
        let kept: Vec<_> = files.iter().filter(|(_, body)| **body == content).collect();
        let zips: Vec<_> = kept
            .iter()
            .filter(|(path, _)| !path.contains("bundles/"))
            .collect();
        assert!(!zips.is_empty(), "{file} has vanished: {:?}", files.keys());
        if let Some(receipt) = receipts.get(file) {
            let job = receipt["job"].as_u64().expect("an id");
            let submission = &jobs[&job];
            assert_eq!(submission.user.as_str(), receipt["user"]);
            let digest = submission.bundle.expect("a bundle").digest;
            assert_eq!(
                digest.to_string(),
                receipt["digest"].as_str().expect("a digest")
            );
            assert_eq!(digest.0, *blake3::hash(&content).as_bytes());
        } else {
            assert_eq!(file, "bert/bad.zip");
        }
    }
    let reasons: Vec<_> = below("rejected/", ".reason.json").collect();
    assert_eq!(reasons.len(), 1);
    let refusal: Value = serde_json::from_slice(reasons[0].1).expect("a refusal");
    assert_eq!(refusal["faults"][0]["rule"], "executor_mismatch");
    assert_eq!(below("rejected/", ".zip").count(), 1);
}

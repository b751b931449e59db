//! What is taken from a folder, and what becomes of it.

use std::collections::BTreeMap;
use std::fs;
use std::mem::ManuallyDrop;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dopq_common::job::ImageSource;
use dopq_common::resources::ByteSize;
use dopq_common::sched::Rejected;
use serde_json::Value;
use tempfile::TempDir;

use super::{FakeDriver, assert_mixed_is_settled, bundle, mixed, sweep, taker, zip};
use crate::bundles::Bundles;
use crate::driver::ActError;
use crate::ingest::looks::{End, Found, Take};
use crate::ingest::share::Share;
use crate::ingest::take::{Outcome, Taker};
use crate::quota::{Quota, Used};

/// A watched folder with everything around it.
pub(super) struct Place {
    folder: TempDir,
    pub(super) driver: FakeDriver,
}

impl Place {
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            driver: FakeDriver::default(),
        }
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub(super) async fn taker(&self) -> Taker<FakeDriver> {
        let none = BTreeMap::new();
        let url = format!("file://{}", self.path("share").display());
        let share = Share::open(&url, &none).await.expect("opened");
        let bundles =
            Bundles::open(&self.path("bundles").display().to_string(), &none).expect("opened");
        taker(share, bundles, &self.path("spool"), self.driver.clone())
    }

    /// Puts a file below `incoming/`.
    pub(super) fn put(&self, path: &str, content: &[u8]) -> PathBuf {
        let file = self.path("share/incoming").join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(&file, content).expect("written");
        file
    }

    /// All files of the share by their path in it.
    pub(super) fn files(&self) -> BTreeMap<String, Bytes> {
        let mut files = BTreeMap::new();
        collect(&self.path("share"), &self.path("share"), &mut files);
        files
    }

    fn json(&self, path: &str) -> Value {
        let text = fs::read(self.path("share").join(path)).expect(path);
        serde_json::from_slice(&text).expect("JSON")
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Bytes>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.is_symlink() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).expect("below").to_string_lossy();
            let content = fs::read(&path).unwrap_or_default();
            files.insert(name.into_owned(), content.into());
        }
    }
}

fn rules(outcome: &Outcome) -> Vec<&'static str> {
    match outcome {
        Outcome::Rejected(rules) => rules.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn files_become_jobs_receipts_and_reasons() {
    let place = Place::new();
    let taker = place.taker().await;
    for (path, content) in mixed() {
        place.put(path, &content);
    }
    sweep(&taker).await.expect("listed");
    assert_mixed_is_settled(&place.files(), &place.driver);
    let receipt = place.json("accepted/run.json");
    assert_eq!(receipt["version"], 1);
    assert_eq!(receipt["user"], "anna");
    assert_eq!(receipt["name"], "train-a");
    let reason = place.json("rejected/bad.reason.json");
    assert_eq!(
        (&reason["user"], &reason["file"]),
        (&"bert".into(), &"bert/bad.zip".into())
    );
    assert!(place.path("share/rejected/bad.zip").exists());
}

#[tokio::test]
async fn a_full_quota_refuses_new_files_and_none_that_was_accepted() {
    let place = Place::new();
    let mut taker = place.taker().await;
    place.put("anna/run.zip", &bundle("anna", "a"));
    let died = ActError::Unavailable("the answer was lost".to_owned());
    place.driver.fail_next(true, died);
    sweep(&taker).await.expect("listed");
    let quota = Quota::new(Some(ByteSize(1)));
    let used = Used {
        logs: 1,
        ..Used::default()
    };
    quota.counted([("anna".parse().expect("a name"), used)].into());
    taker.intake = taker.intake.with_quota(quota);
    place.put("anna/other.zip", &bundle("anna", "b"));
    let outcomes = sweep(&taker).await.expect("listed");
    assert_eq!(rules(&outcomes["anna/other.zip"]), ["user_storage"]);
    let accepted = &outcomes["anna/run.zip"];
    assert!(
        matches!(accepted, Outcome::Accepted { new: false, .. }),
        "{accepted:?}"
    );
}

/// An image archive with nothing in it, and perhaps a configuration.
fn image(config: Option<&str>) -> Vec<u8> {
    let mut files = vec![("manifest.json", "[]")];
    files.extend(config.map(|config| ("container_config.json", config)));
    let mut tar = Vec::new();
    for (name, content) in files {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[148..157].copy_from_slice(b"        0");
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend(header);
        tar.extend(content.as_bytes());
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.extend([0; 1024]);
    tar
}

#[tokio::test]
async fn an_image_is_taken_with_a_configuration_beside_or_inside() {
    let place = Place::new();
    let taker = place.taker().await;
    let config = |name: &str| format!(r#"{{"name": "{name}", "executor_name": "anna"}}"#);
    place.put("anna/inside.tar", &image(Some(&config("inside"))));
    for (name, beside) in [
        ("beside", "beside.json"),
        ("long", "long.container_config.json"),
    ] {
        place.put(&format!("anna/{name}.tar"), &image(None));
        place.put(&format!("anna/{beside}"), config(name).as_bytes());
    }
    sweep(&taker).await.expect("listed");
    let jobs = place.driver.jobs();
    let mut names: Vec<_> = jobs.values().map(|job| job.spec.name.clone()).collect();
    names.sort();
    assert_eq!(names, ["beside", "inside", "long"]);
    assert!(jobs.values().all(|job| job.spec.image == ImageSource::Load));
    let files = place.files();
    for kept in [
        "accepted/inside.json",
        "accepted/inside.tar",
        "accepted/beside.json",
        "accepted/beside.tar",
        "accepted/beside.container_config.json",
        "accepted/long.container_config.json",
    ] {
        assert!(files.contains_key(kept), "{kept}: {:?}", files.keys());
    }
    assert!(files.keys().all(|path| !path.starts_with("incoming/")));
    // The same image and configuration are the same bundle.
    place.put("anna/again.tar", &image(None));
    place.put("anna/again.json", config("beside").as_bytes());
    sweep(&taker).await.expect("listed");
    let digests = place.driver.jobs().into_values();
    let digests: Vec<_> = digests.filter(|job| job.spec.name == "beside").collect();
    assert_eq!(digests.len(), 2);
    assert_eq!(digests[0].bundle, digests[1].bundle);
}

#[tokio::test]
async fn an_image_without_a_configuration_waits_for_it_and_is_refused_then() {
    let place = Place::new();
    let taker = place.taker().await;
    place.put("anna/run.tar", &image(None));
    let found = taker.share.list().await.expect("listed").zips.remove(0);
    let take = |last| Take {
        found: found.clone(),
        last,
    };
    assert_eq!(
        taker.take(&take(false)).await,
        Outcome::Open(End::Incomplete)
    );
    assert_eq!(rules(&taker.take(&take(true)).await), ["config_missing"]);
    assert!(place.path("share/rejected/run.tar").exists());

    place.put("anna/run.tar", b"no tar");
    place.put("anna/run.json", b"{}");
    let outcomes = sweep(&taker).await.expect("listed");
    assert_eq!(rules(&outcomes["anna/run.tar"]), ["not_an_image"]);
    let files = place.files();
    assert!(
        files.keys().all(|path| !path.starts_with("incoming/")),
        "{:?}",
        files.keys()
    );
}

#[tokio::test]
async fn the_same_name_again_is_another_job_under_another_name() {
    let place = Place::new();
    let taker = place.taker().await;
    for salt in ["one", "two", "two"] {
        place.put("anna/run.zip", &bundle("anna", salt));
        sweep(&taker).await.expect("listed");
    }
    assert_eq!(
        place.driver.jobs().len(),
        3,
        "in a folder each copy is a new file"
    );
    let names: Vec<_> = place.files().into_keys().collect();
    assert_eq!(
        names.iter().filter(|name| name.ends_with(".json")).count(),
        3,
        "{names:?}"
    );
    assert_eq!(
        names.iter().filter(|name| name.ends_with(".zip")).count(),
        3,
        "{names:?}"
    );
}

#[tokio::test]
async fn two_takes_at_once_do_not_claim_one_name() {
    let place = Place::new();
    let taker = place.taker().await;
    for user in ["anna", "bert", "carl", "dora"] {
        place.put(&format!("{user}/run.zip"), &bundle(user, "x"));
    }
    let listing = taker.share.list().await.expect("listed");
    let takes: Vec<_> = listing
        .zips
        .into_iter()
        .map(|found| Take { found, last: true })
        .collect();
    futures::future::join_all(takes.iter().map(|take| taker.take(take))).await;
    assert_eq!(place.files().len(), 8, "{:?}", place.files().keys());
}

#[tokio::test]
async fn nobody_elses_file_is_replaced() {
    let place = Place::new();
    let taker = place.taker().await;
    fs::write(place.path("share/accepted/run.zip"), "a person's own").expect("written");
    place.put("anna/run.zip", &bundle("anna", "a"));
    sweep(&taker).await.expect("listed");
    let files = place.files();
    assert_eq!(files["accepted/run.zip"], "a person's own");
    assert_eq!(files["accepted/run-2.zip"], bundle("anna", "a"));
}

#[tokio::test]
async fn an_accepted_zip_is_removed_where_that_is_wished() {
    let place = Place::new();
    let taker = Taker {
        keep_accepted: false,
        ..place.taker().await
    };
    place.put("anna/run.zip", &bundle("anna", "a"));
    sweep(&taker).await.expect("listed");
    assert_eq!(
        place.files().into_keys().collect::<Vec<_>>(),
        ["accepted/run.json"]
    );
    let digest = place.driver.jobs()[&1].bundle.expect("a bundle").digest;
    assert!(
        taker
            .intake
            .bundles()
            .find(&digest)
            .await
            .expect("asked")
            .is_some()
    );
}

#[tokio::test]
async fn only_zips_directly_in_a_users_folder_are_taken() {
    let place = Place::new();
    let taker = place.taker().await;
    for path in [
        "anna/notes.txt",
        "anna/.run.zip",
        "anna/project/data.zip",
        ".hidden/a.zip",
        "readme",
    ] {
        place.put(path, b"x");
    }
    symlink("/", place.path("share/incoming/everything")).expect("a link");
    let listing = taker.share.list().await.expect("listed");
    assert_eq!(listing.zips, []);
    assert_eq!(listing.ignored, 6);
}

#[tokio::test]
async fn who_it_is_for_comes_from_the_folder() {
    let place = Place::new();
    let taker = place.taker().await;
    place.put("flat.zip", &bundle("anna", "a"));
    place.put("no user/a.zip", &bundle("anna", "a"));
    let outcomes = sweep(&taker).await.expect("listed");
    assert_eq!(rules(&outcomes["flat.zip"]), ["ingest_flat"]);
    assert_eq!(rules(&outcomes["no user/a.zip"]), ["ingest_user"]);
    let trusting = Taker {
        trust_executor_name: true,
        ..taker
    };
    place.put("flat.zip", &bundle("carl", "a"));
    sweep(&trusting).await.expect("listed");
    assert_eq!(place.driver.jobs()[&1].user.as_str(), "carl");
}

#[tokio::test]
async fn nobody_gets_ahead_of_all_by_a_file() {
    let place = Place::new();
    let config = r#"{"name": "hurry", "executor_name": "anna", "class": "urgent"}"#;
    let zip = zip(&[
        ("container_config.json", config),
        ("Dockerfile", "FROM scratch\n"),
    ]);
    place.put("anna/hurry.zip", &zip);
    let outcomes = sweep(&place.taker().await).await.expect("listed");
    assert_eq!(rules(&outcomes["anna/hurry.zip"]), ["class_not_allowed"]);
    assert!(place.driver.jobs().is_empty());
}

#[tokio::test]
async fn all_faults_of_a_file_stand_in_its_reasons() {
    let place = Place::new();
    let taker = place.taker().await;
    place.put(
        "x.zip",
        &zip(&[
            ("container_config.json", "{\"num_gpus\": -1}"),
            ("a/b:c", "x"),
        ]),
    );
    sweep(&taker).await.expect("listed");
    let reason = place.json("rejected/x.reason.json");
    let faults = reason["faults"].as_array().expect("a list");
    let rules: Vec<_> = faults
        .iter()
        .map(|f| f["rule"].as_str().expect("a rule"))
        .collect();
    for rule in [
        "ingest_flat",
        "name_colon",
        "config_required",
        "config_value",
        "dockerfile_missing",
    ] {
        assert!(rules.contains(&rule), "{rule}: {rules:?}");
    }
}

#[tokio::test]
async fn links_and_pipes_are_refused_and_never_followed() {
    let place = Place::new();
    let taker = place.taker().await;
    let secret = place.path("secret.zip");
    fs::write(&secret, bundle("anna", "secret")).expect("written");
    fs::create_dir_all(place.path("share/incoming/anna")).expect("made");
    symlink(&secret, place.path("share/incoming/anna/link.zip")).expect("a link");
    let pipe = place.path("share/incoming/anna/pipe.zip");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .expect("a pipe");
    let outcomes = sweep(&taker).await.expect("listed");
    assert_eq!(rules(&outcomes["anna/link.zip"]), ["ingest_link"]);
    assert_eq!(rules(&outcomes["anna/pipe.zip"]), ["ingest_link"]);
    assert!(place.path("share/rejected/link.zip").is_symlink());
    assert_eq!(place.driver.jobs().len(), 0);
    assert!(secret.exists());
}

#[tokio::test]
async fn a_file_that_changes_under_our_hands_stays() {
    let place = Place::new();
    let taker = place.taker().await;
    place.put("anna/run.zip", &bundle("anna", "old"));
    let found: Vec<Found> = taker.share.list().await.expect("listed").zips;
    place.put("anna/run.zip", &bundle("anna", "newer"));
    let take = Take {
        found: found[0].clone(),
        last: true,
    };
    assert_eq!(taker.take(&take).await, Outcome::Open(End::Changed));
    let moved = taker.share.shelve(&found[0], "accepted", "run").await;
    assert!(matches!(moved, Err(crate::ingest::Error::Changed { .. })));
    assert_eq!(
        place.files()["incoming/anna/run.zip"],
        bundle("anna", "newer")
    );
    fs::remove_file(place.path("share/incoming/anna/run.zip")).expect("removed");
    assert_eq!(taker.take(&take).await, Outcome::Open(End::Changed));
    assert_eq!(place.driver.jobs().len(), 0);
}

#[tokio::test]
async fn a_zip_without_its_end_is_not_refused_at_once() {
    let place = Place::new();
    let taker = place.taker().await;
    let whole = bundle("anna", "a");
    place.put("anna/run.zip", &whole[..whole.len() / 2]);
    let found = taker.share.list().await.expect("listed").zips.remove(0);
    let mut take = Take { found, last: false };
    assert_eq!(taker.take(&take).await, Outcome::Open(End::Incomplete));
    take.last = true;
    assert_eq!(rules(&taker.take(&take).await), ["not_a_zip"]);
}

#[tokio::test]
async fn what_the_scheduler_refuses_for_good_is_rejected_and_what_may_pass_waits() {
    let place = Place::new();
    let taker = place.taker().await;
    place.put("anna/big.zip", &bundle("anna", "a"));
    let unavailable = || ActError::Unavailable("redis".to_owned());
    place
        .driver
        .refuse_next(Rejected::Guarded("anna may have 1 job waiting".to_owned()));
    place
        .driver
        .fail_next(false, ActError::NotLeader { leader_url: None });
    place.driver.fail_next(true, unavailable());
    for part in ["1 job waiting", "is not the leader", "redis"] {
        let outcomes = sweep(&taker).await.expect("listed");
        assert!(
            matches!(&outcomes["anna/big.zip"], Outcome::Open(End::Failed(reason)) if reason.contains(part)),
            "{outcomes:?}"
        );
    }
    // The commit of the unclear answer held: the same job, not a second one.
    let outcomes = sweep(&taker).await.expect("listed");
    assert!(matches!(
        outcomes["anna/big.zip"],
        Outcome::Accepted { new: false, .. }
    ));
    assert_eq!(place.driver.jobs().len(), 1);
    place.put("anna/huge.zip", &bundle("anna", "b"));
    place
        .driver
        .refuse_next(Rejected::NeverFits("no machine has 8 GPUs".to_owned()));
    let outcomes = sweep(&taker).await.expect("listed");
    assert_eq!(rules(&outcomes["anna/huge.zip"]), ["submit_refused"]);
    let reason = place.json("rejected/huge.reason.json");
    assert_eq!(reason["faults"][0]["message"], "no machine has 8 GPUs");
}

#[tokio::test]
async fn odd_names_are_kept_as_they_are() {
    let place = Place::new();
    let taker = place.taker().await;
    let odd = [
        "a b.zip",
        "100%.zip",
        "naïve#1.zip",
        "UPPER.ZIP",
        "quote'\".zip",
    ];
    for name in odd {
        place.put(
            &format!("anna/{name}"),
            &bundle(
                "anna",
                name.split('.')
                    .next()
                    .expect("a stem")
                    .trim_matches(|c| c == '"' || c == '\''),
            ),
        );
    }
    let outcomes = sweep(&taker).await.expect("listed");
    assert!(
        outcomes
            .values()
            .all(|o| matches!(o, Outcome::Accepted { .. })),
        "{outcomes:?}"
    );
    let files = place.files();
    for name in odd {
        let stem = name.split_at(name.len() - 4).0;
        assert!(
            files.contains_key(&format!("accepted/{stem}.json")),
            "{:?}",
            files.keys()
        );
    }
}

#[tokio::test]
async fn nothing_is_taken_when_the_disk_would_be_too_full() {
    let place = Place::new();
    let taker = Taker {
        min_space: 1.0,
        ..place.taker().await
    };
    place.put("anna/run.zip", &bundle("anna", "a"));
    let outcomes = sweep(&taker).await.expect("listed");
    assert!(
        matches!(&outcomes["anna/run.zip"], Outcome::Open(End::Failed(reason)) if reason.contains("the minimum is"))
    );
}

#[tokio::test]
async fn a_file_whose_examination_kills_the_process_twice_is_set_aside() {
    let place = Place::new();
    place.put("anna/bad.zip", &bundle("anna", "a"));
    for _ in 0..2 {
        let taker = place.taker().await;
        place.put("anna/good.zip", &bundle("anna", "b"));
        let zips = taker.share.list().await.expect("listed").zips;
        let bad = zips.iter().find(|found| found.path == "anna/bad.zip");
        let examination = taker.examined.begin(&bad.expect("listed").mark()).await;
        let _dead = ManuallyDrop::new(examination.expect("noted").expect("examined"));
    }
    let outcomes = sweep(&place.taker().await).await.expect("listed");
    assert_eq!(
        outcomes["anna/bad.zip"],
        Outcome::Rejected(vec!["check_died"])
    );
    assert!(matches!(
        outcomes["anna/good.zip"],
        Outcome::Accepted { .. }
    ));
    let reason = place.json("rejected/bad.reason.json");
    assert!(
        reason["faults"][0]["message"]
            .to_string()
            .contains("stopped twice"),
        "{reason}"
    );
    assert!(place.files().contains_key("rejected/bad.zip"));
}

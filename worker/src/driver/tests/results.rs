//! What becomes of `/outdir` when not all of it can be stored, or nothing.

use std::path::PathBuf;
use std::time::Duration;

use super::rig::Rig;
use crate::docker::fake::Program;

const NAME: &str = "dopq-1-1-070707070707";

/// A job that runs, and its folder.
async fn running(rig: &mut Rig) -> PathBuf {
    rig.start().await;
    rig.fake.script(NAME, Program::new().runs_on());
    rig.run("1.1", "").await;
    rig.until("running").await;
    rig.dir.path().join("data/out/anna/1-070707070707/1")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_room_is_told_and_the_rest_is_stored() {
    let mut rig = Rig::new().await;
    rig.results_max_bytes = Some(100_000);
    let folder = running(&mut rig).await;
    std::fs::write(folder.join("model"), vec![1; 200_000]).expect("written");
    std::fs::write(folder.join("report"), b"98 %").expect("written");
    rig.fake.end(NAME, 0);
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "succeeded");
    let results = end.results.expect("told");
    assert_eq!((results.files, results.left_out), (1, 1));
    assert_eq!(results.named[0].path, "model");
    let tar = rig.plane.results("1.1").expect("stored");
    let mut archive = tar::Archive::new(&tar[..]);
    let names = archive.entries().expect("entries").map(|entry| {
        let entry = entry.expect("sound");
        entry.path().expect("path").display().to_string()
    });
    let names: Vec<String> = names.collect();
    assert_eq!(names, ["report", "dopq-manifest.json"]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_the_storing_of_results() {
    let mut rig = Rig::new().await;
    let folder = running(&mut rig).await;
    std::fs::write(folder.join("model"), b"weights").expect("written");
    rig.plane.fail(u32::MAX);
    rig.fake.end(NAME, 0);
    rig.until("uploading").await;
    rig.stop("1.1", 10).await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "cancelled");
    assert_eq!(end.outcome.exit_code, Some(0));
    let lost = end.results.and_then(|results| results.lost);
    assert!(lost.expect("told").contains("cancelled"));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_given_up_after_their_time() {
    let mut rig = Rig::new().await;
    rig.limits.publish_time = Duration::from_secs(1);
    let folder = running(&mut rig).await;
    std::fs::write(folder.join("model"), b"weights").expect("written");
    rig.plane.fail(u32::MAX);
    rig.fake.end(NAME, 3);
    let end = rig.finished("1.1").await;
    assert_eq!(
        end.outcome.cause.as_str(),
        "user_error",
        "its own end counts"
    );
    let lost = end.results.and_then(|results| results.lost);
    assert!(lost.expect("told").contains("limits.publish_time"));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_are_stored_are_not_lost_with_the_checkpoint() {
    let mut rig = Rig::new().await;
    rig.limits.publish_time = Duration::from_secs(2);
    rig.start().await;
    rig.fake.script(NAME, Program::new().runs_on());
    rig.run("1.1", r#","retries":5,"artifacts":"always""#).await;
    rig.until("running").await;
    let data = rig.dir.path().join("data");
    let folder = data.join("out/anna/1-070707070707/1");
    std::fs::write(folder.join("report"), b"98 %").expect("written");
    let folder = data.join("checkpoints/anna/1-070707070707/1");
    std::fs::write(folder.join("step"), b"41").expect("written");
    rig.plane.keep_no_checkpoints();
    rig.fake.end(NAME, 3);
    let end = rig.finished("1.1").await;
    let detail = end.outcome.detail;
    assert!(detail.contains("its checkpoint is not stored"), "{detail}");
    let results = end.results.expect("told");
    assert_eq!((results.files, results.lost), (1, None));
    assert!(rig.plane.results("1.1").is_some());
    rig.end().await;
}

//! Logs whose disk fails.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use dopq_common::id::Digest;
use rustix::fs::{MemfdFlags, SealFlags};

use super::plane::id;
use super::rig::{BUNDLE, Rig};
use crate::docker::fake::{Build, Program};

const NAME: &str = "dopq-1-1-070707070707";

/// Gives the attempt another file as its log.
async fn give_log(rig: &mut Rig, path: &str) {
    // The worker says hello once it has removed what it does not know.
    drop(rig.report().await);
    let folder = rig.dir.path().join("data/attempts").join(id("1.1"));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::os::unix::fs::symlink(path, folder.join("log")).expect("linked");
}

/// Gives the attempt a log that can be opened and read, but never written. It stays so for as long as the result lives.
async fn break_log(rig: &mut Rig) -> OwnedFd {
    let file = rustix::fs::memfd_create("log", MemfdFlags::ALLOW_SEALING).expect("a file");
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW).expect("sealed");
    give_log(rig, &format!("/proc/self/fd/{}", file.as_raw_fd())).await;
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_of_logs_keeps_no_job_from_ending() {
    let mut rig = Rig::started().await;
    give_log(&mut rig, "/dev/full").await;
    rig.fake
        .script(NAME, Program::new().prints("lost\n").exits(0));
    rig.run("1.1", "").await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "succeeded");
    let detail = end.outcome.detail;
    assert!(detail.contains("the log is cut: No space left"), "{detail}");
    rig.end().await;

    let mut rig = Rig::started().await;
    give_log(&mut rig, "/dev/full").await;
    let digest = Digest(*blake3::hash(BUNDLE).as_bytes());
    let build = Build::new().prints("#1 RUN make\n");
    rig.fake
        .script_build(digest, build.takes(Duration::from_secs(600)));
    rig.run("1.1", "").await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "disk_full", "{end:?}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_keeps_no_job_from_ending() {
    let mut rig = Rig::started().await;
    let _log = break_log(&mut rig).await;
    rig.fake.script(
        NAME,
        Program::new()
            .prints("lost\n")
            .leaves("report", "98 %")
            .exits(0),
    );
    rig.run("1.1", "").await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "succeeded");
    let detail = end.outcome.detail;
    assert!(detail.contains("the log is cut"), "{detail}");
    assert_eq!(
        end.results.expect("told").files,
        1,
        "the results are stored"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_opened_keeps_no_job_from_ending() {
    let mut rig = Rig::started().await;
    rig.fake.script(NAME, Program::new().runs_on());
    rig.run("1.1", "").await;
    rig.until("running").await;
    rig.kill().await;
    let folder = rig.dir.path().join("data/attempts").join(id("1.1"));
    std::fs::remove_dir_all(&folder).expect("removed");
    std::fs::write(&folder, "no folder").expect("written");
    rig.fake.end(NAME, 0);
    rig.start().await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "succeeded");
    let detail = end.outcome.detail;
    assert!(detail.contains("the log is cut"), "{detail}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_ends_when_its_log_cannot_be_written() {
    let mut rig = Rig::started().await;
    let _log = break_log(&mut rig).await;
    let digest = Digest(*blake3::hash(BUNDLE).as_bytes());
    let build = Build::new().prints("#1 RUN make\n");
    rig.fake
        .script_build(digest, build.takes(Duration::from_secs(600)));
    rig.run("1.1", "").await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "engine_error");
    let detail = end.outcome.detail;
    assert!(detail.contains("write the log"), "{detail}");
    rig.end().await;
}

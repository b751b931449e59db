//! What a worker removes, and what it must not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dopq_common::settings::Share;
use dopq_common::wire::Order;

use super::rig::Rig;
use crate::docker::fake::{Build, Fault, Program};
use crate::docker::{LABEL_CLUSTER, LABEL_INSTANCE, LABEL_USER};

/// Waits until the condition holds.
async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "{what}");
}

fn outdir(rig: &Rig, of: &str) -> PathBuf {
    rig.dir.path().join("data/out").join(of)
}

fn made(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("file"), "x").expect("a file");
}

impl Rig {
    /// Runs a job of `user` to its end; it is not forgotten.
    async fn ran(&mut self, attempt: &str, user: &str) {
        let mut job = self.job("");
        job.user = user.parse().expect("a name");
        self.order(attempt, Order::Run(Box::new(job))).await;
        assert_eq!(
            self.finished(attempt).await.outcome.cause.as_str(),
            "succeeded"
        );
    }

    /// Runs a job in an image that it names, until it is forgotten.
    async fn ran_in(&mut self, attempt: &str, image: &str) {
        self.run(attempt, &format!(r#","image":"{image}""#)).await;
        let end = self.finished(attempt).await;
        assert_eq!(end.outcome.cause.as_str(), "succeeded", "{end:?}");
        self.forgotten(attempt).await;
    }

    /// An image of this user's that another worker of the cluster made on the same engine.
    fn neighbour_made(&self, user: &str) {
        let labels = [
            (LABEL_CLUSTER, "default"),
            (LABEL_INSTANCE, "another"),
            (LABEL_USER, user),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let name = format!("dopq/{user}:0");
        self.fake.add_labelled_image(&name, labels.into());
    }

    pub(super) async fn forgotten(&self, attempt: &str) {
        self.order(attempt, Order::Forget).await;
        let folder = format!("attempts/{}", super::plane::id(attempt));
        let folder = self.dir.path().join("data").join(folder);
        wait_for("forgotten", || !folder.exists()).await;
    }

    fn has_image_of(&self, user: &str) -> bool {
        let prefix = format!("dopq/{user}:");
        self.fake
            .images()
            .iter()
            .any(|name| name.starts_with(&prefix))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outdir_goes_once_its_attempt_is_forgotten() {
    let mut rig = Rig::started().await;
    rig.fake.script(
        "dopq-1-1-070707070707",
        Program::new().sleeps(Duration::from_millis(50)),
    );
    rig.run("1.1", "").await;
    rig.until("running").await;
    let job = outdir(&rig, "anna/1-070707070707");
    made(&job.join("1/deep"));
    rig.finished("1.1").await;
    assert!(rig.plane.results("1.1").is_some());
    assert!(job.join("1/deep/file").exists(), "it is not forgotten yet");
    rig.forgotten("1.1").await;
    assert!(!job.exists() && outdir(&rig, "anna").exists());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outdir_stays_where_the_admin_says_so() {
    let mut rig = Rig::new().await;
    rig.retention.keep_outdir = true;
    rig.start().await;
    rig.ran("1.1", "anna").await;
    rig.forgotten("1.1").await;
    assert!(outdir(&rig, "anna/1-070707070707/1").exists());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_unknown_attempts_go_at_start_and_others_stay() {
    let mut rig = Rig::started().await;
    let program = Program::new().runs_on();
    rig.fake.script("dopq-1-1-070707070707", program);
    rig.run("1.1", "").await;
    rig.until("running").await;
    rig.kill().await;
    let (own, unknown) = (
        outdir(&rig, "anna/1-070707070707/1"),
        outdir(&rig, "eve/9-080808080808"),
    );
    made(&own);
    made(&unknown.join("1"));
    std::os::unix::fs::symlink(&own, outdir(&rig, "link")).expect("a link");
    rig.start().await;
    wait_for("removed", || !unknown.exists()).await;
    assert!(own.join("file").exists(), "its job runs");
    assert!(outdir(&rig, "link").exists(), "links are not followed");
    rig.stop("1.1", 10).await;
    rig.finished("1.1").await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_go_by_last_use_and_never_one_that_is_needed() {
    let mut rig = Rig::new().await;
    // A fourth image makes the disk too full, and two are left then.
    rig.fake.give_disk(10);
    (rig.retention.images_high, rig.retention.images_low) = (Share(0.35), Share(0.25));
    rig.start().await;
    for (attempt, user) in [("1.1", "anna"), ("2.1", "bob"), ("3.1", "carl")] {
        rig.ran(attempt, user).await;
    }
    rig.forgotten("1.1").await;
    rig.forgotten("3.1").await;
    // Anna's is used again and is the youngest now, also for the next process.
    rig.ran("4.1", "anna").await;
    rig.forgotten("4.1").await;
    rig.end().await;
    rig.start().await;

    rig.ran("5.1", "dora").await;
    rig.ran("6.1", "emil").await;
    // Bob's attempt is not forgotten, Dora's neither.
    assert!(!rig.has_image_of("carl"), "{:?}", rig.fake.images());
    for user in ["bob", "dora", "emil"] {
        assert!(rig.has_image_of(user), "{user}: {:?}", rig.fake.images());
    }
    assert!(!rig.has_image_of("anna"), "it had to go as well");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_an_image_survives_a_restart() {
    let mut rig = Rig::new().await;
    rig.fake.give_disk(10);
    (rig.retention.images_high, rig.retention.images_low) = (Share(0.25), Share(0.25));
    rig.start().await;
    for (attempt, user) in [("1.1", "anna"), ("2.1", "bob"), ("3.1", "anna")] {
        rig.ran(attempt, user).await;
        rig.forgotten(attempt).await;
    }
    rig.end().await;
    rig.start().await;
    rig.ran("4.1", "carl").await;
    // The third image is one too many. Anna's is older than Bob's, and was used later.
    rig.ran("5.1", "dora").await;
    assert!(!rig.has_image_of("bob"), "{:?}", rig.fake.images());
    assert!(rig.has_image_of("anna"), "{:?}", rig.fake.images());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_another_worker_on_the_same_engine_stay() {
    let mut rig = Rig::new().await;
    rig.fake.give_disk(10);
    (rig.retention.images_high, rig.retention.images_low) = (Share(0.15), Share(0.05));
    rig.start().await;
    rig.neighbour_made("bob");
    rig.ran("1.1", "anna").await;
    rig.forgotten("1.1").await;
    // Two images are one too many, and the neighbour's is the older one.
    rig.ran("2.1", "carl").await;
    assert!(rig.has_image_of("bob"), "{:?}", rig.fake.images());
    assert!(!rig.has_image_of("anna"), "{:?}", rig.fake.images());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_somebody_removes_before_its_container_is_created_is_not_the_jobs_fault() {
    let mut rig = Rig::started().await;
    rig.fake.fail_next("create", Fault::ImageGone);
    rig.run("1.1", "").await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "engine_error", "{end:?}");
    let detail = &end.outcome.detail;
    assert!(detail.contains("the image was removed"), "{detail}");
    // The next attempt builds it again.
    rig.forgotten("1.1").await;
    rig.ran("1.2", "anna").await;
    let calls = rig.fake.calls();
    assert_eq!(
        calls
            .iter()
            .filter(|call| call.starts_with("build"))
            .count(),
        2
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_were_pulled_for_jobs_go_and_those_that_were_there_stay() {
    let mut rig = Rig::new().await;
    rig.fake.give_disk(10);
    (rig.retention.images_high, rig.retention.images_low) = (Share(0.45), Share(0.25));
    rig.fake.add_image("debian:12");
    for image in ["python:3.12", "alpine:3", "busybox:1"] {
        rig.fake.offer_image(image);
    }
    rig.start().await;
    rig.ran_in("1.1", "python:3.12").await;
    rig.ran_in("2.1", "debian:12").await;
    rig.ran_in("3.1", "alpine:3").await;
    rig.fake.tag_image("alpine:3", "mine:1");
    rig.end().await;
    // What was pulled is known to the next process.
    rig.start().await;
    rig.ran_in("4.1", "busybox:1").await;
    rig.ran("5.1", "bob").await;
    rig.forgotten("5.1").await;
    // Five images are one too many. Only two of them may go, the third is to be used.
    rig.ran_in("6.1", "busybox:1").await;
    let mut left = rig.fake.images();
    left.retain(|name| !name.starts_with("dopq/"));
    left.sort();
    assert_eq!(left, ["alpine:3", "busybox:1", "debian:12", "mine:1"]);
    assert!(!rig.has_image_of("bob"), "{:?}", rig.fake.images());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_load_left_goes_although_it_has_no_labels() {
    let mut rig = Rig::new().await;
    rig.fake.give_disk(10);
    (rig.retention.images_high, rig.retention.images_low) = (Share(0.05), Share(0.05));
    rig.start().await;
    let digest = dopq_common::id::Digest(*blake3::hash(super::rig::BUNDLE).as_bytes());
    let slow = Build::new().takes(Duration::from_secs(60));
    rig.fake.script_build(digest, slow);
    rig.run("1.1", r#","build_flag":false"#).await;
    rig.until("building").await;
    let calls = || rig.fake.calls();
    let loads = || {
        calls()
            .into_iter()
            .find_map(|call| Some(call.strip_prefix("build ")?.to_owned()))
    };
    wait_for("loading", || loads().is_some()).await;
    let base = format!("{}-loaded", loads().expect("a name"));
    rig.fake.add_image(&base);
    rig.fake.add_image("dopq/eve:1-loaded");
    rig.kill().await;
    rig.fake.script_build(digest, Build::new());
    rig.start().await;
    rig.finished("1.1").await;
    rig.forgotten("1.1").await;
    rig.ran("2.1", "bob").await;
    let left = rig.fake.images();
    assert!(!left.contains(&base), "{left:?}");
    assert!(left.contains(&"dopq/eve:1-loaded".to_owned()), "{left:?}");
    rig.end().await;
}

//! Images that are made ready for jobs that wait.

use std::time::Duration;

use dopq_common::id::Digest;
use dopq_common::settings::Share;
use dopq_common::wire::log::Source;
use dopq_common::wire::{ClusterKey, Order, RunOrder};

use super::rig::{BUNDLE, Rig};
use crate::docker::fake::Build;

const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough for a build that is not to happen.
const NOTHING: Duration = Duration::from_millis(400);

fn digest() -> Digest {
    Digest(*blake3::hash(BUNDLE).as_bytes())
}

impl Rig {
    /// Says again and again what is expected, as masters do, until the condition holds.
    async fn expect_until(
        &mut self,
        runs: &[(&str, RunOrder)],
        what: &str,
        condition: impl Fn(&Self) -> bool,
    ) {
        let telling = async {
            while !condition(self) {
                self.expect(runs).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let told = tokio::time::timeout(PATIENCE, telling).await;
        assert!(told.is_ok(), "{what}: {:?}", self.fake.calls());
    }

    /// Says what is expected for a while, to no effect.
    async fn expect_for_nothing(&mut self, runs: &[(&str, RunOrder)]) {
        let until = tokio::time::Instant::now() + NOTHING;
        while tokio::time::Instant::now() < until {
            self.expect(runs).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn of(&self, user: &str) -> RunOrder {
        let mut job = self.job("");
        job.user = user.parse().expect("a name");
        job
    }

    fn calls(&self, of: &str) -> usize {
        let calls = self.fake.calls();
        calls.iter().filter(|call| call.starts_with(of)).count()
    }

    fn builds(&self) -> usize {
        self.calls("build ")
    }

    fn has(&self, user: &str) -> bool {
        let prefix = format!("dopq/{user}:");
        let images = self.fake.images();
        images.iter().any(|name| name.starts_with(&prefix))
    }

    async fn ends(&mut self, attempt: &str, job: RunOrder, cause: &str) {
        self.order(attempt, Order::Run(Box::new(job))).await;
        let end = self.finished(attempt).await;
        assert_eq!(end.outcome.cause.as_str(), cause, "{end:?}");
    }

    fn built(&self, attempt: &str) -> String {
        let printed = self.plane.printed(attempt, Source::Build);
        String::from_utf8_lossy(&printed).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_finds_the_image_that_was_made_while_it_waited_and_has_its_log() {
    let mut rig = Rig::started().await;
    let build = Build::new().prints("Step 1/1 : FROM scratch");
    rig.fake.script_build(digest(), build);
    let job = rig.of("anna");
    let expected = [("1.1", job.clone()), ("2.1", job.clone())];
    rig.expect_until(&expected, "made", |rig| rig.has("anna"))
        .await;
    rig.expect_for_nothing(&expected).await;
    rig.ends("1.1", job.clone(), "succeeded").await;
    rig.ends("2.1", job, "succeeded").await;
    assert_eq!((rig.builds(), rig.plane.served()), (1, 1));
    let log = rig.built("1.1");
    let (told, printed) = log.split_once('\n').expect("lines");
    assert!(told.contains("before the job had its machine"), "{told}");
    assert_eq!(printed, "Step 1/1 : FROM scratch\n");
    assert_eq!(rig.built("2.1"), "", "one job has it");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_comes_in_mid_build_shares_it_although_it_waits_no_more() {
    let mut rig = Rig::started().await;
    let build = Build::new().prints("Step 1/1").takes(6 * NOTHING);
    rig.fake.script_build(digest(), build);
    let job = rig.of("anna");
    rig.expect_until(&[("1.1", job.clone())], "begun", |rig| rig.builds() == 1)
        .await;
    rig.order("1.1", Order::Run(Box::new(job))).await;
    rig.until("building").await;
    // It begins to wait for the image.
    tokio::time::sleep(2 * NOTHING).await;
    rig.expect_for_nothing(&[]).await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "succeeded", "{end:?}");
    assert_eq!((rig.builds(), rig.plane.served()), (1, 1));
    assert!(rig.built("1.1").ends_with("Step 1/1\n"));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_ends_when_its_job_waits_here_no_more() {
    let mut rig = Rig::started().await;
    rig.fake
        .script_build(digest(), Build::new().takes(Duration::from_secs(600)));
    let (anna, bob) = (rig.of("anna"), rig.of("bob"));
    rig.expect_until(&[("1.1", anna)], "begun", |rig| rig.builds() == 1)
        .await;
    // Only once that one is over does the next one begin.
    rig.fake.script_build(digest(), Build::new());
    rig.expect_until(&[("2.1", bob)], "made", |rig| rig.has("bob"))
        .await;
    assert!(!rig.has("anna") && rig.builds() == 2);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fails_is_not_repeated_and_its_job_tells_why() {
    let mut rig = Rig::started().await;
    let build = Build::new()
        .prints("Step 1/1")
        .fails("RUN false", "exit code 1");
    rig.fake.script_build(digest(), build);
    let job = rig.of("anna");
    let expected = [("1.1", job.clone())];
    rig.expect_until(&expected, "begun", |rig| rig.builds() == 1)
        .await;
    rig.expect_for_nothing(&expected).await;
    rig.expect_for_nothing(&[]).await;
    rig.expect_for_nothing(&expected).await;
    assert_eq!(rig.builds(), 1);
    rig.ends("1.1", job, "build_failed").await;
    assert_eq!(rig.builds(), 2, "the job's own build");
    assert!(rig.built("1.1").starts_with("Step 1/1\n"));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_ahead_gives_way_to_the_build_of_an_order() {
    let mut rig = Rig::started().await;
    rig.fake
        .script_build(digest(), Build::new().takes(Duration::from_secs(600)));
    let expected = [("1.1", rig.of("anna"))];
    rig.expect_until(&expected, "begun", |rig| rig.builds() == 1)
        .await;
    rig.fake
        .script_build(digest(), Build::new().takes(4 * NOTHING));
    let bob = rig.of("bob");
    rig.order("2.1", Order::Run(Box::new(bob))).await;
    rig.expect_until(&expected, "ordered", |rig| rig.builds() == 2)
        .await;
    rig.expect_for_nothing(&expected).await;
    assert!(!rig.has("anna") && !rig.has("bob"));
    assert_eq!(rig.builds(), 2, "nothing is made beside it");
    rig.expect_until(&expected, "made", |rig| rig.has("anna"))
        .await;
    assert_eq!(rig.builds(), 3);
    rig.finished("2.1").await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_there_disturbs_no_build_ahead() {
    let mut rig = Rig::started().await;
    let bob = rig.of("bob");
    rig.ends("2.1", bob.clone(), "succeeded").await;
    let build = Build::new().takes(Duration::from_secs(600));
    rig.fake.script_build(digest(), build);
    let expected = [("1.1", rig.of("anna"))];
    rig.expect_until(&expected, "begun", |rig| rig.builds() == 2)
        .await;
    rig.ends("3.1", bob, "succeeded").await;
    rig.expect_for_nothing(&expected).await;
    assert_eq!(rig.builds(), 2, "it was not begun again");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_without_room_or_against_the_setting() {
    for (prefetch, images_high, free) in [(false, 0.9, 0), (true, 0.0, 0), (true, 0.9, u64::MAX)] {
        let mut rig = Rig::new().await;
        rig.prefetch = prefetch;
        rig.fake.give_disk(4);
        rig.fake.add_image("other");
        rig.retention.images_high = Share(images_high);
        rig.limits.min_free_disk.0 = free;
        rig.start().await;
        let expected = [("1.1", rig.of("anna"))];
        rig.expect_for_nothing(&expected).await;
        assert_eq!(rig.builds(), 0, "{prefetch} {images_high} {free}");
        assert!(rig.fake.images().contains(&"other".to_owned()));
        rig.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_of_a_job_that_is_expected_stays() {
    let mut rig = Rig::new().await;
    // A third image makes the disk too full.
    rig.fake.give_disk(10);
    (rig.retention.images_high, rig.retention.images_low) = (Share(0.25), Share(0.25));
    rig.start().await;
    for (attempt, user) in [("1.1", "anna"), ("2.1", "bob")] {
        let job = rig.of(user);
        rig.ends(attempt, job, "succeeded").await;
        rig.forgotten(attempt).await;
    }
    // Anna's is the oldest.
    let expected = [("3.1", rig.of("anna"))];
    let before = rig.calls("find image dopq/anna:");
    rig.expect_until(&expected, "looked for", |rig| {
        rig.calls("find image dopq/anna:") > before
    })
    .await;
    for (attempt, user) in [("4.1", "carl"), ("5.1", "dora")] {
        let job = rig.of(user);
        rig.ends(attempt, job, "succeeded").await;
    }
    assert!(
        rig.has("anna") && !rig.has("bob"),
        "{:?}",
        rig.fake.images()
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_image_is_pulled_while_its_job_waits() {
    let mut rig = Rig::started().await;
    rig.fake.offer_image("python:3.12");
    let job = rig.job(r#","image":"python:3.12""#);
    let expected = [("1.1", job.clone())];
    let there = |rig: &Rig| rig.fake.images().contains(&"python:3.12".to_owned());
    rig.expect_until(&expected, "pulled", there).await;
    rig.ends("1.1", job, "succeeded").await;
    assert_eq!((rig.calls("pull "), rig.plane.served()), (1, 0));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_master_can_say_what_is_expected() {
    let mut rig = Rig::started().await;
    let expected = [("1.1", rig.of("anna"))];
    let forged = ClusterKey::from_secret("another").worker(&rig.worker);
    for _ in 0..10 {
        rig.expect_by(&forged, &expected).await;
        tokio::time::sleep(NOTHING / 10).await;
    }
    assert_eq!(rig.builds(), 0);
    rig.expect_until(&expected, "made", |rig| rig.has("anna"))
        .await;
    rig.end().await;
}

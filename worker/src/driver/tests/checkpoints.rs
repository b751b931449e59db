//! What becomes of `/checkpoint` from one attempt to the next.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use dopq_common::checkpoint::{Entry, FORMAT, Kind, Manifest};
use dopq_common::time::Timestamp;
use dopq_common::wire::Order;

use super::rig::{End, Rig};
use crate::docker::fake::Program;

/// A job that may be tried again.
const AGAIN: &str = r#","retries":5"#;

fn name(number: u32) -> String {
    format!("dopq-1-{number}-070707070707")
}

fn folder(rig: &Rig, number: u32) -> PathBuf {
    let job = rig.dir.path().join("data/checkpoints/anna/1-070707070707");
    job.join(number.to_string())
}

fn write(folder: &Path, name: &str, content: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, content).expect("written");
}

async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "{what}");
}

impl Rig {
    /// Begins attempt `number` of a job and waits until it runs.
    async fn begin(&mut self, number: u32, more: &str) {
        self.fake.script(&name(number), Program::new().runs_on());
        self.run(&format!("1.{number}"), more).await;
        self.until("running").await;
    }

    /// Ends it, waits for its report, and has it forgotten.
    async fn conclude(&mut self, number: u32, code: i32) -> End {
        let attempt = format!("1.{number}");
        self.fake.end(&name(number), code);
        let end = self.finished(&attempt).await;
        self.order(&attempt, Order::Forget).await;
        let gone = self.dir.path().join("data/attempts");
        let gone = gone.join(super::plane::id(&attempt));
        wait_for("forgotten", || !gone.exists()).await;
        end
    }

    /// Loses what is on the machine, as if the next attempt ran on another one.
    fn lose(&self) {
        let data = self.dir.path().join("data/checkpoints/anna");
        std::fs::remove_dir_all(data).expect("removed");
    }

    fn resumed(&self, number: u32) -> Option<String> {
        self.fake.variable(&name(number), "DOPQ_RESUMED")
    }

    fn stored(&self) -> Option<Manifest> {
        self.plane.checkpoints().get("1")?.read()
    }

    fn received(&self) -> usize {
        self.plane
            .checkpoints()
            .get("1")
            .map_or(0, |of| of.received)
    }

    /// Offers a manifest that nobody stored.
    fn offer(&self, entries: Vec<Entry>) {
        let manifest = Manifest {
            format: FORMAT,
            attempt: 1,
            taken_at: Timestamp::default(),
            entries,
        };
        let text = serde_json::to_vec(&manifest).expect("JSON");
        let mut jobs = self.plane.checkpoints();
        jobs.entry("1".to_owned()).or_default().manifest = Some(Bytes::from(text));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_attempt_on_the_machine_goes_on_where_the_last_ended() {
    let mut rig = Rig::started().await;
    rig.begin(1, AGAIN).await;
    assert_eq!(rig.resumed(1), None, "nothing was there");
    let dir = rig.fake.variable(&name(1), "DOPQ_CHECKPOINT_DIR");
    assert_eq!(dir.as_deref(), Some("/checkpoint"));
    write(&folder(&rig, 1), "step", b"41");
    rig.conclude(1, 3).await;
    assert!(folder(&rig, 1).join("step").exists(), "it is kept");

    rig.begin(2, AGAIN).await;
    assert_eq!(rig.resumed(2).as_deref(), Some("1"));
    let step = std::fs::read(folder(&rig, 2).join("step"));
    assert_eq!(step.expect("there"), b"41");
    assert!(!folder(&rig, 1).exists(), "it was taken over");
    rig.conclude(2, 0).await;
    wait_for("removed after success", || !folder(&rig, 2).exists()).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_attempt_elsewhere_gets_what_was_stored() {
    let mut rig = Rig::started().await;
    rig.begin(1, AGAIN).await;
    let first = folder(&rig, 1);
    write(&first, "runs/1/model", &vec![7; 3 << 20]);
    write(&first, "empty", b"");
    write(&first, "tool", b"#!");
    std::fs::create_dir(first.join("none")).expect("made");
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(first.join("tool"), mode(0o4751)).expect("set");
    std::fs::set_permissions(first.join("none"), mode(0o750)).expect("set");
    std::os::unix::fs::symlink("runs/1/model", first.join("latest")).expect("linked");
    std::os::unix::fs::symlink("/etc/passwd", first.join("out")).expect("linked");
    let written = std::fs::metadata(first.join("tool")).expect("there");
    rig.conclude(1, 3).await;
    rig.lose();

    rig.begin(2, AGAIN).await;
    assert_eq!(rig.resumed(2).as_deref(), Some("1"));
    let second = folder(&rig, 2);
    let read = |name: &str| std::fs::read(second.join(name)).expect(name);
    assert_eq!(read("runs/1/model"), vec![7; 3 << 20]);
    assert_eq!(read("latest").len(), 3 << 20);
    assert_eq!(read("empty"), b"");
    let link = std::fs::read_link(second.join("out")).expect("a link");
    assert_eq!(
        link,
        Path::new("/etc/passwd"),
        "only the container follows it"
    );
    let restored = std::fs::metadata(second.join("tool")).expect("there");
    assert_eq!(restored.permissions().mode() & 0o7777, 0o751, "no setuid");
    assert_eq!(
        restored.modified().expect("a time"),
        written.modified().expect("a time")
    );
    let none = std::fs::metadata(second.join("none")).expect("there");
    assert_eq!(none.permissions().mode() & 0o7777, 0o750);
    rig.conclude(2, 0).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_is_sent() {
    let mut rig = Rig::started().await;
    rig.begin(1, AGAIN).await;
    let first = folder(&rig, 1);
    let part = 512 << 10;
    for file in 0..40_u8 {
        write(&first, &format!("shard-{file}"), &vec![file; part]);
    }
    rig.conclude(1, 3).await;
    let all = rig.received();
    assert_eq!(all, 40 * part);
    rig.begin(2, AGAIN).await;
    write(&folder(&rig, 2), "shard-7", &vec![99; part]);
    rig.conclude(2, 3).await;
    let sent = rig.received() - all;
    assert!((1..=part).contains(&sent), "{sent} of {all} bytes");
    assert_eq!(rig.stored().expect("stored").attempt, 2);

    // Without a change only the manifest is sent.
    rig.begin(3, AGAIN).await;
    rig.conclude(3, 3).await;
    assert_eq!(rig.received(), all + sent);
    assert_eq!(rig.stored().expect("stored").attempt, 3);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_stored_while_the_container_runs_also_by_the_next_process() {
    let mut rig = Rig::new().await;
    rig.limits.checkpoint_every = Duration::from_millis(50);
    rig.start().await;
    rig.begin(1, AGAIN).await;
    let files = |rig: &Rig| rig.stored().map_or(0, |stored| stored.files());
    write(&folder(&rig, 1), "a", b"1");
    wait_for("stored", || files(&rig) == 1).await;
    rig.kill().await;
    write(&folder(&rig, 1), "b", b"2");
    rig.start().await;
    wait_for("stored again", || files(&rig) == 2).await;
    rig.conclude(1, 0).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_where_nothing_can_go_on() {
    let mut rig = Rig::started().await;
    // Without retries this end is the job's.
    rig.begin(1, "").await;
    write(&folder(&rig, 1), "step", b"41");
    let end = rig.conclude(1, 3).await;
    assert!(!end.outcome.detail.contains("checkpoint"));
    assert_eq!(rig.stored(), None);
    wait_for("removed", || !folder(&rig, 1).exists()).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_or_a_cluster_can_do_without() {
    let mut rig = Rig::started().await;
    rig.begin(1, r#","checkpoint":false"#).await;
    assert!(rig.fake.variable(&name(1), "DOPQ_CHECKPOINT_DIR").is_none());
    rig.conclude(1, 0).await;
    rig.checkpoint_max_bytes = Some(0);
    rig.begin(2, "").await;
    assert!(rig.fake.variable(&name(2), "DOPQ_CHECKPOINT_DIR").is_none());
    rig.conclude(2, 0).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_too_large_is_told_and_the_last_one_stays() {
    let mut rig = Rig::new().await;
    rig.checkpoint_max_bytes = Some(1000);
    rig.start().await;
    rig.begin(1, AGAIN).await;
    write(&folder(&rig, 1), "step", b"41");
    rig.conclude(1, 3).await;
    rig.begin(2, AGAIN).await;
    write(&folder(&rig, 2), "model", &[1; 2000]);
    let end = rig.conclude(2, 3).await;
    assert_eq!(end.outcome.cause.as_str(), "user_error");
    let detail = end.outcome.detail;
    assert!(
        detail.contains("its checkpoint is not stored: it has") && detail.contains("allowed"),
        "{detail}"
    );
    assert_eq!(rig.stored().expect("stored").attempt, 1);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_holds_the_end_up_for_its_time_only() {
    let mut rig = Rig::new().await;
    rig.limits.publish_time = Duration::from_secs(1);
    rig.start().await;
    rig.begin(1, AGAIN).await;
    write(&folder(&rig, 1), "step", b"41");
    rig.plane.fail(u32::MAX);
    let end = rig.conclude(1, 3).await;
    let detail = end.outcome.detail;
    assert!(detail.contains("limits.publish_time"), "{detail}");
    rig.plane.fail(0);
    // On this machine it is still there.
    rig.begin(2, AGAIN).await;
    assert!(folder(&rig, 2).join("step").exists());
    rig.conclude(2, 0).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_manifest_makes_no_file_elsewhere() {
    let file = |path: &str| Entry {
        path: path.to_owned(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime_ns: 0,
        kind: Kind::File(Vec::new()),
    };
    let mut rig = Rig::started().await;
    let link = Entry {
        kind: Kind::Link("..".to_owned()),
        ..file("a")
    };
    let hostile = [
        vec![file("../escaped")],
        vec![file("/tmp/escaped")],
        vec![link, file("a/escaped")],
    ];
    for (number, entries) in (2..).zip(hostile) {
        rig.offer(entries);
        let attempt = format!("1.{number}");
        rig.run(&attempt, AGAIN).await;
        let end = rig.finished(&attempt).await;
        assert_eq!(end.outcome.cause.as_str(), "engine_error");
        assert!(
            end.outcome.detail.contains("not allowed"),
            "{}",
            end.outcome.detail
        );
        assert!(!folder(&rig, number).exists());
    }
    let job = folder(&rig, 2);
    assert!(!job.parent().expect("a folder").join("escaped").exists());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_chunk_is_not_taken_for_the_checkpoint() {
    let mut rig = Rig::started().await;
    rig.begin(1, AGAIN).await;
    write(&folder(&rig, 1), "step", b"41");
    rig.conclude(1, 3).await;
    rig.lose();
    for chunk in rig
        .plane
        .checkpoints()
        .values_mut()
        .flat_map(|of| of.chunks.values_mut())
    {
        *chunk = Bytes::from_static(b"42");
    }
    rig.run("1.2", AGAIN).await;
    let end = rig.finished("1.2").await;
    assert_eq!(end.outcome.cause.as_str(), "engine_error");
    assert!(
        end.outcome.detail.contains("damaged"),
        "{}",
        end.outcome.detail
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restoration_can_be_called_off() {
    let mut rig = Rig::started().await;
    rig.begin(1, AGAIN).await;
    write(&folder(&rig, 1), "step", b"41");
    rig.conclude(1, 3).await;
    rig.lose();
    // The image is there, so only the checkpoint is waited for.
    rig.plane.fail(1000);
    rig.run("1.2", AGAIN).await;
    rig.until("building").await;
    rig.stop("1.2", 10).await;
    rig.plane.fail(0);
    let end = rig.finished("1.2").await;
    assert_eq!(end.outcome.cause.as_str(), "cancelled");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_may_still_run_keeps_its_folder() {
    let mut rig = Rig::started().await;
    rig.begin(1, AGAIN).await;
    write(&folder(&rig, 1), "step", b"41");
    // Its machine was taken for lost, and the next attempt comes here.
    rig.begin(2, AGAIN).await;
    assert_eq!(rig.resumed(2), None, "nothing was stored");
    assert!(folder(&rig, 1).join("step").exists());
    rig.conclude(2, 0).await;
    rig.conclude(1, 3).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_nobody_uses_go_after_their_time() {
    let mut rig = Rig::started().await;
    rig.begin(1, AGAIN).await;
    write(&folder(&rig, 1), "step", b"41");
    rig.conclude(1, 3).await;
    rig.begin(2, AGAIN).await;
    rig.end().await;
    let unknown = rig.dir.path().join("data/checkpoints/eve/9-080808080808/1");
    write(&unknown, "step", b"1");
    rig.retention.checkpoints = Duration::ZERO;
    rig.start().await;
    wait_for("removed", || !unknown.exists()).await;
    assert!(folder(&rig, 2).join("step").exists(), "it is in use");
    rig.fake.end(&name(2), 0);
    rig.finished("1.2").await;
    rig.end().await;
}

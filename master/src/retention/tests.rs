//! Sweeps of a folder, as a store that knows no job, an old one, or one that is too large.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dopq_common::id::{AttemptId, Digest};
use dopq_common::resources::ByteSize;
use dopq_common::sched;
use tempfile::TempDir;

use super::*;

mod races;

const HOUR: Duration = Duration::from_secs(3600);

struct Store {
    dir: TempDir,
    parts: Parts,
}

impl Store {
    fn new(settings: config::Retention) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let url = dir.path().display().to_string();
        let parts = Parts {
            bundles: Bundles::open(&url, &BTreeMap::new()).expect("a store"),
            view: View::new(sched::Settings::default()),
            settings,
            space: |_| Err(io::ErrorKind::Unsupported.into()),
            grace: Duration::ZERO,
            quota: Quota::default(),
            metrics: Metrics::default(),
            board: Board::default(),
        };
        Self { dir, parts }
    }

    /// A log of so many bytes whose last piece was written so long ago.
    async fn log(&self, job: u64, bytes: usize, age: Duration) {
        let attempt: AttemptId = format!("{job}.1-{}", "07".repeat(16))
            .parse()
            .expect("an id");
        let body = Bytes::from(vec![1; bytes]);
        let stored = self.parts.bundles.put_log(attempt, 0, body).await;
        stored.expect("stored");
        let job = format!("jobs/{job}-{}/logs/1/{:020}", "07".repeat(16), 0);
        self.age(&job, age);
    }

    fn file(&self, name: &str, age: Duration) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, "{}").expect("written");
        self.age(name, age);
    }

    fn age(&self, name: &str, age: Duration) {
        let file = File::open(self.dir.path().join(name)).expect(name);
        file.set_modified(SystemTime::now() - age).expect("a time");
    }

    fn has(&self, name: &str) -> bool {
        self.dir.path().join(name).exists()
    }

    fn has_log(&self, job: u64) -> bool {
        self.has(&format!("jobs/{job}-{}", "07".repeat(16)))
    }

    async fn sweep(&self, dry_run: bool) -> Report {
        let swept = self.parts.sweep(dry_run, Duration::ZERO).await;
        swept.expect("swept")
    }
}

#[tokio::test]
async fn an_empty_store_is_swept() {
    let store = Store::new(config::Retention::default());
    let report = store.sweep(false).await;
    assert_eq!((report.found, report.removed), Default::default());
}

#[tokio::test]
async fn what_no_job_needs_goes_by_age_and_nothing_else() {
    let store = Store::new(config::Retention {
        bundles: 10 * HOUR,
        logs: 20 * HOUR,
        ..config::Retention::default()
    });
    store.log(1, 5, 21 * HOUR).await;
    store.log(2, 5, 19 * HOUR).await;
    let digest = |byte| Digest([byte; 32]);
    let (old, half, young) = (digest(1), digest(2), digest(3));
    let strange = [
        "bundles/mine.zip",
        "jobs/mine/file",
        "mine",
        "uploaders/mine/anna",
    ];
    let nowhere = digest(4);
    for digest in [old, half, young, nowhere] {
        store.file(&format!("uploaders/{digest}/anna"), 1000 * HOUR);
    }
    for (digest, age) in [(old, 11 * HOUR), (young, HOUR)] {
        store.file(&format!("bundles/{digest}.zip"), age);
        store.file(&format!("bundles/{digest}.json"), age);
    }
    // Its record was removed, or never written.
    store.file(&format!("bundles/{half}.zip"), 11 * HOUR);
    for name in strange {
        store.file(name, 1000 * HOUR);
    }

    let would = store.sweep(true).await;
    assert!(would.dry_run && store.has_log(1) && store.has(&format!("bundles/{old}.zip")));
    assert!(store.has(&format!("uploaders/{nowhere}/anna")));
    let report = store.sweep(false).await;
    assert_eq!(would.removed, report.removed);
    let of = |kind| report.removed.get(&kind).copied().unwrap_or_default();
    assert_eq!(
        of(Kind::Logs),
        Count {
            objects: 1,
            bytes: 5
        }
    );
    assert_eq!(
        of(Kind::Bundles),
        Count {
            objects: 2,
            bytes: 4
        }
    );
    assert!(!store.has_log(1) && store.has_log(2));
    for gone in [old, half] {
        assert!(!store.has(&format!("bundles/{gone}.zip")), "{gone}");
        assert!(!store.has(&format!("bundles/{gone}.json")), "{gone}");
    }
    for gone in [old, half, nowhere] {
        assert!(!store.has(&format!("uploaders/{gone}")), "{gone}");
    }
    assert!(store.has(&format!("bundles/{young}.zip")));
    assert!(store.has(&format!("uploaders/{young}/anna")));
    for name in strange {
        assert!(store.has(name), "{name}");
    }
    let board = store.parts.board.get(Part::Retention).expect("shown");
    assert!(
        board.detail.contains("removed 3 objects"),
        "{}",
        board.detail
    );
}

#[tokio::test]
async fn a_store_that_is_too_large_loses_the_oldest_and_nothing_young() {
    let store = Store::new(config::Retention {
        store_size: Some(ByteSize(250)),
        min_age: 2 * HOUR,
        ..config::Retention::default()
    });
    for (job, age) in [(1, 5), (2, 4), (3, 3), (4, 1), (5, 1)] {
        store.log(job, 100, age * HOUR).await;
    }
    // It is over, and counts once.
    let chunk = format!("checkpoint/chunks/{}", Digest([1; 32]));
    store.file(&format!("jobs/1-{}/{chunk}", "07".repeat(16)), 30 * HOUR);
    let would = store.sweep(true).await;
    let report = store.sweep(false).await;
    assert_eq!(would.removed, report.removed);
    assert_eq!(report.removed_in_all().bytes, 302);
    let left: Vec<_> = (1..6).filter(|job| store.has_log(*job)).collect();
    assert_eq!(left, [4, 5]);
    store.log(6, 100, HOUR).await;
    store.sweep(false).await;
    assert!(store.has_log(4) && store.has_log(6), "they are too young");
}

#[tokio::test]
async fn a_full_disk_is_swept_at_once_and_loses_the_oldest() {
    let mut store = Store::new(config::Retention {
        min_free: ByteSize(200),
        min_age: 2 * HOUR,
        ..config::Retention::default()
    });
    store.parts.space = |_| {
        Ok(Space {
            free: 150,
            whole: 10_000,
        })
    };
    for (job, age) in [(1, 5), (2, 4), (3, 3), (4, 3), (5, 1)] {
        store.log(job, 100, age * HOUR).await;
    }
    let would = store.sweep(true).await;
    assert_eq!(
        would.removed_in_all().bytes,
        300,
        "until 400 bytes are free"
    );
    let (_pruner, mut requests) = channel();
    let swept = async {
        while store.has_log(1) || store.has_log(2) || store.has_log(3) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = store.parts.lead(&mut requests) => {}
        swept = tokio::time::timeout(Duration::from_secs(10), swept) => swept.expect("swept"),
    }
    assert!(store.has_log(4) && store.has_log(5));
    store.sweep(false).await;
    let shown = store.parts.board.get(Part::Retention).expect("shown");
    assert_eq!(shown.state, PartState::Degraded);
    assert!(shown.detail.contains("less than 200"), "{}", shown.detail);
    assert!(store.has_log(5), "it is too young");
}

#[tokio::test]
async fn what_is_left_of_writes_goes() {
    let store = Store::new(config::Retention {
        min_age: Duration::ZERO,
        ..config::Retention::default()
    });
    let results = format!("jobs/7-{}/results", "07".repeat(16));
    let [old, young, strange] =
        ["1.tar#1", "2.tar#2", "mine#1"].map(|name| format!("{results}/{name}"));
    store.file(&old, 2 * HOUR);
    store.file(&young, HOUR / 2);
    store.file(&strange, 2 * HOUR);
    assert_eq!(store.sweep(true).await.removed_in_all().objects, 1);
    assert!(store.has(&old));
    let report = store.sweep(false).await;
    assert_eq!(report.removed_in_all().objects, 1);
    assert!(!store.has(&old) && store.has(&young) && store.has(&strange));
}

#[tokio::test]
async fn the_archive_is_counted_and_bounded() {
    let mut store = Store::new(config::Retention::default());
    for day in ["2020-01-01", "2020-01-02", "2020-01-03"] {
        store.file(&format!("archive/{day}/a.jsonl"), HOUR);
    }
    let report = store.sweep(false).await;
    assert_eq!(
        report.kept(Kind::Archive),
        Count {
            objects: 3,
            bytes: 6
        }
    );
    store.parts.settings.archive_size = Some(ByteSize(4));
    let report = store.sweep(true).await;
    assert_eq!(
        report.kept(Kind::Archive),
        Count {
            objects: 2,
            bytes: 4
        }
    );
    assert!(store.has("archive/2020-01-01"));
    store.sweep(false).await;
    assert!(!store.has("archive/2020-01-01") && store.has("archive/2020-01-02"));
}

#[tokio::test]
async fn old_days_of_the_archive_go_but_for_the_newest() {
    let store = Store::new(config::Retention {
        archive: Some(24 * HOUR),
        ..config::Retention::default()
    });
    store.file("archive/2020-01-01/a.jsonl", HOUR);
    store.file("archive/2020-01-02/b.jsonl", HOUR);
    store.sweep(false).await;
    assert!(!store.has("archive/2020-01-01") && store.has("archive/2020-01-02/b.jsonl"));
}

#[tokio::test]
async fn a_bundle_in_use_is_not_removed() {
    let store = Store::new(config::Retention {
        bundles: Duration::ZERO,
        min_age: Duration::ZERO,
        ..config::Retention::default()
    });
    let digest = Digest([1; 32]);
    let names = ["zip", "json"].map(|kind| format!("bundles/{digest}.{kind}"));
    for name in &names {
        store.file(name, HOUR);
    }
    let using = store.parts.bundles.using(digest).await;
    store.sweep(false).await;
    assert!(names.iter().all(|name| store.has(name)));
    drop(using);
    store.sweep(false).await;
    assert!(!names.iter().any(|name| store.has(name)));
}

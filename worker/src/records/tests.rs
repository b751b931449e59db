//! Tests of the records: everything comes back, also from files that older versions wrote.

use std::sync::Arc;
use std::time::Duration;

use dopq_common::agent::{Attempt, Ended, Exit, Meta, Run, Stage, StopOrder};
use dopq_common::id::Epoch;
use dopq_common::job::{Cause, Outcome};
use dopq_common::resources::{Allocation, ByteSize, MilliCpu};
use dopq_common::time::Timestamp;
use dopq_common::wire::{NumberedReport, Report, RunOrder};

use super::store::{Commit, Records};

const AT: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn run() -> Arc<Run> {
    let order = RunOrder {
        cluster: "default".to_owned(),
        user: "anna".parse().expect("name"),
        group: None,
        config: r#"{"name":"train","executor_name":"anna","build_flag":false,"image":"busybox"}"#
            .to_owned(),
        bundle: None,
        allocation: Allocation {
            gpus: Vec::new(),
            cpu: MilliCpu(1000),
            memory: ByteSize(ByteSize::GIB),
        },
        array_index: Some(3),
        array_job: None,
        token: "token".into(),
        data_urls: vec!["http://m:7070".to_owned()],
        results_max_bytes: None,
        checkpoint_max_bytes: None,
    };
    Arc::new(Run::read(order).expect("order"))
}

fn ended() -> Ended {
    Ended {
        outcome: Outcome {
            cause: Cause::Cancelled,
            by: Some("anna".parse().expect("name")),
            exit_code: Some(143),
            detail: "cancelled by anna".to_owned(),
        },
        ran_ms: 5,
        log_bytes: 6,
        results: None,
        measured: None,
    }
}

/// One attempt in each stage.
fn attempts() -> Vec<Attempt> {
    let container: Arc<str> = Arc::from("c0ffee");
    let same = || Arc::clone(&container);
    let stages = [
        Stage::Fetching,
        Stage::Building,
        Stage::Creating {
            image: Arc::from("sha256:1"),
        },
        Stage::Starting {
            container: same(),
            since: AT,
            look_at: None,
        },
        Stage::Running {
            container: same(),
            since: AT,
        },
        Stage::Paused {
            container: same(),
            since: AT,
        },
        Stage::Stopping {
            container: same(),
            since: AT,
            kill_at: AT,
        },
        Stage::Exited {
            container: same(),
            exit: Exit {
                code: 137,
                oom_killed: false,
                started_at: Some(AT),
                finished_at: None,
            },
        },
        Stage::Uploading {
            container: Some(same()),
            discard: false,
            ended: ended(),
        },
        Stage::Reported {
            container: None,
            ended: ended(),
        },
        Stage::Forgotten {
            ended: ended(),
            at: AT,
        },
        Stage::Refused {
            reason: "the worker is draining".to_owned(),
            at: AT,
        },
    ];
    let numbered = (1..).zip(stages);
    numbered
        .map(|(number, stage)| Attempt {
            id: format!("7.{number}-{}", "07".repeat(16))
                .parse()
                .expect("attempt"),
            run: (!stage.is_over()).then(run),
            boot: Arc::from("boot"),
            stop: matches!(stage, Stage::Stopping { .. }).then(|| StopOrder {
                outcome: ended().outcome,
                grace: Duration::from_secs(10),
                forget: false,
                insists: false,
            }),
            cut: false,
            stage,
        })
        .collect()
}

#[test]
fn the_form_on_disk_is_this() {
    let mut text = String::new();
    for attempt in attempts() {
        let bytes = serde_json::to_vec(&attempt).expect("written");
        text.push_str(&String::from_utf8_lossy(&bytes));
        text.push('\n');
        assert_eq!(decode(&bytes).expect("read"), attempt);
    }
    insta::assert_snapshot!(text);
}

fn decode(bytes: &[u8]) -> serde_json::Result<Attempt> {
    serde_json::from_slice(bytes)
}

#[test]
fn an_attempt_is_read_without_an_order_that_makes_no_sense() {
    for order in [r#"{"user":"anna"}"#, "7", "null"] {
        let text = format!(
            r#"{{"attempt":"1.1-00112233445566778899aabbccddeeff","boot":"b","order":{order},"stage":{{"at":"running","container":"c","since_ms":1}}}}"#
        );
        let attempt = decode(text.as_bytes()).expect("read");
        assert_eq!(attempt.run, None, "{order}");
        assert!(attempt.stage.may_run());
    }
}

#[test]
fn fields_of_a_later_version_are_left_alone() {
    let later = br#"{"attempt":"1.1-00112233445566778899aabbccddeeff","boot":"b","shape":9,"stage":{"at":"fetching","since":1}}"#;
    assert_eq!(decode(later).expect("read").stage, Stage::Fetching);
    let unknown =
        br#"{"attempt":"1.1-00112233445566778899aabbccddeeff","boot":"b","stage":{"at":"?"}}"#;
    assert!(decode(unknown).is_err());
}

/// A report as it is stored.
fn report(seq: u64) -> Vec<u8> {
    let report = NumberedReport {
        seq,
        at_ms: 1,
        report: Report::Goodbye,
    };
    serde_json::to_vec(&report).expect("JSON")
}

#[tokio::test]
async fn a_batch_is_there_after_the_file_is_opened_again() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("records.redb");
    let meta = Meta {
        epoch: Epoch(3),
        seq: 9,
        linked_at: AT,
    };
    {
        let records = Records::open(&path).expect("open");
        assert_eq!(records.load("first").expect("load").instance, "first");
        let commit = Commit {
            attempts: attempts().into_iter().map(|a| (a.id, Some(a))).collect(),
            meta: Some(meta),
            reports: vec![(8, report(8)), (9, report(9))],
            confirmed: Vec::new(),
        };
        records.clone().commit(commit).await.expect("commit");
        let commit = Commit {
            attempts: vec![(attempts().swap_remove(1).id, None)],
            confirmed: vec![8],
            ..Commit::default()
        };
        records.clone().commit(commit).await.expect("commit");
    }
    let records = Records::open(&path).expect("open");
    let loaded = records.load("second").expect("load");
    assert_eq!(loaded.instance, "first");
    assert_eq!(loaded.meta, meta);
    let outbox = loaded.outbox.iter();
    let outbox: Vec<_> = outbox
        .map(|r| (r.seq, r.json().as_bytes().to_vec()))
        .collect();
    assert_eq!(outbox, [(9, report(9))]);
    assert_eq!(loaded.attempts.len(), attempts().len() - 1);
    assert!(Records::open(&path).is_err(), "two workers, one folder");
}

#[test]
fn only_what_a_crash_may_undo_is_not_synced() {
    let commit = |change: fn(&mut Commit)| {
        let mut commit = Commit::default();
        change(&mut commit);
        commit
    };
    let building = || {
        let mut attempts = attempts();
        attempts.swap_remove(1)
    };
    assert!(matches!(building().stage, Stage::Building));
    assert!(commit(|c| c.confirmed.push(7)).may_be_lost());
    let mut begun = commit(|c| c.confirmed.push(7));
    begun.attempts.push((building().id, Some(building())));
    assert!(begun.may_be_lost());
    begun.reports.push((8, report(8)));
    assert!(!begun.may_be_lost());
    assert!(!commit(|c| c.meta = Some(Meta::default())).may_be_lost());
    for attempt in attempts() {
        let (id, is_building) = (attempt.id, matches!(attempt.stage, Stage::Building));
        let mut stopped = attempt.clone();
        stopped.stop = Some(StopOrder {
            outcome: ended().outcome,
            grace: Duration::from_secs(10),
            forget: false,
            insists: false,
        });
        for (attempt, expected) in [
            (Some(attempt), is_building),
            (Some(stopped), false),
            (None, false),
        ] {
            let mut commit = Commit::default();
            commit.attempts.push((id, attempt));
            assert_eq!(commit.may_be_lost(), expected, "{commit:?}");
        }
    }
}

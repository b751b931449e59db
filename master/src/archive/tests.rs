//! Segments on a folder and in a bucket: what is durable is read back, what is torn is skipped.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use dopq_common::id::{Epoch, JobId, JobKey};
use dopq_common::job::{Cause, Finished, Job, JobState, Outcome, Queued};
use dopq_common::record::Specs;
use dopq_common::time::Timestamp;
use object_store::memory::InMemory;
use tempfile::TempDir;

use super::append::Appender;
use super::clear::{self, Clear};
use super::read::{Mark, mark};
use super::record::{self, Due};
use super::write::missing;
use super::*;
use crate::bundles::{Bundles, Objects};

const CONFIG: &str = r#"{"name":"mnist","executor_name":"anna"}"#;
const EPOCH: Epoch = Epoch(7);

const fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + millis)
}

fn job(id: u64, submitted_at: Timestamp) -> Job {
    let (config, spec) = Specs::default().read(CONFIG).expect("a valid document");
    Job {
        id: JobId(id),
        key: JobKey([7; 16]),
        user: "anna".parse().expect("a name"),
        spec,
        config,
        bundle: None,
        submitted_at,
        last_attempt: 0,
        priority: 0,
        retries_used: 0,
        faults: 0,
        task: None,
        state: JobState::Queued(Queued {
            since: submitted_at,
            not_before: None,
            hold: None,
            avoid: None,
        }),
        timeline: Vec::new(),
        charges: Vec::new(),
        measured: Vec::new(),
    }
}

fn accepted(id: u64, submitted_at: Timestamp) -> Due {
    Due {
        kind: Kind::Accepted,
        job: Arc::new(job(id, submitted_at)),
    }
}

fn finished(id: u64, finished_at: Timestamp) -> Due {
    let state = JobState::Finished(Box::new(Finished {
        outcome: Outcome::new(Cause::Succeeded, ""),
        at: finished_at,
        last: None,
        ran: std::time::Duration::ZERO,
        log_bytes: None,
        results: None,
        tasks: None,
    }));
    let job = Job {
        state,
        ..job(id, at(0))
    };
    Due {
        kind: Kind::Finished,
        job: Arc::new(job),
    }
}

fn lines(due: &[Due]) -> Vec<u8> {
    let mut lines = Vec::new();
    for due in due {
        due.write_to(&mut lines).expect("written");
    }
    lines
}

fn folder() -> (TempDir, Bundles) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = folder.path().display().to_string();
    let bundles = Bundles::open(&url, &BTreeMap::new()).expect("opened");
    (folder, bundles)
}

fn bucket() -> Bundles {
    Bundles::over(Objects {
        store: Arc::new(InMemory::new()),
        prefix: "some/prefix".into(),
        signer: None,
        folder: None,
        name: "memory".to_owned(),
    })
}

/// The only segment of a folder.
fn segment(folder: &TempDir) -> PathBuf {
    let day = fs::read_dir(folder.path().join("archive")).expect("an archive");
    let day = day
        .map(|day| day.expect("a day").path())
        .next()
        .expect("a day");
    let mut segments = fs::read_dir(day).expect("a day");
    let segment = segments
        .next()
        .expect("a segment")
        .expect("a segment")
        .path();
    assert!(segments.next().is_none(), "there is only one");
    segment
}

async fn all(bundles: &Bundles) -> (Vec<(u64, Kind)>, Vec<Damage>) {
    let mut records = Vec::new();
    let damages = read(bundles, |entry| records.push((entry.job.id.0, entry.kind)));
    let damages = damages.await.expect("read");
    (records, damages)
}

#[test]
fn a_line_is_as_it_was_and_any_changed_byte_is_seen() {
    let due = accepted(3, at(5));
    let line = lines(std::slice::from_ref(&due));
    let golden = concat!(
        r#"{"sum":"SUM","record":{"version":1,"kind":"accepted","at_ms":1790000000005,"job":"#,
        r#"{"id":3,"key":"07070707070707070707070707070707","user":"anna","#,
        r#""config":"{\"name\":\"mnist\",\"executor_name\":\"anna\"}","#,
        r#""submitted_at_ms":1790000000005,"last_attempt":0,"priority":0,"retries_used":0,"faults":0,"#,
        r#""state":{"queued":{"since_ms":1790000000005}},"timeline":[]}}}"#,
        "\n"
    );
    let text = String::from_utf8(line.clone()).expect("text");
    let sum: String = text.chars().skip(8).take(16).collect();
    assert_eq!(text, golden.replace("SUM", &sum));
    let line = line.strip_suffix(b"\n").expect("an end");
    let entry = record::entry(line, &mut Specs::default()).expect("read");
    assert_eq!(
        (entry.kind, entry.at, &entry.job),
        (Kind::Accepted, at(5), due.job.as_ref())
    );
    assert_eq!(record::key(line).expect("read"), due.key());
    for byte in 0..line.len() {
        let mut changed = line.to_vec();
        changed[byte] ^= 1;
        record::key(&changed).expect_err("seen");
        record::entry(&changed, &mut Specs::default()).expect_err("seen");
    }
}

#[tokio::test]
async fn batches_of_one_leader_go_to_one_file_and_to_objects_of_a_bucket() {
    let (folder, local) = folder();
    let bucket = bucket();
    for (bundles, segments) in [(&local, 1), (&bucket, 2)] {
        let mut appender = Appender::new(bundles.clone(), EPOCH);
        for batch in [
            vec![accepted(1, at(0)), accepted(2, at(0))],
            vec![finished(1, at(9))],
        ] {
            let first = batch[0].key().at;
            appender
                .append(first, lines(&batch))
                .await
                .expect("appended");
        }
        let days = bundles.list_segment_days().await.expect("asked");
        assert_eq!(days, ["2026-09-21"]);
        let names = bundles.list_segments(&days[0]).await.expect("asked");
        assert_eq!(names.len(), segments, "{names:?}");
        assert_eq!(names[0], "2026-09-21/141320.000-0000000007-000001.jsonl");
        let expected = [
            (1, Kind::Accepted),
            (2, Kind::Accepted),
            (1, Kind::Finished),
        ];
        assert_eq!(all(bundles).await, (expected.to_vec(), Vec::new()));
        let mark = mark(bundles).await.expect("read");
        assert_eq!(mark.at, at(9));
        assert_eq!(mark.last, [finished(1, at(9)).key()].into());
    }
    // The next leader of the same instant writes to a file of its own.
    let mut next = Appender::new(local.clone(), Epoch(8));
    next.append(at(0), lines(&[accepted(3, at(0))]))
        .await
        .expect("appended");
    assert_eq!(all(&local).await.0.len(), 4);
    drop(folder);
}

#[tokio::test]
async fn a_torn_end_is_skipped_and_damage_is_told() {
    let (folder, bundles) = folder();
    let due: Vec<Due> = (1..=3).map(|id| accepted(id, at(id))).collect();
    let mut appender = Appender::new(bundles.clone(), EPOCH);
    appender.append(at(1), lines(&due)).await.expect("appended");
    let segment = segment(&folder);
    let whole = fs::read(&segment).expect("read");
    for len in (0..=whole.len()).rev().step_by(13) {
        fs::write(&segment, &whole[..len]).expect("cut");
        let count = whole[..len].iter().filter(|byte| **byte == b'\n').count();
        let (records, damages) = all(&bundles).await;
        assert_eq!((records.len(), damages.len()), (count, 0), "{len}");
        let mark = mark(&bundles).await.expect("read");
        let expected = due[..count].last().map(|due| due.key().at);
        assert_eq!(mark.at, expected.unwrap_or_default());
    }
    let mut damaged = whole.clone();
    let second = whole
        .iter()
        .position(|byte| *byte == b'\n')
        .expect("an end")
        + 40;
    damaged[second] ^= 1;
    fs::write(&segment, &damaged).expect("damaged");
    let (records, damages) = all(&bundles).await;
    assert_eq!(records, [(1, Kind::Accepted), (3, Kind::Accepted)]);
    assert_eq!(damages.len(), 1);
    assert_eq!(damages[0].line, 2);
    assert!(damages[0].reason.contains("checksum"), "{damages:?}");
}

#[tokio::test]
async fn a_failed_append_leaves_nothing_and_is_repeated_into_another_segment() {
    let (folder, bundles) = folder();
    let mut appender = Appender::new(bundles.clone(), EPOCH);
    let blocked = folder.path().join("archive");
    fs::write(&blocked, "in the way").expect("written");
    let batch = lines(&[accepted(1, at(1))]);
    appender
        .append(at(1), batch.clone())
        .await
        .expect_err("no folder");
    fs::remove_file(&blocked).expect("removed");
    appender.append(at(1), batch).await.expect("appended");
    appender
        .append(at(2), lines(&[accepted(2, at(2))]))
        .await
        .expect("appended");
    let name = segment(&folder);
    assert!(
        name.ends_with("141320.001-0000000007-000002.jsonl"),
        "{name:?}"
    );
    assert_eq!(
        all(&bundles).await.0,
        [(1, Kind::Accepted), (2, Kind::Accepted)]
    );
}

#[test]
fn a_new_leader_archives_what_lacks_and_no_more() {
    let jobs = || -> Vec<Arc<Job>> {
        let due = [
            accepted(1, at(1)),
            finished(2, at(3)),
            accepted(3, at(3)),
            finished(4, at(2)),
            accepted(5, at(9)),
        ];
        due.into_iter().map(|due| due.job).collect()
    };
    let told = |mark: &Mark, now| -> Vec<u64> {
        let due = missing(jobs(), mark, now);
        due.iter().map(|due| due.job.id.0).collect()
    };
    assert_eq!(told(&Mark::default(), at(9)), [1, 4, 3, 2, 5]);
    let mark = Mark {
        at: at(3),
        last: [accepted(3, at(3)).key()].into(),
    };
    assert_eq!(told(&mark, at(9)), [2, 5]);
    // The archive of another life of the store.
    assert_eq!(told(&mark, at(2)), [1, 4, 2, 5]);
}

fn wanted(since: Option<Timestamp>, until: Option<Timestamp>) -> Arc<Wanted> {
    Arc::new(Wanted {
        user: Box::new(|user| user.as_str() == "anna"),
        job: Box::new(|job| job.id.0 % 2 == 1),
        since,
        until,
    })
}

#[tokio::test]
async fn the_history_is_read_newest_first_page_after_page() {
    let (_folder, local) = folder();
    for bundles in [local, bucket()] {
        for epoch in 1..=2 {
            let mut appender = Appender::new(bundles.clone(), Epoch(epoch));
            for batch in 0..3 {
                let first = epoch * 100 + batch * 10;
                let begin = at(first * 1000);
                let mut lines = Vec::new();
                accepted(first, begin)
                    .write_to(&mut lines)
                    .expect("written");
                for id in first..first + 10 {
                    let line = finished(id, at(id * 1000));
                    line.write_to(&mut lines).expect("written");
                    // A new leader repeats some.
                    line.write_to(&mut lines).expect("written");
                }
                appender.append(begin, lines).await.expect("appended");
            }
        }
        let mut ids = Vec::new();
        let mut from = None;
        loop {
            let (jobs, next) = history(&bundles, wanted(None, None), from, 4)
                .await
                .expect("read");
            assert!(jobs.len() <= 4);
            ids.extend(jobs.iter().map(|job| job.id.0));
            let Some(next) = next else { break };
            from = Some(next.to_string().parse().expect("a place"));
        }
        ids.dedup();
        let mut expected: Vec<u64> = (100..130)
            .chain(200..230)
            .filter(|id| id % 2 == 1)
            .collect();
        expected.reverse();
        assert_eq!(ids, expected);
        let between = wanted(Some(at(125_000)), Some(at(203_000)));
        let (jobs, next) = history(&bundles, between, None, 100).await.expect("read");
        let ids: Vec<u64> = jobs.iter().map(|job| job.id.0).collect();
        assert_eq!((ids, next), (vec![201, 129, 127, 125], None));
    }
}

#[tokio::test]
async fn clearing_takes_both_records_of_what_ended_and_keeps_the_last_id() {
    let (_folder, local) = folder();
    for bundles in [local, bucket()] {
        let mut appender = Appender::new(bundles.clone(), EPOCH);
        let due: Vec<Due> = (1..=4).map(|id| accepted(id, at(id))).collect();
        appender.append(at(1), lines(&due)).await.expect("appended");
        let due: Vec<Due> = [1, 2, 4].map(|id| finished(id, at(1000 * id))).into();
        appender
            .append(at(1000), lines(&due))
            .await
            .expect("appended");
        appender.close();
        let of = |user: Option<&str>, before| Clear {
            user: user.map(|user| user.parse().expect("a name")),
            before,
        };
        let cleared = clear::clear(&bundles, &of(Some("bert"), at(9000))).await;
        assert_eq!(cleared.expect("cleared"), 0);
        let cleared = clear::clear(&bundles, &of(None, at(1500))).await;
        assert_eq!(cleared.expect("cleared"), 2);
        let cleared = clear::clear(&bundles, &of(Some("anna"), at(9000))).await;
        assert_eq!(cleared.expect("cleared"), 3);
        let (rest, damages) = all(&bundles).await;
        assert_eq!(rest, [(3, Kind::Accepted), (4, Kind::Accepted)]);
        assert_eq!(damages, []);
        assert_eq!(last_id(&bundles).await.expect("read"), Some(JobId(4)));
        appender
            .append(at(5000), lines(&[accepted(5, at(5000))]))
            .await
            .expect("appended");
        assert_eq!(all(&bundles).await.0.len(), 3);
    }
}

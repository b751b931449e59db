//! Tests of what becomes of a report.

use std::collections::BTreeMap;

use dopq_common::id::{AttemptId, JobId, JobKey};
use dopq_common::job::{Cause, Outcome};
use dopq_common::resources::{ByteSize, Capacity, GpuDevice, MilliCpu};
use dopq_common::wire::{AttemptPhase, ClusterKey, KnownAttempt, WIRE_VERSION};

use serde_json::value::to_raw_value;

use super::*;

fn key() -> ClusterKey {
    ClusterKey::from_secret("a secret for tests")
}

fn worker(text: &str) -> WorkerId {
    text.parse().expect("a name")
}

/// `named` says it, sealed by `sealed`.
fn body(sealed: &str, named: &str, report: Report) -> Vec<u8> {
    message(sealed, named, WIRE_VERSION, vec![raw(1, report)])
}

fn raw(seq: u64, report: Report) -> Box<RawValue> {
    let report = NumberedReport {
        seq,
        at_ms: 0,
        report,
    };
    to_raw_value(&report).expect("JSON")
}

fn message(sealed: &str, named: &str, version: u32, reports: Vec<Box<RawValue>>) -> Vec<u8> {
    let sealed = worker(sealed);
    let envelope = ReportEnvelope {
        version,
        worker: worker(named),
        reports,
    };
    key()
        .worker(&sealed)
        .seal(&sealed, &envelope)
        .expect("sealed")
}

/// The one report in `body`, or why there is none.
fn read_single(body: &[u8]) -> Result<Read, Unusable> {
    let mut reports = read(&key(), body)?;
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

fn hello(gpu: &str, image: &str, attempt: &str) -> Report {
    Report::Hello(Box::new(Hello {
        session: "s".to_owned(),
        agent: "1".to_owned(),
        engine: "e".to_owned(),
        gpu_mode: "none".to_owned(),
        capacity: Capacity {
            cpu: MilliCpu(1),
            memory: ByteSize(2),
            gpus: vec![GpuDevice {
                id: gpu.parse().expect("a name"),
                model: "m".to_owned(),
                memory: ByteSize(3),
                healthy: true,
            }],
            slots_per_gpu: 1,
            labels: BTreeMap::new(),
            volumes: BTreeMap::new(),
        },
        images: BTreeSet::from([image.parse().expect("a digest")]),
        closed: None,
        taken: std::collections::BTreeMap::new(),
        egress: String::new(),
        build_egress: String::new(),
        instance: String::new(),
        host: String::new(),
        attempts: vec![KnownAttempt {
            attempt: attempt.parse().expect("an attempt"),
            phase: Some(AttemptPhase::Running),
        }],
    }))
}

/// The id of an attempt that a test names without its job's key.
fn id(attempt: &str) -> String {
    format!("{attempt}-{}", "07".repeat(16))
}

#[test]
fn every_kind_becomes_its_event() {
    let attempt = || id("7.2").parse().expect("an attempt");
    let outcome = Outcome::new(Cause::Succeeded, "");
    let digest = "ab".repeat(32);
    for (report, expected) in [
        (hello("GPU-1", &digest, &id("7.2")), "joined"),
        (Report::Goodbye, "left"),
        (Report::Accepted { attempt: attempt() }, "accepted"),
        (
            Report::Measured {
                attempt: attempt(),
                measured: Box::new(dopq_common::telemetry::Measured {
                    span_ms: 2000,
                    ..Default::default()
                }),
            },
            "measured",
        ),
        (
            Report::Refused {
                attempt: attempt(),
                reason: "full".to_owned(),
            },
            "refused",
        ),
        (
            Report::Entered {
                attempt: attempt(),
                phase: AttemptPhase::Running,
                note: String::new(),
            },
            "entered",
        ),
        (
            Report::Finished {
                attempt: attempt(),
                outcome,
                ran_ms: 1500,
                log_bytes: 9,
                results: None,
            },
            "finished",
        ),
    ] {
        let read = read_single(&body("w", "w", report)).expect(expected);
        assert_eq!(read.worker, worker("w"));
        assert_eq!(read.hello.is_some(), expected == "joined");
        let id = AttemptId {
            job: JobId(7),
            number: 2,
            key: JobKey([7; 16]),
        };
        let became = match read.event {
            Event::WorkerJoined {
                session,
                images,
                known,
                capacity,
                ..
            } => {
                assert_eq!((&*session, images.len()), ("s", 1));
                assert_eq!(known.first().map(|known| known.attempt), Some(id));
                assert_eq!(capacity.gpus.len(), 1);
                "joined"
            }
            Event::WorkerLeft { .. } => "left",
            Event::Reported {
                attempt, progress, ..
            } => {
                assert_eq!(attempt, id);
                match progress {
                    Progress::Accepted => "accepted",
                    Progress::Refused { reason } => {
                        assert_eq!(reason, "full");
                        "refused"
                    }
                    Progress::Measured(measured) => {
                        assert_eq!(measured.span_ms, 2000);
                        "measured"
                    }
                    Progress::Entered { phase, .. } => {
                        assert_eq!(phase, AttemptPhase::Running);
                        "entered"
                    }
                    Progress::Finished {
                        outcome,
                        ran,
                        log_bytes,
                        results,
                    } => {
                        assert_eq!(results, None);
                        assert_eq!(outcome.cause, Cause::Succeeded);
                        assert_eq!((ran.as_millis(), log_bytes), (1500, 9));
                        "finished"
                    }
                }
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(became, expected);
    }
}

#[test]
fn what_cannot_be_believed_or_read_is_told_apart() {
    let digest = "ab".repeat(32);
    let other = ClusterKey::from_secret("another secret");
    let w = worker("w");
    let foreign = other.worker(&w).seal(&w, &1).expect("sealed");
    // What the types of a report do not let a worker say.
    let known = id("1.1");
    let broken = |from: &str, to: &str| {
        let sound = raw(1, hello("g", &digest, &known));
        let broken = sound.get().replace(from, to);
        assert_ne!(broken, sound.get());
        let broken = RawValue::from_string(broken).expect("JSON");
        message("w", "w", WIRE_VERSION, vec![broken])
    };
    for (what, body, kind) in [
        ("another cluster's seal", foreign, "forged_report"),
        (
            "in another's name",
            body("w", "v", Report::Goodbye),
            "forged_report",
        ),
        ("no seal", b"{}".to_vec(), "malformed_report"),
        ("no JSON", b"\xff".to_vec(), "malformed_report"),
        (
            "not a report",
            key().worker(&w).seal(&w, &1).expect("sealed"),
            "malformed_report",
        ),
        (
            "a kind of the future",
            body("w", "w", Report::Unknown),
            "unknown_report",
        ),
        ("no attempt", broken(&known, "7"), "malformed_report"),
        (
            "an attempt without its job's key",
            broken(&known, "1.1"),
            "malformed_report",
        ),
        ("a path", broken("1.1-", "../1.1-"), "malformed_report"),
        (
            "a GPU's name",
            broken(r#""id":"g""#, r#""id":"a b""#),
            "malformed_report",
        ),
        ("a digest", broken(&digest, "ab"), "malformed_report"),
        (
            "a version too far away",
            message("w", "w", WIRE_VERSION + 2, Vec::new()),
            "report_version",
        ),
    ] {
        let unusable = read_single(&body).expect_err(what);
        assert_eq!(unusable.kind(), kind, "{what}: {unusable}");
    }
}

#[test]
fn one_bad_report_hides_no_other() {
    let accepted = |text: &str| Report::Accepted {
        attempt: text.parse().expect("an attempt"),
    };
    let path = raw(2, accepted(&id("7.2"))).get().replace("7.2", "../7");
    let bad = RawValue::from_string(r#"{"seq":3,"report":{"kind":"accepted"}}"#.to_owned());
    let reports = vec![
        raw(1, accepted(&id("7.1"))),
        RawValue::from_string(path).expect("JSON"),
        bad.expect("JSON"),
        raw(4, Report::Unknown),
        raw(5, accepted(&id("8.1"))),
    ];
    let body = message("w", "w", WIRE_VERSION, reports);
    let read = read(&key(), &body).expect("a message");
    let read = read.iter().map(|report| match report {
        Ok(read) => read.seq.to_string(),
        Err(unusable) => unusable.kind().to_owned(),
    });
    assert_eq!(
        read.collect::<Vec<_>>(),
        [
            "1",
            "malformed_report",
            "malformed_report",
            "unknown_report",
            "5"
        ]
    );
}

#[test]
fn a_hello_that_comes_after_later_reports_is_late() {
    let accepted = || Report::Accepted {
        attempt: id("7.1").parse().expect("an attempt"),
    };
    let hello = || hello("GPU-1", &"ab".repeat(32), &id("7.1"));
    let mut latest = Latest::default();
    let mut late = |seq, report| {
        let body = message("w", "w", WIRE_VERSION, vec![raw(seq, report)]);
        latest.outdates(&read_single(&body).expect("read"))
    };
    assert!(!late(5, hello()));
    assert!(!late(7, accepted()));
    // Reports about attempts are never late, but they count.
    assert!(!late(6, accepted()));
    assert!(late(5, hello()));
    assert!(late(6, Report::Goodbye));
    assert!(!late(8, hello()));
    // A message that comes twice is not late.
    assert!(!late(8, hello()));
}

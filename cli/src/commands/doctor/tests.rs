//! Each fact that is not well is told with what to do.

use dopq_common::api::DeadLetters;
use serde_json::json;

use super::*;

const NOW: &str = "2026-11-24T07:00:00Z";

fn now() -> DateTime<Utc> {
    NOW.parse().unwrap()
}

fn node(name: &str) -> Node {
    serde_json::from_value(json!({
        "name": name, "state": "up", "cordon": null, "agent": "0.1.0", "engine": "20.10.24", "gpu_mode": "cdi",
        "last_seen_at": NOW, "cpu_cores": 8.0, "cpu_cores_held": 0.0, "memory_bytes": 1, "memory_held_bytes": 0,
        "jobs": [], "labels": {},
        "gpus": [{"id": "GPU-1", "model": "H200", "healthy": true, "memory_bytes": 1, "held_ratio": 0.0,
                  "utilization_ratio": null, "memory_used_bytes": null}]
    }))
    .unwrap()
}

fn well() -> Facts {
    let part = |name: &str| json!({"name": name, "state": "up", "since": NOW, "detail": ""});
    let status = json!({
        "version": 1, "cluster": "lab", "build": "0.1.7", "role": "leader", "epoch": 1, "uptime_seconds": 1,
        "components": [part("store"), part("broker")], "jobs": {}, "workers": {}
    });
    Facts {
        version: "0.1.0".to_owned(),
        settings: Vec::new(),
        master: "https://lab (from DOPQ_URL)".to_owned(),
        status: Some(Ok(serde_json::from_value(status).unwrap())),
        clocks: Some((now(), now() - TimeDelta::seconds(3))),
        certificate: Some(now() + TimeDelta::days(60)),
        user: Some(Ok("anna, user".to_owned())),
        nodes: Some(vec![node("gpu-1")]),
        doctor: Some(Doctor {
            version: 1,
            store_faults: Vec::new(),
            dead_letters: Some(Vec::new()),
            nodes: vec![NodeHealth {
                name: "gpu-1".to_owned(),
                clock_ahead_seconds: Some(-0.4),
                spool_free_bytes: Some(100 << 30),
                engine_free_bytes: Some(100 << 30),
            }],
        }),
    }
}

fn status(facts: &mut Facts) -> &mut Status {
    facts.status.as_mut().unwrap().as_mut().unwrap()
}

#[test]
fn a_healthy_cluster_has_nothing_to_do() {
    let findings = judge(&well(), now());
    assert!(
        findings.iter().all(|found| found.level == Level::Ok),
        "{findings:#?}"
    );
    assert!(findings.iter().all(|found| found.advice.is_empty()));
    let checks: Vec<_> = findings.iter().map(|found| found.check.as_str()).collect();
    assert_eq!(
        checks,
        [
            "master",
            "version",
            "clock",
            "certificate",
            "token",
            "store",
            "broker",
            "dead letters",
            "node gpu-1"
        ]
    );
}

#[test]
fn each_fault_is_told_once_with_its_cure() {
    type Change = fn(&mut Facts);
    fn first(facts: &mut Facts) -> &mut Node {
        &mut facts.nodes.as_mut().unwrap()[0]
    }
    fn health(facts: &mut Facts) -> &mut NodeHealth {
        &mut facts.doctor.as_mut().unwrap().nodes[0]
    }
    let cases: [(Change, Level, &str, &str); 19] = [
        (
            |f| f.settings.push("others can read it".to_owned()),
            Level::Warn,
            "settings",
            "others",
        ),
        (
            |f| f.version = "0.2.0".to_owned(),
            Level::Warn,
            "version",
            "0.2.0",
        ),
        (
            |f| f.clocks = Some((now(), now() + TimeDelta::seconds(90))),
            Level::Warn,
            "clock",
            "90 s behind the master's",
        ),
        (
            |f| f.certificate = Some(now() + TimeDelta::days(10)),
            Level::Warn,
            "certificate",
            "2026-12-04",
        ),
        (
            |f| f.certificate = Some(now() + TimeDelta::days(1)),
            Level::Fail,
            "certificate",
            "2026-11-25",
        ),
        (
            |f| {
                f.user = Some(Err((
                    "the token is unknown".to_owned(),
                    "run: dopq login".to_owned(),
                )))
            },
            Level::Fail,
            "token",
            "unknown",
        ),
        (
            |f| status(f).components[1].state = "down".to_owned(),
            Level::Fail,
            "broker",
            "down",
        ),
        (
            |f| status(f).components[0].state = "degraded".to_owned(),
            Level::Warn,
            "store",
            "degraded",
        ),
        (
            |f| {
                f.doctor
                    .as_mut()
                    .unwrap()
                    .store_faults
                    .push("no append-only file".to_owned())
            },
            Level::Warn,
            "durability",
            "append-only",
        ),
        (
            |f| {
                f.doctor.as_mut().unwrap().dead_letters = Some(vec![DeadLetters {
                    queue: "dopq.lab.reports".to_owned(),
                    reason: "delivery_limit".to_owned(),
                    count: 3,
                }]);
            },
            Level::Warn,
            "dead letters",
            "3 messages of dopq.lab.reports: delivery_limit",
        ),
        (
            |f| f.nodes = Some(Vec::new()),
            Level::Fail,
            "nodes",
            "no worker",
        ),
        (
            |f| first(f).state = "suspect".to_owned(),
            Level::Warn,
            "node gpu-1",
            "suspect",
        ),
        (
            |f| first(f).state = "lost".to_owned(),
            Level::Fail,
            "node gpu-1",
            "lost",
        ),
        (
            |f| first(f).cordon = Some("repair".to_owned()),
            Level::Warn,
            "node gpu-1",
            "repair",
        ),
        (
            |f| first(f).gpus[0].healthy = false,
            Level::Fail,
            "node gpu-1",
            "1 GPU in quarantine",
        ),
        (
            |f| first(f).gpus.clear(),
            Level::Warn,
            "node gpu-1",
            "no GPU",
        ),
        (
            |f| first(f).agent = "1.0.0".to_owned(),
            Level::Warn,
            "node gpu-1",
            "1.0.0",
        ),
        (
            |f| health(f).clock_ahead_seconds = Some(61.2),
            Level::Warn,
            "node gpu-1",
            "61 s ahead of",
        ),
        (
            |f| health(f).engine_free_bytes = Some(1 << 30),
            Level::Fail,
            "node gpu-1",
            "1.0 GiB free",
        ),
    ];
    for (change, level, check, part) in cases {
        let mut facts = well();
        change(&mut facts);
        let findings = judge(&facts, now());
        let bad: Vec<_> = findings
            .iter()
            .filter(|found| found.level != Level::Ok)
            .collect();
        let [found] = bad.as_slice() else {
            panic!("{check} {part}: {bad:#?}");
        };
        assert_eq!(
            (found.level, found.check.as_str()),
            (level, check),
            "{found:?}"
        );
        assert!(found.detail.contains(part), "{found:?}");
        assert!(!found.advice.is_empty() || check == "settings", "{found:?}");
    }
}

#[test]
fn an_absent_master_ends_the_checks() {
    let facts = Facts {
        status: Some(Err(("refused".to_owned(), "start it".to_owned()))),
        ..Facts::default()
    };
    let findings = judge(&facts, now());
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].level, Level::Fail);
}

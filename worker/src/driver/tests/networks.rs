//! Jobs in namespaces that were ready before them.

use std::time::Duration;

use dopq_common::wire::{AttemptPhase, Report};

use super::rig::Rig;
use crate::Error;
use crate::docker::Container;
use crate::docker::fake::{Fault, Program};
use crate::egress::Egress;

const HOLDER: &str = "dopq-holder-";

async fn containers(rig: &Rig) -> Vec<Container> {
    rig.fake.list(&[]).await.expect("listed")
}

/// Waits until so many containers hold namespaces and run; gives their ids.
async fn holders(rig: &Rig, count: usize) -> Vec<String> {
    let waiting = async {
        loop {
            let all = containers(rig).await.into_iter();
            let held = all.filter(|found| found.name.starts_with(HOLDER) && found.pid.is_some());
            let ids: Vec<_> = held.map(|found| found.id).collect();
            if ids.len() == count {
                return ids;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let held = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    held.expect("made in time")
}

async fn joined(rig: &Rig, name: &str) -> Option<String> {
    let found = rig.fake.inspect(name).await.expect("asked");
    found.expect("there").joins
}

async fn started() -> Rig {
    let mut rig = Rig::new().await;
    rig.network.pool = 2;
    rig.start().await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_use_a_ready_namespace_one_after_the_other() {
    let mut rig = started().await;
    let first = holders(&rig, 1).await;
    for attempt in ["1.1", "2.1"] {
        rig.run(attempt, "").await;
        let end = rig.finished(attempt).await;
        assert_eq!(end.outcome.cause.as_str(), "succeeded", "{end:?}");
        let name = format!("dopq-{}-070707070707", attempt.replace('.', "-"));
        assert_eq!(joined(&rig, &name).await.as_ref(), first.first(), "{name}");
    }
    rig.run("3.1", r#","run_params":{"hostname":"box"}"#).await;
    rig.finished("3.1").await;
    assert_eq!(joined(&rig, "dopq-3-1-070707070707").await, None);
    rig.end().await;
    holders(&rig, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_namespace_fails_no_start() {
    let mut rig = started().await;
    for (attempt, call, fault) in [
        ("1.1", "create", Fault::Refused),
        ("2.1", "start", Fault::NetworkGone),
    ] {
        holders(&rig, 1).await;
        rig.fake.fail_next(call, fault);
        rig.run(attempt, "").await;
        let end = rig.finished(attempt).await;
        assert_eq!(end.outcome.cause.as_str(), "succeeded", "{call}: {end:?}");
        let name = format!("dopq-{}-070707070707", attempt.replace('.', "-"));
        assert_eq!(joined(&rig, &name).await, None, "{call}");
        assert_eq!(rig.fake.starts(&name), 1);
        // Nobody joins for a while after that.
        rig.end().await;
        rig.start().await;
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_leaves_no_namespace_but_that_of_its_job() {
    let mut rig = started().await;
    let name = "dopq-1-1-070707070707";
    rig.fake.script(name, Program::new().runs_on());
    holders(&rig, 1).await;
    rig.run("1.1", "").await;
    rig.until("running").await;
    let before = holders(&rig, 2).await;
    rig.kill().await;
    rig.network.pool = 0;
    rig.start().await;
    let left = holders(&rig, 1).await;
    assert!(before.contains(&left[0]));
    assert_eq!(joined(&rig, name).await.as_ref(), left.first());
    rig.fake.end(name, 0);
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "succeeded"
    );
    holders(&rig, 0).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_limit_its_jobs_as_it_should_does_not_start() {
    let mut rig = Rig::new().await;
    rig.network.egress = Egress::Internet;
    rig.start().await;
    let error = rig.failed().await;
    assert!(matches!(error, Error::Egress(_)), "{error:?}");
    assert!(containers(&rig).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_ports_tells_where_they_are_reached() {
    let mut rig = Rig::new().await;
    rig.network.pool = 2;
    let ports = r#","run_params":{"ports":{"8888/tcp":8888,"53/udp":null}}"#;
    for (attempt, address, told) in [
        ("1.1", None, "w1 publishes no ports"),
        (
            "2.1",
            Some([10, 1, 2, 3].into()),
            "ports on w1: 53/udp -> 10.1.2.3:49153, 8888/tcp -> 10.1.2.3:49154",
        ),
    ] {
        rig.network.publish = address;
        rig.start().await;
        holders(&rig, 1).await;
        rig.run(attempt, ports).await;
        let note = loop {
            if let Report::Entered { phase, note, .. } = rig.report().await
                && phase == AttemptPhase::Running
            {
                break note;
            }
        };
        assert_eq!(note, told);
        rig.finished(attempt).await;
        let name = format!("dopq-{}-070707070707", attempt.replace('.', "-"));
        assert_eq!(joined(&rig, &name).await.is_none(), address.is_some());
        rig.end().await;
    }
}

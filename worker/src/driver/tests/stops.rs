//! Stops and other orders, in every phase.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dopq_common::id::Digest;
use dopq_common::id::UserName;
use dopq_common::job::{Cause, Outcome};
use dopq_common::wire::{AttemptOrder, ClusterKey, Live, Order, Report, ToWorker, topic};

use super::plane::id;
use super::rig::{Rig, message};
use crate::docker::fake::{Build, Program};

fn digest() -> Digest {
    Digest(*blake3::hash(super::rig::BUNDLE).as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_the_fetch_ends_it_without_a_container() {
    let mut rig = Rig::started().await;
    rig.plane.fail(u32::MAX);
    rig.run("1.1", "").await;
    rig.until("building").await;
    rig.stop("1.1", 10).await;
    rig.until("uploading").await;
    rig.plane.fail(0);
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "cancelled"
    );
    assert_eq!(rig.fake.starts("dopq-1-1-070707070707"), 0);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_the_build_ends_it_without_a_container() {
    let mut rig = Rig::started().await;
    rig.fake
        .script_build(digest(), Build::new().takes(Duration::from_secs(600)));
    rig.run("1.1", "").await;
    rig.until("building").await;
    while !rig.fake.calls().iter().any(|c| c.starts_with("build")) {
        tokio::task::yield_now().await;
    }
    rig.stop("1.1", 10).await;
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "cancelled"
    );
    assert!(!rig.fake.calls().iter().any(|c| c.starts_with("create")));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_asks_and_then_kills() {
    let mut rig = Rig::started().await;
    let table = [
        (
            "1.1",
            "dopq-1-1-070707070707",
            Program::new().runs_on(),
            Some(143),
        ),
        (
            "2.1",
            "dopq-2-1-070707070707",
            Program::new().runs_on().ignores_stop(),
            Some(137),
        ),
        (
            "3.1",
            "dopq-3-1-070707070707",
            Program::new().runs_on().exits_when_stopped(0),
            Some(0),
        ),
    ];
    for (attempt, name, program, code) in table {
        rig.fake.script(name, program);
        rig.run(attempt, "").await;
        rig.until("running").await;
        rig.stop(attempt, 50).await;
        let end = rig.finished(attempt).await;
        assert_eq!(end.outcome.cause.as_str(), "cancelled");
        assert_eq!(end.outcome.by.as_ref().map(UserName::as_str), Some("anna"));
        assert_eq!(end.outcome.exit_code, code, "{attempt}");
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_job_is_thawed_and_stopped() {
    let mut rig = Rig::started().await;
    rig.fake
        .script("dopq-1-1-070707070707", Program::new().runs_on());
    rig.run("1.1", "").await;
    rig.until("running").await;
    rig.order("1.1", Order::Pause).await;
    rig.until("paused").await;
    rig.order("1.1", Order::Unpause).await;
    rig.until("running").await;
    rig.order("1.1", Order::Pause).await;
    rig.until("paused").await;
    rig.stop("1.1", 50).await;
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "cancelled"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_for_an_unknown_attempt_keeps_it_from_ever_running() {
    let mut rig = Rig::started().await;
    rig.stop("1.1", 10).await;
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "cancelled"
    );
    rig.run("1.1", "").await;
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "cancelled"
    );
    assert!(!rig.fake.calls().iter().any(|c| c.starts_with("create")));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_carried_on_by_the_next_agent() {
    let mut rig = Rig::started().await;
    rig.fake.script(
        "dopq-1-1-070707070707",
        Program::new().runs_on().ignores_stop(),
    );
    rig.run("1.1", "").await;
    rig.until("running").await;
    rig.stop("1.1", 200).await;
    rig.until("stopping").await;
    rig.kill().await;
    rig.start().await;
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "cancelled"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_nobody_understands_are_dropped() {
    let mut rig = Rig::started().await;
    let broker = rig.broker.clone();
    for body in [
        &b"nonsense"[..],
        br#"{"version":9,"epoch":1,"attempt":"1.1","order":{"kind":"dance"}}"#,
    ] {
        let body = bytes::Bytes::copy_from_slice(body);
        broker.publish_order(&rig.worker, body).await.expect("sent");
    }
    let mut unreadable = rig.job("");
    unreadable.config = "{}".to_owned();
    rig.order("1.1", Order::Run(Box::new(unreadable))).await;
    loop {
        if let Report::Refused { attempt, .. } = rig.report().await {
            assert_eq!(attempt.to_string(), id("1.1"));
            break;
        }
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_is_told_live() {
    let mut rig = Rig::started().await;
    rig.fake.script(
        "dopq-1-1-070707070707",
        Program::new()
            .prints("first\n")
            .sleeps(Duration::from_millis(300))
            .prints("second\n")
            .runs_on(),
    );
    let attempt = id("1.1").parse().expect("attempt");
    let topics = [topic::log(attempt)];
    let mut tail = rig
        .broker
        .subscribe_live(&[&topics[0]])
        .await
        .expect("tail");
    rig.run("1.1", "").await;
    rig.until("running").await;
    let follow = Live::Follow {
        attempt,
        for_ms: 60_000,
    };
    let follow = bytes::Bytes::from(serde_json::to_vec(&follow).expect("written"));
    rig.broker
        .publish_live(&topic::requests(&rig.worker), follow)
        .await
        .expect("sent");
    let key = dopq_common::wire::ClusterKey::from_secret("s");
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("second\n") {
        let message = tail.next().await.expect("open");
        let (_, message) =
            dopq_common::wire::Sealed::open::<Live>(&key, &message.body).expect("sealed");
        let Live::LogTail { data, .. } = message else {
            panic!("not a tail: {message:?}");
        };
        heard.extend(BASE64.decode(data).expect("base64"));
    }
    rig.fake.end("dopq-1-1-070707070707", 0);
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "succeeded"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_followed_before_it_begins_is_told_at_once() {
    let mut rig = Rig::started().await;
    // A worker that gives signs of life hears requests too.
    let signs = topic::heartbeat(&rig.worker);
    let mut signs = rig.broker.subscribe_live(&[&signs]).await.expect("signs");
    signs.next().await.expect("a sign of life");
    rig.fake.script(
        "dopq-1-1-070707070707",
        Program::new().prints("first\n").runs_on(),
    );
    let attempt = id("1.1").parse().expect("attempt");
    let topics = [topic::log(attempt)];
    let tail = rig.broker.subscribe_live(&[&topics[0]]).await;
    let mut tail = tail.expect("tail");
    let follow = Live::Follow {
        attempt,
        for_ms: 60_000,
    };
    let follow = serde_json::to_vec(&follow).expect("written").into();
    let requests = topic::requests(&rig.worker);
    rig.broker
        .publish_live(&requests, follow)
        .await
        .expect("sent");
    rig.run("1.1", "").await;
    let first = tokio::time::timeout(Duration::from_secs(8), tail.next()).await;
    assert!(first.is_ok_and(|piece| piece.is_some()));
    rig.fake.end("dopq-1-1-070707070707", 0);
    assert_eq!(rig.finished("1.1").await.outcome.cause, Cause::Succeeded);
    rig.end().await;
}

#[tokio::test]
async fn orders_that_no_master_gave_change_nothing() {
    let mut rig = Rig::started().await;
    rig.fake
        .script("dopq-1-1-070707070707", Program::new().runs_on());
    rig.run("1.1", "").await;
    rig.until("running").await;
    let stop = |epoch| {
        let order = AttemptOrder {
            attempt: id("1.1").parse().expect("attempt"),
            order: Order::Stop {
                outcome: Outcome::new(Cause::UserError, "forged"),
                insists: true,
                grace: Duration::ZERO,
            },
        };
        message(epoch, std::iter::once(order))
    };
    let worker = rig.worker.clone();
    let key = ClusterKey::from_secret("s").worker(&worker);
    let other = ClusterKey::from_secret("s").worker(&"w2".parse().expect("name"));
    rig.send(stop(1)).await;
    rig.send(other.seal_to(ToWorker::Orders, &worker, &stop(1)))
        .await;
    rig.send(key.seal_to(ToWorker::Standing, &worker, &stop(1)))
        .await;
    // No master is there to confirm this epoch; the real leader is still obeyed after it.
    rig.send(key.seal_to(ToWorker::Orders, &worker, &stop(u64::MAX)))
        .await;
    rig.stop("1.1", 1000).await;
    let cause = rig.finished("1.1").await.outcome.cause;
    assert_eq!(cause, Cause::Cancelled);
    rig.end().await;
}

//! Crashes, two leaders, lost links.

use dopq_common::broker::{Broker, inproc};
use dopq_common::id::Epoch;
use dopq_common::job::{Cause, Phase};
use dopq_common::wire::Order;

use super::cluster::{Cluster, id, outcome, submission};
use crate::archive::Kind;
use crate::driver::ActError;
use crate::leader::Standing;
use crate::store::{Batch, Error};
use crate::view::Role;

#[tokio::test]
async fn an_order_that_was_committed_but_not_sent_is_sent_by_the_next_leader() {
    let mut cluster = Cluster::new().await;
    let master = cluster.master("a").await;
    let mut worker = cluster.worker("w").await;
    worker.join(&master, 1).await;
    let job = master
        .handle
        .submit(submission(1, None))
        .await
        .expect("accepted")
        .job;
    // The broker forgets everything, the order with it, and the master dies before it can repeat it.
    worker.next_order().await;
    master.crash().await;
    cluster.broker = Broker::Inproc(inproc::Broker::default());
    let mut worker = cluster.worker("w").await;

    let next = cluster.master("a").await;
    next.reaches(job, Phase::Assigned).await;
    let order = worker.next_order().await;
    assert_eq!((&order.attempt, order.epoch), (&id("1.1"), 2));
    assert!(matches!(order.order, Order::Run(_)), "{order:?}");
    worker.run("1.1").await;
    worker.finish("1.1", &outcome(Cause::Succeeded)).await;
    next.reaches(job, Phase::Finished).await;
}

#[tokio::test]
async fn orders_for_a_worker_that_cannot_be_reached_are_repeated_until_it_can() {
    let mut cluster = Cluster::new().await;
    // So small a queue that a second order must wait for the first to be taken.
    cluster.broker = Broker::Inproc(inproc::Broker::new(inproc::Options {
        queue_max_messages: 1,
        publish_within: std::time::Duration::from_millis(20),
        ..inproc::Options::default()
    }));
    let master = cluster.master("a").await;
    let mut slow = cluster.worker("slow").await;
    slow.join(&master, 3).await;
    for _ in 0..3 {
        let submitted = master.handle.submit(submission(1, None)).await;
        submitted.expect("accepted");
    }
    let mut other = cluster.worker("w").await;
    other.join(&master, 1).await;
    let quick = master
        .handle
        .submit(submission(1, None))
        .await
        .expect("accepted")
        .job;
    assert_eq!(other.next_order().await.attempt, id(&format!("{quick}.1")));
    let mut attempts = Vec::new();
    for _ in 0..3 {
        attempts.push(slow.next_order().await.attempt);
    }
    attempts.sort();
    attempts.dedup();
    assert_eq!(attempts, ["1.1", "2.1", "3.1"].map(id));
}

#[tokio::test]
async fn an_empty_store_counts_on_from_the_archive() {
    let mut cluster = Cluster::new().await;
    let master = cluster.master("a").await;
    let mut last = None;
    for _ in 0..3 {
        let accepted = master.handle.submit(submission(1, None)).await;
        last = Some(accepted.expect("accepted").job);
    }
    let last = last.expect("three jobs");
    cluster.archived(last, Kind::Accepted).await;
    master.crash().await;
    cluster.lose_store().await;
    let master = cluster.master("a").await;
    let accepted = master.handle.submit(submission(1, None)).await;
    assert_eq!(accepted.expect("accepted").job.0, last.0 + 1);
}

#[tokio::test]
async fn what_was_committed_is_archived_after_crashes_and_once() {
    let cluster = Cluster::new().await;
    let mut accepted = Vec::new();
    for life in 0..4 {
        let master = cluster.master("a").await;
        for number in 0..20 {
            let key = format!("{life}-{number}");
            let submitted = master.handle.submit(submission(1, Some(&key))).await;
            accepted.push((submitted.expect("accepted").job, Kind::Accepted));
        }
        // Dies at whatever point the archive is.
        master.crash().await;
    }
    let master = cluster.master("a").await;
    for (job, kind) in &accepted {
        cluster.archived(*job, *kind).await;
    }
    let mut records = cluster.archive().await;
    master.stop().await;
    let master = cluster.master("a").await;
    let last = master.handle.submit(submission(1, None)).await;
    let last = (last.expect("accepted").job, Kind::Accepted);
    cluster.archived(last.0, last.1).await;
    records.push(last);
    assert_eq!(
        cluster.archive().await,
        records,
        "a restart wrote records again"
    );
}

#[tokio::test]
async fn one_of_two_masters_leads_and_the_other_follows_and_takes_over() {
    let cluster = Cluster::new().await;
    let first = cluster.master("a").await;
    let mut second = cluster.start("b");
    let standby = second
        .stands
        .wait_for(|standing| *standing == Standing::StandsBy);
    super::cluster::within("standing by", standby)
        .await
        .expect("runs");

    let error = second
        .handle
        .submit(submission(1, None))
        .await
        .expect_err("a standby");
    let ActError::NotLeader { leader_url } = error else {
        panic!("{error}");
    };
    assert_eq!(leader_url.as_deref(), Some("http://a"));

    let mut worker = cluster.worker("w").await;
    worker.join(&first, 1).await;
    let mut seen = second.handle.view().watch();
    let job = first
        .handle
        .submit(submission(1, None))
        .await
        .expect("accepted")
        .job;
    let followed = async {
        while second
            .handle
            .view()
            .read(|model| model.state.job(job).is_none())
        {
            drop(seen.recv().await);
        }
    };
    super::cluster::within("following", followed).await;

    first.crash().await;
    second.leads().await;
    second
        .handle
        .submit(submission(1, None))
        .await
        .expect("accepted");
    assert_eq!(second.handle.view().read(|model| model.epoch), Epoch(2));
}

#[tokio::test]
async fn a_fenced_leader_steps_down_and_commits_nothing() {
    let cluster = Cluster::new().await;
    let mut first = cluster.master("a").await;
    // Somebody takes the lead in the store while the first still believes in its lease.
    let me = crate::store::LeaderInfo {
        id: "a".to_owned(),
        url: "http://elsewhere".to_owned(),
    };
    let epoch = cluster
        .store
        .take_lead(&me, std::time::Duration::from_secs(1))
        .await;
    let epoch = epoch.expect("answers").expect("taken");
    let seq = cluster.store.seq().await.expect("reads") + 1;
    cluster
        .store
        .commit(&audited(epoch, seq))
        .await
        .expect("the new leader commits");

    let mut worker = cluster.worker("w").await;
    worker.hello(1).await;
    let account = crate::store::AccountChange::Removed(super::name("nobody"));
    let error = first
        .handle
        .change_account(account, super::audit("user.remove"))
        .await;
    assert!(
        matches!(
            error,
            Err(ActError::Unavailable(_) | ActError::NotLeader { .. })
        ),
        "{error:?}"
    );
    let audit = cluster.store.audit(10).await.expect("reads");
    assert_eq!(audit.len(), 1, "{audit:?}");

    // It takes the lead anew with a higher epoch, and the report that nobody acknowledged comes again.
    first.leads().await;
    first.knows(&worker.id).await;
    assert!(first.handle.view().read(|model| model.epoch) > epoch);
    assert_eq!(
        first.handle.view().read(|model| model.role.clone()),
        Role::Leader
    );
}

fn audited(epoch: Epoch, seq: u64) -> Batch {
    let mut batch = Batch::new(epoch, seq);
    batch.audit.push(super::audit("test"));
    batch
}

#[tokio::test]
async fn an_old_epochs_batch_is_refused_by_the_store() {
    let cluster = Cluster::new().await;
    let master = cluster.master("a").await;
    let (epoch, seq) = master.handle.view().read(|model| (model.epoch, model.seq));
    let old = Epoch(epoch.0 - 1);
    let error = cluster
        .store
        .commit(&audited(old, seq + 1))
        .await
        .expect_err("fenced");
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
}

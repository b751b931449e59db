//! What holds when a master, Redis or RabbitMQ dies in the middle of the work.

use std::collections::BTreeSet;

use dopq_common::id::JobId;
use dopq_master::leader::Standing;
use dopq_master::metrics::{Part, PartState};
use dopq_master::view::Role;
use tokio_util::sync::CancellationToken;

use crate::plane::{Master, Plane, soon};

/// So many jobs are submitted before, and as many after the fault.
const JOBS: usize = 40;

async fn submit(master: &Master, from: usize) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for number in from..from + JOBS {
        jobs.push(master.submit(&format!("key-{number}")).await);
    }
    jobs
}

async fn all_succeed(master: &Master, jobs: &[JobId]) {
    let different: BTreeSet<_> = jobs.iter().collect();
    assert_eq!(
        different.len(),
        jobs.len(),
        "a key gave two jobs, or two keys one"
    );
    master
        .sees("the end of every job", |_| {
            master.succeeded(jobs) == jobs.len()
        })
        .await;
    let (last, waiting) = master.handle.view().read(|model| {
        let active = model
            .state
            .jobs()
            .filter(|job| job.state.active().is_some());
        (model.state.meta().last_job, active.count())
    });
    let given = u64::try_from(jobs.len()).expect("few");
    assert_eq!((last, waiting), (given, 0), "a job was lost or made twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_killed_loses_nothing_and_is_waited_for() {
    let mut plane = Plane::start();
    let mut master = plane.master("a").await;
    master.leads().await;
    let stop = CancellationToken::new();
    plane.worker("w", 4, &stop);
    master.knows(1).await;
    let mut jobs = submit(&master, 0).await;

    plane.redis.kill();
    let error = master.handle.change_account(
        dopq_master::store::AccountChange::Removed("nobody".parse().expect("a name")),
        dopq_master::store::AuditEntry {
            at: dopq_master::clock::now(),
            by: "test".to_owned(),
            action: "user.remove".to_owned(),
            target: "nobody".to_owned(),
            ..dopq_master::store::AuditEntry::default()
        },
    );
    error.await.expect_err("nothing can be committed");
    master
        .sees("the fault", |view| {
            view.read(|model| model.store_fault.is_some())
        })
        .await;
    plane.redis.start_again();
    master.leads().await;
    jobs.extend(submit(&master, JOBS).await);
    all_succeed(&master, &jobs).await;
    assert_eq!(
        master.handle.view().read(|model| model.store_fault.clone()),
        None
    );
    let mut parts = master.board.all().into_iter();
    let store = parts.find(|(part, _)| *part == Part::Store);
    let told = store.map(|(_, store)| (store.state, store.detail));
    assert_eq!(told, Some((PartState::Up, "redis".to_owned())));
    stop.cancel();
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_holds_up_no_submission_and_loses_nothing() {
    let mut plane = Plane::start();
    let mut master = plane.master("a").await;
    master.leads().await;
    let stop = CancellationToken::new();
    plane.worker("w", 4, &stop);
    master.knows(1).await;
    let mut jobs = submit(&master, 0).await;
    plane.rabbitmq.kill();
    jobs.extend(submit(&master, JOBS).await);
    plane.rabbitmq.start_again();
    all_succeed(&master, &jobs).await;
    stop.cancel();
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_dies_is_succeeded_by_its_standby() {
    let plane = Plane::start();
    let mut first = plane.master("a").await;
    first.leads().await;
    let mut second = plane.master("b").await;
    let stop = CancellationToken::new();
    plane.worker("v", 2, &stop);
    plane.worker("w", 2, &stop);
    first.knows(2).await;
    let mut jobs = submit(&first, 0).await;
    first.crash().await;
    second.leads().await;
    jobs.extend(submit(&second, JOBS).await);
    all_succeed(&second, &jobs).await;
    stop.cancel();
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_restarts_sends_nobody_to_itself_while_its_old_lease_lasts() {
    let plane = Plane::start();
    let mut first = plane.master("a").await;
    first.leads().await;
    first.crash().await;
    let mut again = plane.master("a").await;
    let stands = again
        .stands
        .wait_for(|standing| *standing != Standing::Unknown);
    let standing = *soon("standing by", stands).await.expect("it runs");
    assert_eq!(standing, Standing::StandsBy);
    let role = again.handle.view().read(|model| model.role.clone());
    assert_eq!(role, Role::Standby { leader_url: None });
    again.leads().await;
    let jobs = submit(&again, 0).await;
    assert_eq!(jobs.len(), JOBS);
    again.stop().await;
}

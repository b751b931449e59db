//! The driver over an embedded store, the in-process broker and a worker that follows a script.

pub(crate) mod cluster;
mod faults;

use dopq_common::agent;
use dopq_common::id::UserName;
use dopq_common::job::{Cause, Phase};
use dopq_common::sched::{Event, Rejected};
use dopq_common::wire::{AttemptPhase, Live, Order, Report, topic};

use super::ActError;
use crate::archive::Kind;
use crate::store::{AccountChange, AuditEntry, IngestMark};
use cluster::{Cluster, attempt_id, id, name, outcome, submission, within};

fn audit(action: &str) -> AuditEntry {
    AuditEntry {
        at: crate::clock::now(),
        by: "root".to_owned(),
        action: action.to_owned(),
        ..AuditEntry::default()
    }
}

#[tokio::test]
async fn a_job_is_submitted_run_and_finished() {
    let cluster = Cluster::new().await;
    let master = cluster.master("a").await;
    let mut worker = cluster.worker("w").await;
    worker.join(&master, 1).await;
    let accepted = master
        .handle
        .submit(submission(1, None))
        .await
        .expect("accepted");
    assert!(accepted.new);

    let order = worker.next_order().await;
    assert_eq!(order.attempt, id("1.1"));
    let Order::Run(run) = order.order else {
        panic!("{order:?}");
    };
    assert_eq!((run.user.as_str(), run.allocation.gpus.len()), ("anna", 1));
    assert_eq!(run.data_urls, ["http://a"]);
    let token = cluster
        .key
        .token(id("1.1").parse().expect("id"), &name("w"));
    assert!(token.matches(run.token.reveal()));

    worker.run("1.1").await;
    master.reaches(accepted.job, Phase::Running).await;
    worker.finish("1.1", &outcome(Cause::Succeeded)).await;
    master.reaches(accepted.job, Phase::Finished).await;
    let order = worker.next_order().await;
    assert_eq!((&order.attempt, &order.order), (&id("1.1"), &Order::Forget));
    cluster.archived(accepted.job, Kind::Finished).await;
    cluster.archived(accepted.job, Kind::Accepted).await;
    master.stop().await;
    let loaded = cluster.store.load().await.expect("loads");
    assert!(loaded.seq > 0);
}

#[tokio::test]
async fn a_worker_is_told_what_it_will_run_next_and_that_it_will_not() {
    let cluster = Cluster::new().await;
    let master = cluster.master("a").await;
    let mut worker = cluster.worker("w").await;
    worker.join(&master, 1).await;
    let requests = topic::requests(&worker.id);
    let told = cluster.broker.subscribe_live(&[&requests]).await;
    let mut told = told.expect("listens");
    let mut next = async || {
        let message = within("a message", told.next()).await.expect("open");
        let live = serde_json::from_slice(&message.body).expect("live");
        let Live::Upcoming { sealed } = live else {
            panic!("{live:?}");
        };
        agent::read_upcoming(&worker.key, &worker.id, sealed.as_bytes()).expect("sealed")
    };
    let mut jobs = Vec::new();
    for _ in 0..2 {
        let accepted = master.handle.submit(submission(1, None)).await;
        jobs.push(accepted.expect("accepted").job);
    }
    let list = next().await;
    let attempts = list.runs.iter().map(|run| run.attempt.to_string());
    assert_eq!(attempts.collect::<Vec<_>>(), [id("2.1")]);
    let cancel = Event::CancelRequested {
        job: jobs[1],
        by: name("anna"),
    };
    let cancelled = master.handle.act(cancel, audit("cancel")).await;
    cancelled.expect("cancelled");
    let empty = next().await;
    assert!(
        empty.runs.is_empty() && empty.number > list.number,
        "{empty:?}"
    );
    master.stop().await;
}

#[tokio::test]
async fn a_job_that_history_forgets_as_it_ends_is_archived() {
    let mut cluster = Cluster::new().await;
    cluster.settings.history_max_jobs = 0;
    let master = cluster.master("a").await;
    let job = master.handle.submit(submission(1, None)).await;
    let job = job.expect("accepted").job;
    let cancel = Event::CancelRequested {
        job,
        by: name("anna"),
    };
    let cancelled = master.handle.act(cancel, audit("cancel")).await;
    cancelled.expect("cancelled");
    let forgotten = |model: &crate::view::Model| model.state.job(job).is_none();
    assert!(master.handle.view().read(forgotten));
    cluster.archived(job, Kind::Finished).await;
    master.stop().await;
}

#[tokio::test]
async fn a_key_gives_one_job_and_a_mark_is_part_of_its_commit() {
    let cluster = Cluster::new().await;
    let master = cluster.master("a").await;
    let mut worker = cluster.worker("w").await;
    worker.join(&master, 1).await;
    let mark = IngestMark {
        key: "incoming/anna/x.zip".to_owned(),
    };
    let keyed = submission(1, Some("k"));
    let first = master
        .handle
        .submit_ingested(keyed.clone(), mark.clone())
        .await
        .expect("accepted");
    let again = master
        .handle
        .submit_ingested(keyed, mark.clone())
        .await
        .expect("the same");
    assert_eq!((first.job, true, false), (again.job, first.new, again.new));
    let marked = cluster.store.ingested(&mark.key).await.expect("reads");
    assert_eq!(marked, Some(first.job));
}

#[tokio::test]
async fn what_is_refused_changes_nothing_and_says_why() {
    let cluster = Cluster::new().await;
    let master = cluster.master("a").await;
    let mut worker = cluster.worker("w").await;
    worker.join(&master, 2).await;
    let error = master
        .handle
        .submit(submission(3, None))
        .await
        .expect_err("never fits");
    assert!(
        matches!(&error, ActError::Rejected(Rejected::NeverFits(_))),
        "{error}"
    );
    let cancel = Event::CancelRequested {
        job: dopq_common::id::JobId(9),
        by: name("anna"),
    };
    let error = master
        .handle
        .act(cancel, audit("cancel"))
        .await
        .expect_err("no such job");
    assert!(
        matches!(error, ActError::Rejected(Rejected::NoSuchJob(_))),
        "{error}"
    );
    assert!(cluster.store.audit(10).await.expect("reads").is_empty());
    assert_eq!(
        master
            .handle
            .view()
            .read(|model| model.state.jobs().count()),
        0
    );
}

#[tokio::test]
async fn a_running_job_is_cancelled_through_its_worker() {
    let cluster = Cluster::new().await;
    let master = cluster.master("a").await;
    let mut worker = cluster.worker("w").await;
    worker.join(&master, 1).await;
    let job = master
        .handle
        .submit(submission(1, None))
        .await
        .expect("accepted")
        .job;
    worker.next_order().await;
    worker.run("1.1").await;
    master.reaches(job, Phase::Running).await;
    let cancel = Event::CancelRequested {
        job,
        by: name("anna"),
    };
    master
        .handle
        .act(cancel, audit("cancel"))
        .await
        .expect("cancelled");
    assert_eq!(cluster.store.audit(10).await.expect("reads").len(), 1);
    let order = worker.next_order().await;
    let Order::Stop { outcome, .. } = order.order else {
        panic!("{order:?}");
    };
    assert_eq!(
        (
            outcome.cause.as_str(),
            outcome.by.as_ref().map(UserName::as_str)
        ),
        ("cancelled", Some("anna"))
    );
    worker
        .report(Report::Finished {
            attempt: attempt_id("1.1"),
            outcome,
            ran_ms: 5,
            log_bytes: 0,
            results: None,
        })
        .await;
    master.reaches(job, Phase::Finished).await;
}

#[tokio::test]
async fn repeated_stale_forged_and_unreadable_reports_change_nothing_and_are_settled() {
    let cluster = Cluster::new().await;
    let master = cluster.master("a").await;
    let mut worker = cluster.worker("w").await;
    worker.join(&master, 1).await;
    let job = master
        .handle
        .submit(submission(1, None))
        .await
        .expect("accepted")
        .job;
    worker.next_order().await;
    worker.run("1.1").await;
    master.reaches(job, Phase::Running).await;

    let mut impostor = cluster.worker("v").await;
    impostor.key = cluster.key.worker(&name("u"));
    impostor.finish("1.1", &outcome(Cause::Succeeded)).await;
    cluster
        .broker
        .publish_report("{}".into())
        .await
        .expect("queued");
    worker.finish("1.7", &outcome(Cause::Succeeded)).await;
    worker.enter("1.1", AttemptPhase::Running).await;
    worker.report(Report::Unknown).await;
    worker.finish("1.1", &outcome(Cause::UserError)).await;
    worker.finish("1.1", &outcome(Cause::Succeeded)).await;

    // Reports are taken in order, so once the worker is told to forget, all before it were taken.
    master.reaches(job, Phase::Finished).await;
    let cause = master.job(job, |job| {
        let end = job.state.finished()?;
        Some(end.outcome.cause)
    });
    assert_eq!(cause, Some(Cause::UserError));
    master.settled().await;
    master.stop().await;
    cluster.no_reports_left().await;
}

#[tokio::test]
async fn a_hello_from_before_the_attempt_does_not_end_it() {
    let cluster = Cluster::new().await;
    let master = cluster.master("a").await;
    let mut worker = cluster.worker("w").await;
    worker.join(&master, 1).await;
    let accepted = master.handle.submit(submission(1, None)).await;
    let job = accepted.expect("accepted").job;
    worker.next_order().await;
    worker.run("1.1").await;
    master.reaches(job, Phase::Running).await;

    worker.repeat(0).await;
    worker.finish("1.1", &outcome(Cause::Succeeded)).await;
    master.reaches(job, Phase::Finished).await;
    let attempts = master.job(job, |job| job.last_attempt);
    assert_eq!(attempts, 1, "it was taken for lost and run again");
    master.stop().await;
    cluster.no_reports_left().await;
}

#[tokio::test]
async fn accounts_are_committed_and_shown() {
    let cluster = Cluster::new().await;
    let master = cluster.master("a").await;
    let (_, account) =
        crate::accounts::first_admin(name("root"), crate::clock::now()).expect("random");
    let set = AccountChange::Set(account.clone());
    master
        .handle
        .change_account(set, audit("user.add"))
        .await
        .expect("committed");
    let shown = master
        .handle
        .view()
        .read(|model| model.accounts.get(&account.name).cloned());
    assert_eq!(shown.as_ref(), Some(&account));
    assert_eq!(
        cluster.store.load().await.expect("loads").accounts,
        std::slice::from_ref(&account)
    );
    let removed = AccountChange::Removed(account.name);
    master
        .handle
        .change_account(removed, audit("user.remove"))
        .await
        .expect("committed");
    assert!(master.handle.view().read(|model| model.accounts.is_empty()));
}

//! Machines are emptied: what runs may end, or is taken from them, queued again and not charged.

use super::*;
use crate::job::{ChargeEnd, Stage, StopReason};

fn drain(c: &mut Cluster, name: &str, within: Option<u64>) {
    let deadline = within.map(|secs| c.now.after(Duration::from_secs(secs)));
    c.ok(Event::CordonSet {
        worker: worker(name),
        cordon: Some(Cordon {
            by: user("olga"),
            reason: "new disks".to_owned(),
            at: c.now,
            drain: Some(Drain { deadline }),
        }),
    });
}

fn evict(c: &mut Cluster, job: u64) -> Result<(), Rejected> {
    c.step(Event::EvictRequested {
        job: JobId(job),
        by: user("olga"),
    })
}

/// Machine `w1` with one GPU, on which job 1 runs.
fn running() -> Cluster {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.report("w1", "1.1", phase(AttemptPhase::Running)).unwrap();
    c
}

#[test]
fn a_drained_machine_lets_its_jobs_end_and_takes_nothing() {
    let mut c = running();
    c.submit("bert", |_| {});
    drain(&mut c, "w1", None);
    c.pass(24 * 3600, &["w1"]);
    assert_eq!(c.phase(1), Phase::Running);
    c.report("w1", "1.1", done(Cause::Succeeded)).unwrap();
    assert_eq!(c.cause(1), Some(Cause::Succeeded));
    assert_eq!(c.phase(2), Phase::Queued, "it takes nothing new");
    c.ok(Event::CordonSet {
        worker: worker("w1"),
        cordon: None,
    });
    assert_eq!(c.worker_of(2), Some("w1"));
}

#[test]
fn at_its_deadline_a_drain_evicts_what_is_left() {
    let mut c = running();
    drain(&mut c, "w1", Some(60));
    c.pass(59, &["w1"]);
    assert_eq!(c.phase(1), Phase::Running);
    c.pass(1, &["w1"]);
    let stops: Vec<_> = c.acts.iter().collect();
    let [Effect::Stop { outcome, grace, .. }] = stops.as_slice() else {
        panic!("{stops:?}");
    };
    assert_eq!(outcome.cause, Cause::Evicted);
    assert_eq!(outcome.detail, "evicted from its machine by olga");
    assert_eq!(*grace, c.job(1).spec.grace);
    // Further ticks order nothing more.
    c.pass(5, &["w1"]);
    assert_eq!(c.acts, []);
    c.report("w1", "1.1", done(Cause::Evicted)).unwrap();
    assert_eq!(c.phase(1), Phase::Queued);
    c.join("w2", 1);
    assert_eq!(c.worker_of(1), Some("w2"));
}

#[test]
fn an_evicted_job_costs_nothing_and_is_no_failed_try() {
    for cause in [Cause::Evicted, Cause::EngineError] {
        let mut c = running();
        c.join("w2", 1);
        c.pass(3600, &["w1", "w2"]);
        let charged = account_of(&c.state, c.now, &user("anna")).usage;
        assert!(charged > 3000.0, "{charged}");
        evict(&mut c, 1).unwrap();
        // What an older worker cannot name, it reports as a fault of the engine.
        c.report("w1", "1.1", done(cause)).unwrap();
        assert_eq!(c.worker_of(1), Some("w2"), "at once, and elsewhere");
        let job = c.job(1);
        assert_eq!((job.retries_used, job.faults), (0, 0));
        let ends: Vec<ChargeEnd> = job.charges.iter().map(|charge| charge.end).collect();
        assert_eq!(ends, [ChargeEnd::Refunded]);
        let usage = account_of(&c.state, c.now, &user("anna")).usage;
        // The deposit of the new attempt.
        assert!((usage - 60.0).abs() < 0.1, "{usage}");
    }
}

#[test]
fn where_nothing_else_fits_an_evicted_job_comes_back() {
    let mut c = running();
    evict(&mut c, 1).unwrap();
    c.report("w1", "1.1", done(Cause::Evicted)).unwrap();
    assert_eq!(c.worker_of(1), Some("w1"));
    assert_eq!(c.job(1).last_attempt, 2);
}

#[test]
fn how_a_job_ends_by_itself_is_how_it_ended() {
    let checkpointed = Outcome {
        exit_code: Some(85),
        ..Outcome::new(Cause::UserError, "it saved its state")
    };
    for (outcome, phase, charges) in [
        (
            Outcome::new(Cause::Succeeded, "done"),
            Phase::Finished,
            ChargeEnd::AtLeastMinimum,
        ),
        (
            Outcome::new(Cause::UserError, "exited with code 1"),
            Phase::Finished,
            ChargeEnd::AtLeastMinimum,
        ),
        (checkpointed, Phase::Queued, ChargeEnd::Refunded),
    ] {
        let mut c = running();
        drain(&mut c, "w1", None);
        evict(&mut c, 1).unwrap();
        let progress = Progress::Finished {
            outcome: outcome.clone(),
            ran: Duration::ZERO,
            log_bytes: 0,
            results: None,
        };
        c.report("w1", "1.1", progress).unwrap();
        assert_eq!(c.phase(1), phase, "{outcome:?}");
        assert_eq!(c.job(1).charges[0].end, charges, "{outcome:?}");
    }
}

#[test]
fn a_machine_that_is_lost_meanwhile_is_lost() {
    let mut c = running();
    evict(&mut c, 1).unwrap();
    c.pass(600, &[]);
    assert_eq!((c.phase(1), c.job(1).faults), (Phase::Queued, 1));
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |spec| spec.on_worker_loss = OnWorkerLoss::Fail);
    c.report("w1", "1.1", phase(AttemptPhase::Running)).unwrap();
    evict(&mut c, 1).unwrap();
    c.pass(600, &[]);
    assert_eq!(c.cause(1), Some(Cause::WorkerLost), "it may still run");
}

#[test]
fn all_of_a_machine_or_of_an_array_is_evicted() {
    let mut c = Cluster::new();
    c.join("w1", 2);
    c.join("w2", 2);
    c.submit("anna", |spec| {
        let indexes = crate::job::Indexes::from_range(0, 5);
        spec.array = Some(crate::job::ArraySpec {
            indexes,
            max_running: None,
        });
    });
    let evicted = |c: &Cluster| {
        let jobs = c.state.jobs();
        let stopping = jobs.filter(|job| {
            let stopping = job.state.stage().and_then(Stage::stopping);
            stopping == Some(&StopReason::Evicted(user("olga")))
        });
        stopping.count()
    };
    let by = user("olga");
    let gone = worker("w3");
    assert_eq!(
        c.step(Event::NodeEvictRequested {
            worker: gone.clone(),
            by: by.clone()
        }),
        Err(Rejected::NoSuchWorker(gone))
    );
    let worker = worker("w1");
    c.ok(Event::NodeEvictRequested { worker, by });
    assert_eq!(evicted(&c), 2);
    evict(&mut c, 1).unwrap();
    assert_eq!(evicted(&c), 4);
    // A task that waits has no machine.
    assert!(matches!(
        evict(&mut c, 7),
        Err(Rejected::NotActive { job: JobId(7), .. })
    ));
}

#[test]
fn who_cancels_an_evicted_job_has_it_cancelled() {
    let mut c = running();
    evict(&mut c, 1).unwrap();
    c.cancel(1).unwrap();
    evict(&mut c, 1).unwrap();
    c.report("w1", "1.1", done(Cause::Evicted)).unwrap();
    assert_eq!(c.cause(1), Some(Cause::Cancelled));
    assert!(matches!(
        evict(&mut c, 1),
        Err(Rejected::AlreadyFinished { .. })
    ));
}

#[test]
fn a_forgotten_machine_leaves_nothing_but_its_jobs() {
    let mut c = running();
    c.ok(Event::WorkerForgotten {
        worker: worker("w1"),
    });
    assert_eq!(c.state.workers().count(), 0);
    assert_eq!((c.phase(1), c.job(1).faults), (Phase::Queued, 1));
    let again = c.step(Event::WorkerForgotten {
        worker: worker("w1"),
    });
    assert_eq!(again, Err(Rejected::NoSuchWorker(worker("w1"))));
    c.join("w1", 1);
    c.pass(10, &["w1"]);
    assert_eq!(c.worker_of(1), Some("w1"), "as a new machine");
}

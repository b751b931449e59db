//! The rules that need more than one job, or time.

use super::*;
use crate::job::{BundleRef, Dependency, DependencyKind};

fn after(job: u64, kind: DependencyKind) -> Vec<Dependency> {
    let job = JobId(job);
    vec![Dependency { job, kind }]
}

fn keyed(of: &str, key: &str, edit: impl FnOnce(&mut JobSpec)) -> Event {
    Event::Submitted(Submission {
        key: Some(key.into()),
        ..submission(of, edit)
    })
}

#[test]
fn a_key_gives_the_same_job_until_it_is_forgotten() {
    let mut c = Cluster::with(Settings {
        history_max_jobs: 0,
        ..Settings::default()
    });
    c.ok(keyed("anna", "k", |_| {}));
    c.ok(keyed("anna", "k", |_| {}));
    let same = Effect::Accepted {
        job: JobId(1),
        new: false,
    };
    assert_eq!(c.acts, [same]);
    let other = c.step(keyed("anna", "k", |spec| spec.name = "other".to_owned()));
    assert_eq!(other, Err(Rejected::KeyUsed(JobId(1))));
    let stranger = c.step(keyed("bert", "k", |_| {}));
    assert_eq!(stranger, Err(Rejected::KeyUsed(JobId(1))));
    c.cancel(1).unwrap();
    assert_eq!(c.state.job_of_key("k"), None);
    assert_eq!(c.replica.job_of_key("k"), None);
    assert!(c.state.job(JobId(1)).is_none());
}

#[test]
fn users_take_turns_by_what_they_had_and_then_by_submission() {
    let mut c = Cluster::recency();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.submit("anna", |_| {});
    c.submit("bert", |_| {});
    c.submit("anna", |_| {});
    assert_eq!(c.queue(), [2, 3, 4]);
    c.report("w1", "1.1", done(Cause::UserError)).unwrap();
    assert_eq!(c.worker_of(3), Some("w1"));
    assert_eq!(c.queue(), [2, 4]);
    c.report("w1", "3.1", done(Cause::Succeeded)).unwrap();
    let penalty = |name| penalty_of(&c.state, c.now, &user(name));
    assert!((penalty("anna") - (-1.0_f64).exp()).abs() < 1e-12);
    assert!((penalty("bert") - 1.0).abs() < 1e-12);
}

#[test]
fn class_goes_before_penalty_and_priority_only_among_ones_own() {
    let mut c = Cluster::new();
    c.submit("anna", |spec| spec.class = Class::Nice);
    c.submit("anna", |_| {});
    c.submit("bert", |spec| spec.priority = 5);
    c.submit("anna", |spec| spec.priority = 9);
    c.submit("carl", |spec| spec.class = Class::Urgent);
    assert_eq!(c.queue(), [5, 3, 4, 2, 1]);
    c.ok(Event::HoldRequested {
        job: JobId(5),
        by: user("carl"),
    });
    assert_eq!(c.queue(), [3, 4, 2, 1, 5]);
}

#[test]
fn a_waiting_job_can_be_moved_among_its_users_own() {
    let mut c = Cluster::recency();
    c.join("w1", 1);
    for of in ["carl", "anna", "anna", "bert"] {
        c.submit(of, |_| {});
    }
    assert_eq!(c.queue(), [2, 3, 4]);
    let (job, priority) = (JobId(3), 7);
    c.ok(Event::PriorityRequested { job, priority });
    assert_eq!(c.queue(), [3, 2, 4]);
    assert_eq!(c.job(3).timeline.last().unwrap().note, "priority 7");
    let (job, priority) = (JobId(1), 1);
    let running = c.step(Event::PriorityRequested { job, priority });
    assert!(matches!(running, Err(Rejected::NotQueued { .. })));
}

#[test]
fn infrastructure_faults_are_retried_elsewhere_and_not_for_ever() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.join("w2", 1);
    for (at, name) in [(1, "w1"), (2, "w2"), (3, "w1")] {
        assert_eq!(c.worker_of(1), Some(name));
        c.report(name, &format!("1.{at}"), done(Cause::DiskFull))
            .unwrap();
        assert_eq!(
            c.phase(1),
            Phase::Queued,
            "it waits before it is tried again"
        );
        c.pass(5 << (at - 1), &["w1", "w2"]);
    }
    c.report("w2", "1.4", done(Cause::DiskFull)).unwrap();
    assert_eq!(c.cause(1), Some(Cause::DiskFull));
    assert_eq!(c.job(1).retries_used, 0);
    let penalty = penalty_of(&c.state, c.now, &user("anna"));
    assert!(penalty.abs() < f64::EPSILON, "it is not charged");
}

#[test]
fn the_only_machine_is_used_again_although_it_failed() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.report("w1", "1.1", done(Cause::EngineError)).unwrap();
    c.pass(5, &["w1"]);
    assert_eq!(c.worker_of(1), Some("w1"));
}

#[test]
fn a_refusal_never_ends_a_job() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    for at in 1..8_u32 {
        let reason = "no space".to_owned();
        c.report("w1", &format!("1.{at}"), Progress::Refused { reason })
            .unwrap();
        let Some(queued) = c.job(1).state.queued().and_then(|queued| queued.not_before) else {
            panic!("it does not wait");
        };
        let wait = queued.since(c.now).as_secs();
        assert_eq!(wait, (5 << (at - 1)).min(500));
        c.pass(wait, &["w1"]);
    }
    assert_eq!(c.worker_of(1), Some("w1"));
    assert_eq!(c.job(1).faults, 0);
}

#[test]
fn a_machine_that_refuses_what_it_had_begun_has_lost_it() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.report("w1", "1.1", phase(AttemptPhase::Building))
        .unwrap();
    let reason = "no space".to_owned();
    c.report("w1", "1.1", Progress::Refused { reason }).unwrap();
    assert_eq!(c.phase(1), Phase::Queued, "it is tried again");
    assert_eq!(c.job(1).faults, 1);
    assert!(
        matches!(&*c.acts, [Effect::Stop { .. }]),
        "what may run there is stopped: {:?}",
        c.acts
    );
}

#[test]
fn the_users_own_retries_are_counted() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |spec| spec.retries = 1);
    c.report("w1", "1.1", done(Cause::UserError)).unwrap();
    assert_eq!(c.phase(1), Phase::Queued);
    c.pass(5, &["w1"]);
    c.report("w1", "1.2", done(Cause::UserError)).unwrap();
    assert_eq!(c.cause(1), Some(Cause::UserError));
}

#[test]
fn a_job_that_is_not_to_be_requeued_ends_with_its_machine() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |spec| spec.on_worker_loss = OnWorkerLoss::Fail);
    c.pass(600, &[]);
    assert_eq!(c.cause(1), Some(Cause::WorkerLost));
}

#[test]
fn dependencies_hold_back_and_fail_in_chains() {
    let mut c = Cluster::new();
    c.join("w1", 4);
    c.submit("anna", |_| {});
    c.submit("anna", |spec| spec.after = after(1, DependencyKind::Ok));
    c.submit("anna", |spec| spec.after = after(2, DependencyKind::Ok));
    c.submit("anna", |spec| spec.after = after(3, DependencyKind::Any));
    assert_eq!([2, 3, 4].map(|id| c.phase(id)), [Phase::Queued; 3]);
    let told = reasons(&c.state, c.now, c.job(2));
    assert_eq!(told[0].to_string(), "waits for job 1 to succeed (assigned)");
    let stranger = c.step(Event::Submitted(submission("bert", |spec| {
        spec.after = after(1, DependencyKind::Ok);
    })));
    assert!(matches!(stranger, Err(Rejected::Invalid(_))));
    c.report("w1", "1.1", done(Cause::BuildFailed)).unwrap();
    assert_eq!(c.cause(2), Some(Cause::DependencyFailed));
    assert_eq!(c.cause(3), Some(Cause::DependencyFailed));
    assert_eq!(c.worker_of(4), Some("w1"));
    // One that is submitted too late ends at once, as it would have a moment earlier.
    c.submit("anna", |spec| spec.after = after(1, DependencyKind::Ok));
    assert_eq!(c.cause(5), Some(Cause::DependencyFailed));
    c.submit("anna", |spec| spec.after = after(1, DependencyKind::Any));
    assert_eq!(c.worker_of(6), Some("w1"));
}

#[test]
fn history_forgets_the_oldest_but_none_that_is_waited_for() {
    let mut c = Cluster::with(Settings {
        history_max_jobs: 2,
        ..Settings::default()
    });
    for _ in 0..4 {
        c.submit("anna", |_| {});
    }
    c.cancel(1).unwrap();
    c.submit("anna", |spec| spec.after = after(1, DependencyKind::Any));
    for id in 2..5 {
        c.now = c.now.after(Duration::from_secs(1));
        c.cancel(id).unwrap();
    }
    let kept: Vec<u64> = c.state.jobs().map(|job| job.id.0).collect();
    assert_eq!(kept, [1, 4, 5]);
}

#[test]
fn a_job_that_history_forgets_as_it_ends_is_archived() {
    let mut c = Cluster::with(Settings {
        history_max_jobs: 0,
        ..Settings::default()
    });
    c.submit("anna", |_| {});
    c.cancel(1).unwrap();
    assert!(c.state.job(JobId(1)).is_none());
    let archived = c.acts.iter().filter_map(|act| match act {
        Effect::Archive { job } => Some((job.id, job.state.finished()?.outcome.clone())),
        _ => None,
    });
    let cancelled = Outcome::cancelled(&user("admin"), "cancelled by admin");
    assert_eq!(archived.collect::<Vec<_>>(), [(JobId(1), cancelled)]);
}

#[test]
fn guards_hold_at_once() {
    let mut c = Cluster::new();
    c.join("w1", 4);
    let set = |c: &mut Cluster, guards| {
        c.ok(Event::UserSet {
            user: user("anna"),
            weight: 1.0,
            guards,
            group: Membership::Unchanged,
        });
    };
    set(
        &mut c,
        Guards {
            max_gpus: Some(MilliGpu(2000)),
            max_running: Some(2),
            max_queued: Some(2),
            floor: None,
        },
    );
    c.submit("anna", |_| {});
    c.submit("anna", |spec| spec.request.gpus = 2);
    assert_eq!(c.phase(2), Phase::Queued);
    assert_eq!(
        reasons(&c.state, c.now, c.job(2)),
        [Reason::GpuLimit { max: 2000 }]
    );
    c.submit("anna", |_| {});
    assert_eq!(c.phase(3), Phase::Assigned);
    c.submit("anna", |_| {});
    let reason = Reason::RunningLimit { max: 2 };
    assert!(reasons(&c.state, c.now, c.job(4)).contains(&reason));
    let refused = c.step(Event::Submitted(submission("anna", |_| {})));
    assert!(matches!(refused, Err(Rejected::Guarded(_))));
    set(&mut c, Guards::default());
    assert_eq!(c.phase(2), Phase::Assigned);
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let guards = Guards::default();
        let user = user("anna");
        let set = c.step(Event::UserSet {
            user,
            weight,
            guards,
            group: Membership::Unchanged,
        });
        assert!(matches!(set, Err(Rejected::Invalid(_))));
    }
}

#[test]
fn a_locked_queue_places_nothing_until_the_lock_ends_by_itself() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    let lock = QueueLock {
        by: user("admin"),
        reason: "moving house".to_owned(),
        until: c.now.after(Duration::from_secs(3)),
    };
    c.ok(Event::LockSet {
        lock: Some(lock.clone()),
    });
    c.submit("anna", |_| {});
    assert_eq!(
        reasons(&c.state, c.now, c.job(1)),
        [Reason::Locked(lock.clone())]
    );
    c.pass(2, &["w1"]);
    assert_eq!(c.phase(1), Phase::Queued);
    c.pass(1, &["w1"]);
    assert_eq!(c.phase(1), Phase::Assigned);
    assert_eq!(c.state.meta().lock, None);
    let late = c.step(Event::LockSet { lock: Some(lock) });
    assert!(matches!(late, Err(Rejected::Invalid(_))));
}

#[test]
fn silence_makes_suspect_then_lost_but_not_while_the_broker_is_away() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.ok(Event::BrokerLink { up: false });
    c.pass(1000, &[]);
    let health = |c: &Cluster| c.state.worker(&worker("w1")).unwrap().health;
    assert_eq!(health(&c), Health::Up);
    c.submit("anna", |spec| spec.request.gpus = 0);
    assert_eq!(c.phase(2), Phase::Queued);
    assert_eq!(reasons(&c.state, c.now, c.job(2)), [Reason::BrokerDown]);
    c.ok(Event::BrokerLink { up: true });
    assert_eq!(c.phase(2), Phase::Assigned);
    c.pass(15, &[]);
    assert_eq!(health(&c), Health::Suspect { since: c.now });
    c.submit("anna", |spec| spec.request.gpus = 0);
    assert_eq!(c.phase(3), Phase::Queued, "nothing is placed on a suspect");
    c.pass(1, &["w1"]);
    assert_eq!(c.phase(3), Phase::Assigned);
    c.pass(600, &[]);
    assert_eq!(health(&c), Health::Lost { since: c.now });
    // A late sign of life brings the machine back, without its old attempts.
    c.pass(5, &["w1"]);
    assert_eq!(c.worker_of(1), Some("w1"));
    assert_eq!(c.job(1).last_attempt, 2);
}

#[test]
fn a_clock_that_jumps_loses_nobody() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    for by in [3600, 0] {
        c.now = Timestamp::from_millis(1_000_000).after(Duration::from_secs(by));
        c.ok(Event::Ticked);
        c.pass(2, &[]);
        assert_eq!(c.state.worker(&worker("w1")).unwrap().health, Health::Up);
    }
    c.pass(600, &[]);
    let health = c.state.worker(&worker("w1")).unwrap().health;
    assert!(matches!(health, Health::Lost { .. }), "{health:?}");
}

#[test]
fn a_removed_worker_loses_its_jobs_at_once() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.report("w1", "1.1", phase(AttemptPhase::Running)).unwrap();
    let gone = |name| Event::WorkerRemoved {
        worker: worker(name),
    };
    c.ok(gone("w1"));
    assert_eq!(c.phase(1), Phase::Queued);
    let health = c.state.worker(&worker("w1")).unwrap().health;
    assert_eq!(health, Health::Lost { since: c.now });
    c.ok(gone("w1"));
    assert_eq!(
        c.step(gone("w2")),
        Err(Rejected::NoSuchWorker(worker("w2")))
    );
    c.join("w2", 1);
    c.pass(5, &["w2"]);
    assert_eq!(c.worker_of(1), Some("w2"));
}

#[test]
fn a_goodbye_gives_ten_minutes_more() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.ok(Event::WorkerLeft {
        worker: worker("w1"),
    });
    c.pass(1199, &[]);
    assert_eq!(c.phase(1), Phase::Assigned);
    c.pass(1, &[]);
    assert_eq!(c.phase(1), Phase::Queued);
}

#[test]
fn quarantined_gpus_and_gone_ones_are_not_given() {
    let mut c = Cluster::new();
    c.join("w1", 2);
    c.submit("anna", |_| {});
    let mut capacity = capacity("w1", 2);
    capacity.gpus[1].healthy = false;
    c.ok(Event::WorkerJoined {
        worker: worker("w1"),
        session: "session".into(),
        capacity,
        images: [].into(),
        machine: Arc::default(),
        known: vec![KnownAttempt {
            attempt: attempt("1.1"),
            phase: Some(AttemptPhase::Running),
        }],
    });
    c.submit("anna", |_| {});
    assert_eq!(c.phase(2), Phase::Queued);
    let known = [("1.1", Some(AttemptPhase::Running))];
    c.join_knowing("w1", 0, &known);
    assert_eq!(c.phase(1), Phase::Running);
    assert!(matches!(
        reasons(&c.state, c.now, c.job(2))[0],
        Reason::NeverFits(_)
    ));
    c.join_knowing("w1", 2, &known);
    assert_eq!(c.phase(2), Phase::Assigned);
}

#[test]
fn a_lost_job_of_the_same_number_gives_the_new_one_nothing() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    let lost = AttemptId {
        key: JobKey([8; 16]),
        ..attempt("1.1")
    };
    for progress in [
        Progress::Accepted,
        phase(AttemptPhase::Running),
        done(Cause::Succeeded),
    ] {
        let stale = c.step(Event::Reported {
            worker: worker("w1"),
            attempt: lost,
            progress,
        });
        assert_eq!(stale, Err(Rejected::Stale(lost)));
        assert_eq!(c.phase(1), Phase::Assigned);
    }
    // The worker that still has it ends it, and gets the order for the new job again.
    c.ok(Event::WorkerJoined {
        worker: worker("w1"),
        session: "session".into(),
        capacity: capacity("w1", 1),
        images: [].into(),
        machine: Arc::default(),
        known: vec![KnownAttempt {
            attempt: lost,
            phase: Some(AttemptPhase::Running),
        }],
    });
    let told = c.acts.iter().map(|act| match act {
        Effect::Run { attempt, .. } => ("run", *attempt),
        Effect::Stop { attempt, .. } => ("stop", *attempt),
        other => panic!("{other:?}"),
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told, [("run", attempt("1.1")), ("stop", lost)]);
    c.report("w1", "1.1", done(Cause::Succeeded)).unwrap();
    assert_eq!(c.phase(1), Phase::Finished);
}

#[test]
fn new_ids_are_above_those_that_a_worker_knows() {
    let mut c = Cluster::new();
    c.join_knowing("w1", 1, &[("12.1", None), ("7.2", None)]);
    assert_eq!(c.submit("anna", |_| {}), JobId(13));
    c.join_knowing("w1", 1, &[("3.1", None)]);
    assert_eq!(c.submit("anna", |_| {}), JobId(14));
    c.ok(Event::IdsUsed { last: JobId(20) });
    c.ok(Event::IdsUsed { last: JobId(19) });
    assert_eq!(c.submit("anna", |_| {}), JobId(21));
    // No worker may use up all ids.
    let highest = format!("{}.1", u64::MAX);
    c.join_knowing("w1", 1, &[(&highest, None)]);
    assert_eq!(c.submit("anna", |_| {}), JobId(22));
}

#[test]
fn slots_and_shares_fill_a_gpu_and_no_more() {
    let mut c = Cluster::new();
    let mut three = capacity("w1", 1);
    three.slots_per_gpu = 3;
    c.ok(Event::WorkerJoined {
        worker: worker("w1"),
        session: "session".into(),
        capacity: three,
        images: [].into(),
        machine: Arc::default(),
        known: Vec::new(),
    });
    let slot = |spec: &mut JobSpec| {
        spec.request.gpu_amount = GpuAmount::Slots(1);
        spec.request.cpu = None;
        spec.request.memory = None;
    };
    for id in 1..=3 {
        c.submit("anna", slot);
        assert_eq!(c.phase(id), Phase::Assigned);
    }
    let active = c.job(1).state.active().unwrap();
    assert_eq!(
        active.allocation.cpu,
        MilliCpu(5328),
        "its part of 16 cores"
    );
    c.submit("anna", slot);
    assert_eq!(c.phase(4), Phase::Queued);
    let held = held(&c.state, &worker("w1"));
    assert_eq!(
        held.gpus.values().copied().collect::<Vec<_>>(),
        [MilliGpu(999)]
    );
    assert_eq!(held.jobs.len(), 3);
}

#[test]
fn the_tightest_machine_and_the_fullest_gpu_are_taken() {
    let mut c = Cluster::new();
    c.join("big", 4);
    c.join("small", 2);
    let half = |spec: &mut JobSpec| spec.request.gpu_amount = GpuAmount::Milli(MilliGpu(500));
    c.submit("anna", half);
    assert_eq!(c.worker_of(1), Some("small"));
    c.submit("anna", |spec| spec.request.gpus = 2);
    assert_eq!(c.worker_of(2), Some("big"));
    c.submit("anna", half);
    assert_eq!(c.worker_of(3), Some("small"));
    let gpus = |id| c.job(id).state.active().unwrap().allocation.gpus.clone();
    assert_eq!(gpus(1), gpus(3), "they share one GPU");
}

#[test]
fn a_machine_that_holds_the_image_is_preferred_among_equals() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    let digest = crate::id::Digest([7; 32]);
    c.ok(Event::WorkerJoined {
        worker: worker("w2"),
        session: "session".into(),
        capacity: capacity("w2", 1),
        images: [digest].into(),
        machine: Arc::default(),
        known: Vec::new(),
    });
    c.ok(Event::Submitted(Submission {
        bundle: Some(BundleRef {
            digest,
            size_bytes: 1,
        }),
        ..submission("anna", |_| {})
    }));
    assert_eq!(c.worker_of(1), Some("w2"));
}

#[test]
fn only_so_many_containers_are_started_at_once() {
    let mut c = Cluster::with(Settings {
        starts_per_worker: 1,
        ..Settings::default()
    });
    c.join("w1", 2);
    c.submit("anna", |_| {});
    c.submit("anna", |_| {});
    assert_eq!(c.phase(2), Phase::Queued);
    c.report("w1", "1.1", phase(AttemptPhase::Running)).unwrap();
    assert_eq!(c.phase(2), Phase::Assigned);
}

#[test]
fn timelines_keep_their_first_and_latest_lines() {
    let mut c = Cluster::new();
    c.submit("anna", |_| {});
    for _ in 0..100 {
        let (job, by) = (JobId(1), user("anna"));
        c.ok(Event::HoldRequested { job, by });
        c.ok(Event::ReleaseRequested { job });
    }
    let timeline = &c.job(1).timeline;
    assert_eq!(timeline.len(), 64);
    assert_eq!(timeline[0].note, "");
    assert_eq!(timeline[63].note, "released");
}

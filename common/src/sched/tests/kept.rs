//! Places that are kept for big jobs: for which, from whom, and until when.

use super::*;
use crate::sched::fit::fits::{allocation, fitness, fitting};
use crate::sched::fit::reserve::Plan;

#[test]
fn nothing_is_kept_for_a_job_that_a_limit_keeps_back() {
    let mut c = Cluster::recency();
    c.join("w1", 4);
    c.submit("carl", |spec| {
        spec.time_request = Some(Duration::from_secs(100))
    });
    c.ok(Event::UserSet {
        user: user("anna"),
        weight: 1.0,
        guards: Guards {
            max_gpus: Some(MilliGpu(4000)),
            ..Guards::default()
        },
        group: Membership::Unchanged,
    });
    let until = c.now.after(Duration::from_secs(20));
    let (by, reason) = (user("admin"), String::new());
    let lock = Some(QueueLock { by, reason, until });
    c.ok(Event::LockSet { lock });
    c.submit("anna", |spec| spec.request.gpus = 4);
    c.submit("anna", |spec| {
        spec.time_request = Some(Duration::from_secs(50))
    });
    c.submit("bert", |spec| spec.request.gpus = 2);
    c.ok(Event::LockSet { lock: None });
    assert_eq!(c.phase(2), Phase::Queued, "it waits for the whole machine");
    assert_eq!(
        c.phase(3),
        Phase::Assigned,
        "it is over before that is free"
    );
    // With that its owner has come so near to the limit that the first no longer may.
    assert_eq!(c.phase(4), Phase::Assigned);
    assert_eq!(c.state.blocked(), None);
}

#[test]
fn a_later_start_leaves_others_more_time_before_a_place_that_is_kept() {
    let mut c = Cluster::new();
    c.join("w1", 2);
    let lasts = |secs| Some(Duration::from_secs(secs));
    c.submit("anna", |spec| spec.time_request = lasts(100));
    c.submit("bert", |spec| spec.request.gpus = 2);
    c.pass(20, &["w1"]);
    c.submit("carl", |spec| spec.time_request = lasts(90));
    assert_eq!(c.phase(3), Phase::Queued, "80 seconds are left");
    c.pass(10, &["w1"]);
    c.report("w1", "1.1", phase(AttemptPhase::Running)).unwrap();
    assert_eq!(c.phase(3), Phase::Assigned, "it goes on for 100 from now");
}

#[test]
fn a_big_job_has_its_turn_also_where_nobody_says_how_long_jobs_take() {
    let mut c = Cluster::new();
    c.join("w1", 2);
    c.submit("anna", |_| {});
    c.submit("anna", |_| {});
    c.pass(60, &["w1"]);
    c.submit("bert", |spec| spec.request.gpus = 2);
    c.pass(60, &["w1"]);
    c.submit("anna", |_| {});
    c.report("w1", "1.1", done(Cause::Succeeded)).unwrap();
    assert_eq!(c.phase(4), Phase::Queued, "it might run for longer than 2");
    let told = |c: &Cluster, job| {
        let explanation = explain(&c.state, c.now, JobId(job)).unwrap();
        let reasons = explanation.reasons.iter().map(ToString::to_string);
        let remedies = explanation.remedies.iter().map(ToString::to_string);
        (reasons.collect::<Vec<_>>(), remedies.collect::<Vec<_>>())
    };
    let (reasons, remedies) = told(&c, 3);
    let kept = "node w1 is reserved for it; how long the jobs there run is unknown";
    assert_eq!(reasons.last().map(String::as_str), Some(kept));
    assert_eq!(remedies, [""; 0]);
    let (reasons, remedies) = told(&c, 4);
    let behind = "no node has room now: 1 reserved for another job";
    assert_eq!(reasons, [behind]);
    let short = "set time_request to at most 23h58m";
    assert_eq!(remedies.last().map(String::as_str), Some(short));
    // What says that it is over before goes first; who had less has their turn first all the same.
    let said = |secs| Some(Duration::from_secs(secs));
    c.submit("anna", |spec| spec.time_request = said(3600));
    assert_eq!(c.phase(5), Phase::Assigned);
    c.submit("carl", |_| {});
    c.submit("bert", |_| {});
    c.report("w1", "2.1", done(Cause::Succeeded)).unwrap();
    assert_eq!(c.phase(6), Phase::Assigned, "carl had nothing yet");
    c.pass(60, &["w1"]);
    c.report("w1", "5.1", done(Cause::Succeeded)).unwrap();
    assert_eq!(c.queue(), [3, 7]);
    assert_eq!(c.phase(4), Phase::Assigned, "three like it took minutes");
    c.report("w1", "4.1", done(Cause::Succeeded)).unwrap();
    c.report("w1", "6.1", done(Cause::Succeeded)).unwrap();
    assert_eq!(c.phase(3), Phase::Assigned);
}

#[test]
fn a_clock_that_is_set_back_leaves_others_more_time_before_a_place_that_is_kept() {
    let mut c = Cluster::new();
    c.join("w1", 2);
    let lasts = |secs| Some(Duration::from_secs(secs));
    c.submit("anna", |spec| spec.time_request = lasts(100));
    c.submit("bert", |spec| spec.request.gpus = 2);
    let before = c.now;
    c.pass(20, &["w1"]);
    c.submit("carl", |spec| spec.time_request = lasts(90));
    assert_eq!(c.phase(3), Phase::Queued, "80 seconds are left");
    c.now = before;
    c.ok(Event::Ticked);
    assert_eq!(c.phase(3), Phase::Assigned);
}

#[test]
fn a_shape_delays_a_reserved_job_if_every_choice_of_gpus_does() {
    let wants = |spec: &mut JobSpec, gpus, milli| {
        spec.request.gpus = gpus;
        spec.request.gpu_amount = GpuAmount::Milli(MilliGpu(milli));
    };
    let mut found = BTreeMap::new();
    for (gpus, milli) in [(3, 1000), (4, 500)] {
        let mut c = Cluster::new();
        c.join("w1", 4);
        for milli in [1000, 500, 250] {
            c.submit("anna", |spec| {
                wants(spec, 1, milli);
                spec.time_request = Some(Duration::from_secs(100));
            });
        }
        let reserved = c.submit("bert", |spec| wants(spec, gpus, milli));
        let reservation = c.state.blocked().and_then(Blocked::reservation).unwrap();
        let plan = Plan::new(&c.state, c.now, reservation).unwrap();
        let node = c.state.index().node(&worker("w1")).unwrap();
        let capacity = &node.worker.as_ref().unwrap().capacity;
        // Nothing is expected of it, so that it counts as longer than the reservation.
        let job = c.job(reserved.0);
        for (gpus, milli) in [(1, 250), (1, 500), (1, 1000), (2, 250), (2, 500), (2, 1000)] {
            let mut spec = spec();
            wants(&mut spec, gpus, milli);
            let fitness = fitness(capacity, &spec.request).unwrap();
            let free = fitting(node, &fitness).unwrap();
            let choices = (0_u32..1 << free.len()).filter(|chosen| chosen.count_ones() == gpus);
            let delays = |chosen: u32| {
                let gpus = (0..).zip(&free).filter(|(at, _)| chosen & (1 << at) != 0);
                let gpus: Vec<usize> = gpus.map(|(_, gpu): (u32, _)| *gpu).collect();
                let held = allocation(capacity, &fitness, &gpus);
                plan.is_delayed_by(&c.state, c.now, job, &held)
            };
            let delayed = choices.clone().all(delays);
            assert_eq!(
                plan.is_delayed_by_any(node, &fitness),
                delayed,
                "{gpus} of {milli}"
            );
            *found.entry(delayed).or_insert(0) += 1;
        }
    }
    assert!(found[&true] >= 3 && found[&false] >= 3, "{found:?}");
}

//! Floors: who is below one goes first, and others may be stopped for it.

use super::groups::{group_set, member};
use super::*;

fn floor(milli: u32) -> Guards {
    Guards {
        floor: Some(MilliGpu(milli)),
        ..Guards::default()
    }
}

fn set_floor(c: &mut Cluster, of: &str, milli: u32) {
    c.ok(Event::UserSet {
        user: user(of),
        weight: 1.0,
        guards: floor(milli),
        group: Membership::Unchanged,
    });
}

fn preemptible(spec: &mut JobSpec) {
    spec.preemptible = true;
}

/// Submits a job that is placed and runs at once.
fn run(c: &mut Cluster, of: &str, edit: impl FnOnce(&mut JobSpec)) -> u64 {
    let id = c.submit(of, edit).0;
    let on = c.worker_of(id).expect("it was placed").to_owned();
    c.report(&on, &format!("{id}.1"), phase(AttemptPhase::Running))
        .unwrap();
    id
}

/// The jobs that were ordered to stop, once each; orders repeat until they are answered.
fn stopped(c: &Cluster) -> Vec<u64> {
    let stops = c.acts.iter().filter_map(|act| match act {
        Effect::Stop { attempt, .. } => Some(attempt.job.0),
        _ => None,
    });
    let mut stopped: Vec<u64> = stops.collect();
    stopped.dedup();
    stopped
}

#[test]
fn a_floor_is_served_before_others_of_the_same_class_and_no_further() {
    let mut c = Cluster::new();
    c.join("w1", 4);
    set_floor(&mut c, "anna", 2000);
    // Anna has had far more than Bert.
    run(&mut c, "anna", |spec| spec.request.gpus = 3);
    let last = run(&mut c, "carl", |_| {});
    c.pass(5000, &["w1"]);
    c.report("w1", "1.1", done(Cause::Succeeded)).unwrap();
    run(&mut c, "carl", |spec| spec.request.gpus = 3);
    for _ in 0..3 {
        c.submit("bert", |_| {});
        c.submit("anna", |_| {});
    }
    let urgent = c.submit("bert", |spec| spec.class = Class::Urgent).0;
    // Two of Anna's go before Bert's, the third after them, and the urgent one before all.
    assert_eq!(c.queue(), [urgent, 5, 7, 4, 6, 8, 9]);
    c.report("w1", &format!("{last}.1"), done(Cause::Succeeded))
        .unwrap();
    c.report("w1", "3.1", done(Cause::Succeeded)).unwrap();
    let placed = [urgent, 5, 7, 4].map(|id| c.phase(id));
    assert_eq!(placed, [Phase::Assigned; 4]);
    assert_eq!(c.queue(), [6, 8, 9]);
}

#[test]
fn a_floor_of_a_group_is_used_up_by_any_of_its_members() {
    let mut c = Cluster::new();
    c.ok(group_set("ml", 1.0, floor(2000)));
    for name in ["anna", "bert"] {
        c.ok(member(name, Membership::Of(group("ml"))));
    }
    for name in ["carl", "anna", "bert", "anna", "bert"] {
        c.submit(name, |_| {});
        c.now = c.now.after(Duration::from_secs(1));
    }
    assert_eq!(c.queue()[..3], [2, 3, 1], "two within it, then Carl");
    c.join("w1", 3);
    assert_eq!(c.queue(), [4, 5]);
}

#[test]
fn what_is_within_a_floor_does_not_wait_for_an_own_job_that_is_not() {
    let mut c = Cluster::new();
    set_floor(&mut c, "anna", 1000);
    c.submit("bert", |_| {});
    c.submit("anna", |spec| spec.request.gpus = 2);
    c.submit("anna", |_| {});
    c.submit("anna", |_| {});
    assert_eq!(c.queue()[0], 3);
    c.join("w1", 2);
    assert_eq!(c.phase(3), Phase::Assigned);
    assert_eq!(c.phase(1), Phase::Assigned);
    assert_eq!(c.queue(), [2, 4], "and then they go in their own order");
}

#[test]
fn a_job_without_gpus_has_no_part_in_a_floor() {
    let mut c = Cluster::new();
    set_floor(&mut c, "anna", 1000);
    c.submit("bert", |spec| spec.request.gpus = 0);
    c.now = c.now.after(Duration::from_secs(1));
    c.submit("anna", |spec| spec.request.gpus = 0);
    assert_eq!(c.queue(), [1, 2]);
}

/// A machine with four GPUs that others' preemptible jobs fill: 1 to 3 of Bert's, 4 of Carl's, in the order in
/// which they began, a second between.
fn full() -> Cluster {
    let mut c = Cluster::new();
    c.join("w1", 4);
    for of in ["bert", "bert", "bert", "carl"] {
        run(&mut c, of, preemptible);
        c.pass(1, &["w1"]);
    }
    c
}

#[test]
fn others_are_stopped_for_a_floor_as_far_as_it_goes() {
    let mut c = full();
    set_floor(&mut c, "anna", 2000);
    c.submit("anna", |_| {});
    c.submit("anna", |_| {});
    c.submit("anna", |_| {});
    c.pass(594, &["w1"]);
    assert_eq!(stopped(&c), [0; 0], "none has run for ten minutes");
    c.pass(10, &["w1"]);
    // Least work is lost with the one that began last and has run for long enough; at first only 1 had.
    assert_eq!(stopped(&c), [1]);
    c.report("w1", "1.1", done(Cause::Preempted)).unwrap();
    assert_eq!(c.phase(5), Phase::Assigned);
    assert_eq!(stopped(&c), [4]);
    c.report("w1", "4.1", done(Cause::Preempted)).unwrap();
    assert_eq!(c.phase(6), Phase::Assigned);
    c.pass(1000, &["w1"]);
    assert_eq!(stopped(&c), [0; 0], "the third would be past the floor");
    assert_eq!(c.phase(7), Phase::Queued);
}

#[test]
fn nobody_is_stopped_for_who_has_no_floor() {
    let mut c = full();
    c.submit("anna", |_| {});
    c.pass(1000, &["w1"]);
    assert_eq!(stopped(&c), [0; 0]);
    // Nor for a nice job, whose place others would take.
    set_floor(&mut c, "dora", 2000);
    c.submit("dora", |spec| spec.class = Class::Nice);
    c.pass(10, &["w1"]);
    assert_eq!(stopped(&c), [0; 0]);
    // Nor for one that a limit keeps back.
    c.ok(Event::UserSet {
        user: user("emil"),
        weight: 1.0,
        guards: Guards {
            max_running: Some(0),
            ..floor(1000)
        },
        group: Membership::Unchanged,
    });
    c.submit("emil", |_| {});
    c.pass(10, &["w1"]);
    assert_eq!(stopped(&c), [0; 0]);
}

#[test]
fn no_floor_is_broken_for_another() {
    // Bert keeps two of his three, and Carl his only one.
    let mut c = full();
    set_floor(&mut c, "bert", 2000);
    set_floor(&mut c, "carl", 1000);
    set_floor(&mut c, "anna", 4000);
    c.submit("anna", |_| {});
    c.submit("anna", |_| {});
    c.pass(700, &["w1"]);
    assert_eq!(stopped(&c), [1]);
    c.report("w1", "1.1", done(Cause::Preempted)).unwrap();
    c.pass(700, &["w1"]);
    assert_eq!(stopped(&c), [0; 0]);
    assert_eq!(c.phase(6), Phase::Queued);

    // Nor that of a group by its members' jobs, whoever's they are.
    let mut c = full();
    c.ok(group_set("ml", 1.0, floor(3000)));
    for name in ["bert", "carl"] {
        c.ok(member(name, Membership::Of(group("ml"))));
    }
    set_floor(&mut c, "anna", 4000);
    c.submit("anna", |spec| spec.request.gpus = 2);
    c.pass(700, &["w1"]);
    assert_eq!(stopped(&c), [0; 0], "two would be too many");
    c.cancel(5).unwrap();
    c.submit("anna", |_| {});
    assert_eq!(stopped(&c), [4], "one is not");
}

#[test]
fn what_is_being_stopped_counts_as_gone() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    run(&mut c, "bert", preemptible);
    c.join("w2", 2);
    run(&mut c, "bert", preemptible);
    run(&mut c, "bert", preemptible);
    c.pass(700, &["w1", "w2"]);
    set_floor(&mut c, "bert", 1000);
    set_floor(&mut c, "anna", 2000);
    c.cancel(1).unwrap();
    c.submit("anna", |spec| spec.request.gpus = 2);
    assert_eq!(stopped(&c), [0; 0], "or else he would have nothing left");
    c.cancel(4).unwrap();
    set_floor(&mut c, "bert", 0);
    c.submit("anna", |spec| spec.request.gpus = 2);
    assert_eq!(stopped(&c), [2, 3]);
}

#[test]
fn a_groups_floor_takes_nothing_from_its_own_members_but_a_members_may() {
    let mut c = full();
    c.ok(group_set("ml", 1.0, floor(4000)));
    for name in ["anna", "bert"] {
        c.ok(member(name, Membership::Of(group("ml"))));
    }
    c.submit("anna", |_| {});
    c.pass(700, &["w1"]);
    assert_eq!(
        stopped(&c),
        [4],
        "Carl's, though Bert's have run for longer"
    );

    let mut c = full();
    c.ok(group_set("ml", 1.0, floor(3000)));
    for name in ["anna", "bert"] {
        c.ok(member(name, Membership::Of(group("ml"))));
    }
    set_floor(&mut c, "anna", 1000);
    set_floor(&mut c, "carl", 1000);
    c.submit("anna", |_| {});
    c.pass(602, &["w1"]);
    // The group has no less with hers in his place.
    assert_eq!(stopped(&c), [1]);
}

#[test]
fn what_is_freed_for_a_floor_or_an_urgent_job_is_not_kept_for_a_big_one() {
    for class in [Class::Normal, Class::Urgent] {
        let mut c = Cluster::new();
        c.join("w1", 2);
        for of in ["bert", "carl"] {
            run(&mut c, of, |spec| {
                preemptible(spec);
                spec.time_request = Some(Duration::from_secs(10_000));
            });
        }
        c.submit("dora", |spec| spec.request.gpus = 2);
        assert!(matches!(c.state.blocked(), Some(Blocked::Reserved(_))));
        c.pass(700, &["w1"]);
        if class == Class::Normal {
            set_floor(&mut c, "anna", 1000);
        }
        c.submit("anna", |spec| {
            spec.class = class;
            spec.time_request = Some(Duration::from_secs(500));
        });
        assert_eq!(stopped(&c), [1], "{class:?}");
        c.report("w1", "1.1", done(Cause::Preempted)).unwrap();
        assert_eq!(c.phase(4), Phase::Assigned, "{class:?}");
        // What is kept for the big job is kept from everybody else.
        c.submit("emil", |_| {});
        assert!(matches!(c.state.blocked(), Some(Blocked::Reserved(_))));
        assert_eq!(c.phase(3), Phase::Queued);
    }
}

#[test]
fn what_is_taken_from_a_reserved_job_is_kept_from_nobody() {
    let mut c = Cluster::recency();
    c.join("w1", 1);
    c.submit("anna", |spec| {
        spec.time_request = Some(Duration::from_secs(100))
    });
    c.submit("bert", |_| {});
    let guards = Guards {
        floor: Some(MilliGpu(500)),
        ..Guards::default()
    };
    c.ok(Event::UserSet {
        user: user("carl"),
        weight: 1.0,
        guards,
        group: Membership::Unchanged,
    });
    let half = |spec: &mut JobSpec| spec.request.gpu_amount = GpuAmount::Milli(MilliGpu(500));
    c.submit("carl", half);
    c.submit("dora", |spec| {
        half(spec);
        spec.time_request = Some(Duration::from_secs(3600));
    });
    c.report("w1", "1.1", done(Cause::Succeeded)).unwrap();
    assert_eq!(c.phase(3), Phase::Assigned, "it is within a floor");
    assert_eq!(
        c.phase(2),
        Phase::Queued,
        "the whole GPU is gone, for a day as is assumed"
    );
    assert_eq!(
        c.phase(4),
        Phase::Assigned,
        "so that the rest is kept for nobody until then"
    );
}

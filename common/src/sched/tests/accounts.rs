//! What users are charged and refunded, and how that ranks them.

use super::*;
use crate::penalty::usage::{Rate, charged, kept, normalised};

const H: Duration = Duration::from_secs(86_400);

fn usage(c: &Cluster, name: &str) -> f64 {
    account_of(&c.state, c.now, &user(name)).usage
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

#[test]
fn an_attempt_is_charged_from_its_placing_and_at_least_the_minimum() {
    let mut c = Cluster::new();
    c.join("w1", 2);
    c.submit("anna", |spec| spec.request.gpus = 2);
    assert!(
        close(usage(&c, "anna"), 120.0),
        "two GPUs for a minute, at once"
    );
    c.pass(10, &["w1"]);
    c.report("w1", "1.1", done(Cause::UserError)).unwrap();
    let deposit = 120.0 * kept(Duration::from_secs(10), H);
    assert!(
        close(usage(&c, "anna"), deposit),
        "no more than the minimum"
    );
    c.submit("bert", |_| {});
    c.pass(1000, &["w1"]);
    c.report("w1", "2.1", done(Cause::Succeeded)).unwrap();
    let held = charged(Rate::GPU, Duration::from_secs(1000), H);
    assert!(close(usage(&c, "bert"), held), "the minimum is given back");
}

#[test]
fn what_the_infrastructure_caused_is_refunded_exactly() {
    type End = fn(&mut Cluster);
    let refunded: [(&str, End); 3] = [
        ("a fault", |c| {
            c.report("w1", "2.1", done(Cause::GpuFault)).unwrap();
        }),
        ("a refusal", |c| {
            let reason = "full".to_owned();
            c.report("w1", "2.1", Progress::Refused { reason }).unwrap();
        }),
        ("a loss", |c| c.pass(600, &["w2"])),
    ];
    for (what, end) in refunded {
        let mut c = Cluster::new();
        c.join("w2", 1);
        c.submit("anna", |_| {});
        c.join("w1", 1);
        c.submit("anna", |_| {});
        let start = c.now;
        c.pass(300, &["w1", "w2"]);
        end(&mut c);
        // What is left is the account of the other job alone.
        let held = c.now.since(start);
        let expected = 60.0 * kept(held, H) + charged(Rate::GPU, held, H);
        let usage = usage(&c, "anna");
        assert!(close(usage, expected), "{what}: {usage} is not {expected}");
    }
}

#[test]
fn nice_jobs_are_free_and_jobs_without_gpu_are_cheap() {
    let mut c = Cluster::new();
    c.join("w1", 2);
    c.submit("anna", |spec| spec.class = Class::Nice);
    assert!(close(usage(&c, "anna"), 0.0));
    c.submit("bert", |spec| {
        spec.request.gpus = 0;
        spec.request.cpu = Some(MilliCpu(4000));
    });
    // A quarter of the cores, at a tenth of a GPU for all of them, for a minute.
    assert!(close(usage(&c, "bert"), 0.25 * 0.1 * 60.0));
}

#[test]
fn models_are_weighted_and_the_cluster_is_the_measure() {
    let mut settings = Settings::default();
    settings.usage.gpu_weights = vec![("a100".to_owned(), 3.0)];
    let mut c = Cluster::with(settings);
    c.join("w1", 2);
    c.submit("anna", |spec| {
        spec.request.gpu_amount = GpuAmount::Milli(MilliGpu(500));
    });
    let account = account_of(&c.state, c.now, &user("anna"));
    assert!(close(account.rate, 1.5));
    assert!(close(account.capacity, 6.0));
    let penalty = normalised(90.0, Rate(6_000_000), H);
    assert!(close(account.penalty, penalty));
    c.ok(Event::UserSet {
        user: user("anna"),
        weight: 3.0,
        guards: Guards::default(),
        group: Membership::Unchanged,
    });
    assert!(close(
        penalty_of(&c.state, c.now, &user("anna")),
        penalty / 3.0
    ));
}

#[test]
fn two_who_come_at_once_take_turns_from_the_first_job_on() {
    let mut c = Cluster::new();
    for name in ["anna", "bert"] {
        for _ in 0..4 {
            c.submit(name, |_| {});
        }
    }
    c.join("w1", 4);
    let assigned: Vec<u64> = c
        .state
        .jobs()
        .filter(|job| job.state.phase() == Phase::Assigned)
        .map(|job| job.id.0)
        .collect();
    assert_eq!(assigned, [1, 2, 5, 6]);
}

#[test]
fn what_ranks_a_user_is_told_part_by_part() {
    let mut settings = Settings::default();
    settings.usage.ask_weight = 0.4;
    settings.usage.aging = 0.2;
    settings.usage.aging_after = Duration::from_secs(600);
    let mut c = Cluster::with(settings);
    c.join("w1", 4);
    c.submit("anna", |spec| spec.request.gpus = 4);
    let none = Turns::new(&c.state, c.now);
    assert_eq!(
        none.of(&user("anna")),
        None,
        "what has begun has had its turn"
    );
    c.submit("anna", |spec| spec.request.gpus = 2);
    c.pass(150, &["w1"]);
    let told = |c: &Cluster, name| Turns::new(&c.state, c.now).of(&user(name)).unwrap();
    let turn = told(&c, "anna");
    assert_eq!((turn.job.id.0, turn.is_within_floor), (2, false));
    assert!(close(turn.ask, 0.4 * 2.0 / 4.0) && close(turn.aging, 0.2 * 150.0 / 600.0));
    let penalty = penalty_of(&c.state, c.now, &user("anna"));
    assert!(penalty > 0.0 && close(turn.penalty, penalty));
    assert!(close(turn.rank_value(), penalty + 0.2 - 0.05));
    assert_eq!(turn.group_rank_value(), None);

    let floor = Guards {
        floor: Some(MilliGpu(1000)),
        ..Guards::default()
    };
    groups::join_group(&mut c, "ml", floor, &["anna", "bert"]);
    c.submit("bert", |_| {});
    let [anna, bert] = ["anna", "bert"].map(|name| told(&c, name));
    assert!(close(
        anna.group_rank_value().unwrap(),
        penalty + 0.2 - 0.05
    ));
    assert!(
        close(bert.rank_value(), 0.1) && close(bert.group_rank_value().unwrap(), penalty + 0.1)
    );
    c.pass(650, &["w1"]);
    assert!(close(told(&c, "bert").aging, 0.2), "capped");
}

#[test]
fn waiting_improves_a_rank_and_no_more_than_so_much() {
    for (aging, expected) in [(0.0, [4, 2]), (0.2, [2, 4])] {
        let mut settings = Settings::default();
        settings.usage.aging = aging;
        settings.usage.aging_after = Duration::from_secs(600);
        let mut c = Cluster::with(settings);
        c.join("w1", 1);
        c.submit("carl", |_| {});
        c.submit("anna", |_| {});
        c.submit("anna", |spec| spec.request.gpus = 0);
        // Anna has had something, but has waited longer than Bert, who had nothing.
        c.pass(3600, &["w1"]);
        c.submit("bert", |_| {});
        assert_eq!(c.queue(), expected);
    }
}

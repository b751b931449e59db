//! Between the end of a container and the end of its job: nothing is held and nothing is charged.

use super::*;
use crate::job::{Results, Stage};
use crate::penalty::usage::{Rate, charged, kept};

const H: Duration = Duration::from_secs(86_400);

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

/// A job that ran for 1,000 s and whose container has just ended.
fn publishing() -> Cluster {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |spec| {
        spec.time_limit = Some(Duration::from_secs(1500));
    });
    c.report("w1", "1.1", phase(AttemptPhase::Running)).unwrap();
    c.pass(1000, &["w1"]);
    c.report("w1", "1.1", phase(AttemptPhase::Uploading))
        .unwrap();
    c
}

#[test]
fn what_an_ended_container_held_goes_to_the_next_at_once() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.submit("bert", |_| {});
    c.report("w1", "1.1", phase(AttemptPhase::Running)).unwrap();
    assert_eq!(c.phase(2), Phase::Queued);
    c.report("w1", "1.1", phase(AttemptPhase::Uploading))
        .unwrap();
    assert_eq!(c.phase(1), Phase::Publishing);
    assert_eq!(c.worker_of(2), Some("w1"), "it has the GPU");
    let again = c.report("w1", "1.1", phase(AttemptPhase::Uploading));
    assert_eq!(again, Err(Rejected::Repeated(attempt("1.1"))));
    let held = held(&c.state, &worker("w1"));
    assert_eq!(held.cpu, MilliCpu(1000), "the second job's alone");
}

#[test]
fn a_stopped_container_gives_back_what_it_held_too() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.submit("bert", |_| {});
    c.report("w1", "1.1", phase(AttemptPhase::Running)).unwrap();
    c.cancel(1).unwrap();
    assert_eq!(c.phase(2), Phase::Queued, "until it has ended");
    c.report("w1", "1.1", phase(AttemptPhase::Uploading))
        .unwrap();
    assert_eq!(c.phase(1), Phase::Stopping);
    assert_eq!(c.worker_of(2), Some("w1"));
}

#[test]
fn charges_end_with_the_container() {
    let mut c = publishing();
    let held = charged(Rate::GPU, Duration::from_secs(1000), H);
    let deposit = 60.0 * kept(Duration::from_secs(1000), H);
    c.pass(300, &["w1"]);
    let gone = kept(Duration::from_secs(300), H);
    let account = account_of(&c.state, c.now, &user("anna"));
    assert!(close(account.usage, (held + deposit) * gone));
    assert!(close(account.rate, 0.0));
    let receipt = receipt(&c.state, c.now, &user("anna"));
    assert!(close(receipt.earlier, 0.0), "{receipt:?}");
    c.report("w1", "1.1", done(Cause::Succeeded)).unwrap();
    let account = account_of(&c.state, c.now, &user("anna"));
    assert!(close(account.usage, held * gone), "the minimum is back");
    let charge = c.job(1).charges[0];
    assert_eq!(charge.to.since(charge.from), Duration::from_secs(1000));
}

#[test]
fn a_machine_that_is_lost_while_it_publishes_costs_nothing() {
    let mut c = publishing();
    c.pass(600, &[]);
    assert_eq!(c.phase(1), Phase::Queued, "its results are lost");
    let usage = account_of(&c.state, c.now, &user("anna")).usage;
    assert!(close(usage, 0.0), "{usage}");
}

#[test]
fn neither_a_time_limit_nor_another_job_ends_it() {
    let mut c = publishing();
    c.pass(1000, &["w1"]);
    assert_eq!(c.phase(1), Phase::Publishing);
    c.submit("bert", |spec| spec.class = Class::Urgent);
    c.report("w1", "2.1", phase(AttemptPhase::Running)).unwrap();
    c.pass(600, &["w1"]);
    assert_eq!(c.phase(1), Phase::Publishing);
    let results = Results {
        files: 3,
        bytes: 7,
        ..Results::default()
    };
    let Progress::Finished {
        outcome,
        ran,
        log_bytes,
        ..
    } = done(Cause::Succeeded)
    else {
        panic!("it is an end");
    };
    let progress = Progress::Finished {
        outcome,
        ran,
        log_bytes,
        results: Some(results.clone()),
    };
    c.report("w1", "1.1", progress).unwrap();
    let finished = c.job(1).state.finished().unwrap();
    assert_eq!(finished.results, Some(results));
}

#[test]
fn cancelling_ends_it() {
    let mut c = publishing();
    c.cancel(1).unwrap();
    assert!(matches!(&c.acts[..], [Effect::Stop { .. }]), "{:?}", c.acts);
    assert!(c.job(1).state.stage().and_then(Stage::stopping).is_some());
    c.report("w1", "1.1", done(Cause::Cancelled)).unwrap();
    assert_eq!(c.cause(1), Some(Cause::Cancelled));
}

#[test]
fn only_a_user_who_cancels_again_insists() {
    let insists = |c: &Cluster| match &c.acts[..] {
        [Effect::Stop { insists, .. }] => *insists,
        acts => panic!("{acts:?}"),
    };
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.report("w1", "1.1", phase(AttemptPhase::Running)).unwrap();
    c.cancel(1).unwrap();
    assert!(!insists(&c));
    c.cancel(1).unwrap();
    assert!(!insists(&c), "its container runs");
    c.report("w1", "1.1", phase(AttemptPhase::Uploading))
        .unwrap();
    c.cancel(1).unwrap();
    assert!(insists(&c));
}

#[test]
fn cancelling_ends_what_its_time_limit_stopped_before() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |spec| {
        spec.time_limit = Some(Duration::from_secs(10));
    });
    c.report("w1", "1.1", phase(AttemptPhase::Running)).unwrap();
    c.pass(11, &["w1"]);
    c.report("w1", "1.1", phase(AttemptPhase::Uploading))
        .unwrap();
    c.cancel(1).unwrap();
    let [Effect::Stop { outcome, .. }] = &c.acts[..] else {
        panic!("{:?}", c.acts);
    };
    assert_eq!(outcome.cause, Cause::Cancelled);
}

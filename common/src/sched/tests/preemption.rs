//! Urgent jobs take the place of those that allow it, and no more of them than they need.

use super::*;

fn preemptible(spec: &mut JobSpec) {
    spec.preemptible = true;
}

fn urgent(spec: &mut JobSpec) {
    spec.class = Class::Urgent;
}

/// Two machines with two GPUs each, full: jobs 1 and 2 began ten minutes before 3 and 4.
fn full() -> Cluster {
    let mut c = Cluster::new();
    c.join("w1", 2);
    c.join("w2", 2);
    for id in 1..=4 {
        c.submit("anna", preemptible);
        let (name, attempt) = (c.worker_of(id).unwrap().to_owned(), format!("{id}.1"));
        c.report(&name, &attempt, phase(AttemptPhase::Running))
            .unwrap();
        if id == 2 {
            c.pass(600, &["w1", "w2"]);
        }
    }
    c
}

fn stopped(c: &Cluster) -> Vec<u64> {
    let stops = c.acts.iter().filter_map(|act| match act {
        Effect::Stop { attempt, .. } => Some(attempt.job.0),
        _ => None,
    });
    stops.collect()
}

#[test]
fn least_work_is_lost_among_those_that_ran_long_enough() {
    let mut c = full();
    c.submit("bert", urgent);
    // 3 and 4 have lost less, but have not run for ten minutes.
    assert_eq!(stopped(&c), [1]);
    assert_eq!(c.phase(1), Phase::Stopping);
    c.pass(5, &["w1", "w2"]);
    assert_eq!(c.phase(2), Phase::Running, "one place is enough");
    let name = c.worker_of(1).unwrap().to_owned();
    c.report(&name, "1.1", done(Cause::Preempted)).unwrap();
    assert_eq!(c.worker_of(5), Some(name.as_str()));
    assert_eq!(c.phase(1), Phase::Queued);
    assert_eq!(c.queue(), [1], "at its old place, before what came later");
    assert_eq!(c.job(1).retries_used + c.job(1).faults, 0);
}

#[test]
fn a_checkpoint_is_run_again_and_a_success_is_a_success() {
    for (exit_code, phase, cause) in [
        (Some(85), Phase::Queued, Cause::UserError),
        (Some(0), Phase::Finished, Cause::Succeeded),
    ] {
        let mut c = full();
        c.submit("bert", urgent);
        let name = c.worker_of(1).unwrap().to_owned();
        let outcome = Outcome {
            exit_code,
            ..Outcome::new(cause, "it ended by itself")
        };
        let progress = Progress::Finished {
            outcome,
            ran: Duration::ZERO,
            log_bytes: 0,
            results: None,
        };
        c.report(&name, "1.1", progress).unwrap();
        assert_eq!(c.phase(1), phase);
    }
}

#[test]
fn nobody_is_stopped_in_vain_or_against_their_will() {
    let two = |spec: &mut JobSpec| {
        urgent(spec);
        spec.request.gpus = 2;
    };
    let mut c = full();
    c.submit("bert", two);
    assert_eq!(stopped(&c), [1, 2], "both on one machine, and no others");

    let mut c = Cluster::new();
    c.join("w1", 2);
    for edit in [preemptible, |_: &mut JobSpec| {}] {
        c.submit("anna", edit);
    }
    for attempt in ["1.1", "2.1"] {
        c.report("w1", attempt, phase(AttemptPhase::Running))
            .unwrap();
    }
    c.pass(1000, &["w1"]);
    c.submit("bert", two);
    assert_eq!(stopped(&c), [0; 0], "stopping one alone makes no room");

    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.report("w1", "1.1", phase(AttemptPhase::Running)).unwrap();
    c.pass(1000, &["w1"]);
    c.submit("bert", urgent);
    assert_eq!(stopped(&c), [0; 0]);
    c.submit("carl", |_| {});
    assert_eq!(c.queue(), [2, 3]);
}

#[test]
fn a_cancelled_job_is_not_queued_again_though_it_was_being_preempted() {
    let mut c = full();
    c.submit("bert", urgent);
    c.cancel(1).unwrap();
    let name = c.worker_of(1).unwrap().to_owned();
    c.report(&name, "1.1", done(Cause::Preempted)).unwrap();
    assert_eq!(c.cancelled_by(1), Some(user("admin")));
}

//! What is expected of jobs: by what their users said, by earlier runs, by their limit; and what is planned
//! with it.

use super::*;
use crate::job::{Expected, ExpectedBy};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

impl Cluster {
    /// Runs a job on the named machine, which must have room, to its end.
    fn run(&mut self, name: &str, ran: u64, cause: Cause, edit: impl FnOnce(&mut JobSpec)) {
        let id = self.submit("anna", edit);
        let on = self.worker_of(id.0).expect("it has a machine").to_owned();
        assert_eq!(on, name);
        let progress = Progress::Finished {
            outcome: Outcome::new(cause, ""),
            ran: secs(ran),
            log_bytes: 0,
            results: None,
        };
        self.report(name, &format!("{id}.1"), progress).unwrap();
    }

    fn expected(&self, id: JobId) -> Option<Expected> {
        expected(&self.state, self.state.job(id).unwrap())
    }

    /// What would be expected of such a job, which then is cancelled.
    fn would_expect(&mut self, of: &str, edit: impl FnOnce(&mut JobSpec)) -> Option<Expected> {
        let id = self.submit(of, edit);
        let expected = self.expected(id);
        self.cancel(id.0).unwrap();
        if let Some(attempt) = self.job(id.0).attempt() {
            let on = self.worker_of(id.0).unwrap().to_owned();
            let progress = done(Cause::Cancelled);
            let attempt = format!("{}.{}", attempt.job, attempt.number);
            self.report(&on, &attempt, progress).unwrap();
        }
        expected
    }
}

fn about(expected: Option<Expected>, typical: u64, longest: u64, by: ExpectedBy) {
    let expected = expected.expect("something is expected");
    let near = |told: Duration, exact: u64| {
        let (told, exact) = (told.as_millis(), u128::from(exact) * 1000);
        assert!(told.abs_diff(exact) * 32 <= exact, "{expected:?}");
    };
    near(expected.typical, typical);
    near(expected.longest, longest);
    assert_eq!(expected.by, by);
}

#[test]
fn what_was_said_goes_before_what_is_learned_and_a_limit_bounds_both() {
    let mut cluster = Cluster::new();
    cluster.join("w1", 1);
    assert_eq!(cluster.would_expect("anna", |_| {}), None);
    let limited = cluster.would_expect("anna", |spec| spec.time_limit = Some(secs(500)));
    about(limited, 500, 500, ExpectedBy::Limit);
    for ran in [100, 200, 300, 1000] {
        cluster.run("w1", ran, Cause::Succeeded, |_| {});
    }
    let learned = ExpectedBy::Learned { runs: 4 };
    about(cluster.would_expect("anna", |_| {}), 200, 1000, learned);
    let limited = cluster.would_expect("anna", |spec| spec.time_limit = Some(secs(500)));
    about(limited, 200, 500, learned);
    let requested = cluster.would_expect("anna", |spec| {
        spec.time_request = Some(secs(50));
        spec.time_limit = Some(secs(500));
    });
    about(requested, 50, 50, ExpectedBy::Request);
    let too_much = cluster.would_expect("anna", |spec| {
        spec.time_request = Some(secs(5000));
        spec.time_limit = Some(secs(500));
    });
    about(too_much, 500, 500, ExpectedBy::Request);
    // Neither other names nor other users' jobs are like it.
    let renamed = cluster.would_expect("anna", |spec| "other".clone_into(&mut spec.name));
    assert_eq!(renamed, None);
    assert_eq!(cluster.would_expect("bert", |_| {}), None);
}

#[test]
fn only_whole_runs_that_succeeded_are_learned_from() {
    let mut cluster = Cluster::new();
    cluster.join("w1", 1);
    for cause in [Cause::UserError, Cause::OomHost, Cause::TimeLimit] {
        cluster.run("w1", 10, cause, |_| {});
    }
    // A container that never ran says nothing, nor does what may have gone on from a checkpoint.
    cluster.run("w1", 0, Cause::Succeeded, |_| {});
    let again = cluster.submit("anna", |spec| spec.preemptible = true);
    let failed = done(Cause::Preempted);
    cluster.report("w1", &format!("{again}.1"), failed).unwrap();
    let ended = done(Cause::Succeeded);
    cluster.report("w1", &format!("{again}.2"), ended).unwrap();
    cluster.run("w1", 10, Cause::Succeeded, |_| {});
    cluster.run("w1", 10, Cause::Succeeded, |_| {});
    assert_eq!(cluster.would_expect("anna", |_| {}), None);
    cluster.run("w1", 10, Cause::Succeeded, |_| {});
    let learned = ExpectedBy::Learned { runs: 3 };
    about(cluster.would_expect("anna", |_| {}), 10, 10, learned);
}

#[test]
fn models_of_gpu_are_told_apart_once_enough_ran_on_them() {
    let mut cluster = Cluster::new();
    let mut slow = capacity("slow", 1);
    "Tesla T4".clone_into(&mut slow.gpus[0].model);
    cluster.ok(Event::WorkerJoined {
        worker: worker("slow"),
        session: "session".into(),
        capacity: slow,
        images: [].into(),
        machine: Arc::default(),
        known: Vec::new(),
    });
    cluster.join("fast", 1);
    let on = |model: &str| {
        let model = model.to_owned();
        move |spec: &mut JobSpec| spec.request.gpu_models = vec![model]
    };
    for _ in 0..3 {
        cluster.run("fast", 100, Cause::Succeeded, on("A100"));
    }
    // Two runs on the slow one are too few to go by, but count among all.
    for _ in 0..2 {
        cluster.run("slow", 900, Cause::Succeeded, on("T4"));
    }
    let of_five = ExpectedBy::Learned { runs: 5 };
    about(cluster.would_expect("anna", on("T4")), 100, 900, of_five);
    cluster.run("slow", 900, Cause::Succeeded, on("T4"));
    let of_three = ExpectedBy::Learned { runs: 3 };
    about(cluster.would_expect("anna", on("T4")), 900, 900, of_three);
    about(cluster.would_expect("anna", on("A100")), 100, 100, of_three);
}

#[test]
fn what_is_forgotten_is_learned_no_more() {
    let mut cluster = Cluster::with(Settings {
        history_max_jobs: 3,
        ..Settings::default()
    });
    cluster.join("w1", 1);
    for ran in [100, 100, 100, 700, 700] {
        cluster.run("w1", ran, Cause::Succeeded, |_| {});
    }
    let learned = ExpectedBy::Learned { runs: 3 };
    about(cluster.would_expect("anna", |_| {}), 700, 700, learned);
}

#[test]
fn an_attempt_keeps_what_was_expected_of_it() {
    let mut cluster = Cluster::new();
    cluster.join("w1", 2);
    for _ in 0..3 {
        cluster.run("w1", 100, Cause::Succeeded, |_| {});
    }
    let first = cluster.submit("anna", |_| {});
    for _ in 0..9 {
        cluster.run("w1", 500, Cause::Succeeded, |_| {});
    }
    let learned = |runs| ExpectedBy::Learned { runs };
    about(cluster.expected(first), 100, 100, learned(3));
    let second = cluster.submit("anna", |_| {});
    about(cluster.expected(second), 500, 500, learned(12));
    let ended = done(Cause::Succeeded);
    cluster.report("w1", &format!("{first}.1"), ended).unwrap();
    about(cluster.expected(first), 100, 100, learned(3));
}

#[test]
fn places_are_kept_by_what_nine_in_ten_took() {
    let mut cluster = Cluster::new();
    cluster.join("w1", 2);
    for ran in [100, 100, 100, 100, 600] {
        cluster.run("w1", ran, Cause::Succeeded, |_| {});
    }
    let began = cluster.now;
    cluster.submit("anna", |_| {});
    let big = cluster.submit("bert", |spec| spec.request.gpus = 2);
    let kept = match cluster.state.blocked() {
        Some(Blocked::Reserved(kept)) => kept.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(kept.job, big);
    let waits = kept.at.since(began);
    assert!(waits.abs_diff(secs(600)) < secs(20), "{waits:?}");
    // One that mostly takes as long may go before it; one of which nothing is known may not.
    let stranger = cluster.submit("bert", |_| {});
    let like_the_first = cluster.submit("anna", |_| {});
    assert_eq!(cluster.phase(stranger.0), Phase::Queued);
    assert_eq!(cluster.phase(like_the_first.0), Phase::Assigned);
}

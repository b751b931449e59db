//! Arrays: one row that waits, tasks that are jobs, an end that tells of all of them.

use super::*;
use crate::job::{ArraySpec, Finished, TaskEnds};

fn array(spec: &mut JobSpec, indexes: &str, max_running: Option<u32>) {
    spec.array = Some(ArraySpec {
        indexes: indexes.parse().unwrap(),
        max_running,
    });
}

fn finished(c: &Cluster, id: u64) -> &Finished {
    c.job(id).state.finished().expect("it has ended")
}

fn ends(c: &Cluster, id: u64) -> &TaskEnds {
    finished(c, id).tasks.as_deref().unwrap()
}

/// The tasks of array 1 that have a machine, by index.
fn active(c: &Cluster) -> Vec<u32> {
    let tasks = c.state.tasks(JobId(1));
    let active = tasks.filter(|task| task.state.active().is_some());
    active.filter_map(|task| Some(task.task?.index)).collect()
}

fn end(c: &mut Cluster, id: &str, cause: Cause) {
    c.report("w1", id, done(cause)).unwrap();
}

#[test]
fn tasks_are_begun_in_order_as_machines_come_free_and_the_array_ends_with_the_last() {
    let mut c = Cluster::new();
    c.join("w1", 2);
    let id = c.submit("anna", |spec| array(spec, "0-2,7", None));
    assert_eq!((id, c.state.meta().last_job), (JobId(5), 5));
    assert_eq!(active(&c), [0, 1]);
    assert_eq!(c.phase(1), Phase::Running);
    assert_eq!(c.queue(), [1], "one row for all that wait");
    assert_eq!(c.state.task(JobId(1), 7), None);
    end(&mut c, "2.1", Cause::Succeeded);
    assert_eq!(active(&c), [1, 2]);
    end(&mut c, "3.1", Cause::Succeeded);
    assert_eq!(
        c.job(5).task.unwrap().index,
        7,
        "the fourth id is the last index's"
    );
    assert_eq!(c.queue(), [0; 0]);
    end(&mut c, "5.1", Cause::UserError);
    assert_eq!(c.phase(1), Phase::Running);
    end(&mut c, "4.1", Cause::Succeeded);
    let end = finished(&c, 1);
    assert_eq!(end.outcome.cause, Cause::UserError);
    assert_eq!(
        end.outcome.detail,
        "3 of 4 tasks succeeded, 1 failed (7); the first of them: it ended"
    );
    assert_eq!(ends(&c, 1).succeeded.to_string(), "0-2");
    let next = c.submit("anna", |_| {});
    assert_eq!(next, JobId(6));
}

#[test]
fn no_more_tasks_are_under_way_than_may_be() {
    let mut c = Cluster::new();
    c.join("w1", 4);
    c.submit("anna", |spec| {
        array(spec, "0-4", Some(2));
        spec.retries = 1;
    });
    assert_eq!(active(&c), [0, 1]);
    let why = explain(&c.state, c.now, JobId(1)).unwrap();
    assert_eq!(why.reasons.first(), Some(&Reason::ArrayLimit { max: 2 }));
    // One that is tried again keeps its place, and when its time comes it goes before the rest.
    end(&mut c, "2.1", Cause::UserError);
    assert_eq!(active(&c), [1]);
    c.pass(6, &["w1"]);
    assert_eq!(active(&c), [0, 1]);
    end(&mut c, "2.2", Cause::Succeeded);
    end(&mut c, "3.1", Cause::Succeeded);
    assert_eq!(active(&c), [2, 3]);
}

#[test]
fn a_task_that_waits_again_goes_before_the_rest_of_its_array_and_is_not_lost_with_its_machine() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |spec| array(spec, "0-3", None));
    end(&mut c, "2.1", Cause::Succeeded);
    assert_eq!(active(&c), [1]);
    end(&mut c, "3.1", Cause::EngineError);
    // It is to be tried later, and the next task takes its place meanwhile.
    assert_eq!(active(&c), [2]);
    c.pass(6, &["w1"]);
    assert_eq!(c.queue(), [3, 1]);
    end(&mut c, "4.1", Cause::Succeeded);
    assert_eq!(active(&c), [1]);
    assert_eq!(c.job(3).last_attempt, 2);
}

#[test]
fn cancelling_ends_what_waits_at_once_and_what_runs_when_it_has_ended() {
    let mut c = Cluster::new();
    c.join("w1", 2);
    c.submit("anna", |spec| array(spec, "0-99", None));
    c.cancel(1).unwrap();
    assert_eq!(c.phase(1), Phase::Stopping);
    assert_eq!((c.phase(2), c.phase(3)), (Phase::Stopping, Phase::Stopping));
    assert_eq!(c.queue(), [0; 0]);
    end(&mut c, "2.1", Cause::Cancelled);
    // It ended by itself before the order reached it.
    end(&mut c, "3.1", Cause::Succeeded);
    assert_eq!(c.cancelled_by(1), Some(user("admin")));
    assert_eq!(ends(&c, 1).succeeded.to_string(), "1");
    assert_eq!(ends(&c, 1).cancelled.to_string(), "0,2-99");
    assert!(matches!(c.cancel(1), Err(Rejected::AlreadyFinished { .. })));

    let id = c.submit("anna", |spec| array(spec, "0-1", None)).0 - 2;
    let waiting = id + 2;
    c.report("w1", &format!("{}.1", id + 1), done(Cause::Succeeded))
        .unwrap();
    c.cancel(waiting).unwrap();
    assert_eq!(c.phase(waiting), Phase::Stopping);
}

#[test]
fn one_waiting_task_can_be_cancelled_by_its_id() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |spec| array(spec, "0-2", None));
    c.cancel(4).unwrap();
    assert_eq!(c.cancelled_by(4), Some(user("admin")));
    assert_eq!(c.cancel(5), Err(Rejected::NoSuchJob(JobId(5))));
    end(&mut c, "2.1", Cause::Succeeded);
    end(&mut c, "3.1", Cause::Succeeded);
    assert_eq!(c.cancelled_by(1), Some(user("admin")));
    assert_eq!(ends(&c, 1).cancelled.to_string(), "2");
    let hold = |c: &mut Cluster, job| {
        c.step(Event::HoldRequested {
            job: JobId(job),
            by: user("anna"),
        })
    };
    c.submit("anna", |spec| array(spec, "0-2", None));
    assert!(matches!(hold(&mut c, 8), Err(Rejected::Invalid(_))));
    hold(&mut c, 5).unwrap();
    c.report("w1", "6.1", done(Cause::Succeeded)).unwrap();
    assert_eq!(c.state.task(JobId(5), 1), None, "held arrays begin nothing");
    assert_eq!(c.phase(5), Phase::Queued);
    c.ok(Event::ReleaseRequested { job: JobId(5) });
    assert_eq!(c.phase(7), Phase::Assigned);
}

#[test]
fn too_many_failures_end_the_array() {
    let mut c = Cluster::new();
    c.join("w1", 3);
    c.submit("anna", |spec| {
        array(spec, "0-9", None);
        spec.max_fails = Some(1);
    });
    end(&mut c, "2.1", Cause::UserError);
    assert_eq!(active(&c), [1, 2, 3]);
    end(&mut c, "3.1", Cause::EngineError);
    assert_eq!(
        active(&c),
        [2, 3, 4],
        "a fault of the machine is tried again"
    );
    end(&mut c, "4.1", Cause::BuildFailed);
    assert_eq!((c.phase(5), c.phase(6)), (Phase::Stopping, Phase::Stopping));
    assert_eq!(
        c.cause(3),
        Some(Cause::DependencyFailed),
        "it waited to be tried again"
    );
    end(&mut c, "5.1", Cause::WorkerLost);
    assert_eq!(c.cause(5), Some(Cause::DependencyFailed));
    end(&mut c, "6.1", Cause::Succeeded);
    assert_eq!(c.cause(1), Some(Cause::UserError));
    let tasks = ends(&c, 1);
    let told = (&tasks.succeeded, &tasks.failed, &tasks.cancelled);
    let told = [told.0, told.1, told.2].map(ToString::to_string);
    assert_eq!(told, ["4", "0,2", "1,3,5-9"]);
}

#[test]
fn others_may_wait_for_an_array_and_an_array_for_others() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    let first = c.submit("anna", |_| {});
    let after = |spec: &mut JobSpec, job: u64| {
        spec.after.push(crate::job::Dependency {
            job: JobId(job),
            kind: crate::job::DependencyKind::Ok,
        });
    };
    c.submit("anna", |spec| {
        array(spec, "0-1", None);
        after(spec, first.0);
    });
    let last = c.submit("anna", |spec| after(spec, 2));
    end(&mut c, "1.1", Cause::Succeeded);
    end(&mut c, "3.1", Cause::Succeeded);
    assert_eq!(c.phase(last.0), Phase::Queued);
    end(&mut c, "4.1", Cause::Succeeded);
    assert_eq!(c.cause(2), Some(Cause::Succeeded));
    assert_eq!(c.phase(last.0), Phase::Assigned);

    let failing = c.submit("anna", |_| {});
    let array_id = failing.0 + 1;
    c.submit("anna", |spec| {
        array(spec, "0-1", None);
        after(spec, failing.0);
    });
    c.cancel(failing.0).unwrap();
    assert_eq!(c.cause(array_id), Some(Cause::DependencyFailed));
    assert_eq!(ends(&c, array_id).cancelled.to_string(), "0-1");
}

#[test]
fn waiting_tasks_count_against_the_limit_of_waiting_jobs() {
    let mut c = Cluster::new();
    c.ok(Event::UserSet {
        user: user("anna"),
        weight: 1.0,
        guards: Guards {
            max_queued: Some(10),
            ..Guards::default()
        },
        group: Membership::Unchanged,
    });
    c.submit("anna", |spec| array(spec, "0-8", None));
    let refused = c.step(Event::Submitted(submission("anna", |spec| {
        array(spec, "0-1", None)
    })));
    assert!(matches!(refused, Err(Rejected::Guarded(_))), "{refused:?}");
    c.submit("anna", |_| {});
    let refused = c.step(Event::Submitted(submission("anna", |_| {})));
    assert!(matches!(refused, Err(Rejected::Guarded(_))), "{refused:?}");
}

#[test]
fn what_began_does_not_wait_again_for_what_is_forgotten() {
    let mut c = Cluster::with(Settings {
        history_max_jobs: 1,
        ..Settings::default()
    });
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.submit("anna", |spec| {
        spec.after.push(crate::job::Dependency {
            job: JobId(1),
            kind: crate::job::DependencyKind::Ok,
        });
    });
    end(&mut c, "1.1", Cause::Succeeded);
    assert_eq!(c.phase(2), Phase::Assigned);
    c.submit("bert", |_| {});
    c.cancel(3).unwrap();
    assert_eq!(c.state.job(JobId(1)), None, "it is forgotten");
    end(&mut c, "2.1", Cause::EngineError);
    c.pass(6, &["w1"]);
    assert_eq!(c.phase(2), Phase::Assigned);
}

#[test]
fn a_new_array_begins_also_where_nothing_has_changed() {
    let mut c = Cluster::with(Settings {
        backfill: Backfill::BestEffort,
        ..Settings::default()
    });
    c.join("w1", 2);
    c.submit("anna", |_| {});
    c.join("w2", 2);
    c.report("w1", "1.1", phase(AttemptPhase::Running)).unwrap();
    // Since then nothing was placed, so that of the machines the first alone is looked at for everybody's jobs.
    c.submit("carl", |spec| array(spec, "0-5", None));
    let tasks: Vec<_> = (3..6).map(|id| c.worker_of(id)).collect();
    assert_eq!(tasks, [Some("w1"), Some("w2"), Some("w2")]);
}

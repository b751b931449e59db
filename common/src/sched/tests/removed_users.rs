//! What becomes of a removed user's jobs, and of a history that is cleared.

use super::*;
use crate::job::ArraySpec;

fn removed(c: &mut Cluster, running: bool) {
    c.ok(Event::UserRemoved {
        user: user("anna"),
        by: user("root"),
        running,
    });
}

/// Two GPUs: one runs a job of anna's, one a task; a job, the array's other tasks and a job of bert's wait.
fn busy() -> Cluster {
    let mut c = Cluster::new();
    c.join("w1", 2);
    c.submit("anna", |_| {});
    c.submit("anna", |spec| {
        spec.array = Some(ArraySpec {
            indexes: "0-2".parse().unwrap(),
            max_running: None,
        });
    });
    c.submit("anna", |_| {});
    c.submit("bert", |_| {});
    assert_eq!((c.phase(1), c.phase(3)), (Phase::Assigned, Phase::Assigned));
    c
}

#[test]
fn what_waits_is_cancelled_and_what_runs_ends_by_itself() {
    let mut c = busy();
    c.pass(100, &["w1"]);
    removed(&mut c, false);
    assert_eq!((c.phase(1), c.phase(3)), (Phase::Assigned, Phase::Assigned));
    assert_eq!(c.cancelled_by(6), Some(user("root")));
    assert_eq!(c.queue(), [7], "bert's stays");
    c.report("w1", "3.1", done(Cause::Succeeded)).unwrap();
    assert_eq!(
        c.cancelled_by(2),
        Some(user("root")),
        "the array ends with its last task"
    );
    c.report("w1", "1.1", done(Cause::Succeeded)).unwrap();
    assert_eq!(c.cause(1), Some(Cause::Succeeded));
    assert!(
        c.state.user(&user("anna")).unwrap().usage > 0.0,
        "charges stay"
    );
}

#[test]
fn on_request_what_runs_is_stopped_too() {
    let mut c = busy();
    removed(&mut c, true);
    assert_eq!((c.phase(1), c.phase(3)), (Phase::Stopping, Phase::Stopping));
    assert_eq!(c.cancelled_by(6), Some(user("root")));
    for id in ["1.1", "3.1"] {
        c.report("w1", id, done(Cause::Cancelled)).unwrap();
    }
    assert!(c.cause(1).is_some() && c.cause(2).is_some() && c.cause(3).is_some());
    assert_eq!(c.phase(7), Phase::Assigned);
    removed(&mut c, true);
}

#[test]
fn a_cleared_history_keeps_charges_and_later_jobs() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    for of in ["anna", "bert", "anna"] {
        let id = c.submit(of, |_| {});
        c.pass(10, &["w1"]);
        c.report("w1", &format!("{id}.1"), done(Cause::Succeeded))
            .unwrap();
    }
    let usage = c.state.user(&user("anna")).unwrap().usage;
    c.ok(Event::HistoryCleared {
        user: Some(user("anna")),
        before: c.job(3).state.finished().unwrap().at,
    });
    assert!(c.state.job(JobId(1)).is_none());
    assert!(c.state.job(JobId(2)).is_some() && c.state.job(JobId(3)).is_some());
    assert!(matches!(c.acts.first(), Some(Effect::ClearArchive { .. })));
    let before = c.now.after(Duration::from_secs(1));
    c.ok(Event::HistoryCleared { user: None, before });
    assert!(c.state.job(JobId(2)).is_none() && c.state.job(JobId(3)).is_none());
    let after = c.state.user(&user("anna")).unwrap().usage;
    assert!((after - usage).abs() < f64::EPSILON);
}

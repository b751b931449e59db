//! Between the end of a container and the report of its end.

use super::*;
use crate::job::Results;

/// An attempt whose container has ended with 0 and whose results are being stored.
fn to_uploading(attempt: AttemptId) -> Vec<Event> {
    let ended = Event::Inspected {
        attempt,
        status: Some(exit(0)),
    };
    to_running(attempt).into_iter().chain([ended]).collect()
}

fn uploaded(attempt: AttemptId, results: Results) -> Event {
    Event::Uploaded {
        attempt,
        stored: Stored {
            results: Some(results),
            ..Stored::default()
        },
    }
}

#[test]
fn a_cancel_cuts_the_storing_of_results_short_once() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, to_uploading(a));
    let effects = after(&mut state, [stop_event(a)]);
    assert_eq!(effects.acts, [Act::Cut(a)]);
    let again = step(&mut state, NOW, stop_event(a), &mut Effects::default());
    assert!(again.is_err(), "a repeated order cuts nothing");
    let effects = after(&mut state, [uploaded(a, Results::lost("cancelled"))]);
    let [(_, Report::Finished { outcome, .. })] = &effects.reports[..] else {
        panic!("{:?}", effects.reports);
    };
    assert_eq!(outcome.cause, Cause::Cancelled);
    assert_eq!(outcome.exit_code, Some(0));
    assert_eq!(outcome.detail, "cancelled by anna; exited with code 0");
}

#[test]
fn results_that_were_stored_before_the_cancel_came_make_a_success() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, to_uploading(a));
    after(&mut state, [stop_event(a)]);
    let effects = after(&mut state, [uploaded(a, Results::default())]);
    assert_eq!(finished(&effects), ["1.1 succeeded"]);
}

#[test]
fn a_job_that_was_cancelled_while_it_ran_is_cut_only_when_somebody_insists() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, to_running(a));
    after(&mut state, [stop_event(a)]);
    let ended = Event::Inspected {
        attempt: a,
        status: Some(exit(0)),
    };
    after(&mut state, [ended]);
    let repeated = step(&mut state, NOW, stop_event(a), &mut Effects::default());
    assert!(
        repeated.is_err(),
        "the masters repeat what they do not know to have arrived"
    );
    let insisting = || {
        let stop = Order::Stop {
            outcome: cancelled(),
            grace: Duration::from_secs(10),
            insists: true,
        };
        ordered(1, a, stop)
    };
    assert_eq!(after(&mut state, [insisting()]).acts, [Act::Cut(a)]);
    let again = step(&mut state, NOW, insisting(), &mut Effects::default());
    assert!(again.is_err(), "it is cut already");
}

#[test]
fn what_was_cut_is_cut_again_after_a_restart() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, to_uploading(a));
    after(&mut state, [stop_event(a)]);
    let stored = serde_json::to_vec(state.attempt(a).expect("known")).expect("stored");
    let read = serde_json::from_slice(&stored).expect("read");
    let mut state = State::new(Settings::default(), Meta::default(), [read], NOW);
    let resumed = Event::Resumed {
        boot: Arc::from("boot"),
        containers: Vec::new(),
    };
    let acts = after(&mut state, [resumed]).acts;
    assert!(
        matches!(acts[..], [Act::Finish { .. }, Act::Cut(_)]),
        "{acts:?}"
    );
}

#[test]
fn a_preemption_that_comes_too_late_cuts_nothing() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, to_uploading(a));
    let stop = ordered(
        1,
        a,
        Order::Stop {
            outcome: Outcome::new(Cause::Preempted, "stopped for a job that goes first"),
            grace: Duration::from_secs(10),
            insists: false,
        },
    );
    assert!(step(&mut state, NOW, stop, &mut Effects::default()).is_err());
}

#[test]
fn a_checkpoint_that_is_not_stored_is_told() {
    let (a, mut state) = (id("1.1"), fresh());
    let ended = Event::Inspected {
        attempt: a,
        status: Some(exit(3)),
    };
    after(&mut state, to_running(a).into_iter().chain([ended]));
    let stored = Stored {
        checkpoint_lost: Some("it has 3 GiB, and 2 GiB are allowed".to_owned()),
        ..Stored::default()
    };
    let uploaded = Event::Uploaded { attempt: a, stored };
    let effects = after(&mut state, [uploaded]);
    let [(_, Report::Finished { outcome, .. })] = &effects.reports[..] else {
        panic!("{:?}", effects.reports);
    };
    assert_eq!(outcome.cause, Cause::UserError);
    assert_eq!(
        outcome.detail,
        "exited with code 3; its checkpoint is not stored: it has 3 GiB, and 2 GiB are allowed"
    );
}

#[test]
fn what_became_of_the_results_is_told_again_when_asked() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, to_uploading(a));
    let results = Results {
        files: 2,
        bytes: 5,
        ..Results::default()
    };
    let told = |effects: &Effects| match &effects.reports[..] {
        [(_, Report::Finished { results, .. })] => results.clone(),
        other => panic!("{other:?}"),
    };
    let effects = after(&mut state, [uploaded(a, results.clone())]);
    assert_eq!(told(&effects), Some(results.clone()));
    let effects = after(&mut state, [run_event(a)]);
    assert_eq!(told(&effects), Some(results));
}

#[test]
fn a_container_that_may_still_run_is_not_told_as_ended() {
    let (a, mut state) = (id("1.1"), fresh());
    let mut events = to_running(a);
    events.pop();
    after(&mut state, events);
    let refused = Event::StartFailed {
        attempt: a,
        fault: StartFault::Refused(Outcome::new(Cause::UserError, "no such command")),
    };
    let effects = after(&mut state, [refused]);
    let phases: Vec<_> = effects
        .reports
        .iter()
        .filter_map(|(_, report)| match report {
            Report::Entered { phase, .. } => Some(*phase),
            _ => None,
        })
        .collect();
    assert_eq!(phases, [AttemptPhase::Stopping]);
}

#[test]
fn what_it_used_is_reported_before_its_end_until_it_is_forgotten() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, to_uploading(a));
    let measured = Box::new(crate::telemetry::Measured {
        attempt: 1,
        ..Default::default()
    });
    let uploaded = Event::Uploaded {
        attempt: a,
        stored: Stored {
            measured: Some(measured.clone()),
            ..Stored::default()
        },
    };
    let told = |effects: &Effects| match &effects.reports[..] {
        [
            (_, Report::Measured { measured, .. }),
            (_, Report::Finished { .. }),
        ] => Some(measured.clone()),
        _ => None,
    };
    let effects = after(&mut state, [uploaded]);
    assert_eq!(told(&effects), Some(measured.clone()));
    let effects = after(&mut state, [stop_event(a)]);
    assert_eq!(told(&effects), Some(measured), "asked again");
    after(&mut state, [ordered(1, a, Order::Forget)]);
    let effects = after(&mut state, [stop_event(a)]);
    assert_eq!(effects.reports.len(), 1, "{:?}", effects.reports);
}

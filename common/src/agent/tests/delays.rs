//! What the masters are told of an attempt that does not go on.

use super::*;

fn delayed(attempt: AttemptId) -> Event {
    Event::PreparationDelayed {
        attempt,
        note: "cannot fetch the bundle yet: reach http://m".to_owned(),
    }
}

#[test]
fn a_delay_is_reported_and_changes_nothing() {
    let one = id("1.1");
    let mut state = fresh();
    after(&mut state, [run_event(one)]);
    let effects = after(&mut state, [delayed(one)]);
    let [(_, Report::Entered { phase, note, .. })] = &effects.reports[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(*phase, AttemptPhase::Building);
    assert!(note.ends_with("reach http://m"), "{note}");
    assert_eq!(effects.acts, []);
    assert_eq!(state.attempt(one).expect("begun").stage, Stage::Fetching);
}

#[test]
fn what_was_stopped_or_runs_is_not_delayed() {
    let one = id("1.1");
    let mut stopped = fresh();
    after(&mut stopped, [run_event(one), stop_event(one)]);
    let mut running = fresh();
    after(&mut running, to_running(one));
    for mut state in [fresh(), stopped, running] {
        let mut effects = Effects::default();
        let taken = step(&mut state, NOW, delayed(one), &mut effects);
        assert!(taken.is_err() && effects.reports.is_empty(), "{effects:?}");
    }
}

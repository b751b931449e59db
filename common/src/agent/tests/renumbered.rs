//! A number that a store whose data was lost gives out again.

use super::*;

#[test]
fn a_number_given_out_again_is_another_attempt() {
    let lost = id("1.1");
    let new = AttemptId {
        key: JobKey([8; 16]),
        ..lost
    };
    let way = to_running(lost);
    // Whatever became of the lost job's attempt here: the new job's is begun, and never answered with an old end.
    for steps in 1..=way.len() {
        let mut state = fresh();
        after(&mut state, way.iter().take(steps).cloned());
        let effects = after(&mut state, [run_event(new)]);
        assert_eq!(effects.acts.last(), Some(&Act::Fetch(new)), "{steps}");
        assert_eq!(state.attempt(new).expect("begun").stage, Stage::Fetching);
        let old = state.attempt(lost).expect("known");
        assert!(
            old.stop.is_some() || old.stage.is_over(),
            "{steps}: {old:?}"
        );
        let said = effects.reports.iter().map(|(_, report)| report);
        let said = said.map(|report| serde_json::to_string(report).expect("JSON"));
        let of_new = said.filter(|report| report.contains(&new.to_string()));
        assert_eq!(of_new.count(), 2, "accepted and building: {effects:?}");
    }
    let mut state = fresh();
    after(&mut state, [stop_event(lost)]);
    let effects = after(&mut state, [run_event(new)]);
    let [Act::Clean { attempt, .. }, Act::Fetch(begun)] = &effects.acts[..] else {
        panic!("{effects:?}");
    };
    assert_eq!((*attempt, *begun), (lost, new));
    assert!(finished(&effects).is_empty(), "{effects:?}");
    // The lost job's end may come once more; it is not the new job's.
    let effects = after(&mut state, [stop_event(lost)]);
    assert_eq!(finished(&effects), ["1.1 cancelled"]);
    assert_eq!(state.attempt(new).expect("goes on").stage, Stage::Fetching);
}

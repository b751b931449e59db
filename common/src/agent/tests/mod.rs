//! Tests of the agent's core: every stage × event as one golden table, and the rules by name.

mod delays;
mod publishing;
mod renumbered;
mod simulation;
mod table;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::id::{AttemptId, Digest, Epoch, JobKey};
use crate::job::BundleRef;
use crate::job::{Cause, Outcome};
use crate::resources::{Allocation, ByteSize, GpuShare, MilliCpu, MilliGpu};
use crate::time::Timestamp;
use crate::wire::{AttemptPhase, Order, Report, RunOrder};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn id(text: &str) -> AttemptId {
    let key = JobKey([7; 16]);
    format!("{text}-{key}").parse().expect("attempt")
}

fn order(strict: bool) -> RunOrder {
    RunOrder {
        cluster: "default".to_owned(),
        user: "anna".parse().expect("name"),
        group: None,
        config: format!(
            r#"{{"name":"train","executor_name":"anna","required_memory":"1g","num_gpus":1,"strict_once":{strict}}}"#
        ),
        bundle: Some(BundleRef {
            digest: Digest([0xab; 32]),
            size_bytes: 10,
        }),
        allocation: Allocation {
            gpus: vec![GpuShare {
                id: "GPU-0".parse().expect("name"),
                milli: MilliGpu::WHOLE,
            }],
            cpu: MilliCpu(1000),
            memory: ByteSize(ByteSize::GIB),
        },
        array_index: None,
        array_job: None,
        token: "t".into(),
        data_urls: vec!["http://127.0.0.1:1".to_owned()],
        results_max_bytes: None,
        checkpoint_max_bytes: None,
    }
}

fn run(strict: bool) -> Order {
    Order::Run(Box::new(order(strict)))
}

fn run_event(attempt: AttemptId) -> Event {
    ordered(1, attempt, run(false))
}

fn ordered(epoch: u64, attempt: AttemptId, order: Order) -> Event {
    Event::Ordered {
        epoch: Epoch(epoch),
        attempt,
        order: Ok(order),
    }
}

fn stop_event(attempt: AttemptId) -> Event {
    ordered(
        1,
        attempt,
        Order::Stop {
            outcome: cancelled(),
            grace: Duration::from_secs(10),
            insists: false,
        },
    )
}

fn cancelled() -> Outcome {
    let anna = "anna".parse().expect("name");
    Outcome::cancelled(&anna, "cancelled by anna")
}

fn fresh() -> State {
    let meta = Meta {
        epoch: Epoch(1),
        ..Meta::default()
    };
    let mut state = State::new(Settings::default(), meta, [], NOW);
    let resumed = Event::Resumed {
        boot: Arc::from("boot"),
        containers: Vec::new(),
    };
    step(&mut state, NOW, resumed, &mut Effects::default()).expect("resumed");
    step(
        &mut state,
        NOW,
        Event::LinkChanged { up: true },
        &mut Effects::default(),
    )
    .expect("link");
    state
}

/// Steps through the events, which must all be taken, and gives the effects of the last.
fn after(state: &mut State, events: impl IntoIterator<Item = Event>) -> Effects {
    let mut effects = Effects::default();
    for event in events {
        effects = Effects::default();
        let shown = format!("{event:?}");
        step(state, NOW, event, &mut effects).unwrap_or_else(|why| panic!("{shown}: {why}"));
        check_open(state);
    }
    effects
}

/// The index of open attempts agrees with their stages.
fn check_open(state: &State) {
    let open = state.attempts().filter(|a| !a.stage.is_over());
    assert!(open.map(|a| a.id).eq(state.open.iter().copied()));
}

fn to_running(attempt: AttemptId) -> Vec<Event> {
    vec![
        run_event(attempt),
        Event::Fetched(attempt),
        Event::ImageReady {
            attempt,
            image: Arc::from("image"),
        },
        Event::ContainerCreated {
            attempt,
            created: Created {
                container: Arc::from("c"),
                found: None,
            },
        },
        Event::ContainerStarted {
            attempt,
            at: NOW,
            note: String::new(),
        },
    ]
}

fn exit(code: i64) -> Status {
    Status::Exited(Exit {
        code,
        oom_killed: false,
        started_at: Some(NOW),
        finished_at: Some(NOW.after(Duration::from_secs(2))),
    })
}

fn finished(effects: &Effects) -> Vec<String> {
    let reports = effects.reports.iter().map(|(_, report)| report);
    reports
        .filter_map(|report| match report {
            Report::Finished {
                attempt, outcome, ..
            } => {
                let attempt = attempt.to_string();
                let (attempt, _key) = attempt.split_once('-')?;
                Some(format!("{attempt} {}", outcome.cause.as_str()))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_job_goes_its_way_to_success() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, to_running(a));
    let effects = after(
        &mut state,
        [Event::Inspected {
            attempt: a,
            status: Some(exit(0)),
        }],
    );
    assert!(effects.acts.contains(&Act::Finish {
        attempt: a,
        discard: None
    }));
    let uploaded = Event::Uploaded {
        attempt: a,
        stored: Stored {
            log_bytes: 7,
            ..Stored::default()
        },
    };
    let effects = after(&mut state, [uploaded]);
    assert_eq!(finished(&effects), ["1.1 succeeded"]);
    let effects = after(&mut state, [ordered(1, a, Order::Forget)]);
    assert_eq!(
        effects.acts,
        [Act::Clean {
            attempt: a,
            container: Some(Arc::from("c"))
        }]
    );
    // A run order that comes after all that finds it over.
    let effects = after(&mut state, [run_event(a)]);
    assert_eq!(finished(&effects), ["1.1 succeeded"]);
    assert_eq!(effects.acts, []);
}

#[test]
fn an_older_leader_is_not_obeyed() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, [ordered(5, a, run(false))]);
    let late = ordered(4, a, Order::Forget);
    let mut effects = Effects::default();
    let refused = step(&mut state, NOW, late, &mut effects);
    assert!(matches!(refused, Err(Rejected::OldEpoch { .. })));
    assert_eq!(effects, Effects::default());
    // The highest epoch is durable.
    let again = State::new(Settings::default(), *state.meta(), [], NOW);
    assert_eq!(again.meta().epoch, Epoch(5));
}

#[test]
fn an_epoch_that_jumps_is_believed_once_a_master_told_of_it() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, [ordered(5, a, run(false))]);
    let far = 5 + 1001;
    for epoch in [far, u64::MAX] {
        assert!(!state.believes(Epoch(epoch)));
        let mut effects = Effects::default();
        let refused = step(
            &mut state,
            NOW,
            ordered(epoch, a, Order::Forget),
            &mut effects,
        );
        assert!(matches!(refused, Err(Rejected::EpochJump { .. })));
        assert_eq!(
            (effects, state.meta().epoch),
            (Effects::default(), Epoch(5))
        );
    }
    // The leader is obeyed as before.
    after(&mut state, [ordered(6, a, run(false))]);
    let effects = after(&mut state, [Event::EpochTold(Epoch(far))]);
    assert!(effects.meta);
    assert!(state.believes(Epoch(far)));
    // What a master that lags tells changes nothing.
    after(&mut state, [Event::EpochTold(Epoch(7))]);
    assert_eq!(state.meta().epoch, Epoch(far));
}

#[test]
fn stopping_what_never_came_leaves_a_tombstone() {
    let (a, mut state) = (id("1.1"), fresh());
    let effects = after(&mut state, [stop_event(a)]);
    assert_eq!(finished(&effects), ["1.1 cancelled"]);
    let effects = after(&mut state, [run_event(a)]);
    assert_eq!(finished(&effects), ["1.1 cancelled"]);
    assert_eq!(effects.acts, []);
}

#[test]
fn what_was_refused_stays_refused() {
    let (a, mut state) = (id("1.1"), fresh());
    after(
        &mut state,
        [Event::DiskFound {
            low: Some("the disk is full".to_owned()),
        }],
    );
    let refused = |effects: &Effects| matches!(effects.reports[0].1, Report::Refused { .. });
    assert!(refused(&after(&mut state, [run_event(a)])));
    // There is room again, but the masters have given the job elsewhere by now.
    after(&mut state, [Event::DiskFound { low: None }]);
    let effects = after(&mut state, [run_event(a)]);
    assert!(refused(&effects));
    assert_eq!(effects.acts, []);
}

#[test]
fn an_unsuitable_gpu_is_refused() {
    let (a, mut state) = (id("1.1"), fresh());
    let other = ["GPU-1".parse().expect("gpu")].into_iter().collect();
    let effects = after(&mut state, [Event::GpusFound(other), run_event(a)]);
    assert!(matches!(effects.reports[0].1, Report::Refused { .. }));
}

#[test]
fn a_lost_gpu_ends_what_runs_on_it() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, to_running(a));
    after(&mut state, [Event::GpusFound([].into_iter().collect())]);
    let uploaded = Event::Uploaded {
        attempt: a,
        stored: Stored::default(),
    };
    let status = Some(exit(143));
    let effects = after(
        &mut state,
        [Event::Inspected { attempt: a, status }, uploaded],
    );
    assert_eq!(finished(&effects), ["1.1 gpu_fault"]);
}

#[test]
fn a_stop_during_the_start_ends_what_was_started() {
    let (a, mut state) = (id("1.1"), fresh());
    let mut events = to_running(a);
    let started = events.pop().expect("started");
    after(&mut state, events);
    assert_eq!(after(&mut state, [stop_event(a)]).acts, []);
    let effects = after(&mut state, [started]);
    let names: Vec<bool> = effects
        .acts
        .iter()
        .map(|act| matches!(act, Act::Watch { .. } | Act::Terminate { .. }))
        .collect();
    assert_eq!(names, [true, true]);
    // After the grace it is killed, and killed again while it lives.
    let late = NOW.after(Duration::from_secs(10));
    assert_eq!(state.next_deadline(), Some(late));
    let mut effects = Effects::default();
    step(&mut state, late, Event::Ticked, &mut effects).expect("tick");
    assert!(matches!(effects.acts[..], [Act::Kill { .. }]));
    assert!(state.next_deadline() > Some(late));
}

#[test]
fn a_stop_during_the_build_never_starts_anything() {
    let (a, mut state) = (id("1.1"), fresh());
    let effects = after(&mut state, [run_event(a), Event::Fetched(a), stop_event(a)]);
    assert_eq!(
        effects.acts,
        [
            Act::Abandon(a),
            Act::Finish {
                attempt: a,
                discard: None
            }
        ]
    );
    let late = Event::ImageReady {
        attempt: a,
        image: Arc::from("image"),
    };
    assert!(step(&mut state, NOW, late, &mut Effects::default()).is_err());
}

#[test]
fn an_exit_by_signal_is_doubted_until_the_engine_is_cleared() {
    for (engine_stopped, oom_killed, cause) in [
        (true, false, "engine_error"),
        (false, false, "user_error"),
        (false, true, "oom_host"),
        (true, true, "oom_host"),
    ] {
        let (a, mut state) = (id("1.1"), fresh());
        after(&mut state, to_running(a));
        let status = Some(exit(137));
        let effects = after(&mut state, [Event::Inspected { attempt: a, status }]);
        assert!(matches!(&effects.acts[..], [Act::Verify { attempt, .. }] if *attempt == a));
        let events = [
            Event::Verified {
                attempt: a,
                engine_stopped,
                oom_killed,
            },
            Event::Uploaded {
                attempt: a,
                stored: Stored::default(),
            },
        ];
        let effects = after(&mut state, events);
        assert_eq!(finished(&effects), [format!("1.1 {cause}")]);
    }
}

#[test]
fn a_cut_off_worker_ends_only_its_strict_jobs_before_the_lease_does() {
    let (a, b, mut state) = (id("1.1"), id("2.1"), fresh());
    let mut events = to_running(a);
    events[0] = ordered(1, a, run(true));
    after(&mut state, events);
    after(&mut state, to_running(b));
    after(&mut state, [Event::LinkChanged { up: false }]);
    let lease_ends = NOW.after(Settings::default().lease);
    assert_eq!(state.next_deadline(), Some(lease_ends));
    let mut effects = Effects::default();
    step(&mut state, lease_ends, Event::Ticked, &mut effects).expect("tick");
    assert!(matches!(
        &effects.acts[..],
        [Act::Terminate { attempt, .. }] if *attempt == a
    ));
}

#[test]
fn the_lease_runs_on_over_a_restart() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, [ordered(1, a, run(true))]);
    let attempts: Vec<_> = state.attempts().cloned().collect();
    let later = NOW.after(Duration::from_secs(3600));
    let mut state = State::new(Settings::default(), *state.meta(), attempts, later);
    let resumed = Event::Resumed {
        boot: Arc::from("boot"),
        containers: Vec::new(),
    };
    step(&mut state, later, resumed, &mut Effects::default()).expect("resumed");
    let mut effects = Effects::default();
    step(&mut state, later, Event::Ticked, &mut effects).expect("tick");
    assert!(effects.acts.contains(&Act::Abandon(a)), "{effects:?}");
}

/// Restarts the agent with what the engine shows and gives what it does first.
fn restart(state: &State, boot: &str, containers: Vec<Seen>) -> (State, Effects) {
    let attempts: Vec<_> = state.attempts().cloned().collect();
    let mut state = State::new(Settings::default(), *state.meta(), attempts, NOW);
    let mut effects = Effects::default();
    let resumed = Event::Resumed {
        boot: Arc::from(boot),
        containers,
    };
    step(&mut state, NOW, resumed, &mut effects).expect("resumed");
    (state, effects)
}

#[test]
fn a_restarted_agent_takes_up_what_the_engine_shows() {
    let a = id("1.1");
    let seen = |status| {
        vec![Seen {
            attempt: a,
            container: Arc::from("c"),
            status,
        }]
    };
    let running = Status::Running { since: NOW };
    // How many events of the way were taken, what the engine shows, on the same boot; and what follows.
    let table = [
        (1, vec![], true, "Fetch"),
        (2, vec![], true, "Build"),
        (3, vec![], true, "Create"),
        (3, seen(Status::Created), true, "Start"),
        (3, seen(running.clone()), true, "Watch"),
        (4, seen(Status::Created), true, ""),
        (4, seen(running.clone()), true, "Watch"),
        (4, seen(exit(3)), true, "Finish user_error"),
        (4, vec![], true, "Finish engine_error"),
        (5, seen(running), true, "Watch"),
        (5, seen(exit(0)), true, "Finish succeeded"),
        (5, seen(exit(137)), true, "Finish engine_error"),
        (5, vec![], true, "Finish engine_error"),
        (5, seen(exit(137)), false, "Finish worker_lost"),
        (5, seen(exit(255)), false, "Finish worker_lost"),
        (5, seen(exit(0)), false, "Finish succeeded"),
        (5, vec![], false, "Finish worker_lost"),
        (4, vec![], false, "Finish worker_lost"),
    ];
    for (steps, containers, same_boot, expected) in table {
        let mut state = fresh();
        after(&mut state, to_running(a).into_iter().take(steps));
        let boot = if same_boot { "boot" } else { "another" };
        let what = format!("{steps} {containers:?} {same_boot}");
        let (state, effects) = restart(&state, boot, containers);
        let acts: Vec<String> = effects
            .acts
            .iter()
            .map(|act| {
                let shown = format!("{act:?}");
                let name = shown.split(['(', ' ']).next().unwrap_or_default();
                match &state.attempt(a).expect("known").stage {
                    Stage::Uploading { ended, .. } => {
                        format!("{name} {}", ended.outcome.cause.as_str())
                    }
                    _ => name.to_owned(),
                }
            })
            .collect();
        assert_eq!(acts.join(", "), expected, "{what}");
    }
}

#[test]
fn an_unclear_start_is_looked_at_and_never_asked_for_again() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, to_running(a).into_iter().take(4));
    let unclear = Event::StartFailed {
        attempt: a,
        fault: StartFault::Unclear,
    };
    let effects = after(&mut state, [unclear]);
    assert!(matches!(effects.acts[..], [Act::Inspect { .. }]));
    // It still shows as created, for as long as the engine may be slow; then the container goes.
    let mut now = NOW;
    for _ in 0..100 {
        let mut effects = Effects::default();
        let looked = Event::Inspected {
            attempt: a,
            status: Some(Status::Created),
        };
        step(&mut state, now, looked, &mut effects).expect("looked");
        let discarded = effects.acts.iter().any(|act| match act {
            Act::Finish { discard, .. } => discard.is_some(),
            _ => false,
        });
        if discarded {
            assert!(now >= NOW.after(Settings::default().unclear_for));
            return;
        }
        now = state.next_deadline().expect("a look is due");
        let mut effects = Effects::default();
        step(&mut state, now, Event::Ticked, &mut effects).expect("tick");
        assert!(matches!(effects.acts[..], [Act::Inspect { .. }]));
    }
    panic!("never given up");
}

#[test]
fn containers_without_record_are_removed_and_vanished_ones_looked_for() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, to_running(a));
    let stray = Seen {
        attempt: id("9.9"),
        container: Arc::from("stray"),
        status: Status::Created,
    };
    let containers = vec![stray];
    let effects = after(&mut state, [Event::Listed { containers }]);
    assert_eq!(
        effects.acts,
        [
            Act::Inspect {
                attempt: a,
                container: Arc::from("c")
            },
            Act::Remove {
                attempt: id("9.9"),
                container: Arc::from("stray")
            }
        ]
    );
    let effects = after(
        &mut state,
        [Event::Inspected {
            attempt: a,
            status: None,
        }],
    );
    assert!(matches!(effects.acts[..], [Act::Finish { .. }]));
}

#[test]
fn what_the_masters_gave_up_ends_without_a_report() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, to_running(a));
    after(&mut state, [ordered(2, a, Order::Forget)]);
    let events = [
        Event::Inspected {
            attempt: a,
            status: Some(exit(143)),
        },
        Event::Uploaded {
            attempt: a,
            stored: Stored::default(),
        },
    ];
    let effects = after(&mut state, events);
    assert_eq!(finished(&effects), Vec::<String>::new());
    assert!(matches!(effects.acts[..], [Act::Clean { .. }]));
}

#[test]
fn tombstones_go_after_their_time() {
    let (a, mut state) = (id("1.1"), fresh());
    after(&mut state, [stop_event(a), ordered(1, a, Order::Forget)]);
    let later = NOW.after(Settings::default().remember_for);
    let mut effects = Effects::default();
    step(&mut state, later, Event::Ticked, &mut effects).expect("tick");
    assert_eq!(state.attempts().count(), 0);
    assert!(effects.attempts.contains(&a));
}

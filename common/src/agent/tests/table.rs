//! Every stage × every event, as one golden table: what it leads to, does and reports.

use std::fmt::Write;

use super::*;

/// One state in each stage, with its name.
fn stages(a: AttemptId) -> Vec<(&'static str, State)> {
    let way = to_running(a);
    let reach = |count: usize, more: Vec<Event>| {
        let mut state = fresh();
        after(&mut state, way.iter().take(count).cloned().chain(more));
        state
    };
    let pause = || Event::ContainerPaused(a);
    let ended = |code| Event::Inspected {
        attempt: a,
        status: Some(exit(code)),
    };
    let uploaded = || Event::Uploaded {
        attempt: a,
        stored: Stored {
            log_bytes: 1,
            ..Stored::default()
        },
    };
    let refused = || {
        let low = Some("the disk is full".to_owned());
        let mut state = fresh();
        after(&mut state, [Event::DiskFound { low }, run_event(a)]);
        state
    };
    let forget = || ordered(1, a, Order::Forget);
    vec![
        ("unknown", fresh()),
        ("fetching", reach(1, vec![])),
        ("building", reach(2, vec![])),
        ("creating", reach(3, vec![])),
        ("creating, stop ordered", reach(3, vec![stop_event(a)])),
        ("starting", reach(4, vec![])),
        ("starting, stop ordered", reach(4, vec![stop_event(a)])),
        ("running", reach(5, vec![])),
        ("paused", reach(5, vec![pause()])),
        ("stopping", reach(5, vec![stop_event(a)])),
        ("exited", reach(5, vec![ended(137)])),
        ("uploading", reach(5, vec![ended(0)])),
        ("reported", reach(5, vec![ended(0), uploaded()])),
        ("forgotten", reach(5, vec![ended(0), uploaded(), forget()])),
        ("refused", refused()),
    ]
}

fn events(a: AttemptId) -> Vec<(&'static str, Event)> {
    let inspected = |status| Event::Inspected { attempt: a, status };
    let created = |found| Event::ContainerCreated {
        attempt: a,
        created: Created {
            container: Arc::from("c"),
            found,
        },
    };
    let failed = |fault| Event::StartFailed { attempt: a, fault };
    let refused = Outcome::new(Cause::UserError, "no such command");
    let seen = |status| Event::Listed {
        containers: vec![Seen {
            attempt: a,
            container: Arc::from("c"),
            status,
        }],
    };
    let verified = |engine_stopped, oom_killed| Event::Verified {
        attempt: a,
        engine_stopped,
        oom_killed,
    };
    let failure = Outcome::new(Cause::BuildFailed, "step 2 failed");
    vec![
        ("run", run_event(a)),
        (
            "run, unreadable",
            Event::Ordered {
                epoch: Epoch(1),
                attempt: a,
                order: Err(Unreadable::NoBundle),
            },
        ),
        ("stop", stop_event(a)),
        ("pause", ordered(1, a, Order::Pause)),
        ("unpause", ordered(1, a, Order::Unpause)),
        ("forget", ordered(1, a, Order::Forget)),
        ("fetched", Event::Fetched(a)),
        (
            "image ready",
            Event::ImageReady {
                attempt: a,
                image: Arc::from("image"),
            },
        ),
        (
            "preparation failed",
            Event::PreparationFailed {
                attempt: a,
                outcome: failure,
            },
        ),
        ("created", created(None)),
        ("created, was there", created(Some(Status::Created))),
        (
            "created, runs",
            created(Some(Status::Running { since: NOW })),
        ),
        ("created, has run", created(Some(exit(0)))),
        (
            "started",
            Event::ContainerStarted {
                attempt: a,
                at: NOW,
                note: String::new(),
            },
        ),
        ("start refused", failed(StartFault::Refused(refused))),
        ("start unclear", failed(StartFault::Unclear)),
        (
            "start failed, removed",
            failed(StartFault::Removed {
                image: Arc::from("image"),
            }),
        ),
        ("looked: created", inspected(Some(Status::Created))),
        (
            "looked: running",
            inspected(Some(Status::Running { since: NOW })),
        ),
        (
            "looked: paused",
            inspected(Some(Status::Paused { since: NOW })),
        ),
        ("looked: exit 0", inspected(Some(exit(0)))),
        ("looked: exit 3", inspected(Some(exit(3)))),
        ("looked: exit 137", inspected(Some(exit(137)))),
        ("looked: gone", inspected(None)),
        ("verified: engine stopped", verified(true, false)),
        ("verified: engine stayed", verified(false, false)),
        ("verified: memory ran out", verified(false, true)),
        ("froze", Event::ContainerPaused(a)),
        ("thawed", Event::ContainerUnpaused(a)),
        (
            "over the quota",
            Event::QuotaExceeded {
                attempt: a,
                outcome: Outcome::new(Cause::QuotaExceeded, "too much"),
            },
        ),
        (
            "uploaded",
            Event::Uploaded {
                attempt: a,
                stored: Stored {
                    log_bytes: 5,
                    ..Stored::default()
                },
            },
        ),
        (
            "task panicked",
            Event::TaskFailed {
                attempt: a,
                detail: "index out of bounds".to_owned(),
                log_bytes: 3,
            },
        ),
        ("listed: nothing", Event::Listed { containers: vec![] }),
        ("listed: running", seen(Status::Running { since: NOW })),
        ("listed: exited", seen(exit(0))),
        ("gpu lost", Event::GpusFound([].into_iter().collect())),
        ("ticked", Event::Ticked),
    ]
}

fn stage_name(state: &State, a: AttemptId) -> String {
    let Some(attempt) = state.attempt(a) else {
        return "unknown".to_owned();
    };
    let stop = if attempt.stop.is_some() { "+stop" } else { "" };
    match &attempt.stage {
        Stage::Uploading { ended, .. } | Stage::Reported { ended, .. } => {
            let cause = ended.outcome.cause.as_str();
            format!("{}({cause}){stop}", attempt.stage.as_str())
        }
        stage => format!("{}{stop}", stage.as_str()),
    }
}

fn act_name(act: &Act) -> String {
    let shown = format!("{act:?}");
    let name = shown.split(['(', ' ']).next().unwrap_or_default();
    match act {
        Act::Finish {
            discard: Some(_), ..
        } => "Finish(discard)".to_owned(),
        _ => name.to_owned(),
    }
}

fn report_name(report: &Report) -> String {
    match report {
        Report::Accepted { .. } => "accepted".to_owned(),
        Report::Measured { .. } => "measured".to_owned(),
        Report::Refused { .. } => "refused".to_owned(),
        Report::Entered { phase, .. } => format!("{phase:?}").to_lowercase(),
        Report::Finished { outcome, .. } => format!("finished({})", outcome.cause.as_str()),
        other => format!("{other:?}"),
    }
}

#[test]
fn every_stage_knows_every_event() {
    let a = id("1.1");
    let mut table = String::new();
    for (stage, state) in stages(a) {
        assert!(
            stage.starts_with(
                stage_name(&state, a)
                    .split(['(', '+'])
                    .next()
                    .expect("name")
            ),
            "{stage}"
        );
        for (name, event) in events(a) {
            let (mut state, mut effects) = (state.clone(), Effects::default());
            let before = state.clone();
            let line = match step(&mut state, NOW, event, &mut effects) {
                Err(why) => {
                    assert_eq!(state, before, "{stage} {name}: a rejected event changed it");
                    assert_eq!(effects, Effects::default(), "{stage} {name}");
                    match why {
                        Rejected::Stale { .. } => "stale".to_owned(),
                        Rejected::Unknown(_) => "unknown".to_owned(),
                        Rejected::Repeated(_) => "repeated".to_owned(),
                        Rejected::OldEpoch { .. } => "old epoch".to_owned(),
                        Rejected::EpochJump { .. } => "epoch jump".to_owned(),
                    }
                }
                Ok(()) => {
                    let acts: Vec<_> = effects.acts.iter().map(act_name).collect();
                    let said: Vec<_> = effects.reports.iter().map(|r| report_name(&r.1)).collect();
                    let stage = stage_name(&state, a);
                    format!("{stage} | {} | {}", acts.join(" "), said.join(" "))
                }
            };
            writeln!(
                table,
                "{stage} | {name} -> {}",
                line.trim_end_matches([' ', '|'])
            )
            .expect("text");
        }
    }
    insta::assert_snapshot!(table);
}

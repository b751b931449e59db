//! Every state against every event, as one table that people can read.

use super::*;
use crate::job::{Stage, StopReason};

/// The states that job 1 is brought to, on worker `w1`.
const STATES: [&str; 11] = [
    "queued",
    "held",
    "assigned",
    "confirmed",
    "building",
    "running",
    "paused",
    "stopping",
    "expiring",
    "publishing",
    "finished",
];

/// What then happens.
const EVENTS: [&str; 23] = [
    "cancelled",
    "evicted",
    "held",
    "released",
    "accepted",
    "refused",
    "building",
    "running",
    "paused",
    "ending",
    "uploading",
    "succeeded",
    "user_error",
    "engine_error",
    "other worker",
    "old attempt",
    "joined: runs",
    "joined: ended",
    "joined: unknown",
    "worker left",
    "worker lost",
    "lead taken",
    "time limit",
];

fn bring_to(state: &str) -> Cluster {
    let mut c = Cluster::new();
    c.join("w1", 1);
    if state == "queued" || state == "held" {
        c.ok(Event::CordonSet {
            worker: worker("w1"),
            cordon: Some(Cordon {
                by: user("admin"),
                reason: String::new(),
                at: c.now,
                drain: None,
            }),
        });
    }
    c.submit("anna", |spec| {
        spec.time_limit = Some(Duration::from_secs(900))
    });
    let mut reports = Vec::new();
    match state {
        "queued" | "assigned" => {}
        "held" => c.ok(Event::HoldRequested {
            job: JobId(1),
            by: user("admin"),
        }),
        "confirmed" => reports.push(Progress::Accepted),
        "building" => reports.push(phase(AttemptPhase::Building)),
        "running" | "stopping" | "expiring" => reports.push(phase(AttemptPhase::Running)),
        "paused" => reports.push(phase(AttemptPhase::Paused)),
        "publishing" => {
            reports.push(phase(AttemptPhase::Running));
            reports.push(phase(AttemptPhase::Uploading));
        }
        "finished" => reports.push(done(Cause::Succeeded)),
        other => panic!("{other}"),
    }
    for progress in reports {
        c.report("w1", "1.1", progress).unwrap();
    }
    match state {
        "stopping" => c.cancel(1).unwrap(),
        "expiring" => c.pass(900, &["w1"]),
        _ => {}
    }
    c.acts.clear();
    c
}

fn happen(c: &mut Cluster, event: &str) -> Result<(), Rejected> {
    let job = JobId(1);
    let by = user("admin");
    let entered = |c: &mut Cluster, at| c.report("w1", "1.1", phase(at));
    match event {
        "cancelled" => c.cancel(1),
        "evicted" => c.step(Event::EvictRequested { job, by }),
        "held" => c.step(Event::HoldRequested { job, by }),
        "released" => c.step(Event::ReleaseRequested { job }),
        "accepted" => c.report("w1", "1.1", Progress::Accepted),
        "refused" => {
            let reason = "full".to_owned();
            c.report("w1", "1.1", Progress::Refused { reason })
        }
        "building" => entered(c, AttemptPhase::Building),
        "running" => entered(c, AttemptPhase::Running),
        "paused" => entered(c, AttemptPhase::Paused),
        "ending" => entered(c, AttemptPhase::Stopping),
        "uploading" => entered(c, AttemptPhase::Uploading),
        "succeeded" => c.report("w1", "1.1", done(Cause::Succeeded)),
        "user_error" => c.report("w1", "1.1", done(Cause::UserError)),
        "engine_error" => c.report("w1", "1.1", done(Cause::EngineError)),
        "other worker" => c.report("w2", "1.1", done(Cause::Succeeded)),
        "old attempt" => c.report("w1", "1.9", phase(AttemptPhase::Running)),
        "joined: runs" => {
            c.join_knowing("w1", 1, &[("1.1", Some(AttemptPhase::Running))]);
            Ok(())
        }
        "joined: ended" => {
            c.join_knowing("w1", 1, &[("1.1", None)]);
            Ok(())
        }
        "joined: unknown" => {
            c.join("w1", 1);
            Ok(())
        }
        "worker left" => c.step(Event::WorkerLeft {
            worker: worker("w1"),
        }),
        "worker lost" => {
            c.pass(600, &[]);
            Ok(())
        }
        "lead taken" => c.step(Event::LeadershipAcquired),
        "time limit" => {
            c.pass(900, &["w1"]);
            Ok(())
        }
        other => panic!("{other}"),
    }
}

/// The state in a word or two, then what is done: `r`un, `s`top, `f`orget, `a`rchive.
fn tell(c: &Cluster, result: Result<(), Rejected>) -> String {
    let rejected = match result {
        Ok(()) => "",
        Err(Rejected::Stale(_)) => "stale",
        Err(Rejected::Repeated(_)) => "repeated",
        Err(Rejected::NotQueued { .. }) => "not queued",
        Err(Rejected::NotActive { .. }) => "not active",
        Err(Rejected::AlreadyFinished { .. }) => "finished",
        Err(other) => panic!("{other}"),
    };
    let state = match &c.job(1).state {
        JobState::Queued(queued) if queued.hold.is_some() => "held",
        JobState::Queued(queued) if queued.not_before.is_some() => "later",
        JobState::Queued(_) => "queued",
        JobState::Array(_) => "array",
        JobState::Active(active, Stage::Assigned) if active.confirmed => "confirmed",
        JobState::Active(_, Stage::Assigned) => "assigned",
        JobState::Active(_, Stage::Building) => "building",
        JobState::Active(_, Stage::Running) => "running",
        JobState::Active(_, Stage::Paused) => "paused",
        JobState::Active(_, Stage::Publishing) => "publishing",
        JobState::Active(_, Stage::Stopping(StopReason::TimeLimit)) => "expiring",
        JobState::Active(_, Stage::Stopping(_)) => "stopping",
        JobState::Finished(finished) => finished.outcome.cause.as_str(),
    };
    let mut acts: Vec<_> = c
        .acts
        .iter()
        .map(|act| match act {
            Effect::Accepted { .. } => "!",
            Effect::Run { .. } => "r",
            Effect::Stop { .. } => "s",
            Effect::Forget { .. } => "f",
            Effect::Archive { .. } => "a",
            Effect::ClearArchive { .. } => "c",
        })
        .collect();
    acts.dedup();
    let state = if rejected.is_empty() { state } else { rejected };
    let space = if acts.is_empty() { "" } else { " " };
    format!("{state}{space}{}", acts.concat())
}

#[test]
fn every_event_in_every_state() {
    let mut table = format!("{:16}", "");
    for state in STATES {
        table += &format!("{state:15}");
    }
    for event in EVENTS {
        table = format!("{}\n{event:16}", table.trim_end());
        for state in STATES {
            let mut c = bring_to(state);
            let result = happen(&mut c, event);
            table += &format!("{:15}", tell(&c, result));
        }
    }
    insta::assert_snapshot!(table.trim_end());
}

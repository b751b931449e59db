//! Jobs, users and workers of every shape, written out and drawn by lot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dopq_common::api::Role;
use dopq_common::id::{Digest, GroupName, JobId, JobKey, UserName, WorkerId};
use dopq_common::job::{
    Active, Array, BundleRef, Cause, Charge, ChargeEnd, Expected, ExpectedBy, Finished, Hold,
    Indexes, Job, JobState, Outcome, Phase, Queued, Stage, StopReason, TaskEnds, Transition,
};
use dopq_common::penalty::usage::Rate;
use dopq_common::record::Specs;
use dopq_common::resources::{
    Allocation, ByteSize, Capacity, GpuDevice, GpuShare, MilliCpu, MilliGpu,
};
use dopq_common::sched::{Change, Cordon, Group, Guards, Health, Meta, QueueLock, User, Worker};
use dopq_common::telemetry::Measured;
use dopq_common::time::Timestamp;
use dopq_master::store::{Account, NodeKey, TokenRecord};
use proptest::prelude::*;

pub(crate) const fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + millis)
}

pub(crate) fn user_name(number: u64) -> UserName {
    let names = ["anna", "bert", "c@lab.org", "dora"];
    let name = names.get(usize::try_from(number).expect("small") % names.len());
    name.expect("a name").parse().expect("a name")
}

pub(crate) fn worker_id(number: u64) -> WorkerId {
    format!("gpu-{number:02}").parse().expect("a name")
}

/// A waiting job.
pub(crate) fn job(id: u64, user: u64) -> Job {
    let config = format!(
        r#"{{"name":"job-{id}","executor_name":"{}"}}"#,
        user_name(user)
    );
    let (config, spec) = Specs::default().read(&config).expect("a valid document");
    Job {
        id: JobId(id),
        key: JobKey([7; 16]),
        user: user_name(user),
        spec,
        config,
        bundle: Some(BundleRef {
            digest: Digest([7; 32]),
            size_bytes: id,
        }),
        submitted_at: at(id),
        last_attempt: 0,
        priority: 0,
        retries_used: 0,
        faults: 0,
        task: None,
        state: JobState::Queued(Queued {
            since: at(id),
            not_before: None,
            hold: None,
            avoid: None,
        }),
        timeline: vec![Transition {
            at: at(id),
            phase: Phase::Queued,
            attempt: None,
            note: "\u{1b}[31m \"quoted\"\n\u{0}".to_owned(),
            gpus: vec!["GPU-1".parse().expect("a name")],
        }],
        charges: vec![Charge {
            attempt: 1,
            rate: Rate(500_000),
            from: at(id),
            to: at(id + 1),
            end: ChargeEnd::Refunded,
        }],
        measured: vec![Measured {
            attempt: 1,
            span_ms: id,
            ..Measured::default()
        }],
    }
}

pub(crate) fn active(attempt: u32, worker: u64) -> Active {
    Active {
        attempt,
        worker: worker_id(worker),
        allocation: Allocation {
            gpus: vec![GpuShare {
                id: "GPU-8a4b".parse().expect("a name"),
                milli: MilliGpu::WHOLE,
            }],
            cpu: MilliCpu(2_000),
            memory: ByteSize(ByteSize::GIB),
        },
        assigned_at: at(10),
        started_at: (attempt.is_multiple_of(2)).then(|| at(20)),
        ended_at: (attempt.is_multiple_of(4)).then(|| at(30)),
        confirmed: true,
        rate: Rate(1_500_000),
        gpu_model: Some("NVIDIA H100 80GB HBM3".into()),
        expected: Some(Expected {
            typical: Duration::from_secs(3600),
            longest: Duration::from_secs(5400),
            by: ExpectedBy::Learned { runs: 12 },
        }),
    }
}

fn ends() -> TaskEnds {
    TaskEnds {
        succeeded: Indexes::from_range(0, 1),
        failed: Indexes::default(),
        cancelled: Indexes::from_range(4, 4),
    }
}

/// Every state that a job can be in.
pub(crate) fn states() -> Vec<JobState> {
    vec![
        job(1, 0).state,
        JobState::Queued(Queued {
            since: at(1),
            not_before: Some(at(2)),
            hold: Some(Hold {
                by: user_name(1),
                at: at(3),
            }),
            avoid: Some(worker_id(1)),
        }),
        JobState::Array(Box::new(Array {
            since: at(1),
            hold: None,
            waiting: Indexes::from_range(5, 99),
            open: 3,
            ends: ends(),
            failure: Some(Outcome::new(Cause::UserError, "exit 1")),
            stopping: None,
        })),
        JobState::Active(active(1, 1).into(), Stage::Assigned),
        JobState::Active(active(1, 1).into(), Stage::Building),
        JobState::Active(active(2, 1).into(), Stage::Running),
        JobState::Active(active(2, 1).into(), Stage::Paused),
        JobState::Active(
            active(2, 1).into(),
            Stage::Stopping(StopReason::Cancelled(user_name(1))),
        ),
        JobState::Active(active(2, 1).into(), Stage::Stopping(StopReason::TimeLimit)),
        JobState::Active(active(2, 1).into(), Stage::Stopping(StopReason::Preempted)),
        JobState::Finished(Box::new(Finished {
            outcome: Outcome::new(Cause::Succeeded, ""),
            at: at(30),
            last: Some(active(2, 1)),
            ran: Duration::from_millis(10),
            log_bytes: Some(u64::MAX),
            results: None,
            tasks: Some(Box::new(ends())),
        })),
        JobState::Finished(Box::new(Finished {
            outcome: Outcome {
                cause: Cause::Cancelled,
                by: Some(user_name(1)),
                exit_code: Some(-1),
                detail: "umlauts: äöü".to_owned(),
            },
            at: at(30),
            last: None,
            ran: Duration::ZERO,
            log_bytes: None,
            results: None,
            tasks: None,
        })),
    ]
}

pub(crate) fn user(number: u64, recency: f64) -> User {
    User {
        name: user_name(number),
        group: (number % 2 == 1).then(|| group_name(number)),
        weight: 0.1 + 0.2,
        guards: Guards {
            max_gpus: Some(MilliGpu(2_500)),
            max_running: None,
            max_queued: Some(100),
            floor: (number > 1).then_some(MilliGpu(500)),
        },
        recency,
        recency_at: number,
        usage: recency / 3.0,
        usage_at: at(number),
    }
}

pub(crate) fn group_name(number: u64) -> GroupName {
    let name = if number.is_multiple_of(2) {
        "vision"
    } else {
        "a@lab.org"
    };
    name.parse().expect("a name")
}

pub(crate) fn group(number: u64, weight: f64) -> Group {
    Group {
        name: group_name(number),
        weight,
        guards: Guards {
            max_gpus: Some(MilliGpu(16_000)),
            max_running: Some(7),
            max_queued: None,
            floor: Some(MilliGpu(2_000)),
        },
    }
}

pub(crate) fn worker(number: u64, health: Health) -> Worker {
    Worker {
        id: worker_id(number),
        session: Arc::from("f00d"),
        capacity: Capacity {
            cpu: MilliCpu(64_000),
            memory: ByteSize(512 * ByteSize::GIB),
            gpus: vec![GpuDevice {
                id: "GPU-8a4b".parse().expect("a name"),
                model: "NVIDIA H100 80GB HBM3".to_owned(),
                memory: ByteSize(80 * ByteSize::GIB),
                healthy: number.is_multiple_of(2),
            }],
            slots_per_gpu: 1,
            labels: BTreeMap::from([("rack".to_owned(), "b".to_owned())]),
            volumes: BTreeMap::new(),
        },
        images: BTreeSet::from([Digest([1; 32])]),
        joined_at: at(0),
        health,
        cordon: (number == 0).then(|| Cordon {
            by: user_name(0),
            reason: "new disks".to_owned(),
            at: at(1),
            drain: None,
        }),
        closed: (number == 1).then(|| Arc::from("its disk is full")),
        machine: Arc::default(),
        taken: BTreeMap::new(),
    }
}

pub(crate) fn meta(last_job: u64, locked: bool) -> Meta {
    Meta {
        last_job,
        finished_jobs: last_job / 2,
        lock: locked.then(|| QueueLock {
            by: user_name(0),
            reason: "moving house".to_owned(),
            until: at(99),
        }),
    }
}

pub(crate) fn account(number: u64, tokens: u64) -> Account {
    let tokens = (0..tokens).map(|token| TokenRecord {
        id: format!("t{token}"),
        label: "laptop".to_owned(),
        hash: "ab".repeat(32),
        created_at: at(token),
        expires_at: (token % 2 == 0).then(|| at(1000)),
        by_login: token.is_multiple_of(3),
    });
    Account {
        name: user_name(number),
        role: Role::Operator,
        tokens: tokens.collect(),
        password: number.is_multiple_of(2).then(|| "$argon2id$".into()),
        disabled_at: number.is_multiple_of(3).then(|| at(number)),
    }
}

pub(crate) fn node_key(number: u64) -> NodeKey {
    NodeKey {
        worker: worker_id(number),
        salt: "ab".repeat(16),
        added_at: at(number),
        added_by: user_name(0),
    }
}

/// One change of any kind, on few names, so that they meet.
pub(crate) fn any_change() -> impl Strategy<Value = Change> {
    let count = states().len();
    prop_oneof![
        4 => (1..20_u64, 0..4_u64, 0..count, -600..600_i32).prop_map(|(id, user, state, priority)| {
            // A job keeps its user for life.
            let mut job = job(id, (id + user / 4) % 4);
            job.state = states().swap_remove(state);
            job.priority = priority;
            Change::Job(Arc::new(job))
        }),
        1 => (1..20_u64).prop_map(|id| Change::JobDropped(JobId(id))),
        1 => (0..4_u64, 0.0..1e6_f64).prop_map(|(n, recency)| Change::User(user(n, recency).into())),
        1 => (0..4_u64, 0.1..9_f64).prop_map(|(n, weight)| Change::Group(group(n, weight).into())),
        1 => (0..4_u64).prop_map(|n| Change::GroupDropped(group_name(n))),
        1 => (0..3_u64).prop_map(|n| Change::Worker(Arc::new(worker(n, Health::Suspect { since: at(n) })))),
        1 => (0..3_u64).prop_map(|n| Change::WorkerDropped(worker_id(n))),
        1 => (0..5_u64, 1..20_u64).prop_map(|(key, job)| {
            Change::Key(Arc::from(format!("key: {key}")), JobId(job))
        }),
        1 => (0..100_u64, any::<bool>()).prop_map(|(last, locked)| Change::Meta(meta(last, locked).into())),
    ]
}

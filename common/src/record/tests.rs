//! Golden files: what is written today is what these files hold, and what they hold is read as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::id::{Digest, JobId, JobKey};
use crate::job::{
    Active, Array, BundleRef, Cause, Charge, ChargeEnd, Expected, ExpectedBy, Finished, Hold,
    Indexes, Job, JobState, LeftOut, Outcome, Phase, Queued, Results, Stage, StopReason, Task,
    TaskEnds, Transition,
};
use crate::penalty::usage::Rate;
use crate::resources::{Allocation, ByteSize, Capacity, GpuDevice, GpuShare, MilliCpu, MilliGpu};
use crate::sched::{Cordon, Drain, Group, Guards, Health, Machine, Meta, QueueLock, User, Worker};
use crate::telemetry::{Io, Measured, Meter, PerFigure};
use crate::time::Timestamp;

const CONFIG: &str = r#"{"name":"mnist","executor_name":"anna","num_gpus":2,"retries":1}"#;

const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + seconds * 1000)
}

fn share(id: &str, milli: MilliGpu) -> GpuShare {
    let id = id.parse().expect("a name");
    GpuShare { id, milli }
}

fn active() -> Active {
    Active {
        attempt: 2,
        worker: "gpu-01".parse().expect("a name"),
        allocation: Allocation {
            gpus: vec![
                share("GPU-8a4b", MilliGpu::WHOLE),
                share("GPU-9c5d", MilliGpu(500)),
            ],
            cpu: MilliCpu(8_000),
            memory: ByteSize(20 * ByteSize::GIB),
        },
        rate: Rate(1_500_000),
        assigned_at: at(60),
        started_at: Some(at(90)),
        ended_at: None,
        confirmed: true,
        gpu_model: None,
        expected: None,
    }
}

fn job(state: JobState) -> Job {
    let (config, spec) = Specs::default().read(CONFIG).expect("a valid document");
    Job {
        id: JobId(1423),
        key: JobKey([0xcd; 16]),
        user: "anna".parse().expect("a name"),
        spec,
        config,
        bundle: Some(BundleRef {
            digest: Digest([0xab; 32]),
            size_bytes: 12_345,
        }),
        submitted_at: at(0),
        last_attempt: 2,
        priority: -3,
        retries_used: 1,
        faults: 1,
        task: None,
        state,
        timeline: vec![
            Transition {
                at: at(0),
                phase: Phase::Queued,
                attempt: None,
                note: String::new(),
                gpus: Vec::new(),
            },
            Transition {
                at: at(60),
                phase: Phase::Assigned,
                attempt: Some(2),
                note: "gpu-01".to_owned(),
                gpus: Vec::new(),
            },
        ],
        charges: Vec::new(),
        measured: Vec::new(),
    }
}

fn ends() -> TaskEnds {
    TaskEnds {
        succeeded: "0-4".parse().expect("indexes"),
        failed: "5".parse().expect("an index"),
        cancelled: Indexes::default(),
    }
}

fn charges() -> Vec<Charge> {
    let charge = |(attempt, end)| Charge {
        attempt,
        rate: Rate(1_500_000),
        from: at(u64::from(attempt)),
        to: at(u64::from(attempt) + 60),
        end,
    };
    (1..).zip(ChargeEnd::ALL).map(charge).collect()
}

/// Holds `value` against the golden file, and reads what that holds; `DOPQ_BLESS=1` writes the file anew.
fn golden<T: Serialize, R: DeserializeOwned>(name: &str, value: &T) -> R {
    let path = format!(
        "{}/src/record/golden/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let record = Record {
        version: RECORD_VERSION,
        value,
    };
    let written = serde_json::to_string_pretty(&record).expect("it is written") + "\n";
    if std::env::var_os("DOPQ_BLESS").is_some() {
        std::fs::write(&path, &written).expect("the golden file is written");
    }
    let stored = std::fs::read_to_string(&path).expect("there is a golden file");
    assert_eq!(written, stored, "{name}: the format changed");
    read(&stored).expect("the golden file is read")
}

/// The same of a job.
fn golden_job(name: &str, job: &Job) -> Job {
    let stored: StoredJob = golden(name, job);
    stored.into_job(&mut Specs::default()).expect(name)
}

#[test]
fn jobs_in_every_state() {
    let stopping = |reason| JobState::Active(active().into(), Stage::Stopping(reason));
    let states = [
        (
            "job-queued",
            JobState::Queued(Queued {
                since: at(30),
                not_before: Some(at(35)),
                hold: Some(Hold {
                    by: "root".parse().expect("a name"),
                    at: at(31),
                }),
                avoid: Some("gpu-02".parse().expect("a name")),
            }),
        ),
        (
            "job-array",
            JobState::Array(Box::new(Array {
                since: at(30),
                hold: Some(Hold {
                    by: "root".parse().expect("a name"),
                    at: at(31),
                }),
                waiting: "7-99,120".parse().expect("indexes"),
                open: 2,
                ends: ends(),
                failure: Some(Outcome::new(Cause::BuildFailed, "no such step")),
                stopping: Some(StopReason::TooManyFailed),
            })),
        ),
        (
            "job-assigned",
            JobState::Active(active().into(), Stage::Assigned),
        ),
        (
            "job-building",
            JobState::Active(active().into(), Stage::Building),
        ),
        (
            "job-running",
            JobState::Active(active().into(), Stage::Running),
        ),
        (
            "job-paused",
            JobState::Active(active().into(), Stage::Paused),
        ),
        (
            "job-publishing",
            JobState::Active(
                Active {
                    ended_at: Some(at(110)),
                    ..active()
                }
                .into(),
                Stage::Publishing,
            ),
        ),
        (
            "job-cancelling",
            stopping(StopReason::Cancelled("bert".parse().expect("a name"))),
        ),
        ("job-time-limit", stopping(StopReason::TimeLimit)),
        ("job-preempted", stopping(StopReason::Preempted)),
        (
            "job-evicted",
            stopping(StopReason::Evicted("bert".parse().expect("a name"))),
        ),
        (
            "job-array-finished",
            JobState::Finished(Box::new(Finished {
                outcome: Outcome::new(Cause::BuildFailed, "1 of 6 tasks failed"),
                at: at(120),
                last: None,
                ran: Duration::ZERO,
                log_bytes: None,
                results: None,
                tasks: Some(Box::new(ends())),
            })),
        ),
        (
            "job-finished",
            JobState::Finished(Box::new(Finished {
                outcome: Outcome {
                    cause: Cause::Cancelled,
                    by: Some("bert".parse().expect("a name")),
                    exit_code: Some(143),
                    detail: "ended within its grace".to_owned(),
                },
                at: at(120),
                last: Some(active()),
                ran: Duration::from_millis(30_001),
                log_bytes: Some(4096),
                results: None,
                tasks: None,
            })),
        ),
        (
            "job-finished-partly",
            JobState::Finished(Box::new(Finished {
                outcome: Outcome::new(Cause::Succeeded, "exited with code 0"),
                at: at(120),
                last: Some(active()),
                ran: Duration::from_millis(30_001),
                log_bytes: Some(4096),
                results: Some(Results {
                    files: 2,
                    bytes: 300,
                    left_out: 9,
                    named: vec![LeftOut {
                        path: "model.bin".to_owned(),
                        reason: "too large".to_owned(),
                    }],
                    lost: None,
                }),
                tasks: None,
            })),
        ),
        (
            "job-never-ran",
            JobState::Finished(Box::new(Finished {
                outcome: Outcome::new(Cause::BundleInvalid, "no Dockerfile"),
                at: at(1),
                last: None,
                ran: Duration::ZERO,
                log_bytes: None,
                results: None,
                tasks: None,
            })),
        ),
    ];
    check_jobs(states);
}

/// What was written before expectations were kept is in the other files, and is read as nothing expected.
#[test]
fn jobs_of_which_something_is_expected() {
    let expecting = |by| Active {
        gpu_model: Some("NVIDIA H100 80GB HBM3".into()),
        expected: Some(Expected {
            typical: Duration::from_millis(3_600_500),
            longest: Duration::from_secs(5400),
            by,
        }),
        ..active()
    };
    check_jobs([
        (
            "job-running-learned",
            JobState::Active(
                expecting(ExpectedBy::Learned { runs: 12 }).into(),
                Stage::Running,
            ),
        ),
        (
            "job-running-requested",
            JobState::Active(expecting(ExpectedBy::Request).into(), Stage::Running),
        ),
        (
            "job-finished-limited",
            JobState::Finished(Box::new(Finished {
                outcome: Outcome::new(Cause::Succeeded, ""),
                at: at(120),
                last: Some(expecting(ExpectedBy::Limit)),
                ran: Duration::from_millis(30_001),
                log_bytes: Some(4096),
                results: None,
                tasks: None,
            })),
        ),
    ]);
}

fn check_jobs<const N: usize>(states: [(&str, JobState); N]) {
    for (name, state) in states {
        let job = job(state);
        assert_eq!(golden_job(name, &job), job, "{name}");
    }
    let mut task = job(JobState::Active(active().into(), Stage::Running));
    task.task = Some(Task {
        array: JobId(1400),
        index: 17,
    });
    assert_eq!(golden_job("job-task", &task), task);
}

#[test]
fn charges_of_attempts_that_have_ended() {
    let charged = Job {
        charges: charges(),
        ..job(JobState::Active(active().into(), Stage::Running))
    };
    assert_eq!(golden_job("job-charged", &charged), charged);
    let later = write(&charged).expect("it is written");
    let later = later.replace("at_least_minimum", "by_lot");
    let stored: StoredJob = read(&later).expect("it is read");
    let job = stored.into_job(&mut Specs::default()).expect("a job");
    assert_eq!(job.charges.len(), 2, "an end of tomorrow is left out");
}

#[test]
fn what_attempts_used() {
    let mut meter = Meter::new(at(0), 1500);
    for second in 1..=3 {
        let sample = PerFigure {
            gpu_milli: 1000 * second,
            gpu_memory_bytes: ByteSize::GIB,
            gpu_milliwatts: 300_000,
            cpu_milli: 2500,
            memory_bytes: 3 * ByteSize::GIB,
        };
        let io = Io {
            received_bytes: second,
            ..Io::default()
        };
        meter.add(at(second), &sample, 300_000, io);
    }
    let earlier = Measured {
        series: None,
        ..meter.measured(1).expect("time was covered")
    };
    let measured = Job {
        measured: vec![earlier, meter.measured(2).expect("time was covered")],
        ..job(JobState::Active(active().into(), Stage::Running))
    };
    assert_eq!(golden_job("job-measured", &measured), measured);
}

#[test]
fn users() {
    let mut user = User {
        name: "anna".parse().expect("a name"),
        group: None,
        weight: 0.1 + 0.2,
        guards: Guards {
            max_gpus: Some(MilliGpu(4_500)),
            max_running: Some(3),
            max_queued: None,
            floor: None,
        },
        recency: 1.581_976_706_869_326_3,
        recency_at: 77,
        usage: 86_400.000_1,
        usage_at: at(95),
    };
    assert_eq!(golden::<_, User>("user", &user), user);
    user.group = Some("vision".parse().expect("a name"));
    user.guards.floor = Some(MilliGpu(1_000));
    assert_eq!(golden::<_, User>("user-in-group", &user), user);
}

#[test]
fn groups() {
    let group = Group {
        name: "vision".parse().expect("a name"),
        weight: 2.5,
        guards: Guards {
            max_gpus: Some(MilliGpu(16_000)),
            max_running: None,
            max_queued: Some(500),
            floor: Some(MilliGpu(4_000)),
        },
    };
    assert_eq!(golden::<_, Group>("group", &group), group);
}

fn machine() -> Machine {
    Machine {
        instance: "0123456789abcdef".to_owned(),
        host: "gpu-01.lab (10.0.0.5)".to_owned(),
        agent: "0.1.0".to_owned(),
        engine: "29.1.2".to_owned(),
        gpu_mode: "cdi".to_owned(),
        egress: "internet".to_owned(),
        build_egress: "default".to_owned(),
    }
}

#[test]
fn workers() {
    let worker = |health, cordon| Worker {
        id: "gpu-01".parse().expect("a name"),
        session: Arc::from("f00d"),
        capacity: Capacity {
            cpu: MilliCpu(64_000),
            memory: ByteSize(512 * ByteSize::GIB),
            gpus: vec![GpuDevice {
                id: "GPU-8a4b".parse().expect("a name"),
                model: "NVIDIA H100 80GB HBM3".to_owned(),
                memory: ByteSize(80 * ByteSize::GIB),
                healthy: false,
            }],
            slots_per_gpu: 4,
            labels: BTreeMap::from([("rack".to_owned(), "b".to_owned())]),
            volumes: BTreeMap::new(),
        },
        images: BTreeSet::from([Digest([1; 32]), Digest([2; 32])]),
        joined_at: at(5),
        health,
        cordon,
        closed: None,
        machine: Arc::default(),
        taken: std::collections::BTreeMap::new(),
    };
    let cordon = Cordon {
        by: "root".parse().expect("a name"),
        reason: "new disks".to_owned(),
        at: at(6),
        drain: None,
    };
    let draining = Cordon {
        drain: Some(Drain {
            deadline: Some(at(7200)),
        }),
        ..cordon.clone()
    };
    for (name, worker) in [
        ("worker-up", worker(Health::Up, None)),
        (
            "worker-suspect",
            worker(Health::Suspect { since: at(9) }, Some(cordon)),
        ),
        (
            "worker-draining",
            Worker {
                machine: Arc::new(machine()),
                ..worker(Health::Up, Some(draining))
            },
        ),
        ("worker-lost", worker(Health::Lost { since: at(9) }, None)),
    ] {
        assert_eq!(golden::<_, Worker>(name, &worker), worker);
    }
}

#[test]
fn counters_and_lock() {
    let meta = Meta {
        last_job: 1423,
        finished_jobs: 1400,
        lock: Some(QueueLock {
            by: "root".parse().expect("a name"),
            reason: "moving house".to_owned(),
            until: at(3600),
        }),
    };
    assert_eq!(golden::<_, Meta>("meta", &meta), meta);
}

/// What `change` makes of a job's record.
fn changed(change: impl FnOnce(&mut Value)) -> Result<Job, Error> {
    let job = job(JobState::Active(active().into(), Stage::Running));
    let written = write(&job).expect("it is written");
    let mut record = serde_json::from_str(&written).expect("JSON");
    change(&mut record);
    let stored: StoredJob = read(&record.to_string())?;
    stored.into_job(&mut Specs::default())
}

#[test]
fn unknown_fields_and_the_next_version_are_read_and_later_ones_refused() {
    let job = changed(|record| {
        record["version"] = (RECORD_VERSION + 1).into();
        record["later"] = "field".into();
        let job = &mut record["value"];
        job["later"] = "field".into();
        job["state"]["active"][0]["later"] = 1.into();
        job["timeline"][0]["later"] = true.into();
        job["timeline"][1]["phase"] = "dreaming".into();
    });
    let job = job.expect("it is a job");
    assert_eq!(job.state, JobState::Active(active().into(), Stage::Running));
    assert_eq!(
        job.timeline.len(),
        1,
        "the line of an unknown phase is left out"
    );
    let refused = changed(|record| record["version"] = (RECORD_VERSION + 2).into());
    assert!(matches!(refused, Err(Error::TooNew { .. })), "{refused:?}");
    let refused = read::<StoredJob>(r#"{"version":9,"value":"of another form"}"#);
    assert!(
        matches!(refused, Err(Error::TooNew { version: 9 })),
        "{refused:?}"
    );
}

#[test]
fn what_no_job_can_be_is_refused() {
    let bad_user = changed(|record| record["value"]["user"] = "../root".into());
    assert!(matches!(bad_user, Err(Error::Json(_))), "{bad_user:?}");
    let bad_config = changed(|record| record["value"]["config"] = "{}".into());
    assert!(
        matches!(bad_config, Err(Error::Config(_))),
        "{bad_config:?}"
    );
}

#[test]
fn equal_documents_are_shared() {
    let mut specs = Specs::default();
    let first = specs.read(CONFIG).expect("valid");
    let second = specs.read(CONFIG).expect("valid");
    assert!(Arc::ptr_eq(&first.0, &second.0) && Arc::ptr_eq(&first.1, &second.1));
}

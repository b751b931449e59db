//! How long decisions take, and how much memory a waiting job takes, in a cluster of 1,000 machines with 8
//! GPUs each, 1,000 users and 100,000 waiting jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use dopq_common::id::{AttemptId, JobId, UserName, WorkerId};
use dopq_common::job::{Cause, JobSpec, Outcome};
use dopq_common::resources::{
    ByteSize, Capacity, GpuAmount, GpuDevice, MilliCpu, MilliGpu, Request,
};
use dopq_common::sched::{
    Effect, Effects, Event, Progress, QueueLock, Settings, State, Submission, forecast, queue, step,
};
use dopq_common::sim::spec;
use dopq_common::time::Timestamp;
use dopq_common::wire::AttemptPhase;

const WORKERS: u32 = 1_000;
const USERS: u64 = 1_000;
const JOBS: u64 = 100_000;

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(20)
        .measurement_time(Duration::from_secs(5));
    let before = resident_bytes();
    let mut cluster = Cluster::waiting();
    let after = resident_bytes();
    if let (Some(before), Some(after)) = (before, after) {
        let each = after.saturating_sub(before) / JOBS;
        eprintln!("memory of the core per waiting job: {each} bytes");
    }
    criterion.bench_function("first pass over 100,000 jobs", |bencher| {
        bencher.iter_batched(
            || cluster.clone(),
            |mut cluster| {
                cluster.unlock();
                cluster
            },
            BatchSize::PerIteration,
        );
    });
    cluster.unlock();
    cluster.run_all();
    criterion.bench_function("decision: a job ends, the next is placed", |bencher| {
        bencher.iter_batched_ref(
            || cluster.clone(),
            |cluster| cluster.end_one(),
            BatchSize::PerIteration,
        );
    });
    criterion.bench_function(
        "decision: a job is submitted to a full cluster",
        |bencher| {
            bencher.iter_batched_ref(
                || cluster.clone(),
                |cluster| cluster.submit(7),
                BatchSize::PerIteration,
            );
        },
    );
    criterion.bench_function("the queue in order, for readers", |bencher| {
        bencher.iter(|| black_box(queue(&cluster.state, cluster.now).len()));
    });
    criterion.bench_function("a copy of the state, for looking ahead", |bencher| {
        bencher.iter(|| black_box(cluster.state.clone()));
    });
    criterion.bench_function("when waiting jobs start, looking ahead", |bencher| {
        bencher.iter_batched(
            || cluster.state.clone(),
            |state| forecast(state, cluster.now),
            BatchSize::PerIteration,
        );
    });
    criterion.final_summary();
}

#[derive(Clone)]
struct Cluster {
    state: State,
    now: Timestamp,
    shapes: Vec<Arc<JobSpec>>,
    config: Arc<str>,
    running: Vec<(WorkerId, AttemptId)>,
}

impl Cluster {
    /// All machines, and all jobs waiting behind a lock.
    fn waiting() -> Self {
        let mut cluster = Self {
            state: State::new(Settings {
                starts_per_worker: u32::MAX,
                ..Settings::default()
            }),
            now: Timestamp::from_millis(1_000_000),
            shapes: shapes(),
            config: "{}".into(),
            running: Vec::new(),
        };
        for number in 0..WORKERS {
            cluster.step(Event::WorkerJoined {
                worker: format!("w{number}").parse().expect("a name"),
                session: "bench".into(),
                capacity: machine(number),
                images: BTreeSet::new(),
                known: Vec::new(),
            });
        }
        cluster.step(Event::LockSet {
            lock: Some(QueueLock {
                by: "admin".parse().expect("a name"),
                reason: String::new(),
                until: Timestamp::from_millis(u64::MAX),
            }),
        });
        for number in 0..JOBS {
            cluster.submit(number);
        }
        cluster
    }

    fn step(&mut self, event: Event) {
        let mut effects = Effects::default();
        step(&mut self.state, self.now, event, &mut effects).expect("an event that is taken");
        for act in effects.acts {
            match act {
                Effect::Run { worker, attempt } => self.running.push((worker, attempt)),
                Effect::Accepted { .. }
                | Effect::Stop { .. }
                | Effect::Forget { .. }
                | Effect::Archive { .. } => {}
            }
        }
    }

    fn submit(&mut self, number: u64) {
        let user: UserName = format!("user{}", number % USERS).parse().expect("a name");
        // Jobs of one user are of different shapes, and shapes have many users.
        let shape = usize::try_from((number / USERS + number) % 24).expect("small");
        self.step(Event::Submitted(Submission {
            user,
            spec: Arc::clone(&self.shapes[shape]),
            config: Arc::clone(&self.config),
            bundle: None,
            key: None,
        }));
    }

    fn unlock(&mut self) {
        self.step(Event::LockSet { lock: None });
    }

    fn run_all(&mut self) {
        for (worker, attempt) in self.running.clone() {
            self.step(Event::Reported {
                worker,
                attempt,
                progress: Progress::Entered {
                    phase: AttemptPhase::Running,
                    note: String::new(),
                },
            });
        }
    }

    fn end_one(&mut self) {
        self.now = self.now.after(Duration::from_secs(1));
        let (worker, attempt) = self.running.swap_remove(self.running.len() / 2);
        self.step(Event::Reported {
            worker,
            attempt,
            progress: Progress::Finished {
                outcome: Outcome::new(Cause::Succeeded, ""),
                ran: Duration::from_secs(1),
                log_bytes: 0,
            },
        });
        black_box(JobId(self.state.meta().last_job));
    }
}

fn shapes() -> Vec<Arc<JobSpec>> {
    let gpus = [1, 1, 1, 2, 4, 8];
    let memories = [8, 16, 32, 64];
    let shapes = gpus.iter().enumerate().flat_map(|(at, gpus)| {
        memories.iter().map(move |memory| Request {
            gpus: *gpus,
            gpu_amount: GpuAmount::Milli(MilliGpu(if at == 0 { 500 } else { 1000 })),
            gpu_models: Vec::new(),
            gpu_memory: None,
            cpu: Some(MilliCpu(1000 * (u64::from(*gpus) + u64::from(at == 1)))),
            memory: Some(ByteSize(memory * ByteSize::GIB)),
            labels: BTreeMap::new(),
        })
    });
    let user: UserName = "user".parse().expect("a name");
    shapes
        .map(|request| {
            let mut spec = spec(user.clone(), request);
            spec.time_request = Some(Duration::from_secs(3600));
            Arc::new(spec)
        })
        .collect()
}

fn machine(number: u32) -> Capacity {
    let gpu = |at| GpuDevice {
        id: format!("GPU-{number}-{at}").parse().expect("a name"),
        model: "NVIDIA H100".to_owned(),
        memory: ByteSize(80 * ByteSize::GIB),
        healthy: true,
    };
    Capacity {
        cpu: MilliCpu(128_000),
        memory: ByteSize(1024 * ByteSize::GIB),
        gpus: (0..8).map(gpu).collect(),
        slots_per_gpu: 1,
        labels: BTreeMap::new(),
    }
}

/// What the process holds, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

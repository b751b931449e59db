//! How long decisions take, and how much memory a waiting job takes, in a cluster of 1,000 machines with 8
//! GPUs each, 1,000 users and 100,000 waiting jobs.
//!
//! One state is driven forward, as in a master: a job ends, one pass places what fits, what was placed begins to run,
//! and as many jobs are submitted as were placed. Then the same in batches, as under load: many events and one pass.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::id::{AttemptId, JobKey, UserName, WorkerId};
use dopq_common::job::{ArraySpec, Cause, JobSpec, Outcome};
use dopq_common::record;
use dopq_common::resources::{
    ByteSize, Capacity, GpuAmount, GpuDevice, MilliCpu, MilliGpu, Request,
};
use dopq_common::sched::{
    Change, Effect, Effects, Event, Planner, Progress, QueueLock, Settings, State, Submission,
    forecast, penalty_of, queue, step,
};
use dopq_common::sim::spec;
use dopq_common::time::Timestamp;
use dopq_common::wire::AttemptPhase;

const WORKERS: u32 = 1_000;
const USERS: u64 = 1_000;
const JOBS: u64 = 100_000;
/// Decisions that are made before any is timed.
const WARM_UP: usize = 200;
const DECISIONS: usize = 2_000;
/// Jobs that end in one batch: 25 ms at 1,000 jobs/s, which are 3,000 events/s.
const BATCH: usize = 25;

#[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
pub(crate) fn main() {
    let before = resident_bytes();
    let mut cluster = Cluster::waiting(Settings::default(), Some(Duration::from_secs(3600)));
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        let each = after.saturating_sub(before) / JOBS;
        println!(
            "{:<44}{each:>10} bytes",
            "memory of the core per waiting job"
        );
    }
    let (_, first) = timed(|| cluster.unlock());
    println!("{:<44}{first:>12.1?}", "first pass over all waiting jobs");
    let mut times = cluster.decide();
    println!("{:<44}{:>12}{:>12}{:>12}", "", "median", "99 %", "longest");
    print("a job ends, and what fits is placed", &mut times.ends);
    print("a placed job begins to run", &mut times.begins);
    print(
        "a job is submitted to a full cluster",
        &mut times.submissions,
    );
    let placed = times.begins.len();
    println!("{placed} jobs were placed in {DECISIONS} decisions");
    let mut batches: Vec<_> = (0..200).map(|_| cluster.batch()).collect();
    print("each event, in batches of 75 and one pass", &mut batches);
    let mut penalties = repeated(100, || cluster.penalties());
    print("the penalties of all users", &mut penalties);
    let mut queues = repeated(20, || queue(&cluster.state, cluster.now).len());
    print("the queue in order, for readers", &mut queues);
    let mut looks = repeated(5, || forecast(cluster.state.clone(), cluster.now));
    print("when waiting jobs start, looking ahead", &mut looks);
    let mut arrays = repeated(20, || cluster.submit_array());
    print("an array of 10,000 tasks, to its record", &mut arrays);
    drop(cluster);

    // Without a past nothing is learned either.
    let settings = Settings {
        history_max_jobs: 0,
        ..Settings::default()
    };
    let mut cluster = Cluster::waiting(settings, None);
    cluster.unlock();
    let mut times = cluster.decide();
    print(
        "a job ends, nobody says how long jobs take",
        &mut times.ends,
    );
    print(
        "a job is submitted, nobody says how long",
        &mut times.submissions,
    );
}

/// How long each step of a kind took.
#[derive(Default)]
struct Times {
    ends: Vec<Duration>,
    begins: Vec<Duration>,
    submissions: Vec<Duration>,
}

#[expect(
    clippy::disallowed_types,
    reason = "a benchmark is what reads the clock"
)]
fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let began = std::time::Instant::now();
    let done = what();
    (done, began.elapsed())
}

fn repeated<T>(times: usize, mut what: impl FnMut() -> T) -> Vec<Duration> {
    let mut taken = Vec::with_capacity(times);
    for _ in 0..times {
        let (done, took) = timed(&mut what);
        black_box(done);
        taken.push(took);
    }
    taken
}

fn average(took: Duration, of: usize) -> Option<Duration> {
    took.checked_div(u32::try_from(of).ok()?)
}

#[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
fn print(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100).max(1);
        times.get(rank - 1).copied().unwrap_or_default()
    };
    let [median, high, most] = [50, 99, 100].map(at);
    println!("{what:<44}{median:>12.1?}{high:>12.1?}{most:>12.1?}");
    // A row for the table of `make bench`.
    if std::env::var_os("DOPQ_BENCH_ROWS").is_some() {
        let [median, low, high] = [50, 0, 99].map(|percent| at(percent).as_secs_f64());
        let measured = serde_json::json!({"median": median, "low": low, "high": high});
        let reach = what.starts_with("a job ends").then_some(0.005);
        let what = format!("scheduler: {what} (to 99 %)");
        let row = serde_json::json!({"what": what, "unit": "Seconds", "measured": measured, "reach": reach});
        println!("{row}");
    }
}

struct Cluster {
    state: State,
    planner: Planner,
    now: Timestamp,
    shapes: Vec<Arc<JobSpec>>,
    config: Arc<str>,
    running: Vec<(WorkerId, AttemptId)>,
    /// Placed, and not yet reported to run.
    placed: Vec<(WorkerId, AttemptId)>,
    submitted: u64,
    lot: u64,
}

impl Cluster {
    /// All machines, and all jobs waiting behind a lock; `lasting` is what their users say of how long they take.
    fn waiting(settings: Settings, lasting: Option<Duration>) -> Self {
        let mut cluster = Self {
            state: State::new(Settings {
                starts_per_worker: u32::MAX,
                ..settings
            }),
            planner: Planner::default(),
            now: Timestamp::from_millis(1_000_000),
            shapes: shapes(lasting),
            config: "{}".into(),
            running: Vec::new(),
            placed: Vec::new(),
            submitted: 0,
            lot: 42,
        };
        for number in 0..WORKERS {
            cluster.step(Event::WorkerJoined {
                worker: format!("w{number}").parse().expect("a name"),
                session: "bench".into(),
                capacity: machine(number),
                images: BTreeSet::new(),
                machine: Arc::default(),
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
        for _ in 0..JOBS {
            cluster.submit();
        }
        cluster
    }

    fn step(&mut self, event: Event) -> Effects {
        let mut effects = Effects::default();
        step(&mut self.state, self.now, event, &mut effects).expect("an event that is taken");
        effects
    }

    fn schedule(&mut self) {
        let mut effects = Effects::default();
        self.planner
            .schedule(&mut self.state, self.now, &mut effects);
        for act in effects.acts {
            match act {
                Effect::Run { worker, attempt } => self.placed.push((worker, attempt)),
                Effect::Accepted { .. }
                | Effect::Stop { .. }
                | Effect::Forget { .. }
                | Effect::Archive { .. }
                | Effect::ClearArchive { .. } => {}
            }
        }
    }

    fn submit(&mut self) {
        let number = self.submitted;
        self.submitted += 1;
        let user: UserName = format!("user{}", number % USERS).parse().expect("a name");
        // Jobs of one user are of different shapes, and shapes have many users.
        let shape = usize::try_from((number / USERS + number) % 24).expect("small");
        self.step(Event::Submitted(Submission {
            user,
            spec: Arc::clone(&self.shapes[shape]),
            config: Arc::clone(&self.config),
            bundle: None,
            key: None,
            job_key: JobKey([0; 16]),
        }));
    }

    fn unlock(&mut self) {
        self.step(Event::LockSet { lock: None });
        self.schedule();
    }

    /// Many decisions, one after the other.
    fn decide(&mut self) -> Times {
        self.run_all();
        for _ in 0..WARM_UP {
            self.turn(&mut Times::default());
        }
        let mut times = Times::default();
        for _ in 0..DECISIONS {
            self.turn(&mut times);
        }
        times
    }

    fn run_all(&mut self) {
        while let Some((worker, attempt)) = self.placed.pop() {
            self.running.push((worker.clone(), attempt));
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

    /// Ends one job, drawn by lot; starts what was placed instead, and submits as many again.
    fn turn(&mut self, times: &mut Times) {
        self.now = self.now.after(Duration::from_millis(250));
        let (_, took) = timed(|| {
            self.end_one();
            self.schedule();
        });
        times.ends.push(took);
        let placed = self.placed.len();
        let (_, took) = timed(|| self.run_all());
        times.begins.extend(average(took, placed));
        let (_, took) = timed(|| (0..placed).for_each(|_| self.submit()));
        times.submissions.extend(average(took, placed));
        self.schedule();
        self.run_all();
    }

    /// A batch as under load: many jobs end, as many are submitted, one pass, and all that was placed begins.
    fn batch(&mut self) -> Duration {
        self.now = self.now.after(Duration::from_millis(25));
        let (events, took) = timed(|| {
            (0..BATCH).for_each(|_| self.end_one());
            (0..BATCH).for_each(|_| self.submit());
            self.schedule();
            let placed = self.placed.len();
            self.run_all();
            2 * BATCH + placed
        });
        took / u32::try_from(events).expect("few")
    }

    fn end_one(&mut self) {
        let at = self.draw(self.running.len());
        let (worker, attempt) = self.running.swap_remove(at);
        self.step(Event::Reported {
            worker,
            attempt,
            progress: Progress::Finished {
                outcome: Outcome::new(Cause::Succeeded, ""),
                ran: Duration::from_secs(1),
                log_bytes: 0,
                results: None,
            },
        });
    }

    fn draw(&mut self, below: usize) -> usize {
        self.lot = self
            .lot
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.lot >> 33).expect("small") % below
    }

    fn penalties(&self) -> f64 {
        let users = self.state.users();
        users
            .map(|user| penalty_of(&self.state, self.now, &user.name))
            .sum()
    }

    /// Accepts an array as the master does: the step, the changes that it commits, and their records.
    fn submit_array(&mut self) -> usize {
        let mut spec = JobSpec::clone(&self.shapes[0]);
        spec.array = Some(ArraySpec {
            indexes: "0-9999".parse().expect("indexes"),
            max_running: None,
        });
        let effects = self.step(Event::Submitted(Submission {
            user: "user7".parse().expect("a name"),
            spec: Arc::new(spec),
            config: Arc::clone(&self.config),
            bundle: None,
            key: None,
            job_key: JobKey([0; 16]),
        }));
        let changes = self.state.changes(&effects.dirty).into_iter();
        let jobs = changes.filter_map(|change| match change {
            Change::Job(job) => Some(record::write(&*job).expect("it is written").len()),
            Change::JobDropped(_)
            | Change::User(_)
            | Change::Group(_)
            | Change::GroupDropped(_)
            | Change::Worker(_)
            | Change::WorkerDropped(_)
            | Change::Key(..)
            | Change::Meta(_) => None,
        });
        jobs.sum()
    }
}

fn shapes(lasting: Option<Duration>) -> Vec<Arc<JobSpec>> {
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
            volumes: BTreeSet::new(),
        })
    });
    let user: UserName = "user".parse().expect("a name");
    shapes
        .map(|request| {
            let mut spec = spec(user.clone(), request);
            spec.time_request = lasting;
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
        volumes: BTreeMap::new(),
    }
}

/// What the process holds, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

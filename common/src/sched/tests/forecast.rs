//! When waiting jobs are expected to start: what was foreseen is held against what then happens.

use proptest::prelude::*;

use super::*;
use crate::job::{ArraySpec, Dependency, DependencyKind, Indexes};
use crate::sched::state::expected_ends::{Ends, began, ended};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A cluster in which jobs run for exactly as long as they say.
struct Exact {
    state: State,
    now: Timestamp,
    ends: Ends,
    starts: BTreeMap<JobId, Timestamp>,
}

impl Exact {
    fn new(settings: Settings, machines: &[u32]) -> Self {
        let mut exact = Self {
            state: State::new(settings),
            now: Timestamp::from_millis(1_000_000),
            ends: Ends::default(),
            starts: BTreeMap::new(),
        };
        for (at, gpus) in machines.iter().enumerate() {
            let name = format!("w{at}");
            exact.step(Event::WorkerJoined {
                worker: worker(&name),
                session: "session".into(),
                capacity: capacity(&name, *gpus),
                images: [].into(),
                machine: Arc::default(),
                known: Vec::new(),
            });
        }
        exact
    }

    fn step(&mut self, event: Event) {
        let mut effects = Effects::default();
        // What can never fit is refused, which is as good.
        drop(decide(&mut self.state, self.now, event, &mut effects));
        for act in effects.acts {
            match act {
                Effect::Run { worker, attempt } => self.start(worker, attempt),
                Effect::Stop { .. }
                | Effect::Accepted { .. }
                | Effect::Forget { .. }
                | Effect::Archive { .. }
                | Effect::ClearArchive { .. } => {}
            }
        }
    }

    fn start(&mut self, worker: WorkerId, attempt: AttemptId) {
        let job = self.state.job(attempt.job).unwrap();
        let runs = job.spec.time_request.unwrap();
        let array = job.task.map(|task| task.array);
        for id in [Some(job.id), array].into_iter().flatten() {
            self.starts.entry(id).or_insert(self.now);
        }
        let end = self.now.after(runs);
        self.ends.add(attempt, worker.clone(), end);
        self.step(began(worker, attempt));
    }

    fn end_first(&mut self) {
        self.now = self.ends.next_at().unwrap();
        let (attempt, worker) = self.ends.pop().unwrap();
        let job = self.state.job(attempt.job).unwrap();
        let ran = job.spec.time_request.unwrap();
        let outcome = Outcome::new(Cause::Succeeded, "");
        self.step(ended(worker, attempt, outcome, ran));
    }

    fn pass(&mut self, time: Duration) {
        let then = self.now.after(time);
        while self.ends.next_at().is_some_and(|end| end <= then) {
            self.end_first();
        }
        self.now = then;
    }

    fn submit(&mut self, of: &str, edit: impl FnOnce(&mut JobSpec)) {
        self.step(Event::Submitted(submission(of, edit)));
    }

    /// Nothing more is submitted; everything ends that can.
    fn run_out(&mut self) {
        while self.ends.next_at().is_some() {
            self.end_first();
        }
    }
}

#[derive(Debug, Clone)]
struct Want {
    user: usize,
    gpus: u32,
    milli: u32,
    runs: u64,
    priority: i32,
    nice: bool,
    after_last: bool,
    tasks: Option<(u32, Option<u32>)>,
    held: bool,
    /// Passes before it comes.
    pause: u64,
}

fn wants() -> impl Strategy<Value = Vec<Want>> {
    let shape = (1_u32..=4, prop_oneof![Just(1000_u32), Just(500), Just(250)]);
    let tasks = prop::option::weighted(0.15, (2_u32..5, prop::option::of(1_u32..3)));
    let odd = (
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.05),
    );
    let want = (0_usize..3, shape, 1_u64..500, -2..3, tasks, odd, 0_u64..60);
    let want = want.prop_map(
        |(user, (gpus, milli), runs, priority, tasks, (nice, after_last, held), pause)| Want {
            user,
            gpus,
            milli,
            runs,
            priority,
            nice,
            after_last,
            tasks,
            held,
            pause,
        },
    );
    prop::collection::vec(want, 1..40)
}

fn settings() -> impl Strategy<Value = Settings> {
    let policy = prop_oneof![
        Just(Policy::Usage),
        Just(Policy::Recency),
        Just(Policy::Fifo)
    ];
    let backfill = prop_oneof![
        3 => Just(Backfill::Easy),
        1 => Just(Backfill::BestEffort),
        1 => Just(Backfill::Strict)
    ];
    // A scorer that learns nothing: a new planner learns the mix of requests anew, and may then take another node.
    let placement = Placement::BestFit;
    (policy, backfill).prop_map(move |(policy, backfill)| Settings {
        policy,
        backfill,
        placement,
        history_max_jobs: 1000,
        ..Settings::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases / 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Where everybody says how long they take and nobody comes any more, what is foreseen happens.
    #[test]
    fn what_is_foreseen_happens(
        settings in settings(),
        machines in prop::collection::vec(1_u32..5, 1..4),
        wants in wants(),
    ) {
        let mut exact = Exact::new(settings, &machines);
        for want in wants {
            let last = exact.state.jobs().next_back().map(|job| job.id);
            let of = ["anna", "bert", "carl"][want.user];
            exact.submit(of, |spec| {
                spec.request.gpus = want.gpus;
                spec.request.gpu_amount = GpuAmount::Milli(MilliGpu(want.milli));
                spec.request.memory = Some(ByteSize(ByteSize::MIB));
                spec.request.cpu = Some(MilliCpu(10));
                spec.time_request = Some(secs(want.runs));
                spec.priority = want.priority;
                if want.nice {
                    spec.class = Class::Nice;
                }
                spec.array = want.tasks.map(|(tasks, max_running)| ArraySpec {
                    indexes: Indexes::from_range(0, tasks - 1),
                    max_running,
                });
                spec.after = last
                    .filter(|_| want.after_last)
                    .map(|job| Dependency { job, kind: DependencyKind::Any })
                    .into_iter()
                    .collect();
            });
            let newest = exact.state.jobs().next_back().map(|job| job.id);
            if let Some(job) = newest.filter(|_| want.held) {
                exact.step(Event::HoldRequested { job, by: user("admin") });
            }
            exact.pass(secs(want.pause));
        }
        let waiting = exact.state.jobs().filter(|job| job.state.waiting() > 0);
        let waiting: Vec<_> = waiting.cloned().collect();
        let foreseen = forecast(exact.state.clone(), exact.now);
        exact.starts.clear();
        let kept = match exact.state.blocked() {
            Some(Blocked::Reserved(kept)) => Some(kept.clone()),
            Some(Blocked::Awaited(_) | Blocked::Unreservable(..)) | None => None,
        };
        exact.run_out();
        for job in waiting {
            let start = foreseen.start(&job);
            let actual = exact.starts.get(&job.id).copied();
            prop_assert_eq!(start.map(|start| start.p50), actual, "job {}", job.id);
            prop_assert_eq!(start.map(|start| start.p90), actual, "job {}", job.id);
            if let Some(array) = job.state.array() {
                for id in array.waiting.iter().map(|index| job.task_id(index).unwrap()) {
                    let start = foreseen.start_of(&job, id).map(|start| start.p50);
                    prop_assert_eq!(start, exact.starts.get(&id).copied(), "task {}", id);
                }
            }
            // What is explained of a place that is kept is what is foreseen.
            if let Some(kept) = kept.as_ref().filter(|kept| kept.job == job.id) {
                prop_assert!(start.unwrap().p90 <= kept.at, "{:?} of {kept:?}", start);
            }
        }
    }
}

impl Cluster {
    fn foreseen(&self) -> Forecast {
        let mut reader = self.replica.clone();
        reader.set_unstored(self.state.unstored());
        let of_reader = forecast(reader, self.now);
        let is_same = of_reader == forecast(self.state.clone(), self.now);
        assert!(is_same, "readers foresee something else");
        of_reader
    }

    /// In how many seconds the job is foreseen to start.
    fn starts_in(&self, id: JobId) -> Option<(u64, u64)> {
        let start = self.foreseen().start(self.state.job(id).unwrap())?;
        let in_secs = |at: Timestamp| at.since(self.now).as_secs();
        Some((in_secs(start.p50), in_secs(start.p90)))
    }

    fn unforeseen(&self, id: JobId) -> Option<Unforeseen> {
        self.foreseen().unforeseen(self.state.job(id).unwrap())
    }

    /// A job of that length, which has ended, on a machine that has room.
    fn remember(&mut self, of: &str, name: &str, ran: u64) {
        let id = self.submit(of, |spec| name.clone_into(&mut spec.name));
        let on = self.worker_of(id.0).unwrap().to_owned();
        let progress = Progress::Finished {
            outcome: Outcome::new(Cause::Succeeded, ""),
            ran: secs(ran),
            log_bytes: 0,
            results: None,
        };
        self.report(&on, &format!("{id}.1"), progress).unwrap();
    }
}

#[test]
fn nothing_is_foreseen_where_nothing_is_known() {
    let mut cluster = Cluster::new();
    cluster.join("w1", 1);
    let first = cluster.submit("anna", |_| {});
    let second = cluster.submit("anna", |_| {});
    assert_eq!(cluster.unforeseen(second), Some(Unforeseen::Unsaid));
    assert_eq!(cluster.unforeseen(first), None, "it does not wait");
    cluster.ok(Event::HoldRequested {
        job: second,
        by: user("anna"),
    });
    assert_eq!(cluster.unforeseen(second), Some(Unforeseen::Held));
}

#[test]
fn what_waits_for_something_that_never_comes_is_told_so() {
    let mut cluster = Cluster::new();
    cluster.join("w1", 1);
    let held = cluster.submit("anna", |spec| spec.time_request = Some(secs(10)));
    // It runs at once, so another is held.
    assert_eq!(cluster.phase(held.0), Phase::Assigned);
    let held = cluster.submit("anna", |spec| spec.time_request = Some(secs(10)));
    cluster.ok(Event::HoldRequested {
        job: held,
        by: user("anna"),
    });
    let after = cluster.submit("anna", |spec| {
        spec.after = vec![Dependency {
            job: held,
            kind: DependencyKind::Ok,
        }];
    });
    let before = cluster.foreseen();
    assert_eq!(cluster.unforeseen(after), Some(Unforeseen::Never));
    let later = cluster.submit("anna", |_| {});
    let later = cluster.job(later.0);
    assert_eq!(before.unforeseen(later), Some(Unforeseen::Outdated));
}

#[test]
fn lengths_are_those_of_like_jobs_or_of_all_or_at_most_the_limit() {
    let mut cluster = Cluster::new();
    cluster.join("w1", 1);
    for ran in [100, 100, 900] {
        cluster.remember("anna", "train", ran);
    }
    for ran in [16, 16, 16, 16, 16, 16, 16] {
        cluster.remember("bert", "other", ran);
    }
    let near = |told: Option<(u64, u64)>, p50: u64, p90: u64| {
        let (half, most) = told.expect("it is foreseen");
        assert!(half.abs_diff(p50) * 32 <= p50 + 32, "{half} not {p50}");
        assert!(most.abs_diff(p90) * 32 <= p90 + 32, "{most} not {p90}");
    };
    for (name, limit, p50, p90) in [
        ("train", None, 100, 900),
        ("train", Some(500), 100, 500),
        // Of ten runs half took 16 s, and nine in ten no more than 100 s.
        ("new", None, 16, 100),
        ("new", Some(3600), 16, 3600),
        ("new", Some(10), 10, 10),
    ] {
        let runs = cluster.submit("anna", |spec| {
            name.clone_into(&mut spec.name);
            spec.time_limit = limit.map(secs);
        });
        let waits = cluster.submit("anna", |_| {});
        assert_eq!(cluster.phase(runs.0), Phase::Assigned);
        near(cluster.starts_in(waits), p50, p90);
        cluster.cancel(waits.0).unwrap();
        cluster.cancel(runs.0).unwrap();
        let ended = done(Cause::Cancelled);
        cluster.report("w1", &format!("{runs}.1"), ended).unwrap();
    }
}

#[test]
fn a_job_that_is_overdue_goes_on_for_a_while_but_not_beyond_its_limit() {
    let mut cluster = Cluster::new();
    cluster.join("w1", 1);
    cluster.submit("anna", |spec| {
        spec.time_request = Some(secs(100));
        spec.time_limit = Some(secs(1300));
    });
    let waits = cluster.submit("anna", |_| {});
    assert_eq!(cluster.starts_in(waits), Some((100, 100)));
    cluster.pass(1000, &["w1"]);
    assert_eq!(cluster.starts_in(waits), Some((100, 300)));
}

#[test]
fn locks_retries_stops_and_a_broker_that_is_away_are_looked_beyond() {
    let mut cluster = Cluster::new();
    cluster.join("w1", 1);
    let first = cluster.submit("anna", |spec| {
        spec.retries = 1;
        spec.time_request = Some(secs(50));
    });
    let failed = done(Cause::UserError);
    cluster.report("w1", &format!("{first}.1"), failed).unwrap();
    // It is tried again after 5 s.
    assert_eq!(cluster.starts_in(first), Some((5, 5)));
    cluster.ok(Event::LockSet {
        lock: Some(QueueLock {
            by: user("admin"),
            reason: "new disks".to_owned(),
            until: cluster.now.after(secs(600)),
        }),
    });
    assert_eq!(cluster.starts_in(first), Some((600, 600)));
    cluster.ok(Event::LockSet { lock: None });
    cluster.ok(Event::BrokerLink { up: false });
    let second = cluster.submit("bert", |spec| spec.time_request = Some(secs(50)));
    assert_eq!(cluster.starts_in(second), Some((0, 0)));
    assert_eq!(cluster.starts_in(first), Some((50, 50)));
    cluster.ok(Event::BrokerLink { up: true });
    cluster.cancel(second.0).unwrap();
    // A stopped job is gone after its grace.
    assert_eq!(cluster.starts_in(first), Some((10, 10)));
}

#[test]
fn an_urgent_job_starts_once_others_have_given_way() {
    let mut cluster = Cluster::with(Settings {
        preempt_after: Duration::ZERO,
        ..Settings::default()
    });
    cluster.join("w1", 1);
    let soft = cluster.submit("anna", |spec| {
        spec.preemptible = true;
        spec.time_request = Some(secs(1000));
    });
    let running = phase(AttemptPhase::Running);
    cluster.report("w1", &format!("{soft}.1"), running).unwrap();
    cluster.ok(Event::BrokerLink { up: false });
    let urgent = cluster.submit("bert", |spec| {
        spec.class = Class::Urgent;
        spec.time_request = Some(secs(100));
    });
    let next = cluster.submit("carl", |_| {});
    assert_eq!(cluster.phase(soft.0), Phase::Running);
    assert_eq!(cluster.starts_in(urgent), Some((10, 10)));
    // The one that gave way stands at its old place again, before what came later.
    let (p50, _) = cluster.starts_in(next).unwrap();
    assert!(p50 >= 110, "{p50}");
}

#[test]
fn an_array_starts_with_its_next_task() {
    let mut cluster = Cluster::new();
    cluster.join("w1", 1);
    let array = JobId(1);
    cluster.submit("anna", |spec| {
        spec.time_request = Some(secs(100));
        spec.array = Some(ArraySpec {
            indexes: Indexes::from_range(0, 4),
            max_running: None,
        });
    });
    assert_eq!(cluster.starts_in(array), Some((100, 100)));
    let foreseen = cluster.foreseen();
    let starts = (3..=6).map(|task| {
        let start = foreseen.start_of(cluster.job(array.0), JobId(task));
        start.map(|start| start.p50.since(cluster.now).as_secs())
    });
    let starts: Vec<_> = starts.collect();
    assert_eq!(starts, [100, 200, 300, 400].map(Some), "each has its own");
    let next = cluster.submit("anna", |_| {});
    assert_eq!(cluster.starts_in(next), Some((500, 500)));
}

#[test]
fn it_is_not_looked_ahead_without_end() {
    let mut cluster = Cluster::new();
    cluster.join("w1", 1);
    cluster.submit("anna", |spec| {
        spec.time_request = Some(secs(1));
        spec.array = Some(ArraySpec {
            indexes: Indexes::from_range(0, 4999),
            max_running: None,
        });
    });
    let near = cluster.submit("anna", |spec| {
        spec.time_request = Some(secs(1));
        spec.priority = 1;
    });
    let far = cluster.submit("anna", |_| {});
    let foreseen = cluster.foreseen();
    assert!(foreseen.start(cluster.job(near.0)).is_some());
    assert_eq!(
        foreseen.unforeseen(cluster.job(far.0)),
        Some(Unforeseen::Far)
    );
}

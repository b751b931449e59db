//! What is promised about time, on random workloads: a place that is kept is there
//! when it was said to be, nobody waits for ever, and no machine gives more than it has.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::resources::GpuShare;

/// A job as lots decide.
#[derive(Debug, Clone, Copy)]
struct Wish {
    /// Since the wish before.
    after: Duration,
    of: u8,
    gpus: u32,
    milli: u32,
    cores: u64,
    runs: Duration,
    class: Class,
}

impl Wish {
    /// GPU-seconds.
    fn work(&self) -> f64 {
        self.runs.as_secs_f64() * f64::from(self.gpus * self.milli) / 1000.0
    }
}

/// What became of a job.
#[derive(Debug, Clone, Copy)]
struct Fate {
    wish: Wish,
    submitted_at: Timestamp,
    /// The earliest start that was ever promised.
    promised_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    /// How many jobs waited when it came, itself among them.
    waiting: u32,
    /// How many of those were of users who had had nothing yet.
    newcomers: u32,
    /// Remaining GPU-seconds of all that waited or ran when it came, itself among them.
    backlog: f64,
}

/// A cluster that runs wishes for exactly as long as they say.
struct Mill {
    state: State,
    now: Timestamp,
    ends: BTreeSet<(Timestamp, AttemptId)>,
    fates: BTreeMap<JobId, Fate>,
    /// Whether jobs say how long they run.
    is_said: bool,
}

fn name_of(of: u8) -> String {
    format!("user{of}")
}

impl Mill {
    fn new(settings: Settings, machines: &[u32]) -> Self {
        let mut mill = Self {
            state: State::new(Settings {
                history_max_jobs: 0,
                starts_per_worker: u32::MAX,
                ..settings
            }),
            now: Timestamp::from_millis(1_000_000),
            ends: BTreeSet::new(),
            fates: BTreeMap::new(),
            is_said: true,
        };
        for (number, gpus) in machines.iter().enumerate() {
            let name = format!("w{number}");
            mill.step(Event::WorkerJoined {
                worker: worker(&name),
                session: "session".into(),
                capacity: capacity(&name, *gpus),
                images: [].into(),
                machine: Arc::default(),
                known: Vec::new(),
            })
            .unwrap();
        }
        mill
    }

    fn step(&mut self, event: Event) -> Result<(), Rejected> {
        let mut effects = Effects::default();
        let taken = decide(&mut self.state, self.now, event, &mut effects);
        if let Some(Blocked::Reserved(kept)) = self.state.blocked()
            && let Some(fate) = self.fates.get_mut(&kept.job)
        {
            let before = fate.promised_at.unwrap_or(kept.at);
            fate.promised_at = Some(before.min(kept.at));
        }
        for act in effects.acts {
            if let Effect::Run { worker, attempt } = act {
                self.start(worker, attempt);
            }
        }
        taken
    }

    fn start(&mut self, worker: WorkerId, attempt: AttemptId) {
        let fate = self.fates.get_mut(&attempt.job).unwrap();
        assert_eq!(fate.started_at, None, "{attempt} is started once");
        fate.started_at = Some(self.now);
        let ends = self.now.after(fate.wish.runs);
        self.ends.insert((ends, attempt));
        self.no_machine_gives_more_than_it_has(&worker);
        self.step(Event::Reported {
            worker,
            attempt,
            progress: phase(AttemptPhase::Running),
        })
        .unwrap();
    }

    /// Computed from the jobs alone, not from the scheduler's own books.
    fn no_machine_gives_more_than_it_has(&self, on: &WorkerId) {
        let mut gpus: BTreeMap<_, u32> = BTreeMap::new();
        let (mut cpu, mut memory) = (0, 0);
        let capacity = &self.state.worker(on).unwrap().capacity;
        for job in self.state.jobs() {
            let active = job.state.active().filter(|active| active.worker == *on);
            let Some(held) = active.map(|active| &active.allocation) else {
                continue;
            };
            let given: BTreeSet<_> = held.gpus.iter().map(|share| &share.id).collect();
            assert_eq!(
                given.len(),
                job.spec.request.gpus as usize,
                "different GPUs"
            );
            for GpuShare { id: gpu, milli } in &held.gpus {
                assert!(capacity.gpus.iter().any(|there| there.id == *gpu));
                assert_eq!(Some(*milli), job.spec.request.gpu_amount.on(1));
                *gpus.entry(gpu.clone()).or_default() += milli.0;
            }
            cpu += held.cpu.0;
            memory += held.memory.0;
        }
        assert!(gpus.values().all(|held| *held <= 1000), "{gpus:?}");
        assert!(cpu <= capacity.cpu.0 && memory <= capacity.memory.0);
    }

    fn pass_to(&mut self, then: Timestamp) {
        while self.ends.first().is_some_and(|(end, _)| *end <= then) {
            let (end, attempt) = self.ends.pop_first().unwrap();
            self.now = end;
            let active = self.state.job(attempt.job).unwrap().state.active();
            let worker = active.unwrap().worker.clone();
            let progress = done(Cause::Succeeded);
            self.step(Event::Reported {
                worker,
                attempt,
                progress,
            })
            .unwrap();
        }
        self.now = then;
    }

    fn wish(&mut self, wish: Wish) {
        self.pass_to(self.now.after(wish.after));
        let waiting = self.fates.values().filter(|fate| fate.started_at.is_none());
        let unused = |of: u8| penalty_of(&self.state, self.now, &user(&name_of(of))) <= 0.0;
        let newcomers: BTreeSet<u8> = waiting
            .clone()
            .map(|fate| fate.wish.of)
            .filter(|of| unused(*of))
            .collect();
        let running = self.ends.iter().map(|(end, attempt)| {
            let wish = &self.fates[&attempt.job].wish;
            wish.work() * end.since(self.now).as_secs_f64() / wish.runs.as_secs_f64()
        });
        let fate = Fate {
            wish,
            submitted_at: self.now,
            promised_at: None,
            started_at: None,
            waiting: 1 + u32::try_from(waiting.clone().count()).unwrap(),
            newcomers: u32::try_from(newcomers.len()).unwrap(),
            backlog: wish.work()
                + waiting.map(|fate| fate.wish.work()).sum::<f64>()
                + running.sum::<f64>(),
        };
        let is_said = self.is_said;
        let id = JobId(self.state.meta().last_job + 1);
        self.fates.insert(id, fate);
        let submitted = self.step(Event::Submitted(submission(&name_of(wish.of), |spec| {
            spec.request.gpus = wish.gpus;
            spec.request.gpu_amount = GpuAmount::Milli(MilliGpu(wish.milli));
            spec.request.cpu = Some(MilliCpu(1000 * wish.cores));
            spec.request.memory = Some(ByteSize(wish.cores * ByteSize::GIB));
            spec.time_request = is_said.then_some(wish.runs);
            spec.class = wish.class;
        })));
        if let Err(Rejected::NeverFits(_)) = submitted {
            self.fates.remove(&id);
        } else {
            submitted.unwrap();
        }
    }

    /// Grants all wishes and lets everything end.
    fn grant(mut self, wishes: &[Wish]) -> Self {
        for wish in wishes {
            self.wish(*wish);
        }
        while let Some((end, _)) = self.ends.first() {
            self.pass_to(*end);
        }
        self
    }
}

impl Fate {
    fn waited(&self) -> Duration {
        let started = self.started_at.expect("nobody waits for ever");
        started.since(self.submitted_at)
    }
}

fn settings(policy: Policy) -> Settings {
    let mut settings = Settings {
        policy,
        ..Settings::default()
    };
    // What a job asks for and how long it waits move its user's rank, for which the bounds know no term.
    settings.usage.ask_weight = 0.0;
    settings.usage.aging = 0.0;
    settings
}

fn policies() -> impl Strategy<Value = Policy> {
    prop::sample::select(vec![Policy::Usage, Policy::Recency, Policy::Fifo])
}

/// Jobs of all sizes, and of the classes that take no other's turn, often more than there is room for.
fn mixed() -> impl Strategy<Value = Vec<Wish>> {
    let wish = (
        0..90_u64,
        0..4_u8,
        0..5_u32,
        prop::sample::select(vec![250_u32, 500, 1000, 1000]),
        1..8_u64,
        1..400_u64,
        prop::sample::select(vec![Class::Normal, Class::Normal, Class::Nice]),
    );
    let wish = wish.prop_map(|(after, of, gpus, milli, cores, runs, class)| Wish {
        after: Duration::from_secs(after),
        of,
        gpus,
        milli,
        cores,
        runs: Duration::from_secs(runs),
        class,
    });
    prop::collection::vec(wish, 1..60)
}

/// Jobs of one class on whole GPUs of so many, coming so fast that they keep `load` of all GPUs busy on the
/// average.
fn steady(gpus: u32, widest: u32, users: u8, load: f64) -> impl Strategy<Value = Vec<Wish>> {
    let wish = (0.0..2.0_f64, 0..users, 1..=widest, 1..400_u64);
    let wish = wish.prop_map(move |(pace, of, width, runs)| {
        let work = Duration::from_secs(runs) * width;
        Wish {
            after: work.mul_f64(pace / (load * f64::from(gpus))),
            of,
            gpus: width,
            milli: 1000,
            cores: 0,
            runs: Duration::from_secs(runs),
            class: Class::Normal,
        }
    });
    prop::collection::vec(wish, 1..90)
}

const LONGEST: Duration = Duration::from_secs(400);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_place_that_is_kept_is_there_when_it_was_said_to_be(
        wishes in mixed(),
        machines in prop::collection::vec(1..5_u32, 1..4),
        policy in policies(),
    ) {
        let mill = Mill::new(Settings { policy, ..Settings::default() }, &machines);
        for (id, fate) in mill.grant(&wishes).fates {
            let started = fate.started_at.expect("nobody waits for ever");
            let promised = fate.promised_at.unwrap_or(started);
            prop_assert!(started <= promised, "job {id} started late: {fate:?}");
        }
    }

    #[test]
    fn by_submission_nobody_waits_for_those_who_come_later(
        wishes in steady(6, 6, 3, 1.2),
        is_said: bool,
    ) {
        let settings = Settings {
            order: JobOrder::Submission,
            ..settings(Policy::Fifo)
        };
        let mut mill = Mill::new(settings, &[6]);
        mill.is_said = is_said;
        for (id, fate) in mill.grant(&wishes).fates {
            // Each of those before it in turn starts at the end of all that runs, at the latest.
            let bound = LONGEST * fate.waiting;
            prop_assert!(fate.waited() <= bound, "job {id} waited: {fate:?}");
        }
    }

    #[test]
    fn by_usage_a_newcomer_waits_for_one_promise_and_for_other_newcomers(
        flood in steady(8, 4, 3, 2.0),
        newcomers in prop::collection::vec((0..90_usize, 1..8_u32), 1..6),
    ) {
        let mut wishes = flood;
        for (number, (at, gpus)) in (100..).zip(newcomers) {
            let newcomer = Wish {
                after: Duration::ZERO,
                of: number,
                gpus,
                milli: 1000,
                cores: 0,
                runs: Duration::from_secs(300),
                class: Class::Normal,
            };
            wishes.insert(at.min(wishes.len()), newcomer);
        }
        let mill = Mill::new(settings(Policy::Usage), &[8]);
        for (id, fate) in mill.grant(&wishes).fates {
            let bound = LONGEST * (fate.newcomers + 2);
            prop_assert!(
                fate.wish.of < 100 || fate.waited() <= bound,
                "newcomer {id} waited: {fate:?}"
            );
        }
    }

    #[test]
    fn below_capacity_whoever_waits_starts_once_the_work_before_them_is_done(
        wishes in steady(8, 2, 5, 0.8),
        machines in prop::sample::select(vec![vec![8_u32], vec![4, 4]]),
        policy in policies(),
    ) {
        // While anybody waits at most this much of each machine is idle.
        let busy: f64 = machines.iter().map(|gpus| f64::from(gpus - 1)).sum();
        let mill = Mill::new(settings(policy), &machines);
        let fates: Vec<Fate> = mill.grant(&wishes).fates.into_values().collect();
        for (number, fate) in fates.iter().enumerate() {
            let waited = fate.waited().as_secs_f64();
            let started = fate.started_at.unwrap();
            let later = fates.iter().skip(number + 1);
            let later = later.take_while(|later| later.submitted_at < started);
            let work = fate.backlog + later.map(|later| later.wish.work()).sum::<f64>();
            prop_assert!(waited * busy <= work + 1e-6, "job {number} waited: {fate:?}");
        }
    }
}

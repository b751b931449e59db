//! The scheduler with several simulated workers over a network that loses, repeats and reorders, while
//! masters and workers crash and clocks jump. What must always hold is checked after every step; in the
//! end, once everything works again, every job must end and every worker be rid of every attempt.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::shares::USERS;
use super::*;
use crate::job::{ArraySpec, Dependency, DependencyKind, Indexes};

const WORKERS: [(&str, u32); 3] = [("w1", 1), ("w2", 2), ("w3", 4)];
/// One thing that the world does; the number chooses among the candidates.
#[derive(Debug, Clone, Copy)]
enum Act {
    Submit,
    Cancel,
    Hold,
    Release,
    /// An order arrives; it may be lost instead, or arrive and stay to arrive again.
    Order,
    LoseOrder,
    RepeatOrder,
    /// A report arrives and is acknowledged, or arrives and its acknowledgement is lost.
    Report,
    RepeatReport,
    /// An attempt on a worker takes its next step.
    Progress,
    Hear,
    /// A worker's agent restarts and introduces itself.
    Restart,
    /// A worker's disk is lost.
    Wipe,
    Leave,
    Cordon,
    Uncordon,
    /// An operator empties a machine by a deadline.
    Drain,
    /// An operator takes a job, or all of a machine's.
    Evict,
    /// An admin takes a machine out of the cluster, whose agent may come back.
    Forget,
    Lock,
    Link,
    /// An admin changes what a user or a group may have.
    Share,
    Tick,
    /// The clock jumps.
    Jump,
    /// A silence long enough for everybody to be lost.
    Sleep,
    /// The master dies after its commit, before it acts; the next one loads what was committed.
    Crash,
}

fn acts() -> impl Strategy<Value = Vec<(Act, u16)>> {
    use Act::*;
    let act = prop_oneof![
        6 => Just(Submit),
        2 => Just(Cancel),
        1 => Just(Hold),
        1 => Just(Release),
        8 => Just(Order),
        2 => Just(LoseOrder),
        2 => Just(RepeatOrder),
        8 => Just(Report),
        2 => Just(RepeatReport),
        8 => Just(Progress),
        4 => Just(Hear),
        2 => Just(Restart),
        1 => Just(Wipe),
        1 => Just(Leave),
        1 => Just(Cordon),
        1 => Just(Uncordon),
        1 => Just(Drain),
        1 => Just(Evict),
        1 => Just(Forget),
        1 => Just(Lock),
        1 => Just(Link),
        2 => Just(Share),
        3 => Just(Tick),
        1 => Just(Jump),
        1 => Just(Sleep),
        2 => Just(Crash),
    ];
    prop::collection::vec((act, any::<u16>()), 0..300)
}

/// A simulated worker: what a real one records durably, and no more.
#[derive(Default)]
struct Agent {
    attempts: BTreeMap<AttemptId, Option<AttemptPhase>>,
    /// Attempts that must never begin again here.
    ended: BTreeSet<AttemptId>,
    outbox: Vec<(u64, Said)>,
    seq: u64,
    /// The newest report that a master has taken.
    taken: u64,
}

#[derive(Clone)]
enum Said {
    Hello(Vec<KnownAttempt>),
    Progress(AttemptId, Progress),
}

impl Agent {
    fn say(&mut self, said: Said) {
        self.seq += 1;
        self.outbox.push((self.seq, said));
    }

    fn say_hello(&mut self) {
        let known = self.attempts.iter().map(|(attempt, phase)| KnownAttempt {
            attempt: *attempt,
            phase: *phase,
        });
        self.say(Said::Hello(known.collect()));
    }

    fn end(&mut self, attempt: AttemptId, outcome: Outcome) {
        self.attempts.insert(attempt, None);
        self.ended.insert(attempt);
        let progress = Progress::Finished {
            outcome,
            ran: Duration::from_secs(1),
            log_bytes: 0,
            results: None,
        };
        self.say(Said::Progress(attempt, progress));
    }

    fn obey(&mut self, order: &Effect, starts: &mut BTreeSet<AttemptId>) {
        match order {
            Effect::Run { attempt, .. } => {
                if !self.attempts.contains_key(attempt) && !self.ended.contains(attempt) {
                    starts.insert(*attempt);
                    self.attempts.insert(*attempt, Some(AttemptPhase::Accepted));
                    self.say(Said::Progress(*attempt, Progress::Accepted));
                }
            }
            Effect::Stop {
                attempt, outcome, ..
            } => self.end(*attempt, outcome.clone()),
            Effect::Forget { attempt, .. } => {
                self.attempts.remove(attempt);
                self.ended.insert(*attempt);
            }
            Effect::Accepted { .. } | Effect::Archive { .. } | Effect::ClearArchive { .. } => {}
        }
    }

    fn progress(&mut self, choice: u16) {
        let going: Vec<_> = self
            .attempts
            .iter()
            .filter_map(|(attempt, phase)| Some((*attempt, (*phase)?)))
            .collect();
        let Some((attempt, phase)) = pick(&going, choice).copied() else {
            return;
        };
        let next = match (phase, choice % 8) {
            (AttemptPhase::Accepted, 0) => {
                self.attempts.insert(attempt, None);
                self.ended.insert(attempt);
                let reason = "no room".to_owned();
                self.say(Said::Progress(attempt, Progress::Refused { reason }));
                return;
            }
            (AttemptPhase::Accepted, _) => AttemptPhase::Building,
            (AttemptPhase::Building, 1..) => AttemptPhase::Running,
            (AttemptPhase::Running, 0) => AttemptPhase::Paused,
            (AttemptPhase::Running, 3) => AttemptPhase::Uploading,
            (AttemptPhase::Paused, _) => AttemptPhase::Running,
            (AttemptPhase::Building, 0) => {
                return self.end(attempt, Outcome::new(Cause::BuildFailed, "no"));
            }
            (_, 1) => return self.end(attempt, Outcome::new(Cause::UserError, "exit 1")),
            (_, 2) => return self.end(attempt, Outcome::new(Cause::EngineError, "docker")),
            (_, _) => return self.end(attempt, Outcome::new(Cause::Succeeded, "")),
        };
        self.attempts.insert(attempt, Some(next));
        self.say(Said::Progress(attempt, super::phase(next)));
    }
}

fn pick<T>(items: &[T], choice: u16) -> Option<&T> {
    items.get(usize::from(choice).checked_rem(items.len())?)
}

struct World {
    cluster: Cluster,
    agents: BTreeMap<&'static str, Agent>,
    orders: Vec<Effect>,
    starts: BTreeSet<AttemptId>,
    wiped: bool,
    finished: BTreeMap<JobId, JobState>,
    numbers: BTreeMap<JobId, u32>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            cluster: Cluster::with(Settings {
                history_max_jobs: 1000,
                starts_per_worker: 3,
                preempt_after: Duration::from_secs(5),
                ..Settings::default()
            }),
            agents: WORKERS.map(|(name, _)| (name, Agent::default())).into(),
            orders: Vec::new(),
            starts: BTreeSet::new(),
            wiped: false,
            finished: BTreeMap::new(),
            numbers: BTreeMap::new(),
        };
        world.agents.values_mut().for_each(Agent::say_hello);
        world
    }

    fn step(&mut self, event: Event) {
        // A rejection is as good an answer as any: the cluster checks that it changed nothing.
        let result = self.cluster.step(event);
        self.take_acts();
        self.check_jobs();
        if result.is_ok() {
            self.check_placed();
        }
    }

    fn take_acts(&mut self) {
        for act in std::mem::take(&mut self.cluster.acts) {
            match &act {
                Effect::Run { attempt, .. } => {
                    let job = self.cluster.state.job(attempt.job).unwrap();
                    assert_eq!(
                        job.attempt(),
                        Some(*attempt),
                        "only current attempts are run"
                    );
                    self.orders.push(act);
                }
                Effect::Stop { .. } | Effect::Forget { .. } => self.orders.push(act),
                Effect::Accepted { .. } | Effect::Archive { .. } | Effect::ClearArchive { .. } => {}
            }
        }
    }

    fn check_jobs(&mut self) {
        for job in self.cluster.state.jobs() {
            if let Some(before) = self.finished.get(&job.id) {
                assert_eq!(before, &job.state, "what has ended does not change");
            }
            if job.state.is_finished() {
                self.finished.insert(job.id, job.state.clone());
            }
            let number = self.numbers.insert(job.id, job.last_attempt);
            assert!(
                number.unwrap_or(0) <= job.last_attempt,
                "attempts only grow"
            );
        }
    }

    /// Whatever is ready and fits is not left lying, while anything may be placed at all.
    fn check_placed(&self) {
        let (state, now) = (&self.cluster.state, self.cluster.now);
        let mut reader = self.cluster.replica.clone();
        reader.set_unstored(state.unstored());
        for waiting in queue(state, now) {
            let reasons = reasons(state, now, waiting.job);
            let read = super::reasons(&reader, now, waiting.job);
            assert_eq!(reasons, read, "a reader explains the same");
            assert!(
                !reasons.contains(&Reason::Next),
                "{:?} was passed over",
                waiting.job.id
            );
        }
    }

    fn deliver_order(&mut self, choice: u16, keep: bool) {
        if self.orders.is_empty() {
            return;
        }
        let at = usize::from(choice) % self.orders.len();
        let order = self.orders[at].clone();
        if !keep {
            self.orders.remove(at);
        }
        let (Effect::Run { worker, .. }
        | Effect::Stop { worker, .. }
        | Effect::Forget { worker, .. }) = &order
        else {
            return;
        };
        let agent = self.agents.get_mut(worker.as_str()).unwrap();
        let before = self.starts.len();
        let again = matches!(&order, Effect::Run { attempt, .. } if self.starts.contains(attempt));
        let known = agent.attempts.len();
        agent.obey(&order, &mut self.starts);
        let began = matches!(order, Effect::Run { .. }) && agent.attempts.len() > known;
        assert!(
            self.wiped || !(began && again),
            "an attempt was begun twice: {order:?} ({before} before)"
        );
    }

    fn deliver_report(&mut self, name: &'static str, choice: u16, keep: bool) {
        let agent = self.agents.get_mut(name).unwrap();
        let Some((seq, said)) = pick(&agent.outbox, choice).cloned() else {
            return;
        };
        if !keep {
            agent.outbox.retain(|(other, _)| *other != seq);
        }
        let is_old = seq < agent.taken;
        agent.taken = agent.taken.max(seq);
        let event = match said {
            // The master's shell drops introductions that later reports have overtaken.
            Said::Hello(_) if is_old => return,
            Said::Hello(known) => {
                let gpus = WORKERS.iter().find(|(other, _)| *other == name).unwrap().1;
                Event::WorkerJoined {
                    worker: worker(name),
                    session: "session".into(),
                    capacity: capacity(name, gpus),
                    images: [].into(),
                    machine: Arc::default(),
                    known,
                }
            }
            Said::Progress(attempt, progress) => Event::Reported {
                worker: worker(name),
                attempt,
                progress,
            },
        };
        self.step(event);
    }

    fn submit(&mut self, choice: u16) {
        let of = USERS[usize::from(choice) % 3];
        let others = self.cluster.state.jobs().filter(|job| job.user == user(of));
        let others: Vec<JobId> = others.map(|job| job.id).collect();
        self.step(Event::Submitted(submission(of, |spec| {
            spec.request.gpus = u32::from(choice >> 2) % 4;
            if choice & 16 == 0 {
                spec.request.gpu_amount = GpuAmount::Milli(MilliGpu(500));
            }
            spec.priority = i32::from(choice >> 8) % 3;
            spec.preemptible = choice & 0x3000 == 0;
            spec.retries = u32::from(choice >> 5) % 2;
            if choice & 64 == 0 {
                spec.time_limit = Some(Duration::from_secs(30));
            }
            if choice & 128 == 0 {
                spec.on_worker_loss = OnWorkerLoss::Fail;
            }
            if choice & 0x3000 == 0 {
                spec.array = Some(ArraySpec {
                    indexes: Indexes::from_range(3, 3 + u32::from(choice >> 14)),
                    max_running: (choice & 4 == 0).then_some(2),
                });
                spec.max_fails = (choice & 8 == 0).then_some(1);
            }
            if choice & 0x700 == 0 {
                spec.after
                    .extend(pick(&others, choice >> 4).map(|job| Dependency {
                        job: *job,
                        kind: if choice & 0x800 == 0 {
                            DependencyKind::Ok
                        } else {
                            DependencyKind::Any
                        },
                    }));
            }
        })));
    }

    /// A new master loads what was committed. What the old one was about to do is lost.
    fn crash(&mut self, choice: u16) {
        if choice & 1 == 0 {
            self.orders.clear();
        }
        let committed = &self.cluster.replica;
        let mut loaded = State::new(committed.settings().clone());
        let jobs = committed.jobs().rev().cloned().map(Change::Job);
        let users = committed.users().cloned().map(Box::new).map(Change::User);
        let groups = committed.groups().cloned().map(Box::new).map(Change::Group);
        let workers = committed.workers().cloned().map(Change::Worker);
        let meta = Change::Meta(Box::new(committed.meta().clone()));
        let people = users.chain(groups);
        for change in jobs.chain(people).chain(workers).chain([meta]) {
            loaded.apply(change);
        }
        same(committed, &loaded);
        check_invariants(&loaded).unwrap();
        self.cluster.state = loaded;
        self.cluster.planner = Planner::default();
        self.step(Event::LeadershipAcquired);
    }

    fn act(&mut self, act: Act, choice: u16) {
        let (name, _) = *pick(&WORKERS, choice).unwrap();
        let rest = choice / 3;
        let job = JobId(1 + u64::from(rest) % self.cluster.state.meta().last_job.max(1));
        let by = user("admin");
        match act {
            Act::Submit => self.submit(choice),
            Act::Cancel => self.step(Event::CancelRequested { job, by }),
            Act::Hold => self.step(Event::HoldRequested { job, by }),
            Act::Release => self.step(Event::ReleaseRequested { job }),
            Act::Order => self.deliver_order(choice, false),
            Act::RepeatOrder => self.deliver_order(choice, true),
            Act::LoseOrder => {
                if !self.orders.is_empty() {
                    let at = usize::from(choice) % self.orders.len();
                    self.orders.remove(at);
                }
            }
            Act::Report => self.deliver_report(name, rest, false),
            Act::RepeatReport => self.deliver_report(name, rest, true),
            Act::Progress => self.agents.get_mut(name).unwrap().progress(rest),
            Act::Hear => self.step(Event::WorkerHeard {
                worker: worker(name),
                session: "session".into(),
            }),
            Act::Restart => self.agents.get_mut(name).unwrap().say_hello(),
            Act::Wipe => {
                self.wiped = true;
                let agent = self.agents.get_mut(name).unwrap();
                agent.attempts.clear();
                agent.ended.clear();
                agent.outbox.clear();
                agent.say_hello();
            }
            Act::Leave => self.step(Event::WorkerLeft {
                worker: worker(name),
            }),
            Act::Cordon => {
                let cordon = Some(Cordon {
                    by,
                    reason: String::new(),
                    at: self.cluster.now,
                    drain: None,
                });
                let worker = worker(name);
                self.step(Event::CordonSet { worker, cordon });
            }
            Act::Drain => {
                let deadline = self.cluster.now.after(Duration::from_secs(20));
                let cordon = Some(Cordon {
                    by,
                    reason: String::new(),
                    at: self.cluster.now,
                    drain: Some(Drain {
                        deadline: (rest & 1 == 0).then_some(deadline),
                    }),
                });
                let worker = worker(name);
                self.step(Event::CordonSet { worker, cordon });
            }
            Act::Evict if choice & 1 == 0 => self.step(Event::EvictRequested { job, by }),
            Act::Evict => {
                let worker = worker(name);
                self.step(Event::NodeEvictRequested { worker, by });
            }
            Act::Uncordon => self.step(Event::CordonSet {
                worker: worker(name),
                cordon: None,
            }),
            Act::Forget => self.step(Event::WorkerForgotten {
                worker: worker(name),
            }),
            Act::Lock => {
                let until = self.cluster.now.after(Duration::from_secs(20));
                let reason = String::new();
                let lock = Some(QueueLock { by, reason, until });
                self.step(Event::LockSet { lock });
            }
            Act::Link => self.step(Event::BrokerLink {
                up: choice & 1 == 0,
            }),
            Act::Share => self.step(shares::drawn(choice)),
            Act::Tick => self.tick(1),
            Act::Jump => {
                let millis = self.cluster.now.as_millis();
                let by = u64::from(choice) * 100;
                let to = if choice & 1 == 0 {
                    millis + by
                } else {
                    millis.saturating_sub(by)
                };
                self.cluster.now = Timestamp::from_millis(to);
            }
            Act::Sleep => self.tick(125),
            Act::Crash => self.crash(choice),
        }
    }

    /// Lets time pass in the longest steps that count in full.
    fn tick(&mut self, times: u64) {
        for _ in 0..times {
            self.cluster.now = self.cluster.now.after(Duration::from_secs(5));
            self.step(Event::Ticked);
        }
    }

    /// Everything works again.
    fn heal(&mut self) {
        self.step(Event::BrokerLink { up: true });
        self.step(Event::LockSet { lock: None });
        for event in shares::without_limits() {
            self.step(event);
        }
        for (name, _) in WORKERS {
            self.agents.get_mut(name).unwrap().say_hello();
        }
        let jobs: Vec<JobId> = self.cluster.state.jobs().map(|job| job.id).collect();
        for job in jobs {
            self.step(Event::ReleaseRequested { job });
        }
        for _ in 0..120 {
            for (name, _) in WORKERS {
                while !self.agents[name].outbox.is_empty() {
                    self.deliver_report(name, 0, false);
                }
                self.act(Act::Uncordon, 0);
                let worker = worker(name);
                self.step(Event::CordonSet {
                    worker: worker.clone(),
                    cordon: None,
                });
                let session = "session".into();
                self.step(Event::WorkerHeard { worker, session });
            }
            while !self.orders.is_empty() {
                self.deliver_order(0, false);
            }
            for agent in self.agents.values_mut() {
                for _ in 0..8 {
                    agent.progress(7);
                }
            }
            // Long enough for orders that were lost to be given again.
            self.tick(3);
        }
    }

    fn check_end(&self) {
        for job in self.cluster.state.jobs() {
            assert!(
                job.state.is_finished(),
                "job {} never ended: {job:#?}",
                job.id
            );
        }
        for (name, agent) in &self.agents {
            assert!(
                agent.attempts.is_empty(),
                "{name} keeps {:?}",
                agent.attempts
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // An eighth of what PROPTEST_CASES says, which is 256 by default: each case is a long one.
        cases: ProptestConfig::default().cases / 8,
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_is_lost_and_nothing_runs_twice(acts in acts()) {
        let mut world = World::new();
        for (act, choice) in acts {
            world.act(act, choice);
        }
        world.heal();
        world.check_end();
    }
}

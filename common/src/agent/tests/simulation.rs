//! The agent against a model of an engine with Docker's habits, over crashes at every point: a taken name
//! is answered with what is there, a second start runs an ended container again, containers vanish,
//! answers get lost, and what was asked for before a crash may still happen after it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Container {
    id: Arc<str>,
    status: Status,
}

struct World {
    now: Timestamp,
    boot: u64,
    made: u64,
    agent: State,
    /// What a crash leaves.
    disk: (Meta, Vec<Attempt>),
    containers: BTreeMap<AttemptId, Container>,
    starts: BTreeMap<AttemptId, u32>,
    acts: Vec<Act>,
    events: Vec<Event>,
    /// Asked of the engine by an agent that is gone; may happen at any time.
    late: Vec<Act>,
    said: Vec<Report>,
}

impl World {
    fn new() -> Self {
        Self {
            now: NOW,
            boot: 0,
            made: 0,
            agent: fresh(),
            disk: (Meta::default(), Vec::new()),
            containers: BTreeMap::new(),
            starts: BTreeMap::new(),
            acts: Vec::new(),
            events: Vec::new(),
            late: Vec::new(),
            said: Vec::new(),
        }
    }

    /// One event: step, commit, act. With `crash` the agent dies between step and commit.
    fn feed(&mut self, event: Event, crash: bool) {
        let mut effects = Effects::default();
        if step(&mut self.agent, self.now, event, &mut effects).is_err() {
            check_open(&self.agent);
            effects.meta = false;
            assert_eq!(effects, Effects::default());
            return;
        }
        check_open(&self.agent);
        if crash {
            let begun = effects.acts.into_iter().filter(|act| !act.needs_commit());
            self.late.extend(begun);
            self.crash();
            return;
        }
        // A commit that only says that building has begun is not synced, so a crash may undo it.
        let undone = !effects.meta
            && effects.attempts.iter().all(|id| {
                let attempt = self.agent.attempt(*id);
                attempt.is_some_and(|a| matches!(a.stage, Stage::Building) && a.stop.is_none())
            });
        if undone {
            effects.attempts.clear();
        }
        // Only what the effects name is written, so that a forgotten mark shows.
        if effects.meta {
            self.disk.0 = *self.agent.meta();
        }
        for id in &effects.attempts {
            self.disk.1.retain(|attempt| attempt.id != *id);
            self.disk.1.extend(self.agent.attempt(*id).cloned());
        }
        self.acts.extend(effects.acts);
        self.said
            .extend(effects.reports.into_iter().map(|(_, report)| report));
    }

    fn crash(&mut self) {
        self.late.append(&mut self.acts);
        self.events.clear();
        let (meta, attempts) = self.disk.clone();
        self.agent = State::new(Settings::default(), meta, attempts, self.now);
        let containers = self.seen();
        let boot = Arc::from(format!("boot {}", self.boot));
        self.feed(Event::Resumed { boot, containers }, false);
        self.feed(Event::LinkChanged { up: true }, false);
    }

    fn reboot(&mut self) {
        self.boot += 1;
        self.late.clear();
        self.acts.clear();
        for container in self.containers.values_mut() {
            if let Status::Running { .. } | Status::Paused { .. } = container.status {
                container.status = exit(255);
            }
        }
        self.crash();
    }

    fn seen(&self) -> Vec<Seen> {
        let containers = self.containers.iter();
        containers
            .map(|(attempt, container)| Seen {
                attempt: *attempt,
                container: Arc::clone(&container.id),
                status: container.status.clone(),
            })
            .collect()
    }

    /// What the engine does; `None` when nobody hears of it.
    fn engine(&mut self, act: &Act) -> Option<Event> {
        match act {
            Act::Fetch(attempt) => Some(Event::Fetched(*attempt)),
            Act::Build(attempt) => Some(Event::ImageReady {
                attempt: *attempt,
                image: Arc::from("image"),
            }),
            Act::Abandon(_) | Act::Cut(_) => None,
            Act::Create { attempt, .. } => {
                let found = self.containers.get(attempt).map(|c| c.status.clone());
                self.made += 1;
                let made = Container {
                    id: Arc::from(format!("container {}", self.made)),
                    status: Status::Created,
                };
                let container = self.containers.entry(*attempt).or_insert(made);
                Some(Event::ContainerCreated {
                    attempt: *attempt,
                    created: Created {
                        container: Arc::clone(&container.id),
                        found,
                    },
                })
            }
            Act::Start { attempt, container } => {
                let since = self.now;
                let Some(container) = self.by_id(*attempt, container) else {
                    return Some(Event::StartFailed {
                        attempt: *attempt,
                        fault: StartFault::Unclear,
                    });
                };
                // The engine runs an ended container again without asking.
                if let Status::Created | Status::Exited(_) = container.status {
                    container.status = Status::Running { since };
                    *self.starts.entry(*attempt).or_default() += 1;
                }
                Some(Event::ContainerStarted {
                    attempt: *attempt,
                    at: since,
                    note: String::new(),
                })
            }
            Act::Inspect { attempt, container } => Some(Event::Inspected {
                attempt: *attempt,
                status: self.by_id(*attempt, container).map(|c| c.status.clone()),
            }),
            Act::Watch { .. } | Act::Terminate { .. } => None,
            Act::Kill { attempt, .. } => {
                self.ends(*attempt, 137);
                None
            }
            Act::Pause { attempt, container } => {
                let container = self.by_id(*attempt, container)?;
                let Status::Running { since } = container.status else {
                    return None;
                };
                container.status = Status::Paused { since };
                Some(Event::ContainerPaused(*attempt))
            }
            Act::Unpause { attempt, container } => {
                let container = self.by_id(*attempt, container)?;
                let Status::Paused { since } = container.status else {
                    return None;
                };
                container.status = Status::Running { since };
                Some(Event::ContainerUnpaused(*attempt))
            }
            Act::Verify { attempt, .. } => Some(Event::Verified {
                attempt: *attempt,
                engine_stopped: false,
                oom_killed: false,
            }),
            Act::Finish { attempt, discard } => {
                if let Some(container) = discard {
                    self.remove(*attempt, container);
                }
                Some(Event::Uploaded {
                    attempt: *attempt,
                    stored: Stored::default(),
                })
            }
            Act::Clean { attempt, container } => {
                if let Some(container) = container {
                    self.remove(*attempt, container);
                }
                None
            }
            Act::Remove { attempt, container } => {
                self.remove(*attempt, container);
                None
            }
        }
    }

    fn by_id(&mut self, attempt: AttemptId, container: &str) -> Option<&mut Container> {
        let found = self.containers.get_mut(&attempt);
        found.filter(|found| &*found.id == container)
    }

    fn remove(&mut self, attempt: AttemptId, container: &str) {
        if self.by_id(attempt, container).is_some() {
            self.containers.remove(&attempt);
        }
    }

    fn ends(&mut self, attempt: AttemptId, code: i64) {
        if let Some(container) = self.containers.get_mut(&attempt)
            && let Status::Running { .. } | Status::Paused { .. } = container.status
        {
            container.status = exit(code);
            self.events.push(Event::Inspected {
                attempt,
                status: Some(exit(code)),
            });
        }
    }

    fn check(&self) {
        for (attempt, starts) in &self.starts {
            assert!(*starts <= 1, "attempt {attempt} was started {starts} times");
        }
        for report in &self.said {
            if let Report::Refused { attempt, .. } = report {
                let starts = self.starts.get(attempt).copied().unwrap_or_default();
                assert_eq!(starts, 0, "attempt {attempt} was refused and started");
            }
            // The masters give what it held to others.
            if let Report::Entered { attempt, phase, .. } = report
                && *phase == AttemptPhase::Uploading
                && let Some(container) = self.containers.get(attempt)
                && let Status::Running { .. } | Status::Paused { .. } = container.status
            {
                panic!("attempt {attempt} runs after its end was told");
            }
        }
    }

    /// Lets everything come to rest with an engine that answers and jobs that end.
    fn settle(&mut self) {
        for _ in 0..40 {
            for act in std::mem::take(&mut self.late) {
                self.engine(&act);
            }
            for act in std::mem::take(&mut self.acts) {
                let event = self.engine(&act);
                self.events.extend(event);
            }
            let running: Vec<_> = self.containers.keys().copied().collect();
            for attempt in running {
                self.ends(attempt, 0);
            }
            for event in std::mem::take(&mut self.events) {
                self.feed(event, false);
            }
            self.now = self.now.after(Duration::from_secs(5));
            self.feed(Event::Ticked, false);
            let containers = self.seen();
            self.feed(Event::Listed { containers }, false);
            self.check();
        }
    }
}

/// What may happen next; numbers choose among what is there.
#[derive(Debug, Clone)]
enum Move {
    Run(u8),
    Stop(u8),
    Forget(u8),
    Pause(u8, bool),
    Perform(u8),
    PerformUnheard(u8),
    Fail(u8),
    Panic(u8),
    Deliver(u8, bool),
    Duplicate(u8),
    Late(u8),
    Exit(u8, u8),
    Vanish(u8),
    Tick(u16),
    List,
    Disk(bool),
    Crash,
    Reboot,
}

fn moves() -> impl Strategy<Value = Move> {
    let n = || any::<u8>();
    prop_oneof![
        4 => n().prop_map(Move::Run),
        1 => n().prop_map(Move::Stop),
        1 => n().prop_map(Move::Forget),
        1 => (n(), any::<bool>()).prop_map(|(a, frozen)| Move::Pause(a, frozen)),
        12 => n().prop_map(Move::Perform),
        1 => n().prop_map(Move::PerformUnheard),
        1 => n().prop_map(Move::Fail),
        1 => n().prop_map(Move::Panic),
        12 => (n(), prop::bool::weighted(0.1)).prop_map(|(a, crash)| Move::Deliver(a, crash)),
        1 => n().prop_map(Move::Duplicate),
        2 => n().prop_map(Move::Late),
        2 => (n(), n()).prop_map(|(a, code)| Move::Exit(a, code)),
        1 => n().prop_map(Move::Vanish),
        2 => (0..20_000_u16).prop_map(Move::Tick),
        1 => Just(Move::List),
        1 => any::<bool>().prop_map(Move::Disk),
        2 => Just(Move::Crash),
        1 => Just(Move::Reboot),
    ]
}

fn attempt(n: u8) -> AttemptId {
    id(["1.1", "1.2", "2.1", "3.1"][usize::from(n % 4)])
}

fn pick(n: u8, len: usize) -> Option<usize> {
    (len > 0).then(|| usize::from(n) % len)
}

fn apply(world: &mut World, next: Move) {
    match next {
        Move::Run(n) => world.feed(run_event(attempt(n)), false),
        Move::Stop(n) => world.feed(stop_event(attempt(n)), false),
        Move::Forget(n) => world.feed(ordered(1, attempt(n), Order::Forget), false),
        Move::Pause(n, frozen) => {
            let order = if frozen { Order::Pause } else { Order::Unpause };
            world.feed(ordered(1, attempt(n), order), false);
        }
        Move::Perform(n) => {
            if let Some(at) = pick(n, world.acts.len()) {
                let act = world.acts.remove(at);
                let event = world.engine(&act);
                world.events.extend(event);
            }
        }
        Move::PerformUnheard(n) => {
            // It happened, or happens later, and the answer is lost: only starts are left unclear by the
            // shell, everything else it asks again.
            if let Some(at) = pick(n, world.acts.len()) {
                let act = world.acts[at].clone();
                if let Act::Start { attempt, .. } = act {
                    world.acts.remove(at);
                    world.late.push(act);
                    world.events.push(Event::StartFailed {
                        attempt,
                        fault: StartFault::Unclear,
                    });
                } else {
                    world.engine(&act);
                }
            }
        }
        Move::Fail(n) => {
            if let Some(at) = pick(n, world.acts.len()) {
                let outcome = Outcome::new(Cause::EngineError, "failed");
                match world.acts[at].clone() {
                    Act::Fetch(attempt) | Act::Build(attempt) => {
                        world.acts.remove(at);
                        world
                            .events
                            .push(Event::PreparationFailed { attempt, outcome });
                    }
                    Act::Start { attempt, .. } => {
                        world.acts.remove(at);
                        world.events.push(Event::StartFailed {
                            attempt,
                            fault: StartFault::Refused(outcome),
                        });
                    }
                    _ => {}
                }
            }
        }
        Move::Panic(n) => {
            if let Some(at) = pick(n, world.acts.len()) {
                let act = world.acts.remove(at);
                world.events.push(Event::TaskFailed {
                    attempt: act.attempt(),
                    detail: "index out of bounds".to_owned(),
                    log_bytes: 0,
                });
                // What it asked for may still happen.
                world.late.push(act);
            }
        }
        Move::Deliver(n, crash) => {
            if let Some(at) = pick(n, world.events.len()) {
                let event = world.events.remove(at);
                world.feed(event, crash);
            }
        }
        Move::Duplicate(n) => {
            if let Some(at) = pick(n, world.events.len()) {
                let event = world.events[at].clone();
                world.feed(event, false);
            }
        }
        Move::Late(n) => {
            if let Some(at) = pick(n, world.late.len()) {
                let act = world.late.remove(at);
                world.engine(&act);
            }
        }
        Move::Exit(n, code) => world.ends(attempt(n), i64::from(code)),
        Move::Vanish(n) => {
            world.containers.remove(&attempt(n));
        }
        Move::Tick(ms) => {
            world.now = world.now.after(Duration::from_millis(u64::from(ms)));
            world.feed(Event::Ticked, false);
        }
        Move::List => {
            let containers = world.seen();
            world.feed(Event::Listed { containers }, false);
        }
        Move::Disk(full) => {
            let low = full.then(|| "the disk is full".to_owned());
            world.feed(Event::DiskFound { low }, false);
        }
        Move::Crash => world.crash(),
        Move::Reboot => world.reboot(),
    }
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_attempt_is_started_at_most_once_and_always_ends(
        moves in prop::collection::vec(moves(), 1..120)
    ) {
        let mut world = World::new();
        for next in moves {
            apply(&mut world, next);
        }
        world.feed(Event::DiskFound { low: None }, false);
        world.settle();
        for attempt in world.agent.attempts() {
            prop_assert!(
                attempt.stage.is_over(),
                "attempt {} hangs in {}",
                attempt.id,
                attempt.stage.as_str()
            );
        }
        let left: Vec<_> = world
            .containers
            .iter()
            .filter(|(_, c)| matches!(c.status, Status::Running { .. } | Status::Paused { .. }))
            .map(|(attempt, c)| format!("{attempt}: {}", c.id))
            .collect();
        prop_assert!(left.is_empty(), "still running: {left:?}");
        let mut told = std::collections::BTreeSet::new();
        for report in &world.said {
            if let Report::Accepted { attempt } = report {
                told.insert(*attempt);
            }
        }
        for attempt in told {
            let known = world.agent.attempt(attempt);
            prop_assert!(known.is_some(), "attempt {attempt} was accepted and lost");
        }
    }
}

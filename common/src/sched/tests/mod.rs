//! Tests of the scheduler: a small language to say what happens, and what is then the case.

mod accounts;
mod arrays;
mod basics;
mod drain;
mod explained;
mod fairness;
mod floors;
mod forecast;
mod groups;
mod kept;
mod names;
mod order;
mod preemption;
mod promises;
mod publishing;
mod receipts;
mod removed_users;
mod rules;
mod runtimes;
mod settings;
mod shares;
mod simulation;
mod slowdown;
mod table;
mod upcoming;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::id::{AttemptId, GroupName, JobId, JobKey, UserName, WorkerId};
use crate::job::{Cause, Class, JobSpec, JobState, OnWorkerLoss, Outcome, Phase};
use crate::resources::{ByteSize, Capacity, GpuAmount, GpuDevice, MilliCpu, MilliGpu, Request};
use crate::time::Timestamp;
use crate::wire::{AttemptPhase, KnownAttempt};

/// A cluster under test: the state, the time, and a replica that is fed by changes alone.
pub(super) struct Cluster {
    pub(super) state: State,
    pub(super) planner: Planner,
    pub(super) replica: State,
    pub(super) now: Timestamp,
    /// What the last step left to do.
    pub(super) acts: Vec<Effect>,
    pub(super) dirty: Dirty,
}

pub(super) fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

pub(super) fn group(name: &str) -> GroupName {
    name.parse().unwrap()
}

pub(super) fn worker(name: &str) -> WorkerId {
    name.parse().unwrap()
}

/// The key of every job whose test does not choose another.
const KEY: JobKey = JobKey([7; 16]);

pub(super) fn attempt(text: &str) -> AttemptId {
    format!("{text}-{KEY}").parse().unwrap()
}

/// A job for one whole GPU, one core and a GiB.
pub(super) fn spec() -> JobSpec {
    let request = Request {
        gpus: 1,
        gpu_amount: GpuAmount::Milli(MilliGpu::WHOLE),
        gpu_models: Vec::new(),
        gpu_memory: None,
        cpu: Some(MilliCpu(1000)),
        memory: Some(ByteSize(ByteSize::GIB)),
        labels: BTreeMap::new(),
        volumes: BTreeSet::new(),
    };
    crate::sim::spec(user("anna"), request)
}

/// A machine with so many GPUs, 16 cores and 64 GiB.
pub(super) fn capacity(name: &str, gpus: u32) -> Capacity {
    let gpu = |at| GpuDevice {
        id: format!("GPU-{name}-{at}").parse().unwrap(),
        model: "NVIDIA A100".to_owned(),
        memory: ByteSize(40 * ByteSize::GIB),
        healthy: true,
    };
    Capacity {
        cpu: MilliCpu(16_000),
        memory: ByteSize(64 * ByteSize::GIB),
        gpus: (0..gpus).map(gpu).collect(),
        slots_per_gpu: 1,
        labels: BTreeMap::new(),
        volumes: BTreeMap::new(),
    }
}

pub(super) fn submission(of: &str, edit: impl FnOnce(&mut JobSpec)) -> Submission {
    let mut spec = spec();
    edit(&mut spec);
    Submission {
        user: user(of),
        config: format!("{spec:?}").into(),
        spec: Arc::new(spec),
        bundle: None,
        key: None,
        job_key: KEY,
    }
}

pub(super) fn done(cause: Cause) -> Progress {
    Progress::Finished {
        outcome: Outcome::new(cause, "it ended"),
        ran: Duration::from_secs(7),
        log_bytes: 11,
        results: None,
    }
}

pub(super) const fn phase(phase: AttemptPhase) -> Progress {
    Progress::Entered {
        phase,
        note: String::new(),
    }
}

impl Cluster {
    pub(super) fn new() -> Self {
        Self::with(Settings::default())
    }

    /// One that ranks by DoPQ 1.0's penalty.
    pub(super) fn recency() -> Self {
        Self::with(Settings {
            policy: Policy::Recency,
            ..Settings::default()
        })
    }

    pub(super) fn with(settings: Settings) -> Self {
        Self {
            state: State::new(settings.clone()),
            planner: Planner::default(),
            replica: State::new(settings),
            now: Timestamp::from_millis(1_000_000),
            acts: Vec::new(),
            dirty: Dirty::default(),
        }
    }

    /// Steps, commits to the replica, and checks everything that must always hold.
    pub(super) fn step(&mut self, event: Event) -> Result<(), Rejected> {
        let before = self.state.clone();
        let mut effects = Effects::default();
        let result = step(&mut self.state, self.now, event.clone(), &mut effects);
        if result.is_err() {
            assert_eq!(effects.dirty, Dirty::default(), "{event:?} was rejected");
            same(&before, &self.state);
        }
        self.planner
            .schedule(&mut self.state, self.now, &mut effects);
        for change in self.state.changes(&effects.dirty) {
            self.replica.apply(change);
        }
        same(&self.replica, &self.state);
        check_invariants(&self.state).unwrap();
        check_invariants(&self.replica).unwrap();
        self.acts = effects.acts;
        self.dirty = effects.dirty;
        if result.is_ok() {
            self.check_nothing_left(&event);
        }
        result
    }

    /// A further pass, by a planner that remembers nothing, places nothing more.
    fn check_nothing_left(&self, event: &Event) {
        let mut state = self.state.clone();
        let mut effects = Effects::default();
        Planner::default().schedule(&mut state, self.now, &mut effects);
        let mut left = effects.acts.iter();
        let left = left.find(|act| matches!(act, Effect::Run { .. }));
        assert_eq!(left, None, "could start but does not after {event:?}");
    }

    pub(super) fn ok(&mut self, event: Event) {
        self.step(event).unwrap();
    }

    pub(super) fn join(&mut self, name: &str, gpus: u32) {
        self.join_knowing(name, gpus, &[]);
    }

    pub(super) fn join_knowing(
        &mut self,
        name: &str,
        gpus: u32,
        known: &[(&str, Option<AttemptPhase>)],
    ) {
        let known = known.iter().map(|(id, phase)| KnownAttempt {
            attempt: attempt(id),
            phase: *phase,
        });
        self.ok(Event::WorkerJoined {
            worker: worker(name),
            session: "session".into(),
            capacity: capacity(name, gpus),
            images: [].into(),
            machine: Arc::default(),
            known: known.collect(),
        });
    }

    pub(super) fn submit(&mut self, of: &str, edit: impl FnOnce(&mut JobSpec)) -> JobId {
        self.ok(Event::Submitted(submission(of, edit)));
        JobId(self.state.meta().last_job)
    }

    pub(super) fn report(
        &mut self,
        name: &str,
        id: &str,
        progress: Progress,
    ) -> Result<(), Rejected> {
        self.step(Event::Reported {
            worker: worker(name),
            attempt: attempt(id),
            progress,
        })
    }

    pub(super) fn cancel(&mut self, job: u64) -> Result<(), Rejected> {
        self.step(Event::CancelRequested {
            job: JobId(job),
            by: user("admin"),
        })
    }

    /// Lets time pass with a tick every second, while the named workers are heard.
    pub(super) fn pass(&mut self, secs: u64, heard: &[&str]) {
        let mut acts = Vec::new();
        for _ in 0..secs {
            self.now = self.now.after(Duration::from_secs(1));
            for name in heard {
                self.ok(Event::WorkerHeard {
                    worker: worker(name),
                    session: "session".into(),
                });
                acts.append(&mut self.acts);
            }
            self.ok(Event::Ticked);
            acts.append(&mut self.acts);
        }
        self.acts = acts;
    }

    pub(super) fn job(&self, id: u64) -> &crate::job::Job {
        self.state.job(JobId(id)).unwrap()
    }

    pub(super) fn phase(&self, id: u64) -> Phase {
        self.job(id).state.phase()
    }

    pub(super) fn cause(&self, id: u64) -> Option<Cause> {
        let finished = self.job(id).state.finished()?;
        Some(finished.outcome.cause)
    }

    pub(super) fn cancelled_by(&self, id: u64) -> Option<UserName> {
        let outcome = &self.job(id).state.finished()?.outcome;
        let is_cancelled = outcome.cause == Cause::Cancelled;
        outcome.by.clone().filter(|_| is_cancelled)
    }

    pub(super) fn worker_of(&self, id: u64) -> Option<&str> {
        let active = self.job(id).state.active();
        active.map(|active| active.worker.as_str())
    }

    pub(super) fn queue(&self) -> Vec<u64> {
        let queue = queue(&self.state, self.now);
        queue.iter().map(|waiting| waiting.job.id.0).collect()
    }
}

/// One event and one pass, by a planner that remembers nothing.
pub(super) fn decide(
    state: &mut State,
    now: Timestamp,
    event: Event,
    effects: &mut Effects,
) -> Result<(), Rejected> {
    let taken = step(state, now, event, effects);
    Planner::default().schedule(state, now, effects);
    taken
}

/// Whether two states hold the same of what is committed.
pub(super) fn same(a: &State, b: &State) {
    assert!(a.jobs().eq(b.jobs()), "jobs differ");
    assert!(a.users().eq(b.users()), "users differ");
    assert!(a.groups().eq(b.groups()), "groups differ");
    assert!(a.workers().eq(b.workers()), "workers differ");
    assert_eq!(a.meta(), b.meta());
}

//! Replays a workload in time: jobs arrive when the trace says and run for as long as it says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::id::{AttemptId, JobId, JobKey, UserName, WorkerId};
use crate::job::{Cause, Outcome};
use crate::resources::{ByteSize, Capacity, GpuAmount, GpuDevice, MilliCpu, Request};
use crate::sched::{
    Blocked, Effect, Effects, Ends, Event, Guards, Membership, Placement, Planner, Rejected,
    Settings, State, Submission, began, ended, step,
};
use crate::time::Timestamp;

use super::SimError;
use super::job::spec;
use super::stats::{Fairness, Report, Run};
use super::trace::TraceJob;

/// What is replayed, and how.
#[derive(Debug, Clone)]
pub struct Replay<'a> {
    /// The jobs, by submission.
    pub jobs: &'a [TraceJob],
    /// The GPUs of each machine.
    pub machines: &'a [u32],
    /// How many users share the jobs of which the trace names no user: job `k` is that of user `k mod users`.
    pub users: u32,
    /// The weights of users who do not have the usual one.
    pub weights: &'a BTreeMap<UserName, f64>,
    /// The policy: its `policy`, `backfill`, `backfill_window` and `usage` are used.
    pub settings: Settings,
}

/// Runs a replay to its end.
///
/// # Errors
/// When the scheduler does not play along.
pub fn run(replay: &Replay<'_>) -> Result<Report, SimError> {
    let mut world = World::new(replay)?;
    let mut arrivals = replay.jobs.iter().enumerate().peekable();
    loop {
        let arrival = arrivals.peek().map(|(_, job)| at(job.submitted));
        let end = world.ends.next_at();
        // Ends go first, so that a job which arrives at that instant sees what they freed.
        match (end, arrival) {
            (Some(end), Some(arrival)) if end > arrival => world.pass_to(arrival),
            (Some(end), _) => {
                world.pass_to(end);
                world.end_first()?;
                continue;
            }
            (None, Some(arrival)) => world.pass_to(arrival),
            (None, None) => break,
        }
        if let Some((number, job)) = arrivals.next() {
            world.arrive(number, job)?;
        }
    }
    Ok(world.report())
}

/// The trace begins a day after 1970, so that nothing is dated 0.
fn at(since: Duration) -> Timestamp {
    Timestamp::from_millis(86_400_000).after(since)
}

struct World<'a> {
    replay: &'a Replay<'a>,
    state: State,
    planner: Planner,
    now: Timestamp,
    config: Arc<str>,
    ends: Ends,
    waiting: BTreeMap<JobId, (UserName, &'a TraceJob)>,
    promises: BTreeMap<JobId, Timestamp>,
    running: BTreeMap<AttemptId, (UserName, &'a TraceJob)>,
    fairness: Fairness,
    runs: Vec<Run>,
    refused: u64,
    late_starts: u64,
}

impl<'a> World<'a> {
    fn new(replay: &'a Replay<'a>) -> Result<Self, SimError> {
        let mut world = Self {
            replay,
            state: State::new(Settings {
                starts_per_worker: u32::MAX,
                history_max_jobs: 0,
                // On one machine there is nothing to choose, and to score hundreds of GPUs takes long.
                placement: match replay.machines {
                    [_] => Placement::BestFit,
                    _ => replay.settings.placement,
                },
                ..replay.settings.clone()
            }),
            planner: Planner::default(),
            now: at(Duration::ZERO),
            config: "{}".into(),
            ends: Ends::default(),
            waiting: BTreeMap::new(),
            promises: BTreeMap::new(),
            running: BTreeMap::new(),
            fairness: Fairness::new(all(replay.machines)),
            runs: Vec::new(),
            refused: 0,
            late_starts: 0,
        };
        for (user, weight) in replay.weights {
            world.step(Event::UserSet {
                user: user.clone(),
                weight: *weight,
                guards: Guards::default(),
                group: Membership::None,
            })?;
        }
        for (number, gpus) in (0_u32..).zip(replay.machines) {
            world.step(Event::WorkerJoined {
                worker: format!("node-{number:05}").parse()?,
                session: "sim".into(),
                capacity: machine(number, *gpus)?,
                images: BTreeSet::new(),
                machine: Arc::default(),
                known: Vec::new(),
            })?;
        }
        Ok(world)
    }

    fn pass_to(&mut self, now: Timestamp) {
        self.fairness.pass(now.since(self.now));
        self.now = now;
    }

    fn step(&mut self, event: Event) -> Result<(), SimError> {
        let mut effects = Effects::default();
        let taken = step(&mut self.state, self.now, event, &mut effects);
        self.planner
            .schedule(&mut self.state, self.now, &mut effects);
        self.note_promise();
        for act in effects.acts {
            match act {
                Effect::Run { worker, attempt } => self.start(worker, attempt)?,
                Effect::Accepted { .. }
                | Effect::Stop { .. }
                | Effect::Forget { .. }
                | Effect::Archive { .. }
                | Effect::ClearArchive { .. } => {}
            }
        }
        Ok(taken?)
    }

    fn note_promise(&mut self) {
        match self.state.blocked() {
            Some(Blocked::Reserved(kept)) => {
                let promise = self.promises.entry(kept.job).or_insert(kept.at);
                *promise = (*promise).min(kept.at);
            }
            Some(Blocked::Awaited(_) | Blocked::Unreservable(..)) | None => {}
        }
    }

    fn arrive(&mut self, number: usize, job: &'a TraceJob) -> Result<(), SimError> {
        let users = usize::try_from(self.replay.users.max(1)).unwrap_or(usize::MAX);
        let user: UserName = match &job.user {
            Some(user) => user.clone(),
            None => format!("user{}", number % users).parse()?,
        };
        let request = Request {
            gpus: job.gpus,
            gpu_amount: GpuAmount::Milli(job.gpu_amount),
            gpu_models: Vec::new(),
            gpu_memory: None,
            cpu: Some(MilliCpu(0)),
            memory: Some(ByteSize(0)),
            labels: BTreeMap::new(),
            volumes: BTreeSet::new(),
        };
        let mut spec = spec(user.clone(), request);
        spec.time_request = Some(job.ran);
        spec.class = job.class;
        spec.priority = job.priority;
        let id = JobId(self.state.meta().last_job + 1);
        self.waiting.insert(id, (user.clone(), job));
        self.fairness.ask(&user, job.held());
        let submitted = self.step(Event::Submitted(Submission {
            user: user.clone(),
            spec: Arc::new(spec),
            config: Arc::clone(&self.config),
            bundle: None,
            key: None,
            job_key: JobKey([0; 16]),
        }));
        match submitted {
            Err(SimError::Rejected(Rejected::NeverFits(_))) => {
                self.waiting.remove(&id);
                self.fairness.give_up(&user, job.held());
                self.refused += 1;
                Ok(())
            }
            other => other,
        }
    }

    fn start(&mut self, worker: WorkerId, attempt: AttemptId) -> Result<(), SimError> {
        let Some((user, job)) = self.waiting.remove(&attempt.job) else {
            return Ok(());
        };
        let promise = self.promises.remove(&attempt.job);
        self.late_starts += u64::from(promise.is_some_and(|promise| self.now > promise));
        self.runs.push(Run {
            waited: self.now.since(at(job.submitted)),
            ran: job.ran,
            gpus: job.held(),
        });
        self.fairness.begin(&user, job.held());
        let end = self.now.after(job.ran);
        self.ends.add(attempt, worker.clone(), end);
        self.running.insert(attempt, (user, job));
        self.step(began(worker, attempt))
    }

    fn end_first(&mut self) -> Result<(), SimError> {
        let Some((attempt, worker)) = self.ends.pop() else {
            return Ok(());
        };
        let Some((user, job)) = self.running.remove(&attempt) else {
            return Ok(());
        };
        self.fairness.end(&user, job.held());
        let outcome = Outcome::new(Cause::Succeeded, "");
        self.step(ended(worker, attempt, outcome, job.ran))
    }

    fn report(self) -> Report {
        let first = self.replay.jobs.first().map(|job| at(job.submitted));
        let makespan = first.map_or(Duration::ZERO, |first| self.now.since(first));
        Report::new(
            self.runs,
            all(self.replay.machines),
            makespan,
            &self.fairness,
            self.refused,
            Some(self.late_starts),
        )
    }
}

/// All GPUs.
fn all(machines: &[u32]) -> u32 {
    let sum = machines
        .iter()
        .fold(0_u32, |sum, gpus| sum.saturating_add(*gpus));
    sum.max(1)
}

fn machine(number: u32, gpus: u32) -> Result<Capacity, SimError> {
    let gpus = (0..gpus).map(|at| {
        Ok(GpuDevice {
            id: format!("GPU-{number}-{at}").parse()?,
            model: "simulated".to_owned(),
            memory: ByteSize::default(),
            healthy: true,
        })
    });
    Ok(Capacity {
        cpu: MilliCpu(1000),
        memory: ByteSize(ByteSize::GIB),
        gpus: gpus.collect::<Result<_, SimError>>()?,
        slots_per_gpu: 1,
        labels: BTreeMap::new(),
        volumes: BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Class;
    use crate::resources::MilliGpu;
    use crate::sched::{Backfill, Policy};

    fn job(submitted: u64, ran: u64, gpus: u32) -> TraceJob {
        TraceJob {
            submitted: Duration::from_secs(submitted),
            ran: Duration::from_secs(ran),
            gpus,
            gpu_amount: MilliGpu::WHOLE,
            user: None,
            class: Class::Normal,
            priority: 0,
        }
    }

    fn replay(jobs: &[TraceJob], backfill: Backfill) -> Report {
        let settings = Settings {
            policy: Policy::Fifo,
            backfill,
            ..Settings::default()
        };
        run(&Replay {
            jobs,
            machines: &[4],
            users: 2,
            weights: &BTreeMap::new(),
            settings,
        })
        .expect("a replay")
    }

    #[test]
    fn backfill_uses_the_gap_without_delaying_the_big_job() {
        // Three GPUs are taken for 100 s; the big job must wait; of the two small ones that follow only
        // the short one may go before it.
        let jobs = [job(0, 100, 3), job(1, 10, 4), job(2, 200, 1), job(3, 50, 1)];
        let strict = replay(&jobs, Backfill::Strict);
        assert!((strict.makespan_seconds - 310.0).abs() < 1e-9);
        let easy = replay(&jobs, Backfill::Easy);
        assert_eq!((easy.late_starts, easy.jobs), (Some(0), 4));
        assert!((easy.wait_seconds.mean - (0.0 + 99.0 + 108.0 + 0.0) / 4.0).abs() < 1e-9);
        let best_effort = replay(&jobs, Backfill::BestEffort);
        assert!((best_effort.wait_seconds.mean - (201.0 + 97.0) / 4.0).abs() < 1e-9);
    }

    #[test]
    fn what_fits_on_no_machine_is_refused() {
        let report = replay(&[job(0, 10, 5), job(0, 10, 4)], Backfill::Easy);
        assert_eq!((report.jobs, report.refused), (1, 1));
    }
}

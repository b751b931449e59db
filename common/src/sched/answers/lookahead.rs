//! The scheduler's own step, run ahead in time on a copy of its state, in which every job runs for as long as
//! is expected of it. What is not known is assumed as follows:
//!
//! - Of a job of which nothing is expected, all runs that are remembered tell how long it takes. When there are none,
//!   it is taken to run for ever; where only nodes matter, for [`crate::sched::Settings::assumed_runtime`].
//! - A job that already runs for longer than was expected of it goes on for a part of what it has run.
//! - Nobody submits, holds or cancels anything; jobs succeed; machines stay as they are; a lock ends when it says; a
//!   broker that cannot be reached is back at once; images take no time to build.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{AttemptId, JobId, WorkerId};
use crate::job::{Active, Cause, ExpectedBy, Job, Outcome, Stage};
use crate::time::Timestamp;

use crate::sched::events::dispatch::step;
use crate::sched::model::effect::{Effect, Effects};
use crate::sched::model::event::Event;
use crate::sched::place::planner::Planner;
use crate::sched::state::core::State;
use crate::sched::state::expected_ends::{Ends, began, ended};
use crate::sched::state::run_times::expected_of;

/// So many starts are looked ahead. Later ones hang on so many jobs that nobody could rely on them, and
/// each costs a pass or two.
const STARTS_MAX: usize = 1_000;

/// So many events are looked ahead, should jobs end without any that starts.
const EVENTS_MAX: usize = 10_000;

/// The least for which a job goes on that takes longer than was expected.
const OVERTIME_MIN: Duration = Duration::from_secs(1);

/// What is seen with one kind of lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// When jobs start that wait now: jobs, the arrays of tasks, and the tasks.
    pub(crate) starts: BTreeMap<JobId, Timestamp>,
    /// Why no more is seen.
    pub(crate) rest: Rest,
}

/// Why no more starts are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Jobs run of which nothing is expected.
    Endless,
    /// It was not looked further.
    Far,
    /// Nothing more happens.
    Nothing,
}

/// Which lengths runs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Odds {
    /// Half of their like take no longer.
    Half,
    /// Nine in ten of their like take no longer.
    NineInTen,
}

impl Odds {
    const fn of(self, half: Duration, nine_in_ten: Duration) -> Duration {
        match self {
            Self::Half => half,
            Self::NineInTen => nine_in_ten,
        }
    }

    /// For how much longer a run goes on that has taken longer than was expected.
    fn overtime(self, ran: Duration) -> Duration {
        self.of(ran / 10, ran / 2).max(OVERTIME_MIN)
    }
}

/// Looks ahead until all of these jobs, which are in order, and all tasks of those that are arrays have begun, or as
/// far as can be seen.
pub(crate) fn look(state: State, now: Timestamp, odds: Odds, waiting: &[JobId]) -> Outlook {
    let mut ahead = Ahead::new(state, now, odds, None);
    let rest = ahead.go_on(waiting);
    Outlook {
        starts: ahead.starts,
        rest,
    }
}

/// The next starts, at most `most` or a few more, in order: each with its node. Half of all runs take no longer than
/// is taken here.
pub(crate) fn next_starts(
    state: State,
    now: Timestamp,
    waiting: &[JobId],
    most: usize,
) -> Vec<(WorkerId, Arc<Job>)> {
    let assumed = state.settings().assumed_runtime;
    let mut ahead = Ahead::new(state, now, Odds::Half, Some(assumed));
    ahead.starts_max = most;
    ahead.go_on(waiting);
    ahead.nodes
}

/// The cluster as it is expected to go on.
struct Ahead {
    state: State,
    planner: Planner,
    now: Timestamp,
    odds: Odds,
    ends: Ends,
    /// Whether a job runs of which nothing is expected.
    has_endless: bool,
    starts: BTreeMap<JobId, Timestamp>,
    /// What began for the first time since that was last looked at: jobs, or the arrays of tasks.
    begun_jobs: Vec<JobId>,
    /// What began where, in order.
    nodes: Vec<(WorkerId, Arc<Job>)>,
    /// So many starts are looked ahead.
    starts_max: usize,
    /// How long jobs run of which nothing is expected.
    assumed: Option<Duration>,
}

impl Ahead {
    fn new(state: State, now: Timestamp, odds: Odds, assumed: Option<Duration>) -> Self {
        let mut ahead = Self {
            state: state.into_lookahead(),
            planner: Planner::default(),
            now,
            odds,
            ends: Ends::default(),
            has_endless: false,
            starts: BTreeMap::new(),
            begun_jobs: Vec::new(),
            nodes: Vec::new(),
            starts_max: STARTS_MAX,
            assumed,
        };
        let nodes = ahead.state.index().nodes().values();
        let ids: Vec<JobId> = nodes.flat_map(|node| node.jobs.keys().copied()).collect();
        for id in ids {
            ahead.follow(id);
        }
        ahead
    }

    fn go_on(&mut self, waiting: &[JobId]) -> Rest {
        let tasks = waiting.iter().filter_map(|id| self.state.job(*id));
        let mut unseen: u64 = tasks.map(|job| u64::from(job.state.waiting())).sum();
        // What could be placed has been, but while the broker is away.
        let is_link_up = self.state.watch().is_link_up();
        let mut event = (!is_link_up).then_some(Event::BrokerLink { up: true });
        for _ in 0..EVENTS_MAX {
            if let Some(event) = event {
                self.step(event);
            }
            // What begins again, having given way, is none of those that wait.
            while let Some(id) = self.begun_jobs.pop() {
                unseen -= u64::from(waiting.binary_search(&id).is_ok());
            }
            if unseen == 0 {
                return Rest::Nothing;
            }
            if self.nodes.len() >= self.starts_max {
                return Rest::Far;
            }
            let end = self.ends.next_at();
            let at = match (end, self.next_tick()) {
                (Some(end), Some(tick)) => end.min(tick),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) if self.has_endless => return Rest::Endless,
                (None, None) => return Rest::Nothing,
            };
            self.now = self.now.max(at);
            event = if end == Some(at) {
                self.first_end()
            } else {
                Some(Event::Ticked)
            };
        }
        Rest::Far
    }

    /// When time itself changes something: the lock ends, or a job is to be tried again.
    fn next_tick(&self) -> Option<Timestamp> {
        let lock = self.state.meta().lock.as_ref().map(|lock| lock.until);
        let retry = self.state.index().retries().first().map(|(at, _)| *at);
        [lock, retry].into_iter().flatten().min()
    }

    fn first_end(&mut self) -> Option<Event> {
        let (attempt, worker) = self.ends.pop()?;
        let job = self.state.job(attempt.job)?;
        let stopping = job.state.stage().and_then(Stage::stopping);
        let outcome = stopping.map_or_else(
            || Outcome::new(Cause::Succeeded, ""),
            |reason| reason.outcome(job),
        );
        // It is told to have run for no time, so that nothing is learned from what is only imagined.
        Some(ended(worker, attempt, outcome, Duration::ZERO))
    }

    /// Takes an event, and those that follow from it at the same instant.
    fn step(&mut self, event: Event) {
        let mut due = vec![event];
        while !due.is_empty() {
            let mut effects = Effects::default();
            for event in due.drain(..) {
                // What is refused changes nothing, and time goes on with the next end.
                drop(step(&mut self.state, self.now, event, &mut effects));
            }
            self.planner
                .schedule(&mut self.state, self.now, &mut effects);
            for act in effects.acts {
                match act {
                    Effect::Run { worker, attempt } => {
                        due.extend(self.start(worker, attempt));
                    }
                    Effect::Stop {
                        worker,
                        attempt,
                        grace,
                        ..
                    } => {
                        let end = self.now.after(grace);
                        self.ends.add(attempt, worker, end);
                    }
                    Effect::Accepted { .. }
                    | Effect::Forget { .. }
                    | Effect::Archive { .. }
                    | Effect::ClearArchive { .. } => {}
                }
            }
        }
    }

    /// A job was given a machine; `None` when its order was only repeated.
    fn start(&mut self, worker: WorkerId, attempt: AttemptId) -> Option<Event> {
        let job = self.state.job(attempt.job)?;
        let is_new = job.state.active()?.assigned_at == self.now;
        if !is_new || self.ends.contains(attempt) {
            return None;
        }
        let array = job.task.map(|task| task.array);
        if let Entry::Vacant(start) = self.starts.entry(attempt.job) {
            start.insert(self.now);
            // A task that was tried before is a job that waited by itself.
            let new_of = array.filter(|_| attempt.number == 1);
            self.begun_jobs.push(new_of.unwrap_or(attempt.job));
        }
        if let Some(array) = array {
            self.starts.entry(array).or_insert(self.now);
        }
        self.nodes.push((worker.clone(), Arc::clone(job)));
        self.follow(attempt.job);
        Some(began(worker, attempt))
    }

    /// Enters the end of the job's current attempt, as far as one is expected.
    fn follow(&mut self, id: JobId) {
        let Some(job) = self.state.job(id) else {
            return;
        };
        let Some((attempt, active)) = job.attempt().zip(job.state.active()) else {
            return;
        };
        match self.end(job, active) {
            Some(end) => {
                let worker = active.worker.clone();
                self.ends.add(attempt, worker, end);
            }
            None => self.has_endless = true,
        }
    }

    fn end(&self, job: &Job, active: &Active) -> Option<Timestamp> {
        if active.ended_at.is_some() {
            return Some(self.now);
        }
        if job.state.stage()?.stopping().is_some() {
            return Some(self.now.after(job.spec.grace));
        }
        let since = active.started_at.unwrap_or(active.assigned_at);
        let end = since.after(self.length(job, active)?);
        if end >= self.now {
            return Some(end);
        }
        let longer = self.odds.overtime(self.now.since(since));
        let end = self.now.after(longer);
        let limit = job.spec.time_limit.map(|limit| since.after(limit));
        Some(limit.map_or(end, |limit| end.min(limit.max(self.now))))
    }

    /// How long the whole run takes.
    fn length(&self, job: &Job, active: &Active) -> Option<Duration> {
        let of_all = self.state.index().learned().of_all();
        let of_all = of_all.map(|of_all| self.odds.of(of_all.median, of_all.ninth_tenth));
        let Some(expected) = expected_of(job, active) else {
            return of_all.or(self.assumed);
        };
        let own = self.odds.of(expected.typical, expected.longest);
        match (expected.by, self.odds) {
            // Limits are set with room to spare: a job with nothing else to say mostly ends well before.
            (ExpectedBy::Limit, Odds::Half) => Some(of_all.map_or(own, |of_all| of_all.min(own))),
            (ExpectedBy::Limit, Odds::NineInTen)
            | (ExpectedBy::Request | ExpectedBy::Learned { .. }, _) => Some(own),
        }
    }
}

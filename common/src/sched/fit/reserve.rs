//! Big jobs: the first job that cannot start gets a reservation, and others may run before it only where
//! they do not delay it (EASY backfill: Lifka, "The ANL/IBM SP scheduling system", JSSPP 1995).
//!
//! A reservation names one machine and the earliest instant at which enough will be free there, by what
//! running jobs were expected to take when they were placed: what their user said, or what nine in ten like
//! them took ([`crate::sched::state::run_times`]). It holds as far as those do: a job that takes longer than was expected moves
//! it. Jobs of which nothing is expected are planned with [`crate::sched::Settings::assumed_runtime`], those that wait as those
//! that run. Such a job begun now then ends after the like of it that run already, so that no stream of them
//! overtakes a big job for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{GpuId, WorkerId};
use crate::job::Job;
use crate::resources::{Allocation, GpuShare};
use crate::time::Timestamp;

use crate::sched::fit::fits::{Fitness, fitness};
use crate::sched::model::reservation::Reservation;
use crate::sched::model::shape::ShapeId;
use crate::sched::state::core::State;
use crate::sched::state::node_load::NodeLoad;
use crate::sched::state::run_times::{expected_if_placed, expected_of};

/// The most shapes whose earliest starts are kept. Beyond that all are dropped and found anew as needed.
const KEPT_MAX: usize = 64;

/// When each machine will have enough free for a job, by shape.
#[derive(Debug, Clone, Default)]
pub(crate) struct EarliestStarts(BTreeMap<ShapeId, Starts>);

/// When each machine will have enough free for one shape.
///
/// Kept between passes and brought up to date by the log of changed machines, so that a reservation costs what has
/// changed since the last one for this shape. On a machine where nothing changes what is expected stays so, but
/// nothing is expected of the past: it becomes what is expected at once.
#[derive(Debug, Clone, Default)]
struct Starts {
    /// When it was last brought up to date, and the part of the log that it takes into account.
    read: Option<(Timestamp, u64, usize)>,
    order: BTreeSet<(Timestamp, WorkerId)>,
    of: BTreeMap<WorkerId, Timestamp>,
}

impl EarliestStarts {
    /// The earliest reservation for a job; on the machine of `before`, if that is for the same job and it is kept no
    /// longer waiting there than was promised or than elsewhere.
    pub(crate) fn reserve(
        &mut self,
        state: &State,
        now: Timestamp,
        job: &Job,
        before: Option<&Reservation>,
    ) -> Option<Reservation> {
        let shape = state.index().shape_of(&job.spec.request)?;
        if self.0.len() >= KEPT_MAX && !self.0.contains_key(&shape) {
            self.0.clear();
        }
        let starts = self.0.entry(shape).or_default();
        starts.catch_up(state, now, job);
        let overdue = starts.order.iter().take_while(|(at, _)| *at <= now);
        let overdue = overdue.map(|(_, worker)| worker).min();
        let (mut at, mut worker) = match overdue {
            Some(worker) => (now, worker),
            None => starts.order.first().map(|(at, worker)| (*at, worker))?,
        };
        if let Some(before) = before.filter(|before| before.job == job.id)
            && let Some((again, earliest)) = starts.of.get_key_value(&before.worker)
        {
            let earliest = now.max(*earliest);
            if earliest <= before.at || earliest <= at {
                (at, worker) = (earliest, again);
            }
        }
        let node = state.index().node(worker)?;
        Some(Reservation {
            job: job.id,
            worker: worker.clone(),
            at,
            is_firm: Plan::at(state, now, node, job, |end| end.is_expected && end.at <= at)?.fits(),
        })
    }
}

impl Starts {
    fn catch_up(&mut self, state: &State, now: Timestamp, job: &Job) {
        let index = state.index();
        let (era, changed) = index.changed_nodes();
        match self.read {
            Some((then, read_era, read)) if read_era == era && then <= now => {
                let changed_since = changed.get(read..).unwrap_or_default();
                let changed_since: BTreeSet<&WorkerId> = changed_since.iter().collect();
                for id in changed_since {
                    if let Some(before) = self.of.remove(id) {
                        self.order.remove(&(before, id.clone()));
                    }
                    if let Some(node) = index.node(id) {
                        self.enter(state, now, id, node, job);
                    }
                }
            }
            Some(_) | None => {
                *self = Self::default();
                for (id, node) in index.nodes() {
                    self.enter(state, now, id, node, job);
                }
            }
        }
        self.read = Some((now, era, changed.len()));
    }

    fn enter(&mut self, state: &State, now: Timestamp, id: &WorkerId, node: &NodeLoad, job: &Job) {
        if let Some(at) = Plan::earliest(state, now, node, job) {
            self.order.insert((at, id.clone()));
            self.of.insert(id.clone(), at);
        }
    }
}

/// A machine as it is expected to be at a reservation's instant.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) reservation: Reservation,
    fitness: Fitness,
    free: Vec<u32>,
    cpu: u64,
    memory: u64,
    places: Arc<BTreeMap<GpuId, usize>>,
}

impl Plan {
    /// What is expected at the instant of the reservation; `None` when its job or machine is gone.
    pub(crate) fn new(state: &State, now: Timestamp, reservation: &Reservation) -> Option<Self> {
        let job = state.job(reservation.job)?;
        let node = state.index().node(&reservation.worker)?;
        let mut plan = Self::at(state, now, node, job, |end| end.at <= reservation.at)?;
        plan.reservation = reservation.clone();
        Some(plan)
    }

    /// What is expected once these jobs have ended.
    fn at(
        state: &State,
        now: Timestamp,
        node: &NodeLoad,
        job: &Job,
        has_ended: impl Fn(&End<'_>) -> bool,
    ) -> Option<Self> {
        let mut plan = Self::now(node, job)?;
        let ended = ends(state, now, node).into_iter().filter(has_ended);
        ended.for_each(|end| plan.give(end.allocation));
        Some(plan)
    }

    /// When enough will be free in the room.
    fn earliest(state: &State, now: Timestamp, node: &NodeLoad, job: &Job) -> Option<Timestamp> {
        let worker = node.worker.as_ref()?;
        if !worker.takes_jobs() {
            return None;
        }
        let mut plan = Self::now(node, job)?;
        let mut at = now;
        for end in ends(state, now, node) {
            if end.at > at && plan.fits() {
                return Some(at);
            }
            at = end.at;
            plan.give(end.allocation);
        }
        plan.fits().then_some(at)
    }

    pub(crate) fn now(node: &NodeLoad, job: &Job) -> Option<Self> {
        let worker = node.worker.as_ref()?;
        Some(Self {
            reservation: Reservation {
                job: job.id,
                worker: worker.id.clone(),
                at: Timestamp::default(),
                is_firm: false,
            },
            fitness: fitness(&worker.capacity, &job.spec.request).ok()?,
            free: node.free.clone(),
            cpu: node.free_cpu().0,
            memory: node.free_memory().0,
            places: Arc::clone(&node.places),
        })
    }

    pub(crate) fn give(&mut self, allocation: &Allocation) {
        for GpuShare { id, milli } in &allocation.gpus {
            let place = self.places.get(id);
            if let Some(free) = place.and_then(|at| self.free.get_mut(*at)) {
                *free += milli.0;
            }
        }
        self.cpu += allocation.cpu.0;
        self.memory += allocation.memory.0;
    }

    pub(crate) fn take(&mut self, allocation: &Allocation) {
        for GpuShare { id, milli } in &allocation.gpus {
            let place = self.places.get(id);
            if let Some(free) = place.and_then(|at| self.free.get_mut(*at)) {
                *free = free.saturating_sub(milli.0);
            }
        }
        self.cpu = self.cpu.saturating_sub(allocation.cpu.0);
        self.memory = self.memory.saturating_sub(allocation.memory.0);
    }

    pub(crate) fn fits(&self) -> bool {
        let needs = self.fitness.needs;
        let free = self.free.iter().enumerate();
        let fitting = free.filter(|(at, free)| **free >= needs.milli.0 && self.fitness.allows(*at));
        let enough = u32::try_from(fitting.count()).unwrap_or(u32::MAX) >= needs.gpus;
        enough && self.cpu >= needs.cpu.0 && self.memory >= needs.memory.0
    }

    /// Whether a job with this allocation on the reserved machine, from now on, would delay the reserved
    /// one.
    pub(crate) fn is_delayed_by(
        &self,
        state: &State,
        now: Timestamp,
        job: &Job,
        more: &Allocation,
    ) -> bool {
        if self.ends_in_time(state, now, job, more) {
            return false;
        }
        let mut with = self.clone();
        with.take(more);
        !with.fits()
    }

    /// Whether every job with this fitness on the reserved machine would delay the reserved one, whichever GPUs it is
    /// given, unless it ends in time.
    pub(crate) fn is_delayed_by_any(&self, node: &NodeLoad, fitness: &Fitness) -> bool {
        let (needs, taken) = (self.fitness.needs, fitness.needs);
        // GPUs that serve the reserved job with all that is free at its time, but not with what is taken off that.
        let is_needed = |at: usize, free: u32| {
            let serves = |free: u32| free >= needs.milli.0 && self.fitness.allows(at);
            serves(free) && !serves(free.saturating_sub(taken.milli.0))
        };
        let free = || self.free.iter().copied().enumerate();
        let is_spare = |(at, free): (usize, u32)| {
            let free_now = node.free.get(at).copied().unwrap_or(0);
            free_now >= taken.milli.0 && fitness.allows(at) && !is_needed(at, free)
        };
        let serving =
            free().filter(|(at, free)| *free >= needs.milli.0 && self.fitness.allows(*at));
        let count = |gpus: usize| u32::try_from(gpus).unwrap_or(u32::MAX);
        let lost = taken
            .gpus
            .saturating_sub(count(free().filter(|gpu| is_spare(*gpu)).count()));
        count(serving.count()).saturating_sub(lost) < needs.gpus
            || self.cpu.saturating_sub(taken.cpu.0) < needs.cpu.0
            || self.memory.saturating_sub(taken.memory.0) < needs.memory.0
    }

    fn ends_in_time(&self, state: &State, now: Timestamp, job: &Job, held: &Allocation) -> bool {
        // What will be kept in the attempt is asked, so that the job is not held to more once it runs.
        let node = state.index().node(&self.reservation.worker);
        let model = node.and_then(|node| node.model_of(held));
        let expected = expected_if_placed(state, job, model).map(|expected| expected.longest);
        let length = expected.unwrap_or_else(|| state.settings().assumed_runtime);
        now.after(length) <= self.reservation.at
    }

    /// Takes note of a job that was placed on the reserved machine.
    pub(crate) fn note(&mut self, state: &State, now: Timestamp, job: &Job, more: &Allocation) {
        if !self.ends_in_time(state, now, job, more) {
            self.take(more);
        }
    }
}

/// The end of a job that has a machine, as it is planned.
struct End<'a> {
    /// At once for one that is overdue.
    at: Timestamp,
    /// Whether it is more than an assumption.
    is_expected: bool,
    allocation: &'a Allocation,
}

/// The planned ends of the jobs in a room, the earliest first.
fn ends<'a>(state: &State, now: Timestamp, node: &'a NodeLoad) -> Vec<End<'a>> {
    let assumed = state.settings().assumed_runtime;
    let jobs = node.jobs.iter().filter_map(|(id, job)| {
        let active = job.state.active()?;
        let allocation = active.held()?;
        let expected = expected_of(job, active).map(|expected| expected.longest);
        let since = active.started_at.unwrap_or(active.assigned_at);
        let end = End {
            at: since.after(expected.unwrap_or(assumed)).max(now),
            is_expected: expected.is_some(),
            allocation,
        };
        Some((*id, end))
    });
    let mut ends: Vec<_> = jobs.collect();
    ends.sort_by_key(|(id, end)| (end.at, *id));
    ends.into_iter().map(|(_, end)| end).collect()
}

//! The jobs that a pass may still try, and the two orders in which they come: in turn, or the shortest first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use crate::id::{JobId, UserName};
use crate::job::Class;
use crate::sched::fit::eligible::Skip;
use crate::sched::model::demand::Demand;
use crate::sched::model::lane::Lane;
use crate::sched::model::queue_key::QueueKey;
use crate::sched::model::shape::ShapeId;
use crate::sched::rank::account::PenaltyMeter;
use crate::sched::rank::floor::has_floor;
use crate::sched::rank::next::{Entry, next_of};
use crate::sched::rank::order::{Head, Merge};
use crate::sched::rank::ranks::Ranks;
use crate::sched::state::core::State;
use crate::sched::state::node_load::NodeLoad;
use crate::sched::state::run_times::planned_length;
use crate::sched::state::user_queue::UserQueue;
use crate::time::Timestamp;

/// The jobs that may still be tried.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    shapes: BTreeMap<ShapeId, Shape>,
    /// The GPU models that the candidates may run on, where their lengths are limited.
    models: Vec<Box<str>>,
    /// What the limits of users keep back.
    limited: BTreeSet<(UserName, ShapeId)>,
    /// The last job of each lane that was tried without success.
    tried: BTreeMap<UserName, BTreeMap<Lane, QueueKey>>,
}

#[derive(Debug)]
struct Shape {
    demand: Demand,
    /// True when no node has room for it.
    is_full: bool,
    /// Longer jobs are left out.
    longest: Option<Duration>,
}

/// The job that is tried next.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) job: JobId,
    pub(crate) user: UserName,
    pub(crate) shape: ShapeId,
    key: QueueKey,
    /// What the user was charged, where it counts for a group.
    usage: Option<f64>,
}

impl Candidates {
    /// Candidates for one node.
    pub(crate) fn on(node: &NodeLoad) -> Self {
        let gpus = node.worker.iter().flat_map(|worker| &worker.capacity.gpus);
        let models: BTreeSet<&str> = gpus.map(|gpu| &*gpu.model).collect();
        Self {
            models: models.into_iter().map(Box::from).collect(),
            ..Self::default()
        }
    }

    /// Adds the jobs of a shape, but none that is longer than `longest` on every model.
    pub(crate) fn add(
        &mut self,
        state: &State,
        shape: ShapeId,
        is_full: bool,
        longest: Option<Duration>,
    ) {
        let index = state.index();
        if let Some(request) = index.request(shape) {
            let shape_of = Shape {
                demand: Demand::of(index.cluster_size(), request),
                is_full,
                longest,
            };
            self.shapes.insert(shape, shape_of);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// Whether no node has room for the shape, as far as is known.
    pub(crate) fn is_full(&self, shape: ShapeId) -> bool {
        self.shapes.get(&shape).is_some_and(|shape| shape.is_full)
    }

    /// Leaves out the shapes that no node has room for.
    pub(crate) fn drop_full(&mut self, mut fits_somewhere: impl FnMut(ShapeId) -> bool) {
        self.shapes
            .retain(|id, shape| !shape.is_full && fits_somewhere(*id));
    }

    /// Leaves out a job that was tried without success, and what else is skipped with it.
    pub(crate) fn skip(&mut self, state: &State, candidate: &Candidate, skip: Skip) {
        match skip {
            Skip::Job => {
                if let Some(job) = state.job(candidate.job) {
                    let tried = self.tried.entry(candidate.user.clone()).or_default();
                    tried.insert(Lane::of(candidate.shape, &job.spec), candidate.key);
                }
            }
            Skip::Shape => {
                self.shapes.remove(&candidate.shape);
            }
            Skip::ShapeOfUser => {
                let limited = (candidate.user.clone(), candidate.shape);
                self.limited.insert(limited);
            }
            // The user's next job is not asked for again.
            Skip::User => {}
        }
    }

    fn has(&self, user: &UserName, shape: ShapeId) -> Option<&Shape> {
        let known = self.shapes.get(&shape)?;
        let is_limited = !self.limited.is_empty() && self.limited.contains(&(user.clone(), shape));
        (!is_limited).then_some(known)
    }

    /// The first job of each of a user's lanes that may still be tried.
    fn firsts<'a>(
        &'a self,
        state: &'a State,
        user: &'a UserName,
        user_queue: &'a UserQueue,
    ) -> impl Iterator<Item = (&'a Lane, QueueKey, Demand)> {
        let tried = self.tried.get(user);
        let shapes = self
            .shapes
            .keys()
            .next()
            .zip(self.shapes.keys().next_back());
        let lanes = shapes.into_iter().flat_map(move |(first, last)| {
            let lanes = user_queue.ready.range(Lane::first_of(*first)..);
            lanes.take_while(move |(lane, _)| lane.shape <= *last)
        });
        lanes.filter_map(move |(lane, queue)| {
            let known = self.has(user, lane.shape)?;
            if self.is_too_long(state, user, lane, known) {
                return None;
            }
            let last = tried.and_then(|tried| tried.get(lane));
            let key = match last {
                None => queue.first,
                Some(last) => queue.after(*last)?,
            };
            Some((lane, key, known.demand))
        })
    }

    /// No candidate asks for less than this.
    fn smallest(&self) -> Demand {
        let demands = self.shapes.values().map(|shape| shape.demand);
        let smallest = demands.min_by(|a, b| a.share.total_cmp(&b.share));
        smallest.unwrap_or(Demand {
            share: 0.0,
            milli: 0,
        })
    }

    fn is_too_long(&self, state: &State, user: &UserName, lane: &Lane, shape: &Shape) -> bool {
        shape.longest.is_some_and(|longest| {
            let is_longer = |model| planned_length(state, user, lane, model) > longest;
            is_longer(None) && self.models.iter().all(|model| is_longer(Some(&**model)))
        })
    }
}

/// Where candidates come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// In the order of turns.
    Turns(Turns),
    /// The shortest first, after class and floors.
    Shortest(Shortest),
}

impl Source {
    /// The next job to try.
    pub(crate) fn next(&mut self, state: &State, candidates: &Candidates) -> Option<Candidate> {
        if candidates.is_empty() {
            return None;
        }
        match self {
            Self::Turns(turns) => turns.next(state, candidates),
            Self::Shortest(shortest) => shortest.next(state, candidates),
        }
    }

    /// After a job was placed: its user is charged, and their next job may come.
    pub(crate) fn placed(&mut self, state: &State, candidates: &Candidates, placed: &Candidate) {
        match self {
            Self::Turns(turns) => {
                if let Some(user_queue) = state.index().user_queue(&placed.user) {
                    turns.merge.ranks.charge(state, user_queue, placed.usage);
                }
                turns.put_up(state, candidates, &placed.user);
            }
            Self::Shortest(shortest) => shortest.put_up(state, candidates, placed),
        }
    }

    /// After a job was skipped.
    pub(crate) fn skipped(&mut self, state: &State, candidates: &Candidates, skipped: &Candidate) {
        match self {
            Self::Turns(turns) => turns.put_up(state, candidates, &skipped.user),
            Self::Shortest(shortest) => shortest.put_up(state, candidates, skipped),
        }
    }
}

/// Candidates in the order of turns.
///
/// To find a user's next job takes a look at all their lanes, so that at first only a bound of each user's rank is
/// taken, and the job is looked for when it is the bound's turn.
#[derive(Debug)]
pub(crate) struct Turns {
    meter: PenaltyMeter,
    /// With the shape of each job, and none for a bound.
    merge: Merge<Option<ShapeId>>,
}

impl Turns {
    pub(crate) fn new(state: &State, now: Timestamp, candidates: &Candidates) -> Self {
        let (index, settings) = (state.index(), state.settings());
        let ranks = Ranks::new(state, now);
        let meter = PenaltyMeter::of(state, now);
        let user_queues = || {
            let user_queues = index.user_queues().values();
            user_queues.filter_map(|user_queue| Some((user_queue, user_queue.oldest?)))
        };
        let smallest = candidates.smallest();
        let bound = |penalty, is_past_floor, since| {
            ranks.ranked(settings, penalty, is_past_floor, smallest, since)
        };
        // Any member's job may stand for a group.
        let first = user_queues().map(|(_, oldest)| oldest.submitted_at).min();
        let of_all = bound(0.0, false, first.unwrap_or(now)).job_terms;
        let heads = user_queues().map(|(user_queue, oldest)| {
            let penalty = meter.penalty(&user_queue.usage, user_queue.rate);
            let is_past_floor = !has_floor(index, user_queue);
            let rank = bound(penalty, is_past_floor, oldest.submitted_at).rank;
            Head::bound(rank, of_all, oldest.key(), None, user_queue)
        });
        let heads = heads.collect();
        Self {
            meter,
            merge: Merge::new(ranks, heads),
        }
    }

    fn next(&mut self, state: &State, candidates: &Candidates) -> Option<Candidate> {
        loop {
            let popped = self.merge.pop()?;
            let user = &state.job(popped.key.job)?.user;
            let user_queue = state.index().user_queue(user)?;
            // A bound stands for no job, and others may have been left out, or lost their floor, since put up.
            let has_changed = self.merge.ranks.has_changed(user_queue);
            let shape = popped
                .with
                .filter(|shape| candidates.has(user, *shape).is_some());
            let mut shape = shape.filter(|_| !has_changed);
            if shape.is_none() {
                let (ranks, meter) = (&self.merge.ranks, self.meter);
                let again = head(state, ranks, meter, candidates, user, user_queue);
                match again {
                    Some(again) if popped.is_still(&again) => shape = again.with,
                    Some(again) => {
                        self.merge.push(again);
                        continue;
                    }
                    None => continue,
                }
            }
            return Some(Candidate {
                job: popped.key.job,
                user: user.clone(),
                shape: shape?,
                key: popped.key,
                usage: self.merge.ranks.usage(state, user_queue),
            });
        }
    }

    fn put_up(&mut self, state: &State, candidates: &Candidates, user: &UserName) {
        if let Some(user_queue) = state.index().user_queue(user) {
            let (ranks, meter) = (&self.merge.ranks, self.meter);
            let head = head(state, ranks, meter, candidates, user, user_queue);
            if let Some(head) = head {
                self.merge.push(head);
            }
        }
    }
}

fn head(
    state: &State,
    ranks: &Ranks,
    meter: PenaltyMeter,
    candidates: &Candidates,
    user: &UserName,
    user_queue: &UserQueue,
) -> Option<Head<Option<ShapeId>>> {
    let firsts = candidates.firsts(state, user, user_queue);
    let entries = firsts.map(|(lane, key, demand)| {
        let entry = Entry::new(state, ranks.now(), user, lane, key, demand);
        (entry, Some(lane.shape))
    });
    let next = next_of(state, ranks, user_queue, 0, entries)?;
    let penalty = meter.penalty(&user_queue.usage, user_queue.rate);
    let ranked = next.ranked(state, ranks, penalty);
    Some(Head::new(ranked, next, user_queue))
}

/// Candidates by their planned length.
#[derive(Debug)]
pub(crate) struct Shortest {
    ranks: Ranks,
    heap: BinaryHeap<Reverse<ByLength>>,
}

/// Orders candidates for backfill: class, floors, planned length, submission, id.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ByLength {
    class: Class,
    is_past_floor: bool,
    length: Duration,
    submitted_at: Timestamp,
    next: JobId,
    key: QueueKey,
    user: UserName,
    shape: ShapeId,
}

impl Shortest {
    pub(crate) fn new(state: &State, now: Timestamp, candidates: &Candidates) -> Self {
        let ranks = Ranks::new(state, now);
        let mut heap = Vec::new();
        for (user, user_queue) in state.index().user_queues() {
            for (lane, key, demand) in candidates.firsts(state, user, user_queue) {
                heap.push(by_length(
                    state, &ranks, user, user_queue, lane, key, demand,
                ));
            }
        }
        Self {
            ranks,
            heap: heap.into_iter().map(Reverse).collect::<Vec<_>>().into(),
        }
    }

    fn next(&mut self, state: &State, candidates: &Candidates) -> Option<Candidate> {
        loop {
            let Reverse(popped) = self.heap.pop()?;
            if candidates.has(&popped.user, popped.shape).is_none() {
                continue;
            }
            let user_queue = state.index().user_queue(&popped.user)?;
            if has_floor(state.index(), user_queue) && !popped.is_past_floor {
                // Jobs that were placed meanwhile may have used up the floor.
                let demand = candidates.has(&popped.user, popped.shape)?.demand;
                if self.ranks.is_past_floor(state, user_queue, 0, demand) {
                    self.heap.push(Reverse(ByLength {
                        is_past_floor: true,
                        ..popped
                    }));
                    continue;
                }
            }
            return Some(Candidate {
                job: popped.key.job,
                user: popped.user,
                shape: popped.shape,
                key: popped.key,
                usage: None,
            });
        }
    }

    /// Adds the job that follows in the same lane.
    fn put_up(&mut self, state: &State, candidates: &Candidates, after: &Candidate) {
        let next = || {
            let job = state.job(after.job)?;
            let user_queue = state.index().user_queue(&after.user)?;
            let demand = candidates.has(&after.user, after.shape)?.demand;
            let lane = Lane::of(after.shape, &job.spec);
            let key = user_queue.ready.get(&lane)?.after(after.key)?;
            let user = &after.user;
            Some(by_length(
                state,
                &self.ranks,
                user,
                user_queue,
                &lane,
                key,
                demand,
            ))
        };
        self.heap.extend(next().map(Reverse));
    }
}

fn by_length(
    state: &State,
    ranks: &Ranks,
    user: &UserName,
    user_queue: &UserQueue,
    lane: &Lane,
    key: QueueKey,
    demand: Demand,
) -> ByLength {
    let has_floor = has_floor(state.index(), user_queue);
    ByLength {
        class: key.class,
        is_past_floor: !has_floor || ranks.is_past_floor(state, user_queue, 0, demand),
        length: planned_length(state, user, lane, None),
        submitted_at: key.submitted_at,
        next: key.next,
        key,
        user: user.clone(),
        shape: lane.shape,
    }
}

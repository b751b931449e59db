//! The read side: the queue in its order, and what machines hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::id::{GpuId, JobId, UserName, WorkerId};
use crate::job::Job;
use crate::resources::{ByteSize, MilliCpu, MilliGpu};
use crate::sched::model::demand::Demand;
use crate::sched::model::lane::Lane;
use crate::sched::rank::account::penalty;
use crate::sched::rank::floor::has_floor;
use crate::sched::rank::next::{Entry, next_of};
use crate::sched::rank::order::{Head, Merge};
use crate::sched::rank::ranks::Ranks;
use crate::sched::state::core::State;
use crate::sched::state::user_queue::UserQueue;
use crate::time::Timestamp;

/// One waiting job at its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting<'a> {
    /// The job.
    pub job: &'a Arc<Job>,
    /// Its place, from 1.
    pub position: u64,
    /// Its user's penalty; the lower, the sooner.
    pub penalty: f64,
}

/// What the attempts on one machine hold of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// By GPU; GPUs of which nothing is held are absent.
    pub gpus: BTreeMap<GpuId, MilliGpu>,
    /// CPU.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: ByteSize,
    /// The jobs.
    pub jobs: BTreeSet<JobId>,
}

/// Every queued job in the order of turns. Jobs that cannot be tried yet (held, waiting for other jobs or for a
/// retry's time) come last.
#[must_use]
pub fn queue(state: &State, now: Timestamp) -> Vec<Waiting<'_>> {
    let ready = merged(state, now, |user, user_queue| {
        let lanes = user_queue.ready.iter().map(|(lane, queue)| {
            let demand = demand_of(state, lane);
            let keys = queue.keys().iter();
            keys.filter_map(|key| Some(Entry::new(state, now, user, lane, *key, demand?)))
                .collect()
        });
        if has_floor(state.index(), user_queue) {
            lanes.collect()
        } else {
            vec![in_own_order(lanes.flat_map(|lane: VecDeque<Entry>| lane))]
        }
    });
    let parked = merged(state, now, |user, user_queue| {
        let entries = user_queue.parked.iter().filter_map(|key| {
            let spec = &state.job(key.job)?.spec;
            let lane = Lane::of(state.index().shape_of(&spec.request)?, spec);
            let demand = demand_of(state, &lane)?;
            Some(Entry::new(state, now, user, &lane, *key, demand))
        });
        vec![in_own_order(entries)]
    });
    let jobs = ready.into_iter().chain(parked);
    let jobs = jobs.filter_map(|(id, penalty)| Some((state.job(id)?, penalty)));
    let numbered = (1..).zip(jobs);
    numbered
        .map(|(position, (job, penalty))| Waiting {
            job,
            position,
            penalty,
        })
        .collect()
}

fn demand_of(state: &State, lane: &Lane) -> Option<Demand> {
    let index = state.index();
    let request = index.request(lane.shape)?;
    Some(Demand::of(index.cluster_size(), request))
}

fn in_own_order(entries: impl Iterator<Item = Entry>) -> VecDeque<Entry> {
    let mut entries: Vec<Entry> = entries.collect();
    entries.sort_by_cached_key(|entry| (entry.key.class, entry.own_order()));
    entries.into()
}

/// One user's jobs that are not listed yet.
struct Unlisted<'a> {
    user_queue: &'a UserQueue,
    penalty: f64,
    /// In the user's own order; by lane where floors may change it.
    lanes: Vec<VecDeque<Entry>>,
    /// Milli-GPU of the jobs that are listed already, which are counted as held.
    listed: u64,
}

impl Unlisted<'_> {
    /// The job that is listed next, with the user's and the lane's number.
    fn head(&self, state: &State, ranks: &Ranks, user: usize) -> Option<Head<(usize, usize)>> {
        let entries = self.lanes.iter().enumerate();
        let entries = entries.filter_map(|(lane, jobs)| Some((*jobs.front()?, (user, lane))));
        let next = next_of(state, ranks, self.user_queue, self.listed, entries)?;
        let ranked = next.ranked(state, ranks, self.penalty);
        Some(Head::new(ranked, next, self.user_queue))
    }
}

/// The users' queues merged as a pass merges them.
fn merged(
    state: &State,
    now: Timestamp,
    lanes: impl Fn(&UserName, &UserQueue) -> Vec<VecDeque<Entry>>,
) -> Vec<(JobId, f64)> {
    let user_queues = state.index().user_queues().iter();
    let mut users: Vec<_> = user_queues
        .map(|(user, user_queue)| Unlisted {
            user_queue,
            penalty: penalty(state, now, user_queue),
            lanes: lanes(user, user_queue),
            listed: 0,
        })
        .collect();
    let ranks = Ranks::new(state, now);
    let heads = users.iter().enumerate();
    let heads = heads.filter_map(|(number, user)| user.head(state, &ranks, number));
    let heads = heads.collect();
    let mut merge = Merge::new(ranks, heads);
    let mut order = Vec::new();
    while let Some(head) = merge.pop() {
        let (number, lane) = head.with;
        let Some(user) = users.get_mut(number) else {
            continue;
        };
        if merge.ranks.has_changed(user.user_queue)
            && let Some(again) = user.head(state, &merge.ranks, number)
            && !head.is_still(&again)
        {
            merge.push(again);
            continue;
        }
        let listed = user.lanes.get_mut(lane).and_then(VecDeque::pop_front);
        order.push((head.key.job, user.penalty));
        if has_floor(state.index(), user.user_queue)
            && let Some(Entry { demand, .. }) = listed
        {
            user.listed += demand.milli;
            merge.ranks.count(user.user_queue, demand);
        }
        if let Some(next) = user.head(state, &merge.ranks, number) {
            merge.push(next);
        }
    }
    order
}

/// What the attempts on a machine hold of it; nothing for one that is not known.
#[must_use]
pub fn held(state: &State, worker: &WorkerId) -> Held {
    let Some(node) = state.index().node(worker) else {
        return Held::default();
    };
    let gpus = node.gpus.iter();
    Held {
        gpus: gpus
            .map(|(id, milli)| (id.clone(), MilliGpu(*milli)))
            .collect(),
        cpu: MilliCpu(node.cpu),
        memory: ByteSize(node.memory),
        jobs: node.jobs.keys().copied().collect(),
    }
}

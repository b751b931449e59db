//! The read side: the queue in its order, and what machines hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::id::{GpuId, JobId, WorkerId};
use crate::job::Job;
use crate::resources::{ByteSize, MilliCpu, MilliGpu};
use crate::time::Timestamp;

use crate::sched::rank::account::penalty;
use crate::sched::rank::floor::has_floor;
use crate::sched::rank::order::{Head, Merge, Place};
use crate::sched::rank::ranks::Ranks;
use crate::sched::rank::turn::{asked, next_of};
use crate::sched::state::core::State;
use crate::sched::state::user_queue::Desk;

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

/// Every waiting job in the order in which they are tried; those that cannot be tried yet (held back,
/// waiting for other jobs or for a retry's time) come last.
#[must_use]
pub fn queue(state: &State, now: Timestamp) -> Vec<Waiting<'_>> {
    let ready = merged(state, now, |desk| {
        let lots = desk.ready.values().map(|lot| lot.iter().copied());
        if has_floor(state.index(), desk) {
            return lots.map(Iterator::collect).collect();
        }
        let mut all: Vec<Place> = lots.flatten().collect();
        all.sort_unstable();
        vec![all.into()]
    });
    let parked = merged(state, now, |desk| {
        vec![desk.parked.iter().copied().collect()]
    });
    let places = ready.into_iter().chain(parked);
    let jobs = places.filter_map(|(place, penalty)| Some((state.job(place.job)?, penalty)));
    let numbered = (1..).zip(jobs);
    numbered
        .map(|(position, (job, penalty))| Waiting {
            job,
            position,
            penalty,
        })
        .collect()
}

/// The waiting jobs of one user.
struct Line<'a> {
    desk: &'a Desk,
    penalty: f64,
    /// In the user's own order, apart where a floor may change it.
    lots: Vec<VecDeque<Place>>,
    /// What the user is counted as holding besides what they do: what was listed before.
    besides: u64,
}

impl Line<'_> {
    /// The job that is listed next; with it go the user and the lot.
    fn head(&self, state: &State, ranks: &Ranks, user: usize) -> Option<Head<(usize, usize)>> {
        let firsts = self.lots.iter().map(|lot| lot.front().copied());
        let next = next_of(state, ranks, self.desk, self.besides, firsts)?;
        let standing = next.standing(state, ranks, self.penalty);
        Some(Head::new(standing, next.place, self.desk, (user, next.lot)))
    }
}

/// The users' queues merged as a pass merges them.
fn merged(
    state: &State,
    now: Timestamp,
    lots: impl Fn(&Desk) -> Vec<VecDeque<Place>>,
) -> Vec<(Place, f64)> {
    let desks = state.index().desks().map(|(_, desk)| desk);
    let mut lines: Vec<_> = desks
        .map(|desk| Line {
            desk,
            penalty: penalty(state, now, desk),
            lots: lots(desk),
            besides: 0,
        })
        .collect();
    let ranks = Ranks::new(state, now);
    let heads = lines.iter().enumerate();
    let heads: Vec<_> = heads
        .filter_map(|(user, line)| line.head(state, &ranks, user))
        .collect();
    let mut merge = Merge::new(ranks);
    merge.fill(heads);
    let mut order = Vec::new();
    while let Some(head) = merge.pop() {
        let (user, lot) = head.with;
        let Some(line) = lines.get_mut(user) else {
            continue;
        };
        let anew = merge
            .ranks
            .has_moved(line.desk)
            .then(|| line.head(state, &merge.ranks, user));
        if let Some(anew) = anew.flatten()
            && !head.is_still(&anew)
        {
            merge.push(anew);
            continue;
        }
        if let Some(lot) = line.lots.get_mut(lot) {
            lot.pop_front();
        }
        order.push((head.place, line.penalty));
        if has_floor(state.index(), line.desk)
            && let Some(asked) = asked(state, head.place)
        {
            line.besides += asked.milli;
            merge.ranks.count(line.desk, asked);
        }
        if let Some(next) = line.head(state, &merge.ranks, user) {
            merge.push(next);
        }
    }
    order
}

/// What the attempts on a machine hold of it; nothing for one that is not known.
#[must_use]
pub fn held(state: &State, worker: &WorkerId) -> Held {
    let Some(room) = state.index().room(worker) else {
        return Held::default();
    };
    let gpus = room.gpus.iter();
    Held {
        gpus: gpus
            .map(|(id, milli)| (id.clone(), MilliGpu(*milli)))
            .collect(),
        cpu: MilliCpu(room.cpu),
        memory: ByteSize(room.memory),
        jobs: room.jobs.keys().copied().collect(),
    }
}

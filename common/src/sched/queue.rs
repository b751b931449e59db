//! The read side: the queue in its order, and what machines hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{GpuId, JobId, WorkerId};
use crate::job::Job;
use crate::resources::{ByteSize, MilliCpu, MilliGpu};
use crate::time::Timestamp;

use super::account::{part_asked, penalty, rank};
use super::index::Desk;
use super::order::{Head, Merge, Place};
use super::state::State;

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
        desk.ready.values().flatten().copied().collect()
    });
    let parked = merged(state, now, |desk| desk.parked.iter().copied().collect());
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

/// The users' queues merged as a pass merges them.
fn merged(
    state: &State,
    now: Timestamp,
    places: impl Fn(&Desk) -> Vec<Place>,
) -> Vec<(Place, f64)> {
    let desks = state.index().desks().iter();
    let mut queues: Vec<_> = desks
        .map(|(_, desk)| {
            let mut places = places(desk);
            places.sort_unstable();
            (penalty(state, now, desk), places.into_iter())
        })
        .collect();
    let head = |user, penalty, place: Option<Place>| {
        let place = place?;
        let asked = part_asked(state, &state.job(place.job)?.spec.request);
        let rank = rank(state.settings(), now, penalty, asked, place.submitted_at);
        Some(Head::new(rank, place, user))
    };
    let users = queues.iter_mut().enumerate();
    let heads = users.filter_map(|(user, (penalty, places))| head(user, *penalty, places.next()));
    let mut merge = Merge::of(heads);
    let mut order = Vec::new();
    while let Some((place, user)) = merge.pop() {
        if let Some((penalty, places)) = queues.get_mut(user) {
            order.push((place, *penalty));
            if let Some(next) = head(user, *penalty, places.next()) {
                merge.push(next);
            }
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
        jobs: room.jobs.clone(),
    }
}

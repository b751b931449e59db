//! What is derived from jobs and workers so that nothing has to be searched for. Never stored: loading
//! and following a leader build it anew, change by change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{GroupName, JobId, UserName, WorkerId};
use crate::job::{Class, Job, JobState, Stage};
use crate::penalty::usage::Rate;
use crate::resources::{ByteSize, Capacity, Request};
use crate::sched::model::demand::ClusterSize;
use crate::sched::model::entities::{Group, User, Worker};
use crate::sched::model::queue_key::QueueKey;
use crate::sched::model::settings::UsageSettings;
use crate::sched::model::shape::{NodeClassId, ShapeId};
use crate::time::Timestamp;

use super::counts::{Counts, GroupState};
use super::node_load::NodeLoad;
use super::run_times::Learned;
use super::user_queue::{LaneQueue, UsageSnapshot, UserQueue};

/// How many changes of nodes are logged before a new era begins with an empty log.
const CHANGED_MAX: usize = 8192;

/// All indexes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    shapes: BTreeMap<Arc<Request>, Shape>,
    requests: BTreeMap<ShapeId, Arc<Request>>,
    last_shape: u32,
    classes: Vec<Capacity>,
    user_queues: BTreeMap<UserName, UserQueue>,
    group_states: BTreeMap<GroupName, GroupState>,
    /// The users who have a floor of their own.
    floors: BTreeSet<UserName>,
    nodes: BTreeMap<WorkerId, NodeLoad>,
    dependents: BTreeMap<JobId, BTreeSet<JobId>>,
    retries: BTreeSet<(Timestamp, JobId)>,
    deadlines: BTreeSet<(Timestamp, JobId)>,
    history: BTreeSet<(Timestamp, JobId)>,
    learned: Learned,
    unanswered: BTreeSet<JobId>,
    keys: BTreeSet<(JobId, Arc<str>)>,
    /// Arrays that are not over.
    arrays: BTreeSet<JobId>,
    capacity: Rate,
    size: ClusterSize,
    known: usize,
    urgent: BTreeSet<QueueKey>,
    /// The machines that changed, in order, since the era began.
    changed: Vec<WorkerId>,
    era: u64,
}

#[derive(Debug, Clone)]
struct Shape {
    id: ShapeId,
    /// How many jobs that are remembered asked for it.
    known: usize,
    /// How many of them may start.
    ready: usize,
}

impl Index {
    pub(crate) fn user_queue(&self, user: &UserName) -> Option<&UserQueue> {
        self.user_queues.get(user)
    }

    /// Every user's queue, by name.
    pub(crate) const fn user_queues(&self) -> &BTreeMap<UserName, UserQueue> {
        &self.user_queues
    }

    pub(crate) fn group_state(&self, group: &GroupName) -> Option<&GroupState> {
        self.group_states.get(group)
    }

    pub(crate) const fn group_states(&self) -> &BTreeMap<GroupName, GroupState> {
        &self.group_states
    }

    /// The team that the user of a desk is in.
    pub(crate) fn group_state_of(&self, user_queue: &UserQueue) -> Option<&GroupState> {
        self.group_states.get(user_queue.group.as_ref()?)
    }

    /// The users who have a floor of their own.
    pub(crate) const fn floors(&self) -> &BTreeSet<UserName> {
        &self.floors
    }

    pub(crate) fn node(&self, worker: &WorkerId) -> Option<&NodeLoad> {
        self.nodes.get(worker)
    }

    pub(crate) const fn nodes(&self) -> &BTreeMap<WorkerId, NodeLoad> {
        &self.nodes
    }

    /// The array that is not over with the largest id below this one.
    pub(crate) fn array_before(&self, id: JobId) -> Option<JobId> {
        self.arrays.range(..id).next_back().copied()
    }

    /// The waiting jobs that name this one in `after`.
    pub(crate) fn dependents(&self, job: JobId) -> impl Iterator<Item = JobId> {
        self.dependents.get(&job).into_iter().flatten().copied()
    }

    /// Jobs that are tried again, and when.
    pub(crate) const fn retries(&self) -> &BTreeSet<(Timestamp, JobId)> {
        &self.retries
    }

    /// Jobs that run, and until when they may.
    pub(crate) const fn deadlines(&self) -> &BTreeSet<(Timestamp, JobId)> {
        &self.deadlines
    }

    /// Finished jobs by their end.
    pub(crate) const fn history(&self) -> &BTreeSet<(Timestamp, JobId)> {
        &self.history
    }

    /// How long the finished jobs took.
    pub(crate) const fn learned(&self) -> &Learned {
        &self.learned
    }

    /// Jobs whose worker owes an answer to an order.
    pub(crate) const fn unanswered(&self) -> &BTreeSet<JobId> {
        &self.unanswered
    }

    pub(crate) fn set_user(&mut self, user: &User) {
        let (before, counts) = self.edit_user_queue(&user.name, |user_queue| {
            user_queue.usage = UsageSnapshot::of(user);
            user_queue.floor = user.guards.floor;
            let before = std::mem::replace(&mut user_queue.group, user.group.clone());
            (before, user_queue.counts)
        });
        if user.guards.floor.is_some() {
            self.floors.insert(user.name.clone());
        } else {
            self.floors.remove(&user.name);
        }
        if before != user.group {
            if let Some(before) = before {
                self.edit_team(&before, |group_state| {
                    group_state.members.remove(&user.name);
                    group_state.counts.take(counts);
                });
            }
            if let Some(now) = &user.group {
                self.edit_team(now, |group_state| {
                    group_state.members.insert(user.name.clone());
                    group_state.counts.add(counts);
                });
            }
        }
    }

    fn edit_user_queue<T>(&mut self, user: &UserName, edit: impl FnOnce(&mut UserQueue) -> T) -> T {
        match self.user_queues.get_mut(user) {
            Some(user_queue) => edit(user_queue),
            None => edit(self.user_queues.entry(user.clone()).or_default()),
        }
    }

    pub(crate) fn set_group(&mut self, group: &Group) {
        self.edit_team(&group.name, |group_state| {
            group_state.set_group(Some(group))
        });
    }

    pub(crate) fn drop_group(&mut self, name: &GroupName) {
        self.edit_team(name, |group_state| group_state.set_group(None));
    }

    fn edit_team(&mut self, name: &GroupName, edit: impl FnOnce(&mut GroupState)) {
        let group_state = self.group_states.entry(name.clone()).or_default();
        edit(group_state);
        if group_state.is_unused() {
            self.group_states.remove(name);
        }
    }

    /// Counts a job, or what `count` does with it, for its user and their group.
    fn counts(&mut self, job: &Job, count: impl Fn(&mut Counts, Counts)) {
        let of_job = Counts::of(job);
        if of_job == Counts::default() {
            return;
        }
        let group = self.edit_user_queue(&job.user, |user_queue| {
            count(&mut user_queue.counts, of_job);
            user_queue.group.clone()
        });
        if let Some(group_state) = group.and_then(|group| self.group_states.get_mut(&group)) {
            count(&mut group_state.counts, of_job);
        }
    }

    /// What the whole cluster would be charged.
    pub(crate) const fn capacity(&self) -> Rate {
        self.capacity
    }

    /// The GPUs of the whole cluster.
    pub(crate) const fn cluster_size(&self) -> ClusterSize {
        self.size
    }

    pub(crate) fn set_worker(
        &mut self,
        id: &WorkerId,
        worker: Option<Arc<Worker>>,
        usage: &UsageSettings,
    ) {
        let class = worker.as_ref().map(|worker| self.class_of(worker));
        let node = self.nodes.entry(id.clone()).or_default();
        node.class = class.unwrap_or_default();
        node.set_worker(worker, usage);
        self.log_change(id);
        if self.nodes.get(id).is_some_and(NodeLoad::is_unused) {
            self.nodes.remove(id);
        }
        self.capacity = Rate(self.nodes.values().map(|node| node.worth.0).sum());
        let present = self.nodes.values().filter_map(NodeLoad::present);
        let empty = ClusterSize::default();
        self.size = present.fold(empty, |size, worker| {
            let gpus = u32::try_from(worker.capacity.gpus.len()).unwrap_or(u32::MAX);
            ClusterSize {
                gpus: size.gpus.saturating_add(gpus),
                slots: size.slots.max(worker.capacity.slots_per_gpu),
            }
        });
    }

    fn class_of(&mut self, worker: &Worker) -> NodeClassId {
        let capacity = &worker.capacity;
        let known = self
            .classes
            .iter()
            .position(|known| is_alike(known, capacity));
        let at = known.unwrap_or_else(|| {
            self.classes.push(capacity.clone());
            self.classes.len() - 1
        });
        NodeClassId(u32::try_from(at).unwrap_or(u32::MAX))
    }

    fn log_change(&mut self, id: &WorkerId) {
        if self.changed.len() >= CHANGED_MAX {
            self.changed.clear();
            self.era += 1;
        }
        self.changed.push(id.clone());
    }

    /// The era, and the machines that changed in it so far.
    pub(crate) fn changed_nodes(&self) -> (u64, &[WorkerId]) {
        (self.era, &self.changed)
    }

    /// The urgent jobs that may start.
    pub(crate) const fn urgent(&self) -> &BTreeSet<QueueKey> {
        &self.urgent
    }

    /// How many jobs are remembered.
    pub(crate) const fn jobs_known(&self) -> usize {
        self.known
    }

    /// What the jobs that are remembered asked for, and how many of them did.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (&Arc<Request>, usize)> {
        let shapes = self.shapes.iter();
        shapes.map(|(request, shape)| (request, shape.known))
    }

    /// What the jobs of a shape ask for.
    pub(crate) fn request(&self, shape: ShapeId) -> Option<&Arc<Request>> {
        self.requests.get(&shape)
    }

    /// The shapes of jobs that may start.
    pub(crate) fn ready_shapes(&self) -> impl Iterator<Item = ShapeId> {
        let shapes = self.shapes.values();
        shapes.filter(|shape| shape.ready > 0).map(|shape| shape.id)
    }

    pub(crate) fn key_taken(&mut self, key: &Arc<str>, job: JobId) {
        self.keys.insert((job, Arc::clone(key)));
    }

    pub(crate) fn keys_given_back(&mut self, job: JobId) -> Vec<Arc<str>> {
        let from = self.keys.range((job, Arc::default())..);
        let keys: Vec<_> = from.take_while(|(of, _)| *of == job).cloned().collect();
        let keys = keys.into_iter().map(|entry| {
            self.keys.remove(&entry);
            entry.1
        });
        keys.collect()
    }

    /// Enters a job; `ready` says whether a waiting one may start.
    pub(crate) fn insert(&mut self, job: &Arc<Job>, ready: bool) {
        let shape = self.shape_taken(&job.spec.request, ready);
        self.counts(job, Counts::add);
        if let Some(at) = retry(job) {
            self.retries.insert((at, job.id));
        }
        if let Some(at) = deadline(job) {
            self.deadlines.insert((at, job.id));
        }
        if is_unanswered(job) {
            self.unanswered.insert(job.id);
        }
        if job.state.array().is_some() {
            self.arrays.insert(job.id);
        }
        match &job.state {
            JobState::Queued(_) | JobState::Array(_) => {
                for dependency in job.waits_after() {
                    self.dependents
                        .entry(dependency.job)
                        .or_default()
                        .insert(job.id);
                }
                if job.state.waiting() == 0 {
                    // All tasks of the array have been begun.
                } else if ready {
                    if job.spec.class == Class::Urgent {
                        self.urgent.insert(QueueKey::of(job));
                    }
                    self.edit_user_queue(&job.user, |user_queue| user_queue.enter(shape, job));
                } else {
                    self.edit_user_queue(&job.user, |user_queue| {
                        user_queue.parked.insert(QueueKey::of(job))
                    });
                }
            }
            JobState::Active(active, _) => {
                let node = self.nodes.entry(active.worker.clone()).or_default();
                node.enter(job, active);
                self.log_change(&active.worker);
                self.edit_user_queue(&job.user, |user_queue| {
                    user_queue.rate.0 += active.charged().0
                });
            }
            JobState::Finished(finished) => {
                self.history.insert((finished.at, job.id));
                self.learned.insert(job);
            }
        }
    }

    /// Takes a job out again; it must be as it was entered. Whether it was one that may start.
    pub(crate) fn remove(&mut self, job: &Job) -> bool {
        let shape = self.shape_of(&job.spec.request);
        self.counts(job, Counts::take);
        let mut was_ready = false;
        if let Some(at) = retry(job) {
            self.retries.remove(&(at, job.id));
        }
        if let Some(at) = deadline(job) {
            self.deadlines.remove(&(at, job.id));
        }
        self.unanswered.remove(&job.id);
        match &job.state {
            JobState::Queued(_) | JobState::Array(_) => {
                self.arrays.remove(&job.id);
                for dependency in job.waits_after() {
                    if let Some(dependents) = self.dependents.get_mut(&dependency.job) {
                        dependents.remove(&job.id);
                        if dependents.is_empty() {
                            self.dependents.remove(&dependency.job);
                        }
                    }
                }
                let place = QueueKey::of(job);
                self.urgent.remove(&place);
                was_ready = self.edit_user_queue(&job.user, |user_queue| {
                    user_queue.parked.remove(&place);
                    shape.is_some_and(|shape| user_queue.leave(shape, job))
                });
            }
            JobState::Active(active, _) => {
                if let Some(node) = self.nodes.get_mut(&active.worker) {
                    node.leave(job, active);
                    if node.is_unused() {
                        self.nodes.remove(&active.worker);
                    }
                    self.log_change(&active.worker);
                }
                self.edit_user_queue(&job.user, |user_queue| {
                    user_queue.rate.0 -= active.charged().0
                });
            }
            JobState::Finished(finished) => {
                self.history.remove(&(finished.at, job.id));
                self.learned.remove(job);
            }
        }
        self.shape_given_back(&job.spec.request, was_ready);
        was_ready
    }

    /// Whether both hold the same, by whatever numbers their shapes and classes go. Keys are left out, because jobs do
    /// not name theirs.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        let shapes = |index: &Self| -> BTreeMap<Arc<Request>, (usize, usize)> {
            let shapes = index.shapes.iter();
            shapes
                .map(|(request, shape)| (Arc::clone(request), (shape.known, shape.ready)))
                .collect()
        };
        let user_queues = |index: &Self| -> Vec<_> {
            let user_queues = index.user_queues.iter();
            user_queues
                .map(|(user, user_queue)| {
                    let ready = user_queue.ready.values();
                    let ready: BTreeMap<QueueKey, LaneQueue> =
                        ready.map(|lane| (lane.first, lane.clone())).collect();
                    let parked = user_queue.parked.clone();
                    let set = (user_queue.usage, user_queue.group.clone(), user_queue.floor);
                    let counts = (user_queue.counts, user_queue.rate);
                    (user.clone(), ready, parked, set, counts)
                })
                .collect()
        };
        let nodes = |index: &Self| -> Vec<_> {
            let nodes = index.nodes.iter();
            let unnumbered = nodes.map(|(id, node)| {
                let class = NodeClassId::default();
                (
                    id.clone(),
                    NodeLoad {
                        class,
                        ..node.clone()
                    },
                )
            });
            unnumbered.collect()
        };
        shapes(self) == shapes(other)
            && user_queues(self) == user_queues(other)
            && nodes(self) == nodes(other)
            && self.group_states == other.group_states
            && self.floors == other.floors
            && self.dependents == other.dependents
            && self.retries == other.retries
            && self.deadlines == other.deadlines
            && self.history == other.history
            && self.learned == other.learned
            && self.unanswered == other.unanswered
            && self.urgent == other.urgent
            && self.arrays == other.arrays
            && self.capacity == other.capacity
            && self.size == other.size
    }

    /// The shape of jobs that ask for this.
    pub(crate) fn shape_of(&self, request: &Request) -> Option<ShapeId> {
        self.shapes.get(request).map(|shape| shape.id)
    }

    fn shape_taken(&mut self, request: &Request, ready: bool) -> ShapeId {
        self.known += 1;
        if let Some(shape) = self.shapes.get_mut(request) {
            shape.known += 1;
            shape.ready += usize::from(ready);
            return shape.id;
        }
        // Wrapping is harmless: four thousand million shapes later the first is long given back.
        self.last_shape = self.last_shape.wrapping_add(1);
        let id = ShapeId(self.last_shape);
        let request = Arc::new(request.clone());
        self.requests.insert(id, Arc::clone(&request));
        let ready = usize::from(ready);
        let shape = Shape {
            id,
            known: 1,
            ready,
        };
        self.shapes.insert(request, shape);
        id
    }

    fn shape_given_back(&mut self, request: &Request, was_ready: bool) {
        self.known -= 1;
        if let Some(shape) = self.shapes.get_mut(request) {
            shape.known -= 1;
            shape.ready -= usize::from(was_ready);
            if shape.known == 0 {
                self.requests.remove(&shape.id);
                self.shapes.remove(request);
            }
        }
    }
}

/// Whether what fits on one of two machines fits on the other while nothing runs there. Ids do not matter,
/// nor does health, which changes what is free.
fn is_alike(a: &Capacity, b: &Capacity) -> bool {
    let gpus = |capacity: &Capacity| -> Vec<(String, ByteSize)> {
        let gpus = capacity.gpus.iter();
        gpus.map(|gpu| (gpu.model.clone(), gpu.memory)).collect()
    };
    (a.cpu, a.memory, a.slots_per_gpu) == (b.cpu, b.memory, b.slots_per_gpu)
        && a.labels == b.labels
        && a.volumes == b.volumes
        && gpus(a) == gpus(b)
}

/// When a waiting job is tried again.
fn retry(job: &Job) -> Option<Timestamp> {
    job.state.queued()?.not_before
}

/// When a job that runs has run for as long as it may.
fn deadline(job: &Job) -> Option<Timestamp> {
    let started_at = job.state.active()?.started_at?;
    let is_running = job.state.stage()?.is_running();
    is_running.then_some(started_at.after(job.spec.time_limit?))
}

const fn is_unanswered(job: &Job) -> bool {
    match &job.state {
        JobState::Active(active, Stage::Assigned) => !active.confirmed,
        JobState::Active(_, Stage::Stopping(_)) => true,
        JobState::Active(
            _,
            Stage::Building | Stage::Running | Stage::Paused | Stage::Publishing,
        )
        | JobState::Queued(_)
        | JobState::Array(_)
        | JobState::Finished(_) => false,
    }
}

//! What is derived from jobs and workers so that nothing has to be searched for. Never stored: loading
//! and following a leader build it anew, change by change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{GroupName, JobId, UserName, WorkerId};
use crate::job::{Class, Job, JobState};
use crate::penalty::usage::Rate;
use crate::resources::{ByteSize, Capacity, Request};
use crate::time::Timestamp;

use crate::sched::events::group::Group;
use crate::sched::fit::run_times::Learned;
use crate::sched::model::entities::{User, Worker};
use crate::sched::model::settings::UsageSettings;
use crate::sched::model::shape::ShapeId;
use crate::sched::place::ledger::Ledger;
use crate::sched::rank::order::Place;
use crate::sched::state::counts::{Tally, Team};
use crate::sched::state::node_load::Room;
use crate::sched::state::user_queue::{Desk, Had};

/// Machines that differ in nothing but the ids of their GPUs share a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct ClassId(u32);

/// How many changes of machines are logged before the log begins anew.
const CHANGED_MAX: usize = 8192;

/// All indexes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    shapes: BTreeMap<Arc<Request>, Shape>,
    requests: BTreeMap<ShapeId, Arc<Request>>,
    last_shape: u32,
    classes: Vec<Capacity>,
    /// Where each user's line is in the ledger, and their desk among the desks.
    lines: BTreeMap<UserName, usize>,
    ledger: Ledger,
    desks: Vec<Desk>,
    teams: BTreeMap<GroupName, Team>,
    /// The users who have a floor of their own.
    floors: BTreeSet<UserName>,
    rooms: BTreeMap<WorkerId, Room>,
    dependents: BTreeMap<JobId, BTreeSet<JobId>>,
    retries: BTreeSet<(Timestamp, JobId)>,
    deadlines: BTreeSet<(Timestamp, JobId)>,
    history: BTreeSet<(Timestamp, JobId)>,
    learned: Learned,
    unanswered: BTreeSet<JobId>,
    keys: BTreeMap<JobId, Vec<Arc<str>>>,
    /// Arrays that are not over.
    arrays: BTreeSet<JobId>,
    capacity: Rate,
    gpus: u32,
    slots: u32,
    known: usize,
    urgent: BTreeSet<Place>,
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
    pub(crate) fn desk(&self, user: &UserName) -> Option<&Desk> {
        self.desk_in_line(*self.lines.get(user)?)
    }

    /// The desk of the user whose line in the ledger this is.
    pub(crate) fn desk_in_line(&self, line: usize) -> Option<&Desk> {
        self.desks.get(line)
    }

    /// Every desk, by the user's name.
    pub(crate) fn desks(&self) -> impl Iterator<Item = (&UserName, &Desk)> {
        let lines = self.lines.iter();
        lines.filter_map(|(user, line)| Some((user, self.desk_in_line(*line)?)))
    }

    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) fn team(&self, group: &GroupName) -> Option<&Team> {
        self.teams.get(group)
    }

    pub(crate) const fn teams(&self) -> &BTreeMap<GroupName, Team> {
        &self.teams
    }

    /// The team that the user of a desk is in.
    pub(crate) fn team_of(&self, desk: &Desk) -> Option<&Team> {
        self.teams.get(desk.group.as_ref()?)
    }

    /// The users who have a floor of their own.
    pub(crate) const fn floors(&self) -> &BTreeSet<UserName> {
        &self.floors
    }

    pub(crate) fn room(&self, worker: &WorkerId) -> Option<&Room> {
        self.rooms.get(worker)
    }

    pub(crate) const fn rooms(&self) -> &BTreeMap<WorkerId, Room> {
        &self.rooms
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
        let (before, tally) = self.edit_desk(&user.name, |desk| {
            desk.had = Had {
                weight: user.weight,
                usage: user.usage,
                usage_at: user.usage_at,
                recency: user.recency,
                recency_at: user.recency_at,
            };
            desk.floor = user.guards.floor;
            let before = std::mem::replace(&mut desk.group, user.group.clone());
            (before, desk.tally)
        });
        if user.guards.floor.is_some() {
            self.floors.insert(user.name.clone());
        } else {
            self.floors.remove(&user.name);
        }
        if before != user.group {
            if let Some(before) = before {
                self.edit_team(&before, |team| {
                    team.members.remove(&user.name);
                    team.tally.take(tally);
                });
            }
            if let Some(now) = &user.group {
                self.edit_team(now, |team| {
                    team.members.insert(user.name.clone());
                    team.tally.add(tally);
                });
            }
        }
    }

    /// Changes a user's desk, which is set up if there is none, and their line in the ledger.
    fn edit_desk<T>(&mut self, user: &UserName, edit: impl FnOnce(&mut Desk) -> T) -> T {
        let line = *self.lines.entry(user.clone()).or_insert_with(|| {
            self.desks.push(Desk::default());
            self.ledger.open(user.clone())
        });
        #[expect(clippy::indexing_slicing, reason = "each line has its desk")]
        let desk = &mut self.desks[line];
        let edited = edit(desk);
        self.ledger.write(line, desk);
        edited
    }

    pub(crate) fn set_group(&mut self, group: &Group) {
        self.edit_team(&group.name, |team| team.set_group(Some(group)));
    }

    pub(crate) fn drop_group(&mut self, name: &GroupName) {
        self.edit_team(name, |team| team.set_group(None));
    }

    fn edit_team(&mut self, name: &GroupName, edit: impl FnOnce(&mut Team)) {
        let team = self.teams.entry(name.clone()).or_default();
        edit(team);
        if team.is_unused() {
            self.teams.remove(name);
        }
    }

    /// Counts a job, or what `count` does with it, for its user and their group.
    fn tally(&mut self, job: &Job, count: impl Fn(&mut Tally, Tally)) {
        let of_job = Tally::of(job);
        if of_job == Tally::default() {
            return;
        }
        let group = self.edit_desk(&job.user, |desk| {
            count(&mut desk.tally, of_job);
            desk.group.clone()
        });
        if let Some(team) = group.and_then(|group| self.teams.get_mut(&group)) {
            count(&mut team.tally, of_job);
        }
    }

    /// What the whole cluster would be charged.
    pub(crate) const fn capacity(&self) -> Rate {
        self.capacity
    }

    /// How many GPUs there are, and the most slots that one has.
    pub(crate) const fn gpus_and_slots(&self) -> (u32, u32) {
        (self.gpus, self.slots)
    }

    pub(crate) fn set_worker(
        &mut self,
        id: &WorkerId,
        worker: Option<Arc<Worker>>,
        usage: &UsageSettings,
    ) {
        let class = worker.as_ref().map(|worker| self.class_of(worker));
        let room = self.rooms.entry(id.clone()).or_default();
        room.class = class.unwrap_or_default();
        room.set_worker(worker, usage);
        self.log_change(id);
        if self.rooms.get(id).is_some_and(Room::is_unused) {
            self.rooms.remove(id);
        }
        self.capacity = Rate(self.rooms.values().map(|room| room.worth.0).sum());
        let present = self.rooms.values().filter_map(Room::present);
        let counted = present.fold((0_u32, 0_u32), |(gpus, slots), worker| {
            let more = u32::try_from(worker.capacity.gpus.len()).unwrap_or(u32::MAX);
            let slots = slots.max(worker.capacity.slots_per_gpu);
            (gpus.saturating_add(more), slots)
        });
        (self.gpus, self.slots) = counted;
    }

    fn class_of(&mut self, worker: &Worker) -> ClassId {
        let capacity = &worker.capacity;
        let known = self
            .classes
            .iter()
            .position(|known| is_alike(known, capacity));
        let at = known.unwrap_or_else(|| {
            self.classes.push(capacity.clone());
            self.classes.len() - 1
        });
        ClassId(u32::try_from(at).unwrap_or(u32::MAX))
    }

    fn log_change(&mut self, id: &WorkerId) {
        if self.changed.len() >= CHANGED_MAX {
            self.changed.clear();
            self.era += 1;
        }
        self.changed.push(id.clone());
    }

    /// The era, and the machines that changed in it so far.
    pub(crate) fn changed_rooms(&self) -> (u64, &[WorkerId]) {
        (self.era, &self.changed)
    }

    /// The urgent jobs that may start.
    pub(crate) const fn urgent(&self) -> &BTreeSet<Place> {
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
        let keys = self.keys.entry(job).or_default();
        if !keys.contains(key) {
            keys.push(Arc::clone(key));
        }
    }

    pub(crate) fn keys_given_back(&mut self, job: JobId) -> Vec<Arc<str>> {
        self.keys.remove(&job).unwrap_or_default()
    }

    /// Enters a job; `ready` says whether a waiting one may start.
    pub(crate) fn insert(&mut self, job: &Arc<Job>, ready: bool) {
        let shape = self.shape_taken(&job.spec.request, ready);
        self.tally(job, Tally::add);
        if let Some(at) = retry(job) {
            self.retries.insert((at, job.id));
        }
        if let Some(at) = deadline(job) {
            self.deadlines.insert((at, job.id));
        }
        if is_unanswered(job) {
            self.unanswered.insert(job.id);
        }
        if matches!(job.state, JobState::Array(_)) {
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
                        self.urgent.insert(Place::of(job));
                    }
                    self.edit_desk(&job.user, |desk| desk.enter(shape, job));
                } else {
                    self.edit_desk(&job.user, |desk| desk.parked.insert(Place::of(job)));
                }
            }
            JobState::Assigned(active)
            | JobState::Building(active)
            | JobState::Running(active)
            | JobState::Paused(active)
            | JobState::Stopping(active, _) => {
                let room = self.rooms.entry(active.worker.clone()).or_default();
                room.enter(job, active);
                self.log_change(&active.worker);
                self.edit_desk(&job.user, |desk| desk.rate.0 += active.rate.0);
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
        self.tally(job, Tally::take);
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
                let place = Place::of(job);
                self.urgent.remove(&place);
                was_ready = self.edit_desk(&job.user, |desk| {
                    desk.parked.remove(&place);
                    shape.is_some_and(|shape| desk.leave(shape, job))
                });
            }
            JobState::Assigned(active)
            | JobState::Building(active)
            | JobState::Running(active)
            | JobState::Paused(active)
            | JobState::Stopping(active, _) => {
                if let Some(room) = self.rooms.get_mut(&active.worker) {
                    room.leave(job, active);
                    if room.is_unused() {
                        self.rooms.remove(&active.worker);
                    }
                    self.log_change(&active.worker);
                }
                self.edit_desk(&job.user, |desk| desk.rate.0 -= active.rate.0);
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
        let desks = |index: &Self| -> Vec<_> {
            let desks = index.desks();
            desks
                .map(|(user, desk)| {
                    let ready: BTreeSet<Place> = desk.ready.values().flatten().copied().collect();
                    let parked = desk.parked.clone();
                    let set = (desk.had, desk.group.clone(), desk.floor);
                    let counts = (desk.tally, desk.rate);
                    (user.clone(), ready, parked, set, counts)
                })
                .collect()
        };
        let rooms = |index: &Self| -> Vec<_> {
            let rooms = index.rooms.iter();
            let unnumbered = rooms.map(|(id, room)| {
                let class = ClassId::default();
                (
                    id.clone(),
                    Room {
                        class,
                        ..room.clone()
                    },
                )
            });
            unnumbered.collect()
        };
        shapes(self) == shapes(other)
            && desks(self) == desks(other)
            && rooms(self) == rooms(other)
            && self.teams == other.teams
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
            && (self.gpus, self.slots) == (other.gpus, other.slots)
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
        && gpus(a) == gpus(b)
}

/// When a waiting job is tried again.
fn retry(job: &Job) -> Option<Timestamp> {
    match &job.state {
        JobState::Queued(queued) => queued.not_before,
        JobState::Array(_)
        | JobState::Assigned(_)
        | JobState::Building(_)
        | JobState::Running(_)
        | JobState::Paused(_)
        | JobState::Stopping(..)
        | JobState::Finished(_) => None,
    }
}

/// When a job that runs has run for as long as it may.
fn deadline(job: &Job) -> Option<Timestamp> {
    match &job.state {
        JobState::Running(active) | JobState::Paused(active) => {
            Some(active.started_at?.after(job.spec.time_limit?))
        }
        JobState::Queued(_)
        | JobState::Array(_)
        | JobState::Assigned(_)
        | JobState::Building(_)
        | JobState::Stopping(..)
        | JobState::Finished(_) => None,
    }
}

const fn is_unanswered(job: &Job) -> bool {
    match &job.state {
        JobState::Assigned(active) => !active.confirmed,
        JobState::Stopping(..) => true,
        JobState::Queued(_)
        | JobState::Array(_)
        | JobState::Building(_)
        | JobState::Running(_)
        | JobState::Paused(_)
        | JobState::Finished(_) => false,
    }
}

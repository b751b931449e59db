//! The state of the cluster. Its collections are ordered; its indexes are derived and never stored.
//!
//! Every change of a job, user or worker goes through the `set_…` functions here, whether it comes from
//! an event or from the store, so that the indexes cannot go stale. What changes is decided elsewhere.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{GroupName, JobId, UserName, WorkerId};
use crate::job::{Cause, Dependency, DependencyKind, Job, JobState};
use crate::sched::model::effect::{Change, Dirty};
use crate::sched::model::entities::{Group, Meta, User, Worker};
use crate::sched::model::reservation::Blocked;
use crate::sched::model::settings::Settings;
use crate::time::Timestamp;

use super::clock_watch::ClockWatch;
use super::index::Index;

/// Everything the scheduler knows. Readers and standby masters keep a replica, fed by committed changes.
#[derive(Debug, Clone)]
pub struct State {
    settings: Settings,
    meta: Meta,
    jobs: BTreeMap<JobId, Arc<Job>>,
    users: BTreeMap<UserName, User>,
    groups: BTreeMap<GroupName, Group>,
    workers: BTreeMap<WorkerId, Arc<Worker>>,
    keys: BTreeMap<Arc<str>, JobId>,
    index: Index,
    watch: ClockWatch,
    blocked: Option<Blocked>,
    closing: Option<UserName>,
}

/// What explains why jobs wait but is not stored: a reader's state is told it by the deciding one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unstored {
    link_up: bool,
    blocked: Option<Blocked>,
    closing: Option<UserName>,
}

/// How long it is not asked again when something could be kept for a job for which nothing can.
const HOPELESS: Duration = Duration::from_secs(30);

impl State {
    /// An empty cluster.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            meta: Meta::default(),
            jobs: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            workers: BTreeMap::new(),
            keys: BTreeMap::new(),
            index: Index::default(),
            watch: ClockWatch::default(),
            blocked: None,
            closing: None,
        }
    }

    /// Takes over a committed change: how a state is loaded from the store and how replicas follow.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Job(job) => self.set_job(job),
            Change::JobDropped(id) => self.drop_job(id),
            Change::User(user) => self.set_user(*user),
            Change::Group(group) => self.set_group(*group),
            Change::GroupDropped(name) => self.drop_group(&name),
            Change::Worker(worker) => self.set_worker(worker),
            Change::WorkerDropped(id) => self.drop_worker(&id),
            Change::Key(key, job) => self.set_key(key, job),
            Change::Meta(meta) => self.meta = *meta,
        }
    }

    /// The changes to commit: what `dirty` names, as it is now.
    #[must_use]
    pub fn changes(&self, dirty: &Dirty) -> Vec<Change> {
        let jobs = dirty.jobs.iter().map(|id| match self.job(*id) {
            Some(job) => Change::Job(Arc::clone(job)),
            None => Change::JobDropped(*id),
        });
        let users = dirty
            .users
            .iter()
            .filter_map(|name| self.user(name).cloned())
            .map(|user| Change::User(Box::new(user)));
        let groups = dirty.groups.iter().map(|name| match self.group(name) {
            Some(group) => Change::Group(Box::new(group.clone())),
            None => Change::GroupDropped(name.clone()),
        });
        let workers = dirty.workers.iter().map(|id| match self.worker(id) {
            Some(worker) => Change::Worker(Arc::clone(worker)),
            None => Change::WorkerDropped(id.clone()),
        });
        let keys = dirty
            .keys
            .iter()
            .map(|(key, job)| Change::Key(Arc::clone(key), *job));
        let meta = dirty
            .meta
            .then(|| Change::Meta(Box::new(self.meta.clone())));
        jobs.chain(groups)
            .chain(users)
            .chain(workers)
            .chain(keys)
            .chain(meta)
            .collect()
    }

    /// For looking ahead: nobody in it falls silent, no start waits for another's, and no run is forgotten of those
    /// that were learned from.
    pub(crate) fn into_lookahead(mut self) -> Self {
        self.settings.suspect_after = Duration::MAX;
        self.settings.lost_after = Duration::MAX;
        self.settings.starts_per_worker = u32::MAX;
        self.settings.history_max_jobs = usize::MAX;
        self.closing = None;
        self
    }

    /// The settings in force.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Counters and lock.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<&Arc<Job>> {
        self.jobs.get(&id)
    }

    /// Every job in memory, by id.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Arc<Job>> {
        self.jobs.values()
    }

    /// The jobs in memory with these ids.
    pub(crate) fn jobs_between(
        &self,
        ids: RangeInclusive<JobId>,
    ) -> impl DoubleEndedIterator<Item = &Arc<Job>> {
        self.jobs.range(ids).map(|(_, job)| job)
    }

    /// One user.
    #[must_use]
    pub fn user(&self, name: &UserName) -> Option<&User> {
        self.users.get(name)
    }

    /// Every user, by name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// One group.
    #[must_use]
    pub fn group(&self, name: &GroupName) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Every group, by name.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// Who is in a group, by name.
    pub fn members(&self, group: &GroupName) -> impl Iterator<Item = &UserName> {
        let group_state = self.index.group_state(group);
        group_state
            .into_iter()
            .flat_map(|group_state| &group_state.members)
    }

    /// One worker.
    #[must_use]
    pub fn worker(&self, id: &WorkerId) -> Option<&Arc<Worker>> {
        self.workers.get(id)
    }

    /// Every worker, by name.
    pub fn workers(&self) -> impl Iterator<Item = &Arc<Worker>> {
        self.workers.values()
    }

    /// The job that an idempotency key was given to.
    #[must_use]
    pub fn job_of_key(&self, key: &str) -> Option<JobId> {
        self.keys.get(key).copied()
    }
    /// When the worker was last heard from by this master; `None` before the first sign of life.
    #[must_use]
    pub fn last_heard(&self, worker: &WorkerId) -> Option<Timestamp> {
        self.watch.last_heard(worker)
    }

    pub(crate) const fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) const fn watch(&self) -> &ClockWatch {
        &self.watch
    }

    pub(crate) const fn watch_mut(&mut self) -> &mut ClockWatch {
        &mut self.watch
    }

    pub(crate) const fn meta_mut(&mut self) -> &mut Meta {
        &mut self.meta
    }

    pub(crate) fn set_link(&mut self, up: bool) {
        self.watch.set_link(up);
    }

    pub(crate) fn set_job(&mut self, job: Arc<Job>) {
        if let Some(old) = self.jobs.remove(&job.id) {
            self.index.remove(&old);
        }
        self.put_job(job);
    }

    fn put_job(&mut self, job: Arc<Job>) {
        let id = job.id;
        let ready = self.is_ready(&job);
        self.index.insert(&job, ready);
        let ended = job.state.is_finished();
        self.jobs.insert(id, job);
        if ended {
            self.file_dependents(id);
        }
    }

    pub(crate) fn drop_job(&mut self, id: JobId) {
        if let Some(old) = self.jobs.remove(&id) {
            self.index.remove(&old);
        }
        for key in self.index.keys_given_back(id) {
            self.keys.remove(&key);
        }
    }

    pub(crate) fn set_user(&mut self, user: User) {
        self.index.set_user(&user);
        self.users.insert(user.name.clone(), user);
    }

    pub(crate) fn set_group(&mut self, group: Group) {
        self.index.set_group(&group);
        self.groups.insert(group.name.clone(), group);
    }

    pub(crate) fn drop_group(&mut self, name: &GroupName) {
        self.index.drop_group(name);
        self.groups.remove(name);
    }

    pub(crate) fn set_worker(&mut self, worker: Arc<Worker>) {
        self.index
            .set_worker(&worker.id, Some(Arc::clone(&worker)), &self.settings.usage);
        self.workers.insert(worker.id.clone(), worker);
    }

    pub(crate) fn drop_worker(&mut self, id: &WorkerId) {
        self.workers.remove(id);
        self.index.set_worker(id, None, &self.settings.usage);
    }

    pub(crate) fn set_key(&mut self, key: Arc<str>, job: JobId) {
        self.index.key_taken(&key, job);
        self.keys.insert(key, job);
    }

    /// Changes a job in place; without effect on one that is not known.
    pub(crate) fn edit_job(&mut self, id: JobId, edit: impl FnOnce(&mut Job)) {
        let Some(mut job) = self.jobs.remove(&id) else {
            return;
        };
        self.index.remove(&job);
        edit(Arc::make_mut(&mut job));
        self.put_job(job);
    }

    /// The first job that cannot start, and what is kept for it, as of the last pass of this master.
    #[must_use]
    pub const fn blocked(&self) -> Option<&Blocked> {
        self.blocked.as_ref()
    }

    /// What a reader's state does not learn from changes.
    #[must_use]
    pub fn unstored(&self) -> Unstored {
        Unstored {
            link_up: self.watch.is_link_up(),
            blocked: self.blocked.clone(),
            closing: self.closing.clone(),
        }
    }

    /// Takes over what the deciding state knows besides its changes, so that both explain the same.
    pub fn set_unstored(&mut self, unstored: Unstored) {
        self.set_link(unstored.link_up);
        self.blocked = unstored.blocked;
        self.closing = unstored.closing;
    }

    /// Who asked the deciding master to end, since when it starts nothing.
    #[must_use]
    pub const fn closing(&self) -> Option<&UserName> {
        self.closing.as_ref()
    }

    pub(crate) fn set_closing(&mut self, by: UserName) {
        self.closing = Some(by);
    }

    /// Takes other settings. Rates of nodes follow; attempts keep the rate that they were placed with.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
        let workers: Vec<Arc<Worker>> = self.workers.values().cloned().collect();
        for worker in workers {
            self.set_worker(worker);
        }
        // What was planned by the former settings is planned again.
        self.blocked = None;
    }

    /// Whether it was found lately that nothing can be kept for the first job that cannot start.
    pub(crate) fn reservation_known_impossible(&self, now: Timestamp) -> bool {
        match &self.blocked {
            Some(Blocked::Unreservable(job, at)) => {
                let waits = self.jobs.get(job).is_some_and(|job| self.is_ready(job));
                waits && now.since(*at) < HOPELESS
            }
            Some(Blocked::Reserved(_) | Blocked::Awaited(_)) | None => false,
        }
    }

    pub(crate) fn set_blocked(&mut self, blocked: Option<Blocked>) {
        self.blocked = blocked;
    }

    /// Whether a waiting job waits for nothing but a machine.
    pub(crate) fn is_ready(&self, job: &Job) -> bool {
        match &job.state {
            JobState::Queued(queued) => {
                queued.hold.is_none() && queued.not_before.is_none() && self.dependencies_hold(job)
            }
            JobState::Array(array) => {
                let most = job.spec.array.as_ref().and_then(|spec| spec.max_running);
                array.hold.is_none()
                    && array.stopping.is_none()
                    && !array.waiting.is_empty()
                    && most.is_none_or(|most| array.open < most)
                    && self.dependencies_hold(job)
            }
            JobState::Active(..) | JobState::Finished(_) => false,
        }
    }

    fn dependencies_hold(&self, job: &Job) -> bool {
        let mut after = job.waits_after().iter();
        after.all(|dependency| self.dependency_status(*dependency) == DependencyStatus::Satisfied)
    }

    /// How it stands with a dependency.
    pub(crate) fn dependency_status(&self, dependency: Dependency) -> DependencyStatus {
        let Some(job) = self.jobs.get(&dependency.job) else {
            return DependencyStatus::Pending;
        };
        let Some(finished) = job.state.finished() else {
            return DependencyStatus::Pending;
        };
        match dependency.kind {
            DependencyKind::Ok if finished.outcome.cause != Cause::Succeeded => {
                DependencyStatus::Impossible
            }
            DependencyKind::Any | DependencyKind::Ok => DependencyStatus::Satisfied,
        }
    }

    fn file_dependents(&mut self, ended: JobId) {
        let dependents: Vec<JobId> = self.index.dependents(ended).collect();
        for id in dependents {
            if let Some(job) = self.jobs.get(&id) {
                let ready = self.is_ready(job);
                self.index.remove(job);
                self.index.insert(job, ready);
            }
        }
    }
}

/// How it stands with a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DependencyStatus {
    /// The other job ended as required.
    Satisfied,
    /// The other job has not ended.
    Pending,
    /// The other job ended otherwise.
    Impossible,
}

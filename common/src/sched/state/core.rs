//! What the scheduler knows. Its collections are ordered; its indexes are derived and never stored.
//!
//! Every change of a job, user or worker goes through the `set_…` functions here, whether it comes from
//! a step or from the store, so that the indexes cannot go stale. Deciding what changes is left to
//! [`super::step()`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{GroupName, JobId, UserName, WorkerId};
use crate::job::{Cause, Dependency, DependencyKind, Job, JobState, Phase};
use crate::resources::Allocation;
use crate::time::Timestamp;

use crate::sched::events::group::Group;
use crate::sched::fit::reserve::{Openings, Plan, Reservation};
use crate::sched::fit::score::Rankings;
use crate::sched::model::effect::Change;
use crate::sched::model::entities::{Meta, User, Worker};
use crate::sched::model::settings::{Guards, Settings};
use crate::sched::model::shape::ShapeId;
use crate::sched::place::news::{News, Recent};
use crate::sched::place::planner::avoided;
use crate::sched::state::clock_watch::Watch;
use crate::sched::state::counts::Tally;
use crate::sched::state::index::Index;
use crate::sched::state::node_load::is_starting;

/// The scheduler's whole memory; also what readers and a standby keep, fed by committed changes.
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
    watch: Watch,
    news: News,
    rankings: Rankings,
    openings: Openings,
    blocked: Option<Blocked>,
}

/// The first job that cannot start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// A place is kept for it.
    Reserved(Reservation),
    /// The whole queue waits for it.
    Awaited(JobId),
    /// Nothing can be kept for it, because no machine that is up could run it, whatever ends there; as of then.
    Unknown(JobId, Timestamp),
}

/// What explains why jobs wait but is not stored: a reader's state is told it by the deciding one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unstored {
    link_up: bool,
    blocked: Option<Blocked>,
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
            watch: Watch::default(),
            news: News::default(),
            rankings: Rankings::default(),
            openings: Openings::default(),
            blocked: None,
        }
    }

    /// Takes over a committed change: how a state is loaded from the store and how replicas follow.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Job(job) => self.set_job(job),
            Change::JobDropped(id) => self.drop_job(id),
            Change::User(user) => self.set_user(user),
            Change::Group(group) => self.set_group(group),
            Change::GroupDropped(name) => self.drop_group(&name),
            Change::Worker(worker) => self.set_worker(worker),
            Change::WorkerDropped(id) => self.drop_worker(&id),
            Change::Key(key, job) => self.set_key(key, job),
            Change::Meta(meta) => self.meta = meta,
        }
    }

    /// For looking ahead: nobody in it falls silent, no start waits for another's, and no run is forgotten of those
    /// that were learned from.
    pub(crate) fn into_lookahead(mut self) -> Self {
        self.settings.suspect_after = Duration::MAX;
        self.settings.lost_after = Duration::MAX;
        self.settings.starts_per_worker = u32::MAX;
        self.settings.history_max_jobs = usize::MAX;
        self.news.anything();
        self
    }

    /// The settings it was made with.
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
        let team = self.index.team(group);
        team.into_iter().flat_map(|team| &team.members)
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

    pub(crate) const fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) const fn watch_mut(&mut self) -> &mut Watch {
        &mut self.watch
    }

    pub(crate) const fn meta_mut(&mut self) -> &mut Meta {
        &mut self.meta
    }

    pub(crate) const fn news(&self) -> &News {
        &self.news
    }

    pub(crate) const fn news_mut(&mut self) -> &mut News {
        &mut self.news
    }

    /// What could start, now that this is kept for a job; `None` is anything.
    pub(crate) fn take_news(&mut self, now: Timestamp, kept: Option<&Plan>) -> Option<Recent> {
        self.news.take(&self.index, now, kept)
    }

    /// A walk over the waiting jobs has ended, as [`News::settle`] says.
    pub(crate) fn settle_news(&mut self, now: Timestamp, kept: Option<Plan>, is_cut: bool) {
        self.news.settle(&self.index, now, kept, is_cut);
    }

    pub(crate) fn set_link(&mut self, up: bool) {
        self.watch.set_link(up);
        self.news.anything();
    }

    pub(crate) fn set_job(&mut self, job: Arc<Job>) {
        let id = job.id;
        if let Some(old) = self.jobs.remove(&id) {
            self.index.remove(&old);
            self.news.anything();
        }
        if self.put_job(job) {
            self.news.job(id);
        }
    }

    /// Enters a job. Whether it waits for nothing but a machine.
    fn put_job(&mut self, job: Arc<Job>) -> bool {
        let id = job.id;
        let ready = self.is_ready(&job);
        self.index.insert(&job, ready);
        let ended = job.state.phase() == Phase::Finished;
        self.jobs.insert(id, job);
        if ended {
            self.file_dependents(id);
        }
        ready
    }

    pub(crate) fn drop_job(&mut self, id: JobId) {
        if let Some(old) = self.jobs.remove(&id) {
            self.index.remove(&old);
            self.news.learned(&old.user);
        }
        for key in self.index.keys_given_back(id) {
            self.keys.remove(&key);
        }
    }

    pub(crate) fn set_user(&mut self, user: User) {
        self.index.set_user(&user);
        let limits = |user: &User| (user.guards.clone(), user.group.clone());
        let before = self.users.get(&user.name).map(limits);
        if before.unwrap_or_default() != limits(&user) {
            self.news.anything();
        }
        self.users.insert(user.name.clone(), user);
    }

    pub(crate) fn set_group(&mut self, group: Group) {
        self.index.set_group(&group);
        self.groups.insert(group.name.clone(), group);
        self.news.anything();
    }

    pub(crate) fn drop_group(&mut self, name: &GroupName) {
        self.index.drop_group(name);
        self.groups.remove(name);
        self.news.anything();
    }

    pub(crate) fn set_worker(&mut self, worker: Arc<Worker>) {
        self.index
            .set_worker(&worker.id, Some(Arc::clone(&worker)), &self.settings.usage);
        self.workers.insert(worker.id.clone(), worker);
        self.news.anything();
    }

    pub(crate) fn drop_worker(&mut self, id: &WorkerId) {
        self.workers.remove(id);
        self.index.set_worker(id, None, &self.settings.usage);
        self.news.anything();
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
        let was_ready = self.index.remove(&job);
        let (attempt, before) = (job.attempt(), Tally::of(&job));
        let (started, was_starting) = (started_at(&job), is_starting(&job.state));
        edit(Arc::make_mut(&mut job));
        // An attempt that goes on holds what it held, so that no job can start for it, unless its machine
        // had as many starting containers as it may.
        let goes_on = attempt.is_some() && attempt == job.attempt();
        let starts = job.state.active().and_then(|active| {
            let room = self.index.room(&active.worker)?;
            Some(room.starting.saturating_add(1) >= self.settings.starts_per_worker)
        });
        let frees_a_start = was_starting && !is_starting(&job.state) && starts != Some(false);
        // What is expected to end later leaves others more time before a place that is kept there.
        let defers = started_at(&job) != started && self.is_kept(&job);
        if !goes_on || frees_a_start || defers {
            self.news.stir();
        }
        let after = Tally::of(&job);
        if after.active < before.active || after.gpus < before.gpus {
            self.let_have_more(&job.user);
        }
        if job.state.phase() == Phase::Finished {
            self.news.learned(&job.user);
        }
        if self.put_job(job) && !was_ready {
            self.news.job(id);
        }
    }

    /// Whether a place is kept on the machine of the job's attempt.
    fn is_kept(&self, job: &Job) -> bool {
        let kept = match &self.blocked {
            Some(Blocked::Reserved(kept)) => &kept.worker,
            Some(Blocked::Awaited(_) | Blocked::Unknown(..)) | None => return false,
        };
        let active = job.state.active();
        active.is_some_and(|active| active.worker == *kept)
    }

    /// A user holds less than before, so that guards and floors let them, and their group, have more.
    fn let_have_more(&mut self, name: &UserName) {
        let is_guarded = |guards: &Guards| {
            guards.max_gpus.is_some() || guards.max_running.is_some() || guards.floor.is_some()
        };
        let Some(user) = self.users.get(name) else {
            return;
        };
        let group = user.group.as_ref().and_then(|group| self.groups.get(group));
        if group.is_some_and(|group| is_guarded(&group.guards)) {
            self.news.anything();
        } else if is_guarded(&user.guards) {
            self.news.user(name);
        }
    }

    /// Whether any machine has room for jobs of this shape now.
    pub(crate) fn has_room(&mut self, shape: ShapeId) -> bool {
        self.rankings.has_room(&self.index, &self.settings, shape)
    }

    /// Which of the shapes some of these machines have room for now.
    pub(crate) fn fitting(
        &mut self,
        shapes: impl Iterator<Item = ShapeId>,
        workers: &BTreeSet<WorkerId>,
    ) -> BTreeSet<ShapeId> {
        let (index, settings) = (&self.index, &self.settings);
        self.rankings.fitting(index, settings, shapes, workers)
    }

    /// The best machine for a waiting job now but for one, and what it would hold there.
    pub(crate) fn choose(
        &mut self,
        id: JobId,
        shape: ShapeId,
        but: Option<&WorkerId>,
    ) -> Option<(WorkerId, Allocation)> {
        let job = Arc::clone(self.jobs.get(&id)?);
        let avoid = avoided(self, &job).cloned();
        let (index, settings) = (&self.index, &self.settings);
        let avoid = [avoid.as_ref(), but];
        self.rankings.best(index, settings, shape, &job, avoid)
    }

    /// The earliest reservation for a job, as [`Openings::reserve`] says.
    pub(crate) fn reserve(
        &mut self,
        now: Timestamp,
        job: &Job,
        before: Option<&Reservation>,
    ) -> Option<Reservation> {
        let mut openings = std::mem::take(&mut self.openings);
        let reservation = openings.reserve(self, now, job, before);
        self.openings = openings;
        reservation
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
        }
    }

    /// Takes over what the deciding state knows besides its changes, so that both explain the same.
    pub fn set_unstored(&mut self, unstored: Unstored) {
        self.set_link(unstored.link_up);
        self.blocked = unstored.blocked;
    }

    /// Whether it was found lately that nothing can be kept for the first job that cannot start.
    pub(crate) fn is_hopeless(&self, now: Timestamp) -> bool {
        match &self.blocked {
            Some(Blocked::Unknown(job, at)) => {
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
            JobState::Assigned(_)
            | JobState::Building(_)
            | JobState::Running(_)
            | JobState::Paused(_)
            | JobState::Stopping(..)
            | JobState::Finished(_) => false,
        }
    }

    fn dependencies_hold(&self, job: &Job) -> bool {
        let mut after = job.waits_after().iter();
        after.all(|dependency| self.standing_of(*dependency) == Standing::Holds)
    }

    /// How it stands with a dependency.
    pub(crate) fn standing_of(&self, dependency: Dependency) -> Standing {
        let Some(job) = self.jobs.get(&dependency.job) else {
            return Standing::Open;
        };
        match (&job.state, dependency.kind) {
            (JobState::Finished(_), DependencyKind::Any) => Standing::Holds,
            (JobState::Finished(finished), DependencyKind::Ok) => match finished.outcome.cause {
                Cause::Succeeded => Standing::Holds,
                _ => Standing::Impossible,
            },
            (
                JobState::Queued(_)
                | JobState::Array(_)
                | JobState::Assigned(_)
                | JobState::Building(_)
                | JobState::Running(_)
                | JobState::Paused(_)
                | JobState::Stopping(..),
                DependencyKind::Any | DependencyKind::Ok,
            ) => Standing::Open,
        }
    }

    fn file_dependents(&mut self, ended: JobId) {
        let dependents: Vec<JobId> = self.index.dependents(ended).collect();
        for id in dependents {
            if let Some(job) = self.jobs.get(&id) {
                let ready = self.is_ready(job);
                let was_ready = self.index.remove(job);
                self.index.insert(job, ready);
                if ready && !was_ready {
                    self.news.job(id);
                }
            }
        }
    }
}

/// How it stands with a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The other job ended as required.
    Holds,
    /// The other job has not ended.
    Open,
    /// The other job ended otherwise.
    Impossible,
}

fn started_at(job: &Job) -> Option<Timestamp> {
    job.state.active()?.started_at
}

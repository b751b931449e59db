//! What is learned from the finished jobs in memory: how long jobs of a user and name took, on each model of
//! GPU and in all.
//!
//! Only runs that succeeded are learned from: one that failed or was stopped says when it was cut off, not how
//! long such a job takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::id::UserName;
use crate::job::{Cause, Job};

use super::sketch::Sketch;

/// Nothing is concluded from fewer runs.
const RUNS_MIN: u32 = 3;

/// How long jobs took. Derived, never stored; its size is bounded by that of the history.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Learned {
    all: Runs,
    by_user: BTreeMap<UserName, BTreeMap<String, OfName>>,
}

/// Runs of jobs of one user and name.
#[derive(Debug, Clone, Default, PartialEq)]
struct OfName {
    all: Runs,
    by_model: BTreeMap<Arc<str>, Runs>,
}

/// Runs, and what follows from them; found when runs come and go, because it is asked for more often.
#[derive(Debug, Clone, Default, PartialEq)]
struct Runs {
    sketch: Sketch,
    lengths: Option<RunTimes>,
}

/// What is known of how long some jobs take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunTimes {
    /// Half of them take no longer.
    pub(crate) median: Duration,
    /// Nine of ten take no longer.
    pub(crate) ninth_tenth: Duration,
    /// From how many runs that is known.
    pub(crate) runs: u32,
}

impl RunTimes {
    fn of(sketch: &Sketch) -> Option<Self> {
        Some(Self {
            median: sketch.percentile(50)?,
            ninth_tenth: sketch.percentile(90)?,
            runs: sketch.len(),
        })
    }
}

impl Runs {
    fn change(&mut self, change: impl FnOnce(&mut Sketch)) {
        change(&mut self.sketch);
        self.lengths = RunTimes::of(&self.sketch);
    }

    fn enough(&self) -> Option<RunTimes> {
        self.lengths.filter(|lengths| lengths.runs >= RUNS_MIN)
    }
}

impl Learned {
    /// Enters a job; without effect on one that nothing is learned from.
    pub(crate) fn insert(&mut self, job: &Job) {
        let Some((ran, model)) = run_of(job) else {
            return;
        };
        self.all.change(|sketch| sketch.add(ran));
        let names = self.by_user.entry(job.user.clone()).or_default();
        let of_name = names.entry(job.spec.name.clone()).or_default();
        of_name.all.change(|sketch| sketch.add(ran));
        if let Some(model) = model {
            let runs = of_name.by_model.entry(Arc::clone(model)).or_default();
            runs.change(|sketch| sketch.add(ran));
        }
    }

    /// Takes a job out again; it must be as it was entered.
    pub(crate) fn remove(&mut self, job: &Job) {
        let Some((ran, model)) = run_of(job) else {
            return;
        };
        self.all.change(|sketch| sketch.remove(ran));
        let Some(names) = self.by_user.get_mut(&job.user) else {
            return;
        };
        let Some(of_name) = names.get_mut(&job.spec.name) else {
            return;
        };
        of_name.all.change(|sketch| sketch.remove(ran));
        if let Some(model) = model
            && let Some(runs) = of_name.by_model.get_mut(model)
        {
            runs.change(|sketch| sketch.remove(ran));
            if runs.sketch.len() == 0 {
                of_name.by_model.remove(model);
            }
        }
        if of_name.all.sketch.len() == 0 {
            names.remove(&job.spec.name);
        }
        if names.is_empty() {
            self.by_user.remove(&job.user);
        }
    }

    /// How long a user's jobs of this name take: on that model of GPU, or on any when too few ran there.
    pub(crate) fn of(&self, user: &UserName, name: &str, model: Option<&str>) -> Option<RunTimes> {
        let of_name = self.by_user.get(user)?.get(name)?;
        let on_model = model.and_then(|model| of_name.by_model.get(model)?.enough());
        on_model.or_else(|| of_name.all.enough())
    }

    /// What is known of all jobs together.
    pub(crate) const fn of_all(&self) -> Option<RunTimes> {
        self.all.lengths
    }
}

/// The run to learn from, and on which model of GPU it was; `None` of a job that says nothing. One that may have
/// gone on from a checkpoint of an earlier attempt does not say how long a whole run takes.
fn run_of(job: &Job) -> Option<(Duration, Option<&Arc<str>>)> {
    let finished = job.state.finished()?;
    let last = finished.last.as_ref()?;
    let is_whole = last.attempt == 1 || !job.spec.preemptible;
    let is_run = finished.outcome.cause == Cause::Succeeded && !finished.ran.is_zero();
    (is_run && is_whole).then_some((finished.ran, last.gpu_model.as_ref()))
}

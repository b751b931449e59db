//! What users, and groups of them, have at once: counted as jobs come and go, so that no limit is found by
//! looking at jobs.

use std::collections::BTreeSet;

use crate::id::UserName;
use crate::job::{Job, JobState};
use crate::resources::MilliGpu;

use crate::sched::model::entities::Group;

/// What a user or a group has at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// How many runs wait, each task of an array for itself.
    pub(crate) queued: u64,
    /// How many hold something of a machine.
    pub(crate) active: u32,
    /// Thousandths of GPUs that those hold.
    pub(crate) gpus: u64,
    /// Thousandths of them that are held by attempts which are being stopped.
    pub(crate) leaving: u64,
}

impl Counts {
    /// What one job adds.
    pub(crate) fn of(job: &Job) -> Self {
        let mut counts = Self {
            queued: u64::from(job.state.waiting()),
            ..Self::default()
        };
        if let JobState::Active(active, stage) = &job.state
            && let Some(held) = active.held()
        {
            counts.active = 1;
            counts.gpus = held.milli_gpus();
            if stage.stopping().is_some() {
                counts.leaving = counts.gpus;
            }
        }
        counts
    }

    pub(crate) const fn add(&mut self, more: Self) {
        self.queued += more.queued;
        self.active += more.active;
        self.gpus += more.gpus;
        self.leaving += more.leaving;
    }

    /// Takes away what was added before.
    pub(crate) const fn take(&mut self, less: Self) {
        self.queued -= less.queued;
        self.active -= less.active;
        self.gpus -= less.gpus;
        self.leaving -= less.leaving;
    }
}

/// One group's members and what they have together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupState {
    /// False while only users that name it are known.
    pub(crate) is_known: bool,
    /// A copy of the group's.
    pub(crate) weight: f64,
    /// A copy of the group's.
    pub(crate) floor: Option<MilliGpu>,
    pub(crate) members: BTreeSet<UserName>,
    pub(crate) counts: Counts,
}

impl Default for GroupState {
    fn default() -> Self {
        Self {
            is_known: false,
            weight: 1.0,
            floor: None,
            members: BTreeSet::new(),
            counts: Counts::default(),
        }
    }
}

impl GroupState {
    /// Takes over what the group says, or that there is no such group.
    pub(crate) fn set_group(&mut self, group: Option<&Group>) {
        self.is_known = group.is_some();
        self.weight = group.map_or(1.0, |group| group.weight);
        self.floor = group.and_then(|group| group.guards.floor);
    }

    pub(crate) fn is_unused(&self) -> bool {
        !self.is_known && self.members.is_empty()
    }
}

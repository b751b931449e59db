//! Where users and groups stand, by what they have had.
//!
//! There are two levels. At the top stand the groups and the users without one, side by side: each has its
//! share of the cluster by its weight, and what one member of a group does counts against all of it. Whose
//! turn it is within a group its members decide among themselves, in the same way. That is the idea of Slurm's
//! Fair Tree: siblings are ranked, and each one's own come after it in their own order.
//!
//! What stands is a penalty by its weight, with what the next job asks for and how long it has waited. Before
//! all that goes a job within a floor ([`crate::sched::rank::floor`]). How the levels become one order is left to
//! [`crate::sched::rank::order`].

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::id::GroupName;
use crate::resources::{GpuAmount, MilliGpu, Request};
use crate::time::Timestamp;

use crate::sched::model::settings::{Policy, Settings};
use crate::sched::rank::account::unweighted;
use crate::sched::rank::floor::{Besides, floor_of};
use crate::sched::state::core::State;
use crate::sched::state::user_queue::Desk;

/// Where the next job of a user stands among its like; the lower, the sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// False goes first.
    pub(crate) is_past_floor: bool,
    value: Value,
}

/// A number that ranks. Ordered totally, so that none can upset the order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value(f64);

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// What a request comes to before a machine is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// The part of the cluster's GPUs.
    part: f64,
    /// Thousandths of GPUs. Slots are counted as of the GPUs that have most of them.
    pub(crate) milli: u64,
}

impl Asked {
    /// Which of two asks for less of the cluster.
    pub(crate) fn cmp_part(&self, other: &Self) -> Ordering {
        self.part.total_cmp(&other.part)
    }

    pub(crate) fn by(state: &State, request: &Request) -> Self {
        let (gpus, slots) = state.index().gpus_and_slots();
        let slots = slots.max(1);
        let whole = u64::from(MilliGpu::WHOLE.0);
        let (each, milli) = match request.gpu_amount {
            GpuAmount::Milli(milli) => (f64::from(milli.0) / 1000.0, u64::from(milli.0)),
            GpuAmount::Slots(count) => (
                f64::from(count) / f64::from(slots),
                whole * u64::from(count) / u64::from(slots),
            ),
        };
        Self {
            part: f64::from(request.gpus) * each.min(1.0) / f64::from(gpus.max(1)),
            milli: u64::from(request.gpus) * milli.min(whole),
        }
    }
}

/// What the next job adds to a penalty.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Added {
    /// What it asks for counts against it.
    pub(crate) ask: f64,
    /// How long it has waited counts for it.
    pub(crate) aging: f64,
}

impl Added {
    fn sum(self) -> f64 {
        self.ask - self.aging
    }
}

/// Where a user stands with one job next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// Among the members of their group, or at the top for one without.
    pub(crate) rank: Rank,
    /// What the job itself adds, at either level.
    pub(crate) added: Value,
}

/// Ranks users and groups at one instant.
#[derive(Debug)]
pub(crate) struct Ranks {
    now: Timestamp,
    /// Empty where there are no groups.
    teams: BTreeMap<GroupName, Together>,
}

/// What counts for a group.
#[derive(Debug)]
struct Together {
    /// What its members have had.
    had: f64,
    weight: f64,
    has_floor: bool,
    /// Thousandths of GPUs that are counted as held by members besides those that are.
    besides: u64,
    /// Whether what its members hold, or are counted as holding, has changed since.
    has_moved: bool,
}

impl Together {
    fn penalty(&self) -> f64 {
        self.had / self.weight
    }
}

impl Ranks {
    pub(crate) fn new(state: &State, now: Timestamp) -> Self {
        let index = state.index();
        let mut teams = BTreeMap::new();
        if !index.teams().is_empty() {
            teams.extend(index.teams().iter().map(|(name, team)| {
                let together = Together {
                    had: 0.0,
                    weight: team.weight,
                    has_floor: team.floor.is_some(),
                    besides: 0,
                    has_moved: false,
                };
                (name.clone(), together)
            }));
            for (_, desk) in index.desks() {
                let together = desk.group.as_ref().and_then(|name| teams.get_mut(name));
                if let Some(together) = together {
                    together.had += unweighted(state, now, desk);
                }
            }
        }
        Self { now, teams }
    }

    /// Where a user with this penalty stands with a job next that asks for this and waits since
    /// `submitted_at`.
    pub(crate) fn standing(
        &self,
        settings: &Settings,
        penalty: f64,
        is_past_floor: bool,
        asked: Asked,
        submitted_at: Timestamp,
    ) -> Standing {
        let added = self.added(settings, asked, submitted_at).sum();
        let rank = Rank {
            is_past_floor,
            value: Value(penalty + added),
        };
        let added = Value(added);
        Standing { rank, added }
    }

    /// What a job next adds to a penalty. The other policies than `usage` rank by penalties alone.
    pub(crate) fn added(
        &self,
        settings: &Settings,
        asked: Asked,
        submitted_at: Timestamp,
    ) -> Added {
        match settings.policy {
            Policy::Recency | Policy::Fifo => Added::default(),
            Policy::Usage => {
                let usage = &settings.usage;
                let waited = self.now.since(submitted_at).as_secs_f64();
                let aged = (waited / usage.aging_after.as_secs_f64()).min(1.0);
                Added {
                    ask: usage.ask_weight * asked.part,
                    aging: usage.aging * aged,
                }
            }
        }
    }

    /// Whether a job that asks for this is not within a floor; `besides` is what its user is counted as
    /// holding besides what they do.
    pub(crate) fn is_past_floor(
        &self,
        state: &State,
        desk: &Desk,
        besides: u64,
        asked: Asked,
    ) -> bool {
        let besides = Besides {
            user: besides,
            group: self.together(desk).map_or(0, |together| together.besides),
        };
        floor_of(state.index(), desk, besides, asked).is_none()
    }

    /// Where a group stands at the top with the job next that stands so among its members.
    pub(crate) fn at_the_top(&self, group: &GroupName, rank: Rank, added: Value) -> Rank {
        self.teams.get(group).map_or(rank, |together| Rank {
            value: Value(together.penalty() + added.0),
            ..rank
        })
    }

    /// The penalty of the group that the user of a desk is in.
    pub(crate) fn group_penalty(&self, desk: &Desk) -> Option<f64> {
        self.together(desk).map(Together::penalty)
    }

    /// What the user of a desk has had, if that counts for a group: to be given to [`Self::charge`] later.
    pub(crate) fn had(&self, state: &State, desk: &Desk) -> Option<f64> {
        let is_grouped = desk.group.is_some();
        is_grouped.then(|| unweighted(state, self.now, desk))
    }

    /// Takes note that the user of a desk, who had `had` before, was given a machine.
    pub(crate) fn charge(&mut self, state: &State, desk: &Desk, had: Option<f64>) {
        let now = self.now;
        if let (Some(together), Some(had)) = (self.together_mut(desk), had) {
            together.had += unweighted(state, now, desk) - had;
            together.has_moved = true;
        }
    }

    /// Counts a job as held by its user's group, as if it had been given a machine.
    pub(crate) fn count(&mut self, desk: &Desk, asked: Asked) {
        if let Some(together) = self.together_mut(desk) {
            together.besides += asked.milli;
            together.has_moved = true;
        }
    }

    /// Whether others of the same group may have used up a floor since the user of a desk was ranked.
    pub(crate) fn has_moved(&self, desk: &Desk) -> bool {
        let together = self.together(desk);
        together.is_some_and(|together| together.has_floor && together.has_moved)
    }

    fn together(&self, desk: &Desk) -> Option<&Together> {
        self.teams.get(desk.group.as_ref()?)
    }

    fn together_mut(&mut self, desk: &Desk) -> Option<&mut Together> {
        self.teams.get_mut(desk.group.as_ref()?)
    }
}

//! What users, and groups of them, may have at once. Submitting, placing, preempting and explaining ask here,
//! so that they cannot disagree.

use crate::id::{GroupName, UserName};

use crate::sched::model::event::Rejected;
use crate::sched::model::settings::Guards;
use crate::sched::state::core::State;
use crate::sched::state::counts::Counts;

/// Why guards keep a job back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guarded {
    /// The group whose guards they are; `None` for the user's own.
    pub(crate) group: Option<GroupName>,
    pub(crate) limit: Limit,
}

/// The limit that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// As many jobs run as may.
    Running {
        /// How many may.
        max: u32,
    },
    /// More GPUs would be held than may be.
    Gpus {
        /// Thousandths that may be.
        max: u32,
    },
}

/// Guards that hold for a user, and what counts against them.
struct Guard<'a> {
    group: Option<&'a GroupName>,
    guards: &'a Guards,
    counts: Counts,
}

/// The user's own guards and their group's.
fn guards<'a>(state: &'a State, user: &UserName) -> impl Iterator<Item = Guard<'a>> {
    let known = state.user(user);
    let own = known.map(|user| Guard {
        group: None,
        guards: &user.guards,
        counts: state
            .index()
            .user_queue(&user.name)
            .map_or_else(Counts::default, |user_queue| user_queue.counts),
    });
    let group = known.and_then(|user| user.group.as_ref());
    let group = group
        .and_then(|group| state.group(group))
        .map(|group| Guard {
            group: Some(&group.name),
            guards: &group.guards,
            counts: state
                .index()
                .group_state(&group.name)
                .map_or_else(Counts::default, |group_state| group_state.counts),
        });
    own.into_iter().chain(group)
}

impl Guard<'_> {
    fn reached(&self, limit: Limit) -> Guarded {
        Guarded {
            group: self.group.cloned(),
            limit,
        }
    }

    fn may_run(&self) -> Result<(), Guarded> {
        match self.guards.max_running {
            Some(max) if self.counts.active >= max => Err(self.reached(Limit::Running { max })),
            _ => Ok(()),
        }
    }

    fn may_hold(&self, more: u64) -> Result<(), Guarded> {
        match self.guards.max_gpus {
            Some(max) if more > 0 && self.counts.gpus + more > u64::from(max.0) => {
                Err(self.reached(Limit::Gpus { max: max.0 }))
            }
            _ => Ok(()),
        }
    }
}

/// Whether one more job of the user may wait, or an array of so many tasks.
pub(crate) fn may_wait(state: &State, user: &UserName, tasks: Option<u32>) -> Result<(), Rejected> {
    let more = u64::from(tasks.unwrap_or(1));
    guards(state, user).try_for_each(|guard| {
        let queued = guard.counts.queued;
        match guard.guards.max_queued {
            Some(max) if queued.saturating_add(more) > u64::from(max) => {
                let who = guard.group.map_or_else(
                    || "you have".to_owned(),
                    |group| format!("your group {group} has"),
                );
                let these = tasks.map(|tasks| format!(", and these are {tasks} more"));
                let these = these.unwrap_or_default();
                let text = format!("{who} {queued} jobs waiting and may have {max}{these}");
                Err(Rejected::Guarded(text))
            }
            _ => Ok(()),
        }
    })
}

/// Whether the user may run one more job.
pub(crate) fn may_run(state: &State, user: &UserName) -> Result<(), Guarded> {
    guards(state, user).try_for_each(|guard| guard.may_run())
}

/// Whether the user may hold so many more thousandths of GPUs.
pub(crate) fn may_hold(state: &State, user: &UserName, more: u64) -> Result<(), Guarded> {
    guards(state, user).try_for_each(|guard| guard.may_hold(more))
}

/// Everything that keeps a job of the user back which would hold so many thousandths of GPUs: of each guard
/// its first limit that is reached.
pub(crate) fn guarded(state: &State, user: &UserName, more: u64) -> Vec<Guarded> {
    let limits =
        guards(state, user).map(|guard| guard.may_run().and_then(|()| guard.may_hold(more)));
    limits.filter_map(Result::err).collect()
}

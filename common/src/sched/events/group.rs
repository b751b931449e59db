//! Groups: users who have one share of the cluster together, and what an admin sets of users and groups.
//! Where groups rank is left to [`crate::sched::rank::ranks`], what their guards forbid to [`crate::sched::fit::guard`].

use crate::id::{GroupName, UserName};
use crate::resources::MilliGpu;

use crate::sched::events::step::Step;
use crate::sched::events::submit::listed;
use crate::sched::model::event::{Membership, Rejected};
use crate::sched::model::settings::Guards;
use crate::sched::state::core::State;

/// What the scheduler knows of a group. Who is in it, its users say.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Which.
    pub name: GroupName,
    /// More than 1 means more than an equal share.
    pub weight: f64,
    /// Limits of all members together.
    pub guards: Guards,
}

/// What the members of a group have together now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Jobs that wait, each task of an array for itself.
    pub queued: u64,
    /// Jobs that have a machine.
    pub running: u64,
    /// Thousandths of GPUs that those hold.
    pub gpus_milli: u64,
}

/// What the members of a group have together now; nothing for one that is not known.
#[must_use]
pub fn group_holdings_of(state: &State, name: &GroupName) -> Holdings {
    let team = state.index().team(name);
    team.map_or_else(Holdings::default, |team| Holdings {
        queued: team.tally.queued,
        running: u64::from(team.tally.active),
        gpus_milli: team.tally.gpus,
    })
}

impl Step<'_> {
    pub(crate) fn user_set(
        &mut self,
        user: &UserName,
        weight: f64,
        guards: Guards,
        membership: Membership,
    ) -> Result<(), Rejected> {
        check(weight, &guards)?;
        if let Membership::Of(group) = &membership
            && self.state.group(group).is_none()
        {
            let groups = self.state.groups().map(|group| group.name.to_string());
            let there = listed(groups.collect()).unwrap_or_else(|| "none".to_owned());
            let text = format!("there is no group {group}; groups there are: {there}");
            return Err(Rejected::Invalid(text));
        }
        self.edit_user(user, |user| {
            user.weight = weight;
            user.guards = guards;
            match membership {
                Membership::Kept => {}
                Membership::None => user.group = None,
                Membership::Of(group) => user.group = Some(group),
            }
        });
        Ok(())
    }

    pub(crate) fn group_set(
        &mut self,
        name: GroupName,
        weight: f64,
        guards: Guards,
    ) -> Result<(), Rejected> {
        check(weight, &guards)?;
        self.effects.dirty.groups.insert(name.clone());
        self.state.set_group(Group {
            name,
            weight,
            guards,
        });
        Ok(())
    }

    pub(crate) fn group_removed(&mut self, name: &GroupName) -> Result<(), Rejected> {
        if self.state.group(name).is_none() {
            return Err(Rejected::NoSuchGroup(name.clone()));
        }
        let members = self.state.members(name).map(ToString::to_string);
        if let Some(members) = listed(members.collect()) {
            return Err(Rejected::GroupInUse {
                group: name.clone(),
                members,
            });
        }
        self.effects.dirty.groups.insert(name.clone());
        self.state.drop_group(name);
        Ok(())
    }
}

/// Whether a user or a group may be given this.
fn check(weight: f64, guards: &Guards) -> Result<(), Rejected> {
    if !(weight.is_finite() && weight > 0.0) {
        let text = format!("a weight is a number above 0, not {weight}");
        return Err(Rejected::Invalid(text));
    }
    match (guards.floor, guards.max_gpus) {
        (Some(floor), Some(max)) if floor > max => {
            let gpus = |milli: MilliGpu| f64::from(milli.0) / 1000.0;
            let text = format!(
                "a floor of {} GPUs cannot be had with a limit of {} GPUs",
                gpus(floor),
                gpus(max)
            );
            Err(Rejected::Invalid(text))
        }
        _ => Ok(()),
    }
}

//! What an admin sets of users and groups.

use crate::id::{GroupName, UserName};
use crate::resources::MilliGpu;

use crate::sched::model::entities::Group;
use crate::sched::model::event::{Membership, Rejected};
use crate::sched::model::settings::Guards;
use crate::sched::model::text::listed;
use crate::sched::state::step::Step;

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
                Membership::Unchanged => {}
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

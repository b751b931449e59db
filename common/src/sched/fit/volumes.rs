//! Who may use the volumes that machines offer.

use crate::id::{GroupName, UserName};
use crate::resources::Request;
use crate::sched::model::event::Rejected;
use crate::sched::state::core::State;

/// Whether the user may use the volumes that a job asks for, on every machine that offers them: where it runs is
/// decided later, by what is free. The machine checks it once more.
pub(crate) fn may_mount(state: &State, user: &UserName, request: &Request) -> Result<(), Rejected> {
    let group = state.user(user).and_then(|user| user.group.as_ref());
    for name in &request.volumes {
        let mut offers = state
            .workers()
            .filter_map(|worker| worker.capacity.volumes.get(name));
        if let Some(closed) = offers.find(|volume| !volume.admits(group)) {
            let groups: Vec<_> = closed.groups.iter().map(GroupName::as_str).collect();
            let groups = groups.join(" or ");
            let own = group.map_or_else(|| "no group".to_owned(), GroupName::to_string);
            return Err(Rejected::Invalid(format!(
                "volume {name} is for members of {groups}, and {user} is in {own}; ask an admin"
            )));
        }
    }
    Ok(())
}

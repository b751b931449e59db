//! What an admin may set of users and groups, drawn by a number.

use super::*;

pub(super) const USERS: [&str; 3] = ["anna", "bert", "carl"];
const GROUPS: [&str; 2] = ["ml", "vision"];

/// A change of a user or a group; some are refused.
pub(super) fn drawn(choice: u16) -> Event {
    let at = usize::from(choice);
    let name = group(GROUPS[at % 2]);
    let weight = f64::from(1 + (choice >> 3) % 3);
    let few = u32::from(choice >> 5) % 4;
    let mut guards = Guards {
        max_gpus: (few > 0).then_some(MilliGpu(1500 * few)),
        max_running: (choice & 0x800 == 0).then_some(1 + few),
        max_queued: (choice & 0x1000 == 0).then_some(3 + few),
        floor: None,
    };
    if choice & 0x200 == 0 {
        guards.max_gpus = None;
        guards.floor = Some(MilliGpu(500 * few));
    }
    let set = |group| Event::UserSet {
        user: user(USERS[(at >> 1) % 3]),
        weight,
        guards: guards.clone(),
        group,
    };
    match (choice >> 13) % 8 {
        0 | 1 => Event::GroupSet {
            group: name,
            weight,
            guards,
        },
        2 | 3 => set(Membership::Of(name)),
        4 => set(Membership::None),
        5 => Event::GroupRemoved { group: name },
        _ => set(Membership::Unchanged),
    }
}

/// Takes every limit and floor away.
pub(super) fn without_limits() -> Vec<Event> {
    let weight = 1.0;
    let groups = GROUPS.map(|name| Event::GroupSet {
        group: group(name),
        weight,
        guards: Guards::default(),
    });
    let users = USERS.map(|name| Event::UserSet {
        user: user(name),
        weight,
        guards: Guards::default(),
        group: Membership::Unchanged,
    });
    groups.into_iter().chain(users).collect()
}

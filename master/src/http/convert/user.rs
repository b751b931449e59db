//! Users and their tokens.

use std::collections::BTreeMap;

use dopq_common::api;
use dopq_common::id::UserName;
use dopq_common::job::Phase;
use dopq_common::sched;
use dopq_common::time::Timestamp;

use crate::store::{Account, TokenRecord};
use crate::view::Model;

/// How many jobs each user has, counted in one pass.
#[derive(Debug, Default)]
pub(in crate::http) struct Counts(BTreeMap<UserName, [u64; 3]>);

impl Counts {
    /// Counts the jobs of `model`.
    pub(in crate::http) fn of(model: &Model) -> Self {
        let mut counts = Self::default();
        for (user, phase, count) in model.runs() {
            let [queued, running, finished] = counts.0.entry(user.clone()).or_default();
            match phase {
                Phase::Queued => *queued += count,
                Phase::Assigned
                | Phase::Building
                | Phase::Running
                | Phase::Paused
                | Phase::Stopping => *running += count,
                Phase::Finished => *finished += count,
            }
        }
        counts
    }
}

/// A user as operators see them.
pub(in crate::http) fn user(
    model: &Model,
    counts: &Counts,
    now: Timestamp,
    account: &Account,
) -> api::User {
    let [queued, running, finished] = counts.0.get(&account.name).copied().unwrap_or_default();
    let had = sched::account_of(&model.state, now, &account.name);
    let known = model.state.user(&account.name);
    let guards = known.map(|user| user.guards.clone()).unwrap_or_default();
    api::User {
        name: account.name.to_string(),
        role: account.role,
        group: known.and_then(|user| user.group.as_ref().map(ToString::to_string)),
        penalty: had.penalty,
        weight: had.weight,
        queued,
        running,
        finished,
        tokens: account.tokens.iter().map(token).collect(),
        limits: api::UserLimits {
            weight: Some(had.weight),
            max_gpus_milli: guards.max_gpus.map(|milli| milli.0),
            max_running: guards.max_running,
            max_queued: guards.max_queued,
            floor_gpus_milli: guards.floor.map(|milli| milli.0),
            group: None,
        },
        usage_gpu_seconds: had.usage,
        charged_gpus: had.rate,
    }
}

/// What lists show of a token.
pub(in crate::http) fn token(record: &TokenRecord) -> api::Token {
    api::Token {
        id: record.id.clone(),
        label: record.label.clone(),
        created_at: record.created_at.to_datetime(),
        expires_at: record.expires_at.map(Timestamp::to_datetime),
    }
}

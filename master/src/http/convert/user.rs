//! Users and their tokens.

use std::collections::BTreeMap;

use dopq_common::api;
use dopq_common::id::UserName;
use dopq_common::job::Phase;
use dopq_common::sched::{self, Turn, Turns};
use dopq_common::time::Timestamp;

use crate::store::{Account, TokenRecord};
use crate::view::Model;

use super::job::class;
use super::limits::limits;

/// Figures that are computed once for all users.
#[derive(Debug)]
pub(in crate::http) struct Users<'a> {
    model: &'a Model,
    now: Timestamp,
    /// Each user's queued, running and finished jobs.
    counts: BTreeMap<UserName, [u64; 3]>,
    turns: Turns<'a>,
}

impl<'a> Users<'a> {
    /// Counts the jobs of `model` and measures its groups' usage.
    pub(in crate::http) fn of(model: &'a Model, now: Timestamp) -> Self {
        let mut counts = BTreeMap::<UserName, [u64; 3]>::new();
        for (user, phase, count) in model.runs() {
            let [queued, running, finished] = counts.entry(user.clone()).or_default();
            match phase {
                Phase::Queued => *queued += count,
                Phase::Assigned
                | Phase::Building
                | Phase::Running
                | Phase::Paused
                | Phase::Stopping
                | Phase::Publishing => *running += count,
                Phase::Finished => *finished += count,
            }
        }
        Self {
            model,
            now,
            counts,
            turns: Turns::new(&model.state, now),
        }
    }

    /// A user as operators see them.
    pub(in crate::http) fn user(&self, account: &Account) -> api::User {
        let state = &self.model.state;
        let [queued, running, finished] =
            self.counts.get(&account.name).copied().unwrap_or_default();
        let had = sched::account_of(state, self.now, &account.name);
        let known = state.user(&account.name);
        let guards = known.map(|user| user.guards.clone()).unwrap_or_default();
        api::User {
            name: account.name.to_string(),
            role: account.role,
            group: known.and_then(|user| user.group.as_ref().map(ToString::to_string)),
            penalty: had.penalty,
            weight: had.weight,
            turn: self.turns.of(&account.name).as_ref().map(turn),
            queued,
            running,
            finished,
            disabled_at: account.disabled_at.map(Timestamp::to_datetime),
            has_password: account.password.is_some(),
            tokens: account.tokens.iter().map(token).collect(),
            limits: limits(had.weight, &guards),
            usage_gpu_seconds: had.usage,
            charged_gpus: had.rate,
        }
    }
}

/// A user's rank.
pub(super) fn turn(turn: &Turn) -> api::Turn {
    let group = turn.group_penalty.zip(turn.group_rank_value());
    api::Turn {
        job: turn.job.task.map_or(turn.job.id, |task| task.array).0,
        class: class(turn.job.spec.class).to_owned(),
        within_floor: turn.is_within_floor,
        rank_value: turn.rank_value(),
        ask: turn.ask,
        aging: turn.aging,
        group: group.map(|(penalty, rank_value)| api::GroupTurn {
            penalty,
            rank_value,
        }),
    }
}

/// A token in lists.
pub(in crate::http) fn token(record: &TokenRecord) -> api::Token {
    api::Token {
        id: record.id.clone(),
        label: record.label.clone(),
        created_at: record.created_at.to_datetime(),
        expires_at: record.expires_at.map(Timestamp::to_datetime),
        used_at: None,
        by_login: record.by_login,
    }
}

//! How much each user may keep in the bundle store.
//!
//! What they keep is counted by the leader's sweeps ([`crate::retention`]), and bundles and results also when they are
//! stored. A user who keeps too much can upload and submit nothing until some of it is gone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use dopq_common::id::{JobId, UserName};
use dopq_common::resources::ByteSize;
use parking_lot::Mutex;

/// What a user keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes of bundles that they uploaded, or that a job of theirs has which the scheduler knows.
    pub bundles: u64,
    /// Bytes of logs.
    pub logs: u64,
    /// Bytes of results.
    pub results: u64,
    /// Bytes of checkpoints.
    pub checkpoints: u64,
    /// The jobs that ended and left most, and how much; the largest first.
    pub largest: Vec<(JobId, u64)>,
}

impl Used {
    const fn total(&self) -> u64 {
        self.bundles
            .saturating_add(self.logs)
            .saturating_add(self.results)
            .saturating_add(self.checkpoints)
    }
}

/// The limit of each user, and what they keep; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Quota {
    limit: Option<ByteSize>,
    users: Arc<Mutex<BTreeMap<UserName, Used>>>,
}

/// That a user keeps too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    used: Used,
    limit: ByteSize,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Used {
            bundles,
            logs,
            results,
            checkpoints,
            ..
        } = self.used;
        let [total, bundles, logs, results, checkpoints] =
            [self.used.total(), bundles, logs, results, checkpoints].map(ByteSize);
        let limit = self.limit;
        write!(
            f,
            "you keep {total} in the bundle store, and {limit} are allowed: \
             {results} of results, {checkpoints} of checkpoints, {logs} of logs, {bundles} of bundles"
        )
    }
}

impl Exceeded {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> String {
        let largest = &self.used.largest;
        if largest.is_empty() {
            return "none of your ended jobs left anything; bundles go some time after their last use; wait, or ask an \
                    admin"
                .to_owned();
        }
        let ids: Vec<String> = largest.iter().map(|(id, _)| id.to_string()).collect();
        let freed = largest.iter().map(|(_, bytes)| *bytes).sum();
        format!(
            "remove what ended jobs left: dopq prune {} frees {}",
            ids.join(" "),
            ByteSize(freed)
        )
    }
}

impl Quota {
    /// So much for each user; `None` for no limit.
    #[must_use]
    pub fn new(limit: Option<ByteSize>) -> Self {
        Self {
            limit,
            users: Arc::default(),
        }
    }

    /// The limit.
    #[must_use]
    pub const fn limit(&self) -> Option<ByteSize> {
        self.limit
    }

    /// Replaces what is known of all users.
    pub(crate) fn counted(&self, users: BTreeMap<UserName, Used>) {
        *self.users.lock() = users;
    }

    /// A bundle was stored for the user that they did not have.
    pub(crate) fn uploaded(&self, user: &UserName, bytes: u64) {
        let mut users = self.users.lock();
        let used = users.entry(user.clone()).or_default();
        used.bundles = used.bundles.saturating_add(bytes);
    }

    /// Results of the user's were stored: `bytes` in the place of `before`.
    pub(crate) fn stored(&self, user: &UserName, before: u64, bytes: u64) {
        let mut users = self.users.lock();
        let used = users.entry(user.clone()).or_default();
        used.results = used.results.saturating_sub(before).saturating_add(bytes);
    }

    /// A part of a checkpoint of the user's was stored.
    pub(crate) fn stored_checkpoint(&self, user: &UserName, bytes: u64) {
        let mut users = self.users.lock();
        let used = users.entry(user.clone()).or_default();
        used.checkpoints = used.checkpoints.saturating_add(bytes);
    }

    /// Parts of a checkpoint of the user's were removed.
    pub(crate) fn removed_checkpoint(&self, user: &UserName, bytes: u64) {
        let mut users = self.users.lock();
        let used = users.entry(user.clone()).or_default();
        used.checkpoints = used.checkpoints.saturating_sub(bytes);
    }

    /// What a job of the user's left was removed, which `gone` has in bytes.
    pub(crate) fn removed(&self, user: &UserName, job: JobId, gone: &Used) {
        let mut users = self.users.lock();
        let used = users.entry(user.clone()).or_default();
        used.logs = used.logs.saturating_sub(gone.logs);
        used.results = used.results.saturating_sub(gone.results);
        used.checkpoints = used.checkpoints.saturating_sub(gone.checkpoints);
        used.largest.retain(|(largest, _)| *largest != job);
    }

    /// Whether the user may upload and submit.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub fn check(&self, user: &UserName) -> Result<(), Exceeded> {
        let Some(limit) = self.limit else {
            return Ok(());
        };
        let users = self.users.lock();
        match users.get(user) {
            Some(used) if used.total() >= limit.0 => Err(Exceeded {
                used: used.clone(),
                limit,
            }),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_too_much_is_told_what_and_how_to_free_it() {
        let (anna, bert): (UserName, UserName) = (
            "anna".parse().expect("a name"),
            "bert".parse().expect("a name"),
        );
        let quota = Quota::new(Some(ByteSize(10 << 30)));
        assert!(quota.check(&anna).is_ok(), "nothing is known of her");
        let used = Used {
            bundles: 0,
            logs: 2 << 30,
            results: 5 << 30,
            checkpoints: 1 << 30,
            largest: vec![(JobId(7), 5 << 30), (JobId(9), 1 << 30)],
        };
        quota.counted([(anna.clone(), used)].into());
        quota.uploaded(&anna, 1 << 30);
        assert!(quota.check(&anna).is_ok());
        quota.stored(&anna, 0, 1 << 29);
        quota.stored(&anna, 1 << 29, 1 << 29);
        quota.stored_checkpoint(&anna, 1 << 30);
        assert!(quota.check(&anna).is_err());
        quota.removed_checkpoint(&anna, 1 << 29);
        let exceeded = quota.check(&anna).expect_err("too much");
        assert_eq!(
            exceeded.to_string(),
            "you keep 10 GiB in the bundle store, and 10 GiB are allowed: \
             5.5 GiB of results, 1.5 GiB of checkpoints, 2 GiB of logs, 1 GiB of bundles"
        );
        assert_eq!(
            exceeded.hint(),
            "remove what ended jobs left: dopq prune 7 9 frees 6 GiB"
        );
        assert!(quota.check(&bert).is_ok());
        let gone = Used {
            checkpoints: 1 << 30,
            ..Used::default()
        };
        quota.removed(&anna, JobId(9), &gone);
        assert!(quota.check(&anna).is_ok());
        assert!(Quota::new(None).check(&anna).is_ok());
    }
}

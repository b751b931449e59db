//! The quota of users' workspaces: looked at before a job starts and while jobs run.
//!
//! A measurement takes time, so it is made on a blocking thread, two at once, and is believed for a while: the longer,
//! the longer it took. The file system knows no quota, so a user can be above it until the next look.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dopq_common::id::{AttemptId, UserName};
use dopq_common::job::{Cause, Outcome};
use dopq_common::resources::ByteSize;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::measure::{DEPTH_MAX, ENTRIES_MAX, Held, measure};

/// Measurements at once.
const WALKS: usize = 2;
/// How long a start or a look waits for a measurement; one that takes longer is told to the next look.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is not counted may grow unseen, so a job has this long to remove it.
const TO_CLEAN: Duration = Duration::from_secs(600);

/// How long a measurement is believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Belief {
    /// At least so long.
    pub(super) least: Duration,
    /// For so many times as long as it took.
    pub(super) times: u32,
}

/// The quota and what is known of each user.
#[derive(Debug, Clone)]
pub(super) struct Quota(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: ByteSize,
    belief: Belief,
    users: Mutex<BTreeMap<UserName, Arc<tokio::sync::Mutex<Option<Known>>>>>,
    running: Mutex<BTreeMap<AttemptId, Guarded>>,
    walks: Semaphore,
    stop: CancellationToken,
}

/// A measurement.
#[derive(Debug, Clone, Copy)]
struct Known {
    held: Held,
    at: Instant,
    took: Duration,
}

/// A job that may be running.
#[derive(Debug, Clone)]
struct Guarded {
    user: UserName,
    folder: PathBuf,
    /// What its user held when it started, where that is known: a job may run that removes files.
    before: Option<Held>,
    since: Instant,
}

impl Quota {
    pub(super) fn new(limit: ByteSize, belief: Belief, stop: CancellationToken) -> Self {
        Self(Arc::new(Shared {
            limit,
            belief,
            users: Mutex::default(),
            running: Mutex::default(),
            walks: Semaphore::new(WALKS),
            stop,
        }))
    }

    /// Asks whether a job of this user may start; watches it from then on. `folder` is the user's own.
    ///
    /// # Errors
    /// When the user has too much, and the job has GPUs. Another may remove files.
    pub(super) async fn admit(
        &self,
        attempt: AttemptId,
        user: &UserName,
        folder: &Path,
        has_gpus: bool,
    ) -> Result<(), Outcome> {
        let held = self.held_soon(user, folder).await;
        if let Some(held) = held
            && self.is_above(held)
            && has_gpus
        {
            return Err(self.outcome(held));
        }
        // A job that started before its user was measured is held to the quota.
        self.guard(attempt, user, folder, Some(held.unwrap_or_default()));
        Ok(())
    }

    /// Watches a job that was started before this process.
    pub(super) fn resume(&self, attempt: AttemptId, user: &UserName, folder: &Path) {
        self.guard(attempt, user, folder, None);
    }

    fn guard(&self, attempt: AttemptId, user: &UserName, folder: &Path, before: Option<Held>) {
        let guarded = Guarded {
            user: user.clone(),
            folder: folder.to_owned(),
            before,
            since: Instant::now(),
        };
        self.0.running.lock().insert(attempt, guarded);
    }

    /// The job is over.
    pub(super) fn release(&self, attempt: AttemptId) {
        self.0.running.lock().remove(&attempt);
    }

    /// Jobs whose user has too much now, and more than when they started. Each is told once.
    pub(super) async fn exceeded(&self) -> Vec<(AttemptId, Outcome)> {
        let users: BTreeSet<_> = {
            let running = self.0.running.lock();
            let users = running.values();
            users
                .map(|job| (job.user.clone(), job.folder.clone()))
                .collect()
        };
        // One whose measurement takes long, or never ends, holds up no other.
        let users = users.iter().filter(|(user, _)| !self.is_measured(user));
        let looks = users.map(|(user, folder)| async move {
            let held = self.held_soon(user, folder).await?;
            Some(self.take_exceeding(user, held))
        });
        let found = futures::future::join_all(looks).await;
        found.into_iter().flatten().flatten().collect()
    }

    fn take_exceeding(&self, user: &UserName, held: Held) -> Vec<(AttemptId, Outcome)> {
        let mut running = self.0.running.lock();
        let mut exceeding = Vec::new();
        for (attempt, job) in running.iter_mut().filter(|(_, job)| job.user == *user) {
            let before = *job.before.get_or_insert(held);
            let may_hide = !before.is_cut || job.since.elapsed() >= TO_CLEAN;
            let has_more = held.bytes > before.bytes || (held.is_cut && may_hide);
            if self.is_above(held) && has_more {
                exceeding.push((*attempt, self.outcome(held)));
            }
        }
        for (attempt, _) in &exceeding {
            running.remove(attempt);
        }
        exceeding
    }

    fn is_above(&self, held: Held) -> bool {
        held.is_cut || held.bytes > self.0.limit.0
    }

    fn outcome(&self, held: Held) -> Outcome {
        let limit = self.0.limit;
        let detail = if held.bytes > limit.0 {
            let bytes = ByteSize(held.bytes);
            format!("/workspace holds {bytes}, and the quota is {limit}")
        } else {
            format!(
                "/workspace has more than {ENTRIES_MAX} files or folders nested deeper than {DEPTH_MAX}"
            )
        };
        Outcome::new(Cause::QuotaExceeded, detail)
    }

    /// Whether the user is being measured now.
    fn is_measured(&self, user: &UserName) -> bool {
        let users = self.0.users.lock();
        users.get(user).is_some_and(|of| of.try_lock().is_err())
    }

    /// What the user has; `None` if that is not known soon. The measurement goes on.
    async fn held_soon(&self, user: &UserName, folder: &Path) -> Option<Held> {
        let (this, of, at) = (self.clone(), user.clone(), folder.to_owned());
        let measuring = tokio::spawn(async move { this.held(&of, &at).await });
        let held = tokio::time::timeout(PATIENCE, measuring).await;
        held.ok()?.ok()?
    }

    /// What the user has, measured now or a while ago; `None` when it cannot be read.
    async fn held(&self, user: &UserName, folder: &Path) -> Option<Held> {
        let shared = &self.0;
        let of_user = Arc::clone(shared.users.lock().entry(user.clone()).or_default());
        let mut known = of_user.lock().await;
        let Belief { least, times } = shared.belief;
        if let Some(known) = *known
            && known.at.elapsed() < least.max(known.took.saturating_mul(times))
        {
            return Some(known.held);
        }
        let _walk = shared.walks.acquire().await.ok()?;
        let (folder, stop) = (folder.to_owned(), shared.stop.clone());
        let begun = Instant::now();
        let walk = move || measure(&folder, ENTRIES_MAX, &stop);
        let measured = tokio::task::spawn_blocking(walk).await.ok()?;
        match measured {
            Ok(held) => {
                *known = Some(Known {
                    held,
                    at: Instant::now(),
                    took: begun.elapsed(),
                });
                Some(held)
            }
            Err(error) => {
                tracing::warn!(%user, %error, "failed to measure a workspace");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: ByteSize = ByteSize(2 << 20);

    fn id(job: u64) -> AttemptId {
        let text = format!("{job}.1-{}", "07".repeat(16));
        text.parse().expect("an attempt")
    }

    fn anna() -> UserName {
        "anna".parse().expect("a name")
    }

    fn quota(least: Duration) -> Quota {
        let belief = Belief { least, times: 0 };
        Quota::new(LIMIT, belief, CancellationToken::new())
    }

    fn write(folder: &Path, name: &str, mebibytes: usize) {
        std::fs::write(folder.join(name), vec![1; mebibytes << 20]).expect("written");
    }

    async fn jobs(quota: &Quota) -> Vec<AttemptId> {
        let exceeded = quota.exceeded().await;
        exceeded.into_iter().map(|(attempt, _)| attempt).collect()
    }

    #[tokio::test]
    async fn above_the_quota_only_jobs_without_gpus_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let quota = quota(Duration::ZERO);
        write(folder, "a", 1);
        assert_eq!(quota.admit(id(1), &anna(), folder, true).await, Ok(()));
        write(folder, "b", 2);
        let refused = quota.admit(id(2), &anna(), folder, true).await;
        let refused = refused.expect_err("too much");
        assert_eq!(refused.cause, Cause::QuotaExceeded);
        assert!(
            refused.detail.starts_with("/workspace holds 3 MiB"),
            "{refused:?}"
        );
        assert!(
            refused.detail.ends_with("the quota is 2 MiB"),
            "{refused:?}"
        );
        assert_eq!(quota.admit(id(3), &anna(), folder, false).await, Ok(()));
        // The one that cleans up goes on; the one that the room is missing for does not, and is told once.
        assert_eq!(jobs(&quota).await, [id(1)]);
        assert!(jobs(&quota).await.is_empty());
        std::fs::remove_file(folder.join("b")).expect("removed");
        assert_eq!(quota.admit(id(4), &anna(), folder, true).await, Ok(()));
        write(folder, "c", 4);
        assert_eq!(jobs(&quota).await, [id(3), id(4)]);
    }

    #[tokio::test]
    async fn what_ended_and_what_was_adopted_is_not_blamed() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let quota = quota(Duration::ZERO);
        write(folder, "a", 3);
        quota.resume(id(1), &anna(), folder);
        assert_eq!(quota.admit(id(2), &anna(), folder, false).await, Ok(()));
        quota.release(id(2));
        assert!(
            jobs(&quota).await.is_empty(),
            "what it held before is not known"
        );
        write(folder, "b", 1);
        assert_eq!(jobs(&quota).await, [id(1)]);
    }

    #[tokio::test]
    async fn a_user_whose_measurement_hangs_holds_up_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let quota = quota(Duration::ZERO);
        let eve: UserName = "eve".parse().expect("a name");
        quota.resume(id(1), &eve, folder.path());
        let hangs = Arc::clone(quota.0.users.lock().entry(eve).or_default());
        let _hangs = hangs.lock().await;
        assert_eq!(
            quota.admit(id(2), &anna(), folder.path(), true).await,
            Ok(())
        );
        write(folder.path(), "a", 4);
        let jobs = tokio::time::timeout(PATIENCE / 2, jobs(&quota)).await;
        assert_eq!(jobs.expect("at once"), [id(2)]);
    }

    #[tokio::test]
    async fn what_is_not_counted_is_removed_soon_or_the_job_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let quota = quota(Duration::ZERO);
        let mut deep = folder.path().to_owned();
        deep.extend(std::iter::repeat_n("d", DEPTH_MAX));
        std::fs::create_dir_all(&deep).expect("made");
        let admitted = quota.admit(id(1), &anna(), folder.path(), false).await;
        assert_eq!(admitted, Ok(()));
        assert!(jobs(&quota).await.is_empty(), "it may remove it");
        let long_ago = Instant::now().checked_sub(TO_CLEAN).expect("an instant");
        let running = &quota.0.running;
        running.lock().get_mut(&id(1)).expect("it runs").since = long_ago;
        assert_eq!(jobs(&quota).await, [id(1)]);
    }

    #[tokio::test]
    async fn a_measurement_is_believed_for_a_while() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let quota = quota(Duration::from_secs(3600));
        for job in 1..4 {
            assert_eq!(quota.admit(id(job), &anna(), folder, true).await, Ok(()));
            write(folder, "a", 8);
        }
        assert!(jobs(&quota).await.is_empty());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_read_stops_nobody() {
        let quota = quota(Duration::ZERO);
        let nowhere = Path::new("/no such folder");
        assert_eq!(quota.admit(id(1), &anna(), nowhere, true).await, Ok(()));
        assert!(jobs(&quota).await.is_empty());
    }
}

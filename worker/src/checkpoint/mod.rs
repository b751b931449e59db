//! `/checkpoint`: a folder for each job that outlives its attempts and follows the job to other machines.
//!
//! Before its container is created, an attempt gets the newest of what there is: the folder that an earlier attempt left
//! on this machine, or the checkpoint that the masters have. While it runs and when it ended the folder is stored at the
//! masters.
//!
//! - [`folders`]: the folders on this machine
//! - [`mod@restore`]: fills a folder from the masters
//! - [`session`]: stores the checkpoints of one attempt
//! - [`snapshot`] and [`scan`]: read a folder that may change meanwhile
//! - [`paths`]: opens what is in a folder, without following links

mod error;
mod folders;
mod paths;
mod restore;
mod scan;
mod session;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::agent::{Run, State};
use dopq_common::chain::chain;
use dopq_common::id::{AttemptId, JobId};
use dopq_common::resources::ByteSize;
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use crate::Settings;
use crate::data::DataPlane;
use crate::disk::Disk;
use crate::docker::HostFolder;

pub(crate) use error::Error;
pub(crate) use restore::Progress;
pub(crate) use session::Session;

use error::blocking;
use folders::{Found, JobFolder};

/// Between two looks for folders that nobody uses.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How often a checkpoint is fetched anew that was replaced meanwhile.
const RESTORES: u32 = 3;

/// The checkpoints of this machine.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    root: HostFolder,
    /// How long a folder stays that no attempt uses.
    keep: Duration,
    /// With less free space none of them stays.
    min_free: ByteSize,
    /// Attempts that the masters have not been seen to forget.
    needed: Arc<Mutex<BTreeSet<Needed>>>,
    /// Attempts whose jobs do not run again.
    last: Mutex<BTreeSet<AttemptId>>,
    sessions: Mutex<BTreeMap<AttemptId, SharedSession>>,
}

/// An attempt as its folder names it: its job, the beginning of the job's key, its number.
type Needed = (JobId, String, u32);

fn needed(attempt: AttemptId) -> Needed {
    (attempt.job, attempt.key.short(), attempt.number)
}

/// The session of an attempt. Whoever holds the lock stores.
pub(crate) type SharedSession = Arc<tokio::sync::Mutex<Session>>;

/// Whether the job has a `/checkpoint`.
pub(crate) const fn is_wanted(run: &Run) -> bool {
    run.spec.checkpoint && !matches!(run.order.checkpoint_max_bytes, Some(0))
}

impl Checkpoints {
    /// Keeps folders below `root`, which exists. The attempts of `state` need theirs.
    pub(crate) fn new(root: HostFolder, settings: &Settings, state: &State) -> Self {
        let known = state.attempts().filter(|known| !known.stage.is_closed());
        Self {
            root,
            keep: settings.retention.checkpoints,
            min_free: settings.limits.min_free_disk,
            needed: Arc::new(Mutex::new(known.map(|known| needed(known.id)).collect())),
            last: Mutex::default(),
            sessions: Mutex::default(),
        }
    }

    /// Brings the newest checkpoint of the job into the attempt's folder. `busy` are attempts of the job whose containers
    /// may run here. Tries for as long as the masters are away. Cancelling the call is safe at any point.
    pub(crate) async fn prepare(
        &self,
        data: &DataPlane,
        attempt: AttemptId,
        run: &Run,
        busy: BTreeSet<u32>,
        progress: &Progress,
    ) -> Result<(), Error> {
        self.needed.lock().insert(needed(attempt));
        let (root, user) = (self.root.clone(), run.order.user.clone());
        let open = move || JobFolder::open(&root, &user, attempt).map_err(Error::Mount);
        let job = blocking(open).await?;
        let access = data.access(attempt, run);
        for _ in 0..RESTORES {
            let found = {
                let (job, busy) = (job.clone(), busy.clone());
                blocking(move || job.find(&busy).map_err(Error::writing)).await?
            };
            let earlier = match found {
                Found::Own => return Ok(()),
                Found::Earlier(number) => Some(number),
                Found::Nothing => None,
            };
            let is_stored = attempt.number > 1 && run.order.checkpoint_max_bytes.is_some();
            let stored = if is_stored {
                restore::manifest(data, &access).await?
            } else {
                None
            };
            // An attempt runs on one machine, so its folder here is not older than what it stored.
            let stored = stored.filter(|stored| earlier.is_none_or(|here| here < stored.attempt));
            let job = job.clone();
            match (stored, earlier) {
                (Some(manifest), _) => {
                    let begun = job.clone();
                    let folder = blocking(move || begun.begin().map_err(Error::writing)).await?;
                    let of = manifest.attempt;
                    let done =
                        restore::restore(data, &access, manifest, folder.clone(), progress).await;
                    match done {
                        // The attempt that stored it may have stored a newer one meanwhile.
                        Err(Error::Damaged) => continue,
                        done => done?,
                    }
                    tracing::info!(%attempt, of, "restored the checkpoint");
                    let busy = busy.clone();
                    return blocking(move || {
                        job.complete(&folder)
                            .and_then(|()| job.remove_earlier(&busy))
                            .map_err(Error::writing)
                    })
                    .await;
                }
                (None, Some(number)) => {
                    let busy = busy.clone();
                    let taken = blocking(move || {
                        job.take_over(number)
                            .and_then(|()| job.remove_earlier(&busy))
                            .map_err(Error::writing)
                    });
                    match taken.await {
                        // It was removed just now, because nobody had used it for long.
                        Err(Error::Disk { source, .. })
                            if source.kind() == io::ErrorKind::NotFound => {}
                        taken => return taken,
                    }
                }
                (None, None) => {
                    return blocking(move || {
                        let folder = job.begin();
                        folder
                            .and_then(|folder| job.complete(&folder))
                            .map_err(Error::writing)
                    })
                    .await;
                }
            }
        }
        Err(Error::Damaged)
    }

    /// The attempt's folder, and whether it has content. Blocks.
    pub(crate) fn folder(
        &self,
        attempt: AttemptId,
        run: &Run,
    ) -> Result<(HostFolder, bool), Error> {
        let folder = self.root.for_attempt(&run.order.user, attempt);
        let folder = folder.map_err(Error::Mount)?;
        let has_content = folders::has_content(folder.as_path()).map_err(Error::reading)?;
        Ok((folder, has_content))
    }

    /// Stores the attempt's checkpoints; `None` if its masters keep none.
    pub(crate) fn session(
        &self,
        data: &DataPlane,
        attempt: AttemptId,
        run: &Run,
    ) -> Option<Result<SharedSession, Error>> {
        let max = run.order.checkpoint_max_bytes.filter(|_| is_wanted(run))?;
        let mut sessions = self.sessions.lock();
        if let Some(session) = sessions.get(&attempt) {
            return Some(Ok(Arc::clone(session)));
        }
        let folder = match self.root.for_attempt(&run.order.user, attempt) {
            Ok(folder) => folder.as_path().to_owned(),
            Err(error) => return Some(Err(Error::Mount(error))),
        };
        let session = Session::new(folder, data.access(attempt, run), ByteSize(max));
        let session = Arc::new(tokio::sync::Mutex::new(session));
        sessions.insert(attempt, Arc::clone(&session));
        Some(Ok(session))
    }

    /// The job does not run again after this attempt.
    pub(crate) fn is_last(&self, attempt: AttemptId) {
        self.last.lock().insert(attempt);
    }

    /// The masters have committed the attempt's end. Its folder stays for the job's next attempt if there may be one.
    pub(crate) async fn forgotten(&self, attempt: AttemptId, may_run_again: bool) {
        self.sessions.lock().remove(&attempt);
        let may_run_again = !self.last.lock().remove(&attempt) && may_run_again;
        let root = self.root.clone();
        let done = blocking(move || {
            let done = if may_run_again {
                folders::set_aside(root.as_path(), attempt)
            } else {
                folders::remove_of(root.as_path(), attempt)
            };
            done.map_err(Error::writing)
        });
        if let Err(error) = done.await {
            tracing::warn!(%attempt, error = chain(&error), "failed to put the checkpoint away");
        }
        self.needed.lock().remove(&needed(attempt));
    }

    /// Removes folders that nobody uses, for as long as the worker lives.
    pub(crate) async fn run(&self) {
        let mut due = tokio::time::interval(SWEEP_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let disk = Disk::of(self.root.as_path());
            self.sweep(disk.is_ok_and(|disk| disk.free < self.min_free.0))
                .await;
        }
    }

    /// Removes folders that no attempt has used for as long as they are kept; all of them if the disk is full.
    async fn sweep(&self, is_full: bool) {
        let keep = if is_full { Duration::ZERO } else { self.keep };
        let (root, needed) = (self.root.clone(), Arc::clone(&self.needed));
        let swept = blocking(move || {
            folders::sweep(root.as_path(), keep, |job, key, number| {
                needed.lock().contains(&(job, key.to_owned(), number))
            })
            .map_err(Error::writing)
        });
        if let Err(error) = swept.await {
            tracing::warn!(error = chain(&error), "failed to remove old checkpoints");
        }
    }
}

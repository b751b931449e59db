//! Folders of this machine that outlive jobs: the volumes that the administrator offers by name, and each user's
//! `/workspace`.
//!
//! Only what this worker's own settings name is ever mounted, whatever an order says. A folder that is not there, such
//! as one on a file system that is not mounted yet or does not answer, is not offered until it is.

mod measure;
mod quota;
mod setting;
#[cfg(test)]
mod tests;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::chain::chain;
use dopq_common::id::{AttemptId, GroupName, UserName, VolumeName};
use dopq_common::job::{Cause, Outcome};
use dopq_common::resources::Volume;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::docker::{HostFolder, MountError, PlanMount};
use quota::{Belief, Quota};

pub use setting::{VolumeOptions, VolumeSetting, WorkspacePer};

/// Where the containers see them.
const TARGET: &str = "/volumes";
/// The size of a workspace is believed for at least so long.
pub(crate) const FRESH: Duration = Duration::from_secs(10);
const BELIEF: Belief = Belief {
    least: FRESH,
    times: 20,
};
/// How long a look may take before the worker goes on without its answer.
const LOOK: Duration = Duration::from_secs(5);

/// The folders that this worker offers to jobs.
#[derive(Debug)]
pub(crate) struct Volumes {
    settings: BTreeMap<VolumeName, VolumeSetting>,
    workspace_per: WorkspacePer,
    /// Of workspaces.
    quota: Option<Quota>,
    /// Their folders by the last look; `None` where one is not there.
    seen: Mutex<BTreeMap<VolumeName, Option<HostFolder>>>,
    /// Those that are being looked at. One whose file server does not answer stays so.
    looking: Mutex<BTreeSet<VolumeName>>,
}

impl Volumes {
    /// `stop` ends what is measured.
    pub(crate) fn new(options: &VolumeOptions, stop: CancellationToken) -> Self {
        let named = options.named.iter();
        let named = named.filter_map(|(name, setting)| Some((name.parse().ok()?, setting.clone())));
        let workspace = options.workspace.iter().map(|path| {
            let setting = VolumeSetting {
                path: path.clone(),
                volume: Volume::default(),
            };
            (VolumeName::workspace(), setting)
        });
        Self {
            settings: named.chain(workspace).collect(),
            workspace_per: options.workspace_per,
            quota: options
                .workspace_quota
                .map(|limit| Quota::new(limit, BELIEF, stop)),
            seen: Mutex::default(),
            looking: Mutex::default(),
        }
    }

    /// Looks which folders are there, at each for a moment. One that is not seen by then is not there.
    pub(crate) async fn look(self: &Arc<Self>) {
        let looks = self.settings.iter().map(|(name, setting)| async move {
            let found = self.look_at(name, setting.path.clone()).await;
            self.saw(name, found);
        });
        futures::future::join_all(looks).await;
    }

    async fn look_at(
        self: &Arc<Self>,
        name: &VolumeName,
        path: PathBuf,
    ) -> Result<HostFolder, String> {
        let silent = || "its file system does not answer".to_owned();
        if !self.looking.lock().insert(name.clone()) {
            return Err(silent());
        }
        let (this, of) = (Arc::clone(self), name.clone());
        let look = tokio::task::spawn_blocking(move || {
            let found = HostFolder::resolve(&path);
            this.looking.lock().remove(&of);
            found
        });
        match tokio::time::timeout(LOOK, look).await {
            Ok(Ok(found)) => found.map_err(|error| chain(&error)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(silent()),
        }
    }

    fn saw(&self, name: &VolumeName, found: Result<HostFolder, String>) {
        let folder = found.as_ref().ok().cloned();
        let before = self.seen.lock().insert(name.clone(), folder);
        match (before, found) {
            (Some(Some(_)), Ok(_)) | (Some(None), Err(_)) => {}
            (None | Some(None), Ok(folder)) => {
                let path = folder.as_path().display();
                tracing::info!(volume = %name, %path, "offering a volume");
            }
            (None | Some(Some(_)), Err(error)) => {
                tracing::warn!(volume = %name, error, "not offering a volume");
            }
        }
    }

    /// What the masters are told.
    pub(crate) fn offered(&self) -> BTreeMap<VolumeName, Volume> {
        let settings = self.settings.iter();
        let offered = settings.filter(|(name, _)| self.folder(name).is_some());
        offered
            .map(|(name, setting)| (name.clone(), setting.volume.clone()))
            .collect()
    }

    /// The folder, if it was there at the last look.
    fn folder(&self, name: &VolumeName) -> Option<HostFolder> {
        self.seen.lock().get(name).cloned().flatten()
    }

    /// The mounts of a job that asks for these volumes and whose user is in this group.
    pub(crate) fn mounts(
        &self,
        names: &BTreeSet<VolumeName>,
        group: Option<&GroupName>,
    ) -> Result<Vec<PlanMount>, Outcome> {
        let mount = |name: &VolumeName| {
            let setting = self.settings.get(name);
            let setting = setting.ok_or_else(|| missing(name, "this worker offers no such one"))?;
            if !setting.volume.admits(group) {
                let detail = format!("volume {name} is for members of other groups; ask an admin");
                return Err(Outcome::new(Cause::BundleInvalid, detail));
            }
            let folder = self.folder(name);
            Ok(PlanMount {
                source: folder.ok_or_else(|| missing(name, "its folder is not there now"))?,
                target: format!("{TARGET}/{name}").into(),
                read_only: setting.volume.read_only,
            })
        };
        let workspace = VolumeName::workspace();
        let names = names.iter().filter(|name| **name != workspace);
        names.map(mount).collect()
    }

    /// The folder that a user's jobs of this name see as `/workspace`, made if it is missing; `None` where jobs have
    /// none. Blocks.
    pub(crate) fn workspace(
        &self,
        user: &UserName,
        job: &str,
    ) -> Result<Option<HostFolder>, MountError> {
        let name = VolumeName::workspace();
        let Some(setting) = self.settings.get(&name) else {
            return Ok(None);
        };
        // A folder that is gone is an error: a job without it would write its data where nobody finds them.
        if matches!(self.seen.lock().get(&name), Some(None)) {
            return Err(MountError::NotAFolder {
                path: setting.path.clone(),
                what: "not there now",
            });
        }
        let root = HostFolder::resolve(&setting.path)?;
        let parts = workspace::parts(self.workspace_per, job);
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let folder = root.of_user(user, &parts)?;
        folder.open_to_all()?;
        Ok(Some(folder))
    }
}

impl Volumes {
    /// Asks whether the user's workspace has room for a job; watches the job from then on.
    ///
    /// # Errors
    /// When it has none, and the job has GPUs. Another may remove files.
    pub(crate) async fn admit(
        &self,
        attempt: AttemptId,
        user: &UserName,
        has_gpus: bool,
    ) -> Result<(), Outcome> {
        match (&self.quota, self.of_user(user)) {
            (Some(quota), Some(folder)) => quota.admit(attempt, user, &folder, has_gpus).await,
            (None, _) | (_, None) => Ok(()),
        }
    }

    /// Watches a job that was started before this process.
    pub(crate) fn resume(&self, attempt: AttemptId, user: &UserName) {
        if let (Some(quota), Some(folder)) = (&self.quota, self.of_user(user)) {
            quota.resume(attempt, user, &folder);
        }
    }

    /// The job is over.
    pub(crate) fn release(&self, attempt: AttemptId) {
        if let Some(quota) = &self.quota {
            quota.release(attempt);
        }
    }

    /// Jobs whose user has too much in the workspace now. Each is told once.
    pub(crate) async fn exceeded(&self) -> Vec<(AttemptId, Outcome)> {
        match &self.quota {
            Some(quota) => quota.exceeded().await,
            None => Vec::new(),
        }
    }

    /// What holds all workspaces of a user, if this worker has any.
    fn of_user(&self, user: &UserName) -> Option<PathBuf> {
        let workspace = self.settings.get(&VolumeName::workspace())?;
        Some(workspace.path.join(user.as_str()))
    }
}

/// The mount of a workspace, for an image whose commands begin in `working_dir`.
pub(crate) fn workspace_mount(source: HostFolder, working_dir: &str) -> PlanMount {
    PlanMount {
        source,
        target: workspace::target(working_dir).into(),
        read_only: false,
    }
}

/// A machine that has it no more is no fault of the job, which runs elsewhere.
fn missing(name: &VolumeName, why: &str) -> Outcome {
    Outcome::new(Cause::EngineError, format!("volume {name}: {why}"))
}

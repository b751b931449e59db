//! Takes one file: from the private copy to the receipt or the refusal.
//!
//! A crash can follow any step, and every step may be repeated: the same file finds its stored bundle, its job (by
//! its mark) and its receipt.

use dopq_common::chain::chain;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use dopq_common::bundle::{Fault, config};
use dopq_common::id::{JobId, UserName};
use dopq_common::job::Class;
use dopq_common::sched::{Rejected, Submission};
use futures::TryStreamExt as _;
use serde::Serialize;
use tokio::sync::Mutex;

use super::examined::Examined;
use super::looks::{End, Found, Take};
use super::receipt::{Owner, Receipt, Refusal, stems};
use super::share::{ACCEPTED, Error, REJECTED, Share, is_image, split};
use super::space;
use super::submit::Submit;
use crate::bundles::{Intake, IntakeError, Judged, Taken};
use crate::clock;
use crate::driver::ActError;
use crate::random;
use crate::store::IngestMark;

/// The rule that a truncated zip breaks.
const NOT_A_ZIP: &str = "not_a_zip";
/// The endings of a configuration beside an image archive, in the place of its own.
const BESIDE: [&str; 2] = [".container_config.json", ".json"];

/// Takes files; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Taker<S> {
    pub(super) share: Share,
    pub(super) intake: Intake,
    pub(super) examined: Examined,
    pub(super) submit: S,
    pub(super) trust_executor_name: bool,
    pub(super) keep_accepted: bool,
    pub(super) min_space: f64,
    /// Held while a name is chosen and claimed, so that two takes do not choose the same.
    pub(super) names: Arc<Mutex<()>>,
}

/// A file, and the configuration beside an image archive.
struct Dropped<'f> {
    found: &'f Found,
    beside: Option<&'f Found>,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is a job now.
    Accepted {
        /// Which.
        job: JobId,
        /// False if it was accepted before.
        new: bool,
    },
    /// It was refused, for breaking these rules.
    Rejected(Vec<&'static str>),
    /// Neither.
    Open(End),
}

/// Why a take stops without accepting or refusing the file.
enum Stop {
    Changed,
    Incomplete,
    Failed(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Changed { .. } => Self::Changed,
            Error::Open(_) | Error::Folder { .. } | Error::Bucket { .. } | Error::Refused(_) => {
                Self::Failed(chain(&error))
            }
        }
    }
}

impl<S: Submit> Taker<S> {
    /// Takes a file and returns the result.
    pub(super) async fn take(&self, take: &Take) -> Outcome {
        match self.verdict(take).await {
            Ok(outcome) => outcome,
            Err(Stop::Changed) => Outcome::Open(End::Changed),
            Err(Stop::Incomplete) => Outcome::Open(End::Incomplete),
            Err(Stop::Failed(reason)) => Outcome::Open(End::Failed(reason)),
        }
    }

    async fn verdict(&self, take: &Take) -> Result<Outcome, Stop> {
        let beside = self.beside(&take.found).await?;
        let file = Dropped {
            found: &take.found,
            beside: beside.as_ref(),
        };
        let (folder_user, mut faults) = self.owner(&file.found.path);
        match self.judge(&file, folder_user.as_ref()).await? {
            Ok(judged) => {
                let executor = &judged.spec.executor;
                if let Some(user) = folder_user.as_ref().filter(|user| *user != executor) {
                    let message =
                        format!("it is {executor}, but the bundle is in the folder of {user}");
                    faults.push(Fault::new("executor_mismatch", "executor_name", message));
                }
                if judged.spec.class == Class::Urgent {
                    // A folder proves who somebody is, not what role they have.
                    let message = "the share does not accept urgent jobs; an operator must submit them with the CLI";
                    faults.push(Fault::new("class_not_allowed", "class", message));
                }
                let user = folder_user.as_ref().unwrap_or(executor);
                // One that was accepted before the master died is not refused for what came since.
                if !self.submit.knows(&key(&file.found.mark()))
                    && let Err(exceeded) = self.intake.quota().check(user)
                {
                    let message = format!("{exceeded}; {}", exceeded.hint());
                    faults.push(Fault::new("user_storage", "", message));
                }
                if faults.is_empty() {
                    let user = folder_user.unwrap_or_else(|| executor.clone());
                    return self.accept(&file, user, judged).await;
                }
            }
            Err(invalid) => {
                // Its configuration may still be on the way.
                let is_cut = is_image(&file.found.path)
                    || invalid.iter().any(|fault| fault.rule == NOT_A_ZIP);
                if !take.last && is_cut {
                    return Err(Stop::Incomplete);
                }
                faults.extend(invalid);
            }
        }
        self.reject(&file, folder_user.as_ref(), &faults).await
    }

    /// The user whose folder contains the file, or the fault.
    fn owner(&self, path: &str) -> (Option<UserName>, Vec<Fault>) {
        match path.split_once('/') {
            Some((folder, _)) => match folder.parse() {
                Ok(user) => (Some(user), Vec::new()),
                Err(error) => {
                    let message = format!("its folder is not a user's: {error}");
                    (None, vec![Fault::new("ingest_user", path, message)])
                }
            },
            None if self.trust_executor_name => (None, Vec::new()),
            None => {
                let message = "copy it to your own folder, incoming/<user>/";
                (None, vec![Fault::new("ingest_flat", path, message)])
            }
        }
    }

    /// The configuration beside an image archive: `NAME.container_config.json` or `NAME.json`.
    async fn beside(&self, found: &Found) -> Result<Option<Found>, Stop> {
        if !is_image(&found.path) {
            return Ok(None);
        }
        let (stem, _) = split(&found.path);
        for ending in BESIDE {
            let path = format!("{stem}{ending}");
            if let Some(print) = self.share.look(&path).await? {
                return Ok(Some(Found { path, print }));
            }
        }
        Ok(None)
    }

    /// The text of a configuration. The inner error is its fault.
    async fn text(&self, found: &Found) -> Result<Result<String, Fault>, Stop> {
        let wrong = |rule, message: &str| Ok(Err(Fault::new(rule, &found.path, message)));
        let mut content = match self.share.read(found).await {
            Ok(content) => content,
            Err(Error::Refused(fault)) => return Ok(Err(fault)),
            Err(error) => return Err(error.into()),
        };
        let mut text = Vec::new();
        while let Some(bytes) = content.try_next().await? {
            text.extend_from_slice(&bytes);
            if text.len() > config::MAX_BYTES {
                return wrong("text_too_large", "the file is too large");
            }
        }
        match String::from_utf8(text) {
            Ok(text) => Ok(Ok(text)),
            Err(_) => wrong("text_not_utf8", "it is not UTF-8"),
        }
    }

    /// Makes a private copy and validates it. The inner error is the file's faults.
    async fn judge(
        &self,
        file: &Dropped<'_>,
        owner: Option<&UserName>,
    ) -> Result<Result<Judged, Vec<Fault>>, Stop> {
        let found = file.found;
        let beside = match file.beside {
            Some(beside) => match self.text(beside).await? {
                Ok(text) => Some(text),
                Err(fault) => return Ok(Err(vec![fault])),
            },
            None => None,
        };
        let mut folders = vec![self.intake.spool_folder()];
        folders.extend(self.intake.bundles().folder());
        if let Some(reason) = space::shortage(&folders, found.print.size_bytes, self.min_space) {
            return Err(Stop::Failed(reason));
        }
        let mut spooled = self.intake.spool().await.map_err(|error| failed(&error))?;
        let mut content = match self.share.read(found).await {
            Ok(content) => content,
            Err(Error::Refused(fault)) => return Ok(Err(vec![fault])),
            Err(error) => return Err(error.into()),
        };
        while let Some(bytes) = content.try_next().await? {
            match spooled.write(&bytes).await {
                Ok(()) => {}
                Err(IntakeError::Invalid(faults)) => return Ok(Err(faults)),
                Err(error) => return Err(failed(&error)),
            }
        }
        // A file that changed during the copy gives an inconsistent copy.
        if spooled.size_bytes() != found.print.size_bytes
            || self.share.look(&found.path).await?.as_ref() != Some(&found.print)
        {
            return Err(Stop::Changed);
        }
        let examination = self.examined.begin(&found.mark()).await;
        let Some(_examination) = examination.map_err(|error| failed(&error))? else {
            let message = "the master stopped twice while it checked this file; if the machine was the cause, \
                           copy it to incoming/ again";
            return Ok(Err(vec![Fault::new("check_died", "", message)]));
        };
        let judging = async {
            let bundle = if is_image(&found.path) {
                self.intake.wrap_image(spooled, beside, owner).await?
            } else {
                spooled
            };
            self.intake.judge(bundle, None, owner).await
        };
        match judging.await {
            Ok(judged) => Ok(Ok(judged)),
            Err(IntakeError::Invalid(faults)) => Ok(Err(faults)),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn accept(
        &self,
        file: &Dropped<'_>,
        user: UserName,
        judged: Judged,
    ) -> Result<Outcome, Stop> {
        // It stays until the job is accepted.
        let _using = self.intake.bundles().using(judged.bundle.digest).await;
        let taken = self
            .intake
            .keep(judged)
            .await
            .map_err(|error| failed(&error))?;
        let granted = self.intake.grant(taken.bundle, &user).await;
        granted.map_err(|error| failed(&error))?;
        let mark = file.found.mark();
        let read = self
            .intake
            .read_config(taken.config.clone(), serde_json::Map::new());
        let (config, spec) = match read.await {
            Ok(read) => read,
            Err(IntakeError::Invalid(faults)) => {
                return self.reject(file, Some(&user), &faults).await;
            }
            Err(error) => return Err(failed(&error)),
        };
        let submission = Submission {
            user: user.clone(),
            spec: spec.into(),
            config: config.into(),
            bundle: Some(taken.bundle),
            key: Some(key(&mark).into()),
            job_key: random::job_key().map_err(|error| failed(&error))?,
        };
        let submitted = self
            .submit
            .submit(submission, IngestMark { key: mark })
            .await;
        let accepted = match submitted {
            Ok(accepted) => accepted,
            Err(ActError::Rejected(rejected)) if !may_pass(&rejected) => {
                let fault = Fault::new("submit_refused", "", rejected.to_string());
                return self.reject(file, Some(&user), &[fault]).await;
            }
            Err(error) => return Err(failed(&error)),
        };
        self.receipt(file, &user, &taken, accepted.job).await?;
        Ok(Outcome::Accepted {
            job: accepted.job,
            new: accepted.new,
        })
    }

    /// Writes the receipt, then moves the file out of `incoming/`.
    async fn receipt(
        &self,
        file: &Dropped<'_>,
        user: &UserName,
        taken: &Taken,
        job: JobId,
    ) -> Result<(), Stop> {
        let found = file.found;
        let name = taken.spec.name.clone();
        let mut receipt = Receipt::new(found.mark(), job.0, user.to_string(), name);
        receipt.file.clone_from(&found.path);
        receipt.size_bytes = taken.bundle.size_bytes;
        receipt.digest = taken.bundle.digest.to_string();
        receipt.accepted_at = now();
        let stem = self.claim(found, ACCEPTED, ".json", &receipt).await?;
        if self.keep_accepted {
            self.share.shelve(found, ACCEPTED, &stem).await?;
        } else {
            self.share.remove(found).await?;
        }
        self.put_beside(file, ACCEPTED, &stem).await
    }

    /// Moves the configuration beside an image after it. One that has changed meanwhile stays.
    async fn put_beside(&self, file: &Dropped<'_>, place: &str, stem: &str) -> Result<(), Stop> {
        let Some(beside) = file.beside else {
            return Ok(());
        };
        let moved = if place == ACCEPTED && !self.keep_accepted {
            self.share.remove(beside).await
        } else {
            let stem = format!("{stem}.container_config");
            self.share.shelve(beside, place, &stem).await
        };
        match moved {
            Ok(()) | Err(Error::Changed { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn reject(
        &self,
        file: &Dropped<'_>,
        user: Option<&UserName>,
        faults: &[Fault],
    ) -> Result<Outcome, Stop> {
        let found = file.found;
        let mut refusal = Refusal::new(found.mark(), faults);
        refusal.user = user.map(ToString::to_string);
        refusal.file.clone_from(&found.path);
        refusal.size_bytes = found.print.size_bytes;
        refusal.rejected_at = now();
        let stem = self
            .claim(found, REJECTED, ".reason.json", &refusal)
            .await?;
        self.share.shelve(found, REJECTED, &stem).await?;
        self.put_beside(file, REJECTED, &stem).await?;
        self.examined.forget(&found.mark());
        Ok(Outcome::Rejected(
            faults.iter().map(|fault| fault.rule).collect(),
        ))
    }

    /// Writes the document under the first name that is free or already this file's, and returns the name.
    async fn claim(
        &self,
        found: &Found,
        place: &str,
        ending: &str,
        document: &impl Serialize,
    ) -> Result<String, Stop> {
        let mark = found.mark();
        let [preferred, unique] = stems(&found.path, &mark);
        let body = serde_json::to_vec_pretty(document).map_err(|error| failed(&error))?;
        let _claiming = self.names.lock().await;
        let there = self
            .share
            .document(place, &format!("{preferred}{ending}"))
            .await?;
        let ours = |bytes: &Bytes| {
            serde_json::from_slice(bytes).is_ok_and(|owner: Owner| owner.mark == mark)
        };
        let stem = match &there {
            Some(bytes) if !ours(bytes) => unique,
            Some(_) | None => preferred,
        };
        self.share
            .write(place, &format!("{stem}{ending}"), body.into())
            .await?;
        Ok(stem)
    }
}

/// Whether waiting can help. A guard admits the job once others have ended; other rejections are permanent.
fn may_pass(rejected: &Rejected) -> bool {
    match rejected {
        Rejected::Guarded(_) => true,
        Rejected::NoSuchJob(_)
        | Rejected::NoSuchWorker(_)
        | Rejected::NoSuchGroup(_)
        | Rejected::GroupInUse { .. }
        | Rejected::AlreadyFinished { .. }
        | Rejected::NotQueued { .. }
        | Rejected::NotActive { .. }
        | Rejected::NameTaken { .. }
        | Rejected::Stale(_)
        | Rejected::Repeated(_)
        | Rejected::NeverFits(_)
        | Rejected::KeyUsed(_)
        | Rejected::Invalid(_) => false,
    }
}

/// The key of a file's submission.
fn key(mark: &str) -> String {
    format!("ingest:{mark}")
}

fn now() -> DateTime<Utc> {
    clock::now().to_datetime()
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Stop {
    Stop::Failed(chain(error))
}

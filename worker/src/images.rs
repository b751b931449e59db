//! Images: built or loaded once per user and bundle however many attempts ask, or found by name.

use dopq_common::chain::chain;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dopq_common::agent::Run;
use dopq_common::id::{Digest, UserName};
use dopq_common::job::{Cause, ImageSource, Outcome};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::docker::{
    self, BuildError, BuildLimits, BuildRequest, Engine, ImageInfo, LABEL_CLUSTER, LABEL_DIGEST,
    LABEL_USER, image_tag,
};
use crate::keyed::Keyed;

/// A pull that shows no progress for this long is given up.
const PULL_SILENCE: Duration = Duration::from_secs(300);

/// The images of this machine.
#[derive(Debug)]
pub(crate) struct Images {
    engine: Engine,
    cluster: String,
    limits: BuildLimits,
    builds: Semaphore,
    locks: Keyed<String, Option<Failure>>,
}

/// How the last build of an image failed, for those who waited for it.
#[derive(Debug, Clone)]
struct Failure {
    at: Instant,
    outcome: Outcome,
}

impl Images {
    /// At most `builds` builds at once.
    pub(crate) fn new(engine: Engine, cluster: String, limits: BuildLimits, builds: usize) -> Self {
        Self {
            engine,
            cluster,
            limits,
            builds: Semaphore::new(builds.max(1)),
            locks: Keyed::default(),
        }
    }

    /// Whether the attempt's image is there, so that its bundle is not needed.
    pub(crate) async fn has(&self, run: &Run) -> bool {
        let Some(bundle) = run.order.bundle else {
            return false;
        };
        let tag = image_tag(&run.order.user, bundle.digest);
        matches!(self.find(&tag, bundle.digest).await, Ok(Some(_)))
    }

    /// The id of the attempt's image. `output` is told what the build prints; `bundle` fetches the zip,
    /// and is asked only where the image must be made. `None` when `cancel` came first.
    pub(crate) async fn ensure(
        &self,
        run: &Run,
        bundle: impl Future<Output = Result<Option<PathBuf>, Outcome>>,
        output: mpsc::Sender<Bytes>,
        cancel: &CancellationToken,
    ) -> Result<Option<Arc<str>>, Outcome> {
        let no_bundle = || Outcome::new(Cause::EngineError, "the order names no bundle");
        if let ImageSource::Named(name) = &run.spec.image {
            return self.named(name, &run.order.user).await;
        }
        let digest = run.order.bundle.ok_or_else(no_bundle)?.digest;
        let tag = image_tag(&run.order.user, digest);
        let asked = Instant::now();
        let mut slot = tokio::select! {
            slot = self.locks.lock(&tag) => slot,
            () = cancel.cancelled() => return Ok(None),
        };
        // A build that failed while this one waited for it would fail again.
        if let Some(failure) = slot.as_ref().filter(|failure| failure.at > asked) {
            let line = format!(
                "[dopq] the same image was just built for another job: {}\n",
                failure.outcome.detail
            );
            output.send(Bytes::from(line)).await.unwrap_or_default();
            return Err(failure.outcome.clone());
        }
        *slot = None;
        if let Some(id) = self.find(&tag, digest).await? {
            return Ok(Some(id));
        }
        let Some(bundle) = cancel.run_until_cancelled(bundle).await else {
            return Ok(None);
        };
        let bundle = bundle?.ok_or_else(no_bundle)?;
        let Some(_permit) = cancel.run_until_cancelled(self.builds.acquire()).await else {
            return Ok(None);
        };
        let request = BuildRequest {
            tag,
            labels: BTreeMap::from([
                (LABEL_CLUSTER.to_owned(), self.cluster.clone()),
                (LABEL_USER.to_owned(), run.order.user.to_string()),
                (LABEL_DIGEST.to_owned(), digest.to_string()),
            ]),
            bundle,
            limits: self.limits.clone(),
        };
        let made = match run.spec.image {
            ImageSource::Load => self.engine.load(&request, output, cancel.clone()).await,
            ImageSource::Build | ImageSource::Named(_) => {
                self.engine.build(&request, output, cancel.clone()).await
            }
        };
        match made {
            Ok(id) => Ok(Some(Arc::from(id))),
            Err(BuildError::Cancelled) => Ok(None),
            Err(error) => {
                let outcome = build_outcome(&error);
                let at = Instant::now();
                *slot = Some(Failure {
                    at,
                    outcome: outcome.clone(),
                });
                Err(outcome)
            }
        }
    }

    async fn find(&self, tag: &str, digest: Digest) -> Result<Option<Arc<str>>, Outcome> {
        let found = self.engine.find_image(tag).await;
        let found = found.map_err(|error| engine_outcome(&error))?;
        // The tag has only the digest's beginning.
        let digest = digest.to_string();
        let found = found.filter(|image| image.labels.get(LABEL_DIGEST) == Some(&digest));
        Ok(found.map(|image| Arc::from(image.id)))
    }

    async fn named(&self, name: &str, user: &UserName) -> Result<Option<Arc<str>>, Outcome> {
        for pulled in [false, true] {
            let found = self.engine.find_image(name).await;
            match found.map_err(|error| engine_outcome(&error))? {
                Some(image) if is_anothers(&image, user) => {
                    return Err(missing(name, "it was built for another user"));
                }
                Some(image) => return Ok(Some(Arc::from(image.id))),
                None if pulled => break,
                None => self
                    .engine
                    .pull(name, PULL_SILENCE)
                    .await
                    .map_err(|error| pull_outcome(name, &error))?,
            }
        }
        Err(missing(name, "it is missing after the pull"))
    }

    /// Digests of the bundles whose images this machine holds.
    pub(crate) async fn digests(&self) -> Result<BTreeSet<Digest>, docker::Error> {
        let images = self
            .engine
            .list_images(&[(LABEL_CLUSTER, &self.cluster)])
            .await?;
        let digests = images
            .iter()
            .filter_map(|image| image.labels.get(LABEL_DIGEST)?.parse().ok());
        Ok(digests.collect())
    }
}

/// Whether an image was made from the bundle of another user, who did not share it.
fn is_anothers(image: &ImageInfo, user: &UserName) -> bool {
    let maker = image.labels.get(LABEL_USER);
    maker.is_some_and(|maker| maker != user.as_str())
}

fn missing(name: &str, why: &str) -> Outcome {
    Outcome::new(Cause::ImageMissing, format!("image {name}: {why}"))
}

fn pull_outcome(name: &str, error: &docker::Error) -> Outcome {
    match error {
        docker::Error::DiskFull { .. } => engine_outcome(error),
        // A registry that cannot be reached is no fault of the engine, and the user may know better.
        _other => missing(name, &chain(error)),
    }
}

fn build_outcome(error: &BuildError) -> Outcome {
    match error {
        BuildError::Failed { detail, .. } => Outcome::new(Cause::BuildFailed, detail.clone()),
        BuildError::DiskFull { detail } => Outcome::new(Cause::DiskFull, detail.clone()),
        BuildError::Deadline { .. } | BuildError::Silent { .. } => {
            Outcome::new(Cause::BuildFailed, format!("failed to {error}"))
        }
        BuildError::Bundle(_) => Outcome::new(Cause::BundleInvalid, chain(error)),
        BuildError::Engine(error) => engine_outcome(error),
        BuildError::Cancelled => Outcome::new(Cause::EngineError, "the build was cancelled"),
    }
}

/// How a failure of the engine is told.
pub(crate) fn engine_outcome(error: &docker::Error) -> Outcome {
    match error {
        docker::Error::DiskFull { message } => Outcome::new(Cause::DiskFull, message.clone()),
        docker::Error::ImageMissing { message } => {
            Outcome::new(Cause::ImageMissing, message.clone())
        }
        docker::Error::Command { exit_code, message } => Outcome {
            exit_code: Some(*exit_code),
            ..Outcome::new(
                Cause::UserError,
                format!("cannot run its command: {message}"),
            )
        },
        docker::Error::Refused { message } => Outcome::new(Cause::BundleInvalid, message.clone()),
        docker::Error::NotFound { .. }
        | docker::Error::Conflict { .. }
        | docker::Error::Deadline { .. }
        | docker::Error::Unreachable { .. }
        | docker::Error::Other { .. } => {
            Outcome::new(Cause::EngineError, format!("failed to {}", chain(error)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::fake::Fake;

    #[tokio::test]
    async fn an_image_of_anothers_bundle_cannot_be_named() {
        let engine = Engine::Fake(Fake::new());
        let request = BuildRequest {
            tag: "dopq/bob:0123456789ab".to_owned(),
            labels: BTreeMap::from([(LABEL_USER.to_owned(), "bob".to_owned())]),
            bundle: PathBuf::new(),
            limits: BuildLimits::default(),
        };
        let (output, _) = mpsc::channel(1);
        let built = engine.build(&request, output, CancellationToken::new());
        let id = built.await.expect("built");
        let images = Images::new(engine, String::new(), BuildLimits::default(), 1);
        for name in [&request.tag, &id] {
            let refused = images.named(name, &"anna".parse().expect("a name")).await;
            assert_eq!(refused.expect_err("bob's").cause, Cause::ImageMissing);
            let found = images.named(name, &"bob".parse().expect("a name")).await;
            assert_eq!(found.expect("his own").as_deref(), Some(id.as_str()));
        }
    }
}

//! Images: built or loaded once per user and bundle however many attempts ask, or found by name.
//!
//! - [`demand`]: what orders need, to which images that are made ahead give way
//! - [`known`]: what was learned of images when they were last looked at
//! - [`unseen`]: what builds ahead printed

mod demand;
mod known;
mod unseen;

use dopq_common::chain::chain;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dopq_common::agent::Run;
use dopq_common::id::{Digest, UserName};
use dopq_common::job::{Cause, ImageSource, Outcome};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::disk::is_full;
use crate::docker::{
    self, BuildError, BuildLimits, BuildRequest, Engine, ImageInfo, LABEL_CLUSTER, LABEL_DIGEST,
    LABEL_INSTANCE, LABEL_USER, NameKey, SecretFiles, loaded_name, plain_name,
};
use crate::keyed::Keyed;
use crate::options::{Pull, Settings};
use crate::retention::Unlabelled;
use demand::{Asked, Demand};
pub(crate) use known::ImageSettings;
use known::Known;
use unseen::Unseen;

/// A pull that shows no progress for this long is given up.
const PULL_SILENCE: Duration = Duration::from_secs(300);
/// Lines of a build ahead that may wait to be kept.
const AHEAD_OUTPUT: usize = 64;

/// The images of this machine.
#[derive(Debug)]
pub(crate) struct Images {
    engine: Engine,
    cluster: String,
    instance: String,
    names: NameKey,
    secrets_dir: Option<PathBuf>,
    pull: Pull,
    limits: BuildLimits,
    builds: Semaphore,
    /// Learns which images without labels are pulled or loaded here.
    unlabelled: Arc<Unlabelled>,
    locks: Keyed<String, Option<Failure>>,
    demand: Demand,
    known: Known,
    unseen: Unseen,
    /// How many images were made ahead.
    ahead: AtomicU64,
}

/// What came of an image that was to be made ahead.
#[derive(Debug)]
pub(crate) enum Ahead {
    /// It is there.
    Ready,
    /// It was given up for something that matters more, or what it needs cannot be had now.
    Later,
    /// It cannot be made.
    Failed(Outcome),
}

/// How the last build of an image failed, for those who waited for it.
#[derive(Debug, Clone)]
struct Failure {
    at: Instant,
    outcome: Outcome,
}

impl Images {
    /// Those of an engine, named with this worker's key and labelled with its instance.
    pub(crate) fn new(
        engine: Engine,
        (names, instance): (NameKey, String),
        settings: &Settings,
        unlabelled: Arc<Unlabelled>,
    ) -> Self {
        Self {
            engine,
            instance,
            unlabelled,
            names,
            cluster: settings.cluster.to_string(),
            secrets_dir: settings.secrets_dir.clone(),
            pull: settings.docker.pull,
            limits: BuildLimits {
                pull: settings.docker.pull,
                total: settings.limits.build_time,
                network: settings.build.network,
                ..BuildLimits::default()
            },
            builds: Semaphore::new(settings.limits.builds.max(1)),
            locks: Keyed::default(),
            demand: Demand::default(),
            known: Known::default(),
            unseen: Unseen::default(),
            ahead: AtomicU64::new(0),
        }
    }

    /// Whether the attempt's image is there, so that its bundle is not needed. The attempt has begun, so that the image
    /// stays.
    pub(crate) async fn has(&self, run: &Run) -> bool {
        let Some(bundle) = run.order.bundle else {
            return false;
        };
        let tag = self.tag(run, bundle.digest);
        match self.find(&tag, bundle.digest).await {
            Ok(Some(id)) => {
                self.known.found(tag, id, Instant::now());
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// What the image of this id sets; nothing if it is gone.
    pub(crate) async fn settings(&self, id: &str) -> Result<Arc<ImageSettings>, docker::Error> {
        if let Some(settings) = self.known.settings(id) {
            return Ok(settings);
        }
        if let Some(image) = self.engine.find_image(id).await? {
            self.known.learn(image);
        }
        Ok(self.known.settings(id).unwrap_or_default())
    }

    /// An order will need its image soon: one that is being made ahead is not given up until this is dropped.
    pub(crate) fn ask(&self, run: &Run) -> Option<Asked<'_>> {
        let tag = self.tag(run, run.order.bundle?.digest);
        Some(self.demand.ask(&tag))
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
        if let ImageSource::Named(name) = &run.spec.image {
            return self.named(name, &run.order.user).await;
        }
        let digest = run.order.bundle.ok_or_else(no_bundle)?.digest;
        let tag = self.tag(run, digest);
        let _asked = self.demand.ask(&tag);
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
        let found = match self.known.take(&tag, asked) {
            Some(id) => Some(id),
            None => self.find(&tag, digest).await?,
        };
        if let Some(id) = found {
            self.unseen.print(&tag, &output).await;
            return Ok(Some(id));
        }
        let _making = self.demand.make();
        let Some(bundle) = cancel.run_until_cancelled(bundle).await else {
            return Ok(None);
        };
        let bundle = bundle?.ok_or_else(no_bundle)?;
        let Some(_permit) = cancel.run_until_cancelled(self.builds.acquire()).await else {
            return Ok(None);
        };
        let request = self.request(run, tag, digest, bundle);
        match self.make(run, &request, output, cancel).await {
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

    /// Makes the image of a job that waits, unless an image is being made for an order. It is given up when an order has
    /// another image made and when `withdrawn` is cancelled, but not while an order waits for this very image. Where it
    /// fails, such an order makes the image itself. `bundle` is `None` if it cannot be had now.
    pub(crate) async fn ensure_ahead(
        &self,
        run: &Run,
        bundle: impl Future<Output = Option<PathBuf>>,
        withdrawn: &CancellationToken,
    ) -> Ahead {
        if !self.demand.is_idle() {
            return Ahead::Later;
        }
        let stop = CancellationToken::new();
        match (&run.spec.image, run.order.bundle) {
            (ImageSource::Named(name), _) => {
                let Some(wanted) = plain_name(name) else {
                    return Ahead::Failed(id_is_no_name(name));
                };
                let pulling = async {
                    let found = self.find_or_pull(name, &wanted, &run.order.user, None);
                    match stop.run_until_cancelled(found).await {
                        Some(Ok(_)) => Ahead::Ready,
                        Some(Err(outcome)) => Ahead::Failed(outcome),
                        None => Ahead::Later,
                    }
                };
                self.unless_demanded(&wanted, withdrawn, &stop, Box::pin(pulling))
                    .await
            }
            (ImageSource::Build | ImageSource::Load, Some(of)) => {
                let tag = self.tag(run, of.digest);
                let making = Box::pin(self.make_ahead(run, &tag, of.digest, bundle, &stop));
                self.unless_demanded(&tag, withdrawn, &stop, making).await
            }
            (ImageSource::Build | ImageSource::Load, None) => Ahead::Failed(no_bundle()),
        }
    }

    /// Does `work` for an image, and cancels `stop`, which ends it, once the image is to be given up.
    async fn unless_demanded(
        &self,
        image: &str,
        withdrawn: &CancellationToken,
        stop: &CancellationToken,
        work: impl Future<Output = Ahead>,
    ) -> Ahead {
        let giving_up = async {
            self.demand.is_against(image, withdrawn).await;
            stop.cancel();
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            done = work => done,
            never = giving_up => match never {},
        }
    }

    /// How many images were built, loaded or pulled ahead.
    pub(crate) fn made_ahead(&self) -> u64 {
        self.ahead.load(Ordering::Relaxed)
    }

    async fn make_ahead(
        &self,
        run: &Run,
        tag: &str,
        digest: Digest,
        bundle: impl Future<Output = Option<PathBuf>>,
        stop: &CancellationToken,
    ) -> Ahead {
        let tag = tag.to_owned();
        let Some(_slot) = stop.run_until_cancelled(self.locks.lock(&tag)).await else {
            return Ahead::Later;
        };
        match self.find(&tag, digest).await {
            Ok(Some(_)) => return Ahead::Ready,
            Ok(None) => {}
            Err(_engine_is_away) => return Ahead::Later,
        }
        let Some(Some(bundle)) = stop.run_until_cancelled(bundle).await else {
            return Ahead::Later;
        };
        let Some(_permit) = stop.run_until_cancelled(self.builds.acquire()).await else {
            return Ahead::Later;
        };
        let request = self.request(run, tag, digest, bundle);
        let (output, lines) = mpsc::channel(AHEAD_OUTPUT);
        let making = self.make(run, &request, output, stop);
        let (made, printed) = tokio::join!(making, Unseen::collect(lines));
        match made {
            Ok(_id) => {
                self.unseen.keep(request.tag, printed);
                self.ahead.fetch_add(1, Ordering::Relaxed);
                Ahead::Ready
            }
            Err(BuildError::Cancelled) => Ahead::Later,
            Err(error) => Ahead::Failed(build_outcome(&error)),
        }
    }

    async fn make(
        &self,
        run: &Run,
        request: &BuildRequest,
        output: mpsc::Sender<Bytes>,
        cancel: &CancellationToken,
    ) -> Result<String, BuildError> {
        match run.spec.image {
            ImageSource::Load => {
                let _coming = self.unlabelled.begin(&loaded_name(&request.tag)).await;
                self.engine.load(request, output, cancel.clone()).await
            }
            ImageSource::Build | ImageSource::Named(_) => {
                self.engine.build(request, output, cancel.clone()).await
            }
        }
    }

    fn tag(&self, run: &Run, digest: Digest) -> String {
        self.names
            .image(&run.order.user, digest, &run.spec.build_args)
    }

    fn request(&self, run: &Run, tag: String, digest: Digest, bundle: PathBuf) -> BuildRequest {
        let user = &run.order.user;
        BuildRequest {
            tag,
            space: self.names.space(user, &run.spec.name),
            labels: BTreeMap::from([
                (LABEL_CLUSTER.to_owned(), self.cluster.clone()),
                (LABEL_INSTANCE.to_owned(), self.instance.clone()),
                (LABEL_USER.to_owned(), user.to_string()),
                (LABEL_DIGEST.to_owned(), digest.to_string()),
            ]),
            bundle,
            args: run.spec.build_args.clone(),
            secrets: SecretFiles {
                folder: self.secrets_dir.as_ref().map(|dir| dir.join(user.as_str())),
                names: run.spec.secrets.clone(),
            },
            limits: self.limits.clone(),
        }
    }

    async fn find(&self, tag: &str, digest: Digest) -> Result<Option<Arc<str>>, Outcome> {
        let found = self.engine.find_image(tag).await;
        let found = found.map_err(|error| engine_outcome(&error))?;
        // An administrator can give the name to anything.
        let digest = digest.to_string();
        let found = found.filter(|image| image.labels.get(LABEL_DIGEST) == Some(&digest));
        Ok(found.map(|image| self.known.learn(image)))
    }

    async fn named(&self, name: &str, user: &UserName) -> Result<Option<Arc<str>>, Outcome> {
        let wanted = plain_name(name).ok_or_else(|| id_is_no_name(name))?;
        let _asked = self.demand.ask(&wanted);
        self.find_or_pull(name, &wanted, user, Some(&self.demand))
            .await
    }

    /// `demand` learns of a pull for an order; without it, the pull is ahead of one.
    async fn find_or_pull(
        &self,
        name: &str,
        wanted: &str,
        user: &UserName,
        demand: Option<&Demand>,
    ) -> Result<Option<Arc<str>>, Outcome> {
        let mut found = self.find_named(name, wanted).await?;
        let pulls = match self.pull {
            Pull::Missing => found.is_none(),
            Pull::Always => true,
            Pull::Never => false,
        };
        if pulls {
            let making = demand.map(Demand::make);
            found = self.pulled(name, wanted).await?;
            let ahead = u64::from(making.is_none());
            self.ahead.fetch_add(ahead, Ordering::Relaxed);
        }
        match found {
            Some(image) if is_anothers(&image, user) => {
                Err(missing(name, "it was built for another user"))
            }
            Some(image) => Ok(Some(self.known.learn(image))),
            None if pulls => Err(missing(name, "it is missing after the pull")),
            None => Err(missing(name, "this machine lacks it and pulls none")),
        }
    }

    /// Pulls an image, and notes it if the engine had it not.
    async fn pulled(&self, name: &str, wanted: &str) -> Result<Option<ImageInfo>, Outcome> {
        let there = self.engine.list_images(&[]).await;
        let there = there.map_err(|error| engine_outcome(&error))?;
        // In this order: an image of this name that comes after the listing counts as pulled here.
        let before = self.find_named(name, wanted).await?;
        let _coming = match &before {
            None => Some(self.unlabelled.begin(wanted).await),
            Some(_) => None,
        };
        let pulled = self.engine.pull(name, PULL_SILENCE).await;
        pulled.map_err(|error| pull_outcome(name, &error))?;
        let found = self.find_named(name, wanted).await?;
        if let Some(image) = &found {
            if !there.iter().any(|other| other.id == image.id) {
                self.unlabelled.came(&image.id).await;
            } else if before.is_none() {
                self.unlabelled.was_there(wanted, &image.id).await;
            }
        }
        Ok(found)
    }

    /// The image that the engine has under this very name. The engine takes the beginning of an id for a name too.
    async fn find_named(&self, name: &str, wanted: &str) -> Result<Option<ImageInfo>, Outcome> {
        let found = self.engine.find_image(name).await;
        let found = found.map_err(|error| engine_outcome(&error))?;
        let is_wanted = |tag: &String| plain_name(tag).is_some_and(|tag| tag == wanted);
        Ok(found.filter(|image| image.tags.iter().any(is_wanted)))
    }

    /// Digests of the bundles whose images this machine holds.
    pub(crate) async fn digests(&self) -> Result<BTreeSet<Digest>, docker::Error> {
        let labels = [
            (LABEL_CLUSTER, self.cluster.as_str()),
            (LABEL_INSTANCE, &self.instance),
        ];
        let images = self.engine.list_images(&labels).await?;
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

fn id_is_no_name(name: &str) -> Outcome {
    missing(name, "an id is no name")
}

fn no_bundle() -> Outcome {
    Outcome::new(Cause::EngineError, "the order names no bundle")
}

fn pull_outcome(name: &str, error: &docker::Error) -> Outcome {
    match error {
        docker::Error::ImageMissing { .. } => missing(name, &chain(error)),
        // A registry that cannot be reached may be reached later.
        _other => engine_outcome(error),
    }
}

fn build_outcome(error: &BuildError) -> Outcome {
    match error {
        BuildError::Failed { detail, .. } => Outcome::new(Cause::BuildFailed, detail.clone()),
        BuildError::DiskFull { detail } => Outcome::new(Cause::DiskFull, detail.clone()),
        BuildError::Deadline { .. } | BuildError::Silent { .. } => {
            Outcome::new(Cause::BuildFailed, format!("failed to {error}"))
        }
        BuildError::Registry { .. } | BuildError::NoBuildKit => {
            Outcome::new(Cause::EngineError, format!("failed to {error}"))
        }
        BuildError::Bundle(source) => {
            let cause = if source.downcast_ref().is_some_and(is_full) {
                Cause::DiskFull
            } else {
                Cause::EngineError
            };
            Outcome::new(cause, format!("failed to {}", chain(error)))
        }
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
        | docker::Error::NetworkGone { .. }
        | docker::Error::Other { .. } => {
            Outcome::new(Cause::EngineError, format!("failed to {}", chain(error)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::fake::Fake;
    use crate::records::Records;

    fn images(engine: Engine) -> Images {
        let dir = tempfile::tempdir().expect("a folder");
        let records = Records::open(&dir.path().join("records.redb")).expect("open");
        let own = (NameKey::new([1; 32]), "instance".to_owned());
        let unlabelled = Arc::new(Unlabelled::new(records, BTreeSet::new()));
        Images::new(engine, own, &Settings::default(), unlabelled)
    }

    #[tokio::test]
    async fn an_image_of_anothers_bundle_cannot_be_named() {
        let engine = Engine::Fake(Fake::new());
        let bob = "bob".parse().expect("a name");
        let key = NameKey::new([1; 32]);
        let request = BuildRequest {
            tag: key.image(&bob, Digest([1; 32]), &BTreeMap::new()),
            space: key.space(&bob, "job"),
            labels: BTreeMap::from([(LABEL_USER.to_owned(), "bob".to_owned())]),
            bundle: PathBuf::new(),
            args: BTreeMap::new(),
            secrets: SecretFiles::default(),
            limits: BuildLimits::default(),
        };
        let (output, _) = mpsc::channel(1);
        let built = engine.build(&request, output, CancellationToken::new());
        let id = built.await.expect("built");
        let images = images(engine);
        let refused = images
            .named(&request.tag, &"anna".parse().expect("a name"))
            .await;
        assert_eq!(refused.expect_err("bob's").cause, Cause::ImageMissing);
        let found = images.named(&request.tag, &bob).await;
        assert_eq!(found.expect("his own").as_deref(), Some(id.as_str()));
        for prefix in [&id, id.split_at(5).0] {
            let refused = images.named(prefix, &bob).await;
            assert_eq!(refused.expect_err("an id").cause, Cause::ImageMissing);
        }
    }

    #[test]
    fn a_machine_that_cannot_read_a_bundle_is_not_the_users_fault() {
        for (error, cause) in [
            (std::io::Error::from_raw_os_error(24), Cause::EngineError),
            (std::io::ErrorKind::StorageFull.into(), Cause::DiskFull),
        ] {
            let told = build_outcome(&BuildError::Bundle(Box::new(error)));
            assert_eq!(told.cause, cause, "{told:?}");
        }
    }
}

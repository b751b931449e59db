//! Creates an attempt's container: its folder, its secrets, its plan, and the call, until it is answered.

use dopq_common::chain::chain;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::agent::{Created, Run};
use dopq_common::id::{AttemptId, VolumeName};
use dopq_common::job::{Cause, Outcome, Outdir};
use dopq_common::secret::Secret;

use super::context::Context;
use super::observe::{own_attempt, status};
use crate::checkpoint::is_wanted;
use crate::docker::{
    self, CheckpointFolder, HostFolder, LABEL_INSTANCE, MountError, PlanInput, PlanMount, plan,
};
use crate::images::engine_outcome;
use crate::retry::{self, Pauses};
use crate::volumes::workspace_mount;

/// Creates the attempt's container, or finds the one that an earlier try made.
pub(super) async fn create(
    context: &Context,
    attempt: AttemptId,
    run: &Run,
    image: &str,
) -> Result<Created, Outcome> {
    let given = given(context, attempt, run).await?;
    let _permit = context.starts.acquire().await;
    let (mut pauses, mut kept) = (Pauses::new(retry::ENGINE), None);
    let created = loop {
        let error = match create_once(context, attempt, run, image, &given, &mut kept).await {
            Ok(created) => break Ok(created),
            Err(CreateError::Outcome(outcome)) => break Err(outcome),
            Err(CreateError::Engine(error)) if error.is_uncertain() => error,
            // It was there just before, so this says nothing of the job.
            Err(CreateError::Engine(docker::Error::ImageMissing { message })) => {
                let detail =
                    format!("the image was removed before its container was created: {message}");
                break Err(Outcome::new(Cause::EngineError, detail));
            }
            Err(CreateError::Engine(error)) => break Err(engine_outcome(&error)),
        };
        // Whether it took effect shows at the next try: the name is then taken, by this attempt.
        context.health.lost(&context.clock);
        tracing::warn!(%attempt, error = chain(&error), "creating the container again");
        pauses.wait().await;
    };
    // Whatever was taken and is not in use now never will be.
    context.networks.put_back(attempt);
    created
}

/// What is created, also when that is tried again.
struct Kept {
    plan: docker::Plan,
    /// The network that it has if it joins none.
    own_network: docker::PlanNetwork,
}

/// What this machine gives the container.
struct Given {
    outdir: HostFolder,
    secrets: Vec<(String, Secret)>,
    volumes: Vec<PlanMount>,
    workspace: Option<HostFolder>,
    checkpoint: Option<CheckpointFolder>,
}

/// The folder for `/checkpoint`, if the job has one. It is ready by now; two looks at it do not block for long.
fn checkpoint(
    context: &Context,
    attempt: AttemptId,
    run: &Run,
) -> Result<Option<CheckpointFolder>, Outcome> {
    if !is_wanted(run) {
        return Ok(None);
    }
    let failed = |error: &dyn std::error::Error| {
        Outcome::new(Cause::EngineError, format!("failed to {}", chain(error)))
    };
    let (folder, resumed) = context
        .checkpoints
        .folder(attempt, run)
        .map_err(|error| failed(&error))?;
    folder.open_to_all().map_err(|error| failed(&error))?;
    Ok(Some(CheckpointFolder { folder, resumed }))
}

enum CreateError {
    Outcome(Outcome),
    Engine(docker::Error),
}

impl From<docker::Error> for CreateError {
    fn from(error: docker::Error) -> Self {
        Self::Engine(error)
    }
}

async fn create_once(
    context: &Context,
    attempt: AttemptId,
    run: &Run,
    image: &str,
    given: &Given,
    kept: &mut Option<Kept>,
) -> Result<Created, CreateError> {
    let engine = &context.engine;
    let kept = match kept {
        Some(kept) => kept,
        None => {
            let found = engine.find_image(image).await?.unwrap_or_default();
            let workspace = given.workspace.clone();
            let workspace = workspace.map(|folder| workspace_mount(folder, &found.working_dir));
            let volumes: Vec<_> = given.volumes.iter().cloned().chain(workspace).collect();
            let input = PlanInput {
                spec: &run.spec,
                config: &run.order.config,
                cluster: &context.options.settings.cluster,
                attempt,
                user: &run.order.user,
                digest: run.order.bundle.map(|bundle| bundle.digest),
                array_index: run.order.array_index,
                array_job: run.order.array_job,
                allocation: &run.order.allocation,
                image,
                image_env: &found.env,
                secrets: &given.secrets,
                outdir: Some(given.outdir.clone()),
                volumes: &volumes,
                checkpoint: given.checkpoint.clone(),
            };
            let mut plan = plan(&input, &context.run_settings).map_err(|error| {
                CreateError::Outcome(Outcome::new(Cause::BundleInvalid, error.to_string()))
            })?;
            let instance = context.instance.clone();
            plan.labels.insert(LABEL_INSTANCE.to_owned(), instance);
            let own_network = plan.network.clone();
            let folder = context.attempt_dir(attempt).join("network");
            context.networks.join(attempt, &mut plan, folder).await;
            kept.insert(Kept { plan, own_network })
        }
    };
    let created = match engine.create(&kept.plan).await {
        Err(error) if kept.plan.network != kept.own_network && !error.is_uncertain() => {
            tracing::debug!(%attempt, error = chain(&error), "creating it with a network of its own");
            kept.plan.network = kept.own_network.clone();
            context.networks.put_back(attempt);
            let created = engine.create(&kept.plan).await?;
            context.networks.rest();
            created
        }
        created => created?,
    };
    let container = Arc::from(created.id.as_str());
    if !created.existed {
        context.networks.joined(attempt, &created.id);
        return Ok(Created {
            container,
            found: None,
        });
    }
    match engine.inspect(&created.id).await? {
        Some(found) if own_attempt(&found, &context.instance) == Some(attempt) => {
            // An earlier process may have made it, with another network.
            if kept.plan.network.joins() == found.joins.as_deref() {
                context.networks.joined(attempt, &created.id);
            }
            Ok(Created {
                container,
                found: Some(status(&found)),
            })
        }
        Some(found) => {
            let detail = format!(
                "container {} belongs to another worker of this name; give each cluster on one engine its own name",
                found.name
            );
            Err(CreateError::Outcome(Outcome::new(
                Cause::EngineError,
                detail,
            )))
        }
        // It went away in between: the next try makes it anew.
        None => Err(CreateError::Engine(docker::Error::Deadline {
            call: "create",
            after: Duration::ZERO,
        })),
    }
}

/// Makes and finds what the container gets of this machine.
async fn given(context: &Context, attempt: AttemptId, run: &Run) -> Result<Given, Outcome> {
    let (spec, order) = (&run.spec, &run.order);
    let volumes = &context.volumes;
    let volumes = volumes.mounts(&spec.request.volumes, order.group.as_ref())?;
    let workspace = workspace(context, run).await?;
    if workspace.is_some() {
        let has_gpus = spec.request.gpus > 0;
        let admitted = context.volumes.admit(attempt, &order.user, has_gpus);
        admitted.await?;
    }
    let outdir = match (spec.outdir, &workspace) {
        (Outdir::Shared, Some(folder)) => folder.clone(),
        (Outdir::Shared, None) | (Outdir::Own, _) => {
            let (outdir, user) = (context.outdir.clone(), order.user.clone());
            off_the_path(move || {
                let folder = outdir.for_attempt(&user, attempt)?;
                folder.open_to_all()?;
                Ok(folder)
            })
            .await?
        }
    };
    Ok(Given {
        outdir,
        secrets: secrets(context, run).await?,
        volumes,
        workspace,
        checkpoint: checkpoint(context, attempt, run)?,
    })
}

/// The folder of `/workspace`, where this worker has one.
async fn workspace(context: &Context, run: &Run) -> Result<Option<HostFolder>, Outcome> {
    let (user, job) = (run.order.user.clone(), run.spec.name.clone());
    let volumes = Arc::clone(&context.volumes);
    let folder = off_the_path(move || volumes.workspace(&user, &job)).await?;
    let is_needed = run.spec.request.volumes.contains(&VolumeName::workspace());
    if folder.is_none() && is_needed {
        let detail = "this worker has no /workspace";
        return Err(Outcome::new(Cause::EngineError, detail));
    }
    Ok(folder)
}

/// Makes a folder, which may block for as long as a file server does not answer.
async fn off_the_path<T: Send + 'static>(
    make: impl FnOnce() -> Result<T, MountError> + Send + 'static,
) -> Result<T, Outcome> {
    let made = tokio::task::spawn_blocking(make).await;
    made.map_err(|error| Outcome::new(Cause::EngineError, error.to_string()))?
        .map_err(|error| Outcome::new(Cause::EngineError, format!("failed to {}", chain(&error))))
}

/// The values of the secrets that the job names, from the user's own folder on this machine.
async fn secrets(context: &Context, run: &Run) -> Result<Vec<(String, Secret)>, Outcome> {
    let mut read = Vec::new();
    for name in &run.spec.secrets {
        let refused = |why: &str| {
            let detail =
                format!("secret {name}: {why}; an admin must put it into the worker's secrets_dir");
            Outcome::new(Cause::BundleInvalid, detail)
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(refused(
                "only letters, digits and _ are allowed in its name",
            ));
        }
        let dir = context.options.settings.secrets_dir.as_ref();
        let dir = dir.ok_or_else(|| refused("this worker has no secrets"))?;
        let path = dir.join(run.order.user.as_str()).join(name);
        match tokio::fs::read_to_string(&path).await {
            Ok(text) => read.push((name.clone(), text.trim_end_matches('\n').into())),
            Err(error) => {
                tracing::warn!(user = %run.order.user, secret = name, %error, "cannot read a secret");
                return Err(refused("this worker does not have it"));
            }
        }
    }
    Ok(read)
}

//! Creates an attempt's container: its folder, its secrets, its plan, and the call, until it is answered.

use dopq_common::chain::chain;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::agent::{Created, Run};
use dopq_common::id::{AttemptId, UserName, VolumeName};
use dopq_common::job::{Cause, Outcome, Outdir};
use dopq_common::secret::Secret;

use super::checkpoint::outcome as checkpoint_outcome;
use super::context::Context;
use super::observe::{own_attempt, status};
use crate::checkpoint::is_wanted;
use crate::docker::{
    self, CheckpointFolder, HostFolder, LABEL_INSTANCE, MountError, PlanInput, PlanMount, plan,
};
use crate::images::engine_outcome;
use crate::retry::{self, Pauses};
use crate::volumes::workspace_mount;

/// How long a file system may take to make a job's folder. Until it has, the job holds its GPUs and cannot be cancelled.
const FOLDER_LIMIT: Duration = Duration::from_secs(60);

/// Creates the attempt's container, or finds the one that an earlier try made.
pub(super) async fn create(
    context: &Context,
    attempt: AttemptId,
    run: &Run,
    image: &str,
) -> Result<Created, Outcome> {
    let given = given(context, attempt, run).await?;
    let (mut pauses, mut kept) = (Pauses::new(retry::ENGINE), None);
    let created = loop {
        let tried = {
            let _permit = context.starts.acquire().await;
            create_once(context, attempt, run, image, &given, &mut kept).await
        };
        let error = match tried {
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
    let found = context.checkpoints.folder(attempt, run);
    let (folder, resumed) = found.map_err(|error| checkpoint_outcome(&error))?;
    folder
        .open_to_all()
        .map_err(|error| mount_outcome(&error))?;
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
            let found = context.images.settings(image).await?;
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
            off_the_path(FOLDER_LIMIT, move || {
                let folder = outdir.for_attempt(&user, attempt)?;
                folder.open_to_all()?;
                Ok(folder)
            })
            .await?
        }
    };
    let secrets_dir = context.options.settings.secrets_dir.as_deref();
    Ok(Given {
        outdir,
        secrets: secrets(secrets_dir, &order.user, &spec.secrets).await?,
        volumes,
        workspace,
        checkpoint: checkpoint(context, attempt, run)?,
    })
}

/// The folder of `/workspace`, where this worker has one.
async fn workspace(context: &Context, run: &Run) -> Result<Option<HostFolder>, Outcome> {
    let (user, job) = (run.order.user.clone(), run.spec.name.clone());
    let volumes = Arc::clone(&context.volumes);
    let folder = off_the_path(FOLDER_LIMIT, move || volumes.workspace(&user, &job)).await?;
    let is_needed = run.spec.request.volumes.contains(&VolumeName::workspace());
    if folder.is_none() && is_needed {
        let detail = "this worker has no /workspace";
        return Err(Outcome::new(Cause::EngineError, detail));
    }
    Ok(folder)
}

/// Makes a folder. A file server that does not answer blocks the thread, and not the job.
async fn off_the_path<T: Send + 'static>(
    limit: Duration,
    make: impl FnOnce() -> Result<T, MountError> + Send + 'static,
) -> Result<T, Outcome> {
    let failed = |detail| Outcome::new(Cause::EngineError, detail);
    let made = tokio::time::timeout(limit, tokio::task::spawn_blocking(make)).await;
    let made = made.map_err(|_| {
        let limit = limit.as_secs();
        failed(format!(
            "a folder of the job was not made within {limit} s: its file system does not answer"
        ))
    })?;
    made.map_err(|error| failed(error.to_string()))?
        .map_err(|error| mount_outcome(&error))
}

fn mount_outcome(error: &MountError) -> Outcome {
    let cause = if error.is_full() {
        Cause::DiskFull
    } else {
        Cause::EngineError
    };
    Outcome::new(cause, format!("failed to {}", chain(error)))
}

/// The values of the secrets that the job names, from the user's own folder on this machine.
async fn secrets(
    dir: Option<&Path>,
    user: &UserName,
    names: &[String],
) -> Result<Vec<(String, Secret)>, Outcome> {
    let mut read = Vec::new();
    for name in names {
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
        let dir = dir.ok_or_else(|| refused("this worker has no secrets"))?;
        let path = dir.join(user.as_str()).join(name);
        match tokio::fs::read_to_string(&path).await {
            Ok(text) => read.push((name.clone(), text.trim_end_matches('\n').into())),
            Err(error) => {
                tracing::warn!(%user, secret = name, %error, "cannot read a secret");
                return Err(match error.kind() {
                    io::ErrorKind::NotFound => refused("this worker does not have it"),
                    // A machine that fails says nothing of the job.
                    _other => Outcome::new(Cause::EngineError, format!("secret {name}: {error}")),
                });
            }
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_system_that_does_not_answer_holds_up_no_job() {
        let (answer, waits) = std::sync::mpsc::sync_channel::<()>(1);
        let made = off_the_path(Duration::from_millis(20), move || {
            waits.recv().unwrap_or_default();
            Ok(())
        });
        let outcome = made.await.expect_err("no answer");
        assert_eq!(outcome.cause, Cause::EngineError, "{outcome:?}");
        assert!(outcome.detail.contains("does not answer"), "{outcome:?}");
        drop(answer);
    }

    #[tokio::test]
    async fn a_secret_that_cannot_be_read_is_not_the_users_fault() {
        let dir = tempfile::tempdir().expect("a folder");
        let user: UserName = "anna".parse().expect("a name");
        std::fs::create_dir_all(dir.path().join("anna/broken")).expect("made");
        std::fs::write(dir.path().join("anna/wandb"), "0123\n").expect("written");
        let read = async |name: &str| secrets(Some(dir.path()), &user, &[name.to_owned()]).await;
        assert_eq!(read("wandb").await.expect("read")[0].1.reveal(), "0123");
        for (name, cause) in [
            ("broken", Cause::EngineError),
            ("absent", Cause::BundleInvalid),
            ("a/b", Cause::BundleInvalid),
        ] {
            assert_eq!(read(name).await.expect_err(name).cause, cause, "{name}");
        }
    }

    #[test]
    fn a_full_disk_is_told_as_one() {
        for (kind, cause) in [
            (io::ErrorKind::StorageFull, Cause::DiskFull),
            (io::ErrorKind::PermissionDenied, Cause::EngineError),
        ] {
            let error = MountError::Io {
                path: "/srv".into(),
                source: kind.into(),
            };
            assert_eq!(mount_outcome(&error).cause, cause);
        }
    }
}

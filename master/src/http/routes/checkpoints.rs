//! Checkpoints: workers store and fetch those of the jobs whose current attempts they have, users see what there is.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use dopq_common::api::{self, ErrorCode};
use dopq_common::checkpoint::{Answer, CHUNK_MAX_BYTES, Invalid, MANIFEST_MAX_BYTES, Manifest};
use dopq_common::id::{Digest, JobId, UserName};
use dopq_common::resources::ByteSize;

use crate::bundles::Commit;
use crate::http::app::{Context, Ctx};
use crate::http::caller::AttemptCaller;
use crate::http::error::{Error, Result};
use crate::http::extract::collect;
use crate::quota::Quota;
use crate::view::{Role, View};

/// The manifest of the job's checkpoint; 204 if it has none.
pub(in crate::http) async fn manifest(
    State(context): State<Ctx>,
    Extension(caller): Extension<AttemptCaller>,
) -> Result<Response> {
    let found = context.app.bundles.get_checkpoint(caller.attempt).await;
    let found = found.map_err(|error| Error::unavailable("cannot read the checkpoint", &error))?;
    Ok(match found {
        Some(manifest) => manifest.into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// A chunk of the job's checkpoint.
pub(in crate::http) async fn chunk(
    State(context): State<Ctx>,
    Extension(caller): Extension<AttemptCaller>,
    Path((_, digest)): Path<(String, String)>,
) -> Result<Response> {
    let digest: Digest = digest.parse()?;
    let found = context.app.bundles.get_chunk(caller.attempt, &digest).await;
    let found = found.map_err(|error| Error::unavailable("cannot read the checkpoint", &error))?;
    let chunk = found.ok_or_else(|| {
        let message = format!("the checkpoint has no chunk {digest}");
        Error::new(ErrorCode::NotFound, message)
    })?;
    Ok(chunk.into_response())
}

/// Stores a chunk of the job's checkpoint. May be repeated.
pub(in crate::http) async fn put_chunk(
    State(context): State<Ctx>,
    Extension(caller): Extension<AttemptCaller>,
    Path((_, digest)): Path<(String, String)>,
    body: Body,
) -> Result<StatusCode> {
    let digest: Digest = digest.parse()?;
    let most = usize::try_from(CHUNK_MAX_BYTES).unwrap_or(usize::MAX);
    let bytes = collect(&context.large_bodies, body, most).await?;
    if bytes.is_empty() || *blake3::hash(&bytes).as_bytes() != digest.0 {
        let message = "the chunk does not have the digest that names it";
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    let length = bytes.len() as u64;
    let most = context.app.settings.checkpoint_max_bytes;
    // A chunk may come again when its answer got lost.
    let most = most.saturating_mul(2);
    let bundles = &context.app.bundles;
    let stored = bundles.put_chunk(caller.attempt, &digest, bytes, most);
    let stored = stored.await;
    if !stored.map_err(|error| Error::unavailable("cannot store the checkpoint", &error))? {
        let message = "the job sent more chunks than a checkpoint may have, and no manifest";
        return Err(Error::new(ErrorCode::TooLarge, message));
    }
    count(&context, &caller, |quota, user| {
        quota.stored_checkpoint(user, length);
    });
    Ok(StatusCode::NO_CONTENT)
}

/// Counts what the job's user keeps.
fn count(context: &Context, caller: &AttemptCaller, count: impl FnOnce(&Quota, &UserName)) {
    let job = caller.attempt.job;
    let user = context
        .view()
        .read(|model| Some(model.state.job(job)?.user.clone()));
    if let Some(user) = user {
        count(context.app.intake.quota(), &user);
    }
}

/// Stores the manifest of the job's checkpoint, or answers which chunks it lacks.
pub(in crate::http) async fn put_manifest(
    State(context): State<Ctx>,
    Extension(caller): Extension<AttemptCaller>,
    body: Body,
) -> Result<Json<Answer>> {
    let text = collect(&context.large_bodies, body, MANIFEST_MAX_BYTES).await?;
    let copy = text.clone();
    let manifest = read(move || Manifest::read(&copy)).await?;
    let attempt = caller.attempt;
    let manifest = manifest.map_err(|invalid| refused(&invalid))?;
    if manifest.attempt != attempt.number {
        let message = format!("the manifest is of attempt {}", manifest.attempt);
        return Err(Error::new(ErrorCode::Conflict, message));
    }
    let (bytes, most) = (manifest.bytes(), context.app.settings.checkpoint_max_bytes);
    if bytes > most {
        let [bytes, most] = [bytes, most].map(ByteSize);
        let message = format!("the checkpoint has {bytes}, and {most} are allowed");
        return Err(Error::new(ErrorCode::TooLarge, message));
    }
    let files = manifest.files();
    let is_current = {
        let (view, caller) = (context.view().clone(), caller.clone());
        move || is_current(&view, &caller)
    };
    let bundles = &context.app.bundles;
    let commit = bundles.commit_checkpoint(attempt, manifest, text, is_current);
    let commit = commit.await;
    let removed = |freed| {
        count(&context, &caller, |quota, user| {
            quota.removed_checkpoint(user, freed);
        });
    };
    match commit.map_err(|error| Error::unavailable("cannot store the checkpoint", &error))? {
        Commit::Done { freed } => {
            removed(freed);
            tracing::info!(%attempt, worker.id = %caller.worker, files, size_bytes = bytes, "checkpoint stored");
            Ok(Json(Answer::default()))
        }
        Commit::Missing { chunks, freed } => {
            removed(freed);
            Ok(Json(Answer { missing: chunks }))
        }
        Commit::Stale => {
            context.app.metrics.fenced("data");
            let message = format!("attempt {attempt} is no longer current");
            Err(Error::new(ErrorCode::Conflict, message))
        }
    }
}

/// What a job's checkpoint is, if it has one. A store that does not answer is no reason to show nothing of the job.
pub(in crate::http) async fn of_job(context: &Context, id: JobId) -> Option<api::Checkpoint> {
    let attempt = context.view().read(|model| {
        let job = model.state.job(id)?;
        let has_begun = job.last_attempt > 0 && job.spec.checkpoint;
        has_begun.then(|| job.attempt_id(job.last_attempt))
    })?;
    let found = context.app.bundles.checkpoint_summary(attempt).await;
    let found = found
        .inspect_err(|error| tracing::warn!(%error, job.id = %id, "cannot read the checkpoint"))
        .ok()??;
    Some(api::Checkpoint {
        attempt: found.attempt,
        taken_at: found.taken_at.to_datetime(),
        files: found.files,
        bytes: found.bytes,
    })
}

/// Whether the attempt is the job's current one, as far as this master may decide.
fn is_current(view: &View, caller: &AttemptCaller) -> bool {
    view.read(|model| {
        let job = model.state.job(caller.attempt.job);
        let is_current = job.is_some_and(|job| {
            let active = job.state.active();
            job.attempt() == Some(caller.attempt)
                && active.is_some_and(|active| active.worker == caller.worker)
        });
        model.role == Role::Leader && is_current
    })
}

/// Reads a manifest, which may be long, beside the tasks.
async fn read<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("cannot read the manifest", &error))
}

fn refused(invalid: &Invalid) -> Error {
    // Sending it again would not help, which a conflict says.
    Error::new(ErrorCode::Conflict, invalid.to_string())
}

//! Retries a finished job: a new job with the old one's accepted configuration and bundle.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use dopq_common::api::{self, ErrorCode, Role};
use dopq_common::id::JobId;
use dopq_common::job::{Finished, Indexes, Job};
use serde_json::{Map, Value};

use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::convert::waiting_in;
use crate::http::error::{Error, Result};
use crate::http::extract::{self, Named};
use crate::http::routes::submit::{key, submit_again};

/// Accepts the new job: 201, or 200 for a repeated key.
pub(in crate::http) async fn retry(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Named(id): Named,
    headers: HeaderMap,
    extract::Json(request): extract::Json<api::RetryRequest>,
) -> Result<(StatusCode, Json<api::Job>)> {
    let key = key(&headers, &caller)?;
    let job = context.view().read(|model| match model.state.job(id) {
        Some(job) => Ok(job.clone()),
        None if waiting_in(model, id).is_some() => Err(not_over(id)),
        None => Err(Error::no_job(id)),
    })?;
    if job.user != caller.name && caller.role < Role::Admin {
        let message = format!(
            "job {id} belongs to {}; only they and admins can retry it",
            job.user
        );
        return Err(Error::new(ErrorCode::Forbidden, message).hint("ask them or an admin"));
    }
    let indexes = tasks_to_run(&job, request.failed)?;
    let changes = changes(&job, indexes.as_ref());
    let config = (job.config.to_string(), changes);
    submit_again(&context, &caller, job.user.clone(), config, job.bundle, key).await
}

/// The tasks to run; `None` for all of them and for a job without tasks.
fn tasks_to_run(job: &Job, failed: bool) -> Result<Option<Indexes>> {
    let finished = finished(job)?;
    match (&finished.tasks, job.task, failed) {
        (Some(ends), _, true) => {
            let mut indexes = ends.failed.clone();
            indexes.extend(&ends.cancelled);
            if indexes.is_empty() {
                let message = format!("all tasks of array {} succeeded", job.id);
                return Err(Error::new(ErrorCode::Conflict, message)
                    .hint("omit `failed` to run all tasks again"));
            }
            Ok(Some(indexes))
        }
        (None, _, true) => {
            let message = format!("job {} is not an array and has no failed tasks", job.id);
            Err(Error::new(ErrorCode::BadRequest, message)
                .hint("omit `failed` to run the job again"))
        }
        (None, Some(task), false) => Ok(Some(Indexes::from_range(task.index, task.index))),
        (Some(_) | None, _, false) => Ok(None),
    }
}

fn finished(job: &Job) -> Result<&Finished> {
    job.state.finished().ok_or_else(|| not_over(job.id))
}

fn not_over(id: JobId) -> Error {
    Error::new(ErrorCode::Conflict, format!("job {id} is not finished"))
        .hint(format!("wait for it with: dopq wait {id}"))
}

/// What differs in the new job's configuration. It has no `after`, because the old dependencies have ended.
fn changes(job: &Job, indexes: Option<&Indexes>) -> Map<String, Value> {
    let mut changes = Map::from_iter([("after".to_owned(), Value::Null)]);
    if let Some(indexes) = indexes {
        let most = job.spec.array.as_ref().and_then(|array| array.max_running);
        let most = most.map_or_else(String::new, |most| format!("%{most}"));
        changes.insert("array".to_owned(), format!("{indexes}{most}").into());
    }
    changes
}

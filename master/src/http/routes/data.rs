//! The workers' data plane: an attempt's bundle, log and results, with the attempt's token.

use std::io;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dopq_common::api::ErrorCode;
use dopq_common::wire::{INSTANCE_HEADER, Standing, ToWorker, WorkerKeys as _};
use futures::stream::try_unfold;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;

use crate::bundles;
use crate::http::app::Ctx;
use crate::http::caller::{AttemptCaller, WorkerCaller};
use crate::http::error::{Error, Result};
use crate::http::extract::collect;
use crate::http::uploads;
use crate::view::Model;

/// The largest piece of a log; a worker sends about 1 MiB.
const LOG_CHUNK_MAX_BYTES: usize = 4 << 20;

/// A nonce needs no more characters.
const NONCE_MAX_CHARS: usize = 64;

/// That the worker's key is good, and which leadership this master knows of; sealed for the worker.
pub(in crate::http) async fn standing(
    State(context): State<Ctx>,
    Extension(WorkerCaller(worker)): Extension<WorkerCaller>,
    Path(nonce): Path<String>,
    headers: HeaderMap,
) -> Result<Vec<u8>> {
    if nonce.len() > NONCE_MAX_CHARS {
        let message = format!("the nonce has more than {NONCE_MAX_CHARS} characters");
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    let instance = headers.get(INSTANCE_HEADER);
    let instance = instance.and_then(|value| value.to_str().ok());
    let instance = instance.unwrap_or_default();
    let standing = context.view().read(|model| {
        let known = model.state.worker(&worker);
        let other = known.filter(|known| known.is_other_than(instance));
        Standing {
            nonce,
            epoch: model.epoch,
            holder: other.map(|other| other.machine.host.clone()),
        }
    });
    let key = context.app.keys.of(&worker);
    let key = key.ok_or_else(|| Error::new(ErrorCode::Unauthorized, "the key was taken away"))?;
    let body = serde_json::to_vec(&standing)
        .map_err(|error| Error::internal("cannot encode the answer", &error))?;
    Ok(key.seal_to(ToWorker::Standing, &worker, &body))
}

/// The bundle: a redirect to its signed URL if the store can sign, otherwise its bytes.
pub(in crate::http) async fn bundle(
    State(context): State<Ctx>,
    Extension(caller): Extension<AttemptCaller>,
) -> Result<Response> {
    let bundle = context.view().read(|model| {
        let job = model.state.job(caller.attempt.job)?;
        job.bundle
    });
    let Some(bundle) = bundle else {
        let message = format!("job {} has no bundle", caller.attempt.job);
        return Err(Error::new(ErrorCode::NotFound, message));
    };
    let store = &context.app.bundles;
    let failed = |error| Error::unavailable("cannot read the bundle", &error);
    let ttl = context.app.settings.signed_url_ttl;
    if let Some(url) = store
        .signed_url(&bundle.digest, ttl)
        .await
        .map_err(failed)?
    {
        let location = HeaderValue::from_str(url.as_str())
            .map_err(|error| Error::internal("the signed URL is invalid", &error))?;
        let redirect = (
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, location)],
        );
        return Ok(redirect.into_response());
    }
    let stream = store.get(&bundle.digest).await;
    let stream = stream.map_err(|error| match error {
        // It does not come back by itself, so the worker is not told to try again.
        bundles::Error::NotFound(_) => {
            tracing::error!(attempt = %caller.attempt, bundle = %bundle.digest, "a job's bundle is not in the bundle store");
            let message = format!("bundle {} is not in the bundle store", bundle.digest);
            Error::new(ErrorCode::NotFound, message).hint("tell an admin; submit the folder again")
        }
        error => failed(error),
    })?;
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/zip"),
    );
    headers.insert(header::CONTENT_LENGTH, bundle.size_bytes.into());
    Ok(response)
}

/// Stores a piece of the log. May be repeated.
pub(in crate::http) async fn put_log(
    State(context): State<Ctx>,
    Extension(caller): Extension<AttemptCaller>,
    Path((_, offset)): Path<(String, String)>,
    body: Body,
) -> Result<StatusCode> {
    let digits = offset.bytes().all(|byte| byte.is_ascii_digit());
    let offset: u64 = offset.parse().ok().filter(|_| digits).ok_or_else(|| {
        Error::new(
            ErrorCode::BadRequest,
            "the offset must be a number of bytes",
        )
    })?;
    let bytes = collect(&context.large_bodies, body, LOG_CHUNK_MAX_BYTES).await?;
    if !bytes.is_empty() {
        let stored = context
            .app
            .bundles
            .put_log(caller.attempt, offset, bytes)
            .await;
        stored.map_err(|error| Error::unavailable("cannot store the log", &error))?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Stores the results, all of them or nothing.
pub(in crate::http) async fn put_results(
    State(context): State<Ctx>,
    Extension(caller): Extension<AttemptCaller>,
    body: Body,
) -> Result<StatusCode> {
    let refused = Arc::new(Mutex::new(None));
    let max = context.app.settings.results_max_bytes;
    let stream = limited(body, max, Arc::clone(&refused)).boxed();
    let bundles = &context.app.bundles;
    let failed = |error| Error::unavailable("cannot store the results", &error);
    // A worker that did not get the answer sends them again.
    let before = bundles.results_size(caller.attempt).await.map_err(failed)?;
    let stored = bundles.put_results(caller.attempt, stream).await;
    match (stored, refused.lock().take()) {
        (Ok(size_bytes), _) => {
            tracing::info!(attempt = %caller.attempt, worker.id = %caller.worker, size_bytes, "results stored");
            let job = caller.attempt.job;
            let user = |model: &Model| Some(model.state.job(job)?.user.clone());
            if let Some(user) = context.view().read(user) {
                let quota = context.app.intake.quota();
                quota.stored(&user, before.unwrap_or_default(), size_bytes);
            }
            Ok(StatusCode::NO_CONTENT)
        }
        (Err(_), Some(refused)) => Err(refused),
        (Err(error), None) => Err(failed(error)),
    }
}

/// The body's data. Fails if it exceeds `max` or stalls, and then stores the reason in `refused`, because the
/// bundle store only reports that the stream failed.
fn limited(
    body: Body,
    max: u64,
    refused: Arc<Mutex<Option<Error>>>,
) -> impl Stream<Item = io::Result<Bytes>> {
    let pace = uploads::PaceLimit::default();
    try_unfold((body, pace, 0u64), move |(mut body, mut pace, read)| {
        let refused = Arc::clone(&refused);
        async move {
            let refuse = |error| {
                *refused.lock() = Some(error);
                io::Error::other("the upload is refused")
            };
            let Some(data) = pace.next(&mut body).await.map_err(refuse)? else {
                return Ok(None);
            };
            let read = read.saturating_add(data.len() as u64);
            if read > max {
                let message = format!("the results exceed {max} bytes");
                return Err(refuse(Error::new(ErrorCode::TooLarge, message)));
            }
            Ok(Some((data, (body, pace, read))))
        }
    })
}

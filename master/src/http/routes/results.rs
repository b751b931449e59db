//! What a job wrote to `/outdir`, as one tar.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use dopq_common::api::ErrorCode;
use dopq_common::id::AttemptId;
use serde::Deserialize;

use crate::http::app::Ctx;
use crate::http::error::{Error, Result};
use crate::http::extract::{Named, Params};
use crate::http::routes::own_output;

/// `GET /v1/jobs/{id}/results`: its query string.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Which {
    attempt: Option<u32>,
}

/// The results of an attempt; by default of the last one.
pub(in crate::http) async fn download(
    State(context): State<Ctx>,
    Named(job): Named,
    Params(which): Params<Which>,
) -> Result<Response> {
    let last = own_output(&context, job, "results")?;
    let number = which
        .attempt
        .unwrap_or_else(|| last.map_or(0, |last| last.number));
    let results = match last {
        Some(last) => {
            let attempt = AttemptId { number, ..last };
            context.app.bundles.get_results(attempt).await
        }
        None => Ok(None),
    };
    let results = results.map_err(|error| Error::unavailable("cannot read the results", &error))?;
    let Some((size_bytes, stream)) = results else {
        let message = format!("job {job} has no results of attempt {number}");
        return Err(Error::new(ErrorCode::NotFound, message)
            .hint("results are published when an attempt ends, unless artifacts is never"));
    };
    let name = format!("attachment; filename=\"dopq-{job}-{number}.tar\"");
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-tar"),
    );
    headers.insert(header::CONTENT_LENGTH, size_bytes.into());
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

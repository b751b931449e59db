//! Reads bodies, query strings and path parameters, with the API's own errors.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use dopq_common::api::ErrorCode;
use dopq_common::id::JobId;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::access::QUICK;
use super::app::Ctx;
use super::caller::NamedJob;
use super::error::{Error, Result};

/// A configuration has at most 1 MiB; written as overrides it may be twice as long.
const JSON_MAX_BYTES: usize = 2 << 20;
/// Memory that every request may use.
const SMALL_BYTES: usize = 64 << 10;

/// A JSON body of at most [`JSON_MAX_BYTES`]. An absent body is read as `{}`.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Ctx> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, context: &Ctx) -> Result<Self> {
        let body = request.into_body();
        let bytes = collect(&context.large_bodies, body, JSON_MAX_BYTES).await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        match serde_json::from_slice(text) {
            Ok(value) => Ok(Self(value)),
            Err(error) => Err(Error::new(
                ErrorCode::BadRequest,
                format!("the body is not valid JSON for this route: {error}"),
            )
            .hint("docs/API.md shows each request's body")),
        }
    }
}

/// Reads a whole body of at most `max` bytes. Beyond [`SMALL_BYTES`] it needs a permit of `large`, so ordinary
/// requests never wait and large ones cannot fill the memory.
pub(super) async fn collect(large: &Semaphore, mut body: Body, max: usize) -> Result<Bytes> {
    let reading = async {
        let (mut bytes, mut slot) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            let broken = |_| Error::new(ErrorCode::BadRequest, "the request body was cut off");
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            let size = bytes.len() + data.len();
            if size > max {
                let message = format!("the body is longer than {max} bytes");
                return Err(Error::new(ErrorCode::TooLarge, message));
            }
            if size > SMALL_BYTES && slot.is_none() {
                slot = Some(large.acquire().await);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    };
    match tokio::time::timeout(QUICK, reading).await {
        Ok(read) => read,
        Err(_) => Err(Error::new(
            ErrorCode::Unavailable,
            "the request body took too long to arrive",
        )),
    }
}

/// The query string.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(Error::new(ErrorCode::BadRequest, error.body_text())),
        }
    }
}

/// The job of the path, as [`super::guard`] found it: a job, or a task that has not started.
pub(super) struct Named(pub(super) JobId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self> {
        match parts.extensions.get::<NamedJob>() {
            Some(NamedJob(id)) => Ok(Self(*id)),
            None => Err(Error::new(ErrorCode::Internal, "the route names no job")),
        }
    }
}

/// The path's only parameter, parsed as an id.
pub(super) struct Id<T>(pub(super) T);

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: std::str::FromStr<Err = dopq_common::id::ParseIdError>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text.parse()?)),
            Err(error) => Err(Error::new(ErrorCode::BadRequest, error.body_text())),
        }
    }
}

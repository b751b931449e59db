//! Reads bodies, query strings and path parameters, so that what is wrong with them is told as any error.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use dopq_common::api::ErrorCode;
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;

use super::error::{Error, Result};

/// A configuration has at most 1 MiB; written as overrides it may be twice as long.
const JSON_MAX_BYTES: usize = 2 << 20;

/// A JSON body of at most [`JSON_MAX_BYTES`]. An absent body is read as `{}`.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let bytes = collect(request.into_body(), JSON_MAX_BYTES).await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        match serde_json::from_slice(text) {
            Ok(value) => Ok(Self(value)),
            Err(error) => Err(Error::new(
                ErrorCode::BadRequest,
                format!("the body is not the JSON that belongs here: {error}"),
            )
            .hint("docs/API.md shows each request's body")),
        }
    }
}

/// Reads a whole body of at most `max` bytes.
pub(super) async fn collect(body: Body, max: usize) -> Result<bytes::Bytes> {
    match Limited::new(body, max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Error::new(
            ErrorCode::TooLarge,
            format!("the body is longer than {max} bytes"),
        )),
        Err(_) => Err(Error::new(ErrorCode::BadRequest, "the body broke off")),
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

/// The path's one parameter, read as an id.
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

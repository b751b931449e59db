//! Uploading bundles, and checking for a stored one.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::{Extension, Json};
use dopq_common::api::{self, ErrorCode};
use dopq_common::id::Digest;
use dopq_common::job::BundleRef;

use crate::bundles::{self, IntakeError, Stored, Taken};
use crate::http::app::{Context, Ctx};
use crate::http::caller::Caller;
use crate::http::error::{Error, Result};
use crate::http::extract::Id;
use crate::http::uploads::{drain, refusal};
use crate::quota::Exceeded;

/// Returns the bundle if the caller uploaded it, so that another upload can be skipped.
pub(in crate::http) async fn show(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(digest): Id<Digest>,
) -> Result<Json<api::Bundle>> {
    let stored = find(&context, &caller, &digest).await?;
    Ok(Json(described(stored.bundle)))
}

/// A bundle that the caller uploaded. One of somebody else looks like one that is not there.
pub(super) async fn find(context: &Context, caller: &Caller, digest: &Digest) -> Result<Stored> {
    let bundles = &context.app.bundles;
    let found = async {
        if bundles.is_granted(digest, &caller.name).await? {
            return bundles.find(digest).await;
        }
        Ok(None)
    };
    let found: std::result::Result<_, bundles::Error> = found.await;
    let found =
        found.map_err(|error| Error::unavailable("the bundle store does not answer", &error))?;
    found.ok_or_else(|| {
        Error::new(ErrorCode::NotFound, format!("there is no bundle {digest}"))
            .hint("upload it to /v1/bundles/{digest} first")
    })
}

/// Receives, validates and stores a bundle.
pub(in crate::http) async fn upload(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(digest): Id<Digest>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<api::Bundle>)> {
    let length = match content_length(&headers, context.app.settings.bundle_max_bytes) {
        Ok(length) => length,
        Err(error) => {
            drain(body).await;
            return Err(error);
        }
    };
    let intake = &context.app.intake;
    if let Err(exceeded) = intake.quota().check(&caller.name) {
        drain(body).await;
        return Err(keeps_too_much(&exceeded));
    }
    let uploads = &context.uploads;
    // Its place is held until it is judged.
    let (spooled, _place) = uploads.receive(intake, &caller.name, length, body).await?;
    let accepted = async {
        // A sweep removes a bundle together with who has it.
        let _using = context.app.bundles.using(digest).await;
        let taken = intake.accept(spooled, Some(digest), &caller.name).await?;
        let granted = intake.grant(taken.bundle, &caller.name).await;
        granted.map(|()| taken)
    };
    match accepted.await {
        Ok(Taken { bundle, .. }) => {
            let BundleRef { digest, size_bytes } = bundle;
            tracing::info!(bundle = digest.short(), size_bytes, user = %caller.name, "bundle accepted");
            Ok((StatusCode::CREATED, Json(described(bundle))))
        }
        Err(error) => {
            if let IntakeError::Invalid(faults) = &error {
                for fault in faults {
                    context.app.metrics.bundle_rejected(fault.rule);
                }
                tracing::info!(
                    bundle = digest.short(), user = %caller.name, faults = faults.len(), "bundle refused"
                );
            }
            Err(refusal(error))
        }
    }
}

/// The error for a user who keeps too much.
pub(super) fn keeps_too_much(exceeded: &Exceeded) -> Error {
    Error::new(ErrorCode::InsufficientStorage, exceeded.to_string()).hint(exceeded.hint())
}

/// The announced length, which is needed to reserve disk space.
fn content_length(headers: &HeaderMap, max: u64) -> Result<u64> {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length <= max => Ok(length),
        Some(length) => Err(Error::new(
            ErrorCode::TooLarge,
            format!("the bundle has {length} bytes; the maximum is {max}"),
        )
        .hint("remove data from the bundle; jobs can read it from /imgdir")),
        None => Err(Error::new(
            ErrorCode::BadRequest,
            "Content-Length is missing",
        )),
    }
}

fn described(bundle: BundleRef) -> api::Bundle {
    api::Bundle {
        digest: bundle.digest.to_string(),
        size_bytes: bundle.size_bytes,
    }
}

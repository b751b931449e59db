//! The checkpoints of a small data plane, in memory.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use dopq_common::checkpoint::{self, Answer, Manifest};
use dopq_common::id::Digest;

use super::plane::Plane;

/// What is stored, by job.
pub(super) type Jobs = BTreeMap<String, Stored>;

/// What is stored of one job.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) manifest: Option<Bytes>,
    pub(super) chunks: BTreeMap<Digest, Bytes>,
    /// Bytes of chunks that were received.
    pub(super) received: usize,
}

impl Stored {
    pub(super) fn read(&self) -> Option<Manifest> {
        let manifest = self.manifest.as_ref()?;
        Some(Manifest::read(manifest).expect("a sound manifest"))
    }
}

/// The job of an attempt such as `1.2-07…`.
fn job(attempt: &str) -> String {
    let (job, _) = attempt.split_once('.').expect("an attempt");
    job.to_owned()
}

pub(super) fn routes() -> Router<Plane> {
    let folder = "/data/v1/attempts/{attempt}/checkpoint";
    Router::new()
        .route(folder, get(manifest).put(put_manifest))
        .route(
            &format!("{folder}/chunks/{{digest}}"),
            get(chunk).put(put_chunk),
        )
        .layer(DefaultBodyLimit::disable())
}

async fn manifest(
    State(plane): State<Plane>,
    Path(attempt): Path<String>,
    headers: HeaderMap,
) -> Result<Response, StatusCode> {
    plane.admit(&headers)?;
    let jobs = plane.checkpoints();
    let found = jobs.get(&job(&attempt)).and_then(|of| of.manifest.clone());
    Ok(found.map_or_else(
        || StatusCode::NO_CONTENT.into_response(),
        IntoResponse::into_response,
    ))
}

async fn put_manifest(
    State(plane): State<Plane>,
    Path(attempt): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Answer>, StatusCode> {
    plane.admit(&headers)?;
    if !plane.keeps_checkpoints() {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let manifest = Manifest::read(&body).map_err(|_| StatusCode::CONFLICT)?;
    let mut jobs = plane.checkpoints();
    let of = jobs.entry(job(&attempt)).or_default();
    let sizes = of.chunks.iter().map(|(digest, bytes)| {
        let size = u64::try_from(bytes.len()).expect("a size");
        (*digest, size)
    });
    let missing = checkpoint::missing(&manifest, &sizes.collect());
    if missing.is_empty() {
        of.manifest = Some(body);
    }
    Ok(Json(Answer { missing }))
}

async fn chunk(
    State(plane): State<Plane>,
    Path((attempt, digest)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Bytes, StatusCode> {
    plane.admit(&headers)?;
    let digest: Digest = digest.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    let jobs = plane.checkpoints();
    let found = jobs.get(&job(&attempt));
    let found = found.and_then(|of| of.chunks.get(&digest).cloned());
    found.ok_or(StatusCode::NOT_FOUND)
}

async fn put_chunk(
    State(plane): State<Plane>,
    Path((attempt, digest)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, StatusCode> {
    plane.admit(&headers)?;
    let digest: Digest = digest.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    assert_eq!(*blake3::hash(&body).as_bytes(), digest.0, "its own digest");
    let mut jobs = plane.checkpoints();
    let of = jobs.entry(job(&attempt)).or_default();
    of.received += body.len();
    of.chunks.insert(digest, body);
    Ok(StatusCode::NO_CONTENT)
}

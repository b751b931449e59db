//! A small data plane: one bundle for all, logs and results in memory, and faults on demand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, put};
use dopq_common::wire::log::{self, Source};
use parking_lot::{Mutex, MutexGuard};

use super::checkpoint_store::{self, Jobs};

/// The id of an attempt that a test names without its job's key, such as `1.1`.
pub(super) fn id(attempt: &str) -> String {
    if attempt.contains('-') {
        attempt.to_owned()
    } else {
        format!("{attempt}-{}", "07".repeat(16))
    }
}

#[derive(Clone, Default)]
pub(super) struct Plane(Arc<Shared>);

#[derive(Default)]
struct Shared {
    bundle: Mutex<Option<Bytes>>,
    token: Mutex<String>,
    logs: Mutex<BTreeMap<String, BTreeMap<u64, Bytes>>>,
    results: Mutex<BTreeMap<String, Bytes>>,
    checkpoints: Mutex<Jobs>,
    /// Whether no checkpoint can be stored now.
    keeps_none: AtomicBool,
    /// So many requests are answered with 503 first.
    failing: AtomicU32,
    served: AtomicU32,
}

impl Plane {
    /// Serves on a port of its own; gives its URL.
    pub(super) async fn serve(&self) -> String {
        let router = Router::new()
            .route("/data/v1/attempts/{attempt}/bundle", get(bundle))
            .route("/data/v1/attempts/{attempt}/logs/{offset}", put(put_log))
            .route("/data/v1/attempts/{attempt}/results", put(put_results))
            .merge(checkpoint_store::routes())
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("port");
        let address = listener.local_addr().expect("address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    pub(super) fn offer(&self, bundle: &[u8], token: &str) {
        *self.0.bundle.lock() = Some(Bytes::copy_from_slice(bundle));
        *self.0.token.lock() = token.to_owned();
    }

    pub(super) fn lose_bundle(&self) {
        *self.0.bundle.lock() = None;
    }

    pub(super) fn fail(&self, requests: u32) {
        self.0.failing.store(requests, Ordering::SeqCst);
    }

    /// Bundles that were given out.
    pub(super) fn served(&self) -> u32 {
        self.0.served.load(Ordering::SeqCst)
    }

    pub(super) fn results(&self, attempt: &str) -> Option<Bytes> {
        self.0.results.lock().get(&id(attempt)).cloned()
    }

    /// The stored log stream, joined from its pieces; overlaps must agree and nothing may be missing.
    pub(super) fn stream(&self, attempt: &str) -> Vec<u8> {
        let mut stream: Vec<u8> = Vec::new();
        let logs = self.0.logs.lock();
        for (offset, piece) in logs.get(&id(attempt)).into_iter().flatten() {
            let offset = usize::try_from(*offset).expect("offset");
            assert!(offset <= stream.len(), "a gap before byte {offset}");
            let known = (stream.len() - offset).min(piece.len());
            assert_eq!(stream[offset..offset + known], piece[..known], "overlap");
            stream.extend_from_slice(&piece[known..]);
        }
        stream
    }

    /// What one source printed.
    pub(super) fn printed(&self, attempt: &str, source: Source) -> Vec<u8> {
        let stream = self.stream(attempt);
        let mut rest = &stream[..];
        let mut printed = Vec::new();
        while let Some((frame, used)) = log::next(rest).expect("sound") {
            if frame.source == source {
                printed.extend_from_slice(frame.payload);
            }
            rest = &rest[used..];
        }
        assert!(rest.is_empty(), "half a frame at the end");
        printed
    }

    /// What is stored of checkpoints.
    pub(super) fn checkpoints(&self) -> MutexGuard<'_, Jobs> {
        self.0.checkpoints.lock()
    }

    /// Answers to no checkpoint from now on.
    pub(super) fn keep_no_checkpoints(&self) {
        self.0.keeps_none.store(true, Ordering::SeqCst);
    }

    /// Whether checkpoints can be stored.
    pub(super) fn keeps_checkpoints(&self) -> bool {
        !self.0.keeps_none.load(Ordering::SeqCst)
    }

    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        let failing = &self.0.failing;
        let failed = failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if failed.is_ok() {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let expected = format!("Bearer {}", self.0.token.lock());
        let presented = headers.get("authorization").map(|value| value.as_bytes());
        if presented != Some(expected.as_bytes()) || !headers.contains_key("dopq-worker") {
            return Err(StatusCode::UNAUTHORIZED);
        }
        Ok(())
    }
}

async fn bundle(State(plane): State<Plane>, headers: HeaderMap) -> Result<Bytes, StatusCode> {
    plane.admit(&headers)?;
    plane.0.served.fetch_add(1, Ordering::SeqCst);
    plane.0.bundle.lock().clone().ok_or(StatusCode::NOT_FOUND)
}

async fn put_log(
    State(plane): State<Plane>,
    Path((attempt, offset)): Path<(String, u64)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(), StatusCode> {
    plane.admit(&headers)?;
    let mut logs = plane.0.logs.lock();
    logs.entry(attempt).or_default().insert(offset, body);
    Ok(())
}

async fn put_results(
    State(plane): State<Plane>,
    Path(attempt): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(), StatusCode> {
    plane.admit(&headers)?;
    plane.0.results.lock().insert(attempt, body);
    Ok(())
}

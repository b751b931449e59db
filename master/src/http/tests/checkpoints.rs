//! Checkpoints: stored by the current attempt alone, whole or not at all, and shown to the job's user.

use axum::http::StatusCode;
use dopq_common::api::{self, ErrorCode, Pruned};
use dopq_common::checkpoint::{Answer, Chunk, Entry, FORMAT, Kind, Manifest};
use dopq_common::id::{AttemptId, Digest};
use dopq_common::time::Timestamp;
use serde_json::json;

use super::ask::Reply;
use super::world::{World, config, zip};

const MODEL: &[u8] = b"weights";

fn digest(content: &[u8]) -> Digest {
    Digest(*blake3::hash(content).as_bytes())
}

fn manifest(attempt: u32, content: &[u8]) -> Manifest {
    Manifest {
        format: FORMAT,
        attempt,
        taken_at: Timestamp::from_millis(1_000),
        entries: vec![Entry {
            path: "model".to_owned(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime_ns: 0,
            kind: Kind::File(vec![Chunk {
                digest: digest(content),
                len: u32::try_from(content.len()).expect("a length"),
            }]),
        }],
    }
}

impl World {
    async fn data(&self, verb: &str, attempt: AttemptId, rest: &str, body: Vec<u8>) -> Reply {
        let attempt = attempt.to_string();
        let path = format!("/data/v1/attempts/{attempt}/checkpoint{rest}");
        let request = self.request(verb, &path).header("dopq-worker", "gpu-1");
        let request = request.token(&self.attempt_token(&attempt, "gpu-1"));
        request.body(body).send().await
    }

    async fn put_manifest(&self, attempt: AttemptId, manifest: &Manifest) -> Reply {
        let text = serde_json::to_vec(manifest).expect("JSON");
        self.data("PUT", attempt, "", text).await
    }

    async fn put_chunk(&self, attempt: AttemptId, content: &[u8], name: Digest) -> Reply {
        let rest = format!("/chunks/{name}");
        self.data("PUT", attempt, &rest, content.to_vec()).await
    }
}

#[tokio::test]
async fn the_current_attempt_stores_a_checkpoint_and_its_user_sees_it() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    let attempt = world.attempt(job, 1);
    let none = world.data("GET", attempt, "", Vec::new()).await;
    assert_eq!(none.status.as_u16(), 204);

    let wanted = manifest(1, MODEL);
    let answer: Answer = world.put_manifest(attempt, &wanted).await.json();
    assert_eq!(answer.missing, [digest(MODEL)]);
    let wrong = world.put_chunk(attempt, b"others", digest(MODEL)).await;
    assert_eq!(wrong.error().code, ErrorCode::BadRequest);
    let stored = world.put_chunk(attempt, MODEL, digest(MODEL)).await;
    assert_eq!(stored.status.as_u16(), 204, "{}", stored.text());
    let answer: Answer = world.put_manifest(attempt, &wanted).await.json();
    assert!(answer.missing.is_empty());

    let found = world.data("GET", attempt, "", Vec::new()).await;
    assert_eq!(Manifest::read(&found.body).expect("sound"), wanted);
    let rest = format!("/chunks/{}", digest(MODEL));
    let chunk = world.data("GET", attempt, &rest, Vec::new()).await;
    assert_eq!(chunk.body, MODEL);
    let rest = format!("/chunks/{}", digest(b"others"));
    let gone = world.data("GET", attempt, &rest, Vec::new()).await;
    assert_eq!(gone.error().code, ErrorCode::NotFound);

    let shown = world.request("GET", &format!("/v1/jobs/{job}"));
    let shown = shown.token(&world.token("anna")).send().await;
    let shown: api::Job = shown.json();
    let checkpoint = shown.checkpoint.expect("shown");
    assert_eq!(
        (checkpoint.attempt, checkpoint.files, checkpoint.bytes),
        (1, 1, 7)
    );

    // It goes with the job.
    world.finished(job, "gpu-1", 0).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let prune = world.request("POST", "/v1/prune");
    let prune = prune.token(&world.token("root")).json(&json!({}));
    let pruned: Pruned = prune.send().await.json();
    let kind = |kind: &&api::PrunedKind| kind.kind == "checkpoints";
    let removed = pruned.kinds.iter().find(kind).expect("counted");
    assert_eq!((removed.removed_objects, removed.kept_objects), (2, 0));
}

#[tokio::test]
async fn what_a_checkpoint_replaces_does_not_count() {
    let world = World::with_quota(10_000).await;
    let job = world.running_job("anna", "gpu-1").await;
    let attempt = world.attempt(job, 1);
    let upload = async || world.upload("anna", &zip(&config("anna"))).await.status;
    for byte in [1, 2, 3] {
        let content = vec![byte; 4000];
        let wanted = manifest(1, &content);
        world.put_manifest(attempt, &wanted).await;
        let stored = world.put_chunk(attempt, &content, digest(&content)).await;
        assert_eq!(stored.status.as_u16(), 204, "{}", stored.text());
        let answer: Answer = world.put_manifest(attempt, &wanted).await.json();
        assert!(answer.missing.is_empty());
    }
    assert_eq!(upload().await, StatusCode::CREATED);
    for byte in [4, 5, 6] {
        let content = vec![byte; 4000];
        world.put_chunk(attempt, &content, digest(&content)).await;
    }
    let refused = upload().await;
    assert_eq!(refused, StatusCode::INSUFFICIENT_STORAGE, "no manifest");
}

#[tokio::test]
async fn chunks_without_a_manifest_are_bounded() {
    let world = World::with(|settings| settings.checkpoint_max_bytes = 10).await;
    let job = world.running_job("anna", "gpu-1").await;
    let attempt = world.attempt(job, 1);
    let put = async |content: &[u8]| {
        let reply = world.put_chunk(attempt, content, digest(content)).await;
        reply.status
    };
    for content in [b"0123456789", b"abcdefghij"] {
        assert_eq!(put(content).await, StatusCode::NO_CONTENT);
    }
    assert_eq!(put(b"k").await, StatusCode::PAYLOAD_TOO_LARGE);
    // A manifest tells which of them are needed.
    world.put_manifest(attempt, &manifest(1, MODEL)).await;
    assert_eq!(put(MODEL).await, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn what_is_not_the_attempts_own_is_refused() {
    let world = World::with(|settings| settings.checkpoint_max_bytes = 10).await;
    let job = world.running_job("anna", "gpu-1").await;
    let attempt = world.attempt(job, 1);
    let of_another = world.put_manifest(attempt, &manifest(2, MODEL)).await;
    assert_eq!(of_another.error().code, ErrorCode::Conflict);
    let large = world
        .put_manifest(attempt, &manifest(1, b"more than ten"))
        .await;
    assert_eq!(large.error().code, ErrorCode::TooLarge, "{}", large.text());
    let mut hostile = manifest(1, MODEL);
    hostile.entries[0].path = "../model".to_owned();
    let refused = world.put_manifest(attempt, &hostile).await;
    assert_eq!(refused.error().code, ErrorCode::Conflict);

    world.refused(job, "gpu-1").await;
    for reply in [
        world.put_manifest(attempt, &manifest(1, MODEL)).await,
        world.put_chunk(attempt, MODEL, digest(MODEL)).await,
        world.data("GET", attempt, "", Vec::new()).await,
    ] {
        assert_eq!(reply.error().code, ErrorCode::Conflict, "it is stale");
    }
}

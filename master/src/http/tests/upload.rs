//! From a zip to a job: uploading, submitting, repeating, and every way of being refused.

use dopq_common::api::{Bundle, ErrorCode, Job};
use serde_json::json;

use super::world::{World, config, zip};

#[tokio::test]
async fn a_bundle_is_uploaded_once_and_submitted_idempotently() {
    let world = World::new().await;
    world.worker("gpu-1", 2).await;
    let anna = world.token("anna");
    let bytes = zip(&config("anna"));
    let digest = blake3::hash(&bytes).to_hex().to_string();
    let path = format!("/v1/bundles/{digest}");
    let reply = world.request("GET", &path).token(&anna).send().await;
    assert_eq!(reply.error().code, ErrorCode::NotFound);
    let reply = world.upload("anna", &bytes).await;
    assert_eq!(reply.status.as_u16(), 201, "{}", reply.text());
    let expected = Bundle {
        digest: digest.clone(),
        size_bytes: bytes.len() as u64,
    };
    assert_eq!(reply.json::<Bundle>(), expected);
    let reply = world.request("GET", &path).token(&anna).send().await;
    assert_eq!(reply.json::<Bundle>(), expected);

    let submit = |key: &'static str, who: &str, body: serde_json::Value| {
        let request = world.request("POST", "/v1/jobs").token(&world.token(who));
        request.header("idempotency-key", key).json(&body).send()
    };
    let body = json!({ "bundle": digest });
    let first = submit("k", "anna", body.clone()).await;
    assert_eq!(first.status.as_u16(), 201, "{}", first.text());
    let job: Job = first.json();
    assert_eq!((job.user.as_str(), job.name.as_str()), ("anna", "trial"));
    assert_eq!(job.bundle.as_deref(), Some(digest.as_str()));
    let again = submit("k", "anna", body.clone()).await;
    assert_eq!(again.status.as_u16(), 200);
    assert_eq!(again.json::<Job>().id, job.id);
    let other = json!({ "bundle": digest, "overrides": { "name": "other" } });
    let reply = submit("k", "anna", other.clone()).await;
    assert_eq!(reply.error().code, ErrorCode::Conflict);
    // The same key of another user is another key.
    let for_bert = json!({ "bundle": digest, "overrides": { "executor_name": "bert" } });
    // Knowing the digest is not having the bundle.
    let reply = submit("k", "bert", for_bert.clone()).await;
    assert_eq!(reply.error().code, ErrorCode::NotFound);
    for stranger in ["bert", "root"] {
        let token = world.token(stranger);
        let reply = world.request("GET", &path).token(&token).send().await;
        assert_eq!(reply.error().code, ErrorCode::NotFound, "{stranger}");
    }
    assert_eq!(world.upload("bert", &bytes).await.status.as_u16(), 201);
    let reply = submit("k", "bert", for_bert).await;
    assert_eq!(reply.status.as_u16(), 201, "{}", reply.text());
    assert_ne!(reply.json::<Job>().id, job.id);
    let reply = submit("k2", "anna", other).await;
    assert_eq!(reply.json::<Job>().name, "other");
}

#[tokio::test]
async fn uploads_that_cannot_be_taken() {
    let world = World::new().await;
    let anna = world.token("anna");
    let put = |digest: String, body: Vec<u8>| {
        let request = world.request("PUT", &format!("/v1/bundles/{digest}"));
        request.token(&anna).body(body)
    };
    let good = zip(&config("anna"));
    let reply = put("00".repeat(32), good.clone()).send().await;
    assert_eq!(reply.error().code, ErrorCode::BadRequest);
    assert!(reply.error().message.contains("digest"));

    // Every fault of a bundle is told, each with its rule.
    let bad = zip(&config("anna")
        .replace("\"num_gpus\"", "\"num_gpu\"")
        .replace("trial", "t"));
    let digest = blake3::hash(&bad).to_hex().to_string();
    let reply = put(digest, bad).send().await;
    assert_eq!(reply.error().code, ErrorCode::Invalid);
    assert_eq!(reply.error().faults.len(), 2, "{}", reply.text());

    let digest = blake3::hash(&good).to_hex().to_string();
    let reply = put(digest.clone(), good.clone())
        .without_length()
        .send()
        .await;
    assert_eq!(reply.error().code, ErrorCode::BadRequest);
    let short = good.len() as u64 + 1;
    let reply = put(digest.clone(), good.clone()).length(short).send().await;
    assert_eq!(reply.error().code, ErrorCode::BadRequest);
    let reply = put(digest.clone(), good.clone()).length(1).send().await;
    assert_eq!(reply.error().code, ErrorCode::BadRequest);
    let reply = put(digest.clone(), good.clone())
        .length(1 << 40)
        .send()
        .await;
    assert_eq!(reply.error().code, ErrorCode::TooLarge);
    let reply = world
        .request("GET", &format!("/v1/bundles/{digest}"))
        .token(&anna)
        .send()
        .await;
    assert_eq!(reply.error().code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_full_disk_refuses_uploads_and_nothing_else() {
    let world = World::with(|settings| settings.min_free_bytes = u64::MAX).await;
    let reply = world.upload("anna", &zip(&config("anna"))).await;
    assert_eq!(reply.status.as_u16(), 507);
    assert_eq!(reply.error().code, ErrorCode::InsufficientStorage);
    let request = world
        .request("GET", "/v1/queue")
        .token(&world.token("anna"));
    assert_eq!(request.send().await.status.as_u16(), 200);
}

#[tokio::test]
async fn submissions_that_cannot_be_taken() {
    let world = World::new().await;
    world.worker("gpu-1", 2).await;
    let bytes = zip(&config("anna"));
    for who in ["anna", "bert", "olga", "root"] {
        world.upload(who, &bytes).await;
    }
    let digest = blake3::hash(&bytes).to_hex().to_string();
    let none = "00".repeat(32);
    for (who, body, code, rule) in [
        ("anna", json!({ "bundle": none }), ErrorCode::NotFound, ""),
        (
            "bert",
            json!({ "bundle": digest }),
            ErrorCode::Invalid,
            "executor_mismatch",
        ),
        (
            "olga",
            json!({ "bundle": digest }),
            ErrorCode::Invalid,
            "executor_mismatch",
        ),
        (
            "root",
            json!({ "bundle": digest, "overrides": { "executor_name": "nobody" } }),
            ErrorCode::Invalid,
            "executor_unknown",
        ),
        (
            "anna",
            json!({ "bundle": digest, "overrides": { "class": "urgent" } }),
            ErrorCode::Invalid,
            "class_not_allowed",
        ),
        (
            "anna",
            json!({ "bundle": digest, "overrides": { "num_gpus": 3 } }),
            ErrorCode::Invalid,
            "",
        ),
    ] {
        let request = world.request("POST", "/v1/jobs").token(&world.token(who));
        let reply = request.json(&body).send().await;
        let error = reply.error();
        assert_eq!(error.code, code, "{who} {body}: {}", reply.text());
        let rules: Vec<_> = error
            .faults
            .iter()
            .map(|fault| fault.rule.as_str())
            .collect();
        assert_eq!(rules.join(" "), rule, "{who} {body}");
    }
    let request = world
        .request("POST", "/v1/jobs")
        .token(&world.token("root"));
    let reply = request.json(&json!({ "bundle": digest })).send().await;
    assert_eq!(reply.json::<Job>().user, "anna");
    for key in ["", "a\u{e9}", &"x".repeat(201)] {
        let request = world
            .request("POST", "/v1/jobs")
            .token(&world.token("anna"));
        let request = request.header("idempotency-key", key);
        let reply = request.json(&json!({ "bundle": digest })).send().await;
        assert_eq!(reply.error().code, ErrorCode::BadRequest, "{key:?}");
    }
}

//! Pruning: what jobs need stays, the rest goes, and the audit log tells who asked.

use axum::http::StatusCode;
use dopq_common::api::Pruned;
use dopq_common::id::Digest;
use serde_json::json;

use super::world::{World, config, zip};

impl World {
    async fn prune(&self, dry_run: bool) -> Pruned {
        // Nothing that was written within this millisecond goes.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let request = self.request("POST", "/v1/prune");
        let body = json!({"dry_run": dry_run});
        let request = request.token(&self.token("root")).json(&body);
        let reply = request.send().await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        reply.json()
    }
}

fn removed(pruned: &Pruned) -> Vec<(&str, u64)> {
    let kinds = pruned.kinds.iter();
    kinds
        .map(|kind| (kind.kind.as_str(), kind.removed_objects))
        .filter(|(_, removed)| *removed > 0)
        .collect()
}

#[tokio::test]
async fn what_a_job_needs_stays_until_it_has_ended() {
    let world = World::new().await;
    let bytes = zip(&config("anna"));
    let digest = Digest(*blake3::hash(&bytes).as_bytes());
    let job = world.running_bundle("anna", "gpu-1", &bytes).await;
    world.store_log(job, 1, 0, b"a line").await;
    assert!(removed(&world.prune(false).await).is_empty(), "it runs");

    world.finished(job, "gpu-1", 6).await;
    let would = world.prune(true).await;
    assert!(would.dry_run);
    assert_eq!(removed(&would), [("bundles", 1), ("logs", 1)]);
    assert!(world.bundles.find(&digest).await.expect("asked").is_some());
    let pruned = world.prune(false).await;
    assert_eq!(removed(&pruned), [("bundles", 1), ("logs", 1)]);
    assert!(world.bundles.find(&digest).await.expect("asked").is_none());
    let left = world.prune(false).await.kinds;
    let left: Vec<_> = left.iter().filter(|kind| kind.kept_objects > 0).collect();
    let left: Vec<_> = left.iter().map(|kind| kind.kind.as_str()).collect();
    assert_eq!(left, ["archive"]);

    let line = |who: &str, action: &str, target: &str| {
        (who.to_owned(), action.to_owned(), target.to_owned())
    };
    assert_eq!(
        world.audited(1).await,
        [line("root", "prune", "bundles")],
        "a dry run changes nothing and is not told"
    );
    // It can be submitted anew.
    let reply = world.upload("anna", &bytes).await;
    assert_eq!(reply.status, StatusCode::CREATED);
}

#[tokio::test]
async fn only_admins_prune() {
    let world = World::new().await;
    for who in ["anna", "olga"] {
        let request = world.request("POST", "/v1/prune").token(&world.token(who));
        let reply = request.json(&json!({})).send().await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{who}");
    }
}

#[tokio::test]
async fn who_keeps_too_much_cannot_submit_until_some_of_it_is_gone() {
    let world = World::with_quota(10_000).await;
    let bytes = zip(&config("anna"));
    let digest = blake3::hash(&bytes).to_hex().to_string();
    let reply = world.upload("anna", &bytes).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    let job = world.running_job("anna", "gpu-1").await;
    let keyed = || {
        let request = world
            .request("POST", "/v1/jobs")
            .token(&world.token("anna"));
        let request = request.header("idempotency-key", "once");
        request.json(&json!({"bundle": digest})).send()
    };
    assert_eq!(keyed().await.status, StatusCode::CREATED);
    world.store_log(job, 1, 0, &[b'x'; 15_360]).await;
    let remove = |job: u64| {
        let request = world.request("DELETE", &format!("/v1/jobs/{job}/output"));
        request.token(&world.token("anna")).send()
    };
    assert_eq!(remove(job).await.status, StatusCode::CONFLICT, "it runs");
    world.finished(job, "gpu-1", 15_360).await;
    // Only sweeps count logs, and this one would remove nothing that is to stay.
    world.prune(true).await;

    let submit = || {
        let request = world
            .request("POST", "/v1/jobs")
            .token(&world.token("anna"));
        request.json(&json!({"bundle": digest})).send()
    };
    let refused = submit().await;
    assert_eq!(refused.status, StatusCode::INSUFFICIENT_STORAGE);
    let error = refused.error();
    assert!(
        error.message.contains("15 KiB of logs"),
        "{}",
        error.message
    );
    assert!(
        error.hint.contains(&format!("dopq prune {job}")),
        "{}",
        error.hint
    );
    let repeated = keyed().await;
    assert_eq!(repeated.status, StatusCode::OK, "{}", repeated.text());
    let refused = world.upload("anna", &bytes).await;
    assert_eq!(refused.error().message, error.message);
    let removed = remove(job).await;
    assert_eq!(removed.status, StatusCode::OK, "{}", removed.text());
    assert_eq!(submit().await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn uploads_count_although_no_job_has_them() {
    let bundle = |name: &str| zip(&config("anna").replace("trial", name));
    let [one, two, three] = ["alpha", "bravo", "gamma"].map(bundle);
    let most = one.len() + two.len();
    let world = World::with_quota(u64::try_from(most).expect("a size")).await;
    for bytes in [&one, &one, &two] {
        let reply = world.upload("anna", bytes).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
    }
    let reply = world.upload("anna", &three).await;
    assert_eq!(reply.status, StatusCode::INSUFFICIENT_STORAGE);
    // A sweep finds the same.
    world.prune(true).await;
    let error = world.upload("anna", &three).await.error();
    assert!(error.message.starts_with("you keep"), "{}", error.message);
    assert!(
        error.hint.contains("wait, or ask an admin"),
        "{}",
        error.hint
    );
    // Whoever has the same content keeps it too.
    for (bytes, status) in [
        (&one, StatusCode::CREATED),
        (&two, StatusCode::CREATED),
        (&three, StatusCode::INSUFFICIENT_STORAGE),
    ] {
        let reply = world.upload("bert", bytes).await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
}

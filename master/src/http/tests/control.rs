//! The end of a master, and its settings.

use std::time::Duration;

use dopq_common::api::{ErrorCode, Explanation, Reloaded, ShuttingDown, Status};
use serde_json::json;

use super::world::World;

async fn ends(world: &World) {
    let ended = world.shutdown().cancelled();
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
    ended.expect("it ends");
}

#[tokio::test]
async fn a_reload_tells_what_changed() {
    let world = World::new().await;
    let request = world.request("POST", "/v1/reload");
    let reply = request.token(&world.token("root")).send().await;
    let told: Reloaded = reply.json();
    assert_eq!(told.changes, []);
}

#[tokio::test]
async fn a_master_that_is_drained_starts_nothing_and_ends_when_it_is_empty() {
    let world = World::new().await;
    let root = world.token("root");
    let first = world.running_job("anna", "gpu-1").await;
    let request = world.request("POST", "/v1/shutdown").token(&root);
    let reply = request.json(&json!({ "mode": "drain" })).send().await;
    assert_eq!(reply.status.as_u16(), 202, "{}", reply.text());
    let told: ShuttingDown = reply.json();
    assert_eq!(told.jobs_left, 1);
    let second = world.submit("anna").await;
    let path = format!("/v1/jobs/{second}/explain");
    let request = world.request("GET", &path).token(&root);
    let explained: Explanation = request.send().await.json();
    assert!(
        explained
            .reasons
            .iter()
            .any(|why| why.contains("root is shutting it down")),
        "{explained:?}"
    );
    let request = world.request("GET", "/v1/status").token(&root);
    let status: Status = request.send().await.json();
    let scheduler = status
        .components
        .iter()
        .find(|part| part.name == "scheduler");
    assert_eq!(scheduler.map(|part| &*part.state), Some("degraded"));
    assert!(!world.shutdown().is_cancelled(), "a job runs");
    world.finished(first, "gpu-1", 0).await;
    ends(&world).await;
}

#[tokio::test]
async fn a_master_ends_at_once_if_it_is_told_so() {
    let world = World::new().await;
    let root = world.token("root");
    world.running_job("anna", "gpu-1").await;
    let request = world.request("POST", "/v1/shutdown").token(&root);
    let reply = request.json(&json!({ "mode": "soon" })).send().await;
    assert_eq!(reply.error().code, ErrorCode::BadRequest);
    let request = world.request("POST", "/v1/shutdown").token(&root);
    let reply = request.json(&json!({ "mode": "now" })).send().await;
    assert_eq!(reply.status.as_u16(), 202);
    ends(&world).await;
}

//! Keys of nodes: made once, good until replaced or removed, and the only ones that pass for their node.

use dopq_common::api::{ErrorCode, NodeKeyCreated, NodeKeyList, NodeList};
use dopq_common::id::WorkerId;
use dopq_common::wire::{Standing, ToWorker, WorkerKey};
use serde_json::json;

use super::ask::Reply;
use super::world::World;

async fn add(world: &World, body: serde_json::Value) -> Reply {
    let request = world.request("POST", "/v1/node-keys");
    request.token(&world.token("root")).json(&body).send().await
}

fn key(created: &NodeKeyCreated) -> WorkerKey {
    created.key.reveal().parse().expect("a key")
}

/// Asks as the node `gpu-1` how it stands.
async fn standing(world: &World, proof: &str) -> Reply {
    let request = world.request("GET", "/data/v1/standing/n1");
    request
        .token(proof)
        .header("dopq-worker", "gpu-1")
        .send()
        .await
}

fn question() -> String {
    Standing::question("n1")
}

#[tokio::test]
async fn a_key_is_good_until_it_is_replaced_or_removed() {
    let world = World::new().await;
    let reply = add(&world, json!({"name": "gpu-1"})).await;
    assert_eq!(reply.status.as_u16(), 201, "{}", reply.text());
    let created: NodeKeyCreated = reply.json();
    assert_eq!(
        (created.info.name.as_str(), created.cluster.as_str()),
        ("gpu-1", "default")
    );
    assert_eq!(created.broker, None);
    let first = key(&created);

    let reply = standing(&world, first.proof(&question()).reveal()).await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
    let worker: WorkerId = "gpu-1".parse().expect("a name");
    let told = first.open_to(ToWorker::Standing, &worker, &reply.body);
    let told: Standing = serde_json::from_slice(told.expect("sealed")).expect("a standing");
    assert_eq!(told.nonce, "n1");
    assert!(told.epoch.0 > 0);

    // Neither the proof of another question, nor the key that the cluster's secret gives.
    for wrong in [
        first.proof(&Standing::question("n2")).reveal(),
        &world.standing_proof("n1", "gpu-1"),
        created.key.reveal(),
    ] {
        let reply = standing(&world, wrong).await;
        assert_eq!(reply.error().code, ErrorCode::Unauthorized, "{wrong}");
    }

    let again = add(&world, json!({"name": "gpu-1"})).await;
    assert_eq!(again.error().code, ErrorCode::Conflict);
    let second = add(&world, json!({"name": "gpu-1", "replace": true})).await;
    let second = key(&second.json());
    let reply = standing(&world, first.proof(&question()).reveal()).await;
    assert_eq!(reply.error().code, ErrorCode::Unauthorized);
    let reply = standing(&world, second.proof(&question()).reveal()).await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());

    let listed = world.request("GET", "/v1/node-keys");
    let listed = listed.token(&world.token("olga")).send().await;
    assert!(!listed.text().contains(second.reveal().as_str()));
    let listed: NodeKeyList = listed.json();
    let names = listed
        .keys
        .iter()
        .map(|key| (key.name.as_str(), key.added_by.as_str()));
    assert_eq!(names.collect::<Vec<_>>(), [("gpu-1", "root")]);

    let remove = || {
        let request = world.request("DELETE", "/v1/node-keys/gpu-1");
        request.token(&world.token("root")).send()
    };
    assert_eq!(remove().await.status.as_u16(), 204);
    let reply = standing(&world, second.proof(&question()).reveal()).await;
    assert_eq!(reply.error().code, ErrorCode::Unauthorized);
    assert_eq!(remove().await.error().code, ErrorCode::NotFound);
    let actions: Vec<_> = world
        .audited(4)
        .await
        .into_iter()
        .map(|line| line.1)
        .collect();
    assert!(actions.contains(&"node_remove".to_owned()), "{actions:?}");
    assert!(actions.contains(&"node_add".to_owned()), "{actions:?}");
}

#[tokio::test]
async fn the_jobs_of_a_removed_node_run_elsewhere_at_once() {
    let world = World::new().await;
    add(&world, json!({"name": "gpu-1"})).await;
    let job = world.running_job("anna", "gpu-1").await;
    let attempt = world.attempt(job, 1).to_string();
    let request = world.request("DELETE", "/v1/node-keys/gpu-1");
    let reply = request.token(&world.token("root")).send().await;
    assert_eq!(reply.status.as_u16(), 204, "{}", reply.text());

    let shown = world.request("GET", &format!("/v1/jobs/{job}"));
    let shown: dopq_common::api::Job = shown.token(&world.token("anna")).send().await.json();
    assert_eq!(shown.state, "queued");
    let nodes = world
        .request("GET", "/v1/nodes")
        .token(&world.token("olga"));
    let nodes: NodeList = nodes.send().await.json();
    assert_eq!(nodes.nodes[0].state, "lost");
    let path = format!("/data/v1/attempts/{attempt}/bundle");
    let request = world.request("GET", &path).header("dopq-worker", "gpu-1");
    let reply = request
        .token(&world.attempt_token(&attempt, "gpu-1"))
        .send()
        .await;
    assert_eq!(reply.error().code, ErrorCode::Conflict);
}

#[tokio::test]
async fn the_secret_opens_nothing_of_a_node_with_a_key() {
    let world = World::new().await;
    add(&world, json!({"name": "gpu-1"})).await;
    let job = world.running_job("anna", "gpu-1").await;
    let attempt = world.attempt(job, 1).to_string();
    let path = format!("/data/v1/attempts/{attempt}/logs/0");
    let request = world.request("PUT", &path).header("dopq-worker", "gpu-1");
    let shared = world.attempt_token(&attempt, "gpu-1");
    let reply = request.token(&shared).body("forged").send().await;
    assert_eq!(reply.error().code, ErrorCode::Unauthorized);
}

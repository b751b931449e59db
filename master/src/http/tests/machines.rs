//! Machines are drained, and jobs evicted from them.

use dopq_common::api::{ErrorCode, Job, Node, NodeList};
use serde_json::json;

use super::world::World;

async fn node(world: &World, who: &str) -> Node {
    let request = world.request("GET", "/v1/nodes");
    let list: NodeList = request.token(&world.token(who)).send().await.json();
    list.nodes.into_iter().next().expect("one machine")
}

#[tokio::test]
async fn a_machine_is_drained_and_its_jobs_evicted() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    let olga = world.token("olga");
    let post = async |path: &str, body| {
        let request = world.request("POST", path).token(&olga).json(&body);
        request.send().await
    };
    let drain = json!({ "reason": "new disks", "deadline_seconds": 7200 });
    let reply = post("/v1/nodes/gpu-1/drain", drain).await;
    assert_eq!(reply.status.as_u16(), 204);
    // Bert sees nothing of the job but that it keeps the machine from being empty.
    let drained = node(&world, "bert").await;
    assert_eq!(drained.cordon.as_deref(), Some("new disks (by olga)"));
    let drained = drained.drain.expect("a drain");
    assert_eq!(drained.jobs_left, 1);
    assert!(drained.deadline.is_some());

    let reply = post("/v1/nodes/gpu-1/evict", json!({})).await;
    assert_eq!(reply.status.as_u16(), 202);
    let path = format!("/v1/jobs/{job}");
    let request = world.request("GET", &path).token(&olga);
    let evicted: Job = request.send().await.json();
    assert_eq!(evicted.state, "stopping");
    let note = evicted.timeline.last().map(|line| line.note.clone());
    assert_eq!(note.as_deref(), Some("evicted from its machine by olga"));

    let reply = post("/v1/nodes/gpu-1/uncordon", json!({})).await;
    assert_eq!(reply.status.as_u16(), 204);
    let open = node(&world, "anna").await;
    assert_eq!((open.drain, open.cordon), (None, None));
}

#[tokio::test]
async fn what_cannot_be_drained_or_evicted_is_told() {
    let world = World::new().await;
    let olga = world.token("olga");
    let running = world.running_job("anna", "gpu-1").await;
    for (path, body, code) in [
        (
            "/v1/nodes/gpu-7/drain".to_owned(),
            json!({}),
            ErrorCode::NotFound,
        ),
        (
            "/v1/nodes/gpu-7/evict".to_owned(),
            json!({}),
            ErrorCode::NotFound,
        ),
        (
            "/v1/nodes/gpu-1/drain".to_owned(),
            json!({ "reason": "a\u{1b}[2J" }),
            ErrorCode::BadRequest,
        ),
        (
            "/v1/nodes/gpu-1/drain".to_owned(),
            json!({ "deadline_seconds": -1 }),
            ErrorCode::BadRequest,
        ),
        (
            format!("/v1/jobs/{}/evict", running + 100),
            json!({}),
            ErrorCode::NotFound,
        ),
    ] {
        let request = world.request("POST", &path).token(&olga);
        let reply = request.json(&body).send().await;
        assert_eq!(reply.error().code, code, "{path} {body}");
    }
    for text in ["stopping", "stopping"] {
        let path = format!("/v1/jobs/{running}/evict");
        let reply = world.request("POST", &path).token(&olga).send().await;
        assert_eq!(reply.status.as_u16(), 202, "{}", reply.text());
        let job: Job = reply.json();
        assert_eq!(job.state, text);
    }
}

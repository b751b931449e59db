//! Machines are drained, and jobs evicted from them.

use dopq_common::api::{ErrorCode, Job, Node, NodeList, NodeRemoved};
use dopq_common::wire::{CLUSTER_HEADER, INSTANCE_HEADER, Standing};
use serde_json::json;

use super::ask::Reply;
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

/// Asks how `gpu-1` stands, as the machine with this data folder and of this cluster.
async fn standing(world: &World, instance: &str, cluster: &str) -> Reply {
    let request = world.request("GET", "/data/v1/standing/n1");
    request
        .token(&world.standing_proof("n1", "gpu-1"))
        .header("dopq-worker", "gpu-1")
        .header(INSTANCE_HEADER, instance)
        .header(CLUSTER_HEADER, cluster)
        .send()
        .await
}

#[tokio::test]
async fn a_second_machine_learns_who_has_its_name() {
    let world = World::new().await;
    world.worker("gpu-1", 1).await;
    for (instance, holder) in [
        ("data-of-gpu-1", None),
        ("", None),
        ("data-of-another", Some("gpu-1.lab (10.0.0.1)")),
    ] {
        let reply = standing(&world, instance, "default").await;
        assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
        let sealed = reply.text();
        let (_seal, body) = sealed.split_once('\n').expect("sealed");
        let told: Standing = serde_json::from_str(body).expect("a standing");
        assert_eq!(told.holder.as_deref(), holder, "{instance}");
    }
    let node = node(&world, "anna").await;
    assert_eq!(node.host, "gpu-1.lab (10.0.0.1)");
    assert_eq!((&*node.agent, &*node.engine), ("9.9.9", "29.1.2"));
}

#[tokio::test]
async fn a_machine_of_another_cluster_is_told_so_whatever_its_key() {
    let world = World::new().await;
    world.worker("gpu-1", 1).await;
    let reply = standing(&world, "data-of-gpu-1", "another").await;
    assert_eq!(reply.status.as_u16(), 409);
    let error = reply.error();
    assert!(error.message.contains("another cluster"), "{error:?}");
    assert!(!reply.text().contains("default"), "the name is not told");
    let request = world.request("GET", "/data/v1/standing/n1");
    let request = request.token("wrong").header("dopq-worker", "gpu-1");
    let reply = request.header(CLUSTER_HEADER, "another").send().await;
    assert_eq!(reply.status.as_u16(), 409);
}

#[tokio::test]
async fn a_machine_is_removed_once_it_is_empty() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    let root = world.token("root");
    let remove = async |path: &str| world.request("DELETE", path).token(&root).send().await;
    let refused = remove("/v1/nodes/gpu-1").await.error();
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert!(refused.hint.contains("dopq drain gpu-1"), "{refused:?}");
    let removed: NodeRemoved = remove("/v1/nodes/gpu-1?force=true").await.json();
    assert_eq!((&*removed.name, removed.left.len()), ("gpu-1", 0));
    let request = world.request("GET", "/v1/nodes");
    let list: NodeList = request.token(&root).send().await.json();
    assert_eq!(list.nodes, []);
    let path = format!("/v1/jobs/{job}");
    let request = world.request("GET", &path).token(&root);
    let job: Job = request.send().await.json();
    assert_eq!(job.state, "queued", "it runs elsewhere");
    let again = remove("/v1/nodes/gpu-1").await.error();
    assert_eq!(again.code, ErrorCode::NotFound);
}

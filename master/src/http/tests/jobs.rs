//! Lists, single jobs, what may be done to them, machines, users and the lock.

use std::collections::BTreeSet;

use dopq_common::api::{
    self, ErrorCode, Explanation, Job, JobPage, NodeList, Queue, Role, Status, TokenCreated, User,
    UserList, WhoAmI,
};
use serde_json::json;

use super::world::World;

async fn ids(world: &World, who: &str, query: &str) -> Vec<u64> {
    let path = format!("/v1/jobs{query}");
    let reply = world
        .request("GET", &path)
        .token(&world.token(who))
        .send()
        .await;
    let page: JobPage = reply.json();
    page.jobs.iter().map(|job| job.id).collect()
}

#[tokio::test]
async fn lists_are_everybodys_filtered_and_paged() {
    let world = World::new().await;
    world.worker("gpu-1", 2).await;
    let mut jobs = Vec::new();
    for who in ["anna", "bert", "anna", "bert", "anna"] {
        jobs.push(world.submit(who).await);
    }
    let [a1, b1, a2, b2, a3] = jobs[..] else {
        panic!("five jobs");
    };
    assert_eq!(ids(&world, "anna", "").await, [a3, b2, a2, b1, a1]);
    assert_eq!(ids(&world, "olga", "").await, [a3, b2, a2, b1, a1]);
    assert_eq!(ids(&world, "olga", "?user=bert").await, [b2, b1]);
    assert_eq!(ids(&world, "anna", "?user=anna").await, [a3, a2, a1]);
    assert_eq!(ids(&world, "anna", "?arrays=true").await, [0; 0]);
    assert_eq!(
        ids(&world, "anna", &format!("?ids={a1},{b1},{a3}")).await,
        [a3, b1, a1]
    );
    assert_eq!(
        ids(&world, "olga", &format!("?ids={b1}-{b2}")).await,
        [b2, a2, b1]
    );
    assert_eq!(
        ids(&world, "olga", &format!("?limit=2&before={b2}")).await,
        [a2, b1]
    );
    let states: BTreeSet<_> = ids(&world, "olga", "?state=queued")
        .await
        .into_iter()
        .collect();
    let others = ids(&world, "olga", "?state=assigned,building,running").await;
    assert_eq!(others, [b1, a1]);
    assert_eq!(states, BTreeSet::from([a2, b2, a3]));

    let reply = world
        .request("GET", "/v1/jobs?limit=2")
        .token(&world.token("olga"))
        .send()
        .await;
    let page: JobPage = reply.json();
    assert_eq!(page.next, Some(b2));
    let queue = |who: &'static str| {
        let world = &world;
        async move {
            let reply = world
                .request("GET", "/v1/queue")
                .token(&world.token(who))
                .send()
                .await;
            let queue: Queue = reply.json();
            let entries = queue.entries.iter();
            entries
                .map(|entry| (entry.position, entry.id))
                .collect::<Vec<_>>()
        }
    };
    let all = queue("olga").await;
    assert_eq!(
        all.iter()
            .map(|(position, _)| *position)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(queue("anna").await, all);
}

#[tokio::test]
async fn a_job_is_shown_held_released_and_cancelled() {
    let world = World::new().await;
    world.worker("gpu-1", 2).await;
    for _ in 0..3 {
        world.submit("anna").await;
    }
    let id = world.submit("anna").await;
    let anna = world.token("anna");
    let act = async |verb: &str, rest: &str| {
        let path = format!("/v1/jobs/{id}{rest}");
        world.request(verb, &path).token(&anna).send().await
    };
    let job: Job = act("GET", "").await.json();
    assert_eq!((job.state.as_str(), job.position), ("queued", Some(2)));
    assert!(job.reason.is_some_and(|reason| !reason.is_empty()));
    assert_eq!(job.reason_short.as_deref(), Some("no GPU free"));
    assert_eq!(job.timeline.len(), 1);
    let why: Explanation = act("GET", "/explain").await.json();
    assert_eq!((why.id, why.position), (id, Some(2)));
    assert!(!why.reasons.is_empty());
    let moved = world
        .request("POST", &format!("/v1/jobs/{id}/priority"))
        .token(&anna)
        .json(&json!({ "priority": 5 }))
        .send()
        .await;
    let moved: Job = moved.json();
    assert_eq!((moved.priority, moved.position), (5, Some(1)));
    let job: Job = act("POST", "/hold").await.json();
    assert!(job.reason.is_some_and(|reason| reason.contains("anna")));
    assert_eq!(job.reason_short.as_deref(), Some("held by anna"));
    let job: Job = act("POST", "/release").await.json();
    assert_eq!(job.state, "queued");
    let reply = act("DELETE", "").await;
    assert_eq!(reply.status.as_u16(), 202);
    let job: Job = reply.json();
    let outcome = job.outcome.expect("finished");
    assert_eq!(
        (outcome.cause.as_str(), outcome.by.as_deref()),
        ("cancelled", Some("anna"))
    );
    assert_eq!(act("DELETE", "").await.error().code, ErrorCode::Conflict);
    assert_eq!(act("POST", "/hold").await.error().code, ErrorCode::Conflict);
}

#[tokio::test]
async fn machines_the_lock_and_the_status() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    let olga = world.token("olga");
    let nodes = async |who: &str| {
        let reply = world
            .request("GET", "/v1/nodes")
            .token(&world.token(who))
            .send()
            .await;
        let list: NodeList = reply.json();
        list.nodes.into_iter().next().expect("one machine")
    };
    let node = nodes("anna").await;
    assert_eq!((node.name.as_str(), node.state.as_str()), ("gpu-1", "up"));
    assert_eq!(node.jobs, [job]);
    assert_eq!(
        node.gpus.iter().filter(|gpu| gpu.held_ratio == 1.0).count(),
        1
    );
    let held = |node: &api::Node| {
        let gpus = node.gpus.iter();
        let holders = gpus.flat_map(|gpu| gpu.holders.clone());
        holders
            .map(|holder| (holder.job, holder.user, holder.gpu_milli))
            .collect::<Vec<_>>()
    };
    let theirs = nodes("bert").await;
    assert_eq!(theirs.jobs, [job]);
    assert_eq!(held(&theirs), [(job, "anna".to_owned(), 1000)]);

    let cordon = json!({ "reason": "new fan" });
    let request = world.request("POST", "/v1/nodes/gpu-1/cordon").token(&olga);
    assert_eq!(request.json(&cordon).send().await.status.as_u16(), 204);
    assert_eq!(
        nodes("anna").await.cordon.as_deref(),
        Some("new fan (by olga)")
    );
    let request = world
        .request("POST", "/v1/nodes/gpu-1/uncordon")
        .token(&olga);
    assert_eq!(request.send().await.status.as_u16(), 204);
    assert_eq!(nodes("anna").await.cordon, None);
    let request = world.request("POST", "/v1/nodes/gpu-7/cordon").token(&olga);
    assert_eq!(
        request.json(&cordon).send().await.error().code,
        ErrorCode::NotFound
    );

    for (body, status) in [
        (json!({ "reason": "update", "for_seconds": 60 }), 204),
        (json!({ "reason": "update", "for_seconds": 0 }), 400),
        (json!({ "reason": "a\u{1b}[2J", "for_seconds": 60 }), 400),
    ] {
        let request = world.request("POST", "/v1/queue/lock").token(&olga);
        assert_eq!(
            request.json(&body).send().await.status.as_u16(),
            status,
            "{body}"
        );
    }
    let request = world.request("GET", "/v1/queue").token(&olga);
    let queue: Queue = request.send().await.json();
    assert!(
        queue
            .lock
            .is_some_and(|lock| lock.contains("olga") && lock.contains("update"))
    );

    let reply = world
        .request("GET", "/v1/status")
        .token(&world.token("anna"))
        .send()
        .await;
    let status: Status = reply.json();
    assert_eq!(
        (status.role.as_str(), status.jobs.get("running")),
        ("leader", Some(&1))
    );
    let state = |name: &str| {
        let part = status.components.iter().find(|part| part.name == name);
        part.map(|part| part.state.clone()).unwrap_or_default()
    };
    assert_eq!(
        (state("leader").as_str(), state("scheduler").as_str()),
        ("up", "degraded")
    );
    assert_eq!(
        (state("broker").as_str(), state("store").as_str()),
        ("up", "up")
    );
}

#[tokio::test]
async fn accounts_and_tokens_live_and_die() {
    let world = World::new().await;
    let root = world.token("root");
    let post = async |who: &str, path: &str, body: serde_json::Value| {
        world
            .request("POST", path)
            .token(who)
            .json(&body)
            .send()
            .await
    };
    let reply = post(
        &root,
        "/v1/users",
        json!({ "name": "carl", "role": "operator" }),
    )
    .await;
    assert_eq!(reply.status.as_u16(), 201);
    assert_eq!(reply.json::<User>().role, Role::Operator);
    let reply = post(&root, "/v1/users", json!({ "name": "carl" })).await;
    assert_eq!(reply.error().code, ErrorCode::Conflict);
    let reply = post(&root, "/v1/users", json!({ "name": "a/b" })).await;
    assert_eq!(reply.error().code, ErrorCode::BadRequest);
    let reply = post(&root, "/v1/users/nobody/tokens", json!({})).await;
    assert_eq!(reply.error().code, ErrorCode::NotFound);
    let reply = post(&root, "/v1/users/carl/tokens", json!({ "label": "laptop" })).await;
    assert_eq!(reply.status.as_u16(), 201);
    let first: TokenCreated = reply.json();
    // Who has a token makes further ones alone, and none for others.
    let reply = post(
        first.token.reveal(),
        "/v1/users/carl/tokens",
        json!({ "expires_in_seconds": 60 }),
    )
    .await;
    let second: TokenCreated = reply.json();
    assert!(second.info.expires_at.is_some());
    let reply = post(first.token.reveal(), "/v1/users/anna/tokens", json!({})).await;
    assert_eq!(reply.error().code, ErrorCode::Forbidden);
    let reply = world
        .request("GET", "/v1/whoami")
        .token(second.token.reveal())
        .send()
        .await;
    assert_eq!(reply.json::<WhoAmI>().name, "carl");
    let path = format!("/v1/users/carl/tokens/{}", second.info.id);
    let reply = world
        .request("DELETE", &path)
        .token(first.token.reveal())
        .send()
        .await;
    assert_eq!(reply.status.as_u16(), 204);
    let reply = world
        .request("GET", "/v1/whoami")
        .token(second.token.reveal())
        .send()
        .await;
    assert_eq!(reply.error().code, ErrorCode::Unauthorized);

    let reply = world
        .request("GET", "/v1/users")
        .token(first.token.reveal())
        .send()
        .await;
    assert!(!reply.text().contains(first.token.reveal()) && !reply.text().contains("hash"));
    let list: UserList = reply.json();
    let names: Vec<_> = list.users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["anna", "bert", "carl", "olga", "root"]);
    // The last way in stays.
    let root_token = list.users.iter().find(|user| user.name == "root");
    let id = &root_token.expect("root").tokens.first().expect("one").id;
    let path = format!("/v1/users/root/tokens/{id}");
    let reply = world.request("DELETE", &path).token(&root).send().await;
    assert_eq!(reply.error().code, ErrorCode::Conflict);
}

#[tokio::test]
async fn a_finished_job_shows_how_it_went() {
    let world = World::new().await;
    let id = world.running_job("anna", "gpu-1").await;
    let show = async || {
        let request = world.request("GET", &format!("/v1/jobs/{id}"));
        request
            .token(&world.token("anna"))
            .send()
            .await
            .json::<Job>()
    };
    let running = show().await;
    assert_eq!((running.state.as_str(), running.attempt), ("running", 1));
    assert_eq!(
        (running.worker.as_deref(), running.gpus.len()),
        (Some("gpu-1"), 1)
    );
    assert_eq!((running.position, running.reason), (None, None));
    assert!(running.started_at.is_some() && running.finished_at.is_none());
    assert_eq!(
        running.gpu_milli,
        Some(1000),
        "its slot is a whole GPU here"
    );
    world.finished(id, "gpu-1", 7).await;
    let finished = show().await;
    let outcome = finished.outcome.expect("outcome");
    assert_eq!(
        (outcome.cause.as_str(), outcome.exit_code),
        ("succeeded", Some(0))
    );
    assert_eq!(
        (finished.worker, finished.gpus),
        (running.worker, running.gpus)
    );
    assert_eq!(
        (finished.started_at, finished.log_bytes),
        (running.started_at, Some(7))
    );
    assert!(finished.finished_at.is_some());
    let states: Vec<_> = finished
        .timeline
        .iter()
        .map(|entry| entry.state.as_str())
        .collect();
    assert_eq!(states, ["queued", "assigned", "running", "finished"]);
}

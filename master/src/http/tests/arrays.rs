//! Arrays: one row in lists, tasks by name, what is told of those that have not begun, and running them again.

use dopq_common::api::{ErrorCode, Explanation, Job, JobPage, Queue, Status, Task, UserList};
use serde_json::{Value, json};

use super::ask::Reply;
use super::world::{World, config, zip};

struct Anna {
    world: World,
}

impl Anna {
    /// Anna, a machine with two GPUs, and her array of four tasks of which two have begun; its id.
    async fn with_array() -> (Self, u64) {
        let world = World::new().await;
        world.worker("gpu-1", 2).await;
        let fields = json!({"sweep": ["seed=1..4"], "array": "0-3%2"});
        let array = world.submit_with("anna", &fields).await;
        for task in [array + 1, array + 2] {
            world.runs_again(task, 1, "gpu-1").await;
        }
        (Self { world }, array)
    }

    async fn ask(&self, verb: &str, path: &str) -> Reply {
        let request = self.world.request(verb, path);
        request.token(&self.world.token("anna")).send().await
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        let request = self.world.request("POST", path);
        request
            .token(&self.world.token("anna"))
            .json(body)
            .send()
            .await
    }

    async fn ids(&self, query: &str) -> Vec<u64> {
        let page: JobPage = self.ask("GET", &format!("/v1/jobs{query}")).await.json();
        page.jobs.iter().map(|job| job.id).collect()
    }

    async fn job(&self, name: impl std::fmt::Display) -> Job {
        self.ask("GET", &format!("/v1/jobs/{name}")).await.json()
    }
}

#[tokio::test]
async fn an_array_is_one_row_and_its_tasks_are_listed_when_asked_for() {
    let (anna, array) = Anna::with_array().await;
    let (first, second) = (array + 1, array + 2);
    assert_eq!(anna.ids("").await, [array]);
    assert_eq!(anna.ids("?state=running").await, [array]);
    assert_eq!(anna.ids(&format!("?array={array}")).await, [second, first]);
    assert_eq!(anna.ids(&format!("?array={array}&limit=1")).await, [second]);
    assert_eq!(
        anna.ids(&format!("?array={array}&before={second}")).await,
        [first]
    );
    assert_eq!(anna.ids(&format!("?ids={first}")).await, [first]);
    assert_eq!(anna.ids(&format!("?ids={array}-{second}")).await, [array]);
    let refused = |reply: Reply| reply.error().code;
    let reply = anna.ask("GET", "/v1/jobs?array=99").await;
    assert_eq!(refused(reply), ErrorCode::NotFound);
    let reply = anna.ask("GET", &format!("/v1/jobs?array={first}")).await;
    assert_eq!(refused(reply), ErrorCode::BadRequest);
    let request = anna
        .world
        .request("GET", &format!("/v1/jobs?array={array}"));
    let reply = request.token(&anna.world.token("bert")).send().await;
    let page: JobPage = reply.json();
    assert_eq!(page.jobs.len(), 2, "everybody sees the rows");

    let job = anna.job(array).await;
    let tasks = job.array.expect("an array");
    assert_eq!(
        (tasks.indexes.as_str(), tasks.total, tasks.max_running),
        ("0-3", 4, Some(2))
    );
    assert_eq!((tasks.waiting, tasks.active), (2, 2));
    assert_eq!((job.state.as_str(), job.position), ("running", Some(1)));
    assert!(job.started_at.is_some());
    assert!(
        job.reason
            .is_some_and(|reason| reason.contains("2 tasks run"))
    );
    let task = anna.job(first).await;
    assert_eq!(
        (task.array, task.task),
        (None, Some(Task { array, index: 0 }))
    );

    let status: Status = anna.ask("GET", "/v1/status").await.json();
    assert_eq!((status.jobs["queued"], status.jobs["running"]), (2, 2));
    let request = anna.world.request("GET", "/v1/users");
    let users: UserList = request.token(&anna.world.token("root")).send().await.json();
    let counts = users.users.iter().find(|user| user.name == "anna");
    assert_eq!(counts.map(|user| (user.queued, user.running)), Some((2, 2)));
    let request = anna.world.request("GET", "/metrics");
    let metrics = request.token(&anna.world.token("root")).send().await;
    assert!(
        metrics.text().contains("dopq_jobs{state=\"queued\"} 2"),
        "{}",
        metrics.text()
    );
}

#[tokio::test]
async fn a_task_that_waits_again_makes_no_second_row() {
    let (anna, array) = Anna::with_array().await;
    let reply = anna.ask("GET", &format!("/v1/jobs/{array}_2")).await;
    assert_eq!(reply.json::<Job>().state, "queued");
    // The machine takes nothing more, so that the task which it gives back has to wait.
    let request = anna.world.request("POST", "/v1/nodes/gpu-1/cordon");
    let request = request
        .token(&anna.world.token("olga"))
        .json(&json!({"reason": "fan"}));
    assert_eq!(request.send().await.status.as_u16(), 204);
    anna.world.refused(array + 1, "gpu-1").await;
    assert_eq!(anna.job(format!("{array}_0")).await.state, "queued");
    let queue: Queue = anna.ask("GET", "/v1/queue").await.json();
    let rows: Vec<_> = queue
        .entries
        .iter()
        .map(|entry| (entry.position, entry.id))
        .collect();
    assert_eq!(rows, [(1, array)]);
    let tasks = queue.entries.first().and_then(|entry| entry.array.as_ref());
    assert_eq!(tasks.map(|tasks| tasks.waiting), Some(2));
    for name in [
        array.to_string(),
        format!("{array}_0"),
        format!("{array}_3"),
    ] {
        assert_eq!(anna.job(&name).await.position, Some(1), "{name}");
    }
}

#[tokio::test]
async fn a_task_that_has_not_begun_is_told_from_its_array() {
    let (anna, array) = Anna::with_array().await;
    let (name, id) = (format!("{array}_3"), array + 4);
    let task = anna.job(&name).await;
    assert_eq!(task, anna.job(id).await);
    assert_eq!(
        (task.id, task.state.as_str(), task.attempt),
        (id, "queued", 0)
    );
    assert_eq!(
        (task.array, task.task),
        (None, Some(Task { array, index: 3 }))
    );
    assert!(
        task.reason
            .is_some_and(|reason| reason.contains("2 tasks run"))
    );
    assert_eq!((task.started_at, task.timeline.len()), (None, 1));
    let why: Explanation = anna
        .ask("GET", &format!("/v1/jobs/{name}/explain"))
        .await
        .json();
    assert_eq!((why.id, why.state.as_str()), (id, "queued"));
    assert!(!why.reasons.is_empty());
    let log = anna.ask("GET", &format!("/v1/jobs/{name}/logs")).await;
    assert_eq!((log.status.as_u16(), log.text().as_str()), (200, ""));
    let log = anna
        .ask("GET", &format!("/v1/jobs/{name}/logs/stream"))
        .await;
    assert!(
        log.text().contains("\"state\":\"queued\""),
        "{}",
        log.text()
    );
    let held = anna
        .ask("POST", &format!("/v1/jobs/{name}/hold"))
        .await
        .error();
    assert!(
        held.message.contains("only the whole array"),
        "{}",
        held.message
    );

    let request = anna
        .world
        .request("GET", &format!("/v1/jobs/{name}/explain"));
    let reply = request.token(&anna.world.token("bert")).send().await;
    assert_eq!(reply.error().code, ErrorCode::NotFound);
    let none = anna
        .ask("GET", &format!("/v1/jobs/{array}_4"))
        .await
        .error();
    assert_eq!(none.code, ErrorCode::NotFound);
    assert!(
        none.message.contains("its tasks are 0-3"),
        "{}",
        none.message
    );

    let cancelled = anna.ask("DELETE", &format!("/v1/jobs/{name}")).await;
    assert_eq!(cancelled.status.as_u16(), 202);
    assert_eq!(cancelled.json::<Job>().state, "finished");
    let tasks = anna.job(array).await.array.expect("an array");
    assert_eq!((tasks.waiting, tasks.active, tasks.cancelled), (1, 2, 1));
    assert_eq!(tasks.cancelled_indexes, "3");
}

#[tokio::test]
async fn logs_and_results_are_a_tasks_and_not_an_arrays() {
    let (anna, array) = Anna::with_array().await;
    for path in ["logs", "logs/stream", "results"] {
        let error = anna
            .ask("GET", &format!("/v1/jobs/{array}/{path}"))
            .await
            .error();
        assert_eq!(error.code, ErrorCode::BadRequest, "{path}");
        assert!(error.hint.contains(&format!("{array}_0")), "{}", error.hint);
    }
    let reply = anna.ask("GET", &format!("/v1/jobs/{array}_0/logs")).await;
    assert_eq!(reply.status.as_u16(), 200);
}

#[tokio::test]
async fn events_tell_of_tasks_to_those_who_ask_for_them() {
    let (anna, array) = Anna::with_array().await;
    let token = anna.world.token("anna");
    let open = async |query: String| {
        let request = anna.world.request("GET", &format!("/v1/events{query}"));
        request.token(&token).open().await
    };
    let mut plain = open(String::new()).await;
    let mut with_tasks = open(format!("?array={array}")).await;
    anna.world.failed(array + 1, "gpu-1").await;
    let mut told = std::collections::BTreeSet::new();
    while told.len() < 2 {
        let job: Job = serde_json::from_str(&with_tasks.event().await.data).expect("a job");
        told.insert(job.id);
    }
    assert_eq!(told, [array, array + 1].into());
    anna.world.finished(array + 2, "gpu-1", 0).await;
    loop {
        let job: Job = serde_json::from_str(&plain.event().await.data).expect("a job");
        assert_eq!(job.id, array, "a task is told of unasked");
        if job.array.is_some_and(|tasks| tasks.succeeded == 1) {
            break;
        }
    }
}

#[tokio::test]
async fn who_follows_a_task_that_never_begins_is_told() {
    let (anna, array) = Anna::with_array().await;
    let path = format!("/v1/jobs/{array}_3/logs/stream?follow=true");
    let request = anna.world.request("GET", &path);
    let mut log = request.token(&anna.world.token("anna")).open().await;
    let path = format!("/v1/jobs/{array}");
    assert_eq!(anna.ask("DELETE", &path).await.status.as_u16(), 202);
    let end = log.event().await;
    assert_eq!(end.name, "error", "{}", end.data);
    let none = anna.ask("GET", &format!("{path}_3")).await.error();
    assert!(none.message.contains("never started"), "{}", none.message);
    let stopping = anna.job(array).await;
    assert_eq!(
        (stopping.state.as_str(), stopping.reason),
        ("stopping", None)
    );
}

/// Both tasks under way end, task 0 by its own fault, and then the others well.
async fn ends(anna: &Anna, array: u64) {
    anna.world.failed(array + 1, "gpu-1").await;
    anna.world.finished(array + 2, "gpu-1", 0).await;
    for task in [array + 3, array + 4] {
        anna.world.runs_again(task, 1, "gpu-1").await;
        anna.world.finished(task, "gpu-1", 0).await;
    }
}

#[tokio::test]
async fn an_array_ends_as_its_tasks_did_and_what_failed_is_run_again() {
    let (anna, array) = Anna::with_array().await;
    let retry = format!("/v1/jobs/{array}/retry");
    let early = anna.post(&retry, &json!({"failed": true})).await.error();
    assert_eq!(early.code, ErrorCode::Conflict);
    ends(&anna, array).await;
    let over = anna.job(array).await;
    let outcome = over.outcome.expect("over");
    assert_eq!(
        (outcome.cause.as_str(), outcome.exit_code),
        ("user_error", Some(3))
    );
    let tasks = over.array.expect("an array");
    assert_eq!(
        (tasks.succeeded, tasks.failed, tasks.failed_indexes.as_str()),
        (3, 1, "0")
    );

    let request = anna
        .world
        .request("POST", &retry)
        .header("idempotency-key", "k");
    let request = request.token(&anna.world.token("anna"));
    let reply = request.json(&json!({"failed": true})).send().await;
    assert_eq!(reply.status.as_u16(), 201, "{}", reply.text());
    let again: Job = reply.json();
    assert_eq!(again.id, array + 5);
    let tasks = again.array.expect("an array");
    assert_eq!((tasks.indexes.as_str(), tasks.max_running), ("0", Some(2)));
    let request = anna
        .world
        .request("POST", &retry)
        .header("idempotency-key", "k");
    let request = request.token(&anna.world.token("anna"));
    let reply = request.json(&json!({"failed": true})).send().await;
    assert_eq!(
        (reply.status.as_u16(), reply.json::<Job>().id),
        (200, again.id)
    );

    let all: Job = anna.post(&retry, &json!({})).await.json();
    assert_eq!(all.array.map(|tasks| tasks.total), Some(4));
    let one: Job = anna
        .post(&format!("/v1/jobs/{array}_2/retry"), &json!({}))
        .await
        .json();
    assert_eq!(one.array.map(|tasks| tasks.indexes), Some("2".to_owned()));

    let task = format!("/v1/jobs/{array}_2/retry");
    let error = anna.post(&task, &json!({"failed": true})).await.error();
    assert_eq!(error.code, ErrorCode::BadRequest);
    let request = anna
        .world
        .request("POST", &retry)
        .token(&anna.world.token("olga"));
    assert_eq!(request.send().await.error().code, ErrorCode::Forbidden);
    let request = anna
        .world
        .request("POST", &retry)
        .token(&anna.world.token("root"));
    let reply = request.send().await;
    assert_eq!(
        (reply.status.as_u16(), reply.json::<Job>().user),
        (201, "anna".to_owned())
    );

    anna.world.runs_again(again.id + 1, 1, "gpu-1").await;
    anna.world.finished(again.id + 1, "gpu-1", 0).await;
    let path = format!("/v1/jobs/{}/retry", again.id);
    let error = anna.post(&path, &json!({"failed": true})).await.error();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("all tasks"), "{}", error.message);
}

#[tokio::test]
async fn a_retry_needs_the_bundle_and_waits_for_nothing() {
    let world = World::new().await;
    let bytes = zip(&config("anna"));
    let job = world.running_bundle("anna", "gpu-1", &bytes).await;
    world.failed(job, "gpu-1").await;
    let anna = Anna { world };
    let path = format!("/v1/jobs/{job}/retry");
    let reply = anna.post(&path, &json!({})).await;
    assert_eq!(reply.status.as_u16(), 201, "{}", reply.text());
    let again: Job = reply.json();
    assert_eq!(again.bundle, anna.job(job).await.bundle);

    let after = anna
        .world
        .submit_with("anna", &json!({"after": [job]}))
        .await;
    let outcome = anna.job(after).await.outcome.expect("in vain");
    assert_eq!(outcome.cause, "dependency_failed");
    let reply = anna
        .post(&format!("/v1/jobs/{after}/retry"), &json!({}))
        .await;
    assert_eq!(reply.status.as_u16(), 201, "{}", reply.text());
    assert_eq!(reply.json::<Job>().outcome, None);

    anna.world.lose_bundles();
    let error = anna.post(&path, &json!({})).await.error();
    assert_eq!(error.code, ErrorCode::NotFound);
    assert!(error.message.contains("bundle"), "{}", error.message);
}

#[tokio::test]
async fn a_task_that_waits_is_told_when_it_itself_starts() {
    let (anna, array) = Anna::with_array().await;
    anna.world.finished(array + 1, "gpu-1", 0).await;
    anna.world.runs_again(array + 3, 1, "gpu-1").await;
    let task = anna.job(format!("{array}_3")).await;
    let start = task.expected_start.expect("it is foreseen");
    let path = format!("/v1/jobs/{array}_3/explain");
    let why: Explanation = anna.ask("GET", &path).await.json();
    assert!(why.expected_start.is_some_and(|why| why.p50 >= start.p50));
    assert_eq!(why.expected_start_unknown, None);
    let begun = anna.job(format!("{array}_2")).await;
    assert_eq!(begun.expected_start, None);
}

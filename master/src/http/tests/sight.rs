//! What users see of each other's jobs: every row, and nothing that its code said.

use std::time::Duration;

use axum::http::StatusCode;
use dopq_common::api::{ErrorCode, Job, JobPage, NodeList, Queue};
use serde_json::json;

use super::world::World;
use crate::config::Privacy;

/// What no other user may read, wherever it stands in a job.
const SECRETS: [&str; 4] = [
    "s3cr3t",
    "/home/anna/img",
    "the container exited",
    "API_TOKEN",
];

async fn get(world: &World, who: &str, path: &str) -> super::ask::Reply {
    let request = world.request("GET", path).token(&world.token(who));
    request.send().await
}

/// Anna's jobs: one that runs, one that failed, one that waits; the last two run on no other machine.
async fn with_jobs(privacy: Privacy) -> (World, [u64; 3]) {
    let world = World::with(|settings| settings.privacy = privacy).await;
    world.worker("gpu-1", 2).await;
    let fields = json!({
        "name": "llama-tuning", "command": ["train", "--data", "llama"], "image": "registry/home/anna/img",
        "env": {"API_TOKEN": "s3cr3t"}, "run_params": {"labels": {"team": "vision"}}
    });
    let failed = world.submit_with("anna", &fields).await;
    world.runs_again(failed, 1, "gpu-1").await;
    world.failed(failed, "gpu-1").await;
    let running = world.submit_with("anna", &fields).await;
    world.runs_again(running, 1, "gpu-1").await;
    let mut big = fields.clone();
    big["num_gpus"] = 2.into();
    let waiting = world.submit_with("anna", &big).await;
    (world, [running, failed, waiting])
}

#[tokio::test]
async fn everybody_sees_every_row() {
    for privacy in [Privacy::Open, Privacy::Own] {
        let (world, [running, failed, waiting]) = with_jobs(privacy).await;
        let page = get(&world, "bert", "/v1/jobs").await;
        let text = page.text();
        let page: JobPage = page.json();
        let rows: Vec<_> = page.jobs.iter().map(|job| job.id).collect();
        assert_eq!(rows, [waiting, running, failed]);
        for job in &page.jobs {
            assert_eq!((job.user.as_str(), job.class.as_str()), ("anna", "normal"));
            let (name, labels) = match privacy {
                Privacy::Open => ("llama-tuning", 1),
                Privacy::Own => ("", 0),
            };
            assert_eq!((job.name.as_str(), job.labels.len()), (name, labels));
        }
        assert!(page.jobs[0].reason.is_some() && page.jobs[0].position == Some(1));
        assert_eq!(page.jobs[1].worker.as_deref(), Some("gpu-1"));
        let outcome = page.jobs[2].outcome.as_ref().expect("an outcome");
        assert_eq!(
            (outcome.cause.as_str(), outcome.exit_code),
            ("user_error", Some(3))
        );

        let queue = get(&world, "bert", "/v1/queue").await;
        let told = queue.text();
        let queue: Queue = queue.json();
        assert_eq!(queue.entries.len(), 1);
        assert_eq!(queue.entries[0].name.is_empty(), privacy == Privacy::Own);

        let nodes = get(&world, "bert", "/v1/nodes").await;
        let named = nodes.text();
        let nodes: NodeList = nodes.json();
        let holders: Vec<_> = nodes.nodes[0].gpus.iter().map(|gpu| &gpu.holders).collect();
        let held: Vec<_> = holders.into_iter().flatten().collect();
        assert_eq!((held.len(), held[0].job), (1, running));

        let mut all = vec![text, told, named];
        for id in [running, failed, waiting] {
            let one = get(&world, "bert", &format!("/v1/jobs/{id}")).await;
            all.push(one.text());
            let one: Job = one.json();
            assert!(!one.timeline.is_empty(), "{one:?}");
            let requested = one.requested.expect("what it asked for");
            assert_eq!(requested.command.is_some(), privacy == Privacy::Open);
            assert!(requested.env.is_empty());
            assert!(one.timeline.iter().all(|entry| entry.note.is_empty()));
        }
        for text in all {
            for secret in SECRETS {
                assert!(!text.contains(secret), "{secret}: {text}");
            }
            let hidden = privacy == Privacy::Own;
            assert!(!(hidden && text.contains("llama")), "{text}");
            assert!(!(hidden && text.contains("vision")), "{text}");
        }
    }
}

#[tokio::test]
async fn owners_and_operators_see_all_of_it() {
    let (world, [_, failed, waiting]) = with_jobs(Privacy::Own).await;
    for who in ["anna", "olga", "root"] {
        let job: Job = get(&world, who, &format!("/v1/jobs/{failed}")).await.json();
        let outcome = job.outcome.expect("an outcome");
        assert_eq!(outcome.detail, "the container exited with 3");
        assert!(!outcome.hint.is_empty());
        assert!(job.timeline.iter().any(|entry| !entry.note.is_empty()));
        let requested = job.requested.expect("what it asked for");
        let token = requested.env.get("API_TOKEN").map(String::as_str);
        assert_eq!(token, Some("***"), "hidden even from its owner");
        assert_eq!(requested.command.expect("a command").len(), 3);
        let [attempt] = &job.attempts[..] else {
            panic!("one attempt: {:?}", job.attempts);
        };
        assert_eq!((attempt.worker.as_str(), attempt.gpus.len()), ("gpu-1", 1));
        assert_eq!(attempt.cause.as_deref(), Some("user_error"));
        assert!(attempt.ended_at.is_some() && !attempt.detail.is_empty());
        assert_eq!(job.labels.get("team").map(String::as_str), Some("vision"));
        let queue: Queue = get(&world, who, "/v1/queue").await.json();
        assert_eq!(queue.entries[0].name, "llama-tuning");
        let why = get(&world, who, &format!("/v1/jobs/{waiting}/explain")).await;
        assert_eq!(why.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn lists_are_filtered_by_what_is_seen() {
    for (privacy, found) in [(Privacy::Open, 3), (Privacy::Own, 0)] {
        let (world, [_, _, waiting]) = with_jobs(privacy).await;
        let rows = async |who: &str, query: &str| {
            let page = get(&world, who, &format!("/v1/jobs?{query}")).await;
            page.json::<JobPage>().jobs.len()
        };
        assert_eq!(rows("bert", "label=team=vision").await, found);
        assert_eq!(rows("anna", "label=team=vision").await, 3);
        assert_eq!(rows("anna", "label=team=audio").await, 0);
        assert_eq!(rows("bert", "since=2020-01-01T00:00:00Z").await, 3);
        assert_eq!(rows("bert", "until=2020-01-01T00:00:00Z").await, 0);
        let bad = get(&world, "bert", "/v1/jobs?label=team").await;
        assert_eq!(bad.error().code, ErrorCode::BadRequest);

        world.submit_with("bert", &json!({"num_gpus": 2})).await;
        let queue = async |query: &str| {
            let queue = get(&world, "anna", &format!("/v1/queue?{query}")).await;
            let queue: Queue = queue.json();
            (queue.entries.len(), queue.next)
        };
        assert_eq!(queue("").await, (2, None));
        assert_eq!(queue("user=bert").await, (1, None));
        assert_eq!(queue("label=team=vision").await, (1, None));
        assert_eq!(queue("limit=1").await, (1, Some(1)));
        assert_eq!(queue("limit=1&after=1").await, (1, None));
        let one: Job = get(&world, "anna", &format!("/v1/jobs/{waiting}"))
            .await
            .json();
        assert_eq!(one.attempts, []);
    }
}

#[tokio::test]
async fn what_a_job_says_stays_with_its_owner() {
    let (world, [running, ..]) = with_jobs(Privacy::Open).await;
    for path in ["explain", "logs", "logs/stream", "results"] {
        let reply = get(&world, "bert", &format!("/v1/jobs/{running}/{path}")).await;
        let error = reply.error();
        assert_eq!(error.code, ErrorCode::NotFound, "{path}");
        assert!(
            error.message.contains("another user's"),
            "{}",
            error.message
        );
    }
    let missing = get(&world, "bert", "/v1/jobs/999/explain").await.error();
    assert_eq!(missing.message, "there is no job 999");
}

#[tokio::test]
async fn the_stream_of_events_tells_others_the_row_only() {
    let (world, [_, _, waiting]) = with_jobs(Privacy::Own).await;
    let this = format!("?ids={waiting}");
    for (who, query, told) in [
        ("bert", "", Some("")),
        ("anna", "", Some("llama-tuning")),
        ("bert", this.as_str(), Some("")),
        ("anna", "?ids=999", None),
    ] {
        let request = world.request("GET", &format!("/v1/events{query}"));
        let mut events = request.token(&world.token(who)).open().await;
        for change in ["hold", "release"] {
            let path = format!("/v1/jobs/{waiting}/{change}");
            let request = world.request("POST", &path).token(&world.token("anna"));
            assert_eq!(request.send().await.status, StatusCode::OK);
        }
        let next = tokio::time::timeout(Duration::from_secs(1), events.try_event()).await;
        let job = next.ok().flatten().map(|event| {
            let job: Job = serde_json::from_str(&event.data).expect("a job");
            (job.id, job.name)
        });
        assert_eq!(job, told.map(|name| (waiting, name.to_owned())), "{query}");
    }
}

//! What is told of how long jobs run and when they start.

use std::time::Duration;

use chrono::TimeDelta;
use dopq_common::api::{Explanation, Job, Queue};
use dopq_common::sched::Unforeseen;

use super::world::World;

async fn show(world: &World, id: u64) -> Job {
    let path = format!("/v1/jobs/{id}");
    let anna = world.token("anna");
    world.request("GET", &path).token(&anna).send().await.json()
}

#[tokio::test]
async fn what_is_expected_is_learned_told_and_held_against_what_it_took() {
    let world = World::new().await;
    let first = world.running_job("anna", "gpu-1").await;
    let job = show(&world, first).await;
    assert_eq!((job.expected_seconds, job.expected_by), (None, None));
    assert_eq!(job.ran_seconds, None);
    world.finished(first, "gpu-1", 0).await;
    for _ in 0..2 {
        let id = world.submit("anna").await;
        world.runs_again(id, 1, "gpu-1").await;
        world.finished(id, "gpu-1", 0).await;
    }
    let job = show(&world, first).await;
    assert_eq!((job.ran_seconds, job.expected_by), (Some(1.0), None));

    let id = world.submit("anna").await;
    world.runs_again(id, 1, "gpu-1").await;
    let learned = |job: &Job| {
        let near = |seconds: Option<f64>| {
            let seconds = seconds.expect("something is expected");
            assert!((seconds - 1.0).abs() <= 1.0 / 32.0, "{seconds}");
        };
        near(job.expected_seconds);
        near(job.expected_most_seconds);
        assert_eq!(job.expected_by.as_deref(), Some("learned from 3 runs"));
    };
    let job = show(&world, id).await;
    learned(&job);
    assert_eq!(job.ran_seconds, None);
    world.finished(id, "gpu-1", 0).await;
    let job = show(&world, id).await;
    learned(&job);
    assert_eq!(job.ran_seconds, Some(1.0));
}

/// What is explained by a forecast that knows the job: a forecast that was slow to make stays valid for a while.
async fn explain(world: &World, id: u64) -> Explanation {
    let path = format!("/v1/jobs/{id}/explain");
    let anna = world.token("anna");
    let up_to_date = async {
        loop {
            let answer = world.request("GET", &path).token(&anna).send().await;
            let explanation: Explanation = answer.json();
            let unknown = explanation.expected_start_unknown.as_deref();
            if unknown.is_none_or(|unknown| unknown != Unforeseen::Outdated.to_string()) {
                return explanation;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, up_to_date)
        .await
        .expect("a new forecast")
}

#[tokio::test]
async fn when_a_job_starts_is_told_or_why_that_is_not_known() {
    let world = World::new().await;
    let first = world.running_job("anna", "gpu-1").await;
    let second = world.submit("anna").await;
    world.runs_again(second, 1, "gpu-1").await;
    let third = world.submit("anna").await;
    let why = explain(&world, third).await;
    assert_eq!(why.expected_start, None);
    let unknown = why.expected_start_unknown.expect("it waits");
    assert!(
        unknown.starts_with("how long the jobs before it run"),
        "{unknown}"
    );
    let running = explain(&world, second).await;
    assert_eq!(running.expected_start_unknown, None);

    // One run of a second is enough to look ahead by, though not to plan with.
    world.finished(first, "gpu-1", 0).await;
    world.runs_again(third, 1, "gpu-1").await;
    let fourth = world.submit("anna").await;
    let why = explain(&world, fourth).await;
    assert_eq!(why.expected_start_unknown, None);
    let start = why.expected_start.expect("it is foreseen");
    assert!(start.p50 <= start.p90);
    let shown = show(&world, fourth).await;
    let since = shown.submitted_at;
    assert!(start.p50 >= since && start.p90 <= since + TimeDelta::seconds(5));
    assert!(shown.expected_start.is_some());
    assert_eq!(show(&world, third).await.expected_start, None);

    let olga = world.token("olga");
    let queue = world.request("GET", "/v1/queue").token(&olga).send().await;
    let queue: Queue = queue.json();
    let [entry] = queue.entries.as_slice() else {
        panic!("one job waits");
    };
    assert!(entry.expected_start.is_some());

    let path = format!("/v1/jobs/{fourth}/hold");
    let held = world.request("POST", &path).token(&olga).send().await;
    assert_eq!(held.status.as_u16(), 200);
    let why = explain(&world, fourth).await;
    assert_eq!(why.expected_start, None);
    let unknown = why.expected_start_unknown.expect("it waits");
    assert_eq!(unknown, "it is held");
}

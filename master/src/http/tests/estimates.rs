//! What is told of how long jobs run and when they start.

use dopq_common::api::Job;

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

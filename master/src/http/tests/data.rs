//! The workers' data plane: the bundle goes out, the log and the results come in, the stale are sent away.

use dopq_common::api::ErrorCode;
use dopq_common::id::{AttemptId, JobKey};

use super::world::{World, config, zip};

#[tokio::test]
async fn a_current_attempt_gets_its_bundle_and_leaves_log_and_results() {
    let world = World::new().await;
    let bytes = zip(&config("anna"));
    let job = world.running_bundle("anna", "gpu-1", &bytes).await;
    let attempt = world.attempt(job, 1).to_string();
    let at = |verb, rest: &str| {
        let path = format!("/data/v1/attempts/{attempt}/{rest}");
        let request = world.request(verb, &path).header("dopq-worker", "gpu-1");
        request.token(&world.attempt_token(&attempt, "gpu-1"))
    };
    let reply = at("GET", "bundle").send().await;
    assert_eq!(reply.body, bytes);
    assert_eq!(reply.header("content-length"), bytes.len().to_string());

    for _ in 0..2 {
        let reply = at("PUT", "logs/0").body("frames").send().await;
        assert_eq!(reply.status.as_u16(), 204, "{}", reply.text());
    }
    let reply = at("PUT", "logs/6")
        .body(vec![0; (4 << 20) + 1])
        .send()
        .await;
    assert_eq!(reply.error().code, ErrorCode::TooLarge);
    let reply = at("PUT", "logs/-1").body("x").send().await;
    assert_eq!(reply.error().code, ErrorCode::BadRequest);
    let listed = world
        .bundles
        .list_log(attempt.parse().expect("id"))
        .await
        .expect("list");
    assert_eq!(listed.len(), 1);

    let path = format!("/v1/jobs/{job}/results");
    let anna = world.token("anna");
    let reply = world.request("GET", &path).token(&anna).send().await;
    assert_eq!(reply.error().code, ErrorCode::NotFound);
    let reply = at("PUT", "results").body("a tar").send().await;
    assert_eq!(reply.status.as_u16(), 204, "{}", reply.text());
    let reply = world.request("GET", &path).token(&anna).send().await;
    assert_eq!(reply.text(), "a tar");
    assert_eq!(reply.header("content-type"), "application/x-tar");
    assert_eq!(reply.header("content-length"), "5");
}

#[tokio::test]
async fn a_bundle_that_is_gone_is_not_asked_for_again() {
    let world = World::new().await;
    let bytes = zip(&config("anna"));
    let job = world.running_bundle("anna", "gpu-1", &bytes).await;
    let digest = blake3::hash(&bytes).to_hex();
    let zip = vec![format!("bundles/{digest}.zip")];
    assert!(world.bundles.remove(zip).await.error.is_none());
    let attempt = world.attempt(job, 1).to_string();
    let path = format!("/data/v1/attempts/{attempt}/bundle");
    let request = world.request("GET", &path).header("dopq-worker", "gpu-1");
    let request = request.token(&world.attempt_token(&attempt, "gpu-1"));
    let reply = request.send().await;
    assert_eq!(reply.error().code, ErrorCode::NotFound, "{}", reply.text());
    assert!(reply.error().message.contains(digest.as_str()));
}

#[tokio::test]
async fn the_bundle_of_a_waiting_job_goes_to_a_worker_that_expects_it_and_nothing_else_does() {
    let world = World::new().await;
    let bytes = zip(&config("anna"));
    let job = world.submit_bundle("anna", &bytes).await;
    let ask = |verb, number: u32, rest: &str, token_of: u32| {
        let at = |number| world.attempt(job, number).to_string();
        let path = format!("/data/v1/attempts/{}/{rest}", at(number));
        let request = world.request(verb, &path).header("dopq-worker", "gpu-1");
        request
            .token(&world.attempt_token(&at(token_of), "gpu-1"))
            .body("x")
            .send()
    };
    assert_eq!(ask("GET", 1, "bundle", 1).await.body, bytes);
    for (what, reply, code) in [
        (
            "a later one",
            ask("GET", 2, "bundle", 2),
            ErrorCode::Unavailable,
        ),
        (
            "its token",
            ask("GET", 1, "bundle", 2),
            ErrorCode::Unauthorized,
        ),
        (
            "its log",
            ask("PUT", 1, "logs/0", 1),
            ErrorCode::Unavailable,
        ),
        (
            "its results",
            ask("PUT", 1, "results", 1),
            ErrorCode::Unavailable,
        ),
    ] {
        assert_eq!(reply.await.error().code, code, "{what}");
    }
    // Once it has a machine, only that one gets it.
    world.worker("gpu-2", 2).await;
    world.runs_again(job, 1, "gpu-2").await;
    let reply = ask("GET", 1, "bundle", 1).await;
    assert_eq!(reply.error().code, ErrorCode::Conflict);
}

#[tokio::test]
async fn stale_attempts_are_told_to_give_up_and_early_ones_to_come_back() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    let ask = |attempt: AttemptId| {
        let attempt = attempt.to_string();
        let path = format!("/data/v1/attempts/{attempt}/logs/0");
        let request = world.request("PUT", &path).header("dopq-worker", "gpu-1");
        request
            .token(&world.attempt_token(&attempt, "gpu-1"))
            .body("x")
            .send()
    };
    // An order can be at its worker before a lagging master's read model shows it.
    for early in [world.attempt(job, 2), world.attempt(job + 1, 1)] {
        assert_eq!(ask(early).await.error().code, ErrorCode::Unavailable);
    }
    let current = world.attempt(job, 1);
    assert_eq!(ask(current).await.status.as_u16(), 204);
    // Of a lost store's job that had the same number.
    for number in [1, 2] {
        let lost = AttemptId {
            number,
            key: JobKey([8; 16]),
            ..current
        };
        assert_eq!(ask(lost).await.error().code, ErrorCode::Conflict);
    }
    world.refused(job, "gpu-1").await;
    assert_eq!(ask(current).await.error().code, ErrorCode::Conflict);
}

#[tokio::test]
async fn results_that_are_sent_twice_count_once() {
    let world = World::with_quota(1 << 20).await;
    let job = world.running_job("anna", "gpu-1").await;
    let attempt = world.attempt(job, 1).to_string();
    let path = format!("/data/v1/attempts/{attempt}/results");
    let anna = "anna".parse().expect("a name");
    for size in [600 << 10, 600 << 10, 500 << 10] {
        let request = world.request("PUT", &path).header("dopq-worker", "gpu-1");
        let request = request.token(&world.attempt_token(&attempt, "gpu-1"));
        let reply = request.body(vec![7; size]).send().await;
        assert_eq!(reply.status.as_u16(), 204, "{}", reply.text());
        assert!(world.quota().check(&anna).is_ok(), "{size}");
    }
}

#[tokio::test]
async fn results_larger_than_allowed_are_not_kept() {
    let world = World::with(|settings| settings.results_max_bytes = 10).await;
    let job = world.running_job("anna", "gpu-1").await;
    let attempt = world.attempt(job, 1).to_string();
    let path = format!("/data/v1/attempts/{attempt}/results");
    let request = world.request("PUT", &path).header("dopq-worker", "gpu-1");
    let request = request.token(&world.attempt_token(&attempt, "gpu-1"));
    let reply = request.body("more than ten bytes").send().await;
    assert_eq!(reply.error().code, ErrorCode::TooLarge, "{}", reply.text());
    let path = format!("/v1/jobs/{job}/results");
    let reply = world
        .request("GET", &path)
        .token(&world.token("anna"))
        .send()
        .await;
    assert_eq!(reply.error().code, ErrorCode::NotFound);
}

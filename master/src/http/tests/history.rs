//! The history: each sees their own, filters hold, and pages follow each other.

use std::time::Duration;

use dopq_common::api::{ErrorCode, HistoryPage};
use serde_json::json;

use super::world::World;

async fn read(world: &World, who: &str, query: &str) -> HistoryPage {
    let path = format!("/v1/history{query}");
    let reply = world
        .request("GET", &path)
        .token(&world.token(who))
        .send()
        .await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
    reply.json()
}

fn ids(page: &HistoryPage) -> Vec<u64> {
    page.jobs.iter().map(|job| job.id).collect()
}

#[tokio::test]
async fn finished_jobs_are_listed_to_who_may_see_them() {
    let world = World::new().await;
    let first = world.running_job("anna", "gpu-1").await;
    let second = world.submit("bert").await;
    world.runs_again(second, 1, "gpu-1").await;
    let waiting = world
        .submit_with(
            "anna",
            &json!({"num_gpus": 2, "run_params": {"labels": {"a": "b"}}}),
        )
        .await;
    let cancel = format!("/v1/jobs/{waiting}");
    world
        .request("DELETE", &cancel)
        .token(&world.token("anna"))
        .send()
        .await;
    world.finished(first, "gpu-1", 5).await;
    world.failed(second, "gpu-1").await;
    for _ in 0..100 {
        if ids(&read(&world, "olga", "").await).len() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        ids(&read(&world, "olga", "").await),
        [second, first, waiting]
    );
    assert_eq!(ids(&read(&world, "anna", "").await), [first, waiting]);
    assert_eq!(ids(&read(&world, "anna", "?user=bert").await), [0; 0]);
    assert_eq!(ids(&read(&world, "olga", "?user=bert").await), [second]);
    assert_eq!(
        ids(&read(&world, "olga", "?cause=cancelled,succeeded").await),
        [first, waiting]
    );
    assert_eq!(ids(&read(&world, "olga", "?label=a%3Db").await), [waiting]);
    assert_eq!(ids(&read(&world, "olga", "?group=vision").await), [0; 0]);
    assert_eq!(
        ids(&read(&world, "olga", "?until=2020-01-01T00:00:00Z").await),
        [0; 0]
    );
    let page = read(&world, "olga", "?limit=2").await;
    let next = page.next.expect("more");
    let rest = read(&world, "olga", &format!("?limit=2&before={next}")).await;
    assert_eq!(ids(&rest), [waiting]);
    for wrong in [
        "limit=0",
        "before=x",
        "before=../../x",
        "label=a",
        "since=x",
        "user=a%2Fb",
    ] {
        let path = format!("/v1/history?{wrong}");
        let reply = world
            .request("GET", &path)
            .token(&world.token("anna"))
            .send()
            .await;
        assert_eq!(reply.error().code, ErrorCode::BadRequest, "{wrong}");
    }
}

#[tokio::test]
async fn an_admin_clears_the_history_of_a_user_and_charges_stay() {
    let world = World::new().await;
    let of_anna = world.running_job("anna", "gpu-1").await;
    let of_bert = world.submit("bert").await;
    world.runs_again(of_bert, 1, "gpu-1").await;
    world.finished(of_anna, "gpu-1", 5).await;
    world.finished(of_bert, "gpu-1", 5).await;
    let running = world.submit("anna").await;
    let delete = async |query: &str| {
        let path = format!("/v1/history{query}");
        let reply = world
            .request("DELETE", &path)
            .token(&world.token("root"))
            .send()
            .await;
        reply.status.as_u16()
    };
    assert_eq!(delete("").await, 400);
    assert_eq!(delete("?user=anna").await, 202);
    for _ in 0..200 {
        let page = read(&world, "root", "").await;
        if page.jobs.iter().map(|job| job.user.as_str()).eq(["bert"]) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rest = read(&world, "root", "").await;
    assert_eq!(
        rest.jobs
            .iter()
            .map(|job| job.user.as_str())
            .collect::<Vec<_>>(),
        ["bert"]
    );
    let path = "/v1/jobs?user=anna";
    let reply = world
        .request("GET", path)
        .token(&world.token("root"))
        .send()
        .await;
    let known: dopq_common::api::JobPage = reply.json();
    assert_eq!(
        known.jobs.iter().map(|job| job.id).collect::<Vec<_>>(),
        [running]
    );
    let lines = world.audited(1).await;
    assert_eq!(lines[0].1, "history_clear");
}

//! The receipt over HTTP: what it says, how it is cut short, and who may read it.

use dopq_common::api::{ErrorCode, Usage, UserList};

use super::ask::Reply;
use super::world::World;

async fn ask(world: &World, who: &str, path: &str) -> Reply {
    let request = world.request("GET", path).token(&world.token(who));
    request.send().await
}

async fn usage(world: &World, query: &str) -> Usage {
    let path = format!("/v1/users/anna/usage{query}");
    ask(world, "anna", &path).await.json()
}

fn left(usage: &Usage) -> f64 {
    let lines = usage.lines.iter().map(|line| line.left_gpu_seconds);
    let more = usage
        .more
        .as_ref()
        .map_or(0.0, |more| more.left_gpu_seconds);
    lines.sum::<f64>() + more + usage.earlier_gpu_seconds
}

#[tokio::test]
async fn a_receipt_adds_up_attempt_by_attempt() {
    let world = World::new().await;
    let id = world.running_job("anna", "gpu-1").await;
    world.refused(id, "gpu-1").await;
    world.runs_again(id, 2, "gpu-1").await;
    let going = usage(&world, "").await;
    let told: Vec<_> = going
        .lines
        .iter()
        .map(|line| (line.job, line.attempt, line.end.as_str()))
        .collect();
    assert_eq!(told, [(id, 2, "held"), (id, 1, "refunded")]);
    let [held, refunded] = &going.lines[..] else {
        panic!("two lines");
    };
    assert_eq!((held.name.as_str(), held.to), ("trial", None));
    assert!(held.deposit_gpu_seconds > 59.0 && held.left_gpu_seconds >= held.deposit_gpu_seconds);
    assert!(refunded.to.is_some() && refunded.charged_gpu_seconds >= 60.0);
    let back = refunded.refunded_gpu_seconds - refunded.charged_gpu_seconds;
    assert!(back.abs() < f64::EPSILON && refunded.left_gpu_seconds.abs() < f64::EPSILON);
    assert_eq!(going.policy, "usage");
    let numbers = [going.charged_gpus, going.capacity_gpus, going.weight];
    assert!(numbers.iter().eq(&[1.0, 2.0, 1.0]), "{numbers:?}");
    assert!((going.tenth_in_seconds - 86_400.0 * 10.0_f64.log2()).abs() < 1.0);

    assert_eq!(going.turn, None, "nothing of theirs waits");

    world.finished(id, "gpu-1", 7).await;
    let done = usage(&world, "").await;
    assert!(
        (done.usage_gpu_seconds - left(&done)).abs() < 1e-6,
        "{done:?}"
    );
    assert!(done.earlier_gpu_seconds.abs() < f64::EPSILON);
    assert_eq!(done.lines[0].end, "at_least_minimum");
    // It ended at once, so that the minimum is what it cost.
    assert!((done.lines[0].charged_gpu_seconds - 60.0).abs() < 1e-9);
    let cut = usage(&world, "?limit=1").await;
    let more = cut.more.as_ref().expect("the older attempt");
    assert_eq!((cut.lines.len(), more.lines), (1, 1));
    assert!((more.refunded_gpu_seconds - refunded.charged_gpu_seconds).abs() < 1e-9);
    assert!((cut.usage_gpu_seconds - left(&cut)).abs() < 1e-6, "{cut:?}");

    let users: UserList = ask(&world, "olga", "/v1/users").await.json();
    let anna = users.users.iter().find(|user| user.name == "anna");
    let anna = anna.expect("anna");
    assert!((anna.usage_gpu_seconds - cut.usage_gpu_seconds).abs() < 0.1);
}

#[tokio::test]
async fn receipts_are_ones_own_and_of_users_that_there_are() {
    let world = World::new().await;
    for (who, of, expected) in [
        ("anna", "anna", Ok(())),
        ("olga", "anna", Ok(())),
        ("bert", "anna", Err(ErrorCode::Forbidden)),
        ("bert", "nobody", Err(ErrorCode::Forbidden)),
        ("olga", "nobody", Err(ErrorCode::NotFound)),
        ("anna", "anna?limit=0", Err(ErrorCode::BadRequest)),
        ("anna", "anna?limit=1001", Err(ErrorCode::BadRequest)),
        ("anna", "anna?limits=1", Err(ErrorCode::BadRequest)),
    ] {
        let (name, query) = of.split_once('?').unwrap_or((of, ""));
        let reply = ask(&world, who, &format!("/v1/users/{name}/usage?{query}")).await;
        match expected {
            Ok(()) => assert!(reply.json::<Usage>().lines.is_empty(), "{who} {of}"),
            Err(code) => assert_eq!(reply.error().code, code, "{who} {of}"),
        }
    }
}

#[tokio::test]
async fn what_ranks_a_user_is_told_part_by_part() {
    let world = World::new().await;
    world.running_job("anna", "gpu-1").await;
    let fields = serde_json::json!({"num_gpus": 2});
    let waiting = world.submit_with("anna", &fields).await;
    let told = usage(&world, "").await;
    let turn = told.turn.expect("a job waits");
    assert_eq!((turn.job, turn.class.as_str()), (waiting, "normal"));
    assert!((turn.ask - 0.001).abs() < 1e-12, "all GPUs of the cluster");
    assert!(told.penalty > 0.0 && (0.0..1e-4).contains(&turn.aging));
    let sum = told.penalty + turn.ask - turn.aging;
    assert!((turn.rank_value - sum).abs() < 1e-12 && turn.group.is_none());

    let users: UserList = ask(&world, "olga", "/v1/users").await.json();
    let of = |name| users.users.iter().find(|user| user.name == name);
    let listed = of("anna").and_then(|user| user.turn.as_ref());
    assert_eq!(listed.map(|turn| turn.job), Some(waiting));
    assert!(of("bert").expect("bert").turn.is_none());
}

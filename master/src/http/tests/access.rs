//! Every route × everybody who may ask × whose it is, in one table.

use axum::routing::on;
use dopq_common::api::ErrorCode;

use super::world::World;
use crate::http::access::{Access, Pace, Who};
use crate::http::table::{Route, Verb, table};

/// Who asks. `Anna` owns the job, the account and the attempt that the paths name; `Bert` is a user as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Nobody,
    Wrong,
    Anna,
    Bert,
    Operator,
    Admin,
    /// The worker that runs the attempt, with its proof.
    Worker,
    /// Another worker, with the proof that it would have for the attempt.
    OtherWorker,
}

use Asker::{Admin, Anna, Bert, Nobody, Operator, OtherWorker, Worker, Wrong};

const ASKERS: [Asker; 8] = [
    Nobody,
    Wrong,
    Anna,
    Bert,
    Operator,
    Admin,
    Worker,
    OtherWorker,
];

/// Everybody who gets through to a handler, by route. What is not named here is refused.
const MAY: &[(&str, &str, &[Asker])] = &[
    ("GET", "/healthz", &ASKERS),
    ("GET", "/readyz", &ASKERS),
    ("GET", "/metrics", &[Operator, Admin]),
    ("POST", "/v1/login", &ASKERS),
    ("POST", "/v1/logout", &[Anna, Bert, Operator, Admin]),
    ("GET", "/v1/whoami", &[Anna, Bert, Operator, Admin]),
    ("GET", "/v1/status", &[Anna, Bert, Operator, Admin]),
    ("GET", "/v1/doctor", &[Anna, Bert, Operator, Admin]),
    ("GET", "/v1/queue", &[Anna, Bert, Operator, Admin]),
    ("POST", "/v1/queue/lock", &[Operator, Admin]),
    ("POST", "/v1/queue/unlock", &[Operator, Admin]),
    ("POST", "/v1/prune", &[Admin]),
    ("POST", "/v1/reload", &[Admin]),
    ("POST", "/v1/shutdown", &[Admin]),
    ("GET", "/v1/nodes", &[Anna, Bert, Operator, Admin]),
    ("GET", "/v1/gpus", &[Anna, Bert, Operator, Admin]),
    ("POST", "/v1/nodes/{id}/cordon", &[Operator, Admin]),
    ("POST", "/v1/nodes/{id}/uncordon", &[Operator, Admin]),
    ("GET", "/v1/audit", &[Admin]),
    ("DELETE", "/v1/nodes/{id}", &[Admin]),
    ("POST", "/v1/nodes/{id}/drain", &[Operator, Admin]),
    ("POST", "/v1/nodes/{id}/evict", &[Operator, Admin]),
    ("GET", "/v1/node-keys", &[Operator, Admin]),
    ("POST", "/v1/node-keys", &[Admin]),
    ("DELETE", "/v1/node-keys/{id}", &[Admin]),
    ("GET", "/v1/users", &[Operator, Admin]),
    ("POST", "/v1/users", &[Admin]),
    ("DELETE", "/v1/users/{name}", &[Admin]),
    ("POST", "/v1/users/{name}/disable", &[Admin]),
    ("POST", "/v1/users/{name}/enable", &[Admin]),
    ("PUT", "/v1/users/{name}/role", &[Admin]),
    ("PUT", "/v1/users/{name}/password", &[Anna, Admin]),
    ("GET", "/v1/users/{name}/tokens", &[Anna, Operator, Admin]),
    ("POST", "/v1/users/{name}/tokens", &[Anna, Admin]),
    ("DELETE", "/v1/users/{name}/tokens/{token}", &[Anna, Admin]),
    ("PUT", "/v1/users/{name}/limits", &[Admin]),
    ("GET", "/v1/users/{name}/usage", &[Anna, Operator, Admin]),
    ("GET", "/v1/groups", &[Operator, Admin]),
    ("PUT", "/v1/groups/{group}", &[Admin]),
    ("DELETE", "/v1/groups/{group}", &[Admin]),
    ("GET", "/v1/events", &[Anna, Bert, Operator, Admin]),
    ("GET", "/v1/history", &[Anna, Bert, Operator, Admin]),
    ("DELETE", "/v1/history", &[Admin]),
    ("GET", "/v1/jobs", &[Anna, Bert, Operator, Admin]),
    ("POST", "/v1/jobs", &[Anna, Bert, Operator, Admin]),
    ("GET", "/v1/jobs/{id}", &[Anna, Bert, Operator, Admin]),
    ("DELETE", "/v1/jobs/{id}", &[Anna, Operator, Admin]),
    ("POST", "/v1/jobs/{id}/hold", &[Anna, Operator, Admin]),
    ("POST", "/v1/jobs/{id}/release", &[Anna, Operator, Admin]),
    ("POST", "/v1/jobs/{id}/evict", &[Operator, Admin]),
    ("GET", "/v1/jobs/{id}/explain", &[Anna, Operator, Admin]),
    ("POST", "/v1/jobs/{id}/priority", &[Anna, Operator, Admin]),
    ("POST", "/v1/jobs/{id}/retry", &[Anna, Operator, Admin]),
    ("GET", "/v1/jobs/{id}/logs", &[Anna, Operator, Admin]),
    ("GET", "/v1/jobs/{id}/logs/stream", &[Anna, Operator, Admin]),
    ("GET", "/v1/jobs/{id}/results", &[Anna, Operator, Admin]),
    ("DELETE", "/v1/jobs/{id}/output", &[Anna, Operator, Admin]),
    ("GET", "/v1/jobs/{id}/exec", &[Anna, Operator, Admin]),
    ("GET", "/v1/jobs/{id}/forward", &[Anna, Operator, Admin]),
    (
        "GET",
        "/v1/bundles/{digest}",
        &[Anna, Bert, Operator, Admin],
    ),
    (
        "PUT",
        "/v1/bundles/{digest}",
        &[Anna, Bert, Operator, Admin],
    ),
    ("GET", "/data/v1/attempts/{attempt}/bundle", &[Worker]),
    (
        "PUT",
        "/data/v1/attempts/{attempt}/logs/{offset}",
        &[Worker],
    ),
    ("PUT", "/data/v1/attempts/{attempt}/results", &[Worker]),
    ("GET", "/data/v1/attempts/{attempt}/checkpoint", &[Worker]),
    ("PUT", "/data/v1/attempts/{attempt}/checkpoint", &[Worker]),
    (
        "GET",
        "/data/v1/attempts/{attempt}/checkpoint/chunks/{digest}",
        &[Worker],
    ),
    (
        "PUT",
        "/data/v1/attempts/{attempt}/checkpoint/chunks/{digest}",
        &[Worker],
    ),
    ("GET", "/data/v1/standing/{nonce}", &[Worker, OtherWorker]),
];

#[test]
fn the_tables_name_the_same_routes() {
    let ours: Vec<_> = MAY.iter().map(|(verb, path, _)| (*verb, *path)).collect();
    let theirs: Vec<_> = table()
        .iter()
        .map(|route| (method(route.verb), route.path))
        .collect();
    assert_eq!(ours, theirs);
}

#[test]
fn only_the_leader_changes_anything() {
    for route in table() {
        // Only the leader knows what users keep, excludes its own sweeps, and stores checkpoints.
        let data = route.path.starts_with("/data/") && !route.path.contains("/checkpoint");
        // Each master has its own settings and its own end.
        let anywhere = data || matches!(route.path, "/v1/reload" | "/v1/shutdown");
        let expected = if route.verb == Verb::Get || anywhere {
            Who::Any
        } else {
            Who::Leader
        };
        assert_eq!(route.rule.who, expected, "{}", route.path);
        if matches!(route.rule.access, Access::Attempt | Access::Bundle) {
            assert_eq!(route.rule.pace, Pace::Stream, "{}", route.path);
        }
    }
}

#[tokio::test]
async fn everybody_gets_exactly_what_is_theirs() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    let attempt = world.attempt(job, 1).to_string();
    // Each handler is replaced by one that only says it was reached.
    let probes = table().into_iter().map(|route| Route {
        handler: on(route.verb.filter(), async || "reached"),
        ..route
    });
    let world = world.with_routes(probes.collect());
    for (verb, pattern, may) in MAY {
        let path = pattern
            .replace("/nodes/{id}", "/nodes/gpu-1")
            .replace("/node-keys/{id}", "/node-keys/gpu-1")
            .replace("{nonce}", "abc")
            .replace("{id}", &job.to_string())
            .replace("{name}", "anna")
            .replace("{group}", "vision")
            .replace("{token}", "abc")
            .replace("{digest}", &"ab".repeat(32))
            .replace("{attempt}", &attempt)
            .replace("{offset}", "0");
        let proof = |worker: &str| {
            if pattern.contains("{nonce}") {
                world.standing_proof("abc", worker)
            } else {
                world.attempt_token(&attempt, worker)
            }
        };
        for asker in ASKERS {
            let request = world.request(verb, &path);
            let request = match asker {
                Nobody => request,
                Wrong => request.token("dopq_wrong"),
                Anna => request.token(&world.token("anna")),
                Bert => request.token(&world.token("bert")),
                Operator => request.token(&world.token("olga")),
                Admin => request.token(&world.token("root")),
                Worker => request
                    .token(&proof("gpu-1"))
                    .header("dopq-worker", "gpu-1"),
                OtherWorker => request
                    .token(&proof("gpu-2"))
                    .header("dopq-worker", "gpu-2"),
            };
            let reply = request.send().await;
            let what = format!(
                "{verb} {pattern} by {asker:?}: {} {}",
                reply.status,
                reply.text()
            );
            if may.contains(&asker) {
                assert_eq!(reply.text(), "reached", "{what}");
            } else {
                let expected: &[ErrorCode] = match asker {
                    Nobody => &[ErrorCode::Unauthorized],
                    Wrong | Worker | OtherWorker => &[
                        ErrorCode::Unauthorized,
                        ErrorCode::TooManyRequests,
                        ErrorCode::Conflict,
                        ErrorCode::BadRequest,
                    ],
                    Anna | Bert | Operator | Admin => &[
                        ErrorCode::Forbidden,
                        ErrorCode::NotFound,
                        ErrorCode::BadRequest,
                    ],
                };
                assert!(expected.contains(&reply.error().code), "{what}");
            }
        }
    }
}

fn method(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::Post => "POST",
        Verb::Put => "PUT",
        Verb::Delete => "DELETE",
    }
}

//! `dopq drain` and `evict`, as an operator sees them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::support::{Reply, Server, dopq, job, stderr, stdout};

fn nodes(drain: &Value) -> Reply {
    Reply::json(
        200,
        &json!({"version": 1, "nodes": [{
            "name": "gpu-1", "state": "up", "cordon": "by olga", "drain": drain, "agent": "", "engine": "",
            "gpu_mode": "", "last_seen_at": null, "gpus": [], "cpu_cores": 8.0, "cpu_cores_held": 0.0,
            "memory_bytes": 1, "memory_held_bytes": 0, "jobs": [], "labels": {}
        }]}),
    )
}

#[test]
fn a_drain_waits_until_the_node_is_empty() {
    let home = tempfile::tempdir().unwrap();
    let looks = AtomicU64::new(0);
    let server = Server::start(move |request| {
        if request.path == "/v1/nodes" {
            let left = 2 - looks.fetch_add(1, Ordering::SeqCst).min(2);
            return nodes(&json!({"jobs_left": left}));
        }
        Reply::new(204, "text/plain", b"")
    });
    let arguments = ["drain", "gpu-1", "--wait", "--deadline", "2h"];
    let output = dopq(home.path(), &server, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stderr(&output);
    let told: Vec<_> = text.lines().collect();
    assert_eq!(
        told,
        [
            "gpu-1: draining, 2 jobs left",
            "gpu-1: draining, 1 job left",
            "gpu-1: drained"
        ]
    );
    let first = &server.requests()[0];
    assert_eq!(first.path, "/v1/nodes/gpu-1/drain");
    let body: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!(body, json!({"reason": "", "deadline_seconds": 7200}));
    let output = dopq(home.path(), &server, &["nodes"]);
    assert!(stdout(&output).contains("drained"), "{}", stdout(&output));
}

#[test]
fn a_drain_that_somebody_ends_is_no_drained_node() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| {
        if request.path == "/v1/nodes" {
            return nodes(&Value::Null);
        }
        Reply::new(204, "text/plain", b"")
    });
    let output = dopq(home.path(), &server, &["drain", "gpu-1", "--wait"]);
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    assert!(text.contains("gpu-1 is not being drained"), "{text}");
}

#[test]
fn nodes_and_jobs_are_evicted() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::json(202, &job(7, "stopping", None)));
    let output = dopq(home.path(), &server, &["evict", "gpu-1", "7"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let paths: Vec<_> = server.requests().iter().map(|r| r.path.clone()).collect();
    assert_eq!(paths, ["/v1/nodes/gpu-1/evict", "/v1/jobs/7/evict"]);
    let text = stderr(&output);
    assert!(text.contains("queued again and not charged"), "{text}");
}

//! `dopq doctor`, as scripts see it: the exit code says whether something fails.

use serde_json::{Value, json};

use crate::support::{Reply, Server, command, dopq, stderr, stdout};

fn node(state: &str) -> Value {
    json!({"name": "gpu-1", "state": state, "cordon": null, "agent": env!("CARGO_PKG_VERSION"),
           "engine": "20.10.24", "gpu_mode": "none", "gpus": [], "last_seen_at": null, "cpu_cores": 1.0,
           "cpu_cores_held": 0.0, "memory_bytes": 1, "memory_held_bytes": 0, "jobs": [], "labels": {}})
}

/// A master without `GET /v1/doctor`, as the version before had none.
fn master(state: &'static str) -> Server {
    Server::start(move |request| match request.route().as_str() {
        "GET /v1/whoami" => Reply::json(200, &json!({"name": "anna", "role": "user"})),
        "GET /v1/status" => Reply::json(
            200,
            &json!({"version": 1, "cluster": "lab", "build": env!("CARGO_PKG_VERSION"), "role": "leader",
                    "epoch": 1, "uptime_seconds": 1, "jobs": {}, "workers": {},
                    "components": [{"name": "store", "state": "up", "since": "2026-11-24T07:00:00Z", "detail": ""}]}),
        ),
        "GET /v1/nodes" => Reply::json(200, &json!({"version": 1, "nodes": [node(state)]})),
        _ => Reply::error(404, "not_found", "no such route"),
    })
}

#[test]
fn the_exit_code_says_whether_something_fails() {
    let home = tempfile::tempdir().unwrap();
    for (state, code, levels) in [
        ("up", 0, ["ok", "ok", "ok", "ok", "ok"]),
        ("suspect", 0, ["ok", "ok", "ok", "ok", "warn"]),
        ("lost", 1, ["ok", "ok", "ok", "ok", "fail"]),
    ] {
        let output = dopq(home.path(), &master(state), &["doctor", "-o", "json"]);
        assert_eq!(output.status.code(), Some(code), "{}", stdout(&output));
        let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(report["ok"], json!(code == 0));
        let findings = report["findings"].as_array().unwrap();
        let found: Vec<_> = findings.iter().map(|found| &found["level"]).collect();
        assert_eq!(found, levels, "{report}");
    }
    let table = dopq(home.path(), &master("lost"), &["doctor"]);
    assert!(
        stdout(&table).contains("FAIL") && stderr(&table).contains("1 failure, 0 warnings"),
        "{}",
        stdout(&table)
    );
}

#[test]
fn what_is_in_the_way_is_told() {
    let home = tempfile::tempdir().unwrap();
    let refusing = Server::start(|_| Reply::error(401, "unauthorized", "the token is unknown"));
    let output = dopq(home.path(), &refusing, &["doctor", "-o", "quiet"]);
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(1), "token\n")
    );
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let output = command(home.path(), &closed, &["doctor"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("FAIL") && text.contains("master"), "{text}");
}

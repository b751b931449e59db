//! `dopq usage` and what `dopq users` shows of the same, as programs and people see them.

use serde_json::{Value, json};

use crate::support::{Reply, Server, dopq, stderr, stdout};

fn receipt(user: &str) -> Value {
    json!({
        "version": 1, "user": user, "at": "2026-11-24T08:00:00Z", "policy": "usage", "penalty": 0.02,
        "weight": 2.0, "usage_gpu_seconds": 5400.0, "charged_gpus": 0.0, "capacity_gpus": 4.0,
        "half_life_seconds": 86400.0, "min_charge_seconds": 60.0, "tenth_in_seconds": 287015.0,
        "lines": [{
            "job": 7, "name": "train", "attempt": 2, "gpus": 1.0, "from": "2026-11-24T05:00:00Z",
            "to": "2026-11-24T06:00:00Z", "end": "at_least_minimum", "charged_gpu_seconds": 3600.0,
            "refunded_gpu_seconds": 0.0, "deposit_gpu_seconds": 0.0, "left_gpu_seconds": 3500.0
        }],
        "more": {
            "lines": 3, "charged_gpu_seconds": 3600.0, "refunded_gpu_seconds": 1800.0,
            "left_gpu_seconds": 1900.0
        },
        "earlier_gpu_seconds": 0.0
    })
}

fn master() -> Server {
    Server::start(|request| match request.route().as_str() {
        "GET /v1/whoami" => Reply::json(200, &json!({"name": "anna", "role": "user"})),
        "GET /v1/users/anna/usage" => Reply::json(200, &receipt("anna")),
        "GET /v1/users/bert/usage" => Reply::error(403, "forbidden", "only operators may"),
        route => Reply::error(404, "not_found", route),
    })
}

#[test]
fn ones_own_receipt_adds_up_and_its_json_is_the_apis() {
    let home = tempfile::tempdir().unwrap();
    let server = master();
    let output = dopq(home.path(), &server, &["usage"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let words = |start: &str| {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("{start} in {text}"))
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(words("Down to")[4..], ["in".to_owned(), "3d07h".to_owned()]);
    assert_eq!(words("total"), ["total", "2.000", "0.500", "1.500"]);
    assert_eq!(
        words("3 older"),
        ["3", "older", "attempts", "1.000", "0.500", "0.528"]
    );
    assert!(!text.contains("earlier"), "nothing is unexplained: {text}");
    assert!(server.requests()[1].path.ends_with("usage?limit=20"));

    let output = dopq(
        home.path(),
        &server,
        &["usage", "anna", "-n", "1", "-o", "json"],
    );
    let printed: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(printed, receipt("anna"));
    assert_eq!(
        server.of("GET /v1/whoami").len(),
        1,
        "a name needs no question"
    );
    let output = dopq(home.path(), &server, &["usage", "-o", "quiet"]);
    assert_eq!(stdout(&output), "5400.000\n");
}

#[test]
fn others_receipts_and_wrong_limits_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let server = master();
    let output = dopq(home.path(), &server, &["usage", "bert"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        stderr(&output).contains("usage of bert"),
        "{}",
        stderr(&output)
    );
    for limit in ["0", "1001", "all"] {
        let output = dopq(home.path(), &server, &["usage", "-n", limit]);
        assert_eq!(output.status.code(), Some(2), "{limit}");
    }
}

#[test]
fn users_are_listed_with_what_their_penalty_is_made_of() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|_| {
        let anna = json!({
            "name": "anna", "role": "user", "penalty": 0.25, "weight": 2.0, "queued": 1, "running": 1,
            "finished": 3, "tokens": [], "limits": {}, "usage_gpu_seconds": 5400.0, "charged_gpus": 1.5
        });
        Reply::json(200, &json!({"version": 1, "users": [anna]}))
    });
    let output = dopq(home.path(), &server, &["users"]);
    let text = stdout(&output);
    let row: Vec<&str> = text
        .lines()
        .nth(1)
        .unwrap_or("")
        .split_whitespace()
        .collect();
    assert_eq!(
        row[..6],
        ["anna", "user", "0.2500", "1", "1", "1.500"],
        "{text}"
    );
}

//! Submitting: what is sent, when it is not, and what repeats.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Reply, Request, Server, dopq, job, stderr, stdout};

fn project(home: &Path) {
    let folder = home.join("hello");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("Dockerfile"), "FROM scratch\nCOPY hello /\n").unwrap();
    fs::write(folder.join("hello"), "hello").unwrap();
    let config = json!({"name": "hello", "executor_name": "anna", "num_gpus": 0});
    fs::write(folder.join("container_config.json"), config.to_string()).unwrap();
}

fn common(request: &Request) -> Option<Reply> {
    let route = request.route();
    if route == "GET /v1/whoami" {
        Some(Reply::json(200, &json!({"name": "anna", "role": "user"})))
    } else if route.starts_with("GET /v1/bundles/") {
        Some(Reply::error(404, "not_found", "no such bundle"))
    } else if let Some(digest) = route.strip_prefix("PUT /v1/bundles/") {
        assert_eq!(blake3::hash(&request.body).to_hex().as_str(), digest);
        let body = json!({"digest": digest, "size_bytes": request.body.len()});
        Some(Reply::json(201, &body))
    } else {
        None
    }
}

#[test]
fn a_folder_is_packed_sent_and_submitted() {
    let home = tempfile::tempdir().unwrap();
    project(home.path());
    let server = Server::start(|request| {
        common(request).unwrap_or_else(|| Reply::json(201, &job(7, "queued", None)))
    });
    let line = [
        "submit", "hello", "--gpus", "2", "-e", "A=1", "--", "run", "it",
    ];
    let output = dopq(home.path(), &server, &line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "7\n");
    let [posted] = server.of("POST /v1/jobs").try_into().unwrap();
    let put = server
        .requests()
        .into_iter()
        .find(|r| r.method == "PUT")
        .unwrap();
    let expected = json!({
        "bundle": put.path.rsplit('/').next().unwrap(),
        "overrides": {"num_gpus": 2, "env": {"A": "1"}, "command": ["run", "it"]}
    });
    assert_eq!(posted.json(), expected);
    assert_eq!(posted.header("authorization"), Some("Bearer dopq_test"));
    assert_eq!(posted.header("idempotency-key").map(str::len), Some(32));
}

#[test]
fn what_the_master_has_is_not_sent_again_and_a_lost_answer_keeps_its_key() {
    let home = tempfile::tempdir().unwrap();
    project(home.path());
    let server = Server::start(|request| match request.route() {
        route if route.starts_with("GET /v1/bundles/") => {
            let digest = route.rsplit('/').next().unwrap();
            Reply::json(200, &json!({"digest": digest, "size_bytes": 9}))
        }
        route if route == "POST /v1/jobs" && request.before == 0 => Reply::nothing(),
        route if route == "POST /v1/jobs" && request.before == 1 => {
            Reply::error(503, "unavailable", "the leader is changing")
        }
        _ => common(request).unwrap_or_else(|| Reply::json(200, &job(7, "queued", None))),
    });
    let output = dopq(home.path(), &server, &["submit", "hello", "-o", "quiet"]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(0), "7\n".to_owned())
    );
    assert_eq!(stderr(&output), "");
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.method != "PUT")
    );
    let posted = server.of("POST /v1/jobs");
    assert_eq!(posted.len(), 3);
    let keys: std::collections::BTreeSet<_> = posted
        .iter()
        .map(|request| request.header("idempotency-key"))
        .collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
}

#[test]
fn the_leader_gets_token_and_body_from_a_standby() {
    let home = tempfile::tempdir().unwrap();
    project(home.path());
    let leader = Server::start(|request| {
        common(request).unwrap_or_else(|| Reply::json(201, &job(7, "queued", None)))
    });
    let url = leader.url();
    let standby = Server::start(move |request| {
        if request.method == "GET" {
            common(request).unwrap()
        } else {
            Reply::redirect(&format!("{url}{}", request.path))
        }
    });
    save_token(home.path(), &leader.url());
    let output = dopq(home.path(), &standby, &["submit", "hello"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let methods: Vec<String> = leader.requests().iter().map(|r| r.method.clone()).collect();
    assert_eq!(methods, ["PUT", "POST"]);
    for request in leader.requests() {
        assert_eq!(request.header("authorization"), Some("Bearer dopq_leader"));
    }
}

/// Saves a token for the leader, as `dopq login` does.
fn save_token(home: &Path, url: &str) {
    let folder = home.join(".config/dopq");
    fs::create_dir_all(&folder).unwrap();
    let text = format!("[tokens]\n\"{url}\" = \"dopq_leader\"\n");
    fs::write(folder.join("config.toml"), text).unwrap();
}

#[test]
fn a_token_goes_to_another_address_only_if_it_was_saved_for_it() {
    let home = tempfile::tempdir().unwrap();
    project(home.path());
    let leader = Server::start(|request| common(request).unwrap());
    // Another port of the same host can be anybody's.
    let elsewhere = leader.url();
    let to = elsewhere.clone();
    let standby = Server::start(move |request| Reply::redirect(&format!("{to}{}", request.path)));
    let output = dopq(home.path(), &standby, &["whoami"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(
        stderr(&output).contains("is another address"),
        "{}",
        stderr(&output)
    );
    assert_eq!(leader.requests().len(), 0);

    save_token(home.path(), &elsewhere);
    let output = dopq(home.path(), &standby, &["whoami"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let sent = leader.requests();
    assert_eq!(sent[0].header("authorization"), Some("Bearer dopq_leader"));
}

#[test]
fn following_ends_with_the_containers_code() {
    for (cause, code, expected) in [
        ("succeeded", Some(0), 0),
        ("user_error", Some(42), 42),
        ("build_failed", None, 125),
    ] {
        let home = tempfile::tempdir().unwrap();
        project(home.path());
        let server = Server::start(move |request| {
            if request.route() == "GET /v1/jobs/7/logs/stream" {
                let job = job(7, "finished", Some((cause, code)));
                return Reply::events(&format!("event: end\ndata: {}\n\n", json!({ "job": job })));
            }
            common(request).unwrap_or_else(|| Reply::json(201, &job(7, "queued", None)))
        });
        let output = dopq(home.path(), &server, &["submit", "hello", "--follow"]);
        assert_eq!(output.status.code(), Some(expected), "{}", stderr(&output));
        assert_eq!(stdout(&output), "", "stdout has the log only");
    }
}

#[test]
fn all_faults_are_told_without_sending_anything() {
    let home = tempfile::tempdir().unwrap();
    project(home.path());
    let config = json!({"name": "x", "executor_name": "anna", "num_gpu": 1});
    fs::write(
        home.path().join("hello/container_config.json"),
        config.to_string(),
    )
    .unwrap();
    let server = Server::start(|request| common(request).unwrap());
    let output = dopq(home.path(), &server, &["submit", "hello"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains("num_gpu") && text.contains("num_gpus") && text.contains("name"),
        "{text}"
    );
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.method == "GET")
    );
}

#[test]
fn faults_that_only_the_master_sees_are_told_too() {
    let home = tempfile::tempdir().unwrap();
    project(home.path());
    let server = Server::start(|request| {
        if request.method == "PUT" {
            let faults =
                json!([{"rule": "too-large", "place": "", "message": "9 bytes, 5 at most"}]);
            return Reply::json(
                422,
                &json!({"error": {"code": "invalid", "message": "refused", "hint": "", "faults": faults}}),
            );
        }
        common(request).unwrap()
    });
    let output = dopq(home.path(), &server, &["submit", "hello"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("too-large  bundle  9 bytes, 5 at most"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn somebody_elses_bundle_needs_a_word() {
    let home = tempfile::tempdir().unwrap();
    project(home.path());
    let server = Server::start(|request| {
        if request.route() == "GET /v1/whoami" {
            return Reply::json(200, &json!({"name": "bert", "role": "user"}));
        }
        common(request).unwrap_or_else(|| Reply::json(201, &job(7, "queued", None)))
    });
    let output = dopq(home.path(), &server, &["submit", "hello"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("--mine"), "{}", stderr(&output));
    let output = dopq(home.path(), &server, &["submit", "hello", "--mine"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let [posted] = server.of("POST /v1/jobs").try_into().unwrap();
    assert_eq!(posted.json()["overrides"], json!({"executor_name": "bert"}));
}

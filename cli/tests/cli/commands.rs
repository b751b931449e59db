//! The other commands, as programs and scripts see them: stdout, stderr and exit codes.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Reply, Server, command, dopq, job, stderr, stdout};

fn page(jobs: &[Value]) -> Reply {
    Reply::json(200, &json!({"version": 1, "jobs": jobs}))
}

#[test]
fn nobody_there_is_told_with_url_and_source() {
    let home = tempfile::tempdir().unwrap();
    // A port that was just given back has nobody listening.
    let url = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let output = command(home.path(), &url, &["ps"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let text = stderr(&output);
    assert!(
        text.contains(&url) && text.contains("DOPQ_URL") && text.contains("refused"),
        "{text}"
    );
    assert_eq!(stdout(&output), "");
}

#[test]
fn refusals_have_codes_of_their_own() {
    for (status, code, expected) in [
        (400, "bad_request", 1),
        (401, "unauthorized", 4),
        (403, "forbidden", 4),
        (404, "not_found", 3),
        (409, "conflict", 6),
        (503, "unavailable", 5),
        (500, "a_code_of_tomorrow", 1),
    ] {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(move |_| Reply::error(status, code, "no, because"));
        let output = dopq(home.path(), &server, &["show", "7"]);
        assert_eq!(output.status.code(), Some(expected), "{code}");
        let text = stderr(&output);
        assert!(
            text.starts_with("error: failed to show job 7: no, because\n  hint: a hint"),
            "{text}"
        );
    }
}

#[test]
fn something_else_that_answers_is_not_taken_for_a_master() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::new(200, "text/html", b"<html>\x1b[2J"));
    let output = dopq(home.path(), &server, &["status"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        stderr(&output).contains("unexpected answer"),
        "{}",
        stderr(&output)
    );
    assert!(!output.stderr.contains(&0x1b));
}

#[test]
fn https_to_a_master_without_tls_is_told_as_such() {
    let home = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let master = std::thread::spawn(move || {
        for stream in listener.incoming().take(1) {
            stream
                .unwrap()
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .unwrap();
        }
    });
    let output = command(home.path(), &url, &["ps"]).output().unwrap();
    master.join().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let text = stderr(&output);
    for part in ["it answers plain HTTP there", "use http:// in the URL"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn json_is_the_apis_own() {
    let home = tempfile::tempdir().unwrap();
    let jobs = [
        job(8, "running", None),
        job(7, "finished", Some(("succeeded", Some(0)))),
    ];
    let answer = jobs.clone();
    let server = Server::start(move |_| page(&answer));
    let output = dopq(home.path(), &server, &["ps", "--all", "-o", "json"]);
    let printed: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(printed, json!({"version": 1, "jobs": jobs}));
    let output = dopq(
        home.path(),
        &server,
        &["ps", "-o", "quiet", "--state", "running", "--user", "anna"],
    );
    assert_eq!(stdout(&output), "8\n7\n");
    let path = &server.requests()[1].path;
    assert!(
        path.contains("state=running") && path.contains("user=anna"),
        "{path}"
    );
}

#[test]
fn pages_are_read_to_the_limit() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| {
        let next = if request.before == 0 {
            json!(8)
        } else {
            Value::Null
        };
        let id = if request.before == 0 { 8 } else { 3 };
        Reply::json(
            200,
            &json!({"version": 1, "jobs": [job(id, "running", None)], "next": next}),
        )
    });
    let output = dopq(home.path(), &server, &["ps", "-o", "quiet", "-n", "10"]);
    assert_eq!(stdout(&output), "8\n3\n");
    assert!(server.requests()[1].path.contains("before=8"));
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|_| page(&[job(8, "running", None)]));
    let mut child = command(home.path(), &server.url(), &["ps", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(0), String::new())
    );
}

#[test]
fn every_job_of_a_range_is_cancelled_and_failures_are_told() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.route().as_str() {
        "GET /v1/whoami" => Reply::json(200, &json!({"name": "anna", "role": "user"})),
        "GET /v1/jobs" => page(&[
            job(5, "running", None),
            job(4, "queued", None),
            job(3, "queued", None),
        ]),
        "DELETE /v1/jobs/4" => Reply::error(409, "conflict", "job 4 has finished"),
        "DELETE /v1/jobs/3" => Reply::json(202, &job(3, "finished", Some(("cancelled", None)))),
        _ => Reply::json(202, &job(5, "stopping", None)),
    });
    let output = dopq(home.path(), &server, &["cancel", "3-5", "-o", "quiet"]);
    assert_eq!(output.status.code(), Some(6));
    assert_eq!(stdout(&output), "3\n5\n");
    assert!(stderr(&output).contains("job 4 has finished"));
    let asked = &server.of("GET /v1/jobs")[0].path;
    assert!(asked.contains("ids=3-5"), "{asked}");
    assert!(
        asked.contains("user=anna"),
        "others' jobs are left alone: {asked}"
    );
}

#[test]
fn last_is_understood_wherever_a_job_is_named() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.route().as_str() {
        "GET /v1/whoami" => Reply::json(200, &json!({"name": "anna", "role": "user"})),
        "GET /v1/jobs" => {
            let mut array = job(35, "running", None);
            array["array"] = json!({
                "indexes": "0-9", "total": 10, "max_running": null, "waiting": 0, "active": 10, "succeeded": 0,
                "failed": 0, "cancelled": 0
            });
            page(&[array])
        }
        "GET /v1/jobs/35" => {
            let mut array = job(35, "running", None);
            array["array"] = json!({
                "indexes": "0-9", "total": 10, "max_running": null, "waiting": 0, "active": 10, "succeeded": 0,
                "failed": 0, "cancelled": 0
            });
            Reply::json(200, &array)
        }
        "GET /v1/jobs/35_7" => {
            let mut task = job(43, "running", None);
            task["task"] = json!({"array": 35, "index": 7});
            Reply::json(200, &task)
        }
        route => Reply::error(404, "not_found", route),
    });
    let output = dopq(home.path(), &server, &["show", "last_7", "-o", "quiet"]);
    assert_eq!(stdout(&output), "35_7\n", "{}", stderr(&output));
    assert!(server.of("GET /v1/jobs")[0].path.contains("arrays=true"));
    let output = dopq(home.path(), &server, &["show", "last_10"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("its tasks are 0-9"),
        "{}",
        stderr(&output)
    );
    let output = dopq(
        home.path(),
        &server,
        &["ps", "--array", "last", "-o", "quiet"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(server.of("GET /v1/jobs")[3].path.contains("array=35"));
}

#[test]
fn a_list_that_is_watched_in_a_pipe_is_printed_when_it_changes() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.before {
        0 | 1 => page(&[job(8, "queued", None)]),
        2 => Reply::nothing(),
        3 => page(&[job(8, "running", None)]),
        _ => Reply::error(403, "forbidden", "enough"),
    });
    let output = dopq(home.path(), &server, &["ps", "--watch=1", "-o", "json"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let states: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["jobs"][0]["state"].clone())
        .collect();
    assert_eq!(states, ["queued", "running"], "{}", stderr(&output));
}

#[test]
fn last_is_ones_own_newest_job() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.route().as_str() {
        "GET /v1/whoami" => Reply::json(200, &json!({"name": "anna", "role": "admin"})),
        "GET /v1/jobs" => page(&[job(9, "running", None)]),
        _ => Reply::json(200, &job(9, "running", None)),
    });
    let output = dopq(home.path(), &server, &["show", "last", "-o", "quiet"]);
    assert_eq!(stdout(&output), "9\n");
    assert!(server.of("GET /v1/jobs")[0].path.contains("user=anna"));
}

#[test]
fn waiting_outlives_broken_streams_and_gives_the_jobs_code() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match (request.route().as_str(), request.before) {
        ("GET /v1/events", 0) => Reply::broken_events(": hello\n\n"),
        ("GET /v1/events", 1) => Reply::events("event: reset\ndata: {}\n\n"),
        ("GET /v1/events", _) => {
            let done = job(7, "finished", Some(("user_error", Some(9))));
            Reply::events(&format!(
                "event: job\ndata: {}\n\nevent: job\ndata: {done}\n\n",
                job(6, "running", None)
            ))
        }
        _ => Reply::json(200, &job(7, "running", None)),
    });
    let output = dopq(home.path(), &server, &["wait", "7", "-o", "quiet"]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(9), "7\n".to_owned()),
        "{}",
        stderr(&output)
    );
}

#[test]
fn waiting_gives_up_when_told_to() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.route().as_str() {
        "GET /v1/events" => Reply::broken_events(": nothing\n\n"),
        _ => Reply::json(200, &job(7, "running", None)),
    });
    let output = dopq(home.path(), &server, &["wait", "7", "--timeout", "1s"]);
    assert_eq!(output.status.code(), Some(124));
    assert!(
        stderr(&output).contains("timed out; not finished: 7"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn results_come_home_once() {
    let home = tempfile::tempdir().unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    tar.append_data(&mut header, "model/weights", b"1234".as_slice())
        .unwrap();
    let tar = tar.into_inner().unwrap();
    let server = Server::start(move |request| match request.route().as_str() {
        "GET /v1/jobs/7" => Reply::json(200, &job(7, "finished", Some(("succeeded", Some(0))))),
        _ => Reply::new(200, "application/x-tar", &tar),
    });
    let output = dopq(home.path(), &server, &["fetch", "7", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        fs::read(home.path().join("dopq-7/model/weights")).unwrap(),
        b"1234"
    );
    let printed: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(printed[0]["files"], 1);
    let output = dopq(home.path(), &server, &["fetch", "7"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("exists; remove it"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_token_goes_to_stdout_alone() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|_| {
        let info = json!({"id": "t1", "label": "", "created_at": "2026-11-24T07:00:00Z", "expires_at": null});
        Reply::json(201, &json!({"info": info, "token": "dopq_new"}))
    });
    let output = dopq(
        home.path(),
        &server,
        &["user", "token", "add", "anna", "--expires-in", "1d"],
    );
    assert_eq!(stdout(&output), "dopq_new\n");
    assert!(!stderr(&output).contains("dopq_new"));
    assert_eq!(
        server.requests()[0].json(),
        json!({"label": "", "expires_in_seconds": 86400})
    );
}

#[test]
fn logging_in_keeps_the_token_that_works() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.header("authorization") {
        Some("Bearer dopq_good") => Reply::json(200, &json!({"name": "anna", "role": "user"})),
        _ => Reply::error(401, "unauthorized", "the token is not known"),
    });
    let login = |token: &str| {
        let path = home.path().join("token");
        fs::write(&path, token).unwrap();
        let mut command = command(home.path(), "", &["login", &server.url()]);
        command.env_remove("DOPQ_TOKEN");
        command
            .stdin(fs::File::open(path).unwrap())
            .output()
            .unwrap()
    };
    assert_eq!(login("dopq_bad\n").status.code(), Some(4));
    let file = home.path().join(".config/dopq/config.toml");
    assert!(!file.exists(), "only a token that works is kept");
    let output = login("dopq_good\n");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut whoami = command(home.path(), "", &["whoami", "-o", "quiet"]);
    let output = whoami.env_remove("DOPQ_TOKEN").output().unwrap();
    assert_eq!(stdout(&output), "anna\n", "{}", stderr(&output));
}

#[test]
fn wrong_settings_are_all_told() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join(".dopq.toml"), "utl = 'http://x'\n").unwrap();
    let output = command(home.path(), "nonsense", &["ps"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = stderr(&output);
    assert!(
        text.contains("DOPQ_URL") && text.contains("did you mean url?"),
        "{text}"
    );
    let output = command(home.path(), "nonsense", &["completions", "bash"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "it needs no master");
}

#[test]
fn usage_errors_are_2() {
    let home = tempfile::tempdir().unwrap();
    for line in [
        &["ps", "--state", "runing"][..],
        &["show"],
        &["wait", "1", "--timeout", "soon"],
        &["nonsense"],
    ] {
        let output = command(home.path(), "http://127.0.0.1:1", line)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn checking_needs_no_master_and_tells_every_fault() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("bundle");
    fs::create_dir(&folder).unwrap();
    fs::write(
        folder.join("container_config.json"),
        r#"{"name": "hello", "executor_name": "anna", "nmae": 1}"#,
    )
    .unwrap();
    let output = command(home.path(), "", &["check", "bundle"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(
        text.contains("nmae") && text.contains("Dockerfile"),
        "{text}"
    );
    fs::write(
        folder.join("container_config.json"),
        r#"{"name": "hello", "executor_name": "anna"}"#,
    )
    .unwrap();
    fs::write(folder.join("Dockerfile"), "FROM scratch\n").unwrap();
    let output = command(home.path(), "", &["check", "bundle", "-o", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&report["ok"], &report["entries"]),
        (&json!(true), &json!(2))
    );
}

#[test]
fn checking_shows_what_a_sweep_would_run() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("bundle");
    fs::create_dir(&folder).unwrap();
    fs::write(
        folder.join("container_config.json"),
        r#"{"name": "hello", "executor_name": "anna", "sweep": ["lr=0.1,0.01", "seed=1..3"], "array": "1-5%2"}"#,
    )
    .unwrap();
    fs::write(folder.join("Dockerfile"), "FROM scratch\n").unwrap();
    let check = |more: &[&str]| {
        let line = [&["check", "bundle"], more].concat();
        command(home.path(), "", &line).output().unwrap()
    };
    let output = check(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let expected = "ok\n\
                    TASK  ENVIRONMENT\n\
                    \x20  1  lr=0.1 seed=2\n\
                    \x20  2  lr=0.1 seed=3\n\
                    \x20  3  lr=0.01 seed=1\n\
                    \x20  4  lr=0.01 seed=2\n\
                    \x20  5  lr=0.01 seed=3\n";
    assert_eq!(stdout(&output), expected);
    assert!(
        stderr(&output).contains("array 1-5%2: 5 tasks\n"),
        "{}",
        stderr(&output)
    );
    let output = check(&["--sweep", "x=1..1000", "-o", "json"]);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&report["array"]["tasks"], &report["array"]["indexes"]),
        (&json!(1000), &json!("0-999"))
    );
    assert_eq!(
        report["array"]["first"][1],
        json!({"index": 1, "env": {"x": "2"}})
    );
    let output = check(&["--array", "0-6"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("indexes 0 to 5; 6 is too large"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn prune_shows_what_goes_or_would_go() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| {
        let dry_run = request.body == br#"{"dry_run":true}"#;
        let kind = json!({
            "kind": "logs", "removed_objects": 3, "removed_bytes": 2048, "kept_objects": 5, "kept_bytes": 10,
        });
        Reply::json(
            200,
            &json!({"version": 1, "dry_run": dry_run, "kinds": [kind]}),
        )
    });
    let output = dopq(home.path(), &server, &["prune", "--dry-run"]);
    assert_eq!(output.status.code(), Some(0));
    let (out, err) = (stdout(&output), stderr(&output));
    assert!(out.contains("WOULD GO") && out.contains("logs"), "{out}");
    assert!(err.contains("dopq prune would free 2"), "{err}");
    let output = dopq(home.path(), &server, &["prune"]);
    assert!(stdout(&output).contains("REMOVED"), "{}", stdout(&output));
    let output = dopq(home.path(), &server, &["prune", "7"]);
    assert!(
        stderr(&output).contains("job 7: freed 2"),
        "{}",
        stderr(&output)
    );
    let paths: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.path.clone())
        .collect();
    assert_eq!(paths, ["/v1/prune", "/v1/prune", "/v1/jobs/7/output"]);
}

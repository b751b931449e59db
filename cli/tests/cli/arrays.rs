//! Arrays: one row for all tasks, tasks by name, waiting with progress, results of each, and trying again.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Reply, Request, Server, dopq, job, stderr, stdout};

/// Array 7 of the tasks 0 to 5, two at once; `counts` are waiting, active, succeeded and failed.
fn array(state: &str, outcome: Option<(&str, Option<i32>)>, counts: [u32; 4]) -> Value {
    let [waiting, active, succeeded, failed] = counts;
    let mut array = job(7, state, outcome);
    array["attempt"] = json!(0);
    array["worker"] = Value::Null;
    array["array"] = json!({
        "indexes": "0-5", "total": 6, "max_running": 2, "waiting": waiting, "active": active,
        "succeeded": succeeded, "failed": failed, "cancelled": 0
    });
    array
}

/// A task of array 7.
fn task(index: u32, state: &str, outcome: Option<(&str, Option<i32>)>) -> Value {
    let mut task = job(8 + u64::from(index), state, outcome);
    task["task"] = json!({"array": 7, "index": index});
    task
}

fn page(jobs: &[Value]) -> Reply {
    Reply::json(200, &json!({"version": 1, "jobs": jobs}))
}

fn event(job: &Value) -> String {
    format!("event: job\ndata: {job}\n\n")
}

fn over() -> Value {
    let mut over = array("finished", Some(("user_error", Some(3))), [0, 0, 5, 1]);
    over["outcome"]["detail"] = json!("5 of 6 tasks succeeded, 1 failed (3)");
    over["outcome"]["hint"] = json!("read the end of the log: dopq logs JOB");
    over
}

#[test]
fn an_array_is_one_row_with_its_tally() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| {
        let mut array = array("running", None, [2, 2, 1, 1]);
        match request.route().as_str() {
            "GET /v1/queue" => {
                let entry = json!({
                    "position": 1, "id": 7, "name": "train", "user": "anna", "penalty": 0.0,
                    "class": "normal", "priority": 0, "num_gpus": 1, "since": "2026-11-24T06:59:30Z",
                    "reason": "2 of its tasks are under way",
                    "reason_short": "2 tasks run, the limit", "array": array["array"]
                });
                Reply::json(
                    200,
                    &json!({"version": 1, "lock": null, "entries": [entry]}),
                )
            }
            "GET /v1/jobs" => page(&[array]),
            _ => {
                array["array"]["failed_indexes"] = json!("3");
                Reply::json(200, &array)
            }
        }
    });
    let tally = "array 0-5%2: 2 running, 1 done, 1 failed, 2 queued";
    let listed = stdout(&dopq(home.path(), &server, &["ps"]));
    assert!(listed.contains(tally), "{listed}");
    let queue = stdout(&dopq(home.path(), &server, &["queue"]));
    assert!(
        queue.contains(&format!("2 tasks run, the limit; {tally}")),
        "{queue}"
    );
    let shown = stdout(&dopq(home.path(), &server, &["show", "7"]));
    for line in [
        "Array         0-5%2",
        "Tasks         2 running, 1 done, 1 failed, 2 queued",
        "Failed tasks  3",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
}

#[test]
fn tasks_are_listed_and_named_by_index() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.route().as_str() {
        "GET /v1/jobs" => page(&[task(1, "running", None), task(0, "running", None)]),
        "GET /v1/jobs/7" => Reply::json(200, &array("running", None, [4, 2, 0, 0])),
        "GET /v1/jobs/7_5/logs/stream" => {
            let mut waits = task(5, "queued", None);
            waits["attempt"] = json!(0);
            let end = json!({"job": waits});
            Reply::events(&format!("event: end\ndata: {end}\n\n"))
        }
        _ => Reply::json(202, &task(5, "finished", Some(("cancelled", None)))),
    });
    let output = dopq(home.path(), &server, &["ps", "--array", "7", "-o", "quiet"]);
    assert_eq!(stdout(&output), "7_1\n7_0\n", "{}", stderr(&output));
    let path = &server.requests()[0].path;
    assert!(
        path.contains("array=7") && !path.contains("state="),
        "{path}"
    );
    let output = dopq(home.path(), &server, &["logs", "7_5"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stderr(&output).contains("job 7_5 has not started"),
        "{}",
        stderr(&output)
    );
    let output = dopq(home.path(), &server, &["cancel", "7_4-9", "-o", "quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let deleted = server
        .requests()
        .into_iter()
        .filter(|request| request.method == "DELETE");
    let deleted: Vec<_> = deleted.map(|request| request.path).collect();
    assert_eq!(deleted, ["/v1/jobs/7_4", "/v1/jobs/7_5"]);
    let output = dopq(home.path(), &server, &["cancel", "7_6-9"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("its tasks are 0-5"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn waiting_tells_how_far_it_is_and_gives_the_arrays_code() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.route().as_str() {
        "GET /v1/events" => {
            Reply::events(&(event(&array("running", None, [0, 1, 4, 1])) + &event(&over())))
        }
        _ => Reply::json(200, &array("running", None, [4, 2, 0, 0])),
    });
    let output = dopq(home.path(), &server, &["wait", "7"]);
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    for line in [
        "array 7: 0 of 6 tasks finished (2 running, 4 queued)\n",
        "array 7: 6 of 6 tasks finished (5 done, 1 failed)\n",
        "run the failed tasks again: dopq retry 7 --failed",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(
        !text.contains("5 of 6 tasks finished"),
        "told too often: {text}"
    );
    let output = dopq(home.path(), &server, &["wait", "7", "-o", "quiet"]);
    assert_eq!(
        (stdout(&output).as_str(), stderr(&output).as_str()),
        ("7\n", "")
    );
}

#[test]
fn a_task_is_waited_for_under_either_name() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.route().as_str() {
        "GET /v1/events" if request.path.contains("array=7") => {
            Reply::events(&event(&task(2, "finished", Some(("user_error", Some(9))))))
        }
        "GET /v1/events" => Reply::broken_events(": nothing\n\n"),
        _ => Reply::json(200, &task(2, "running", None)),
    });
    for name in ["7_2", "10"] {
        let output = dopq(home.path(), &server, &["wait", name, "-o", "quiet"]);
        assert_eq!(output.status.code(), Some(9), "{name}: {}", stderr(&output));
        assert_eq!(stdout(&output), "7_2\n");
    }
}

#[test]
fn trying_again_sends_one_key_and_can_be_followed() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.route().as_str() {
        "POST /v1/jobs/7/retry" if request.before == 0 => Reply::nothing(),
        "POST /v1/jobs/7/retry" => Reply::json(201, &array("queued", None, [6, 0, 0, 0])),
        "GET /v1/events" => Reply::events(&event(&over())),
        "GET /v1/jobs/7" if request.before == 0 => {
            Reply::json(200, &array("running", None, [4, 2, 0, 0]))
        }
        _ => {
            let mut over = over();
            over["array"]["failed_indexes"] = json!("3");
            Reply::json(200, &over)
        }
    });
    let output = dopq(
        home.path(),
        &server,
        &["retry", "7", "--failed", "--follow"],
    );
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(
        text.contains("job 7 (train) with 6 tasks (0-5%2) is queued"),
        "{text}"
    );
    assert!(text.contains("dopq logs 7_3"), "{text}");
    let posted: Vec<Request> = server.of("POST /v1/jobs/7/retry");
    assert_eq!(posted.len(), 2);
    assert_eq!(posted[0].json(), json!({"failed": true}));
    let key = posted[0].header("idempotency-key");
    assert!(key.is_some() && key == posted[1].header("idempotency-key"));
    let output = dopq(home.path(), &server, &["retry", "7,8", "--follow"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn each_tasks_results_come_home_and_a_second_fetch_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    tar.append_data(&mut header, "weights", b"1234".as_slice())
        .unwrap();
    let tar = tar.into_inner().unwrap();
    let server = Server::start(move |request| match request.route().as_str() {
        "GET /v1/jobs/7" => Reply::json(200, &over()),
        "GET /v1/jobs" => {
            let done = |index| task(index, "finished", Some(("succeeded", Some(0))));
            let mut never = done(4);
            never["attempt"] = json!(0);
            page(&[never, done(3), done(1), done(0)])
        }
        "GET /v1/jobs/7_3/results" => Reply::error(404, "not_found", "job 11 has no results"),
        "GET /v1/jobs/7_1/results" if request.before == 0 => {
            Reply::error(500, "internal", "a fault")
        }
        _ => Reply::new(200, "application/x-tar", &tar),
    });
    let output = dopq(home.path(), &server, &["fetch", "7"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let output = dopq(home.path(), &server, &["fetch", "7", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(
        text.contains("array 7: results of 2 of 6 tasks, 1 fetched before, in dopq-7"),
        "{text}"
    );
    for index in [0, 1] {
        let path = home.path().join(format!("dopq-7/{index}/weights"));
        assert_eq!(fs::read(path).unwrap(), b"1234");
    }
    assert!(!home.path().join("dopq-7/3").exists());
    let printed: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (printed.as_array().unwrap().len(), &printed[0]["job"]),
        (1, &json!(9))
    );
    assert!(server.of("GET /v1/jobs/7_4/results").is_empty());
}
